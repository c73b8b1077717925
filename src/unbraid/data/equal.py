"""Which items of a part are one and the same: an image that stands in several pairs, and files with equal pixels.

Legend: n pairs or rows, p and q different items of a and of b.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from unbraid.core.short import Short
from unbraid.core.types import DOMAINS, Domain, other
from unbraid.data.classes import Classmates
from unbraid.data.items import Chosen, Items, Rows, identities
from unbraid.data.parts import Data, PairedPart, Part

LOOKED_AT = 256
"""Values from the middle of each item that are compared first: items that differ there are not read whole."""


def first_of_each(keys: Sequence[object] | np.ndarray) -> tuple[Rows, Rows]:
    """Returns the position of the first of each different key, in their order, and for each key which of these it is.

    Example:
        >>> first_of_each([7, 5, 7])
        (array([0, 1]), array([0, 1, 0]))
    """
    _, first, number = np.unique(np.asarray(keys), return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[number.ravel()]


def equal_items(items: Items, rows: Rows) -> Rows:
    """Returns a number for each row, (n,), the same for rows that show the same item.

    Of items that are stored as arrays, those with equal values are the same too.
    """
    array, at = _stored(items, rows)
    if array is None:
        return identities(items, rows)
    first, number = first_of_each(at)
    return first_of_each(_digests((array, at[first])))[1][number]


def differ(items: Items, rows: Rows, others: Rows) -> np.ndarray:
    """Returns (n,) bool, whether items differ, row by row. See `equal_items`."""
    number = equal_items(items, np.concatenate([rows, others]))
    return number[: len(rows)] != number[len(rows) :]


def members(number: Rows, groups: np.ndarray) -> csr_array:
    """Returns which groups, such as pairs or classes, each item stands in: (items, groups) bool.

    number, groups: (n,), row i puts item number[i] into groups[i].
    """
    which = np.unique(groups, return_inverse=True)[1]
    return csr_array((np.ones(len(which), np.bool_), (number, which)))


def _stored(items: Items, rows: Rows) -> tuple[np.ndarray | None, Rows]:
    """Returns the array that holds the items and their rows in it; None for items that are computed when read."""
    while isinstance(items, Chosen):
        items, rows = items.items, items.chosen[rows]
    array = getattr(items, "array", None)
    return (array if isinstance(array, np.ndarray) else None), rows


def _digests(*stored: tuple[np.ndarray, Rows]) -> list[int]:
    """Returns a hash of each item of these rows of arrays; only items with equal middles are read whole."""
    arrays = [(np.asarray(array), at) for array, at in stored]  # a memory map is slow to index
    items = [(array, row) for array, at in arrays for row in at]
    coarse = [hash(_middle(array[row]).tobytes()) for array, row in items]
    _, number, count = np.unique(coarse, return_inverse=True, return_counts=True)
    whole = [
        hash(array[row].tobytes()) if count[which] > 1 else 0 for (array, row), which in zip(items, number, strict=True)
    ]
    return [hash(both) for both in zip(coarse, whole, strict=True)]


def _middle(item: np.ndarray) -> np.ndarray:
    start = max(0, (item.size - LOOKED_AT) // 2)
    return item.reshape(-1)[start : start + LOOKED_AT]


@dataclass(frozen=True)
class Pairing(Short):
    """The different items of a paired part, and which belong together.

    first: positions in the part, (p,) and (q,), where each item of a, and of b, stands first. number: (n,) each, for
    every pair which of these its two items are.
    """

    first: dict[Domain, Rows]
    number: dict[Domain, Rows]

    @classmethod
    def of(cls, part: PairedPart) -> "Pairing":
        """Finds the different items of a part."""
        found = {domain: first_of_each(equal_items(*part.domain(domain))) for domain in DOMAINS}
        return cls({d: found[d][0] for d in DOMAINS}, {d: found[d][1] for d in DOMAINS})

    @cached_property
    def pairs(self) -> np.ndarray:
        """Returns the different pairs, (m, 2): an item of a and one of b."""
        return np.unique(np.stack([self.number[domain] for domain in DOMAINS], 1), axis=0)

    @property
    def repeated(self) -> bool:
        """Returns whether an item stands in several pairs."""
        return any(len(first) < len(self.number["a"]) for first in self.first.values())

    def hits(self, groups: np.ndarray, source: Domain, at: Rows) -> np.ndarray:
        """Returns the hits of queries among the different items of the other domain, (len(at), g) bool.

        Args:
            groups: (n,), the group of each pair, such as its class; items that share a group are hits.
            source: the domain of the queries.
            at: numbers of the queries among the different items of `source`.
        """
        of, among = (members(self.number[domain], groups) for domain in (source, other(source)))
        return (of[at] @ among.T).toarray().astype(np.bool_)

    def things(self) -> Rows:
        """Returns a number for each pair, (n,), the same for pairs that are connected through a common item."""
        a, b = self.number["a"], self.number["b"] + len(self.first["a"])
        size = len(self.first["a"]) + len(self.first["b"])
        return connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(size, size)))[1][a]


def same_items(one: Part, other: Part) -> bool:
    """Returns whether two parts have equal items, value for value, in one order. Items that are computed when they are
    read are taken for equal."""
    for domain in one.domains:
        (first, rows), (second, others) = (_stored(*part.domain(domain)) for part in (one, other))
        if first is None or second is None:
            continue
        if len(rows) != len(others):
            return False
        digests = _digests((first, rows), (second, others))
        if digests[: len(rows)] != digests[len(rows) :]:
            return False
    return True


def digest(part: Part) -> str:
    """Returns a hash of a part's items, of their names and values; of items that are computed when they are read, of
    their names."""
    found = sha256(json.dumps(part.item_names()).encode())
    for domain in part.domains:
        array, rows = _stored(*part.domain(domain))
        if array is not None:
            for row in rows:
                found.update(np.asarray(array[row]).tobytes())
    return found.hexdigest()


def overlap(data: Data) -> str:
    """Returns what to say if test items are among those that train or choose the checkpoint, or those that choose it
    among those that train; "" if none are, or a part stands for others, which can't be read."""
    parts = [("test", data.test, (data.train, data.val)), ("validation", data.val, (data.train,))]
    found = []
    for name, part, others in parts:
        if part is data.train:
            continue
        counts = ((domain, *_among(part, others, domain)) for domain in part.domains)
        some = [
            f"{count} of {size} {name} items{f' of {data.spec.name(domain)}' if len(part.domains) > 1 else ''}"
            for domain, count, size in counts
            if count
        ]
        if some:
            them = "training or validation" if len(others) > 1 else "training"
            found.append(f"{' and '.join(some)} are equal to items of {them}, value for value")
    return "; ".join(found)


def _among(part: Part, others: Sequence[Part], domain: Domain) -> tuple[int, int]:
    """Returns how many of a part's different items of a domain are among those of other parts, and their number; 0 of 0
    if they are not stored."""
    stored = [_rows(each, domain) for each in (part, *others)]
    known = [(array, rows) for array, rows in stored if array is not None]
    if len(known) < len(stored):
        return 0, 0
    size, number = len(known[0][1]), first_of_each(_digests(*known))[1]
    return int(np.isin(number[:size], number[size:]).sum()), size


def _rows(part: Part, domain: Domain) -> tuple[np.ndarray | None, Rows]:
    """Returns the stored array of one domain of a part, or None, and the different rows of it in the part."""
    items, rows = part.domain(domain)
    if isinstance(items, Classmates):
        of_a_class = np.repeat(np.arange(len(items.counts)), items.counts)
        items, rows = items.items, items.members[np.isin(of_a_class, items.classes[rows])]
    array, at = _stored(items, rows)
    return array, np.unique(at)
