"""The parts of the data: train, validation, test.

Legend: `rows` are positions in a part, `draw` numbers the passes over the data; everything random about an
item (colours, augmentation) is a function of (seed, row, draw), so a stopped run continues as if it never had.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch

from unbraid.core.short import Short
from unbraid.core.types import DOMAINS, Batch, DataSpec, Domain, Labelled, Paired, Unpaired, UserError
from unbraid.data.augment import augment
from unbraid.data.items import Items, Joined, Rows, unique_rows
from unbraid.data.splits import Split


class Part(Short, ABC):
    """Items of one part of the data, of which batches are made. What a part can't say is None or empty.

    What is known of items is kept for the whole set: `names_of`, `labels_of`, `attributes_of` and `factors_of` have an
    entry for each item of a domain, at the rows that `domain` gives.
    """

    batch_type: ClassVar[type[Batch]]
    """The type of `batch`'s batches."""

    def _content(self) -> str:
        domains = {domain: self.domain(domain) for domain in self.domains}
        return ", ".join(f"{domain}: {len(rows):,} {items.spec}" for domain, (items, rows) in domains.items())

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of positions that one pass over the part has."""

    @abstractmethod
    def batch(self, at: Rows, draw: int, augmentation: tuple[str, ...] = (), seed: int = 0) -> Any:
        """Returns a batch of the part's type.

        Args:
            at: (n,) positions, each less than the part's length.
            draw: the number of the pass over the data; 0 reads items as they are stored.
            augmentation: random moves of images, as `augment` knows them.
            seed: of everything random in the batch.
        """

    @property
    def domains(self) -> tuple[Domain, ...]:
        """Returns the domains that the part has items of."""
        return DOMAINS

    @abstractmethod
    def domain(self, domain: Domain) -> tuple[Items, Rows]:
        """Returns the items of a domain, and the rows of them that are in this part, (n,)."""

    @abstractmethod
    def names_of(self, domain: Domain) -> Sequence[str]:
        """Returns the names of all items of a domain."""

    @abstractmethod
    def describe(self) -> str:
        """Returns the size and kind of the part in words, such as "40 pairs"."""

    @abstractmethod
    def with_items(self, change: Callable[[Items], Items]) -> "Part":
        """Returns the part with other items at the same rows. change: is called with the items of each domain."""

    def offer(self, batch_type: type[Batch]) -> "Part | None":
        """Returns the same items as a part whose batches have this type, or None if they can't have it."""
        return self if batch_type is self.batch_type else None

    def pairs(self) -> "PairedPart | None":
        """Returns the part itself if it is known which items of the two domains belong together."""
        return None

    def labelled(self) -> "LabelledPart | None":
        """Returns the part itself if its items are all of one kind, with labels."""
        return None

    def labels_of(self, domain: Domain) -> np.ndarray | None:
        """Returns the classes of a domain's items, (all items,) int64, which both domains number alike."""
        return None

    def attributes_of(self, domain: Domain) -> Mapping[str, np.ndarray]:
        """Returns what items of a domain show, by name: (all items,) int64 each, -1 where it isn't known."""
        return {}

    def factors_of(self, domain: Domain) -> Mapping[str, np.ndarray]:
        """Returns the numbers that a domain's items were made from, by name: (all items,) float64 each."""
        return {}

    def label_words(self, domain: Domain, at: Rows) -> dict[str, list[str]]:
        """Returns the labels of a domain's items at these positions, in words, by the name of the label."""
        return {}

    def classes(self) -> np.ndarray:
        """Returns the class of each position, (n,), for draws that take classes equally often.

        Raises UserError, about --data.balanced, if there are none.
        """
        raise UserError("--data.balanced draws classes equally often, and these data have none: leave it out")

    def data_spec(self, spec: DataSpec) -> DataSpec:
        """Returns the spec of the data with what methods must know of a training part like this."""
        return spec

    def counts(self) -> dict[Domain, int]:
        """Returns the number of items of each domain."""
        return {domain: len(self.domain(domain)[1]) for domain in self.domains}

    def counted(self) -> str:
        """Returns the number of items in words: "40", or of two domains that are no pairs "40 + 3000"."""
        return str(len(self))

    def item_names(self) -> list[str]:
        """Returns the names of the part's items, for the list of those held out."""
        return [self.names_of(domain)[int(row)] for domain in self.domains for row in self.domain(domain)[1]]


