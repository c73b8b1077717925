"""Data as training sees it: random access to items, parts (train, validation, test), batches that are a
function of (seed, step).

Legend: `rows` are positions in a part, `draw` numbers the passes over the data; everything random about an
item (colours, augmentation) is a function of (seed, row, draw), so a stopped run continues as if it never had.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from unbraid.core.types import DataSpec, Domain, Labelled, Paired, Spec, Unpaired, UserError
from unbraid.data.augment import augment
from unbraid.data.balanced import BalancedOrder

Batch = TypeVar("Batch")
Key = TypeVar("Key", bound=Hashable)
Rows = np.ndarray
"""(n,) int64."""


@runtime_checkable
class Items(Protocol):
    """Random access to the images or vectors of one domain. Holds an index in memory, not the items."""

    @property
    def spec(self) -> Spec:
        """What an item looks like."""
        ...

    def __len__(self) -> int: ...

    def read(self, rows: Rows, draw: int) -> Tensor:
        """(len(rows), *spec.shape) float32, images in [-1, 1]. `draw` 0 is the item as it is stored."""
        ...


@runtime_checkable
class Recombining(Items, Protocol):
    """Items that can be taken apart and put together anew, so that the truth of an analogy is known. For measuring."""

    def recombined(self, shared: Rows, exclusive: Rows) -> Tensor:
        """What row shared[i] has in common with its counterpart, with what is particular to row exclusive[i].

        (n, *spec.shape), of items as they are stored.
        """
        ...


@dataclass(frozen=True)
class Chosen:
    """Some items of others, in an order of their own: item i is item chosen[i] of `items`. chosen: (n,) int64."""

    items: Items
    chosen: Rows

    @property
    def spec(self) -> Spec:
        """What an item looks like."""
        return self.items.spec

    def __len__(self) -> int:
        return len(self.chosen)

    def read(self, rows: Rows, draw: int) -> Tensor:
        """(len(rows), *spec.shape)."""
        return self.items.read(self.chosen[rows], draw)


@dataclass(frozen=True)
class Views(Chosen):
    """Some of the views of things: item `thing * views + view` of `items` shows a thing from one side.

    The thing is what pairs share, the view what is particular.
    """

    views: int

    def recombined(self, shared: Rows, exclusive: Rows) -> Tensor:
        """The things of the one, seen as the others are. (n, *spec.shape)."""
        things, views = self.chosen[shared] // self.views, self.chosen[exclusive] % self.views
        return self.items.read(things * self.views + views, 0)


@dataclass(frozen=True)
class Joined:
    """The items of two domains that look alike: those of `a`, then those of `b`."""

    a: Items
    b: Items

    @property
    def spec(self) -> Spec:
        """What an item looks like."""
        return self.a.spec

    def __len__(self) -> int:
        return len(self.a) + len(self.b)

    def read(self, rows: Rows, draw: int) -> Tensor:
        """(len(rows), *spec.shape)."""
        x = torch.empty(len(rows), *self.spec.shape)
        second = rows >= len(self.a)
        for items, wanted, offset in ((self.a, ~second, 0), (self.b, second, len(self.a))):
            if wanted.any():
                x[torch.from_numpy(wanted)] = items.read(rows[wanted] - offset, draw)
        return x


@dataclass(frozen=True)
class Split:
    """Which rows belong to which part. Written into the run; nothing is ever selected on test."""

    train: Rows
    val: Rows
    test: Rows

    def __post_init__(self) -> None:
        parts = np.concatenate([self.train, self.val, self.test])
        assert len(np.unique(parts)) == len(parts), "the parts of a split overlap"


def held_out(rows: Rows, count: int, seed: int) -> tuple[Rows, Rows]:
    """Takes `count` of the rows away at random: (those that stay, those held out), both sorted."""
    order = np.random.default_rng(seed).permutation(rows)
    return np.sort(order[count:]), np.sort(order[:count])


def shuffled(keys: Iterable[Key], seed: int) -> list[Key]:
    """The keys in an order by a hash of (seed, key): a new key leaves the others' order as it was."""
    return sorted(keys, key=lambda key: sha256(f"{seed}/{key}".encode()).digest())


