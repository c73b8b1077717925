"""Training: curves of what `log.jsonl` says, while it is being written, and the sample pictures of the time."""

import contextlib
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import pandas
from PIL import Image

from unbraid.core.files import Json
from unbraid.core.types import DOMAINS, UserError
from unbraid.data.images import open_image
from unbraid.data.layout import domain_names
from unbraid.evaluation.report.embed import by_title
from unbraid.evaluation.report.embed import series as series_of
from unbraid.model.log import read_log
from unbraid.model.run import Run
from unbraid.web.figures import COLOURS, curves, described, download
from unbraid.web.page import Page, Updates, captioned, linked, plain
from unbraid.web.runs import Opened

EVERY = 4.0
"""Seconds between two looks at the log."""
MOST_LOG = 200_000_000
"""Bytes of a log that is read."""
BARE = "recall@1"
"""The chart of figures that are called by their direction alone."""
Lines = Mapping[str, Sequence[tuple[float, float]]]
"""Of a chart: points (step, value) by the name of the line."""
KINDS = {"validation": "Held-out figures", "losses": "Losses", "diagnostics": "Diagnostics"}


@dataclass(frozen=True)
class FolderState:
    """State of a run's folder that the page shows.

    log: the state of its log, None if there is none. charts: their names. last: the number of the last sample picture,
    -1 before the first.
    """

    log: tuple[int, int] | None = (0, 0)
    charts: tuple[str, ...] = ()
    last: int = -1


class Training:
    """The view. It needs no model: it is there from a run's first minute on."""

    name, title = "training", "Training"

    def missing(self, opened: Opened) -> str:
        """Returns nothing: every run has this view."""
        return ""

    def build(self, page: Page) -> None:
        """Builds components and events."""
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                with gr.Accordion("One curve, large", open=False):
                    curve = gr.Dropdown(
                        [], label="Curve", filterable=False,
                        info="Drag over a part of the chart to enlarge it; a double click shows all again.",
                    )  # fmt: skip
                    chart = gr.LinePlot(
                        x="step", y="value", color="line", height=340, buttons=["fullscreen", "export"],
                        elem_id="training-chart",
                    )  # fmt: skip
                charts = gr.HTML(elem_id="training-charts")
                numbers = gr.JSON(visible=False)
                link = gr.HTML(elem_id="training-link")
            with gr.Column(scale=2, min_width=320, elem_classes="answers"):
                which, sample, words, caption = _samples()

        def training(run: str) -> tuple[str, Json, str]:
            """Returns curves as SVG, their points as JSON, and a link."""
            path = page.runs.path(run)
            table = series(path, run)
            return _drawn(table, _charted(table, path), run), table, linked(self.name, {"run": run})

        def samples(run: str, sample: object) -> tuple[Image.Image | None, str]:
            """Returns a sample picture, by its number, 0 the first."""
            return _sampled(page.runs.path(run), run, sample)

        def newest(run: str) -> object:
            last = len(_files(page.runs.path(run))) - 1
            return gr.update(maximum=max(1, last), value=max(0, last), interactive=last > 0), FolderState(last=last)

        state, part = gr.State(FolderState()), gr.State()
        page.event(training, [page.run], [charts, numbers, link], [page.start(self)], self.name)
        page.event(newest, [page.run], [which, state], [page.start(self)], queue=False)
        drawn = page.event(
            samples, [page.run, which], [sample, words], [which.change, page.start(self)], "samples", clears=[caption]
        )
        page.event(captioned, [words], [sample, caption], [drawn.success], queue=False)
        _zoomable(page, self, curve, chart, part)

        def live(run: str, *values: object) -> list[object]:
            return _followed(page.runs.path(run), run, *values)

        page.event(
            live, [page.run, curve, part, which, state], [charts, curve, chart, which, sample, caption, state],
            [gr.Timer(EVERY).tick], queue=False,
        )  # fmt: skip
        page.controls[self.name] = {}

    def refresh(self, opened: Opened, domain: str | None) -> Updates:
        """Returns nothing: no component depends on a model."""
        return {}


