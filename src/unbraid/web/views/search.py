"""Search: what is nearest to a query by the shared and by the exclusive code, among the test items of a domain or the
images of an index.

Codes are compared as `evaluate` compares them: shared ones in the model's CodeSpace by the run's distance, exclusive
ones by Euclidean distance.
"""

from contextlib import closing
from pathlib import Path

import gradio as gr
import numpy as np
import torch
from torch import Tensor

from unbraid.core.types import Codes, Domain, UserError
from unbraid.data.images import ImageError, read_image
from unbraid.evaluation.metrics.retrieval import distances
from unbraid.search.hit import Hit
from unbraid.search.query import open_index, query
from unbraid.web.figures import ALIKE, GOOD, Cell
from unbraid.web.page import Answer, Page, Picker, Updates, about, choice, sentence, thumbnails
from unbraid.web.runs import Opened
from unbraid.web.values import whole

MOST_NEIGHBOURS = 12
INDEX = "index"
"""What `among` is for a search in the run's index."""


class Search:
    """The view."""

    name, title = "search", "Search"

    def missing(self, opened: Opened) -> str:
        """Returns why this run has no such view; empty if it has."""
        if not opened.model.spec.of_images:
            return "its items are vectors, without pictures"
        if not any(shared for shared, _ in opened.sizes.values()):
            return f"{opened.model.name} has no codes to compare"
        return "" if opened.data or opened.index else f"its test part can't be read ({opened.without_data})"

    def build(self, page: Page) -> None:
        """Builds components and events."""
        self.page = page
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self.domain = gr.Radio(["a", "b"], value="a", label="The query is from")
                self.query = Picker(page, "Query")
                self.among = gr.Radio(["a", "b"], value="b", label="Search among test items of, or in an index")
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

                triggers = [
                    show.click, self.domain.input, self.query.number.input, self.query.upload.input,
                    self.among.input, count.release,
                ]  # fmt: skip
                page.answers(self, self._search, inputs, triggers, "Neighbours")
        self.query.follows(self.domain, self)
        page.turns(self.domain, self.query)

    def refresh(self, opened: Opened, domain: str | None) -> Updates:
        """Returns thumbnails of the query's domain; among the last domain there is."""
        domains = list(opened.domains)
        side = opened.first(domain, domains)
        among = (opened.choices(domains) if len(domains) > 1 else [("test items", "a")]) if opened.data else []
        if place := opened.index:
            among.append((f"index {Path(place).name}", INDEX))
        return {
            self.domain: choice(opened, domains, side),
            self.among: gr.update(choices=among, value=domains[-1] if opened.data else INDEX, visible=len(among) > 1),
            **self.query.reset(thumbnails(opened, side)),
        }

    def _search(
        self,
        run: str,
        domain: str = "a",
        item: object = 0,
        upload: object = None,
        among: str = "b",
        neighbours: object = 4,
    ) -> Answer:
        """Returns the nearest test items of domain `among`, or images of the "index", by either code."""
        with self.page.serving(self, run) as opened:
            return self._answer(opened, domain, item, upload, among, neighbours)

    def _answer(
        self, opened: Opened, domain: str, item: object, upload: object, among: str, neighbours: object
    ) -> Answer:
        side = opened.known(domain)
        count = whole(neighbours, "Neighbours", 1, MOST_NEIGHBOURS)
        x, name, note, at = self.query.read(opened, side, item, upload)
        link: dict[str, object] = {"run": opened.name, "domain": side, "item": at, "among": among, "neighbours": count}
        query = None if at is None else link
        text = about(
            opened, view="search", query=name, domain=side, among=among, neighbours=count, distance=opened.distance
        )
        if among == INDEX:
            cells, remarks = _in_index(opened, x, side, count)
            return Answer(cells, text, sentence(f"{name}; nearest in the index", *remarks, note), query)
        target = opened.known(among)
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
            cells += _folded(row)
            remarks.append(f"by {part} code: " + ", ".join(marked))
        known = "green frames: of the query's pair; blue: of its label" if at is not None else ""
        whole_part = opened.count(target)
        looked = len(opened.gallery(target).at)
        words = sentence(
            f"{name}; nearest of {looked} test items{opened.of(target)}"
            + (f", spread over all {whole_part}" if looked < whole_part else "")
            + f", {opened.distance} distance of shared codes"
            + (", euclidean of exclusive ones" if "exclusive" in measured else ""),
            *remarks,
            known,
            note,
            opened.remark,
        )
        return Answer(cells, text, words, query)


def _folded(row: list[Cell]) -> list[list[Cell]]:
    """Returns a query with its neighbours in rows: five cells, then four behind an empty one."""
    return [row[:5], *([Cell(None), *row[k : k + 4]] for k in range(5, len(row), 4))]


def _in_index(opened: Opened, x: Tensor, domain: Domain, count: int) -> tuple[list[list[Cell]], list[str]]:
    """Returns the nearest images of the run's index in rows, and what is to be said of them."""
    if (found := opened.index) is None:
        raise UserError(f"There is no index of {opened.name} here: unbraid explore RUN --index INDEX")
    cells, remarks, place = [], [], Path(found).name
    with closing(open_index(found)) as index:
        for part in ("shared", "exclusive"):
            try:
                hits = query(index, opened.model, x, count, domain, part, None, None)[0]
            except UserError as error:
                words = str(error).replace(found, place)  # the page needn't know where it lies
                if part == "shared":
                    raise UserError(words) from error
                remarks.append(words)
                continue
            row = [Cell(x[0], f"by {part} code")]
            for rank, hit in enumerate(hits, 1):
                spec = opened.image_spec(hit.domain)
                try:
                    image, gone = read_image(hit.path, spec), ""
                except ImageError:
                    image, gone = torch.zeros(spec.shape, device="cpu"), " (can't be read)"
                row.append(Cell(image, f"{rank}. {hit.path.name}  {hit.distance:.3g}{gone}"))
            cells += _folded(row)
            remarks.append(f"by {part} code: " + ", ".join(_named(hit) for hit in hits))
    return cells, remarks


def _named(hit: Hit) -> str:
    """Returns what a hit is, without the place on this machine."""
    about = "".join(f", {field} {value}" for field, value in hit.metadata.items())
    return f"{'/'.join(hit.path.parts[-2:])} at {hit.distance:.3g}{about}"


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
        raise UserError(f"There is no other test item{opened.of(target)}")
    return list(found.values())


def _prepared(opened: Opened, codes: Codes, domain: Domain, part: str) -> Tensor:
    if part == "exclusive":
        return codes.exclusive.flatten(1).float()
    if opened.model.space is None:
        return codes.shared.flatten(1).float()
    return opened.model.space.prepared(codes.shared, domain, opened.distance)


def _relation(opened: Opened, domain: Domain, at: int | None, target: Domain, i: int) -> tuple[bool, bool]:
    """Returns whether a hit is of the query's pair, and whether it has all of its labels."""
    if at is None:
        return False, False
    things = opened.things(np.array([at, i]))
    pair = things is not None and bool(things[0] == things[1])
    mine, theirs = opened.labels(domain, np.array([at])), opened.labels(target, np.array([i]))
    return pair, bool(mine) and mine == theirs
