"""pix2pix [1]: a translator each way between paired images, whose skip connections keep what is where.

A translation should be near to its input's counterpart, and a discriminator that sees both the input and what is said
to be its counterpart should take it for one.

[1] P. Isola, J.-Y. Zhu, T. Zhou, A. A. Efros: Image-to-Image Translation with Conditional Adversarial Networks.
CVPR 2017.

Legend: n items, c channels, h height, w width; x is an image of the source domain, y its counterpart, G the generator,
D the discriminator.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import l1_loss, softplus
from torch.optim import Adam, Optimizer

from unbraid.core.bounds import Positive, Share, Size, Weight
from unbraid.core.config import PerceptualConfig
from unbraid.core.method import SMALL_NOTE, Clock, Method, Terms, Update, check_target, small_images
from unbraid.core.types import DOMAINS, DataSpec, Domain, ImageSpec, Paired, other
from unbraid.nn.blocks import FitSize, Upsampling, doubling, down, draw_normal, up
from unbraid.nn.functional import plateau_then_linear
from unbraid.nn.patch import DiscriminatorNorm, PatchDiscriminator, generator_loss, patch_halvings
from unbraid.nn.pretrained.perceptual_term import PerceptualTerm, check_perceptual
from unbraid.nn.residual import both_images, check_same_shape

BETAS = (0.5, 0.999)
DEEPEST = 8
"""Number of layers of stride 2 at most; the paper's for 256 px."""
DROPPED = 3
"""Number of layers after the innermost one that have dropout."""


@dataclass(frozen=True)
class Pix2PixConfig:
    """Settings of pix2pix. Defaults are the paper's, except for the deviations in docs/methods/pix2pix.md."""

    towards: Literal["a", "b", "both"] = "both"
    """Domain to translate to. both: a generator and a discriminator each way, at twice the price."""
    width: Size = 64
    """Channels of a generator's first map, which double up to eight times as many."""
    upsampling: Upsampling = "transposed"
    """Upsampling in generators. nearest (nearest-neighbour, then a convolution) avoids checkerboard artifacts."""
    dropout: Share = 0.5
    """Dropout in the three layers after a generator's innermost one."""
    discriminator_width: Size = 64
    """Channels of a discriminator's first map."""
    discriminator_norm: DiscriminatorNorm = "instance"
    """Normalisation in discriminators."""
    l1: Weight = 100.0
    """lambda of eq. 4: weight of the mean absolute error."""
    gan: Weight = 1.0
    """Weight of the adversarial loss. Ablation: 0 leaves eq. 3 alone."""
    perceptual_weight: Weight = 0.0
    """Weight, relative to the mean absolute error, of LORD's perceptual loss. The paper has none: 0."""
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)
    """Sources of VGG16's weights."""
    rate: Positive = 2e-4
    """Adam's learning rate."""
    plateau: Share = 0.5
    """Fraction of the run after which the learning rates decrease linearly to 0."""


SMALL_IMAGES = Pix2PixConfig(width=32, discriminator_width=32, upsampling="nearest")
"""For images of up to 128 px."""


class UNet(nn.Module):
    """Generator (appendix 6.1.1): 4x4 convolutions of stride 2 down to one place, or a few, as many back up, and each
    map of the way down beside the one of its size on the way up.

    Args:
        spec: Specification of the input images.
        channels: Channels of the output.
        width: Channels of the first map.
        dropout: Dropout of the DROPPED layers after the innermost one.
        upsampling: Kind of upsampling.
    """

    def __init__(self, spec: ImageSpec, channels: int, width: int, dropout: float, upsampling: Upsampling) -> None:
        super().__init__()
        count = min(DEEPEST, int(math.log2(min(spec.height, spec.width))))
        self.size = FitSize(spec.height, spec.width, count)
        widths = [width * 2 ** min(i, 3) for i in range(count)]
        edges = (0, count - 1)  # the first and the innermost have no batch-norm
        self.downs = nn.ModuleList(
            down(i, o, norm=number not in edges)
            for number, (i, o) in enumerate(zip([spec.channels, *widths], widths, strict=False))
        )
        self.ups = nn.ModuleList(
            up(
                widths[number] * (1 if number == count - 1 else 2),
                widths[number - 1],
                dropout=dropout if number >= count - DROPPED else 0.0,
                upsampling=upsampling,
            )
            for number in range(count - 1, 0, -1)
        )
        self.last = doubling(2 * width, channels, upsampling, bias=True)
        self.apply(draw_normal)

    def forward(self, x: Float[Tensor, "n _ h w"]) -> Float[Tensor, "n _ h w"]:
        """Translates images, (n, spec.channels, h, w) -> (n, channels, h, w) in [-1, 1], float32."""
        maps, found = [], self.size.pad(x)
        for layer in self.downs:
            found = layer(found)
            maps.append(found)
        found = maps.pop()
        for layer in self.ups:
            found = torch.cat([layer(found), maps.pop()], 1)
        return torch.tanh(self.size.crop(self.last(found).float()))


