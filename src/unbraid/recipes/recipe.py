"""What a recipe is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unbraid.config import RunConfig


@dataclass(frozen=True)
class Recipe:
    """A named run: what it shows, the paper's figure for it, and ours."""

    method: str
    about: str
    make: Callable[[], RunConfig[Any]]
    paper: str = "-"
    ours: str = "not measured"


AT_PAPER_SIZE = "the paper's size and length; hours to weeks on two cores"
