"""Makes the page of a run."""

import datetime
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from unbraid.core.config import LENGTH, PACKAGED
from unbraid.core.files import write_atomically
from unbraid.core.names import in_text
from unbraid.core.types import ImageSpec, Spec, UserError
from unbraid.core.version import __version__
from unbraid.data.parts import Data
from unbraid.evaluation.card import facts
from unbraid.evaluation.evaluate import subject_of
from unbraid.evaluation.measures.unpaired import UnpairedScore
from unbraid.evaluation.report.advice import Evidence, advise
from unbraid.evaluation.report.content import Advice, Command, Figure, Names, Sheet, names_of, ways
from unbraid.evaluation.report.embed import Chart, charts, series
from unbraid.evaluation.report.exchange import analogy_sheet, transfer_sheet
from unbraid.evaluation.report.hits import search_sheet
from unbraid.evaluation.report.translations import Compared, compare, plain_sheet, ranked_sheet, several_sheet
from unbraid.evaluation.report.words import (
    labelled_figures,
    search_figures,
    set_figure,
    translation_figure,
    unpaired_figures,
    variety_figure,
)
from unbraid.evaluation.subject import Subject
from unbraid.model.log import read_log
from unbraid.model.run import Run
from unbraid.model.trained import Trained

MARK = '<meta name="generator" content="unbraid'
"""By this a file is known to be a report, which another one may replace."""
SHORT = 3
"""Figures in the summary at most."""


@dataclass(frozen=True)
class Report:
    """Content of the page.

    facts: names and values, about how it was made. pictures: headings with their sheets. summary: the main figures in
    lines.
    """

    title: str
    about: str
    summary: list[Figure]
    pictures: list[tuple[str, list[Sheet]]]
    figures: list[Figure]
    charts: list[tuple[str, list[Chart]]]
    advice: list[Advice]
    commands: list[Command]
    facts: dict[str, str]

    @property
    def lines(self) -> list[str]:
        """Returns the summary in a few lines of text; where there is none, what is wrong first of all."""
        return [figure.short for figure in self.summary] or [advice.trouble for advice in self.advice[:1]]


def check_out(out: Path) -> None:
    """Raises UserError if a report can't be written there without loss."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {out}: a report is a page, so give a name that ends in .html")
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: give the name of a file")
    if out.exists() and MARK not in out.read_text("utf-8", "replace")[:2000]:
        raise UserError(f"{out} is there, and is no report: choose another --out, so that it is not lost")


def write_report(run: Run, model: Trained, data: Data, metrics: dict[str, Any], out: Path) -> Report:
    """Writes the page of a run, whole or not at all.

    Args:
        run: The run.
        model: Its model.
        data: Its data, as it trains on them.
        metrics: What `evaluate` measured of it.
        out: The file.

    Returns:
        What the page shows.

    Raises:
        UserError: Something else is there, or it can't be written.
    """
    check_out(out)
    report = make_report(run, model, data, metrics)
    text = render(report)
    write_atomically(out, lambda file: file.write_text(text, "utf-8"))
    return report


def render(report: Report) -> str:
    """Returns the page. Names of files and labels, which may hold anything, are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_together,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(report=report, version=__version__)


def _together(value: Any) -> Any:
    """Keeps a number and its percent sign on one line, and the source of an arrow at its left, in any script."""
    if not isinstance(value, str):
        return value
    return value.replace(" %", "\N{NO-BREAK SPACE}%").replace("→", "\N{LEFT-TO-RIGHT MARK}→")


def make_report(run: Run, model: Trained, data: Data, metrics: dict[str, Any]) -> Report:
    """Returns what the page of a run shows. See `write_report`."""
    subject = subject_of(run, model, data, None, PACKAGED, None)
    labelled = data.test.labelled() is not None
    names = names_of(run.config.data, labelled, model.spec)
    compared = [] if labelled or not subject.translator else [compare(subject, source) for source in subject.sources]
    log = run.path / "log.jsonl"
    rows = read_log(log) if log.exists() else []
    validation = series(rows, "validation")
    figures = list(_figures(metrics, compared, names, {name: points[-1][1] for name, points in validation.items()}))
    ends = {row["stage"]: row["step"] for row in rows}
    steps = sum(ends.values()) or model.step
    unpaired = model.spec.of_images and model.method.needs.hides_pairs and "unpaired" not in metrics
    unjudged = (unpaired and UnpairedScore().applies(subject)) or ""
    moved = bool(run.config.data.augment)
    evidence = Evidence(model, data, metrics, compared, validation, steps, names, moved, unjudged)
    drawn = [(title, charts(curves, names)) for title, curves in (
        ("Held-out images", validation), ("Losses", series(rows, "losses")),
    )]  # fmt: skip
    return Report(
        data.name if labelled or names["a"] == "a" else f"{names['a']} ↔ {names['b']}",
        _about(run, data, steps, rows, names),
        [figure for figure in figures if figure.short][: SHORT + 1],
        [(title, sheets) for title, sheets in _pictures(subject, compared, names) if sheets],
        figures,
        [(title, found) for title, found in drawn if found],
        advise(evidence),
        _commands(run, model, data, steps),
        _facts(run, metrics, model.spec.names),
    )


