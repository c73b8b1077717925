"""Wasserstein critics of images or vectors, given what these answer to, and their penalty (Gulrajani et al. 2017).

Shapes: source (n, c', h', w') or (n, d') is what is answered to, image (n, c, h, w) or vector (n, d) what is judged,
scores (n,).
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from unbraid.core.types import ImageSpec
from unbraid.nn.blocks import SLOPE

STRIDE, KERNEL, PADDING = 2, 4, 1


class Critic(nn.Module):
    """conv 4x4 stride 2 and leaky relu for each width, then one score. No normalisation.

    Args:
        source: what an image answers to looks like this; it is brought to the image's size and laid on top of it.
        image: what is judged looks like this.
        widths: channels of the convolutions.
        chunk: how many values of the last map one linear layer scores at a time, place after place with all channels;
            scores of all chunks are averaged. 0, or a number above the map's: the whole map at once.
    """

    def __init__(self, source: ImageSpec, image: ImageSpec, widths: Sequence[int], chunk: int = 0) -> None:
        super().__init__()
        self.image = image
        ins = [source.channels + image.channels, *widths[:-1]]
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(i, o, KERNEL, STRIDE, PADDING) for i, o in zip(ins, widths, strict=True)]
        )
        size = (image.height, image.width)
        for _ in widths:
            size = (size[0] // STRIDE, size[1] // STRIDE)
        self.map = (*size, widths[-1])
        """(h, w, c) of the last map."""
        values = math.prod(self.map)
        self.score = nn.Linear(min(chunk, values) or values, 1, bias=False)  # a bias cancels in differences

    def forward(self, source: Tensor, image: Tensor) -> Float[Tensor, " n"]:
        """One score for each image, float32: a difference of large numbers."""
        x = self._together(source, image)
        for convolution in self._layers():
            x = functional.leaky_relu(convolution(x), SLOPE)
        with torch.autocast(x.device.type, enabled=False):
            return (x.float() * self._score_weight()).sum((1, 2, 3))

    def slope(self, source: Tensor, image: Tensor) -> Float[Tensor, "n c h w"]:
        """The gradient of the scores with respect to the images, itself differentiable in the critic's weights.

        The critic is linear on each side of its relus, so the gradient is a product of transposed convolutions and of
        the relus' slopes there, which don't move with the weights. A second derivative by autograd also follows what
        is always nought. Float32; only where the relus stand is read in the precision around.
        """
        with torch.no_grad():
            x, before, sizes = self._together(source, image), [], []
            for convolution in self._layers():
                sizes.append(x.shape[2:])
                before.append(convolution(x))
                x = functional.leaky_relu(before[-1], SLOPE)
        with torch.autocast(image.device.type, enabled=False):
            gradient = self._score_weight()
            for convolution, seen, size in zip(
                reversed(self._layers()), reversed(before), reversed(sizes), strict=True
            ):
                gradient = _back_through_relu(gradient, seen)
                weight = convolution.weight
                if convolution is self.convolutions[0]:
                    weight = weight[:, -self.image.channels :]
                odd = [(length + 2 * PADDING - KERNEL) % STRIDE for length in size]
                gradient = functional.conv_transpose2d(gradient, weight, None, STRIDE, PADDING, odd)
        return gradient

    def _score_weight(self) -> Float[Tensor, "1 c h w"]:
        """What each value of the last map weighs in the score: the mean of the chunks' scores is linear in the map."""
        values = math.prod(self.map)
        chunks = math.ceil(values / self.score.in_features)
        weight = self.score.weight.repeat(1, chunks)[:, :values] / chunks
        return weight.view(1, *self.map).permute(0, 3, 1, 2)

    def _layers(self) -> list[nn.Conv2d]:
        return [layer for layer in self.convolutions if isinstance(layer, nn.Conv2d)]

    def _together(self, source: Tensor, image: Tensor) -> Tensor:
        size = image.shape[2:]
        if source.shape[2:] != size:
            source = functional.interpolate(source, size, mode="bilinear", antialias=True)
        return torch.cat([source, image], 1)


class VectorCritic(nn.Module):
    """Fully connected and leaky relu for each width, then one score. No normalisation. source: size of what a vector
    answers to; size: the vector's own."""

    def __init__(self, source: int, size: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.size = size
        ins = [source + size, *widths[:-1]]
        self.layers = nn.ModuleList([nn.Linear(i, o) for i, o in zip(ins, widths, strict=True)])
        self.score = nn.Linear(widths[-1], 1, bias=False)  # in differences it cancels

    def forward(self, source: Tensor, vector: Tensor) -> Float[Tensor, " n"]:
        """One score for each vector, float32: a difference of large numbers."""
        x = torch.cat([source, vector], 1)
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), SLOPE)
        with torch.autocast(x.device.type, enabled=False):
            return self.score(x.float()).squeeze(1)

    def slope(self, source: Tensor, vector: Tensor) -> Float[Tensor, "n d"]:
        """As `Critic.slope`: a product of matrices and of the relus' slopes, float32."""
        with torch.no_grad():
            x, before = torch.cat([source, vector], 1), []
            for layer in self.layers:
                before.append(layer(x))
                x = functional.leaky_relu(before[-1], SLOPE)
        with torch.autocast(vector.device.type, enabled=False):
            gradient = self.score.weight
            for layer, seen in zip(reversed(self.layers), reversed(before), strict=True):
                assert isinstance(layer, nn.Linear)
                gradient = _back_through_relu(gradient, seen) @ layer.weight
        return gradient[:, -self.size :]


def _back_through_relu(gradient: Tensor, before: Tensor) -> Tensor:
    """The gradient of what a leaky relu makes of `before`, which is fixed; torch's own derivative, in one pass over
    memory. gradient: (1 or n, ...), before: (n, ...); float32 (n, ...)."""
    return torch.ops.aten.leaky_relu_backward(gradient.expand_as(before), before.float(), SLOPE, False)


def slopes(critic: Critic | VectorCritic, source: Tensor, real: Tensor, made: Tensor) -> Float[Tensor, " n"]:
    """How steep the critic is at a random place between each real image and its made one: its gradient's length."""
    share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
    return critic.slope(source, real.lerp(made.to(real.dtype), 1 - share)).flatten(1).norm(dim=1)


def gradient_penalty(slopes: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean of (slope - 1)^2: Gulrajani et al. 2017, eq. 3, without its weight."""
    return (slopes - 1).square().mean()
