"""Training: curves of what `log.jsonl` says, while it is being written, and the sample pictures of the time."""

import html
import math
from collections.abc import Sequence
from pathlib import Path

import gradio as gr
import pandas
from PIL import Image

from unbraid.core.files import Json
from unbraid.core.types import UserError
from unbraid.data.images import open_image
from unbraid.evaluation.report.embed import by_title
from unbraid.evaluation.report.embed import series as series_of
from unbraid.model.log import read_log
from unbraid.web.figures import COLOURS, curves, described, download
from unbraid.web.page import Page, Updates, captioned, linked, plain
from unbraid.web.runs import Opened

EVERY = 4.0
"""Seconds between two looks at the log."""
MOST_LOG = 200_000_000
"""Bytes of a log that is read."""
WAYS, BARE = {"a->b": "a->b", "b->a": "b->a"}, "recall@1"
"""Lines of charts of both directions, and the chart of figures that are called by them alone."""
KINDS = {"validation": "Held-out figures", "losses": "Losses", "diagnostics": "Diagnostics"}


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
            table = series(page.runs.path(run), run)
            return _charts(table, run), table, linked(self.name, {"run": run})

        def live(run: str) -> object:
            path = page.runs.path(run)
            try:
                return _charts(series(path, run), run)
            except UserError as error:
                return plain(str(error))

        def samples(run: str, sample: object) -> tuple[Image.Image | None, str]:
            """Returns a sample picture, by its number, 0 the first."""
            return _sampled(page.runs.path(run), run, sample)

        def newest(run: str) -> object:
            last = len(_files(page.runs.path(run))) - 1
            return gr.update(maximum=max(1, last), value=max(0, last), interactive=last > 0)

        page.event(training, [page.run], [charts, numbers, link], [page.start(self)], self.name)
        page.event(newest, [page.run], [which], [page.start(self)], queue=False)
        drawn = page.event(samples, [page.run, which], [sample, words], [which.change, page.start(self)], "samples")
        page.event(captioned, [words], [sample, caption], [drawn.then], queue=False)
        _zoomable(page, self, curve, chart)
        timer = gr.Timer(EVERY)
        page.event(live, [page.run], [charts], [timer.tick], queue=False)
        page.controls[self.name] = {}

    def refresh(self, opened: Opened) -> Updates:
        """Returns nothing: no component depends on a model."""
        return {}


def _zoomable(page: Page, view: Training, curve: gr.Dropdown, chart: gr.LinePlot) -> None:
    """Lets the chart show the curve that is chosen, and the part of it that is dragged over."""

    def lines_of(run: str) -> dict[str, dict[str, Sequence[tuple[float, float]]]]:
        try:
            return _charted(series(page.runs.path(run), run))
        except UserError:  # the view itself says what is wrong
            return {}

    def names(run: str) -> object:
        found = list(lines_of(run))
        return gr.update(choices=found, value=found[0] if found else None)

    def drawn(run: str, name: str | None) -> object:
        lines = lines_of(run).get(name or "", {})
        rows = [(x, y, line or str(name)) for line, points in lines.items() for x, y in points if math.isfinite(y)]
        colours = {line or str(name): COLOURS[i % 8] for i, line in enumerate(lines)}
        frame = pandas.DataFrame(rows, columns=["step", "value", "line"])
        # gradio keeps a part that was enlarged before where None is given
        steps = [frame["step"].min(), frame["step"].max()] if len(frame) else None
        return gr.update(value=frame, x_lim=steps, y_title=name, color_map=colours)

    def enlarged(event: gr.EventData) -> object:
        part = getattr(event, "index", None)
        return gr.update(x_lim=part) if isinstance(part, list) and len(part) == 2 else gr.skip()

    named = page.event(names, [page.run], [curve], [page.start(view)], queue=False)
    for trigger in (named.then, curve.input, chart.double_click):
        page.event(drawn, [page.run, curve], [chart], [trigger], queue=False)
    page.event(enlarged, [], [chart], [chart.select], queue=False)


def _charted(table: Json) -> dict[str, dict[str, Sequence[tuple[float, float]]]]:
    """Returns the lines of every chart, by its name and the name of the line."""
    return {
        f"{title}: {name}": lines
        for kind, title in KINDS.items()
        for name, lines in by_title(table[kind], WAYS, BARE).items()
    }


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


def _charts(table: Json, run: str) -> str:
    blocks, drawn = [], []
    for kind, title in KINDS.items():
        charts = [curves(name, lines) for name, lines in by_title(table[kind], WAYS, BARE).items()]
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
