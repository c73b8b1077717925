"""Building blocks: stacks of 4x4 convolutions of stride 2, downwards and upwards, and fully connected stacks.

Shapes: maps (n, c, h, w), vectors (n, d).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

SLOPE = 0.2
"""Negative slope of leaky ReLUs: that of CdDN's paper, of IIAE's program, and of CycleGAN's discriminator, which
uncooperative re-entanglement uses too. LORD has a setting of its own, since its paper gives none."""

Upsampling = Literal["transposed", "nearest"]
"""Upsampling by 2. transposed: a transposed convolution, whose uneven overlap can cause checkerboard artifacts.
nearest: nearest-neighbour upsampling and a convolution, without such artifacts at the start (Odena, Dumoulin, Olah:
Deconvolution and Checkerboard Artifacts. Distill 2016)."""


Initial = Literal["normal", "torch"]
"""Weight initialisation. normal: `draw_normal`, as in the authors' programs of CdDN, IIAE and CycleGAN; torch:
PyTorch's default, whose deviations depend on the layer's size."""


def draw_normal(module: nn.Module) -> None:
    """Initialises a module, for `nn.Module.apply`.

    Weights of convolutions are drawn from N(0, .02), scales of batch-norm from N(1, .02), weights of fully connected
    layers as in Glorot and Bengio 2010; biases are 0.
    """
    if any(parameter.is_meta for parameter in module.parameters(recurse=False)):
        return  # torch would load its compiler, which takes seconds, to draw nothing
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
    """Applies group normalisation without scale and shift.

    bf16 input is normalised in float32, which is several times faster on CPUs.
    """
    wide = x.float() if x.dtype == torch.bfloat16 else x
    return nn.functional.group_norm(wide, groups).to(x.dtype)


class InstanceNorm(nn.Module):
    """Instance normalisation without scale and shift.

    Implemented as group norm with one channel per group, which keeps the memory layout. torch's `InstanceNorm2d` does
    not, and its CPU gradient for a batch of one image is wrong where the incoming gradient is channels-last (torch
    2.14).

    Shape: (n, c, h, w) -> (n, c, h, w).
    """

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Normalises each channel of each image."""
        return group_norm(x, x.shape[1])


def down(channels: int, width: int, *, norm: bool = True) -> nn.Sequential:
    """Builds a 4x4 convolution of stride 2, batch-norm and leaky ReLU: (n, channels, h, w) -> (n, width, h/2, w/2).

    Without batch-norm the convolution has a bias. See `dense`.
    """
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(width))
    return nn.Sequential(*layers, nn.LeakyReLU(SLOPE, inplace=True))


def down_stack(channels: int, widths: Sequence[int]) -> nn.Sequential:
    """Builds a sequence of `down`, one for each width."""
    ins = [channels, *widths[:-1]]
    return nn.Sequential(*[down(i, o) for i, o in zip(ins, widths, strict=True)])


def up(channels: int, width: int, *, dropout: float = 0.0, upsampling: Upsampling = "transposed") -> nn.Sequential:
    """Builds upsampling by 2, batch-norm, dropout, ReLU: (n, channels, h, w) -> (n, width, 2h, 2w). See `doubling`."""
    layers: list[nn.Module] = [doubling(channels, width, upsampling), nn.BatchNorm2d(width)]
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def dense(size: int, width: int, *, norm: bool = True) -> nn.Sequential:
    """Builds a fully connected layer, batch-norm and leaky ReLU: (n, size) -> (n, width).

    Args:
        size: Size of the input.
        width: Size of the output.
        norm: Include batch-norm; otherwise the layer has a bias.
    """
    layers: list[nn.Module] = [nn.Linear(size, width, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm1d(width))
    return nn.Sequential(*layers, nn.LeakyReLU(SLOPE, inplace=True))


def dense_stack(size: int, widths: Sequence[int], *, norm: bool = True) -> nn.Sequential:
    """Builds a sequence of `dense`, one for each width; empty without widths. See `dense`."""
    ins = [size, *widths][: len(widths)]
    return nn.Sequential(*[dense(i, o, norm=norm) for i, o in zip(ins, widths, strict=True)])


class UpConv(nn.Module):
    """Nearest-neighbour upsampling by 2 and a 3x3 convolution, computed as one 4x4 transposed convolution.

    At each place a 3x3 kernel reads 2x2 different pixels of the small map, so 16 products replace 36.

    Shape: (n, channels, h, w) -> (n, width, 2h, 2w).
    """

    merged: Tensor
    """(9, 16): contribution of each value of the 3x3 kernel to the 4x4 kernel."""

    def __init__(self, channels: int, width: int, *, bias: bool = True) -> None:
        super().__init__()
        plain = nn.Conv2d(channels, width, 3, bias=bias)  # for its initial values
        self.weight, self.bias = plain.weight, plain.bias
        kernels = nn.functional.pad(torch.eye(9).unflatten(1, (3, 3)).flip(1, 2), (1, 1, 1, 1))
        merged = kernels[..., :-1, :-1] + kernels[..., 1:, :-1] + kernels[..., :-1, 1:] + kernels[..., 1:, 1:]
        self.register_buffer("merged", merged.flatten(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Upsamples and convolves a map."""
        kernel = (self.weight.transpose(0, 1).flatten(2) @ self.merged).unflatten(2, (4, 4))
        return nn.functional.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)


def doubling(
    channels: int, width: int, upsampling: Upsampling = "transposed", *, kernel: int = 4, bias: bool = False
) -> nn.ConvTranspose2d | UpConv:
    """Builds upsampling by 2 without activation: (n, channels, h, w) -> (n, width, 2h, 2w).

    Args:
        channels: Channels of the input.
        width: Channels of the output.
        upsampling: Kind of upsampling.
        kernel: Size of the transposed convolution's kernel, 3 or 4.
        bias: Include a bias.
    """
    if upsampling == "nearest":
        return UpConv(channels, width, bias=bias)
    return nn.ConvTranspose2d(channels, width, kernel, 2, 1, output_padding=kernel % 2, bias=bias)


def halvings(height: int, width: int, map_size: int, most: int) -> int:
    """Returns the number of layers of stride 2 for images of this height and width. See `FitSize`.

    As many as keep maps at least `map_size` large, but at least 2 and at most `most`.
    """
    room = math.floor(math.log2(min(height, width) / map_size))
    return min(most, max(2, room))


@contextmanager
def fixed_statistics(*modules: nn.Module) -> Iterator[None]:
    """Keeps the running statistics of batch-norm unchanged inside the block, such as for generated images."""
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
    """Pads images so that a stack of layers of stride 2 accepts any size, and crops its output.

    Args:
        height: Height of the images.
        width: Width of the images.
        layers: Number of layers of stride 2.
    """

    def __init__(self, height: int, width: int, layers: int) -> None:
        super().__init__()
        step = 2**layers
        self.height, self.width = height, width
        self.below, self.right = -height % step, -width % step
        self.map_size = ((height + self.below) // step, (width + self.right) // step)
        """(h, w) of the map after the stack."""

    def pad(self, x: Tensor) -> Tensor:
        """Pads by replication: (n, c, height, width) -> (n, c, height + below, width + right)."""
        if not (self.below or self.right):
            return x
        return torch.nn.functional.pad(x, (0, self.right, 0, self.below), mode="replicate")

    def crop(self, x: Tensor) -> Tensor:
        """Crops the padding: (n, c, height + below, width + right) -> (n, c, height, width)."""
        return x[..., : self.height, : self.width]
