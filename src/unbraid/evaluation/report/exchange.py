"""What is shared and what is exclusive, shown by analogies; what belongs to a class, shown by transfers."""

import numpy as np
from torch import Tensor

from unbraid.core.types import Domain, other
from unbraid.data.parts import LabelledPart
from unbraid.evaluation.report.content import Names, Row, Sheet
from unbraid.evaluation.report.embed import picture
from unbraid.evaluation.subject import Subject
from unbraid.model.codes import evenly_spaced, read

SIDE = 4
"""Rows and columns of a grid."""


def analogy_sheet(subject: Subject, domain: Domain, names: Names) -> Sheet | None:
    """Returns a grid of one domain: what the row's image shares, with what the column's image has alone. None where
    nothing of the domain varies on its own. See `search_sheet`."""
    model = subject.model
    if model.exclusive_size(domain) == 0:
        return None
    x = read(subject.part, domain, 2 * SIDE)
    half = len(x) // 2
    if not half:
        return None
    words = (
        f"Read it so: each image takes from the one before its row what {names[domain]} and {names[other(domain)]} "
        f"both show (the shared code), and from the one above its column what only {names[domain]} have (the exclusive "
        "code). Down a column the manner should stay, along a row the thing."
    )
    return _grid(x[:half], x[half:], model.analogy(x[:half], x[half:], domain), f"Within {names[domain]}", words)


def transfer_sheet(subject: Subject, part: LabelledPart) -> Sheet:
    """Returns a grid of labelled images: the class of the row's image with the content of the column's."""
    at = evenly_spaced(np.arange(len(part)), 2 * SIDE)
    x, half = part.x.read(part.rows[at], 0), len(at) // 2
    one, two = x[:half], x[half:]
    words = part.label_words("a", at)
    labels = [", ".join(values) for values in zip(*words.values(), strict=True)] or [""] * len(at)
    generated = subject.model.analogy(two, one, "a").transpose(0, 1)  # rows by class
    note = (
        "Read it so: each image takes its class from the one before its row, and everything else (the content) from "
        "the one above its column. Along a row the class should stay, down a column the content."
    )
    return _grid(one, two, generated, "Class and content", note, labels[:half], labels[half:])


def _grid(
    rows: Tensor,
    columns: Tensor,
    generated: Tensor,
    title: str,
    words: str,
    row_names: list[str] | None = None,
    column_names: list[str] | None = None,
) -> Sheet:
    names, over = row_names or [""] * len(rows), column_names or [""] * len(columns)
    head = Row((None, *(picture(x, f"over a column {name}", name) for x, name in zip(columns, over, strict=True))))
    body = [
        Row((picture(x, f"before a row {name}", name), *(picture(each, "combined") for each in answers)))
        for x, name, answers in zip(rows, names, generated, strict=True)
    ]
    return Sheet(title, words, (head, *body), kind="grid")
