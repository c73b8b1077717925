"""What a search finds, and what can be searched."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from unbraid.core.types import Domain
from unbraid.search.index import Part
from unbraid.search.store import Identity


@dataclass(frozen=True)
class Hit:
    """An item that was found. distance: Euclidean, in the space in which codes are compared; 0 is the same code."""

    path: Path
    domain: Domain
    distance: float
    metadata: dict[str, str]


@runtime_checkable
class Index(Protocol):
    """What can be searched: a folder, or a collection of a server."""

    identity: Identity
    place: str

    @property
    def domains(self) -> list[Domain]:
        """The domains that have items."""
        ...

    def nearest(
        self, domain: Domain, part: Part, queries: np.ndarray, k: int, where: Mapping[str, str]
    ) -> list[list[Hit]]:
        """Returns up to k hits for each row of (q, d) queries, nearest first, whose metadata has the values `where`."""
        ...

    def holds(self, path: Path) -> bool:
        """Returns whether a file is one of the images, by whatever name."""
        ...

    def close(self) -> None:
        """Lets go of files and connections."""
        ...
