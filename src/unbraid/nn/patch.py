"""Patch discriminators: 70x70 patches for 256 px, in proportion for other sizes (Isola et al. 2017).

Shape legend: n images, c channels, h height, w width; each score is that of one patch.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, mse_loss, softplus

from unbraid.core.compiling import uncompiled
from unbraid.core.types import DataSpec, ImageSpec, Spec, UserError
from unbraid.nn.blocks import SLOPE, InstanceNorm, draw_normal
from unbraid.nn.functional import least_squares
from unbraid.nn.spectral import SpectralConv, SpectralLinear

DiscriminatorNorm = Literal["instance", "spectral+instance", "spectral", "none"]
"""Normalisation of a discriminator: instance norm of maps (CycleGAN), spectral norm of weights (Miyato et al. 2018),
both (Harley et al. 2019), or none. For vectors, instance norm has no effect."""
GANLoss = Literal["least-squares", "logistic"]
"""Loss of discriminators and generators. least-squares: Mao et al. 2017, as in CycleGAN. logistic: the non-saturating
one of Goodfellow et al. 2014, with R1. Least squares hold scores between 0 and 1, so their slope is the shallower, the
farther two domains lie apart, and other losses win: photos stayed photos that should have become maps."""
R1_PER_PIXEL = 3 / 32**2
"""Weight of the R1 penalty of logistic losses by number of pixels, from trials at 32 px; least squares take ten times
as much."""
PatchSize = Literal[16, 34, 70]
"""Height and width of a discriminator's patches in px, which 1, 2 or 3 layers of stride 2 give."""
HALVINGS: dict[PatchSize, int] = {16: 1, 34: 2, 70: 3}
LEAST = 6
"""Smallest height and width of images with a patch to score."""


def patch_halvings(spec: ImageSpec) -> int:
    """Returns the number of layers of stride 2 for images of this size.

    It is 3 for 256 px, 2 for 128 px, and 1 for 64 px and less, so that patches of 70, 34 and 16 px cover about a
    quarter of the side.
    """
    return min(3, max(1, round(math.log2(min(spec.height, spec.width) / 32))))


def smallest(patch: PatchSize) -> int:
    """Returns the smallest height and width of images that give such patches a score; parts outside are zeros."""
    return 3 * 2 ** HALVINGS[patch]


class PatchDiscriminator(nn.Module):
    """Patch discriminator: 4x4 convolutions with leaky ReLU.

    `halvings` of them have stride 2, one has stride 1, the last gives the scores. Instance norm follows all but the
    first and the last. Weights are initialised from N(0, .02), biases with 0.

    Args:
        channels: Channels of the images.
        width: Channels of the first map, which double up to eight times as many.
        halvings: Number of layers of stride 2.
        norm: Normalisation.
    """

    def __init__(self, channels: int, width: int, halvings: int, norm: DiscriminatorNorm) -> None:
        super().__init__()
        widths = [width * 2 ** min(i, 3) for i in range(halvings + 1)]
        layers: list[nn.Module] = []
        for number, (i, o) in enumerate(zip([channels, *widths], [*widths, 1], strict=True)):
            first, last = number == 0, number == len(widths)
            normalised = "instance" in norm and not (first or last)
            conv = SpectralConv if "spectral" in norm else nn.Conv2d
            layer = conv(i, o, 4, 2 if number < halvings else 1, 1, bias=not normalised)
            draw_normal(layer)
            if isinstance(layer, SpectralConv):
                layer.estimate()
            layers.append(layer)
            if normalised:
                layers.append(InstanceNorm())
            if not last:
                layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        self.body = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 _ _"]:
        """Returns a score for each patch, float32."""
        return self.body(x).float()


class VectorDiscriminator(nn.Module):
    """Discriminator of vectors: one hidden layer with leaky ReLU.

    Args:
        size: Size of the vectors.
        hidden: Size of the hidden layer.
        norm: Normalisation.
    """

    def __init__(self, size: int, hidden: int, norm: DiscriminatorNorm) -> None:
        super().__init__()
        layer = SpectralLinear if "spectral" in norm else nn.Linear
        self.first, self.last = layer(size, hidden), layer(hidden, 1)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n 1"]:
        """Returns the scores, float32."""
        return self.last(leaky_relu(self.first(x), SLOPE)).float()


