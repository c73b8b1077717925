"""An order in which the classes of labelled data come equally often."""

import numpy as np

AHEAD = 4096
"""About how many places are shuffled at a time, if a round is shorter."""


class BalancedOrder:
    """An order of items in which classes come equally often; a function of (seed, place) alone.

    A round takes every class once, in random order. Within a class every item comes once, in random order, before any
    comes again. labels: (n,) the class of each item.
    """

    def __init__(self, labels: np.ndarray, seed: int) -> None:
        _, self.counts = np.unique(labels, return_counts=True)
        self.by_class = np.argsort(labels, kind="stable")
        self.starts = np.cumsum(self.counts) - self.counts
        self.seed, self.rounds = seed, max(1, AHEAD // len(self.counts))
        self._block: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))
        self._passes: dict[int, tuple[int, np.ndarray]] = {}

    def at(self, places: np.ndarray) -> np.ndarray:
        """Returns the items at these places, (n,)."""
        turns = places // len(self.counts)
        return np.array([self._item(self._class(int(p)), int(t)) for p, t in zip(places, turns, strict=True)], np.int64)

    def draw(self, place: int) -> int:
        """Returns the number of the smallest class's pass at this place, from 1: no item comes twice in a draw but
        where its class begins anew."""
        return place // len(self.counts) // int(self.counts.min()) + 1

    def _class(self, place: int) -> int:
        """Returns the class at a place."""
        block, offset = divmod(place, self.rounds * len(self.counts))
        if self._block[0] != block:
            rounds = np.tile(np.arange(len(self.counts)), (self.rounds, 1))
            self._block = block, np.random.default_rng((self.seed, 0, block)).permuted(rounds, axis=1).ravel()
        return int(self._block[1][offset])

    def _item(self, number: int, turn: int) -> int:
        """Returns the item of a class at its turn."""
        count, start = int(self.counts[number]), int(self.starts[number])
        lap, offset = divmod(turn, count)
        if number not in self._passes or self._passes[number][0] != lap:
            members = self.by_class[start : start + count]
            self._passes[number] = lap, np.random.default_rng((self.seed, 1, number, lap)).permutation(members)
        return int(self._passes[number][1][offset])
