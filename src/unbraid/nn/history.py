"""Buffers of items in training: earlier generated items for discriminators, and real items to sample styles from.

Both are part of a method's state, so that resuming a run is exact.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unbraid.core.types import ImageSpec, Spec


class History(nn.Module):
    """Buffer of generated items from which discriminators receive some (Shrivastava et al. 2017, section 2.3).

    Items are appended until the buffer is full. Then each item is swapped with a stored one with probability 1/2; at
    most `size` of a batch are. Random numbers come from torch's global generator.

    Args:
        size: Number of stored items; 0 disables the buffer.
        spec: Specification of the items.
    """

    items: Tensor
    count: Tensor

    def __init__(self, size: int, spec: Spec) -> None:
        super().__init__()
        self.register_buffer("items", torch.zeros(size, *spec.shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """Returns the batch with some items replaced by earlier ones, without gradient."""
        size, kept = len(self.items), int(self.count)
        new = min(size - kept, len(x))
        if new:
            self.items[kept : kept + new] = x[:new]
            self.count += new
        mixed = x.clone()
        if not size or new == len(x):
            return mixed
        chosen = new + (torch.rand(len(x) - new, device=x.device) < 0.5).nonzero()[:size, 0]
        places = torch.randperm(size, device=x.device)[: len(chosen)]
        mixed[chosen] = self.items[places]
        self.items[places] = x[chosen]
        return mixed


class Bank(nn.Module):
    """Buffer of the first real items of training, saved with the model, to sample from.

    Items are stored as integers, which a moving average of weights copies instead of averaging: images with 8 bits per
    value, vectors as the bits of their floats.

    Args:
        size: Number of stored items.
        spec: Specification of the items.
    """

    items: Tensor
    count: Tensor

    def __init__(self, size: int, spec: Spec) -> None:
        super().__init__()
        self.bytes = isinstance(spec, ImageSpec)
        self.register_buffer("items", torch.zeros(size, *spec.shape, dtype=torch.uint8 if self.bytes else torch.int32))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def fill(self, x: Float[Tensor, "n ..."]) -> None:
        """Stores items while there is room. Images have values in [-1, 1]."""
        kept = int(self.count)
        new = min(len(self.items) - kept, len(x))
        if new:
            some = x[:new].to(torch.float32).contiguous()
            whole = ((some + 1) * 127.5).round().to(torch.uint8) if self.bytes else some.view(torch.int32)
            self.items[kept : kept + new] = whole
            self.count += new

    def draw(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n ..."]:
        """Samples n items; returns black images or zero vectors if the buffer is empty."""
        chosen = torch.randint(max(1, int(self.count)), (n,), generator=generator).to(self.items.device)
        items = self.items[chosen]
        return items.float() / 127.5 - 1 if self.bytes else items.view(torch.float32)
