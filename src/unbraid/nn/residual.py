"""Networks for translation at full size: two halvings, residual blocks at a quarter of the size, two doublings.

The layout is that of Johnson, Alahi and Fei-Fei 2016 as CycleGAN (Zhu et al. 2017, appendix 7.2) uses it: instance
norm, reflect padding. Convolutions before a norm have no bias, since the norm would take it away.

Legend: n images, c channels, h height, w width; `width` is the number of channels at full size, and maps at a quarter
of the size have 4 * width.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unbraid.nn.blocks import FitSize, InstanceNorm, Upsampling, doubling
from unbraid.types import DataSpec, ImageSpec, UserError, VectorSpec

HALVINGS = 2
BLANK = 1e-8
"""Variance below which a channel is blank. At 64 px a pixel that is off by one of 256 greys makes more than that."""
SMALLEST = 8
"""Height and width at least: maps of one place have no spread to normalise by."""


def conv_norm(channels: int, width: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Reflect-padded convolution, instance norm, relu: (n, channels, h, w) -> (n, width, h/stride, w/stride)."""
    padded = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False, padding_mode="reflect")
    return nn.Sequential(padded, InstanceNorm(), nn.ReLU(inplace=True))


def halvings(channels: int, width: int) -> nn.Sequential:
    """conv 7x7 and two convs 3x3 of stride 2: (n, channels, h, w) -> (n, 4 * width, h/4, w/4)."""
    return nn.Sequential(
        conv_norm(channels, width, 7), conv_norm(width, 2 * width, 3, 2), conv_norm(2 * width, 4 * width, 3, 2)
    )


def doublings(channels: int, width: int, out: int, upsampling: Upsampling = "transposed") -> nn.Sequential:
    """Two doublings by convs 3x3, and conv 7x7, linear: (n, channels, h, w) -> (n, out, 4h, 4w)."""

    def double(channels: int, width: int) -> nn.Sequential:
        up = doubling(channels, width, upsampling, kernel=3)
        return nn.Sequential(up, InstanceNorm(), nn.ReLU(inplace=True))

    last = nn.Conv2d(width, out, 7, padding=3, padding_mode="reflect")
    return nn.Sequential(double(channels, 2 * width), double(2 * width, width), last)


def unless_blank(made: Tensor, x: Float[Tensor, "n c h w"]) -> Tensor:
    """What was made of images or maps x, without a gradient where all channels of one are blank.

    All that is made of it is blank then, and backwards each instance norm makes the gradient up to 300 times as large:
    one blank image among thousands ended a run with NaNs.
    """
    blank = x.detach().flatten(2).var(2, correction=0).amax(1) < BLANK
    return torch.where(blank[:, None, None, None], made.detach(), made)


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), both 3x3: (n, width, h, w) -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.Conv2d(width, width, 3, padding=1, bias=False, padding_mode="reflect")
        self.body = nn.Sequential(conv_norm(width, width, 3), last, InstanceNorm())

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """(n, width, h, w)."""
        return x + self.body(x)


def residual_blocks(width: int, count: int) -> nn.Sequential:
    """`count` residual blocks."""
    return nn.Sequential(*[ResidualBlock(width) for _ in range(count)])


class ResidualTranslator(nn.Module):
    """Images to images of the same size, of any size from SMALLEST on: CycleGAN's generator."""

    def __init__(
        self, spec: ImageSpec, channels: int, width: int, blocks: int, upsampling: Upsampling = "transposed"
    ) -> None:
        super().__init__()
        self.size = FitSize(spec.height, spec.width, HALVINGS)
        self.body = nn.Sequential(
            halvings(spec.channels, width),
            residual_blocks(4 * width, blocks),
            doublings(4 * width, width, channels, upsampling),
        )

    def forward(self, x: Float[Tensor, "n _ h w"]) -> Float[Tensor, "n _ h w"]:
        """(n, spec.channels, h, w) -> (n, channels, h, w) in [-1, 1], float32."""
        made = unless_blank(self.body(self.size.grow(x)), x)
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
