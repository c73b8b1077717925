"""Figures as people read them: tables of text, and the run's model card."""

import io
import json
import shlex
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

from rich.table import Table

from unbraid.core.console import Console, printable
from unbraid.core.files import Json
from unbraid.core.names import in_text
from unbraid.core.types import DOMAINS, other
from unbraid.core.version import __version__
from unbraid.evaluation.measure import DOMAIN, WAY, Measure
from unbraid.evaluation.measures import MEASURES
from unbraid.model.run import Run
from unbraid.model.trained import Trained

LONGEST = 20
"""Characters of a domain's name in a table; above it stands what the letters of a longer one mean."""
WIDEST = 100_000
"""Characters of a line, more than there are: lines are not folded, for they are written to files too."""


def table(metrics: Json, measures: Iterable[Measure[Any]] = MEASURES) -> str:
    """Returns the figures of metrics.json as lines of text: tables with the domains' names, those without lines left
    out, and what was not measured."""
    blocks: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for measure in measures:
        for block in measure.rows(metrics):
            blocks.setdefault(block.titles, []).extend(block.lines)
    names = _names(metrics)
    long = any(len(name) > LONGEST for name in names)
    called: Sequence[str] = DOMAINS if long else names
    texts = [", ".join(f"{domain}: {name}" for domain, name in zip(DOMAINS, names, strict=True))] if long else []
    texts += [_laid_out(titles, lines, called) for titles, lines in blocks.items() if lines]
    if missing := metrics.get("not_measured"):
        texts.append("\n".join(["not measured", *(f"{in_text(what, called)}: {why}" for what, why in missing.items())]))
    return "\n\n".join(texts)


def _names(metrics: Json) -> Sequence[str]:
    """Returns what the domains are called, a first; files of version 0.1 have it as a line of text."""
    found = metrics.get("protocol", {}).get("domains")
    return tuple(printable(found[domain]) for domain in DOMAINS) if isinstance(found, dict) else DOMAINS


def _laid_out(titles: tuple[str, ...], lines: list[tuple[str, ...]], names: Sequence[str]) -> str:
    """Returns a table, columns without a cell left out."""
    columns = []
    for title, cells in zip(titles, zip_longest(*lines, fillvalue=""), strict=False):
        called = [_called(cell, names) if title in (WAY, DOMAIN) else printable(cell) for cell in cells]
        columns += [[title, *called]] * any(cells)
    first, *rest = zip(*columns, strict=True)
    drawn = Table(*first, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for line in rest:
        drawn.add_row(*line)
    text = io.StringIO()
    Console(width=WIDEST, file=text).print(drawn)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _called(cell: str, names: Sequence[str]) -> str:
    return names[DOMAINS.index(cell)] if cell in DOMAINS else in_text(cell, names)


def facts(metrics: Json) -> dict[str, str]:
    """Returns how metrics.json was measured, in words, with the domains' names."""
    names = _names(metrics)
    found = {}
    for key, value in metrics.get("protocol", {}).items():
        words = ", ".join(f"{name}: {one}" for name, one in value.items()) if isinstance(value, dict) else str(value)
        if value not in ("", None):
            found[key] = in_text(words, names)
    return found


def _scores(heading: str, metrics: Json) -> str:
    protocol = "\n".join(f"- {key}: {value}" for key, value in facts(metrics).items())
    return f"## {heading}\n\n```\n{table(metrics)}\n```\n\n{protocol}\n\n"


def card(run: Run, metrics: Json, model: Trained) -> str:
    """Returns the run's README.md: what it is, how it was made, what it scores, how to use it. See `write_report`."""
    scores = [_scores("What it scores", metrics)] if "protocol" in metrics else []
    others, place = metrics.get("others", {}), shlex.quote(str(run.path))
    scores += [_scores(f"What it scores on {name}, which it was not given", found) for name, found in others.items()]
    name = (metrics if "protocol" in metrics else next(iter(others.values())))["protocol"]["data"]
    if "content_transfer" in metrics or (not model.spec.domains and model.spec.classes):
        about = f"Images: {model.spec.a}; {' x '.join(map(str, model.spec.classes))} classes."
        python = 'grid = model.analogy(content, classes, "a")   # images: (n, c, h, w) in [-1, 1]'
        command = f"unbraid transfer {place} --content IMAGE... --class IMAGE... --out grid.png"
    else:
        spec, source = model.spec, model.method.sources()[0]
        about = f"{spec.called('a').capitalize()}: {spec.a}. {spec.called('b').capitalize()}: {spec.b}."
        first, second = spec.name(source), spec.name(other(source))
        way, shape = f'"{first}", "{second}"', "(n, c, h, w) in [-1, 1]"
        python = f"answers = model.translate(images, {way}, samples=4)   # images: {shape}"
        flags = f"--source {shlex.quote(first)} --target {shlex.quote(second)}"
        command = f"unbraid translate {place} IMAGE... {flags} --out answers"
    return f"""# {model.name} on {name}

{about} Made by unbraid {__version__}.

{"".join(scores)}## How to use it

```python
model = unbraid.load("{run.path}")
{python}
```

    {command}

## Configuration

```json
{json.dumps(json.loads((run.path / "config.json").read_text("utf-8"))["config"], indent=1)}
```
"""
