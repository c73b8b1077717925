"""The moving average of a method's weights."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from unbraid.model.restore import model_state


class Average:
    """Moving average of a method's weights and statistics, which is evaluated and saved if decay > 0.

    The decay after n updates is min(decay, (1 + n) / (10 + n)), so that early weights have little influence.
    """

    def __init__(self, method: nn.Module, decay: float, state: dict[str, Any] | None) -> None:
        self.method, self.decay = method, decay
        self.updates = 0
        self.mean: dict[str, Tensor] = {}
        if decay:
            self.mean = {name: value.detach().clone() for name, value in model_state(self.method).items()}
            if state:
                self.updates = state["updates"]
                self.mean = {n: v.to(self.mean[n].device, copy=True) for n, v in state["mean"].items()}

    @torch.no_grad()
    def update(self) -> None:
        """Updates the average with the present weights."""
        if not self.decay:
            return
        self.updates += 1
        share = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        means, values = list[Tensor](), list[Tensor]()  # moved together, with few launches on a GPU
        for name, value in model_state(self.method).items():
            if value.is_floating_point():
                means.append(self.mean[name])
                values.append(value)
            else:
                self.mean[name].copy_(value)
        torch._foreach_lerp_(means, values, share)  # pyright: ignore[reportPrivateImportUsage]

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Replaces the method's weights by the average inside the block."""
        if not self.decay:
            yield
            return
        own = {name: value.detach().clone() for name, value in model_state(self.method).items()}
        self.method.load_state_dict(self.mean, strict=False)
        try:
            yield
        finally:
            self.method.load_state_dict(own, strict=False)

    def state(self) -> dict[str, Any] | None:
        """Returns the state to save in a checkpoint."""
        return {"updates": self.updates, "mean": self.mean} if self.decay else None
