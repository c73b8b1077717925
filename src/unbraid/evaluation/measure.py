"""The form of a measure: what it needs, what it computes, and how that is printed."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from unbraid.core.files import Json
from unbraid.evaluation.subject import Subject

Result = TypeVar("Result", bound=Mapping[str, Any])
Value = TypeVar("Value")
Ways = dict[str, Value]
"""By way: "a->b" and "b->a"."""
Figures = dict[str, float]
"""By the figure's name."""
WAY, DOMAIN = "way", "domain"
"""Titles of columns that hold directions, and domains."""


@dataclass(frozen=True)
class Block:
    """A table: titles of its columns, and lines of a cell for each; empty cells at the end may be left out.

    Under `WAY` and `DOMAIN` stand a->b, b->a, a and b, for which the domains' names are printed. Tables of several
    measures with the same titles are printed as one.
    """

    titles: tuple[str, ...]
    lines: list[tuple[str, ...]]


@dataclass(frozen=True)
class ValidationFigures:
    """Figures of the validation part that training logs.

    figures: in percent where they are shares. score: what chooses the best model, more being better; None if these
    don't. counted: items of which the score is a share, 0 for what isn't one.
    """

    figures: Figures = field(default_factory=dict)
    score: float | None = None
    counted: int = 0


class Measure(ABC, Generic[Result]):
    """One thing that is measured of a trained model; one file in `measures/`, one line in `MEASURES`.

    A measure draws by the subject's seed alone, leaves the model as it was, and gives the same figures for any size of
    batches.
    """

    name: ClassVar[str]
    """What `unbraid evaluate --only` calls it."""
    says: ClassVar[str]
    """One line: what it measures."""

    @abstractmethod
    def applies(self, subject: Subject) -> str | None:
        """Returns why it can't be measured of this subject, or None if it can."""

    @abstractmethod
    def compute(self, subject: Subject) -> Result:
        """Returns the entries of metrics.json. Called if it applies; what can't fail on so few items is left out."""

    def by_default(self, subject: Subject) -> bool:
        """Returns whether it is measured, where it applies, if no measure is named."""
        return True

    def protocol(self, subject: Subject) -> Json:
        """Returns what must be said with its figures, by what it is called."""
        return {}

    def missing(self, subject: Subject, result: Result) -> dict[str, str]:
        """Returns figures that were left out because the part is too small, and why."""
        return {}

    def rows(self, metrics: Result) -> list[Block]:
        """Returns what is printed of these entries of metrics.json, some of which may be missing."""
        return []

    def watches(self, subject: Subject) -> bool:
        """Returns whether training can watch it on this validation part."""
        return self.applies(subject) is None

    def watch(self, subject: Subject) -> ValidationFigures:
        """Returns what training logs of the validation part."""
        return ValidationFigures()


def cells(values: Mapping[str, Any], names: tuple[str, ...], form: str = ".4f") -> tuple[str, ...]:
    """Returns figures by name as cells of a table, empty where there is none.

    Args:
        values: The figures.
        names: Which ones.
        form: Format of a number.
    """
    return tuple(f"{values[name]:{form}}" if name in values else "" for name in names)
