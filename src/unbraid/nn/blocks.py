"""Building blocks that the methods share: 4x4 stride-2 stacks, downwards and upwards, and fully connected ones.

Shapes: (n, c, h, w) maps, (n, d) vectors.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

SLOPE = 0.2
"""Slope of the leaky relu for negative values: that of CdDN's paper, of IIAE's program, and of CycleGAN's
discriminator, which uncooperative re-entanglement takes over. LORD's paper names none: it has a setting of its own."""

Upsampling = Literal["transposed", "nearest"]
"""How a map doubles: by a transposed convolution, or by repeating each value before a convolution. The first weighs the
places of a tile by different weights, and so can lay a grid over an image; the second can't at first (Odena, Dumoulin,
Olah: Deconvolution and Checkerboard Artifacts. Distill 2016)."""


Initial = Literal["normal", "torch"]
"""Initial weights. normal: `draw_normal`, as in the authors' programs of CdDN, IIAE and CycleGAN; torch: PyTorch's own,
whose deviations depend on the layer's size."""


def draw_normal(module: nn.Module) -> None:
    """Draws a convolution's weights from N(0, .02), batch-norm's scale from N(1, .02) and a fully connected layer's
    weights as Glorot and Bengio 2010 do; biases are 0. For `nn.Module.apply`."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, UpConv)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.affine:
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def group_norm(x: Float[Tensor, "n c h w"], groups: int) -> Float[Tensor, "n c h w"]:
    """Channels of each image, in so many groups, to mean 0 and variance 1, without scale and shift.

    bf16 is computed in float32, for CPUs take several times as long for it as it is.
    """
    wide = x.float() if x.dtype == torch.bfloat16 else x
    return nn.functional.group_norm(wide, groups).to(x.dtype)


class InstanceNorm(nn.Module):
    """Each channel of each image to mean 0 and variance 1, without scale and shift: (n, channels, h, w) -> the same.

    By group norm with a group for each channel, which keeps the memory layout. torch's `InstanceNorm2d` does not, and
    on the CPU its gradient for a batch of one image is wrong where the incoming gradient is channels-last (torch 2.14).
    """

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """(n, channels, h, w) -> the same."""
        return group_norm(x, x.shape[1])


def down(channels: int, width: int, *, norm: bool = True, activate: bool = True) -> nn.Sequential:
    """conv 4x4 stride 2, batch-norm, leaky relu: (n, channels, h, w) -> (n, width, h/2, w/2)."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(width))
    if activate:
        layers.append(nn.LeakyReLU(SLOPE, inplace=True))
    return nn.Sequential(*layers)


def down_stack(channels: int, widths: Sequence[int]) -> nn.Sequential:
    """One `down` for each width."""
    ins = [channels, *widths[:-1]]
    return nn.Sequential(*[down(i, o) for i, o in zip(ins, widths, strict=True)])


def up(channels: int, width: int, *, dropout: float = 0.0, upsampling: Upsampling = "transposed") -> nn.Sequential:
    """Doubling, batch-norm, dropout, relu: (n, channels, h, w) -> (n, width, 2h, 2w)."""
    layers: list[nn.Module] = [doubling(channels, width, upsampling), nn.BatchNorm2d(width)]
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def dense(size: int, width: int, *, norm: bool = True) -> nn.Sequential:
    """Fully connected, batch-norm, leaky relu: (n, size) -> (n, width)."""
    layers: list[nn.Module] = [nn.Linear(size, width, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm1d(width))
    return nn.Sequential(*layers, nn.LeakyReLU(SLOPE, inplace=True))


def dense_stack(size: int, widths: Sequence[int], *, norm: bool = True) -> nn.Sequential:
    """One `dense` for each width; nothing for none."""
    ins = [size, *widths][: len(widths)]
    return nn.Sequential(*[dense(i, o, norm=norm) for i, o in zip(ins, widths, strict=True)])


class UpConv(nn.Module):
    """Nearest upsampling by 2 and a 3x3 convolution, computed as the one transposed 4x4 convolution that they are.

    A 3x3 kernel reads 2x2 different pixels of the small map at each place, so 16 products do for 36.
    (n, channels, h, w) -> (n, width, 2h, 2w).
    """

    merged: Tensor
    """(9, 16): what each value of a 3x3 kernel adds to the 4x4 one."""

    def __init__(self, channels: int, width: int, *, bias: bool = True) -> None:
        super().__init__()
        plain = nn.Conv2d(channels, width, 3, bias=bias)  # for its initial values
        self.weight, self.bias = plain.weight, plain.bias
        kernels = nn.functional.pad(torch.eye(9).unflatten(1, (3, 3)).flip(1, 2), (1, 1, 1, 1))
        merged = kernels[..., :-1, :-1] + kernels[..., 1:, :-1] + kernels[..., :-1, 1:] + kernels[..., 1:, 1:]
        self.register_buffer("merged", merged.flatten(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, width, 2h, 2w)."""
        kernel = (self.weight.transpose(0, 1).flatten(2) @ self.merged).unflatten(2, (4, 4))
        return nn.functional.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)


def doubling(
    channels: int, width: int, upsampling: Upsampling = "transposed", *, kernel: int = 4, bias: bool = False
) -> nn.ConvTranspose2d | UpConv:
    """(n, channels, h, w) -> (n, width, 2h, 2w), linear. `kernel`: of the transposed convolution, 3 or 4."""
    if upsampling == "nearest":
        return UpConv(channels, width, bias=bias)
    return nn.ConvTranspose2d(channels, width, kernel, 2, 1, output_padding=kernel % 2, bias=bias)


def halvings(height: int, width: int, map_size: int, most: int) -> int:
    """How often images of this size are halved: down to `map_size`, at least twice, and at most `most` times."""
    room = math.floor(math.log2(min(height, width) / map_size))
    return min(most, max(2, room))


@contextmanager
def fixed_statistics(*modules: nn.Module) -> Iterator[None]:
    """While it lasts, running statistics of batch-norm stay as they are: made images don't enter them."""
    norms = [n for module in modules for n in module.modules() if isinstance(n, (nn.BatchNorm1d, nn.BatchNorm2d))]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class FitSize(nn.Module):
    """Lets a stack of stride-2 layers take images of any size.

    `grow` replicates the border, right and below, up to the next multiple of 2^layers; `cut` undoes it.
    """

    def __init__(self, height: int, width: int, layers: int) -> None:
        super().__init__()
        step = 2**layers
        self.height, self.width = height, width
        self.below, self.right = -height % step, -width % step
        self.map_size = ((height + self.below) // step, (width + self.right) // step)
        """(h, w) of the map behind the stack."""

    def grow(self, x: Tensor) -> Tensor:
        """(n, c, height, width) -> (n, c, height + below, width + right)."""
        if not (self.below or self.right):
            return x
        return torch.nn.functional.pad(x, (0, self.right, 0, self.below), mode="replicate")

    def cut(self, x: Tensor) -> Tensor:
        """(n, c, height + below, width + right) -> (n, c, height, width)."""
        return x[..., : self.height, : self.width]