def divide(keys: Sequence[Hashable], val: float, test: float, seed: int) -> Split:
    """Divides items into train, val and test by shares of their keys; items with the same key stay together.

    Keys are ordered by a hash of (seed, key): test is the head of that order, val its tail. So another file moves at
    most one old key across each border, and none from test to val. Each part gets at least one key.
    Raises UserError if there are fewer than three different keys.
    """
    order = shuffled(set(keys), seed)
    if len(order) < 3:
        raise UserError(f"{len(order)} items are too few: training, validation and test need at least one each")
    tests = min(max(1, round(test * len(order))), len(order) - 2)
    vals = min(max(1, round(val * len(order))), len(order) - tests - 1)
    part = dict.fromkeys(order, 0) | dict.fromkeys(order[-vals:], 1) | dict.fromkeys(order[:tests], 2)
    of = np.fromiter((part[key] for key in keys), dtype=np.int64, count=len(keys))
    return Split(*(np.flatnonzero(of == i) for i in range(3)))


def linked(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """A key for each row, the same for all rows that are connected through an equal entry in either column.

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


@dataclass(frozen=True)
class PairedPart:
    """Pairs of one part: item `rows[i]` of `a` and item `rows[i]` of `b` show the same thing.

    names: one for each pair of the whole set, labels: its class if known, (all pairs,) int64.
    factors: (all pairs,) float64 each, true values behind the items, such as `residual`. attributes: (all pairs,) int64
    each, what both items of a pair show, such as a category; -1 where it isn't known. Both are for measuring only.
    """

    a: Items
    b: Items
    rows: Rows
    names: Sequence[str]
    labels: np.ndarray | None = None
    factors: Mapping[str, np.ndarray] = field(default_factory=dict)
    attributes: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, at: Rows, draw: int, augmentation: tuple[str, ...] = (), seed: int = 0) -> Paired:
        """The pairs at these positions. Augmentation moves both sides of a pair alike."""
        rows = self.rows[at]
        a, b = self.a.read(rows, draw), self.b.read(rows, draw)
        if augmentation:
            a, b = augment((a, b), augmentation, seed, draw, rows)
        return Paired(a, b, torch.from_numpy(np.asarray(at)))

    def label(self, at: Rows) -> np.ndarray | None:
        """(n,) classes of the pairs at these positions, if known."""
        return None if self.labels is None else self.labels[self.rows[at]]


@dataclass(frozen=True)
class UnpairedPart:
    """Items of two domains that have nothing to do with each other; as long as the longer of the two.

    attributes_a, attributes_b: (all items,) int64 each, what items show, as in `PairedPart`.
    labels_a, labels_b: the class of each item of the whole set, if known. For measuring only.
    """

    a: Items
    b: Items
    rows_a: Rows
    rows_b: Rows
    names_a: Sequence[str]
    names_b: Sequence[str]
    attributes_a: Mapping[str, np.ndarray] = field(default_factory=dict)
    attributes_b: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels_a: np.ndarray | None = None
    labels_b: np.ndarray | None = None

    def __len__(self) -> int:
        return max(len(self.rows_a), len(self.rows_b))

    def batch(self, at: Rows, draw: int, augmentation: tuple[str, ...] = (), seed: int = 0) -> Unpaired:
        """Items at these positions of `a`, and as many of `b`, drawn from all of `b` at random."""
        # drawn for each position by itself, so that a batch is the same whether one process reads it or several
        pick = np.array([np.random.default_rng((seed, draw, int(i))).integers(len(self.rows_b)) for i in at], np.int64)
        a = self.a.read(self.rows_a[at % len(self.rows_a)], draw)
        b = self.b.read(self.rows_b[pick], draw)
        if augmentation:
            (a,), (b,) = augment((a,), augmentation, seed, draw, at), augment((b,), augmentation, seed + 1, draw, at)
        return Unpaired(a, b)


@dataclass(frozen=True)
class LabelledPart:
    """Items with labels: k = 1, a class, or more, attributes. Every array has a row for each item of the whole set.

    labels: (all items, k) int64 from 0; values that training sees come first. names: (all items,).
    content: (all items,) int64, what an item shows apart from its class, such as the view; -1 where it isn't known.
    factors: (all items,) float64 each, such as an angle in degrees. Both are for measuring only.
    values: the names of each label's values, by their numbers. label_names: those of the labels.
    """

    x: Items
    rows: Rows
    labels: np.ndarray
    names: Sequence[str]
    content: np.ndarray | None = None
    factors: Mapping[str, np.ndarray] = field(default_factory=dict)
    values: Sequence[Sequence[str]] = ()
    label_names: Sequence[str] = ()

    @property
    def class_names(self) -> Sequence[str]:
        """With k = 1, the name of each class by its number; else nothing."""
        return self.values[0] if len(self.values) == 1 else ()

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, at: Rows, draw: int, augmentation: tuple[str, ...] = (), seed: int = 0) -> Labelled:
        """The items at these positions."""
        rows = self.rows[at]
        x = self.x.read(rows, draw)
        if augmentation:
            (x,) = augment((x,), augmentation, seed, draw, rows)
        return Labelled(x, torch.from_numpy(self.labels[rows]), torch.from_numpy(np.asarray(at)))

    def label(self, at: Rows) -> np.ndarray:
        """(n, k) labels of the items at these positions."""
        return self.labels[self.rows[at]]


Part = PairedPart | UnpairedPart | LabelledPart


def as_unpaired(part: PairedPart) -> UnpairedPart:
    """The same items, their pairs hidden."""
    shown = attributes_of(part, "a")
    return UnpairedPart(part.a, part.b, part.rows, part.rows, part.names, part.names, shown, shown)


def as_labelled(part: UnpairedPart | PairedPart) -> LabelledPart:
    """The items of both domains, which look alike, labelled by their domain: 0 is a, 1 is b.

    An item that stands in several pairs comes once.
    """
    (a, rows_a), (b, rows_b) = side(part, "a"), side(part, "b")
    rows = np.concatenate([once(a, rows_a), once(b, rows_b) + len(a)])
    labels = (np.arange(len(a) + len(b)) >= len(a)).astype(np.int64)[:, None]
    names = (part.names_a, part.names_b) if isinstance(part, UnpairedPart) else (part.names, part.names)
    joined = [f"{domain}/{name}" for domain, some in zip("ab", names, strict=True) for name in some]
    return LabelledPart(Joined(a, b), rows, labels, joined, values=(("a", "b"),), label_names=("domain",))


def identities(items: Items, rows: Rows) -> Rows:
    """A number for each row, the same for rows that show the same item. (n,)."""
    return items.chosen[rows] if isinstance(items, Chosen) else rows


def strangers(count: int) -> Rows:
    """For each of so many items another one, the same at every call. Each is taken once; one item alone has itself."""
    order = np.random.default_rng(0).permutation(count)
    taken = np.empty_like(order)
    taken[order] = np.roll(order, 1)
    return taken


def once(items: Items, rows: Rows) -> Rows:
    """The rows without those that show again what an earlier one shows."""
    return rows[np.sort(np.unique(identities(items, rows), return_index=True)[1])]


@dataclass(frozen=True)
class Data:
    """A set of images, ready: its parts, what it looks like, what was skipped on the way, what to say with results."""

    name: str
    spec: DataSpec
    train: Part
    val: Part
    test: Part
    remark: str = ""
    skipped: tuple[str, ...] = field(default=())
    images: DataSpec | None = None
    """What the images looked like that the items are features of."""

    def parts(self) -> dict[str, Part]:
        """The parts by name."""
        return {"train": self.train, "val": self.val, "test": self.test}


def check_balanced(part: Part) -> None:
    """That the classes of a part can be drawn equally often. UserError if it has no classes."""
    classes_of(part)


def classes_of(part: Part) -> np.ndarray:
    """(n,) the class of each item, or pair, of a part. UserError, about --data.balanced, if it has no classes."""
    if isinstance(part, PairedPart) and part.labels is not None:
        return part.labels[part.rows]
    if not isinstance(part, LabelledPart):
        raise UserError("--data.balanced draws classes equally often, and these data have none: leave it out")
    if part.labels.shape[1] > 1:
        raise UserError(
            f"--data.balanced needs one label for each image, and these data have {part.labels.shape[1]}: "
            "give one, or leave --data.balanced out"
        )
    return part.labels[part.rows, 0]


class Batches(Generic[Batch], Iterator[Batch]):
    """Endless batches of a part: each pass over it in a new order. Its whole state is `step`, an integer.

    The last batch of a pass is filled from the next pass, so every batch has the same size.
    balanced: classes come equally often instead of items; UserError if the part has no classes.
    """

    def __init__(
        self,
        part: Part,
        size: int,
        seed: int,
        augmentation: tuple[str, ...] = (),
        step: int = 0,
        balanced: bool = False,
    ) -> None:
        self.part, self.size, self.seed, self.augmentation, self.step = part, size, seed, augmentation, step
        self._orders: dict[int, Rows] = {}
        self._balanced: BalancedOrder | None = None
        if balanced:
            self._balanced = BalancedOrder(classes_of(part), seed)

    def _order(self, epoch: int) -> Rows:
        if epoch not in self._orders:
            self._orders = {key: value for key, value in self._orders.items() if key >= epoch - 1}
            self._orders[epoch] = np.random.default_rng((self.seed, epoch)).permutation(len(self.part))
        return self._orders[epoch]

    def __next__(self) -> Batch:
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
        return self.part.batch(at, draw, self.augmentation, self.seed)  # type: ignore[return-value]


def side(part: Part, domain: Domain) -> tuple[Items, Rows]:
    """The items of one domain and the rows of them that are in this part. Labelled parts have one domain only, unless
    they were made of two."""
    if isinstance(part, LabelledPart):
        if not isinstance(part.x, Joined):
            return part.x, part.rows
        border = len(part.x.a)
        if domain == "a":
            return part.x.a, part.rows[part.rows < border]
        return part.x.b, part.rows[part.rows >= border] - border
    if isinstance(part, PairedPart):
        return (part.a if domain == "a" else part.b), part.rows
    return (part.a, part.rows_a) if domain == "a" else (part.b, part.rows_b)


def attributes_of(part: Part, domain: Domain) -> Mapping[str, np.ndarray]:
    """What items of a domain are known to show, (all items,) int64 each; of pairs with labels alone, the `label`."""
    if isinstance(part, LabelledPart):
        return {}
    if isinstance(part, UnpairedPart):
        return part.attributes_a if domain == "a" else part.attributes_b
    return part.attributes or ({} if part.labels is None else {"label": part.labels})


def names_of(part: Part) -> list[str]:
    """What the items of a part are called."""
    if isinstance(part, UnpairedPart):
        return [part.names_a[int(row)] for row in part.rows_a] + [part.names_b[int(row)] for row in part.rows_b]
    return [part.names[int(row)] for row in part.rows]


def counted(part: Part) -> str:
    """How many items: "40", or of two domains that are no pairs "40 + 3000"."""
    return f"{len(part.rows_a)} + {len(part.rows_b)}" if isinstance(part, UnpairedPart) else str(len(part))


def listing(data: Data) -> dict[str, Any]:
    """The division into parts as JSON: how many items train, and the names of those held out."""
    return {"data": data.name, "train": len(data.train), "val": names_of(data.val), "test": names_of(data.test)}
