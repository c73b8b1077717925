"""Figures of recipes, their papers' and ours, and times of their steps: files beside this one."""

from pathlib import Path
from typing import Any, NamedTuple

from unbraid.core.files import read_json

SECONDS = Path(__file__).parent / "seconds.json"
"""How long a step takes, by device and recipe; written by benchmarks/recipe_seconds.py."""
FIGURES = Path(__file__).parent / "figures.json"
"""What was measured, and what the papers report, by recipe; written by benchmarks/figures.py."""


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
    return {name: Figure(**values) for name, values in known["measured"].items()}


def read_papers() -> dict[str, str]:
    """Returns the papers' figures in words, by recipe."""
    known: dict[str, str] = read_json(FIGURES, dict[str, dict[str, Any]])["papers"]
    return known
