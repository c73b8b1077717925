"""Search: the test items whose codes are nearest to a query's, in either domain, by the shared and the exclusive code.

Codes are compared as `evaluate` compares them: shared ones in the model's CodeSpace by the run's distance, exclusive
ones by Euclidean distance.
"""

import gradio as gr
import numpy as np
import torch
from torch import Tensor

from unbraid.core.types import Codes, Domain, UserError
from unbraid.evaluation.metrics.retrieval import distances
from unbraid.web.figures import ALIKE, GOOD, Cell, sheet
from unbraid.web.page import Answer, Page, Picker, Updates, about, sentence, thumbnails
from unbraid.web.runs import Opened
from unbraid.web.values import whole

MOST_NEIGHBOURS = 12


class Search:
    """The view."""

    name, title = "search", "Search"

    def missing(self, opened: Opened) -> str:
        """Returns why this run has no such view; empty if it has."""
        if not opened.shows_images:
            return "its items are vectors, without pictures"
        if not any(shared for shared, _ in opened.sizes.values()):
            return f"{opened.model.name} has no codes to compare"
        return "" if opened.data else f"its test part can't be read ({opened.without_data})"

    def build(self, page: Page) -> None:
        """Builds components and events."""
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self.domain = gr.Radio(["a", "b"], value="a", label="The query is from")
                self.query = Picker(page, "Query")
                self.among = gr.Radio(["a", "b"], value="b", label="Search among test items of")
                count = gr.Slider(1, MOST_NEIGHBOURS, 4, step=1, label="Neighbours")
                show = gr.Button("Search", variant="primary")
            with gr.Column(scale=3, min_width=320, elem_classes="answers"):
                inputs = {
                    "domain": self.domain,
                    "item": self.query.number,
                    "upload": self.query.upload,
                    "among": self.among,
                    "neighbours": count,
                }

                def search(
                    run: str,
                    domain: str = "a",
                    item: object = 0,
                    upload: object = None,
                    among: str = "b",
                    neighbours: object = 4,
                ) -> Answer:
                    """Returns the nearest test items of a domain, by shared and by exclusive code."""
                    with page.serving(self, run) as opened:
                        return self._answer(opened, domain, item, upload, among, neighbours)

                triggers = [
                    show.click, self.domain.input, self.query.number.input, self.query.upload.input,
                    self.among.input, count.release,
                ]  # fmt: skip
                page.answers(self, search, inputs, triggers, "Neighbours")
        self.query.follows(self.domain, self)

        def turned(run: str, domain: str) -> tuple[object, object]:
            with page.runs.using(run) as opened:
                return thumbnails(opened, opened.known(domain)), None

        page.event(
            turned, [page.run, self.domain], [self.query.gallery, self.query.upload], [self.domain.input], queue=False
        )

    def refresh(self, opened: Opened) -> Updates:
        """Returns thumbnails; from a, among the last domain there is."""
        domains = list(opened.domains)
        return {
            self.domain: gr.update(choices=opened.choices(domains), value="a"),
            self.among: gr.update(choices=opened.choices(domains), value=domains[-1]),
            self.query.gallery: thumbnails(opened, "a"),
            self.query.number: 0,
            self.query.upload: None,
        }

    def _answer(
        self, opened: Opened, domain: str, item: object, upload: object, among: str, neighbours: object
    ) -> Answer:
        side, target = opened.known(domain), opened.known(among)
        count = whole(neighbours, "Neighbours", 1, MOST_NEIGHBOURS)
        x, name, note, at = self.query.read(opened, side, item, upload)
        codes = opened.model.encode(x, side)
        cells, remarks, measured = [], [], []
        for part in ("shared", "exclusive"):
            found = nearest(opened, codes, side, target, part, at, count)
            if found is None:
                remarks.append(
                    f"exclusive codes of {opened.called(side)} and {opened.called(target)} can't be compared"
                )
                continue
            measured.append(part)
            row, marked = [Cell(x[0], f"by {part} code")], []
            for place, (i, distance) in enumerate(found, 1):
                pair, alike = _relation(opened, side, at, target, i)
                words = f"{place}. #{i}  {distance:.3g}" + (" pair" if pair else " label" if alike else "")
                kin = " (its pair)" if pair else " (its label)" if alike else ""
                marked.append(f"item {i} at {distance:.3g}{kin}")
                row.append(Cell(opened.item(target, i)[0], words, GOOD if pair else ALIKE if alike else ""))
            cells += [row[k : k + 5] if k == 0 else [Cell(None), *row[k : k + 4]] for k in _starts(len(row))]
            remarks.append(f"by {part} code: " + ", ".join(marked))
        known = "green frames: of the query's pair; blue: of its label" if at is not None else ""
        whole_part = opened.count(target)
        looked = len(opened.gallery(target).at)
        words = sentence(
            f"{name}; nearest of {looked} test items of {opened.called(target)}"
            + (f", spread over all {whole_part}" if looked < whole_part else "")
            + f", {opened.distance} distance of shared codes"
            + (", euclidean of exclusive ones" if "exclusive" in measured else ""),
            *remarks,
            known,
            note,
            opened.remark,
        )
        text = about(
            opened, view="search", query=name, domain=side, among=target, neighbours=count, distance=opened.distance
        )
        query = None
        if at is not None:
            query = {"run": opened.name, "domain": side, "item": at, "among": target, "neighbours": count}
        return Answer(sheet(cells, text), words, query)


