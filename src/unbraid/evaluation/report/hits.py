"""Searches across domains: queries, what is found, and which hits are right."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unbraid.core.types import Codes, Domain, ImageSpec, other
from unbraid.data.items import Rows, unique_rows
from unbraid.evaluation.metrics.retrieval import distances
from unbraid.evaluation.report.content import Names, Row, Sheet
from unbraid.evaluation.report.embed import Picture, picture
from unbraid.evaluation.subject import Subject
from unbraid.model.codes import evenly_spaced

QUERIES = 5
FOUND = 4
MARKS = " Green is right; red stands before it and is wrong; behind each row, the place of the right one."


@dataclass(frozen=True)
class _Side:
    """One domain of the test part, each item once: positions in the part's rows, and their vectors."""

    at: Rows
    vectors: Tensor


def search_sheet(subject: Subject, source: Domain, names: Names) -> Sheet | None:
    """Returns queries with the nearest items of the other domain by shared codes; None without such codes.

    Args:
        subject: The model and its test part.
        source: Domain of the queries.
        names: Of the domains.
    """
    target = other(source)
    if subject.codes is None or subject.labelled:
        return None
    query, gallery = _side(subject, source), _side(subject, target)
    if query.vectors.shape[1] != gallery.vectors.shape[1] or not query.vectors.shape[1] or len(gallery.at) < 2:
        return None
    chosen = evenly_spaced(np.arange(len(query.at)), QUERIES)
    order = distances(query.vectors[chosen], gallery.vectors).argsort(1).numpy()
    rows = [
        _row(subject, source, int(query.at[i]), gallery.at[ranking], names)
        for i, ranking in zip(chosen, order, strict=True)
    ]
    right = "" if _right(subject, source, 0, gallery.at) is None else MARKS
    items = "images" if isinstance(subject.model.spec[target], ImageSpec) else "items"
    words = (
        f"Each row begins with a query from {names[source]}; then come the nearest of {len(gallery.at)} {items} of "
        f"{names[target]} by their shared codes. Queries are evenly spaced test {items}, not chosen.{right}"
    )
    return Sheet(f"{names[source]} → {names[target]}", words, tuple(rows), kind="hits")


def _side(subject: Subject, domain: Domain) -> _Side:
    items, rows = subject.part.domain(domain)
    codes: Codes = subject.encoded(domain, exclusive=False)
    if subject.paired:
        at = np.sort(subject.pairing.first[domain])
    else:
        at = np.flatnonzero(np.isin(rows, unique_rows(items, rows)))
    space = subject.model.space
    shared = codes.shared.cpu()
    vectors = space.prepared(shared, domain, subject.distance) if space else shared.flatten(1).float()
    return _Side(at, vectors[torch.from_numpy(at)])


def _row(subject: Subject, source: Domain, query: int, ranking: Rows, names: Names) -> Row:
    right = _right(subject, source, query, ranking)
    words = ""
    if right is not None:
        place = int(right.argmax()) + 1
        words = f"place {place}" if right.any() else "not there"
    first = FOUND if right is None or not right.any() else int(right.argmax())
    marks = ["" if right is None else "right" if right[i] else "wrong" * (i < first) for i in range(len(ranking))]
    found = [
        _item_picture(subject, other(source), int(at), f"{number}", mark)
        for number, (at, mark) in enumerate(zip(ranking[:FOUND], marks[:FOUND], strict=True), 1)
    ]
    return Row((_item_picture(subject, source, query, "query", ""), *found), words)


def _right(subject: Subject, source: Domain, query: int, ranking: Rows) -> np.ndarray | None:
    """Returns which of these items of the other domain are right answers; None where that isn't known."""
    target = other(source)
    if subject.paired:
        number = subject.pairing.number
        partners = number[target][number[source] == number[source][query]]
        return np.isin(number[target][ranking], partners)
    own, theirs = subject.part.labels_of(source), subject.part.labels_of(target)
    if own is None or theirs is None:
        return None
    (_, rows), (_, target_rows) = subject.part.domain(source), subject.part.domain(target)
    return theirs[target_rows[ranking]] == own[rows[query]]


def _item_picture(subject: Subject, domain: Domain, at: int, caption: str, mark: str) -> Picture:
    """Returns an item of the test part: its image, or of vectors its name alone."""
    items, rows = subject.part.domain(domain)
    name = str(subject.part.names_of(domain)[int(rows[at])])
    alt = f"{caption} {name}{mark and f', {mark}'}"
    if isinstance(items.spec, ImageSpec):
        return picture(items.read(rows[at : at + 1], 0)[0], alt, caption, mark)
    return Picture("", name, caption, mark)
