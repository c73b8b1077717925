"""CycleGAN [1]: translation between two unpaired domains, the common baseline.

There is one translator in each direction. An item translated there and back should be reconstructed, and a translation
should pass the discriminator of its domain. Both translators are updated together in both cycles, so they may learn to
hide information that the other domain can't show.

[1] J.-Y. Zhu, T. Park, P. Isola, A. A. Efros: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks. ICCV 2017.

Legend: n items, c channels, h height, w width, d size of a vector. x is an item of domain a, y one of b; G: a -> b, F:
b -> a; D_X and D_Y are the discriminators of a and b.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.optim import Adam, Optimizer

from unbraid.core.bounds import Count, Positive, Share, Size, Weight
from unbraid.core.method import SMALL_NOTE, Clock, Method, Terms, Update, small_images
from unbraid.core.types import DataSpec, Domain, ImageSpec, Spec, Unpaired, UserError, VectorSpec
from unbraid.nn.blocks import Upsampling, draw_normal
from unbraid.nn.functional import plateau_then_linear
from unbraid.nn.history import History
from unbraid.nn.patch import (
    DiscriminatorNorm,
    GANLoss,
    PatchSize,
    discriminator_loss,
    domain_discriminator,
    generator_loss,
    r1_penalty,
    small_settings,
)
from unbraid.nn.residual import (
    Norm,
    ResidualTranslator,
    VectorTranslator,
    change,
    check_same_shape,
    warn_unchanged,
)

LARGE = 256
"""Height and width from which the paper's networks have nine residual blocks instead of six."""


@dataclass(frozen=True)
class CycleGANConfig:
    """Settings of CycleGAN. Defaults are the paper's, except for the deviations in docs/methods/cyclegan.md."""

    width: Size = 64
    """Channels of the first and last maps of translators; maps at a quarter of the size have four times as many."""
    blocks: Size | None = None
    """Number of residual blocks of a translator. Default: 9 from 256 x 256 on, 6 below."""
    upsampling: Upsampling = "transposed"
    """Upsampling in translators. nearest (nearest-neighbour, then a convolution) avoids checkerboard artifacts."""
    norm: Norm = "instance"
    """Normalisation in translators of images. group preserves the colour of uniform images."""
    mask: bool = False
    """Translators predict beside an image a mask of the places of their input that they keep (Pumarola et al. 2018).
    For domains that are alike place by place; not in the paper."""
    discriminator_width: Size = 64
    """Channels of the discriminators' first map."""
    discriminator_patch: PatchSize | None = None
    """Size of the patches that discriminators score, in px. Default: 70 for 256 px, 34 for 128, 16 below."""
    discriminator_norm: DiscriminatorNorm = "instance"
    """Normalisation in discriminators."""
    gan_loss: GANLoss = "least-squares"
    """Loss of discriminators and generators. logistic (not in the paper) also works for domains far apart, such
    as photos and maps."""
    r1: Weight = 0.0
    """Weight of the R1 gradient penalty of the discriminators (times 1/2); 0 leaves it out. Not in the paper."""
    hidden: Size = 32
    """Size of the hidden layer of all networks for vectors. The paper has images only."""
    history: Count = 50
    """Size of the buffer of earlier translations from which discriminators receive some; 0 disables it."""
    cycle: Weight = 10.0
    """lambda of eq. 3: weight of the cycle consistency loss."""
    identity: Weight = 0.0
    """Weight of the identity loss (section 5.2), times lambda: items of the target domain should stay unchanged. The
    paper uses 0.5 for paintings. Both domains must have items of one shape."""
    rate: Positive = 2e-4
    """Adam's learning rate."""
    betas: tuple[Share, Share] = (0.5, 0.999)
    """Adam's betas, of all optimisers."""
    plateau: Share = 0.5
    """Fraction of the run after which the learning rates decrease linearly to 0."""


SMALL_IMAGES = CycleGANConfig(
    width=24,
    blocks=4,
    upsampling="nearest",
    norm="group",
    mask=True,
    discriminator_width=32,
    discriminator_norm="none",
    gan_loss="logistic",
    cycle=3.0,
    rate=3e-4,
    betas=(0.0, 0.99),
)
"""For images of up to 128 px, with `small_settings`; from trials on the validation parts of relit cars and maps."""


