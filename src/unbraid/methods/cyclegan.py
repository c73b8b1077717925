"""CycleGAN [1]: translation between two unpaired domains, the baseline that others measure themselves by.

One translator each way. What is translated there and back must be what it was, and what is translated must look like
its domain to that domain's adversary. Both translators move together in both cycles, so they may agree on where to
hide what the other domain has no place for.

[1] J.-Y. Zhu, T. Park, P. Isola, A. A. Efros: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks. ICCV 2017.

Legend: n items, c channels, h height, w width, d size of a vector. x is an item of domain a, y one of b; G: a -> b,
F: b -> a, D_X and D_Y the adversaries of a and b.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.optim import Adam, Optimizer

from unbraid.core.bounds import Count, Positive, Share, Size, Weight
from unbraid.core.method import Clock, Method, Terms, Update
from unbraid.core.types import DataSpec, Domain, ImageSpec, Spec, Unpaired, UserError, VectorSpec
from unbraid.nn.blocks import Upsampling, draw_normal
from unbraid.nn.functional import least_squares, plateau_then_linear
from unbraid.nn.history import History
from unbraid.nn.patch import DiscriminatorNorm, PatchAdversary, VectorAdversary, patch_halvings, tell
from unbraid.nn.residual import Norm, ResidualTranslator, VectorTranslator, check_alike

BETAS = (0.5, 0.999)
LARGE = 256
"""Height and width from which the paper's networks have nine residual blocks, and not six."""


@dataclass(frozen=True)
class CycleGANConfig:
    """What can be chosen. The defaults are the paper's, but for the deviations in docs/methods/cyclegan.md."""

    width: Size = 64
    """Channels of images' first and last maps; those at a quarter of the size have four times as many."""
    blocks: Size | None = None
    """Residual blocks of a translator; 9 from 256 x 256 on, 6 below, if not given."""
    upsampling: Upsampling = "transposed"
    """How maps of images double: nearest repeats values before a convolution, which lays no grid."""
    norm: Norm = "instance"
    """How translators of images normalise; group lets the colour of flat images through."""
    adversary_width: Size = 64
    """Channels of the adversaries' first map."""
    discriminator_norm: DiscriminatorNorm = "instance"
    """What steadies the adversaries."""
    hidden: Size = 32
    """Width of the hidden layer of every network for vectors. The paper has images only."""
    history: Count = 50
    """Items made earlier, from which adversaries are shown some; 0 shows them the latest only."""
    again: Weight = 10.0
    """lambda of eq. 3."""
    identity: Weight = 0.0
    """Weight of the identity loss (section 5.2) beside lambda: an item that is of the target domain already shall stay
    as it is. The paper takes 0.5 for paintings; it needs domains whose items have one shape."""
    rate: Positive = 2e-4
    """Adam's learning rate."""
    plateau: Share = 0.5
    """Share of the run before the rates begin to fall to 0 in a straight line."""


class CycleGAN(Method[Unpaired]):
    """CycleGAN [1]. Needs two unpaired domains; translates. It has no codes, so an item has one translation.

    Example:
        >>> import torch
        >>> from unbraid.core.types import DataSpec, ImageSpec
        >>> model = CycleGAN(DataSpec(ImageSpec(16, 16, 3), ImageSpec(16, 16, 1)), CycleGANConfig(width=4)).eval()
        >>> tuple(model.translate(torch.zeros(2, 3, 16, 16), "a", "b").shape)
        (2, 1, 16, 16)
    """

    needs = Unpaired
    config_type = CycleGANConfig
    config: CycleGANConfig
    training_only = ("adversar", "history")

    def __init__(self, spec: DataSpec, config: CycleGANConfig) -> None:
        super().__init__(spec, config)
        _check(spec, config)
        self.to_a, self.to_b = _translator(spec.b, spec.a, config), _translator(spec.a, spec.b, config)
        self.adversaries = nn.ModuleDict({domain: _adversary(spec[domain], config) for domain in ("a", "b")})
        self.history = nn.ModuleDict({domain: History(config.history, spec[domain]) for domain in ("a", "b")})

    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        """Two, Adam, rate 2e-4, betas .5 and .999; fused into one pass over memory."""
        translators = [*self.to_a.parameters(), *self.to_b.parameters()]
        return {
            "translators": Adam(translators, lr=self.config.rate, betas=BETAS, fused=True),
            "adversaries": Adam(self.adversaries.parameters(), lr=self.config.rate, betas=BETAS, fused=True),
        }

    def rate_factor(self, stage: str, clock: Clock) -> float:
        """1, then in a straight line down to 0 at the end (section 4)."""
        return plateau_then_linear(self.config.plateau, clock.progress)

    def updates(self, batches: Iterator[Unpaired], clock: Clock) -> Iterator[Update]:
        """The translators minimise eq. 3, then the adversaries maximise it; least squares instead of eq. 1."""
        config, batch = self.config, next(batches)
        x, y = batch.a, batch.b
        made_b, made_a = self.to_b(x), self.to_a(y)
        terms: Terms = {
            "again_a": config.again * l1_loss(self.to_a(made_b), x),  # eq. 2, term 1
            "again_b": config.again * l1_loss(self.to_b(made_a), y),  # eq. 2, term 2
            "fool_b": least_squares(self.adversaries["b"](made_b), 1.0),  # section 4, for G
            "fool_a": least_squares(self.adversaries["a"](made_a), 1.0),  # section 4, for F
        }
        if config.identity:
            weight = config.again * config.identity
            terms["same_a"] = weight * l1_loss(self.to_a(x), x)  # section 5.2, L_identity
            terms["same_b"] = weight * l1_loss(self.to_b(y), y)
        yield {"translators": terms}
        yield {
            "adversaries": {
                "tell_a": self._tell(x, made_a.detach(), "a"),
                "tell_b": self._tell(y, made_b.detach(), "b"),
            }
        }

    def _tell(self, real: Tensor, made: Tensor, domain: Domain) -> Float[Tensor, ""]:
        """1/2 [(D(real) - 1)^2 + D(made)^2] (section 4), for items made now and earlier; both in one pass."""
        return tell(self.adversaries[domain], real, self.history[domain](made))

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        """G(x) or F(x): (n, *spec[dst].shape). There is one answer, whatever the style."""
        return self.to_a(x) if dst == "a" else self.to_b(x)


def _translator(source: Spec, target: Spec, config: CycleGANConfig) -> nn.Module:
    if isinstance(source, ImageSpec) and isinstance(target, ImageSpec):
        blocks = config.blocks or (9 if min(source.height, source.width) >= LARGE else 6)
        return ResidualTranslator(source, target.channels, config.width, blocks, config.upsampling, config.norm).apply(
            draw_normal
        )
    assert isinstance(source, VectorSpec)
    assert isinstance(target, VectorSpec)
    return VectorTranslator(source.size, config.hidden, target.size)


def _adversary(spec: Spec, config: CycleGANConfig) -> nn.Module:
    if isinstance(spec, VectorSpec):
        return VectorAdversary(spec.size, config.hidden, config.discriminator_norm)
    return PatchAdversary(spec.channels, config.adversary_width, patch_halvings(spec), config.discriminator_norm)


def _check(spec: DataSpec, config: CycleGANConfig) -> None:
    """UserError for what can't be built."""
    check_alike("cyclegan", spec)
    if config.identity and spec.a != spec.b:
        raise UserError(
            f"--method.identity {config.identity:g} needs domains whose items have one shape; found {spec.a} and "
            f"{spec.b}: --method.identity 0"
        )
