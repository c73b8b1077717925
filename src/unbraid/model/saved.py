"""Schemas of a run's files, by which what is read is checked."""

from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from torch import Tensor

from unbraid.core.files import (
    Json,
)
from unbraid.core.short import Short
from unbraid.core.types import DOMAINS, Domain

FORMAT = 1
"""Version of the folder's layout; a run of another one is refused."""


MOST = 2**53


Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
"""In a file: what was counted."""


Side = Annotated[int, msgspec.Meta(ge=1, le=2**24)]
"""In a file: the size of an item or the number of its classes."""


@dataclass(frozen=True)
class Position:
    """Where training stands. `step` and `seconds` count within the stage, `drawn` the batches taken."""

    stage: Count = 0
    step: Count = 0
    drawn: Count = 0
    seconds: Annotated[float, msgspec.Meta(ge=0, le=1e12)] = 0.0
    best: float = -1.0
    """Score of the model that is kept."""
    best_step: Annotated[int, msgspec.Meta(ge=-1, le=MOST)] = -1
    highest: float = -1.0
    """The highest score so far, perhaps of another one: see `measure.validate`."""
    waited: Count = 0
    """Measurements since it last rose."""
    sums: dict[str, float] = field(default_factory=dict)
    """Losses summed since they were last written to the log."""
    counted: Count = 0
    """How many steps those sums hold."""
    scale: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Scale of losses in fp16, 0 before the first checkpoint, and how long it has held."""
    scale_held: Count = 0


@dataclass(frozen=True)
class SavedSettings:
    """Method of a run in config.json, and what was asked for by groups of flags."""

    method_name: str
    method: Json
    data: Json
    train: Json


@dataclass(frozen=True)
class SavedConfig:
    """Content of config.json."""

    format: int
    config: SavedSettings


@dataclass(frozen=True)
class SavedOptimiser:
    """State of one of torch's optimisers."""

    state: dict[int, Json]
    param_groups: list[Json]


@dataclass(frozen=True)
class SavedAverage(Short):
    """State of `training.loop.Average`."""

    updates: Count
    mean: dict[str, Tensor]


@dataclass(frozen=True)
class SavedState(Short):
    """Content of state.pt."""

    position: Position
    method: dict[str, Tensor]
    optimisers: dict[str, SavedOptimiser]
    average: SavedAverage | None


class SavedImages(msgspec.Struct, tag_field="kind", tag="ImageSpec"):
    """An ImageSpec in a model's metadata."""

    height: Side
    width: Side
    channels: Side


class SavedVectors(msgspec.Struct, tag_field="kind", tag="VectorSpec"):
    """A VectorSpec in a model's metadata."""

    size: Side


@dataclass(frozen=True)
class SavedSpec:
    """A DataSpec in a model's metadata; models of the first version have nothing but a and b."""

    a: SavedImages | SavedVectors
    b: SavedImages | SavedVectors
    classes: tuple[Side, ...] = ()
    values: tuple[tuple[str, ...], ...] = ()
    labels: tuple[str, ...] = ()
    domains: tuple[Domain, ...] = ()
    names: tuple[str, str] = DOMAINS


@dataclass(frozen=True)
class SavedModel:
    """Metadata of model.safetensors."""

    method: str
    config: Json
    spec: SavedSpec
    step: Count
