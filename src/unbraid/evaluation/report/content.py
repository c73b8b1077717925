"""The names that a report uses, and the form of what it shows."""

from dataclasses import dataclass

from unbraid.core.data_config import DataConfig
from unbraid.core.types import DOMAINS, DataSpec, Domain, other
from unbraid.evaluation.report.embed import Picture

Names = dict[Domain, str]


@dataclass(frozen=True)
class Row:
    """Pictures that belong together. words: what stands before them."""

    pictures: tuple[Picture | None, ...]
    words: str = ""


@dataclass(frozen=True)
class Sheet:
    """Rows of pictures under one heading.

    words: how to read them. columns: names of the columns, none where each picture has its own caption. kind: how they
    are laid out: "rows", "cards" or "grid".
    """

    title: str
    words: str
    rows: tuple[Row, ...]
    columns: tuple[str, ...] = ()
    kind: str = "rows"


@dataclass(frozen=True)
class Bar:
    """A figure, drawn as a bar. share: its length, 0 to 1. low, high: its interval, as such lengths. own: whether it is
    the model's, and no reference's."""

    label: str
    share: float
    words: str
    low: float | None = None
    high: float | None = None
    own: bool = False


@dataclass(frozen=True)
class Figure:
    """A measurement in words. better: which bars are good, "long" or "short". good: whether the model does better
    than the references, None if that isn't clear. short: the same in a line."""

    title: str
    words: str
    bars: tuple[Bar, ...]
    better: str = "long"
    good: bool | None = None
    short: str = ""


@dataclass(frozen=True)
class Advice:
    """Something that did not work, and what to try."""

    trouble: str
    remedy: str


@dataclass(frozen=True)
class Command:
    """A command to go on with, and what it does."""

    words: str
    line: str


def names_of(config: DataConfig, labelled: bool, spec: DataSpec) -> Names:
    """Returns what the two domains are called.

    Args:
        config: Names their folders.
        labelled: Whether there are labels in place of domains.
        spec: Names them, if the run does.
    """
    if spec.names != DOMAINS:
        return {domain: spec.name(domain) for domain in DOMAINS}
    if config.a and config.b and config.a.name != config.b.name:
        return {"a": config.a.name, "b": config.b.name}
    if config.side_by_side:
        return {"a": "left halves", "b": "right halves"}
    if labelled:
        return {"a": config.classes.name if config.classes else "images", "b": "images"}
    return {"a": "a", "b": "b"}


def ways() -> list[tuple[Domain, Domain]]:
    """Returns both directions of translation."""
    return [(source, other(source)) for source in DOMAINS]
