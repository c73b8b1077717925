"""Interpolate: between two items along the shared code, the exclusive one, or both, as a place and as a strip."""

from typing import Literal

import gradio as gr
import torch

from unbraid.core.types import Codes, UserError
from unbraid.web.figures import Cell
from unbraid.web.page import Answer, Page, Picker, Updates, about, choice, sentence, thumbnails
from unbraid.web.runs import Opened
from unbraid.web.values import one_of, share, whole
from unbraid.web.views.analogies import with_exclusive, without_codes

Part = Literal["shared", "exclusive"]
MOST_STEPS = 12


class Interpolate:
    """The view."""

    name, title = "interpolate", "Interpolate"

    def missing(self, opened: Opened) -> str:
        """Returns why this run has no such view; empty if it has."""
        return without_codes(opened)

    def build(self, page: Page) -> None:
        """Builds components and events."""
        self.page = page
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self.domain = gr.Radio(["a", "b"], value="a", label="Domain")
                self.first, self.second = Picker(page, "First"), Picker(page, "Second")
                shared = gr.Slider(0, 1, 0.5, step=0.05, label="Shared: from first to second")
                exclusive = gr.Slider(0, 1, 0.5, step=0.05, label="Exclusive: from first to second")
                part = gr.Radio(["shared", "exclusive"], value="shared", label="Strip along")
                steps = gr.Slider(2, MOST_STEPS, 6, step=1, label="Pictures in the strip")
                show = gr.Button("Interpolate", variant="primary")
            with gr.Column(scale=3, min_width=320, elem_classes="answers"):
                inputs = {
                    "domain": self.domain,
                    "first": self.first.number,
                    "second": self.second.number,
                    "first_upload": self.first.upload,
                    "second_upload": self.second.upload,
                    "shared": shared,
                    "exclusive": exclusive,
                    "part": part,
                    "steps": steps,
                }

                triggers = [
                    show.click, self.domain.input, self.first.number.input, self.second.number.input,
                    self.first.upload.input, self.second.upload.input, shared.release, exclusive.release, part.input,
                    steps.release,
                ]  # fmt: skip
                page.answers(self, self._interpolate, inputs, triggers, "Interpolation")
        self.first.follows(self.domain, self)
        self.second.follows(self.domain, self)
        page.turns(self.domain, self.first, self.second)

    def refresh(self, opened: Opened, domain: str | None) -> Updates:
        """Returns the domains that have codes, thumbnails, and the first and the last test item."""
        domains = with_exclusive(opened)
        side = opened.first(domain, domains)
        found = thumbnails(opened, side)
        return {
            self.domain: choice(opened, domains, side),
            **self.first.reset(found),
            **self.second.reset(found, max(0, opened.count(side) - 1)),
        }

    def _interpolate(
        self,
        run: str,
        domain: str = "a",
        first: object = 0,
        second: object = 1,
        first_upload: object = None,
        second_upload: object = None,
        shared: object = 0.5,
        exclusive: object = 0.5,
        part: object = "shared",
        steps: object = 6,
    ) -> Answer:
        """Returns the place between two items where the sliders stand, and a strip along one part."""
        with self.page.serving(self, run) as opened:
            place = share(shared, "Shared"), share(exclusive, "Exclusive")
            return self._answer(opened, domain, (first, first_upload), (second, second_upload), place, part, steps)

    def _answer(
        self,
        opened: Opened,
        domain: str,
        first: tuple[object, object],
        second: tuple[object, object],
        place: tuple[float, float],
        part: object,
        steps: object,
    ) -> Answer:
        side = opened.known(domain)
        if opened.sizes[side][1] == 0:
            raise UserError(f"Items of {opened.called(side)} have no exclusive code in {opened.model.name}")
        along: Part = "shared" if one_of(part, "The part", ("shared", "exclusive")) == "shared" else "exclusive"
        count = whole(steps, "Pictures in the strip", 2, MOST_STEPS)
        x, start, note, i = self.first.read(opened, side, *first)
        y, end, remark, j = self.second.read(opened, side, *second)
        here, there = opened.model.encode(x, side), opened.model.encode(y, side)
        codes = Codes(here.shared.lerp(there.shared, place[0]), here.exclusive.lerp(there.exclusive, place[1]))
        between = opened.model.decode(codes, side)[0]
        frames = opened.model.interpolate(x, y, along, side, count)
        rows = [[Cell(x[0], "first"), Cell(between, f"shared {place[0]:g}, excl. {place[1]:g}"), Cell(y[0], "second")]]
        shares = torch.linspace(0, 1, count).tolist()
        strip = [Cell(frame, f"{along} {at:.2f}") for frame, at in zip(frames, shares, strict=True)]
        rows += [strip[k : k + 4] for k in range(0, count, 4)]
        words = sentence(
            f"between {start} and {end}",
            f"above: the first, {place[0]:g} of the way in what is shared and {place[1]:g} in what is exclusive, the "
            f"second; below: the way along the {along} code alone",
            *dict.fromkeys((note, remark)),
            opened.remark,
        )
        text = about(
            opened, view="interpolate", domain=side, first=start, second=end, shared=place[0], exclusive=place[1],
            part=along, steps=count,
        )  # fmt: skip
        query = None
        if i is not None and j is not None:
            query = {
                "run": opened.name, "domain": side, "first": i, "second": j, "shared": place[0],
                "exclusive": place[1], "part": along, "steps": count,
            }  # fmt: skip
        return Answer(rows, text, words, query)
