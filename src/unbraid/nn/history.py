"""Items kept while training: what was made before, for adversaries, and what was seen, to draw styles from.

Both are part of a method's state, so a run that was stopped goes on as if it never had.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unbraid.core.types import ImageSpec, Spec


class History(nn.Module):
    """Items made before, from which an adversary is shown some (Shrivastava et al. 2017, section 2.3).

    Until it is full, it keeps what comes. Then every item has an even chance to change places with one that is kept; at
    most `size` of a batch do. Chance comes from torch's global generator. size 0 keeps nothing.
    """

    items: Tensor
    count: Tensor

    def __init__(self, size: int, spec: Spec) -> None:
        super().__init__()
        self.register_buffer("items", torch.zeros(size, *spec.shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """The batch, some of it replaced by items of earlier ones; without gradient."""
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
    """The first `size` items that training sees, saved with the model, to draw from when nothing else is given.

    Held as whole numbers, which an average of weights copies instead of blending them: images with 8 bits a value,
    vectors by the bits of their floats.
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
        """Keeps these items if there is room. Images in [-1, 1]."""
        kept = int(self.count)
        new = min(len(self.items) - kept, len(x))
        if new:
            some = x[:new].to(torch.float32).contiguous()
            whole = ((some + 1) * 127.5).round().to(torch.uint8) if self.bytes else some.view(torch.int32)
            self.items[kept : kept + new] = whole
            self.count += new

    def draw(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n ..."]:
        """n items at random; before there are any, black images or vectors of zeros."""
        chosen = torch.randint(max(1, int(self.count)), (n,), generator=generator).to(self.items.device)
        items = self.items[chosen]
        return items.float() / 127.5 - 1 if self.bytes else items.view(torch.float32)
