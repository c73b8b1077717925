"""The verbs: what a method is, and what a trained one can do.

A method owns its networks and plays one training step as a generator: ordinary forward code that yields, turn by turn,
who minimises what. `train.train_step` turns each yield into backward and step.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from unbraid.core.bounds import check_bounds
from unbraid.core.types import Batch, Codes, DataSpec, Domain, ImageSpec

BatchType = TypeVar("BatchType")
Terms = dict[str, Tensor]
"""Weighted scalar losses by name: what is minimised is what the log shows."""
Update = dict[str | tuple[str, ...], Terms]
"""Player, or players who minimise the same, -> what they minimise. The players of one update step together."""


@dataclass(frozen=True)
class Clock:
    """Where training stands: `step` counts finished steps of the stage, `progress` is its share done, in [0, 1)."""

    step: int
    progress: float
    stage: str = "train"


@dataclass(frozen=True)
class Stage:
    """A phase of training with its own players.

    share: its part of the run's length. encodes: whether items that training doesn't see have codes in this phase.
    """

    name: str = "train"
    share: float = 1.0
    encodes: bool = True


class Method(nn.Module, ABC, Generic[BatchType]):
    """One published system: its networks, its players, one training step.

    A subclass is built from (spec, config) and lives in one file. It sets `needs`, the batch type it trains on, and
    `config_type`, a frozen dataclass of what can be chosen, whose defaults are the paper's but for the deviations
    on the method's docs page; types of `bounds` say what its numbers may be.
    """

    needs: ClassVar[type[Batch]]
    config_type: ClassVar[type]
    training_only: ClassVar[tuple[str, ...]] = ()
    """Beginnings of the names of what only training needs; it is not part of a trained model."""

    def __init__(self, spec: DataSpec, config: Any) -> None:
        super().__init__()
        check_bounds(config)
        self.spec = spec
        self.config = config
        self.diagnostics: dict[str, Tensor] = {}
        """Detached scalars by name, which `updates` may set at each step. Their means are logged together with the
        gradient norm of each player."""

    def diagnose(self, diagnostics: dict[str, float]) -> list[str]:
        """Returns warnings for these mean diagnostics. One that lasts is shown to the user."""
        return []

    @classmethod
    def default_config(cls, spec: DataSpec) -> tuple[Any, list[str]]:
        """The configuration for data like these where nothing else is asked for, and lines that say what differs from
        `config_type()`, the paper's, and why."""
        return cls.config_type(), []

    @classmethod
    def resolve_config(cls, config: Any, train: Any) -> tuple[Any, list[str]]:
        """Fills in settings that depend on the data. Called before the method is built.

        Args:
            config: The configuration that was asked for.
            train: The training part of the data.

        Returns:
            The complete configuration, and notes and warnings for the user, a line each.
        """
        return config, []

    @classmethod
    def upgrade_config(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Returns a configuration that an earlier version saved, as plain values, in the form of this version."""
        return values

    def prepare(self) -> None:
        """Fetches what training needs beside the data. Called before a run begins; raises UserError."""

    def stages(self) -> list[Stage]:
        """The phases of training, in order. Most methods have one."""
        return [Stage()]

    @abstractmethod
    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        """A torch optimiser for each player of the stage."""

    def rate_factor(self, stage: str, clock: Clock) -> float:
        """What the optimisers' rates are multiplied by at this moment of the stage."""
        return 1.0

    @abstractmethod
    def updates(self, batches: Iterator[BatchType], clock: Clock) -> Iterator[Update]:
        """One training step. Yields who minimises what, turn by turn; never from inside a `with`."""

    def as_translator(self) -> "Translator | None":
        """Returns the method itself if it has what a `Translator` has."""
        return self if isinstance(self, Translator) else None

    def as_disentangler(self) -> "Disentangler | None":
        """Returns the method itself if it has what a `Disentangler` has."""
        return self if isinstance(self, Disentangler) else None

    def as_latent(self) -> "Latent | None":
        """Returns the method itself if it has what a `Latent` has."""
        return self if isinstance(self, Latent) else None


SMALL = 128
"""Smaller side of images, in px, up to which a method's default may be what was proven at small sizes."""
SMALL_NOTE = f"Images of up to {SMALL} px: settings that were proven at 64 px instead of the paper's for 256"


def small_images(spec: DataSpec) -> bool:
    """Returns whether both domains have images whose smaller side is at most SMALL."""
    return all(isinstance(own, ImageSpec) and min(own.height, own.width) <= SMALL for own in (spec.a, spec.b))


@runtime_checkable
class Latent(Protocol):
    """Keeps codes of training items and of the values of their labels, found while training."""

    def training_codes(self, label: Tensor, index: Tensor) -> Codes:
        """The codes of training items. label: (n, k), index: (n,)."""
        ...

    def with_value(self, exclusive: Tensor, label: int, value: int) -> Tensor:
        """Exclusive codes with another value of one label: (n, d) -> (n, d)."""
        ...


@runtime_checkable
class Translator(Protocol):
    """Can show an item of one domain in the other."""

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        """(n, *spec[src].shape) -> (n, *spec[dst].shape). style: (n, d) exclusive codes, drawn if not given."""
        ...


@runtime_checkable
class Disentangler(Protocol):
    """Can take an item apart into codes, and make items of codes."""

    def encode(self, x: Tensor, domain: Domain) -> Codes:
        """The codes of n items. An item's code does not depend on the rest of the batch."""
        ...

    def decode(self, codes: Codes, domain: Domain) -> Tensor:
        """(n, *spec[domain].shape): the items that these codes describe, in `domain`."""
        ...

    def prior(self, n: int, domain: Domain, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """n exclusive codes of `domain`, drawn from what the method takes them to follow."""
        ...
