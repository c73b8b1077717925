"""DTN [1]: translation one way by a fixed function f that sees both domains alike, and a decoder g of its features.

G(x) = g(f(x)). An item of the source domain and what G makes of it should have the same features; an item of the target
domain should stay itself. A discriminator tells three kinds apart: what is made of source items, what is made of target
items, and real target items. It is the baseline of XGAN's paper.

[1] Y. Taigman, A. Polyak, L. Wolf: Unsupervised Cross-Domain Image Generation. ICLR 2017.

Legend: n items, c channels, h height, w width, d size of a feature vector. s is an item of the source domain, t one of
the target domain.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, conv2d, cross_entropy, mse_loss, normalize, relu
from torch.optim import Adam, Optimizer

from unbraid.core.bounds import Positive, Sizes, Weight
from unbraid.core.config import PerceptualConfig
from unbraid.core.method import Clock, Method, Terms, Update, check_target, small_images
from unbraid.core.types import DataSpec, Domain, ImageSpec, Unpaired, UserError, other
from unbraid.nn.blocks import SLOPE, FitSize, InstanceNorm, Upsampling, doubling, draw_normal, up
from unbraid.nn.patch import r1_penalty, r1_weight
from unbraid.nn.pretrained.teacher import NAMED, Teacher, find_teacher
from unbraid.nn.residual import both_images

FROM_SOURCE, FROM_TARGET, REAL = 0, 1, 2
"""Classes of the discriminator: D_1, D_2, D_3."""
TINY = 1e-6
"""Added under the root of eq. 8, whose gradient is infinite on flat images."""


@dataclass(frozen=True)
class DTNConfig:
    """Settings of DTN. Defaults are the paper's for digits, except for the deviations in docs/methods/dtn.md."""

    towards: Literal["b", "a"] = "b"
    """The target domain."""
    teacher: Literal["vgg16", "efficientnet-lite0", "random"] = "vgg16"
    """f: a pretrained network. random: convolutions with fixed random weights, to compare with."""
    widths: Sizes = (512, 256, 128)
    """Channels of g's maps before the image, each twice the size of the one before."""
    discriminator_widths: Sizes = (64, 128, 256, 512)
    """Channels of the discriminator's convolutions, each of stride 2."""
    constancy: Weight = 15.0
    """alpha of eq. 7: weight of eq. 5."""
    identity: Weight = 15.0
    """beta of eq. 7: weight of eq. 6."""
    smoothness: Weight = 0.0
    """gamma of eq. 7: weight of eq. 8. The paper uses .05 for faces."""
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)
    """Sources of VGG16's weights, if it is f."""
    upsampling: Upsampling = "transposed"
    """Upsampling in g. nearest (nearest-neighbour, then a convolution) avoids checkerboard artifacts."""
    discriminator_norm: Literal["instance", "none"] = "instance"
    """Normalisation in the discriminator. none: it sees colours, which instance norm takes away."""
    normalise: bool = False
    """Normalise f's features by their mean and deviation over the batch, before g: what all images have in common
    outweighs, in features of a network that was trained on other images, what tells them apart."""
    r1: Weight = 0.0
    """Weight of the discriminator's R1 gradient penalty (times 1/2); 0 leaves it out. Not in the paper."""
    rate: Positive = 1e-3
    """Adam's learning rate for g."""
    discriminator_rate: Positive = 1e-4
    """Adam's learning rate for the discriminator."""


SMALL_IMAGES = DTNConfig(
    normalise=True, upsampling="nearest", discriminator_norm="none", rate=3e-4, discriminator_rate=3e-4
)
"""For images of up to 128 px, with `R1_PER_PIXEL`: without the dots that the paper's networks end with."""
SMALL_NOTE = "Images of up to 128 px: networks that leave no dots and tell images apart, instead of the paper's"


class RandomFeatures(nn.Module):
    """Three convolutions of stride 2 with fixed random weights and ReLU, averaged to 2 x 2 places.

    Shape: (n, c, h, w) -> (n, 512).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for number, (i, o) in enumerate(((channels, 32), (32, 64), (64, 128))):
            weight = torch.randn(o, i, 4, 4, generator=generator, device="cpu") * (2 / (16 * i)) ** 0.5
            self.register_buffer(f"weight{number}", weight)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Returns the features, float32."""
        for number in range(3):
            x = relu(conv2d(x, self.get_buffer(f"weight{number}"), stride=2, padding=1))
        return adaptive_avg_pool2d(x, 2).flatten(1).float()