def _followed(path: Path, run: str, curve: object, part: object, sample: object, state: object) -> list[object]:
    """Returns what has changed in a run's folder since the page last looked: curves, choices of curves, the large
    curve, the slider over samples, a sample picture with its caption, and the state now.

    Args:
        path: The run's folder.
        run: Its name.
        curve: The name of the large curve.
        part: The part of it that is shown enlarged, if not all.
        sample: The number of the sample picture that is shown; the last is followed by the next.
        state: What the page shows, a `FolderState`.
    """
    before = state if isinstance(state, FolderState) else FolderState()
    last, log = len(_files(path)) - 1, _stamp(path / "log.jsonl")
    names, drawn, choices, large, slider, picture, caption = before.charts, *[gr.skip()] * 6
    if log != before.log:
        try:
            table = series(path, run)
        except UserError as error:
            drawn = plain(str(error))
        else:
            charts = _charted(table, path)
            found = _named(charts)
            if curve not in found:
                curve = next(iter(found), None)
            drawn, large = _drawn(table, charts, run), _large(charts, curve, part)
            if tuple(found) != names:
                names, choices = tuple(found), gr.update(choices=[*found], value=curve)
    if last != before.last:
        follows = isinstance(sample, (int, float)) and sample >= before.last
        slider = gr.update(maximum=max(1, last), interactive=last > 0) | ({"value": max(0, last)} if follows else {})
    if before.last < 0 <= last:  # the slider, at 0, does not move for the first
        first, words = _sampled(path, run, last)
        picture, caption = gr.update(value=first, alt_text=words), plain(words)
    return [drawn, choices, large, slider, picture, caption, FolderState(log, names, last)]


def _stamp(file: Path) -> tuple[int, int] | None:
    """Returns what changes with a file's content; None if there is none."""
    with contextlib.suppress(OSError):
        found = file.stat()
        return found.st_mtime_ns, found.st_size
    return None


def _zoomable(page: Page, view: Training, curve: gr.Dropdown, chart: gr.LinePlot, part: gr.State) -> None:
    """Lets the chart show the curve that is chosen, and the part of it that is dragged over."""

    def charts_of(run: str) -> dict[str, Mapping[str, Lines]]:
        path = page.runs.path(run)
        try:
            return _charted(series(path, run), path)
        except UserError:  # the view itself says what is wrong
            return {}

    def names(run: str) -> object:
        found = list(_named(charts_of(run)))
        return gr.update(choices=found, value=found[0] if found else None)

    def whole(run: str, name: str | None) -> tuple[object, None]:
        return _large(charts_of(run), name, None), None

    def enlarged(event: gr.EventData) -> tuple[object, object]:
        part = getattr(event, "index", None)
        return (gr.update(x_lim=part), part) if isinstance(part, list) and len(part) == 2 else (gr.skip(), gr.skip())

    named = page.event(names, [page.run], [curve], [page.start(view)], queue=False)
    for trigger in (named.then, curve.input, chart.double_click):
        page.event(whole, [page.run, curve], [chart, part], [trigger], queue=False)
    page.event(enlarged, [], [chart, part], [chart.select], queue=False)


def _large(charts: Mapping[str, Mapping[str, Lines]], name: object, part: object) -> object:
    """Returns what makes the large chart show the curve of this name, as far as `part` says."""
    lines = _named(charts).get(str(name), {})
    rows = [(x, y, line or str(name)) for line, points in lines.items() for x, y in points if math.isfinite(y)]
    colours = {line or str(name): COLOURS[i % 8] for i, line in enumerate(lines)}
    frame = pandas.DataFrame(rows, columns=["step", "value", "line"])
    # gradio keeps a part that was enlarged before where None is given
    steps = part or ([frame["step"].min(), frame["step"].max()] if len(frame) else None)
    return gr.update(value=frame, x_lim=steps, y_title=name, color_map=colours)


