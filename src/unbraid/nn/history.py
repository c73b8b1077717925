"""Buffers of items in training: earlier generated items for discriminators, and real items to sample styles from.

Both are part of a method's state, so that resuming a run is exact.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unbraid.core import ranks
from unbraid.core.types import ImageSpec, Spec


class Buffer(nn.Module):
    """Items, of which the first `count` are filled. Reads the count from the device once after loading."""

    items: Tensor
    count: Tensor

    def __init__(self, items: Tensor) -> None:
        super().__init__()
        self.register_buffer("items", items)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self._kept: int | None = 0
        self.register_load_state_dict_post_hook(Buffer._forget)

    def _forget(self, keys: object) -> None:
        self._kept = None

    def kept(self) -> int:
        """Returns the number of items."""
        if self._kept is None:
            self._kept = int(self.count)
        return self._kept

    def append(self, items: Tensor) -> None:
        """Stores items, of the type of `items`, for which there is room."""
        kept = self.kept()
        self.items[kept : kept + len(items)] = items
        self.count += len(items)
        self._kept = kept + len(items)


class History(Buffer):
    """Buffer of generated items from which discriminators receive some (Shrivastava et al. 2017, section 2.3).

    Items are appended until the buffer is full. Then each item is swapped with a stored one with probability 1/2; at
    most `size` of a batch are. Random numbers come from torch's global generator. Ranks that train together have equal
    buffers, of the items of all of them.

    Args:
        size: Number of stored items; 0 disables the buffer.
        spec: Specification of the items.
    """

    def __init__(self, size: int, spec: Spec) -> None:
        super().__init__(torch.zeros(size, *spec.shape))

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """Returns the batch with some items replaced by earlier ones, without gradient."""
        return ranks.on_whole_batch(self._mixed, x) if len(self.items) else x.clone()

    def _mixed(self, x: Tensor) -> Tensor:
        size = len(self.items)
        new = min(size - self.kept(), len(x))
        if new:
            self.append(x[:new])
        mixed = x.clone()
        if new == len(x):
            return mixed
        # items to swap come first; how many there are stays on the device, so that nobody waits for it
        chosen = torch.rand(len(x) - new, device=x.device) < 0.5
        most = min(size, len(chosen))
        rows = new + chosen.logical_not().byte().argsort(stable=True)[:most]
        places = torch.randperm(size, device=x.device)[:most]
        swapped = torch.arange(most, device=x.device) < chosen.sum()
        swapped = swapped.view(-1, *[1] * (x.ndim - 1))
        earlier, present = self.items[places], x[rows]
        mixed[rows] = torch.where(swapped, earlier, present)
        self.items[places] = torch.where(swapped, present, earlier)
        return mixed


class Bank(Buffer):
    """Buffer of the first real items of training, saved with the model, to sample from.

    Items are stored as integers, which a moving average of weights copies instead of averaging: images with 8 bits per
    value, vectors as the bits of their floats.

    Args:
        size: Number of stored items.
        spec: Specification of the items.
    """

    def __init__(self, size: int, spec: Spec) -> None:
        of_images = isinstance(spec, ImageSpec)
        super().__init__(torch.zeros(size, *spec.shape, dtype=torch.uint8 if of_images else torch.int32))
        self.bytes = of_images

    @torch.no_grad()
    def fill(self, x: Float[Tensor, "n ..."]) -> None:
        """Stores items, of all ranks, while there is room. Images have values in [-1, 1]."""
        room = len(self.items) - self.kept()
        if room:
            some = ranks.gather(x)[:room].to(torch.float32).contiguous()
            self.append(((some + 1) * 127.5).round().to(torch.uint8) if self.bytes else some.view(torch.int32))

    def draw(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n ..."]:
        """Samples n items; returns black images or zero vectors if the buffer is empty."""
        chosen = torch.randint(max(1, self.kept()), (n,), generator=generator).to(self.items.device)
        items = self.items[chosen]
        return items.float() / 127.5 - 1 if self.bytes else items.view(torch.float32)
