"""Conditional Wasserstein critics of images or vectors, and their gradient penalty (Gulrajani et al. 2017).

Shapes: condition `source` (n, c', h', w') or (n, d'), scored image (n, c, h, w) or vector (n, d), scores (n,).
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
    """Wasserstein critic of images given an image: 4x4 convolutions of stride 2 with leaky ReLU, then a linear score.

    Args:
        source: Specification of the condition, which is resized and concatenated to the image.
        image: Specification of the scored images.
        widths: Channels of the convolutions.
        chunk: Number of values of the last map that the linear layer scores at a time, place by place with all
            channels; the scores of all chunks are averaged. 0, or a number above the map's: the whole map at once.
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
        """Returns the scores, float32."""
        x = self._together(source, image)
        for convolution in self._layers():
            x = functional.leaky_relu(convolution(x), SLOPE)
        with torch.autocast(x.device.type, enabled=False):
            return (x.float() * self._score_weight()).sum((1, 2, 3))

    def input_gradient(self, source: Tensor, image: Tensor) -> Float[Tensor, "n c h w"]:
        """Computes the gradient of the scores with respect to the images, differentiable in the critic's weights.

        The critic is piecewise linear, so the gradient is a product of transposed convolutions and of the slopes of the
        leaky ReLUs, which are locally constant. Double backward by autograd would also compute terms that are always
        zero. The result is float32; only the signs of the activations are computed in autocast's precision.
        """
        with torch.no_grad():
            x, before, sizes = self._together(source, image), [], []
            for convolution in self._layers():
                sizes.append(x.shape[2:])
                before.append(convolution(x))
                x = functional.leaky_relu(before[-1], SLOPE)
        with torch.autocast(image.device.type, enabled=False):
            gradient = self._score_weight()
            for convolution, activation, size in zip(
                reversed(self._layers()), reversed(before), reversed(sizes), strict=True
            ):
                gradient = _back_through_relu(gradient, activation)
                weight = convolution.weight
                if convolution is self.convolutions[0]:
                    weight = weight[:, -self.image.channels :]
                odd = [(length + 2 * PADDING - KERNEL) % STRIDE for length in size]
                gradient = functional.conv_transpose2d(gradient, weight, None, STRIDE, PADDING, odd)
        return gradient

    def _score_weight(self) -> Float[Tensor, "1 c h w"]:
        """Returns the weight of each value of the last map in the score: the mean of the chunks' scores is linear in
        the map."""
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
    """Wasserstein critic of vectors given a vector: fully connected layers with leaky ReLU, then a linear score.

    Args:
        source: Size of the condition.
        size: Size of the scored vectors.
        widths: Sizes of the layers.
    """

    def __init__(self, source: int, size: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.size = size
        ins = [source + size, *widths[:-1]]
        self.layers = nn.ModuleList([nn.Linear(i, o) for i, o in zip(ins, widths, strict=True)])
        self.score = nn.Linear(widths[-1], 1, bias=False)  # in differences it cancels

    def forward(self, source: Tensor, vector: Tensor) -> Float[Tensor, " n"]:
        """Returns the scores, float32."""
        x = torch.cat([source, vector], 1)
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), SLOPE)
        with torch.autocast(x.device.type, enabled=False):
            return self.score(x.float()).squeeze(1)

    def input_gradient(self, source: Tensor, vector: Tensor) -> Float[Tensor, "n d"]:
        """Computes the gradient of the scores with respect to the vectors, as `Critic.input_gradient` does."""
        with torch.no_grad():
            x, before = torch.cat([source, vector], 1), []
            for layer in self.layers:
                before.append(layer(x))
                x = functional.leaky_relu(before[-1], SLOPE)
        with torch.autocast(vector.device.type, enabled=False):
            gradient = self.score.weight
            for layer, activation in zip(reversed(self.layers), reversed(before), strict=True):
                assert isinstance(layer, nn.Linear)
                gradient = _back_through_relu(gradient, activation) @ layer.weight
        return gradient[:, -self.size :]


def _back_through_relu(gradient: Tensor, before: Tensor) -> Tensor:
    """Multiplies a gradient by the derivative of leaky ReLU at `before`, in one pass over memory.

    gradient: (1 or n, ...), before: (n, ...); returns float32 (n, ...).
    """
    return torch.ops.aten.leaky_relu_backward(gradient.expand_as(before), before.float(), SLOPE, False)


def interpolated_gradient_norms(
    critic: Critic | VectorCritic, source: Tensor, real: Tensor, generated: Tensor
) -> Float[Tensor, " n"]:
    """Computes the critic's gradient norms, (n,), at random interpolates between real and generated images.

    See `Critic.input_gradient`.
    """
    share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
    return critic.input_gradient(source, real.lerp(generated.to(real.dtype), 1 - share)).flatten(1).norm(dim=1)


def gradient_penalty(gradient_norms: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Returns the mean of (gradient norm - 1)^2: Gulrajani et al. 2017, eq. 3, without its weight."""
    return (gradient_norms - 1).square().mean()
