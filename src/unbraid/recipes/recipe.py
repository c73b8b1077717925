"""What a recipe is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unbraid.config import RunConfig
from unbraid.files import read_json

SECONDS = Path(__file__).parent / "seconds.json"
"""How long a step takes, by device and recipe; written by benchmarks/recipe_seconds.py."""


@dataclass(frozen=True)
class Recipe:
    """A named run: what it shows, the paper's figure for it, and ours."""

    method: str
    about: str
    make: Callable[[], RunConfig[Any]]
    paper: str = "-"
    ours: str = "not measured"


def read_seconds() -> dict[str, dict[str, Any]]:
    """Returns for "cpu" and "gpu" the machine and its seconds a step by recipe, of those that were measured there."""
    known: dict[str, dict[str, Any]] = read_json(SECONDS)
    return known


AT_PAPER_SIZE = "the paper's size and length"
"""What is said of a recipe that has no more to say."""