def _starts(length: int) -> list[int]:
    """Where rows of a query with its neighbours begin: five cells, then four behind an empty one."""
    return [0, *range(5, length, 4)]


def nearest(
    opened: Opened, query: Codes, domain: Domain, target: Domain, part: str, at: int | None, count: int
) -> list[tuple[int, float]] | None:
    """Returns positions of the nearest test items of `target` and their distances; what shows the same item comes once.

    None where codes of the two domains differ in shape or hold nothing.

    Args:
        opened: The run.
        query: Codes.
        domain: Of the query.
        target: Of the items.
        part: Of the codes.
        at: The query's own position if it is a test item of `domain`; itself is left out.
        count: Items.
    """
    gallery = opened.gallery(target)
    theirs = _prepared(opened, gallery.codes, target, part)
    mine = _prepared(opened, query, domain, part)
    if theirs.shape[1] == 0 or theirs.shape[1] != mine.shape[1]:
        return None
    far = distances(mine, theirs)[0].clamp(min=0).sqrt()
    same = opened.identity(target, gallery.at)
    own = opened.identity(domain, np.array([at]))[0] if at is not None and domain == target else None
    found: dict[int, tuple[int, float]] = {}
    for i in torch.argsort(far, stable=True).tolist():
        if same[i] != own and int(same[i]) not in found:
            found[int(same[i])] = int(gallery.at[i]), float(far[i])
        if len(found) == count:
            break
    if not found:
        raise UserError(f"There is nothing else in domain {opened.called(target)}")
    return list(found.values())


def _prepared(opened: Opened, codes: Codes, domain: Domain, part: str) -> Tensor:
    if part == "exclusive":
        return codes.exclusive.flatten(1).float()
    if opened.model.space is None:
        return codes.shared.flatten(1).float()
    return opened.model.space.prepared(codes.shared, domain, opened.distance)


def _relation(opened: Opened, domain: Domain, at: int | None, target: Domain, i: int) -> tuple[bool, bool]:
    """Whether a hit is of the query's pair, and whether it has all of its labels."""
    if at is None:
        return False, False
    things = opened.things(np.array([at, i]))
    pair = things is not None and bool(things[0] == things[1])
    mine, theirs = opened.labels(domain, np.array([at])), opened.labels(target, np.array([i]))
    return pair, bool(mine) and mine == theirs