def _charted(table: Json, path: Path) -> dict[str, Mapping[str, Lines]]:
    """Returns the charts of a log's curves, by kind and title, with the run's own names of the domains."""
    try:
        a, b = domain_names(Run.existing(path).config.data)
    except UserError:
        a, b = DOMAINS
    return {kind: by_title(table[kind], {"a": a, "b": b}, BARE) for kind in KINDS}


def _named(charts: Mapping[str, Mapping[str, Lines]]) -> dict[str, Lines]:
    """Returns the lines of every chart by the name that it has in the choice."""
    return {f"{KINDS[kind]}: {name}": lines for kind, found in charts.items() for name, lines in found.items()}


def _samples() -> tuple[gr.Slider, gr.Image, gr.Textbox, gr.HTML]:
    which = gr.Slider(0, 1, 0, step=1, label="Sample pictures, from the first to the last", interactive=True)
    sample = gr.Image(
        label="Samples", show_label=False, format="png", interactive=False, buttons=["download", "fullscreen"],
        alt_text="Samples drawn in training", elem_classes="answer", elem_id="training-picture",
    )  # fmt: skip
    return which, sample, gr.Textbox(visible=False), gr.HTML(elem_classes="words", elem_id="training-words")


def series(path: Path, name: str) -> Json:
    """Returns {kind: {curve: [[step, value], ...]}, "seconds", "events"}; steps count on through a run's stages.

    Raises UserError if the run or its log has gone, or nothing is logged yet.
    """
    file = path / "log.jsonl"
    try:
        if file.stat().st_size > MOST_LOG:
            raise UserError(f"The log of {name} is too large to be drawn")
        rows = read_log(file)
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{name} has no log that can be read; was the run moved or deleted?") from None
    seconds = [row["seconds"] for row in rows if "seconds" in row]
    events = [row["event"] for row in rows if "event" in row]
    table = {kind: series_of(rows, kind) for kind in KINDS}
    return {**table, "seconds": seconds[-1] if seconds else 0.0, "events": events[-5:]}


def _drawn(table: Json, charted: Mapping[str, Mapping[str, Lines]], run: str) -> str:
    blocks, drawn = [], []
    for kind, title in KINDS.items():
        charts = [curves(name, lines) for name, lines in charted[kind].items()]
        drawn += charts
        if any(charts):
            blocks.append(f'<h3>{title}</h3><div class="charts">{"".join(charts)}</div>')
    last = max((points[-1][0] for kind in KINDS for points in table[kind].values()), default=0)
    head = f"<p>Step {last:.0f}, {table['seconds'] / 60:.1f} minutes of training.</p>"
    events = "".join(f"<li>{html.escape(str(event))}</li>" for event in table["events"])
    save = download(f"{run}-training", drawn, {"run": run, "step": f"{last:.0f}"}) if any(drawn) else ""
    return f"{head}{''.join(blocks)}{save}<ul>{events}</ul>"


def _files(path: Path) -> list[Path]:
    return sorted((path / "samples").glob("[!.]*.png"))


def _sampled(path: Path, name: str, number: object) -> tuple[Image.Image | None, str]:
    """Returns a sample picture of a run, None before the first, and what it is. Raises UserError for a damaged one."""
    files = _files(path)
    if not files:
        return None, f"{name} has drawn no samples yet: they come with each measurement."
    at = min(max(0, int(number)) if isinstance(number, (int, float)) else 0, len(files) - 1)
    try:
        with open_image(files[at]) as opened:
            picture = opened.convert("RGBA")
    except OSError:
        raise UserError(f"The sample picture {files[at].name} of {name} can't be read just now") from None
    stage, _, step = files[at].stem.partition("-")
    words = f"Samples of {name}, stage {stage}, step {int(step) if step.isdigit() else step}; {at + 1} of {len(files)}."
    return described(picture, {"run": name, "view": "samples", "step": step}), words
