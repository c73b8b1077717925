"""Defines what a recipe is, and reads what was measured of recipes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from unbraid.core.config import RunConfig
from unbraid.core.files import read_json

SECONDS = Path(__file__).parent / "seconds.json"
"""How long a step takes, by device and recipe; written by benchmarks/recipe_seconds.py."""
FIGURES = Path(__file__).parent / "figures.json"
"""What was measured, by recipe; written by benchmarks/figures.py."""

Shows = Literal[
    "recall", "label", "analogy", "nearest view", "transfer", "hidden pair", "guided", "zero-shot", "correlation"
]
"""recall: recall@1 by pair; label: by label; analogy: distance of analogies to the truth; LPIPS to the nearest view, of
content transfer, to the hidden pair, of a guided translation; zero-shot: mAP on unseen classes; correlation with the
true factor."""


@dataclass(frozen=True)
class Recipe:
    """A named run: its method, what it is about, the figure that it shows and the paper's value of that."""

    method: str
    about: str
    make: Callable[[], RunConfig[Any]]
    paper: str = "-"
    shows: Shows = "recall"
    note: str = ""


class Figure(NamedTuple):
    """A measured figure in words, and the steps of the run that it was measured on."""

    words: str
    steps: int | None


def read_seconds() -> dict[str, dict[str, Any]]:
    """Returns for "cpu" and "gpu" the machine and its seconds a step by recipe, of those that were measured there."""
    known: dict[str, dict[str, Any]] = read_json(SECONDS)
    return known


def read_figures() -> dict[str, Figure]:
    """Returns what was measured, by recipe."""
    known: dict[str, Any] = read_json(FIGURES, dict[str, dict[str, Any]])
    return {name: Figure(**values) for name, values in known.items()}


AT_PAPER_SIZE = "the paper's size and length"
"""What is said of a recipe that has no more to say."""