class CycleGAN(Method[Unpaired]):
    """CycleGAN [1]. Trains on two unpaired domains; translates. It has no codes, so each item has one translation.

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
    training_only = ("discriminators", "history")
    renamed: ClassVar[Mapping[str, str]] = {
        "adversaries": "discriminators",
        "adversary_width": "discriminator_width",
        "again": "cycle",
        "again_a": "cycle_a",
        "again_b": "cycle_b",
        "fool_a": "generator_a",
        "fool_b": "generator_b",
        "tell_a": "discriminator_a",
        "tell_b": "discriminator_b",
        "same_a": "identity_a",
        "same_b": "identity_b",
    }

    def __init__(self, spec: DataSpec, config: CycleGANConfig) -> None:
        super().__init__(spec, config)
        _check(spec, config)
        self.to_a, self.to_b = _translator(spec.b, spec.a, config), _translator(spec.a, spec.b, config)
        self.discriminators = nn.ModuleDict({domain: _discriminator(spec[domain], config) for domain in ("a", "b")})
        self.history = nn.ModuleDict({domain: History(config.history, spec[domain]) for domain in ("a", "b")})

    @classmethod
    def default_config(cls, spec: DataSpec) -> tuple[CycleGANConfig, list[str]]:
        """Returns other networks, losses and weights for small images."""
        if not small_images(spec):
            return CycleGANConfig(), []
        return replace(SMALL_IMAGES, **small_settings(spec)), [SMALL_NOTE]

    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        """Returns Adam with `rate` and `betas` for each player."""
        translators = [*self.to_a.parameters(), *self.to_b.parameters()]
        return {
            "translators": Adam(translators, lr=self.config.rate, betas=self.config.betas, fused=True),
            "discriminators": Adam(
                self.discriminators.parameters(), lr=self.config.rate, betas=self.config.betas, fused=True
            ),
        }

    def rate_factor(self, stage: str, clock: Clock) -> float:
        """Returns 1, then a linear decrease to 0 (section 4)."""
        return plateau_then_linear(self.config.plateau, clock.progress)

    def updates(self, batches: Iterator[Unpaired], clock: Clock) -> Iterator[Update]:
        """Performs two turns: translators minimise eq. 3, then discriminators maximise it; least squares for eq. 1."""
        config, batch = self.config, next(batches)
        x, y = batch.a, batch.b
        translated_b, translated_a = self.to_b(x), self.to_a(y)
        if config.mask and x.ndim == 4:
            self.diagnostics |= {"change to a": change(translated_a, y), "change to b": change(translated_b, x)}
        terms: Terms = {
            "cycle_a": config.cycle * l1_loss(self.to_a(translated_b), x),  # eq. 2, term 1
            "cycle_b": config.cycle * l1_loss(self.to_b(translated_a), y),  # eq. 2, term 2
            "generator_b": self._generator_loss(translated_b, "b"),  # section 4, for G
            "generator_a": self._generator_loss(translated_a, "a"),  # section 4, for F
        }
        if config.identity:
            weight = config.cycle * config.identity
            terms["identity_a"] = weight * l1_loss(self.to_a(x), x)  # section 5.2, L_identity
            terms["identity_b"] = weight * l1_loss(self.to_b(y), y)
        yield {"translators": terms}
        discriminator_terms: Terms = {
            "discriminator_a": self._discriminator_loss(x, translated_a.detach(), "a"),
            "discriminator_b": self._discriminator_loss(y, translated_b.detach(), "b"),
        }
        if config.r1:
            discriminator_terms["r1_a"] = config.r1 / 2 * r1_penalty(self.discriminators["a"], x)
            discriminator_terms["r1_b"] = config.r1 / 2 * r1_penalty(self.discriminators["b"], y)
        yield {"discriminators": discriminator_terms}

    def diagnose(self, diagnostics: dict[str, float]) -> list[str]:
        """Returns a warning if translators with a mask return their inputs."""
        return warn_unchanged(diagnostics, "--method.cycle")

    def _generator_loss(self, generated: Tensor, domain: Domain) -> Float[Tensor, ""]:
        """Computes (D(generated) - 1)^2 (section 4), or the logistic loss."""
        return generator_loss(self.discriminators[domain](generated), self.config.gan_loss)

    def _discriminator_loss(self, real: Tensor, generated: Tensor, domain: Domain) -> Float[Tensor, ""]:
        """Computes 1/2 [(D(real) - 1)^2 + D(generated)^2] (section 4), or the logistic loss, for present and earlier
        translations."""
        earlier = self.history[domain](generated)
        return discriminator_loss(self.discriminators[domain], real, earlier, self.config.gan_loss)

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        """Translates x by G or F; ignores `style`. See `Translator.translate`."""
        return self.to_a(x) if dst == "a" else self.to_b(x)


def _translator(source: Spec, target: Spec, config: CycleGANConfig) -> nn.Module:
    if isinstance(source, ImageSpec) and isinstance(target, ImageSpec):
        blocks = config.blocks or (9 if min(source.height, source.width) >= LARGE else 6)
        return ResidualTranslator(
            source, target.channels, config.width, blocks, config.upsampling, config.norm, config.mask
        ).apply(draw_normal)
    assert isinstance(source, VectorSpec)
    assert isinstance(target, VectorSpec)
    return VectorTranslator(source.size, config.hidden, target.size)


def _discriminator(spec: Spec, config: CycleGANConfig) -> nn.Module:
    return domain_discriminator(
        spec, config.discriminator_width, config.hidden, config.discriminator_norm, config.discriminator_patch
    )


def _check(spec: DataSpec, config: CycleGANConfig) -> None:
    """Raises UserError for settings that don't fit the data."""
    check_same_shape("cyclegan", spec)
    if config.identity and spec.a != spec.b:
        raise UserError(
            f"--method.identity {config.identity:g} needs domains whose items have one shape; found {spec.a} and "
            f"{spec.b}: --method.identity 0"
        )
