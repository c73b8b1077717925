"""The method interface: what is trained, and the protocols of trained models.

A method owns its networks and defines one training step as a generator: ordinary forward code that yields, turn by
turn, the losses and the players that minimise them. `training.loop.train_step` runs backward and step for each yield.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from unbraid.core.bounds import check_bounds
from unbraid.core.types import DOMAINS, Batch, Codes, DataSpec, Domain, ImageSpec, UserError, other

BatchType = TypeVar("BatchType")
Value = TypeVar("Value")
Terms = dict[str, Tensor]
"""Weighted scalar losses by name, as they are minimised and logged."""
Update = dict[str | tuple[str, ...], Terms]
"""Losses by the player, or players, that minimise them. The players of one update step together."""


@dataclass(frozen=True)
class Clock:
    """Progress of training.

    Args:
        step: Number of finished steps of the stage.
        progress: Fraction of the stage that is done, in [0, 1).
        stage: Name of the stage.
    """

    step: int
    progress: float
    stage: str = "train"


@dataclass(frozen=True)
class Stage:
    """Phase of training with its own players.

    Args:
        name: Name of the stage.
        share: Fraction of the run's length.
        encodes: Whether new items have codes in this stage.
    """

    name: str = "train"
    share: float = 1.0
    encodes: bool = True


class Method(nn.Module, ABC, Generic[BatchType]):
    """Base class of methods: networks, players, one training step.

    A subclass is constructed from (spec, config). It sets `needs`, the type of its batches, and `config_type`, a frozen
    dataclass of its settings; the defaults are the paper's except for the deviations on the method's docs page, and
    types of `core.bounds` declare the ranges of numbers.
    """

    needs: ClassVar[type[Batch]]
    config_type: ClassVar[type]
    training_only: ClassVar[tuple[str, ...]] = ()
    """Prefixes of the names of state that only training needs; a trained model omits it."""
    renamed: ClassVar[Mapping[str, str]] = {}
    """Former names of settings, networks, players and losses, with their present names. Flags and saved runs may use
    either."""

    def __init__(self, spec: DataSpec, config: Any) -> None:
        super().__init__()
        check_bounds(config)
        self.spec = spec
        self.config = config
        self.diagnostics: dict[str, Tensor] = {}
        """Detached scalars by name, which `updates` may set at each step. Their means are logged together with the
        gradient norm of each player."""
        self.whole_from = 0.0
        """Share of a stage after which its loss has all its terms: a model of before is kept only until there is one of
        after, and training doesn't stop early before."""

    def diagnose(self, diagnostics: dict[str, float]) -> list[str]:
        """Returns warnings for these mean diagnostics. One that lasts is shown to the user."""
        return []

    @classmethod
    def default_config(cls, spec: DataSpec) -> tuple[Any, list[str]]:
        """Returns the default configuration for such data, and notes on how it differs from the paper's."""
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
        """Converts a configuration that an earlier version saved, as plain values, to this version's form."""
        return values

    def prepare(self) -> None:
        """Loads what training needs besides the data, such as pretrained weights, before a run. Raises UserError."""

    def stages(self) -> list[Stage]:
        """Returns the stages of training in order. Most methods have one."""
        return [Stage()]

    @abstractmethod
    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        """Returns the optimiser of each player of a stage."""

    def rate_factor(self, stage: str, clock: Clock) -> float:
        """Returns the factor of the learning rates at this point of the stage."""
        return 1.0

    @abstractmethod
    def updates(self, batches: Iterator[BatchType], clock: Clock) -> Iterator[Update]:
        """Performs one training step. Yields updates, turn by turn; never from inside a `with` block.

        Args:
            batches: Batches of type `needs`.
            clock: Progress of training.

        Yields:
            Losses by the players that minimise them. When the generator resumes, these players have been updated.
        """

    def fits_codes(self) -> bool:
        """Returns whether codes of new items are found by optimising them, which no exported program does."""
        return False

    def sources(self) -> tuple[Domain, ...]:
        """Returns the domains whose items it translates: both, or one where there is no way back."""
        return DOMAINS

    def as_translator(self) -> "Translator | None":
        """Returns the method itself if it has what a `Translator` has."""
        return self if isinstance(self, Translator) else None

    def as_disentangler(self) -> "Disentangler | None":
        """Returns the method itself if it has what a `Disentangler` has."""
        return self if isinstance(self, Disentangler) else None

    def as_latent(self) -> "Latent | None":
        """Returns the method itself if it has what a `Latent` has."""
        return self if isinstance(self, Latent) else None


def check_target(method: Method[Any], target: Domain, remedy: str) -> None:
    """Raises UserError if a method doesn't translate to this domain.

    Args:
        method: The method.
        target: The domain.
        remedy: Settings with which it would, for the message.
    """
    if other(target) not in method.sources():
        raise UserError(
            f"This {type(method).__name__} translates one way only, and this is the other: train another with {remedy}"
        )


AnyMethod = Method[Any]
"""A method, whatever its batches are."""


def present_names(values: Mapping[str, Value], renamed: Mapping[str, str]) -> dict[str, Value]:
    """Replaces former names among the keys, and among the parts of keys that are joined by dots.

    Example:
        >>> present_names({"critic.weight": 1, "rate": 2}, {"critic": "discriminator"})
        {'discriminator.weight': 1, 'rate': 2}
    """
    return {".".join(renamed.get(part, part) for part in key.split(".")): value for key, value in values.items()}


SMALL = 128
"""Largest smaller side in px of images for which a method's default may be settings that were tested at small sizes."""
SMALL_NOTE = f"Images of up to {SMALL} px: settings that were proven at 64 px instead of the paper's for 256"


def small_images(spec: DataSpec) -> bool:
    """Returns whether both domains have images whose smaller side is at most SMALL px."""
    return all(isinstance(own, ImageSpec) and min(own.height, own.width) <= SMALL for own in (spec.a, spec.b))


@runtime_checkable
class Latent(Protocol):
    """Protocol of methods that store codes of training items and of label values."""

    def training_codes(self, label: Tensor, index: Tensor) -> Codes:
        """Returns the stored codes of training items: labels (n, k), positions in the training part (n,)."""
        ...

    def with_value(self, exclusive: Tensor, label: int, value: int) -> Tensor:
        """Replaces the part of exclusive codes that encodes one label.

        Args:
            exclusive: Exclusive codes, (n, d).
            label: Number of the label.
            value: Number of its new value.
        """
        ...


@runtime_checkable
class Translator(Protocol):
    """Protocol of methods that translate items between domains."""

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        """Translates items.

        Args:
            x: Items, (n, *spec[src].shape).
            src: Domain of the items.
            dst: Target domain.
            style: Exclusive codes, (n, d); sampled if not given.

        Returns:
            The translations, (n, *spec[dst].shape).
        """
        ...


@runtime_checkable
class Disentangler(Protocol):
    """Protocol of methods that encode items into shared and exclusive codes, and decode them."""

    def encode(self, x: Tensor, domain: Domain) -> Codes:
        """Returns the codes of items, (n, *spec[domain].shape). They do not depend on the rest of the batch."""
        ...

    def decode(self, codes: Codes, domain: Domain) -> Tensor:
        """Returns the items of `domain` with these codes, (n, *spec[domain].shape)."""
        ...

    def prior(self, n: int, domain: Domain, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Samples exclusive codes from the method's prior.

        Args:
            n: Number of codes.
            domain: Their domain.
            generator: Source of randomness, on the CPU.

        Returns:
            The codes, (n, d).
        """
        ...
