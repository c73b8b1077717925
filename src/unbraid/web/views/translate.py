"""Translate: an item of one domain, shown in the other, as often as wanted or guided by an item there."""

import gradio as gr

from unbraid.core.types import DOMAINS, UserError, other
from unbraid.web.figures import Cell, wrapped
from unbraid.web.page import Answer, Page, Picker, Updates, about, directions, now, sentence, thumbnails
from unbraid.web.runs import Opened
from unbraid.web.values import MOST_SEED, one_of, whole

MOST_SAMPLES = 12
DIRECTIONS = (("from a to b", "a"), ("from b to a", "b"))


class Translate:
    """The view."""

    name, title = "translate", "Translate"

    def missing(self, opened: Opened) -> str:
        """Returns why this run has no such view; empty if it has."""
        if not opened.model.spec.of_images:
            return "its items are vectors, without pictures"
        if len(opened.domains) < 2:
            return "it was trained on labelled images of one kind, so there is no second domain to translate to"
        return "" if opened.model.translator() is not None else f"{opened.model.name} does not translate"

    def build(self, page: Page) -> None:
        """Builds components and events."""
        self.page = page
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self.source = gr.Radio(DIRECTIONS, value="a", label="Direction")
                with gr.Row():
                    reseed = gr.Button("Other samples", min_width=120)
                    show = gr.Button("Translate", variant="primary", min_width=120)
                self.input = Picker(page, "Input")
                with gr.Row():
                    samples = gr.Slider(1, MOST_SAMPLES, 4, step=1, label="Samples", min_width=120)
                    seed = gr.Number(0, label="Seed", precision=0, min_width=80)
                with gr.Accordion("Guided by an item of the target domain", open=False):
                    self.like = Picker(page, "Guide", optional=True)
            with gr.Column(scale=3, min_width=320, elem_classes="answers"):
                inputs = {
                    "source": self.source,
                    "item": self.input.number,
                    "upload": self.input.upload,
                    "samples": samples,
                    "seed": seed,
                    "like": self.like.number,
                    "like_upload": self.like.upload,
                }
                triggers = [
                    show.click, self.source.input, self.input.number.input, self.input.upload.input, samples.release,
                    seed.input, self.like.number.input, self.like.upload.input,
                ]  # fmt: skip
                page.answers(self, self._translate, inputs, triggers, "Translations")
        self.input.follows(self.source, self)
        page.event(
            lambda at: (whole(at or 0, "Seed", 0, MOST_SEED - 1) + 1, now()), [seed], [seed, page.starts[self.name]],
            [reseed.click],
        )  # fmt: skip
        # what was picked in one domain means nothing in the other
        page.event(
            self._turned, [page.run, self.source],
            [self.input.gallery, self.input.upload, self.like.gallery, self.like.number, self.like.upload],
            [self.source.input], queue=False,
        )  # fmt: skip
        self.target = gr.Textbox("b", visible=False)
        page.event(
            lambda source: "a" if source == "b" else "b", [self.source], [self.target],
            [self.source.change], queue=False,
        )  # fmt: skip
        self.like.follows(self.target, self)

    def _turned(self, run: str, source: str) -> tuple[object, ...]:
        with self.page.runs.using(run) as opened:
            side = opened.known(source)
            return thumbnails(opened, side), None, thumbnails(opened, other(side)), None, None

    def refresh(self, opened: Opened, domain: str | None) -> Updates:
        """Returns both domains' thumbnails."""
        source = opened.first(domain)
        return {
            self.source: gr.update(choices=directions(opened), value=source),
            self.target: other(source),
            **self.input.reset(thumbnails(opened, source)),
            **self.like.reset(thumbnails(opened, other(source)), None),
        }

    def _translate(
        self,
        run: str,
        source: str = "a",
        item: object = 0,
        upload: object = None,
        samples: object = 4,
        seed: object = 0,
        like: object = None,
        like_upload: object = None,
    ) -> Answer:
        """Returns translations of one item: `samples` drawn by `seed`, or one guided by `like`."""
        with self.page.serving(self, run) as opened:
            return self._answer(opened, source, item, upload, samples, seed, like, like_upload)

    def _answer(
        self,
        opened: Opened,
        source: str,
        item: object,
        upload: object,
        samples: object,
        seed: object,
        like: object,
        like_upload: object,
    ) -> Answer:
        one_of(source, "The source", DOMAINS)
        src = opened.known(source)
        dst = other(src)
        here, there = opened.called(src), opened.called(dst)
        count = whole(samples, "Samples", 1, MOST_SAMPLES)
        seed = whole(seed if seed is not None else 0, "Seed", 0, MOST_SEED)
        x, name, note, at = self.input.read(opened, src, item, upload)
        guided = like_upload is not None or like not in (None, "")
        varies = opened.sizes[dst][1] > 0
        cells, remarks = [Cell(x[0], f"input, {here}")], [note]
        guide = ""
        if guided:
            if not varies:
                raise UserError(
                    f"{opened.model.name} keeps nothing that is particular to {there}: there is nothing to be guided by"
                )
            reference, guide, remark, _ = self.like.read(opened, dst, like, like_upload)
            remarks.append(remark)
            generated = opened.model.translate(x, src, dst, 1, reference)[0]
            cells += [Cell(reference[0], "guided by"), Cell(generated[0], f"answer, {there}")]
        else:
            generated = opened.model.translate(x, src, dst, count if varies else 1, seed=seed)[0]
            cells += [Cell(y, f"sample {i}" if varies else f"answer, {there}") for i, y in enumerate(generated, 1)]
            if not varies:
                remarks.append(f"{opened.model.name} gives one answer: nothing of {there} varies in it")
        truth = None if at is None else opened.counterpart(src, at)
        if truth is not None:
            cells.append(Cell(truth[0], "true"))
        words = sentence(
            f"{name}, translated from {here} to {there}" + (f", guided by {guide}" if guided else f", seed {seed}"),
            "left to right, row by row: " + ", ".join(cell.words for cell in cells),
            *remarks,
            opened.remark,
        )
        text = about(
            opened, view="translate", source=src, target=dst, input=name, samples=len(generated), seed=seed, guide=guide
        )
        query = None
        if at is not None and like_upload is None:
            query = {"run": opened.name, "source": src, "item": at, "samples": count, "seed": seed, "like": like}
        return Answer(wrapped(cells), text, words, query)
