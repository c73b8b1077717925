"""Data types: domains, item specifications, batches and codes.

Shape legend, used everywhere: n items, c channels, h height, w width, d a vector's size. Images and vectors are
float32; images have values in [-1, 1].
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float, Int
from torch import Tensor

from unbraid.core.errors import UserError as UserError
from unbraid.core.short import Short

Domain = Literal["a", "b"]
DOMAINS: tuple[Domain, Domain] = ("a", "b")


def other(domain: Domain) -> Domain:
    """Returns the other domain."""
    return "b" if domain == "a" else "a"


@dataclass(frozen=True)
class ImageSpec:
    """Size and channels of the images of one domain."""

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
    """Size of the feature vectors of one domain."""

    size: int

    @property
    def shape(self) -> tuple[int]:
        """(d,)."""
        return (self.size,)

    def __str__(self) -> str:
        return f"vectors of {self.size} values"


Spec = ImageSpec | VectorSpec


@dataclass(frozen=True)
class DataSpec(Short):
    """Specification of the data, from which a method builds its networks."""

    a: Spec
    b: Spec
    items: int = 0
    """Number of training items, for methods that store a code for each; 0 in a trained model."""
    classes: tuple[int, ...] = ()
    """Labelled data: number of values of each label among the training classes: (163,) for one class label, (2, 2, 2)
    for three binary attributes."""
    values: tuple[tuple[str, ...], ...] = ()
    """Labelled data: names of the values of each label, in as many tuples as `classes` has entries."""
    labels: tuple[str, ...] = ()
    """Labelled data: name of each label."""
    domains: tuple[Domain, ...] = ()
    """Labelled data of two domains: the domain of each class. Empty if there is one domain."""
    names: tuple[str, str] = DOMAINS
    """What the domains are called, such as photos and maps."""

    def __getitem__(self, domain: Domain) -> Spec:
        return self.a if domain == "a" else self.b

    @property
    def of_images(self) -> bool:
        """Returns whether both domains have images, and not vectors."""
        return isinstance(self.a, ImageSpec) and isinstance(self.b, ImageSpec)

    def name(self, domain: Domain) -> str:
        """Returns what a domain is called."""
        return self.names[DOMAINS.index(domain)]

    def domain(self, word: object, what: str = "domain") -> Domain:
        """Returns the domain of this name; a and b always have theirs. Raises UserError, about `what`, if none has."""
        for domain in DOMAINS:
            name = self.name(domain)
            if word == domain or (name != domain and isinstance(word, str) and word.casefold() == name.casefold()):
                return domain
        there = ", ".join(dict.fromkeys((*self.names, *DOMAINS)))
        raise UserError(f"There is no {what} {word!r}; there are: {there}")

    def called(self, domain: Domain) -> str:
        """Returns a domain in words: "domain a", or its name."""
        return f"domain {domain}" if self.name(domain) == domain else self.name(domain)


class Batch(Short):
    """Base of the batches that methods train on. A kind of its own is a frozen dataclass of tensors of n rows, and a
    `Part` that gives it."""

    advice: ClassVar[str] = "batches of its own kind"
    """Which data give such batches, and how a user names them. Completes "this method needs ..."."""
    labelled: ClassVar[bool] = False
    """Whether they have labels, by which a model is judged in place of the other domain."""
    hides_pairs: ClassVar[bool] = False
    """Whether training doesn't see which items of two domains belong together, so that pairs may only measure."""


@dataclass(frozen=True)
class Paired(Batch):
    """Batch of pairs: row i of `a` and row i of `b` show the same content.

    Args:
        a: Items of domain a, (n, *spec.a.shape).
        b: Items of domain b, (n, *spec.b.shape).
        index: Positions of the pairs in their part of the data, (n,).
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
    """Batch of items of each domain, independent of each other.

    Args:
        a: Items of domain a, (n, *spec.a.shape).
        b: Items of domain b, (n, *spec.b.shape).
    """

    advice: ClassVar[str] = "two domains: --data.a and --data.b, with or without --data.unpaired"
    hides_pairs: ClassVar[bool] = True

    a: Float[Tensor, "n ..."]
    b: Float[Tensor, "n ..."]

    def __getitem__(self, domain: Domain) -> Tensor:
        return self.a if domain == "a" else self.b


@dataclass(frozen=True)
class Labelled(Batch):
    """Batch of labelled items.

    Args:
        x: Items, (n, *spec.a.shape).
        label: Values of k labels, (n, k): one for a class, several for attributes.
        index: Positions of the items in their part of the data, (n,).
    """

    advice: ClassVar[str] = "labels: --data.classes, or --data.csv; or two domains: --data.a and --data.b"
    labelled: ClassVar[bool] = True

    x: Float[Tensor, "n ..."]
    label: Int[Tensor, "n k"]
    index: Int[Tensor, " n"]


@dataclass(frozen=True)
class Codes(Short):
    """Codes of n items.

    Args:
        shared: Information that both domains contain: a vector (n, d) or a map (n, c, h, w).
        exclusive: Information that only the item's domain contains, (n, d).
    """

    shared: Float[Tensor, "n ..."]
    exclusive: Float[Tensor, "n ..."]
