"""Augmentation: random moves of whole images, the same move for both sides of a pair."""

from typing import get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unbraid.core.data_config import Augmentation
from unbraid.data.transforms import item_seed, transformed

MOVES = get_args(Augmentation)


def augment(
    sides: tuple[Float[Tensor, "n ..."], ...], names: tuple[str, ...], seed: int, draw: int, rows: np.ndarray
) -> tuple[Float[Tensor, "n ..."], ...]:
    """Moves item i of every tensor alike; the move is a function of (seed, draw, rows[i]) alone.

    Args:
        sides: tensors of (n, c, h, w) of any sizes.
        names: of moves: "flip", "turn" (quarter turns: square images), "shift"; and transforms of torchvision, which
            follow them in their order; see `unbraid.data.transforms`.
        seed: of the moves.
        draw: the number of the pass over the data.
        rows: (n,) int64.
    """
    moved = [list(side) for side in sides]
    transforms = [name for name in names if name not in MOVES]
    for i, row in enumerate(rows):
        generator = np.random.default_rng((seed, draw, int(row)))
        flip = bool(generator.integers(2)) if {"flip", "turn"} & set(names) else False
        turns = int(generator.integers(4)) if "turn" in names else 0
        across, down = generator.uniform(-1 / 8, 1 / 8, size=2) if "shift" in names else (0.0, 0.0)
        for side in moved:
            x = side[i]
            if flip:
                x = x.flip(-1)
            if turns:
                x = x.rot90(turns, (-2, -1))
            if across or down:
                x = _shift(x, round(down * x.shape[-2]), round(across * x.shape[-1]))
            for number, text in enumerate(transforms):
                x = transformed(x, text, item_seed(seed, draw, int(row) * len(transforms) + number))
            side[i] = x
    return tuple(torch.stack(side) for side in moved)


def _shift(x: Float[Tensor, "c h w"], down: int, across: int) -> Float[Tensor, "c h w"]:
    """Moves an image; what enters is its own edge, mirrored."""
    height, width = x.shape[-2:]
    padded = torch.nn.functional.pad(x, (abs(across), abs(across), abs(down), abs(down)), mode="reflect")
    top, left = abs(down) - down, abs(across) - across
    return padded[..., top : top + height, left : left + width]