def _about(run: Run, data: Data, steps: int, rows: Sequence[dict[str, Any]], names: Names) -> str:
    ends: dict[int, float] = {}
    for row in rows:
        ends[row["stage"]] = row["seconds"]
    minutes = sum(ends.values()) / 60
    counts = f"{data.train.describe()}, {data.test.counted()} for testing"
    if data.train.pairs() is None and data.train.labelled() is None:
        each = " and ".join(f"{count:,} of {names[domain]}" for domain, count in data.train.counts().items())
        counts = f"{each}, without pairs, {data.test.counted()} for testing"
    if (labelled := data.train.labelled()) and len(labelled.values) == 1:
        classes = len(labelled.data_spec(data.spec).values[0])
        counts = f"{len(labelled)} images of {classes} classes, {data.test.counted()} for testing"
    own = run.config.train.steps or 0
    of = f" of {own:,}" * (own > steps)
    return (
        f"Method {run.method_name}, trained for {steps:,}{of} steps"
        f"{f' in {minutes:.0f} minutes' if minutes >= 1 else ''} on {counts}; {_size(data.spec.a)}."
    )


def _size(spec: Spec) -> str:
    return f"images of {spec.height} x {spec.width} pixels" if isinstance(spec, ImageSpec) else str(spec)


def _figures(
    metrics: dict[str, Any], compared: Sequence[Compared], names: Names, validation: dict[str, float]
) -> Iterator[Figure]:
    for found in compared:
        if found.true is not None:
            yield translation_figure(found, names)
    yield from search_figures(metrics, names)
    for found in compared:
        one = set_figure(metrics, found.source, names)
        if one:
            yield one
        if variety := variety_figure(metrics, found.source, names):
            yield variety
        yield from unpaired_figures(metrics, found.source, names)
    if not compared:
        yield from labelled_figures(metrics, validation)


def _pictures(subject: Subject, compared: Sequence[Compared], names: Names) -> Iterator[tuple[str, list[Sheet]]]:
    images = subject.model.spec.of_images
    if labelled := subject.labelled:
        if images and subject.codes:
            yield "The class of one image, the content of another", [transfer_sheet(subject, labelled)]
        return
    sheets = [
        plain_sheet(subject, found, names) if found.true is None else ranked_sheet(found, names) for found in compared
    ]
    yield "Translations", sheets
    several = [several_sheet(subject, found, names) for found in compared]
    yield "One image, several answers", [sheet for sheet in several if sheet]
    hits = [search_sheet(subject, source, names) for source, _ in ways()]
    yield "Search", [sheet for sheet in hits if sheet]
    if images and subject.codes:
        grids = [analogy_sheet(subject, source, names) for source, _ in ways()]
        yield "What is shared, and what each kind has alone", [sheet for sheet in grids if sheet]


def _commands(run: Run, model: Trained, data: Data, steps: int) -> list[Command]:
    path, own = shlex.quote(str(run.path)), run.config.train.steps or 0
    others = [name for name in LENGTH if name != "steps" and getattr(run.config.train, name) is not None]
    found = [
        Command(
            "Train longer: the same run goes on",
            f"unbraid train --config {shlex.quote(str(run.path / 'config.json'))} --run {path} "
            f"--train.steps {own if own > steps else 2 * steps}{''.join(f' --train.{name} None' for name in others)}",
        )
    ]
    images = model.spec.of_images
    if images and data.test.labelled():
        found.append(
            Command(
                "Show images of your own in the class of others",
                f"unbraid transfer {path} --content IMAGES --class IMAGES --out transfer.png",
            )
        )
    elif images:
        a, b = (shlex.quote(name) for name in model.spec.names)
        way = f" --source {a if 'a' in model.method.sources() else b}"
        found.append(Command("Translate images of your own", f"unbraid translate {path} IMAGES{way} --out answers"))
        if model.disentangler() is not None:
            found.append(
                Command(
                    "Search a collection (pip install 'unbraid[search]')",
                    f"unbraid index {path} COLLECTION --domain {b} --to collection.index",
                )
            )
            found.append(Command("", f"unbraid search {path} collection.index IMAGES --out found.png"))
    found.append(Command("Measure it again, and write this page", f"unbraid evaluate {path} && unbraid report {path}"))
    found.append(Command("Look around in the browser", f"unbraid explore {path}"))
    return found


def _facts(run: Run, metrics: dict[str, Any], names: tuple[str, str]) -> dict[str, str]:
    found, config = facts(metrics), run.config
    sizes = {} if config.data.size is None else {"image size": " x ".join(map(str, config.data.size))}
    if missing := metrics.get("not_measured"):
        found["not measured"] = "; ".join(f"{in_text(what, names)}: {why}" for what, why in missing.items())
    return {**found, **sizes, "run": str(run.path), "page written": datetime.date.today().isoformat()}
