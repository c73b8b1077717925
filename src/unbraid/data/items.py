"""Random access to the images or vectors of one domain.

Legend: `rows` are positions among items, `draw` numbers the passes over the data; everything random about an item
(colours, augmentation) is a function of (seed, row, draw), so a stopped run continues as if it never had.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from unbraid.core.short import Short
from unbraid.core.types import Spec

Rows = np.ndarray
"""(n,) int64."""


@runtime_checkable
class Items(Protocol):
    """Random access to the images or vectors of one domain. Holds an index in memory, not the items."""

    @property
    def spec(self) -> Spec:
        """Returns the spec of an item."""
        ...

    def __len__(self) -> int: ...

    def read(self, rows: Rows, draw: int) -> Tensor:
        """Returns items as (len(rows), *spec.shape) float32, images in [-1, 1].

        rows: (n,) int64. draw: the number of the pass over the data; 0 gives the items as they are stored.
        """
        ...


@runtime_checkable
class Recombining(Items, Protocol):
    """Items that can be recombined exactly, so that the true answer of an analogy is known. For measuring."""

    def recombined(self, shared: Rows, exclusive: Rows) -> Tensor:
        """Returns row shared[i]'s shared part with row exclusive[i]'s exclusive part, (n, *spec.shape), as stored."""
        ...


@dataclass(frozen=True)
class Chosen(Short):
    """A selection of other items, in its own order: item i is item chosen[i] of `items`. chosen: (n,) int64."""

    items: Items
    chosen: Rows

    @property
    def spec(self) -> Spec:
        """Returns the spec of an item."""
        return self.items.spec

    def __len__(self) -> int:
        return len(self.chosen)

    def read(self, rows: Rows, draw: int) -> Tensor:
        """Returns items as (len(rows), *spec.shape)."""
        return self.items.read(self.chosen[rows], draw)


@dataclass(frozen=True)
class Views(Chosen):
    """Views of objects: item `object * views + view` of `items` is an object from one viewpoint.

    Pairs share the object; the viewpoint is exclusive.
    """

    views: int

    def recombined(self, shared: Rows, exclusive: Rows) -> Tensor:
        """Returns the objects of `shared` from the viewpoints of `exclusive`, (n, *spec.shape)."""
        things, views = self.chosen[shared] // self.views, self.chosen[exclusive] % self.views
        return self.items.read(things * self.views + views, 0)


@dataclass(frozen=True)
class Joined(Short):
    """The items of two domains with one spec: those of `a`, then those of `b`."""

    a: Items
    b: Items

    @property
    def spec(self) -> Spec:
        """Returns the spec of an item."""
        return self.a.spec

    def __len__(self) -> int:
        return len(self.a) + len(self.b)

    def read(self, rows: Rows, draw: int) -> Tensor:
        """Returns items as (len(rows), *spec.shape)."""
        x = torch.empty(len(rows), *self.spec.shape, device="cpu")
        second = rows >= len(self.a)
        for items, wanted, offset in ((self.a, ~second, 0), (self.b, second, len(self.a))):
            if wanted.any():
                x[torch.from_numpy(wanted)] = items.read(rows[wanted] - offset, draw)
        return x


def identities(items: Items, rows: Rows) -> Rows:
    """Returns a number for each row, (n,), the same for rows of the same item."""
    return items.chosen[rows] if isinstance(items, Chosen) else rows


def derangement(count: int) -> Rows:
    """Returns a fixed permutation of `count` items that leaves none in its place. A single item stays."""
    order = np.random.default_rng(0).permutation(count)
    taken = np.empty_like(order)
    taken[order] = np.roll(order, 1)
    return taken


def unique_rows(items: Items, rows: Rows) -> Rows:
    """Returns the rows without those that repeat the item of an earlier one."""
    return rows[np.sort(np.unique(identities(items, rows), return_index=True)[1])]
