"""Analogies: rows give what is shared, columns what is exclusive, and the grid between is filled."""

import gradio as gr
import torch

from unbraid.core.types import Domain, UserError
from unbraid.web.figures import Cell
from unbraid.web.page import (
    Answer,
    Page,
    Updates,
    about,
    choice,
    now,
    picked,
    positions,
    sentence,
    small_gallery,
    thumbnails,
    upload,
)
from unbraid.web.runs import Opened
from unbraid.web.uploads import read_upload
from unbraid.web.values import several

MOST = 6
"""Rows and columns."""


def with_exclusive(opened: Opened) -> list[Domain]:
    """Returns the domains whose items have an exclusive code."""
    return [domain for domain in opened.domains if all(opened.sizes[domain])]


def without_codes(opened: Opened) -> str:
    """Returns why a run has nothing that exclusive codes are needed for; empty if it has."""
    if not opened.model.spec.of_images:
        return "its items are vectors, without pictures"
    if not any(shared for shared, _ in opened.sizes.values()):
        return f"{opened.model.name} translates without taking items apart into codes"
    return "" if with_exclusive(opened) else f"{opened.model.name} has no exclusive code"


class Analogies:
    """The view."""

    name, title = "analogies", "Analogies"

    def missing(self, opened: Opened) -> str:
        """Returns why this run has no such view; empty if it has."""
        return without_codes(opened)

    def build(self, page: Page) -> None:
        """Builds components and events."""
        self.page = page
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self.domain = gr.Radio(["a", "b"], value="a", label="Domain")
                self.rows, self.row_items, row_upload = _chooser("Rows, for what is shared")
                self.columns, self.column_items, column_upload = _chooser("Columns, for what is exclusive")
                show = gr.Button("Fill the grid", variant="primary")
            with gr.Column(scale=3, min_width=320, elem_classes="answers"):
                inputs = {
                    "domain": self.domain,
                    "rows": self.row_items,
                    "columns": self.column_items,
                    "row_upload": row_upload,
                    "column_upload": column_upload,
                }

                triggers = [
                    show.click, self.domain.input, self.row_items.submit, self.column_items.submit, row_upload.input,
                    column_upload.input,
                ]  # fmt: skip
                page.answers(self, self._analogies, inputs, triggers, "Analogies")
        for gallery, items in ((self.rows, self.row_items), (self.columns, self.column_items)):

            def toggle(run: str, domain: str, chosen: object, event: gr.EventData) -> tuple[str, int]:
                with page.runs.using(run) as opened:
                    at = picked(opened, opened.known(domain), event)
                    kept = several(chosen, "Items", MOST)
                    kept = [i for i in kept if i != at] if at in kept else [*kept, at][-MOST:]
                    return ", ".join(map(str, kept)), now()

            outputs = [items, page.starts[self.name]]
            page.event(toggle, [page.run, self.domain, items], outputs, [gallery.select])

        def turned(run: str, domain: str) -> tuple[object, object]:
            with page.runs.using(run) as opened:
                found = thumbnails(opened, opened.known(domain))
                return found, found

        page.event(turned, [page.run, self.domain], [self.rows, self.columns], [self.domain.input], queue=False)

    def _analogies(
        self,
        run: str,
        domain: str = "a",
        rows: object = "0",
        columns: object = "0",
        row_upload: object = None,
        column_upload: object = None,
    ) -> Answer:
        """Returns the shared part of each row's item with the exclusive part of each column's."""
        with self.page.serving(self, run) as opened:
            side = opened.known(domain)
            across = self._read(opened, side, rows, row_upload, "Rows")
            down = self._read(opened, side, columns, column_upload, "Columns")
            query = None
            if row_upload is None and column_upload is None:
                query = {"run": run, "domain": side, "rows": rows, "columns": columns}
            return _answer(opened, side, across, down, query)

    def _read(
        self, opened: Opened, domain: Domain, items: object, sent: object, what: str
    ) -> list[tuple[str, torch.Tensor, str]]:
        """Name, item and remark of each."""
        found = []
        for at in several(items, what, MOST):
            x = opened.item(domain, at)
            found.append((opened.title(domain, at), x, ""))
        if sent is not None:
            x, note = read_upload(sent, opened.image_spec(domain), self.page.folder)
            found = [*found, ("uploaded", x, note)][-MOST:]
        if not found:
            raise UserError(f"{what}: pick one image at least")
        return found

    def refresh(self, opened: Opened, domain: str | None) -> Updates:
        """Returns the domains that have exclusive codes, thumbnails, and a grid to begin with."""
        domains = with_exclusive(opened)
        side = opened.first(domain, domains)
        found, at = thumbnails(opened, side), [int(i) for i in positions(opened, side)]
        half = min(4, len(at) // 2)
        return {
            self.domain: choice(opened, domains, side),
            self.rows: found,
            self.columns: found,
            self.row_items: ", ".join(map(str, at[:half])),
            self.column_items: ", ".join(map(str, at[-half:] if half else [])),
        }


def _chooser(label: str) -> tuple[gr.Gallery, gr.Textbox, gr.Image]:
    gallery = small_gallery(f"{label}: pick or drop test images")
    with gr.Row():
        items = gr.Textbox("", label="Numbers of test items", min_width=120, lines=1, max_lines=1)
        return gallery, items, upload("And your own", label)


def _answer(
    opened: Opened,
    domain: Domain,
    rows: list[tuple[str, torch.Tensor, str]],
    columns: list[tuple[str, torch.Tensor, str]],
    query: dict[str, object] | None,
) -> Answer:
    if opened.sizes[domain][1] == 0:
        raise UserError(f"Items of {opened.called(domain)} have no exclusive code in {opened.model.name}")
    x, y = (torch.cat([item for _, item, _ in side]) for side in (rows, columns))
    generated = opened.model.analogy(x, y, domain)
    cells = [[Cell(None), *(Cell(item, f"exclusive {j}") for j, item in enumerate(y, 1))]]
    cells += [
        [Cell(item, f"shared {i}"), *(Cell(answer, f"{i} + {j}") for j, answer in enumerate(answers, 1))]
        for i, (item, answers) in enumerate(zip(x, generated, strict=True), 1)
    ]
    names = [", ".join(name for name, _, _ in side) for side in (rows, columns)]
    others = "the other domain" if len(opened.domains) > 1 else "other classes"
    words = sentence(
        f"each picture has what the first of its row shares with {others} ({names[0]}) and what the top of its "
        f"column has alone ({names[1]})",
        *dict.fromkeys(note for _, _, note in (*rows, *columns)),
        opened.remark,
    )
    text = about(opened, view="analogies", domain=domain, rows=names[0], columns=names[1])
    return Answer(cells, text, words, query)
