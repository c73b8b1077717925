"""Two domains with classes: pairs are drawn within a class, and validation and test are classes that training never
sees (zero-shot retrieval, as in section 4.2.2 of the IIAE paper).

Legend: n items, p items of the other domain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from torch import Tensor

from unbraid.core.data_config import DataConfig
from unbraid.core.short import Short
from unbraid.core.types import DataSpec, Spec, UserError
from unbraid.data.csvfile import folded
from unbraid.data.items import Chosen, Items, Rows
from unbraid.data.parts import Data, PairedPart, UnpairedPart
from unbraid.data.splits import held_out


@dataclass(frozen=True)
class Classmates(Short):
    """A random item of each row's class, drawn anew in every pass as a function of (seed, draw, row).

    classes: (n,) the class of each row. members: positions in `items`, class after class; starts, counts: (classes,)
    where each class begins there, and how many it has.
    """

    items: Items
    classes: Rows
    members: Rows
    starts: Rows
    counts: Rows
    seed: int

    @classmethod
    def of(cls, items: Items, labels: Rows, classes: Rows, seed: int) -> "Classmates":
        """Makes rows of these classes, drawn from items of these labels; every class must have an item.

        Args:
            items: to draw from.
            labels: (items,) int64, their classes.
            classes: (n,) int64, the class of each row.
            seed: of the draws.
        """
        counts = np.bincount(labels, minlength=int(classes.max()) + 1)
        return cls(items, classes, np.argsort(labels, kind="stable"), np.cumsum(counts) - counts, counts, seed)

    @property
    def spec(self) -> Spec:
        """Returns the spec of an item."""
        return self.items.spec

    def __len__(self) -> int:
        return len(self.classes)

    def drawn(self, rows: Rows, draw: int) -> Rows:
        """Returns the positions in `items` that a pass draws for these rows, (len(rows),)."""
        classes = self.classes[rows]
        shares = _shares(self.seed, draw, len(self.classes))[rows]
        return self.members[self.starts[classes] + (shares * self.counts[classes]).astype(np.int64)]

    def read(self, rows: Rows, draw: int) -> Tensor:
        """Returns items as (len(rows), *spec.shape)."""
        return self.items.read(self.drawn(rows, draw), 0)


@lru_cache(4)
def _shares(seed: int, draw: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, draw, 77)).random(count)


def class_pairs(
    config: DataConfig,
    name: str,
    items: Sequence[Items],
    classes: Sequence[Sequence[str]],
    names: Sequence[Sequence[str]],
    test_share: float | None = None,
    remark: str = "",
    skipped: tuple[str, ...] = (),
) -> Data:
    """Divides two domains by class. Training pairs each item of b with some item of a of its class.

    Validation and test stay unpaired. Classes that one domain lacks are left out.

    Args:
        config: whose shares, seed and --data.test-classes count.
        name: of the data.
        items: of a and of b.
        classes: of each item of a, and of b.
        names: of each item of a, and of b.
        test_share: of the classes, instead of --data.test.
        remark: on the data.
        skipped: files that could not be read.

    Raises:
        UserError: if too few classes are left, or --data.test-classes names unknown ones.
    """
    classes = _same_words(*classes)
    both = sorted(set(classes[0]) & set(classes[1]))
    if len(both) < 4:
        raise UserError(
            f"{name}: {len(both)} classes have items in both domains; pairs within classes need 4 at least: two to "
            "train, one to choose by, one to test"
        )
    number = {label: i for i, label in enumerate(both)}
    labels = tuple(np.array([number.get(label, -1) for label in side], np.int64) for side in classes)
    train, val, test = _divided(config, name, number, test_share)
    rows = np.flatnonzero(np.isin(labels[1], train))
    known = labels[0] >= 0
    mates = Classmates.of(
        Chosen(items[0], np.flatnonzero(known)), labels[0][known], np.maximum(labels[1], 0), config.seed
    )
    train_part = PairedPart(mates, items[1], rows, names[1], labels[1])
    apart: list[UnpairedPart] = []
    for some in (val, test):
        inside = [np.flatnonzero(np.isin(side, some)) for side in labels]
        apart.append(
            UnpairedPart(items[0], items[1], inside[0], inside[1], names[0], names[1], {}, {}, labels[0], labels[1])
        )
    missing = len(set(classes[0]) | set(classes[1])) - len(both)
    remarks = [remark, f"{missing} classes are in one domain only and are left out" if missing else ""]
    choose = f"{len(val)} choose the checkpoint" if len(val) > 1 else "1 is too few to choose the checkpoint by"
    about = f"{len(train)} classes train, {choose}, {len(test)} test"
    spec = DataSpec(items[0].spec, items[1].spec)
    return Data(name, spec, train_part, *apart, remark="; ".join(filter(None, [*remarks, about])), skipped=skipped)


def _divided(
    config: DataConfig, name: str, number: dict[str, int], test_share: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the numbers of the classes that train, validate and test. See `class_pairs`."""
    every = np.arange(len(number))
    if config.test_classes:
        alike = {folded(label): at for label, at in number.items()} | number
        chosen = {label: alike.get(label, alike.get(folded(label))) for label in config.test_classes}
        if unknown := [label for label, at in chosen.items() if at is None]:
            raise UserError(f"--data.test-classes: {name} has no class {', '.join(unknown)} in both domains")
        test = np.array(sorted({at for at in chosen.values() if at is not None}), np.int64)
        rest = np.setdiff1d(every, test)
    else:
        count = round((config.test if test_share is None else test_share) * len(every))
        rest, test = held_out(every, min(max(1, count), len(every) - 3), config.seed)
    if len(rest) < 3:
        raise UserError(f"{name}: {len(rest)} classes are left to train on and to choose by; 3 are the least")
    return *held_out(rest, min(max(1, round(config.val * len(rest))), len(rest) - 2), config.seed + 1), test


def _same_words(a: Sequence[str], b: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Returns the classes, those of b as a writes them where only case or the composition of letters differs."""
    alike: dict[str, list[str]] = {}
    for label in set(a) - set(b):
        alike.setdefault(folded(label), []).append(label)
    words = {label: alike.get(folded(label), []) for label in set(b) - set(a)}
    return a, [words[label][0] if len(words.get(label, ())) == 1 else label for label in b]


def class_of(name: str, folder: object) -> str:
    """Returns the class of an image: the folder it lies in. Raises UserError if it lies in none."""
    if "/" not in name:
        raise UserError(f"--data.by-class wants one folder for each class in {folder}; {name} lies in none")
    return name.split("/")[0]