class Decoder(nn.Module):
    """g: a fully connected layer to the first map, upsampling, tanh. Shape: (n, d) -> (n, c, h, w)."""

    def __init__(self, size: int, spec: ImageSpec, config: DTNConfig) -> None:
        super().__init__()
        widths = config.widths
        self.size = FitSize(spec.height, spec.width, len(widths))
        height, width = self.size.map_size
        self.body = nn.Sequential(
            *[nn.BatchNorm1d(size, affine=False)] * config.normalise,
            nn.Linear(size, widths[0] * height * width, bias=False),
            nn.Unflatten(1, (widths[0], height, width)),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
            *(up(i, o, upsampling=config.upsampling) for i, o in pairwise(widths)),
            doubling(widths[-1], spec.channels, config.upsampling, bias=True),
        )

    def forward(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """Returns images in [-1, 1], float32."""
        return self.size.crop(torch.tanh(self.body(features).float()))


class Discriminator(nn.Module):
    """D: convolutions of stride 2 with leaky ReLU, the norm after all but the first, three logits.

    Shape: (n, c, h, w) -> (n, 3).
    """

    def __init__(self, spec: ImageSpec, config: DTNConfig) -> None:
        super().__init__()
        widths, norm = config.discriminator_widths, config.discriminator_norm == "instance"
        self.size = FitSize(spec.height, spec.width, len(widths))
        height, width = self.size.map_size
        layers: list[nn.Module] = []
        for number, (i, o) in enumerate(zip((spec.channels, *widths[:-1]), widths, strict=True)):
            normed = norm and number > 0
            layers.append(nn.Conv2d(i, o, 4, 2, 1, bias=not normed))
            layers += [InstanceNorm()] * normed
            layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * height * width, 3))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Returns the logits, float32."""
        return self.body(self.size.pad(x)).float()


class DTN(Method[Unpaired]):
    """DTN [1]. Trains on two unpaired domains of images of one size; translates one way. It has no codes, so each item
    has one translation.

    Example:
        >>> spec = DataSpec(ImageSpec(32, 32, 3), ImageSpec(32, 32, 1))
        >>> model = DTN(spec, DTNConfig(teacher="random", widths=(8, 8))).eval()
        >>> tuple(model.translate(torch.zeros(2, 3, 32, 32), "a", "b").shape)
        (2, 1, 32, 32)
    """

    needs = Unpaired
    config_type = DTNConfig
    config: DTNConfig
    training_only = ("discriminator",)

    def __init__(self, spec: DataSpec, config: DTNConfig) -> None:
        super().__init__(spec, config)
        self.target: Domain = config.towards
        self.source: Domain = other(config.towards)
        sides = _check(spec, config)
        self.random = RandomFeatures(3) if config.teacher == "random" else None
        size = 512 if self.random else NAMED[config.teacher]
        self.decoder = Decoder(size, sides[self.target], config).apply(draw_normal)
        self.discriminator = Discriminator(sides[self.target], config).apply(draw_normal)
        self._teacher: tuple[Teacher, ...] = ()  # not an attribute that would make a network of it part of this one

    @classmethod
    def default_config(cls, spec: DataSpec) -> tuple[DTNConfig, list[str]]:
        """Returns another decoder and discriminator for small images."""
        if not small_images(spec):
            return DTNConfig(normalise=True), []
        return small_config(spec), [SMALL_NOTE]

    def prepare(self) -> None:
        """Loads f. Raises UserError if it is missing or doesn't fit."""
        if self.random is None and not self._teacher:
            name, spec = self.config.teacher, self.spec[self.source]
            assert isinstance(spec, ImageSpec)
            self._teacher = (find_teacher(name, spec, NAMED[name], self.config.perceptual),)

    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        """Returns Adam for each player."""
        players = {
            "decoder": (self.decoder, self.config.rate),
            "discriminator": (self.discriminator, self.config.discriminator_rate),
        }
        return {name: Adam(module.parameters(), lr=rate, fused=True) for name, (module, rate) in players.items()}

    def updates(self, batches: Iterator[Unpaired], clock: Clock) -> Iterator[Update]:
        """Performs two turns: g minimises eq. 7, then D minimises eq. 3."""
        config, batch = self.config, next(batches)
        s, t = batch[self.source], batch[self.target]
        with torch.no_grad():
            features = self.features(s), self.features(t)
        generated = self.decoder(torch.cat(features))
        from_source, from_target = generated.split([len(s), len(t)])
        terms: Terms = {
            "generator": _as_class(self.discriminator(from_source), REAL)
            + _as_class(self.discriminator(from_target), REAL),  # eq. 4
            "constancy": config.constancy * mse_loss(self.features(from_source), features[0]),  # eq. 5
            "identity": config.identity * mse_loss(from_target, t),  # eq. 6
        }
        if config.smoothness:
            terms["smoothness"] = config.smoothness * smoothness(generated)  # eq. 8
        yield {"decoder": terms}
        kinds = {FROM_SOURCE: from_source.detach(), FROM_TARGET: from_target.detach(), REAL: t}
        losses = [_as_class(self.discriminator(x), kind) for kind, x in kinds.items()]
        discriminator_terms: Terms = {"discriminator": torch.stack(losses).sum()}  # eq. 3
        if config.r1:
            discriminator_terms["r1"] = config.r1 / 2 * r1_penalty(self._log_odds, t)
        yield {"discriminator": discriminator_terms}

    def _log_odds(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """Returns the log odds that items are real."""
        logits = self.discriminator(x)
        return logits[:, REAL] - logits[:, :REAL].logsumexp(1)

    def features(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Returns f(x), scaled to a root mean square of 1, float32. Raises UserError if f is missing.

        With the scale of VGG16's features eq. 5 would be ten times the rest of eq. 7.
        """
        self.prepare()
        with torch.autocast(x.device.type, enabled=False):
            if self.random is not None:
                found = self.random(x.expand(-1, 3, -1, -1))
            else:
                (teacher,) = self._teacher
                if isinstance(teacher, nn.Module):
                    teacher.to(x.device)
                found = teacher(x)
            return normalize(found, dim=1) * found.shape[1] ** 0.5

    def sources(self) -> tuple[Domain, ...]:
        """Returns the source domain."""
        return (self.source,)

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        """Translates x by G; ignores `style`. Raises UserError for the other way. See `Translator.translate`."""
        check_target(self, dst, f"--method.towards {dst}")
        return self.decoder(self.features(x))


def small_config(spec: DataSpec) -> DTNConfig:
    """Returns `SMALL_IMAGES` with the R1 penalty for images of this size."""
    return replace(SMALL_IMAGES, r1=r1_weight(spec))


def _as_class(logits: Float[Tensor, "n 3"], kind: int) -> Float[Tensor, ""]:
    """Computes the mean of -log D_kind."""
    return cross_entropy(logits, torch.full((len(logits),), kind, device=logits.device))


def smoothness(x: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """Computes eq. 8 with B = 1, its mean over places in place of the sum: the length of the gradient of an image."""
    down, right = x.diff(dim=2)[..., :-1], x.diff(dim=3)[..., :-1, :]
    return (down.square() + right.square() + TINY).sqrt().mean()


def _check(spec: DataSpec, config: DTNConfig) -> dict[Domain, ImageSpec]:
    """Returns both specs. Raises UserError for settings that don't fit the data."""
    sides = both_images("dtn", spec)
    a, b = sides["a"], sides["b"]
    for side in (a, b):
        if side.channels not in (1, 3):
            raise UserError(f"dtn's pretrained networks take grey and colour images; found {side}")
    smallest = 2 ** (len(config.discriminator_widths) + 1)  # two places are left, so that there is a variance
    if min(b.height, b.width) < smallest:
        raise UserError(
            f"This discriminator halves {len(config.discriminator_widths)} times and needs {smallest} pixels; found "
            f"{b}: fewer --method.discriminator-widths, or --data.size"
        )
    return sides
