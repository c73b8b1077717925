"""Batches of a part in training: a function of (seed, step), so a stopped run continues as if it never had."""

from collections.abc import Iterator
from typing import Generic, TypeVar

import numpy as np

from unbraid.data.balanced import BalancedOrder
from unbraid.data.items import Rows
from unbraid.data.parts import Part

BatchType = TypeVar("BatchType")


class Batches(Generic[BatchType], Iterator[BatchType]):
    """An endless iterator of a part's batches: each pass in a new order. Its whole state is `step`, an integer.

    The last batch of a pass is filled from the next pass, so every batch has the same size.
    balanced: draws classes equally often instead of items; UserError if the part has no classes.
    share: the rows of each batch that are read; all by default.
    """

    def __init__(
        self,
        part: Part,
        size: int,
        seed: int,
        augmentation: tuple[str, ...] = (),
        step: int = 0,
        balanced: bool = False,
        share: slice = slice(None),
    ) -> None:
        self.share = share
        self.part, self.size, self.seed, self.augmentation, self.step = part, size, seed, augmentation, step
        self._orders: dict[int, Rows] = {}
        self._balanced: BalancedOrder | None = None
        if balanced:
            self._balanced = BalancedOrder(part.classes(), seed)

    def _order(self, epoch: int) -> Rows:
        if epoch not in self._orders:
            self._orders = {key: value for key, value in self._orders.items() if key >= epoch - 1}
            self._orders[epoch] = np.random.default_rng((self.seed, epoch)).permutation(len(self.part))
        return self._orders[epoch]

    def __next__(self) -> BatchType:
        first = self.step * self.size
        places = np.arange(first, first + self.size)
        # draw 0 is the item as stored: training's first pass is draw 1
        if self._balanced:
            at, draw = self._balanced.at(places), self._balanced.draw(first)
        else:
            epochs, offsets = places // len(self.part), places % len(self.part)
            passes = range(int(epochs[0]), int(epochs[-1]) + 1)  # a batch may reach into the next one
            at = np.concatenate([self._order(epoch)[offsets[epochs == epoch]] for epoch in passes])
            draw = int(epochs[0]) + 1
        self.step += 1
        return self.part.batch(at[self.share], draw, self.augmentation, self.seed)
