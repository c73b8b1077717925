"""Distances of generated images, gathered in blocks, so that large images need no more memory than small ones."""

import math
from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from unbraid.data.items import Rows
from unbraid.evaluation.metrics.images import rms_distance
from unbraid.evaluation.networks import Images, PerceptualNetworks, mean

VALUES = 16_000_000
"""Values of images that a block holds, about."""


class DistanceTable:
    """Distances of images from their targets, gathered block by block, by name."""

    def __init__(self) -> None:
        self.values: defaultdict[str, defaultdict[str, list[Tensor]]] = defaultdict(lambda: defaultdict(list))

    def add(self, name: str, values: dict[str, Tensor]) -> None:
        """Adds a block. values: (n,) each, by distance."""
        for distance, each in values.items():
            self.values[name][distance].append(each)

    def figures(self) -> dict[str, dict[str, float]]:
        """Returns means, and standard deviations of `distance` and `lpips`."""
        table: dict[str, dict[str, float]] = {}
        for name, values in self.values.items():
            table[name] = {}
            for distance, parts in values.items():
                each = torch.cat(parts)
                table[name][distance] = mean(each)
                if distance in ("distance", "lpips"):
                    table[name][f"{distance} deviation"] = round(float(each.std(correction=0)), 4)
        return table


def blocks(rows: Rows, shape: tuple[int, ...], times: int = 1) -> list[Rows]:
    """Returns rows in blocks.

    Args:
        rows: (n,) int64.
        shape: Of an item.
        times: Items that each row may need.
    """
    size = max(1, VALUES // (times * math.prod(shape)))
    return np.array_split(rows, -(-len(rows) // size))


def near(generated: Images, true: Tensor, networks: PerceptualNetworks) -> dict[str, dict[str, Tensor]]:
    """Returns the distances that are small for like images: (n,) each. See `PerceptualNetworks.compare`."""
    looks = networks.looks(generated, true)
    return {name: {"distance": rms_distance(x, true), **looks[name]} for name, x in generated.items()}


def two_of(rows: Rows, count: int, seed: int) -> tuple[Rows, Rows]:
    """Draws at most `count` different ordered pairs of two different rows by the seed. See `held_out`."""
    rest = len(rows) - 1
    drawn = np.random.default_rng(seed).choice(len(rows) * rest, min(count, len(rows) * rest), replace=False)
    first, second = drawn // rest, drawn % rest
    return rows[first], rows[second + (second >= first)]