@dataclass(frozen=True)
class PairedPart(Part):
    """Pairs of one part: item `rows[i]` of `a` and item `rows[i]` of `b` show the same thing.

    names: one for each pair of the whole set, labels: its class if known, (all pairs,) int64.
    factors: (all pairs,) float64 each, true values behind the items, such as `residual`. attributes: (all pairs,) int64
    each, what both items of a pair show, such as a category; -1 where it isn't known. Both are for measuring only.
    """

    batch_type: ClassVar[type[Batch]] = Paired

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
        """Returns the pairs at these positions. Augmentation moves both items of a pair alike. See `Part.batch`."""
        rows = self.rows[at]
        a, b = self.a.read(rows, draw), self.b.read(rows, draw)
        if augmentation:
            a, b = augment((a, b), augmentation, seed, draw, rows)
        return Paired(a, b, torch.from_numpy(np.asarray(at)))

    def label(self, at: Rows) -> np.ndarray | None:
        """Returns the classes of the pairs at these positions, (n,), if known."""
        return None if self.labels is None else self.labels[self.rows[at]]

    def domain(self, domain: Domain) -> tuple[Items, Rows]:
        """Returns one item of each pair."""
        return (self.a if domain == "a" else self.b), self.rows

    def names_of(self, domain: Domain) -> Sequence[str]:
        """Returns the names of all pairs."""
        return self.names

    def describe(self) -> str:
        """Returns the number of pairs in words."""
        return f"{len(self)} pairs"

    def with_items(self, change: Callable[[Items], Items]) -> "PairedPart":
        """Returns the pairs with other items."""
        return replace(self, a=change(self.a), b=change(self.b))

    def offer(self, batch_type: type[Batch]) -> Part | None:
        """Returns the pairs; or, for unpaired batches, the items with their pairs hidden; or, for labelled batches,
        the items labelled by their domain."""
        if batch_type is Unpaired:
            return self.unpaired()
        return label_domains(self) if batch_type is Labelled else super().offer(batch_type)

    def unpaired(self) -> "UnpairedPart":
        """Returns the same items with their pairs hidden."""
        known = self.attributes_of("a")
        return UnpairedPart(self.a, self.b, self.rows, self.rows, self.names, self.names, known, known)

    def pairs(self) -> "PairedPart":
        """Returns the part itself."""
        return self

    def labels_of(self, domain: Domain) -> np.ndarray | None:
        """Returns the classes of all pairs, if known."""
        return self.labels

    def attributes_of(self, domain: Domain) -> Mapping[str, np.ndarray]:
        """Returns the attributes of all pairs; of pairs with labels alone, the `label`."""
        return self.attributes or ({} if self.labels is None else {"label": self.labels})

    def factors_of(self, domain: Domain) -> Mapping[str, np.ndarray]:
        """Returns the factors of all pairs."""
        return self.factors

    def label_words(self, domain: Domain, at: Rows) -> dict[str, list[str]]:
        """Returns the classes of pairs, if known, as `label`."""
        return {} if self.labels is None else {"label": [str(value) for value in self.labels[self.rows[at]]]}

    def classes(self) -> np.ndarray:
        """Returns the class of each pair. Raises UserError if they have none."""
        return super().classes() if self.labels is None else self.labels[self.rows]

    def item_names(self) -> list[str]:
        """Returns a name for each pair."""
        return [self.names[int(row)] for row in self.rows]


@dataclass(frozen=True)
class UnpairedPart(Part):
    """Items of two domains that have nothing to do with each other; as long as the longer of the two.

    attributes_a, attributes_b: (all items,) int64 each, what items show, as in `PairedPart`.
    labels_a, labels_b: the class of each item of the whole set, if known. For measuring only.
    """

    batch_type: ClassVar[type[Batch]] = Unpaired

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
        """Returns items of `a` at these positions, and as many of `b`, drawn at random from all. See `Part.batch`."""
        # drawn for each position by itself, so that a batch is the same whether one process reads it or several
        pick = np.array([np.random.default_rng((seed, draw, int(i))).integers(len(self.rows_b)) for i in at], np.int64)
        a = self.a.read(self.rows_a[at % len(self.rows_a)], draw)
        b = self.b.read(self.rows_b[pick], draw)
        if augmentation:
            (a,), (b,) = augment((a,), augmentation, seed, draw, at), augment((b,), augmentation, seed + 1, draw, at)
        return Unpaired(a, b)

    def domain(self, domain: Domain) -> tuple[Items, Rows]:
        """Returns the items of a domain and their rows."""
        return (self.a, self.rows_a) if domain == "a" else (self.b, self.rows_b)

    def names_of(self, domain: Domain) -> Sequence[str]:
        """Returns the names of all items of a domain."""
        return self.names_a if domain == "a" else self.names_b

    def describe(self) -> str:
        """Returns the number of items of each domain in words."""
        return f"{len(self.rows_a)} items of one domain and {len(self.rows_b)} of the other, without pairs"

    def with_items(self, change: Callable[[Items], Items]) -> "UnpairedPart":
        """Returns the part with other items."""
        return replace(self, a=change(self.a), b=change(self.b))

    def offer(self, batch_type: type[Batch]) -> Part | None:
        """Returns the part itself; or, for labelled batches, the items labelled by their domain."""
        return label_domains(self) if batch_type is Labelled else super().offer(batch_type)

    def labels_of(self, domain: Domain) -> np.ndarray | None:
        """Returns the classes of all items of a domain, if known."""
        return self.labels_a if domain == "a" else self.labels_b

    def attributes_of(self, domain: Domain) -> Mapping[str, np.ndarray]:
        """Returns the attributes of all items of a domain."""
        return self.attributes_a if domain == "a" else self.attributes_b

    def counted(self) -> str:
        """Returns the numbers of items of both domains."""
        return f"{len(self.rows_a)} + {len(self.rows_b)}"


