"""Content transfer: the class of one image with the content of another, against the image that shows both.

Gabbay and Hoshen 2020, section 4 (table 1). Needs content labels, which no method trains on.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from unbraid.core.method import AnyMethod
from unbraid.core.short import Short
from unbraid.core.types import Codes
from unbraid.data.parts import LabelledPart
from unbraid.model.codes import decode_all, encode_rows


@dataclass(frozen=True)
class Transfers(Short):
    """Tasks: positions in a part of the image that gives the class, the one that gives the content, and the truth.

    All (n,) int64. The three are different images.
    """

    class_from: np.ndarray
    content_from: np.ndarray
    truth: np.ndarray

    def __len__(self) -> int:
        return len(self.truth)


def transfers(part: LabelledPart, count: int, seed: int) -> Transfers:
    """Returns at most `count` tasks, drawn by the seed: a true image, another of its class, another of its content.

    With several labels, a class is what agrees in all of them. Empty if content isn't known, or no image has both.

    Args:
        part: Gives the images.
        count: Tasks.
        seed: Of the draw.
    """
    if part.content is None:
        return Transfers(*(np.empty(0, np.int64) for _ in range(3)))
    random = np.random.default_rng(seed)
    _, classes = np.unique(part.labels[part.rows], axis=0, return_inverse=True)
    classes, content = classes.ravel(), part.content[part.rows]
    by_class, by_content = _positions(classes), _positions(content)
    tasks: list[tuple[int, int, int]] = []
    for truth in random.permutation(np.flatnonzero(content >= 0)).tolist():
        alike = by_class[int(classes[truth])]
        same = by_content[int(content[truth])]
        alike, same = alike[content[alike] != content[truth]], same[classes[same] != classes[truth]]
        if len(alike) and len(same):
            tasks.append((random.choice(alike), random.choice(same), truth))
        if len(tasks) == count:
            break
    return Transfers(*np.array(tasks, np.int64).reshape(-1, 3).T)


def transferred(method: AnyMethod, part: LabelledPart, tasks: Transfers) -> Tensor:
    """Returns what a method makes of `transfers`: (n, c, h, w) in [-1, 1], where it is (eq. 9). See `transfers`."""
    classes = encode_rows(method, part, tasks.class_from).exclusive
    return decode_all(method, Codes(encode_rows(method, part, tasks.content_from).shared, classes), "a")


def _positions(values: np.ndarray) -> dict[int, np.ndarray]:
    found: defaultdict[int, list[int]] = defaultdict(list)
    for position, value in enumerate(values.tolist()):
        found[value].append(position)
    return {value: np.array(at, np.int64) for value, at in found.items()}