class Pix2Pix(Method[Paired]):
    """pix2pix [1]. Trains on pairs of images of one size; translates both ways, or one with `towards`. It has no
    codes, so each item has one translation.

    Example:
        >>> from unbraid.core.types import DataSpec, ImageSpec
        >>> spec = DataSpec(ImageSpec(16, 16, 3), ImageSpec(16, 16, 1))
        >>> model = Pix2Pix(spec, Pix2PixConfig(width=4)).eval()
        >>> tuple(model.translate(torch.zeros(2, 3, 16, 16), "a", "b").shape)
        (2, 1, 16, 16)
    """

    needs = Paired
    config_type = Pix2PixConfig
    config: Pix2PixConfig
    training_only = ("discriminators",)

    def __init__(self, spec: DataSpec, config: Pix2PixConfig) -> None:
        super().__init__(spec, config)
        check_same_shape("pix2pix", spec)
        sides = both_images("pix2pix", spec)
        check_perceptual(spec, config.perceptual_weight)
        self._perceptual = PerceptualTerm(config.perceptual_weight, config.perceptual)
        self.targets: tuple[Domain, ...] = DOMAINS if config.towards == "both" else (config.towards,)
        self.generators, self.discriminators = nn.ModuleDict(), nn.ModuleDict()
        for target in self.targets:
            source, channels = sides[other(target)], sides[target].channels
            self.generators[target] = UNet(source, channels, config.width, config.dropout, config.upsampling)
            if config.gan:
                self.discriminators[target] = PatchDiscriminator(
                    source.channels + channels,
                    config.discriminator_width,
                    patch_halvings(source),
                    config.discriminator_norm,
                )

    @classmethod
    def default_config(cls, spec: DataSpec) -> tuple[Pix2PixConfig, list[str]]:
        """Returns smaller networks for small images."""
        return (SMALL_IMAGES, [SMALL_NOTE]) if small_images(spec) else (Pix2PixConfig(), [])

    def prepare(self) -> None:
        """Loads the weights of VGG16 if they are needed. Raises UserError if there are none."""
        self._perceptual.prepare()

    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        """Returns Adam with rate 2e-4 and betas .5, .999 for generators, and for discriminators."""
        self.prepare()
        players = {"generators": self.generators, "discriminators": self.discriminators}
        return {
            name: Adam(networks.parameters(), lr=self.config.rate, betas=BETAS, fused=True)
            for name, networks in players.items()
            if len(networks)
        }

    def rate_factor(self, stage: str, clock: Clock) -> float:
        """Returns 1, then a linear decrease to 0, as in the authors' program."""
        return plateau_then_linear(self.config.plateau, clock.progress)

    def updates(self, batches: Iterator[Paired], clock: Clock) -> Iterator[Update]:
        """Performs two turns: generators minimise eq. 4, then discriminators maximise eq. 1, halved."""
        config, batch = self.config, next(batches)
        terms: Terms = {}
        pairs: dict[Domain, Tensor] = {}
        for target in self.targets:
            x, y = batch[other(target)], batch[target]
            generated = self.generators[target](x)
            terms[f"l1_{target}"] = config.l1 * l1_loss(generated, y.float())  # eq. 3
            if config.perceptual_weight:  # ours
                difference = self._perceptual(generated, y)
                terms[f"perceptual_{target}"] = config.l1 * config.perceptual_weight * difference
            if config.gan:
                pairs[target] = torch.cat([x, generated.to(x.dtype)], 1)
                score = self.discriminators[target](pairs[target])
                terms[f"generator_{target}"] = config.gan * generator_loss(score, "logistic")  # eq. 1
        yield {"generators": terms}
        if config.gan:
            yield {
                "discriminators": {
                    f"discriminator_{target}": self._discriminator_loss(batch, target, pair.detach())
                    for target, pair in pairs.items()
                }
            }

    def _discriminator_loss(self, batch: Paired, target: Domain, generated: Tensor) -> Float[Tensor, ""]:
        """Computes the negative of eq. 1, halved; the discriminator sees true and generated pairs in one batch."""
        real = torch.cat([batch[other(target)], batch[target]], 1)
        true, false = self.discriminators[target](torch.cat([real, generated])).split(len(real))
        return (softplus(-true).mean() + softplus(false).mean()) / 2

    def sources(self) -> tuple[Domain, ...]:
        """Returns the domains whose items it translates."""
        return tuple(domain for domain in DOMAINS if other(domain) in self.targets)

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        """Translates x by G; ignores `style`. See `Translator.translate`. Raises UserError for a way not trained."""
        check_target(self, dst, "--method.towards both")
        return self.generators[dst](x)
