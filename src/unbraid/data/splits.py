"""Division of items into training, validation and test."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

import numpy as np

from unbraid.core.short import Short
from unbraid.core.types import UserError
from unbraid.data.items import Rows

Key = TypeVar("Key", bound=Hashable)


PARTS = ("train", "val", "test")


ELSEWHERE = -1.0
"""The share of a part that is not drawn, for its items come from elsewhere."""


@dataclass(frozen=True)
class Split(Short):
    """The rows of each part. Written into the run; nothing is ever selected on test."""

    train: Rows
    val: Rows
    test: Rows

    def __post_init__(self) -> None:
        parts = np.concatenate([self.train, self.val, self.test])
        assert len(np.unique(parts)) == len(parts), "the parts of a split overlap"

    @classmethod
    def of(cls, parts: Sequence[str] | np.ndarray) -> "Split":
        """Returns the rows by the name of each one's part."""
        return cls(*(np.flatnonzero(np.asarray(parts) == part) for part in PARTS))

    def __iter__(self) -> Iterator[Rows]:
        return iter((self.train, self.val, self.test))


def held_out(rows: Rows, count: int, seed: int) -> tuple[Rows, Rows]:
    """Holds out `count` of some rows at random. Returns those that stay and those held out, sorted. See `divide`."""
    order = np.random.default_rng(seed).permutation(rows)
    return np.sort(order[count:]), np.sort(order[:count])


def shuffled(keys: Iterable[Key], seed: int) -> list[Key]:
    """Returns the keys in the order of a hash of (seed, key): a new key leaves the others' order unchanged."""
    return sorted(keys, key=lambda key: sha256(f"{seed}/{key}".encode()).digest())


def divide(keys: Sequence[Hashable], val: float, test: float, seed: int) -> Split:
    """Divides items into train, val and test by shares of their keys; items with the same key stay together.

    Keys are ordered by a hash of (seed, key): test is the head of that order, val its tail. So another file moves at
    most one old key across each border, and none from test to val. Each part gets at least one key.

    Args:
        keys: of the items.
        val: share of validation; ELSEWHERE leaves it empty.
        test: share of test; ELSEWHERE leaves it empty.
        seed: of the order.

    Raises:
        UserError: if there are fewer different keys than parts.
    """
    order = shuffled(set(keys), seed)
    drawn = [name for name, share in (("validation", val), ("test", test)) if share != ELSEWHERE]
    if len(order) < 1 + len(drawn):
        parts = " and ".join(filter(None, (", ".join(["training", *drawn[:-1]]), *drawn[-1:])))
        raise UserError(f"{len(order)} items are too few: {parts} need at least one each")
    tests = 0 if test == ELSEWHERE else min(max(1, round(test * len(order))), len(order) - len(drawn))
    vals = 0 if val == ELSEWHERE else min(max(1, round(val * len(order))), len(order) - tests - 1)
    of_val = order[len(order) - vals :]
    part = dict.fromkeys(order, 0) | dict.fromkeys(of_val, 1) | dict.fromkeys(order[:tests], 2)
    of = np.fromiter((part[key] for key in keys), dtype=np.int64, count=len(keys))
    return Split(*(np.flatnonzero(of == i) for i in range(3)))


def divide_rest(keys: Sequence[Hashable], parts: Sequence[str], val: float, test: float, seed: int) -> Split:
    """Divides items of which some have their part already: draws val and test from train where they have no item.

    parts: "train", "val" or "test", for each item. Raises UserError if none is of train. See `divide`.
    """
    own = Split.of(parts)
    if not len(own.train):
        raise UserError(
            f"No item is in the part train, which is needed to learn from: {len(own.val)} are in val, {len(own.test)} "
            "in test"
        )
    shares = [ELSEWHERE if len(rows) else share for rows, share in ((own.val, val), (own.test, test))]
    drawn = divide([keys[int(row)] for row in own.train], shares[0], shares[1], seed)
    train, val_rows, test_rows = (own.train[rows] for rows in drawn)
    return Split(train, np.concatenate([val_rows, own.val]), np.concatenate([test_rows, own.test]))


def linked(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Returns a key for each row, the same for all rows that are connected through an equal entry in either column.

    The key is the smallest `first` among them.
    """
    parent: dict[tuple[int, str], tuple[int, str]] = {}

    def root(entry: tuple[int, str]) -> tuple[int, str]:
        while parent.setdefault(entry, entry) != entry:
            parent[entry] = parent[parent[entry]]
            entry = parent[entry]
        return entry

    for one, other in zip(first, second, strict=True):
        low, high = sorted((root((0, one)), root((1, other))))
        parent[high] = low
    return [root((0, one))[1] for one in first]
