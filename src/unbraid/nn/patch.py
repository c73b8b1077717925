"""Adversaries that judge patches of images: 70x70 of 256 px, in proportion for other sizes (Isola et al. 2017).

Legend: n images, c channels, h height, w width; a score stands for one patch.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, mse_loss

from unbraid.core.types import ImageSpec
from unbraid.nn.blocks import SLOPE, InstanceNorm, draw_normal
from unbraid.nn.spectral import SpectralConv, SpectralLinear

DiscriminatorNorm = Literal["instance", "spectral+instance", "spectral", "none"]
"""instance norm of maps (CycleGAN), spectral norm of weights (Miyato et al. 2018), both (Harley et al. 2019), or
neither. Vectors have no maps: for them it is spectral norm or nothing."""


def patch_halvings(spec: ImageSpec) -> int:
    """How often the adversary halves images of this size: 3, 2, 1 times for 256, 128, 64 px and less, which makes
    patches of 70, 34, 16 px: about a quarter of the side."""
    return min(3, max(1, round(math.log2(min(spec.height, spec.width) / 32))))


class PatchAdversary(nn.Module):
    """Convs 4x4: `halvings` of stride 2, one of stride 1, one to the scores; leaky relu. Widths double from `width`.

    Instance norm stands behind all but the first and the last. Weights begin as N(0, .02), biases as 0.
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
        """A score for each patch, float32."""
        return self.body(x).float()


class VectorAdversary(nn.Module):
    """One hidden layer, leaky relu: (n, d) -> a score for each vector."""

    def __init__(self, size: int, hidden: int, norm: DiscriminatorNorm) -> None:
        super().__init__()
        layer = SpectralLinear if "spectral" in norm else nn.Linear
        self.first, self.last = layer(size, hidden), layer(hidden, 1)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n 1"]:
        """(n, 1), float32."""
        return self.last(leaky_relu(self.first(x), SLOPE)).float()


def tell(adversary: nn.Module, real: Tensor, made: Tensor) -> Float[Tensor, ""]:
    """1/2 [(A(real) - 1)^2 + A(made)^2], both in one pass: what an adversary minimises (Mao et al. 2017).

    As many are real as made, so it is the mean over all.
    """
    scores = adversary(torch.cat([real, made]))
    targets = torch.zeros_like(scores)
    targets[: len(real)] = 1.0
    return mse_loss(scores, targets)


def squared_slope(adversary: nn.Module, real: Float[Tensor, "n ..."]) -> Float[Tensor, ""]:
    """Mean over items of the squared length of the gradient of an item's mean score by the item, in float32: R1, by
    which adversaries rest where made and real are alike (Mescheder, Geiger and Nowozin 2018, eq. 9, without gamma/2).
    """
    with torch.enable_grad(), torch.autocast(real.device.type, enabled=False):
        x = real.detach().float().requires_grad_()
        score = adversary(x).flatten(1).mean(1).sum()
        (gradient,) = torch.autograd.grad(score, x, create_graph=True)
    return gradient.flatten(1).square().sum(1).mean()