@dataclass(frozen=True)
class LabelledPart(Part):
    """Items with labels: k = 1, a class, or more, attributes. Every array has a row for each item of the whole set.

    labels: (all items, k) int64 from 0; values that training sees come first. names: (all items,).
    content: (all items,) int64, what an item shows apart from its class, such as the view; -1 where it isn't known.
    factors: (all items,) float64 each, such as an angle in degrees. Both are for measuring only.
    values: the names of each label's values, by their numbers. label_names: those of the labels.
    """

    batch_type: ClassVar[type[Batch]] = Labelled

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
        """Returns the name of each class by its number; with several labels nothing."""
        return self.values[0] if len(self.values) == 1 else ()

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, at: Rows, draw: int, augmentation: tuple[str, ...] = (), seed: int = 0) -> Labelled:
        """Returns the items at these positions. See `Part.batch`."""
        rows = self.rows[at]
        x = self.x.read(rows, draw)
        if augmentation:
            (x,) = augment((x,), augmentation, seed, draw, rows)
        return Labelled(x, torch.from_numpy(self.labels[rows]), torch.from_numpy(np.asarray(at)))

    def label(self, at: Rows) -> np.ndarray:
        """Returns the labels of the items at these positions, (n, k)."""
        return self.labels[self.rows[at]]

    @property
    def domains(self) -> tuple[Domain, ...]:
        """Returns domain a alone, unless the items are those of two domains."""
        return DOMAINS if isinstance(self.x, Joined) else ("a",)

    def _rows_of(self, domain: Domain) -> tuple[Rows, int]:
        """Returns the rows of a domain's items, and the first row that such items can have."""
        if not isinstance(self.x, Joined):
            return self.rows, 0
        border = len(self.x.a)
        return (self.rows[self.rows < border], 0) if domain == "a" else (self.rows[self.rows >= border], border)

    def domain(self, domain: Domain) -> tuple[Items, Rows]:
        """Returns the items of a domain; without two of them, all."""
        rows, first = self._rows_of(domain)
        return (self.x.a if domain == "a" else self.x.b) if isinstance(self.x, Joined) else self.x, rows - first

    def names_of(self, domain: Domain) -> Sequence[str]:
        """Returns the names of all items of a domain."""
        return self.names if len(self.domains) == 1 else self.names[self._rows_of(domain)[1] :]

    def describe(self) -> str:
        """Returns the number of items in words."""
        return f"{len(self)} items of one kind with labels"

    def with_items(self, change: Callable[[Items], Items]) -> "LabelledPart":
        """Returns the part with other items."""
        return replace(self, x=change(self.x))

    def labelled(self) -> "LabelledPart":
        """Returns the part itself."""
        return self

    def factors_of(self, domain: Domain) -> Mapping[str, np.ndarray]:
        """Returns the factors of all items of a domain."""
        first = self._rows_of(domain)[1]
        return {name: values[first:] for name, values in self.factors.items()}

    def label_words(self, domain: Domain, at: Rows) -> dict[str, list[str]]:
        """Returns the values of all labels; those without a name as their numbers."""
        table: dict[str, list[str]] = {}
        for column, values in enumerate(self.labels[self._rows_of(domain)[0][at]].T):
            name = self.label_names[column] if column < len(self.label_names) else f"label {column + 1}"
            words: Sequence[str] = self.values[column] if column < len(self.values) else ()
            table[name] = [str(words[value] if value < len(words) else value) for value in values]
        return table

    def classes(self) -> np.ndarray:
        """Returns the class of each item. Raises UserError if there are several labels."""
        if self.labels.shape[1] > 1:
            raise UserError(
                f"--data.balanced needs one label for each image, and these data have {self.labels.shape[1]}: "
                "give one, or leave --data.balanced out"
            )
        return self.labels[self.rows, 0]

    def data_spec(self, spec: DataSpec) -> DataSpec:
        """Returns the spec with the counts and names of items, labels and their values, and the domain of each class
        if there are two."""
        known = [np.unique(column, return_index=True) for column in self.labels[self.rows].T]
        classes = tuple(len(values) for values, _ in known)
        values = tuple(tuple(names[:count]) for names, count in zip(self.values, classes, strict=False))
        spec = replace(spec, items=len(self), classes=classes, values=values, labels=tuple(self.label_names))
        if isinstance(self.x, Joined):
            second = self.rows[known[0][1]] >= len(self.x.a)
            spec = replace(spec, domains=tuple(DOMAINS[int(which)] for which in second))
        return spec

    def item_names(self) -> list[str]:
        """Returns the items' names."""
        return [self.names[int(row)] for row in self.rows]


