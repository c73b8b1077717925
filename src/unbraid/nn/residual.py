"""Networks for translation at full size: two halvings, residual blocks at a quarter of the size, two doublings.

The layout is that of Johnson, Alahi and Fei-Fei 2016 as CycleGAN (Zhu et al. 2017, appendix 7.2) uses it: instance
norm, reflect padding. Convolutions before an instance norm have no bias, since the norm would take it away.

Legend: n images, c channels, h height, w width; `width` is the number of channels at full size, and maps at a quarter
of the size have 4 * width.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unbraid.core.types import DataSpec, ImageSpec, UserError, VectorSpec
from unbraid.nn.blocks import FitSize, InstanceNorm, Upsampling, doubling, group_norm

HALVINGS = 2
BLANK = 1e-8
"""Variance below which a channel is blank. At 64 px a pixel that is off by one of 256 greys makes more than that."""
SMALLEST = 8
"""Height and width at least: maps of one place have no spread to normalise by."""
GROUP = 8
"""Channels that a group norm takes together."""

Norm = Literal["instance", "group"]
"""How maps are normalised: instance, each channel of an image by itself, as in CycleGAN, which takes away what is alike
at all places, and so a flat image's colour; group, GROUP channels together (Wu and He 2018), which leaves it."""


class GroupNorm(nn.Module):
    """GROUP channels of an image together to mean 0 and variance 1, without scale and shift, or all where they can't be
    divided so: (n, channels, h, w) -> the same."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """(n, channels, h, w) -> the same."""
        channels = x.shape[1]
        return group_norm(x, channels // GROUP if channels % GROUP == 0 else 1)


NORMS: dict[Norm, type[nn.Module]] = {"instance": InstanceNorm, "group": GroupNorm}


def padded_conv(channels: int, width: int, kernel: int, stride: int, norm: Norm) -> nn.Conv2d:
    """A reflect-padded convolution that stands before a norm."""
    bias = norm != "instance"
    return nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=bias, padding_mode="reflect")


def conv_norm(channels: int, width: int, kernel: int, stride: int = 1, norm: Norm = "instance") -> nn.Sequential:
    """Reflect-padded convolution, norm, relu: (n, channels, h, w) -> (n, width, h/stride, w/stride)."""
    conv = padded_conv(channels, width, kernel, stride, norm)
    return nn.Sequential(conv, NORMS[norm](), nn.ReLU(inplace=True))


def halvings(channels: int, width: int, norm: Norm = "instance") -> nn.Sequential:
    """conv 7x7 and two convs 3x3 of stride 2: (n, channels, h, w) -> (n, 4 * width, h/4, w/4)."""
    return nn.Sequential(
        conv_norm(channels, width, 7, 1, norm),
        conv_norm(width, 2 * width, 3, 2, norm),
        conv_norm(2 * width, 4 * width, 3, 2, norm),
    )


def doublings(
    channels: int, width: int, out: int, upsampling: Upsampling = "transposed", norm: Norm = "instance"
) -> nn.Sequential:
    """Two doublings by convs 3x3, and conv 7x7, linear: (n, channels, h, w) -> (n, out, 4h, 4w)."""

    def double(channels: int, width: int) -> nn.Sequential:
        up = doubling(channels, width, upsampling, kernel=3, bias=norm != "instance")
        return nn.Sequential(up, NORMS[norm](), nn.ReLU(inplace=True))

    last = nn.Conv2d(width, out, 7, padding=3, padding_mode="reflect")
    return nn.Sequential(double(channels, 2 * width), double(2 * width, width), last)


def unless_blank(made: Tensor, x: Float[Tensor, "n c h w"], norm: Norm = "instance") -> Tensor:
    """What was made of images or maps x, without a gradient where all channels of one are blank: of one value each, or,
    before group norms, nought.

    All that is made of it is blank then, and backwards each norm makes the gradient up to 300 times as large: one blank
    image among thousands ended a run with NaNs.
    """
    places = x.detach().flatten(2)
    power = places.var(2, correction=0) if norm == "instance" else places.square().mean(2)
    blank = power.amax(1) < BLANK
    return torch.where(blank[:, None, None, None], made.detach(), made)


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), both 3x3: (n, width, h, w) -> the same."""

    def __init__(self, width: int, norm: Norm = "instance") -> None:
        super().__init__()
        last = padded_conv(width, width, 3, 1, norm)
        self.body = nn.Sequential(conv_norm(width, width, 3, 1, norm), last, NORMS[norm]())

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """(n, width, h, w)."""
        return x + self.body(x)


def residual_blocks(width: int, count: int, norm: Norm = "instance") -> nn.Sequential:
    """`count` residual blocks."""
    return nn.Sequential(*[ResidualBlock(width, norm) for _ in range(count)])


class ResidualTranslator(nn.Module):
    """Images to images of the same size, of any size from SMALLEST on: CycleGAN's generator."""

    def __init__(
        self,
        spec: ImageSpec,
        channels: int,
        width: int,
        blocks: int,
        upsampling: Upsampling = "transposed",
        norm: Norm = "instance",
    ) -> None:
        super().__init__()
        self.size = FitSize(spec.height, spec.width, HALVINGS)
        self.norm: Norm = norm
        self.body = nn.Sequential(
            halvings(spec.channels, width, norm),
            residual_blocks(4 * width, blocks, norm),
            doublings(4 * width, width, channels, upsampling, norm),
        )

    def forward(self, x: Float[Tensor, "n _ h w"]) -> Float[Tensor, "n _ h w"]:
        """(n, spec.channels, h, w) -> (n, channels, h, w) in [-1, 1], float32."""
        made = unless_blank(self.body(self.size.grow(x)), x, self.norm)
        return self.size.cut(torch.tanh(made.float()))


class VectorTranslator(nn.Module):
    """The fully connected counterpart for vectors, one hidden layer with relu: (n, size) -> (n, out).

    hidden: its width; 0 leaves it out, which makes a linear map.
    """

    def __init__(self, size: int, hidden: int, out: int) -> None:
        super().__init__()
        self.first = nn.Linear(size, hidden) if hidden else None
        self.last = nn.Linear(hidden or size, out)

    def forward(self, x: Float[Tensor, "n _"]) -> Float[Tensor, "n _"]:
        """(n, out), float32."""
        return self.last(x if self.first is None else torch.relu(self.first(x))).float()


def check_alike(name: str, spec: DataSpec) -> None:
    """UserError unless the domains are both vectors, or images of one size that is large enough."""
    a, b = spec.a, spec.b
    if isinstance(a, VectorSpec) and isinstance(b, VectorSpec):
        return
    if not (isinstance(a, ImageSpec) and isinstance(b, ImageSpec)):
        raise UserError(f"{name} needs two domains of one kind; found {a} and {b}")
    if (a.height, a.width) != (b.height, b.width):
        raise UserError(f"{name} needs images of one size in both domains; found {a} and {b}. Give --data.size H W")
    if min(a.height, a.width) < SMALLEST:
        raise UserError(f"{name} needs images of at least {SMALLEST} x {SMALLEST}; found {a}. Give --data.size H W")
