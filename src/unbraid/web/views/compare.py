"""Compare: the same input through several runs, a row each."""

import json
from collections.abc import Sequence

import gradio as gr
import torch

from unbraid.core.types import DOMAINS, Domain, ImageSpec, UserError, other
from unbraid.data.images import fit
from unbraid.web.figures import Cell
from unbraid.web.page import Answer, Page, Picker, Updates, about, directions, sentence, thumbnails
from unbraid.web.runs import Opened
from unbraid.web.uploads import read_upload
from unbraid.web.values import MOST_SEED, one_of, whole
from unbraid.web.views.translate import DIRECTIONS, Translate

MOST_RUNS = 6
MOST_SAMPLES = 4


class Compare:
    """The view."""

    name, title = "compare", "Compare"

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def missing(self, opened: Opened) -> str:
        """Returns why this run has no such view; empty if it has."""
        if len(self.names) < 2:
            return "there is one run only: unbraid explore RUN RUN... compares several"
        return Translate().missing(opened)

    def build(self, page: Page) -> None:
        """Builds components and events."""
        self.page = page
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self.source = gr.Radio(DIRECTIONS, value="a", label="Direction")
                runs = gr.CheckboxGroup(self.names, value=self.names[:MOST_RUNS], label="Runs")
                self.input = Picker(page, "Input")
                samples = gr.Slider(1, MOST_SAMPLES, 3, step=1, label="Samples")
                seed = gr.Number(0, label="Seed", precision=0)
                show = gr.Button("Compare", variant="primary")
            with gr.Column(scale=3, min_width=320, elem_classes="answers"):
                inputs = {
                    "source": self.source,
                    "runs": runs,
                    "item": self.input.number,
                    "upload": self.input.upload,
                    "samples": samples,
                    "seed": seed,
                }

                triggers = [
                    show.click, self.source.input, runs.input, self.input.number.input, self.input.upload.input,
                    samples.release, seed.input,
                ]  # fmt: skip
                page.answers(self, self._compare, inputs, triggers, "The same input through several runs")
        self.input.follows(self.source, self)
        page.turns(self.source, self.input)

    def refresh(self, opened: Opened, domain: str | None) -> Updates:
        """Returns thumbnails of the domain to translate from."""
        source = opened.first(domain)
        choices = gr.update(choices=directions(opened), value=source)
        return {self.source: choices, **self.input.reset(thumbnails(opened, source))}

    def _compare(
        self,
        run: str,
        source: str = "a",
        runs: Sequence[str] | None = (),
        item: object = 0,
        upload: object = None,
        samples: object = 3,
        seed: object = 0,
    ) -> Answer:
        """Returns the input, a test item of `run` or an upload, through each of `runs`."""
        page = self.page
        one_of(source, "The source", DOMAINS)
        wanted = [runs] if isinstance(runs, str) else list(runs or self.names[:MOST_RUNS])
        if not wanted or len(wanted) > MOST_RUNS:
            raise UserError(f"Choose 1 to {MOST_RUNS} runs to compare")
        count = whole(samples, "Samples", 1, MOST_SAMPLES)
        seed = whole(seed if seed is not None else 0, "Seed", 0, MOST_SEED)
        with page.runs.using(run) as opened:
            src = opened.known(source)
            way = _way(opened, src)
            x, name, note, at = self.input.read(opened, src, item, upload)
        rows, remarks = [], [note]
        for one in wanted:
            try:
                with page.runs.using(str(one)) as opened:
                    reason = Translate().missing(opened)
                    if reason:
                        raise UserError(reason)
                    spec = opened.image_spec(src)
                    # an upload is read as each run sees it; a test item has the first run's size
                    mine = read_upload(upload, spec, page.folder)[0] if upload is not None else _fitted(x, spec)
                    dst = other(src)
                    own_way = _way(opened, src)
                    many = count if opened.sizes[dst][1] else 1
                    generated = opened.model.translate(mine, src, dst, many, seed=seed)[0]
                    rows.append(
                        [Cell(mine[0], opened.name), *(Cell(y, f"sample {i}") for i, y in enumerate(generated, 1))]
                    )
                    if own_way != way:
                        remarks.append(f"in {opened.name} this is {own_way}")
            except UserError as error:
                remarks.append(f"left out: {one}, for {error}")
        if not rows:
            raise UserError(sentence(*remarks))
        words = sentence(
            f"{name} {way} through {', '.join(row[0].words for row in rows)}, a row each; seed {seed}",
            *remarks,
        )
        with page.runs.using(run) as opened:
            text = about(opened, view="compare", runs=", ".join(map(str, wanted)), source=src, input=name, seed=seed)
        query = None
        if at is not None:
            query = {
                "run": run, "source": src, "runs": json.dumps(wanted), "item": at, "samples": count,
                "seed": seed,
            }  # fmt: skip
        return Answer(rows, text, words, query)


def _way(opened: Opened, source: Domain) -> str:
    """Returns the direction in the run's own words."""
    return next(words for words, domain in directions(opened) if domain == source)


def _fitted(x: torch.Tensor, spec: ImageSpec) -> torch.Tensor:
    """(1, c, h, w) at another size."""
    return x if tuple(x.shape[1:]) == spec.shape else fit(x, spec).clamp(-1, 1)