def domain_discriminator(
    spec: Spec, width: int, hidden: int, norm: DiscriminatorNorm, patch: PatchSize | None = None
) -> nn.Module:
    """Builds the discriminator of a domain.

    Args:
        spec: Of the domain's items: images, whose patches are scored, or vectors.
        width: Channels of the first map.
        hidden: Size of the hidden layer for vectors.
        norm: Normalisation.
        patch: Size of the patches. Default: `patch_halvings`.

    Raises:
        UserError: The images are too small for such patches.
    """
    if isinstance(spec, ImageSpec):
        if patch and min(spec.height, spec.width) < (least := smallest(patch)):
            raise UserError(
                f"--method.discriminator-patch {patch} needs images of at least {least} x {least}; found {spec}"
            )
        return PatchDiscriminator(spec.channels, width, HALVINGS[patch] if patch else patch_halvings(spec), norm)
    return VectorDiscriminator(spec.size, hidden, norm)


def discriminator_loss(
    discriminator: nn.Module, real: Tensor, generated: Tensor, kind: GANLoss = "least-squares"
) -> Float[Tensor, ""]:
    """Computes the loss of a discriminator, averaged over items and patches. It sees both in one batch. See
    `r1_penalty`.

    Args:
        discriminator: Returns scores of items, (n, ...) -> (n, ...).
        real: Real items, (n, ...).
        generated: Generated items, (m, ...).
        kind: least-squares: 1/2 [(D(real) - 1)^2 + D(generated)^2]; logistic: -log s(D(real)) - log s(-D(generated)),
            where s is the sigmoid.
    """
    scores = discriminator(torch.cat([real, generated]))
    if kind == "logistic":
        return softplus(-scores[: len(real)]).mean() + softplus(scores[len(real) :]).mean()
    targets = torch.zeros_like(scores)
    targets[: len(real)] = 1.0
    return mse_loss(scores, targets)


def generator_loss(scores: Float[Tensor, "n ..."], kind: GANLoss = "least-squares") -> Float[Tensor, ""]:
    """Computes the loss of a generator from the scores of what it generated.

    Args:
        scores: D(generated), (n, ...).
        kind: least-squares: (D(generated) - 1)^2; logistic: -log s(D(generated)), where s is the sigmoid.
    """
    return softplus(-scores).mean() if kind == "logistic" else least_squares(scores, 1.0)


def small_settings(spec: DataSpec) -> dict[str, Any]:
    """Returns `discriminator_patch` and `r1` for images of up to 128 px, from trials at 32 px.

    The penalty's weight is in proportion to the number of pixels: a score is a mean over patches, so its squared
    gradient falls as they become more.
    """
    sizes = [(own.height, own.width) for own in (spec.a, spec.b) if isinstance(own, ImageSpec)]
    patch = 34 if min(map(min, sizes)) >= smallest(34) else 16
    return {"discriminator_patch": patch, "r1": r1_weight(spec)}


def r1_weight(spec: DataSpec) -> float:
    """Returns the weight of the R1 penalty for images of this size, in proportion to the number of pixels."""
    sizes = [own.height * own.width for own in (spec.a, spec.b) if isinstance(own, ImageSpec)]
    return R1_PER_PIXEL * max(sizes)


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Float[Tensor, "n ..."]) -> Float[Tensor, ""]:
    """Computes the R1 gradient penalty at real items (Mescheder, Geiger and Nowozin 2018, eq. 9, without gamma/2).

    A discriminator that gives several scores for an item counts by their mean. The result is float32.
    """
    with torch.enable_grad(), torch.autocast(real.device.type, enabled=False), uncompiled():
        x = real.detach().float().requires_grad_()
        score = discriminator(x).reshape(len(x), -1).mean(1).sum()
        (gradient,) = torch.autograd.grad(score, x, create_graph=True)
    return gradient.flatten(1).square().sum(1).mean()
