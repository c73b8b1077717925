"""Figures as people read them: tables of text, and the run's model card."""

import json
import shlex
from collections.abc import Iterable
from typing import Any

from unbraid.core.files import Json
from unbraid.core.types import other
from unbraid.core.version import __version__
from unbraid.evaluation.measure import Measure
from unbraid.evaluation.measures import MEASURES
from unbraid.model.run import Run
from unbraid.model.trained import Trained


def table(metrics: Json, measures: Iterable[Measure[Any]] = MEASURES) -> str:
    """Returns the figures of metrics.json as lines of text: a block for each heading, blocks without lines left out."""
    blocks: dict[str, list[str]] = {}
    for measure in measures:
        for block in measure.rows(metrics):
            blocks.setdefault(block.heading, []).extend(block.lines)
    blocks["not measured"] = [f"{what}: {why}" for what, why in metrics.get("not_measured", {}).items()]
    legend = metrics.get("protocol", {}).get("domains", "")
    text = "\n\n".join("\n".join([heading, *lines]) for heading, lines in blocks.items() if lines)
    return f"{legend}\n\n{text}" if legend else text


def _scores(heading: str, metrics: Json) -> str:
    protocol = "\n".join(f"- {key}: {value}" for key, value in metrics["protocol"].items() if value != "")
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
