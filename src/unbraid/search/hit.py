"""What a search finds, and what can be searched."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from unbraid.core.types import Domain
from unbraid.search.identity import Identity
from unbraid.search.index import Part


@dataclass(frozen=True)
class Hit:
    """An item that was found. distance: Euclidean, in the space in which codes are compared; 0 is the same code."""

    path: Path
    domain: Domain
    distance: float
    metadata: dict[str, str]


@runtime_checkable
class Index(Protocol):
    """A folder, or a collection of a server, that can be searched."""

    identity: Identity
    place: str

    @property
    def domains(self) -> list[Domain]:
        """The domains that have items."""
        ...

    def nearest(
        self, domain: Domain, part: Part, queries: np.ndarray, k: int, where: Mapping[str, str]
    ) -> list[list[Hit]]:
        """Returns up to k hits for each query, nearest first.

        Args:
            domain: Of the items.
            part: Of the codes.
            queries: (q, d) codes.
            k: Hits for each.
            where: Values that an item's metadata must have.
        """
        ...

    def holds(self, path: Path) -> bool:
        """Returns whether a file is one of the images, by whatever name."""
        ...

    def close(self) -> None:
        """Lets go of files and connections."""
        ...
