"""The nouns: domains, what their items look like, what a batch and a code are.

Shape legend, used everywhere: n items, c channels, h height, w width, d a vector's size.
Images and vectors are float32; images have values in [-1, 1] from the data edge on.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float, Int
from torch import Tensor

Domain = Literal["a", "b"]
DOMAINS: tuple[Domain, Domain] = ("a", "b")


def other(domain: Domain) -> Domain:
    """The domain that is not this one."""
    return "b" if domain == "a" else "a"


class UserError(Exception):
    """Something the user can mend: the message says what was found and what to do.

    The command line prints it as one line and leaves with exit status 2.
    """


@dataclass(frozen=True)
class ImageSpec:
    """What the images of one domain look like: any size, any number of channels."""

    height: int
    width: int
    channels: int = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w)."""
        return (self.channels, self.height, self.width)

    def __str__(self) -> str:
        return f"{self.height}x{self.width} images of {self.channels} channel{'s' * (self.channels != 1)}"


@dataclass(frozen=True)
class VectorSpec:
    """What the feature vectors of one domain look like."""

    size: int

    @property
    def shape(self) -> tuple[int]:
        """(d,)."""
        return (self.size,)

    def __str__(self) -> str:
        return f"vectors of {self.size} values"


Spec = ImageSpec | VectorSpec


@dataclass(frozen=True)
class DataSpec:
    """What a method must know of the data to build its networks."""

    a: Spec
    b: Spec
    items: int = 0
    """Training items, for methods that keep a code for each; a trained model's spec has 0."""
    classes: tuple[int, ...] = ()
    """Labelled data: how many values each label has, over the classes that training sees: (163,) for one class label,
    (2, 2, 2) for three binary attributes."""
    values: tuple[tuple[str, ...], ...] = ()
    """Labelled data: what the values of each label are called, as many as `classes` says."""
    labels: tuple[str, ...] = ()
    """Labelled data: what each label is called."""
    domains: tuple[Domain, ...] = ()
    """Labelled data made of two domains: the domain of each class. Empty if there is one domain."""

    def __getitem__(self, domain: Domain) -> Spec:
        return self.a if domain == "a" else self.b


class Batch:
    """Base of the batches that methods train on. A kind of its own is a frozen dataclass of tensors of n rows, and a
    `Part` that gives it."""

    advice: ClassVar[str] = "batches of its own kind"
    """Which data give such batches, and how a user names them. Completes "this method needs ..."."""


@dataclass(frozen=True)
class Paired(Batch):
    """A batch of pairs: row i of `a` and row i of `b` show the same thing.

    a: (n, *spec.a.shape), b: (n, *spec.b.shape), index: (n,) position of the pair in its part of the data.
    """

    advice: ClassVar[str] = (
        "pairs: the same names in --data.a and --data.b, or --data.pairs pairs.csv, or --data.side-by-side"
    )

    a: Float[Tensor, "n ..."]
    b: Float[Tensor, "n ..."]
    index: Int[Tensor, " n"]

    def __getitem__(self, domain: Domain) -> Tensor:
        return self.a if domain == "a" else self.b


@dataclass(frozen=True)
class Unpaired(Batch):
    """A batch from each domain; rows have nothing to do with each other.

    a: (n, *spec.a.shape), b: (n, *spec.b.shape).
    """

    advice: ClassVar[str] = "two domains: --data.a and --data.b, with or without --data.unpaired"

    a: Float[Tensor, "n ..."]
    b: Float[Tensor, "n ..."]

    def __getitem__(self, domain: Domain) -> Tensor:
        return self.a if domain == "a" else self.b


@dataclass(frozen=True)
class Labelled(Batch):
    """A batch of items with their labels.

    x: (n, *spec.shape), label: (n, k) values of k labels (k = 1: a class; more: attributes), index: (n,) position of
    the item in its part of the data.
    """

    advice: ClassVar[str] = "labels: --data.classes, or --data.csv; or two domains: --data.a and --data.b"

    x: Float[Tensor, "n ..."]
    label: Int[Tensor, "n k"]
    index: Int[Tensor, " n"]


@dataclass(frozen=True)
class Codes:
    """What a method found in n items: what both domains have, and what this one has alone.

    shared: (n, ...) flat or a map, exclusive: (n, d).
    """

    shared: Float[Tensor, "n ..."]
    exclusive: Float[Tensor, "n ..."]