def label_domains(part: Part) -> LabelledPart:
    """Returns the items of both domains, which look alike, labelled by their domain: 0 is a, 1 is b.

    An item that stands in several pairs comes once.
    """
    (a, rows_a), (b, rows_b) = part.domain("a"), part.domain("b")
    rows = np.concatenate([unique_rows(a, rows_a), unique_rows(b, rows_b) + len(a)])
    labels = (np.arange(len(a) + len(b)) >= len(a)).astype(np.int64)[:, None]
    names = [f"{domain}/{name}" for domain in DOMAINS for name in part.names_of(domain)]
    return LabelledPart(Joined(a, b), rows, labels, names, values=(DOMAINS,), label_names=("domain",))


@dataclass(frozen=True)
class Data(Short):
    """A loaded data set: its parts and spec, files that were skipped, and a remark that belongs beside results."""

    name: str
    spec: DataSpec
    train: Part
    val: Part
    test: Part
    remark: str = ""
    skipped: tuple[str, ...] = field(default=())
    images: DataSpec | None = None
    """What the images looked like that the items are features of."""

    @classmethod
    def of_pairs(
        cls,
        name: str,
        a: Items,
        b: Items,
        names: Sequence[str],
        split: Split,
        remark: str = "",
        skipped: tuple[str, ...] = (),
        labels: np.ndarray | None = None,
        attributes: Mapping[str, np.ndarray] | None = None,
    ) -> "Data":
        """Returns data of pairs, divided as `split` says. See `PairedPart`."""
        parts = [PairedPart(a, b, rows, names, labels, attributes=attributes or {}) for rows in split]
        return cls(name, DataSpec(a.spec, b.spec), *parts, remark=remark, skipped=skipped)

    @classmethod
    def of_two_domains(
        cls,
        name: str,
        items: tuple[Items, Items],
        names: Sequence[Sequence[str]],
        splits: Sequence[Split],
        remark: str = "",
        skipped: tuple[str, ...] = (),
        attributes: Sequence[Mapping[str, np.ndarray]] = ({}, {}),
    ) -> "Data":
        """Returns data of two domains without pairs, each divided as its split says. See `UnpairedPart`."""
        parts = [UnpairedPart(*items, *rows, *names, *attributes) for rows in zip(*splits, strict=True)]
        return cls(name, DataSpec(items[0].spec, items[1].spec), *parts, remark=remark, skipped=skipped)

    @property
    def about(self) -> str:
        """The numbers of items of the parts, and what they look like, in a line."""
        counted = f"{self.train.counted()} train, {self.val.counted()} validation, {self.test.counted()} test"
        each = dict(zip(self.spec.names, (self.spec.a, self.spec.b), strict=True))
        looks = ", ".join(f"{name}: {spec}" for name, spec in each.items())
        return f"{self.name}: {counted}; {self.spec.a if self.spec.a == self.spec.b else looks}"

    def _content(self) -> str:
        return self.about

    def parts(self) -> dict[str, Part]:
        """Returns the parts by name."""
        return {"train": self.train, "val": self.val, "test": self.test}


def listing(data: Data) -> dict[str, Any]:
    """Returns the division into parts as JSON: how many items train, and the names of those held out."""
    val, test = data.val.item_names(), data.test.item_names()
    return {"data": data.name, "train": len(data.train), "val": val, "test": test}
