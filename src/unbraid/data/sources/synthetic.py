"""Vectors whose content and residual are known: Harley et al. 2019, section 4.1. Drawn pass by pass, endlessly.

Domain a is v = (c, r), two values, domain b is c alone. c and r are independent.

synthetic: c ~ N(2, 1) and r ~ N(-2, 1), the paper's. Every rotation of their plane leaves the distribution as it is, so
unpaired data don't say which direction is c (docs/notes/two-factors.md).
synthetic-identifiable: ours, means and deviations as above, but c is uniform and r has two modes, one of which is rare.
Of all linear splits only the true one has the right distributions; bent ones that have them exist still.

Training is unpaired: an a and a b of a batch have nothing to do with each other. Validation and test are pairs, b being
the true content of a, and keep the true residual, to measure by.
"""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unbraid.core.data_config import DataConfig
from unbraid.core.types import DataSpec, Unpaired, UserError, VectorSpec
from unbraid.data.items import Rows
from unbraid.data.parts import Data, PairedPart, UnpairedPart

Shape = Literal["synthetic", "synthetic-identifiable"]
TRAIN, HELD_OUT = 2**17, 2_000
"""Items in one pass of training, and in each of validation and test. Each pass draws new ones; where a batch reaches
into the next pass its items come again there, which a batch of a power of two never does."""
CONTENT_MEAN, RESIDUAL_MEAN = 2.0, -2.0
MODE, RARE = 0.9, 0.2
"""Two-mode residual: the deviation that the modes' places alone have, of 1 in all, and how many items are in the upper
mode. With equal modes its fourth moment would be nearly that of the uniform content, which asks to be exchanged."""
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniforms(key: int, rows: Rows, count: int) -> np.ndarray:
    """Draws numbers of the stream SplitMix64 (Steele, Lea and Flood 2014), so that each row can be had by itself.

    Args:
        key: of the stream.
        rows: (n,), whose numbers begin at `row * count` of the stream.
        count: of numbers in a row.

    Returns:
        (n, count) float64 in [0, 1).
    """
    at = np.asarray(rows, np.uint64)[:, None] * np.uint64(count) + np.arange(1, count + 1, dtype=np.uint64)
    x = np.uint64(key) + at * GOLDEN  # whole numbers of 64 bits wrap around
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


def factors(shape: Shape, key: int, rows: Rows) -> np.ndarray:
    """Draws content and residual of each row, (n, 2) float64, by the shape of their distribution. See `uniforms`."""
    u = uniforms(key, rows, 4)
    radius, angle = np.sqrt(-2 * np.log1p(-u[:, 0])), 2 * np.pi * u[:, 1]  # Box and Muller 1958
    if shape == "synthetic":
        content, residual = radius * np.cos(angle), radius * np.sin(angle)
    else:
        content = np.sqrt(3) * (2 * u[:, 2] - 1)
        place = ((u[:, 3] < RARE) - RARE) / np.sqrt(RARE * (1 - RARE))  # mean 0, deviation 1
        residual = MODE * place + np.sqrt(1 - MODE**2) * radius * np.cos(angle)
    return np.stack([CONTENT_MEAN + content, RESIDUAL_MEAN + residual], 1)


@dataclass(frozen=True)
class DrawnVectors:
    """Vectors that are drawn when their pass is read. informative: (c, r), else c.

    stream: items of equal streams have equal factors.
    """

    shape: Shape
    informative: bool
    stream: str
    seed: int
    count: int

    @property
    def spec(self) -> VectorSpec:
        """Returns a spec of two values, or of one."""
        return VectorSpec(2 if self.informative else 1)

    def __len__(self) -> int:
        return self.count

    def factors(self, draw: int) -> np.ndarray:
        """Returns content and residual of every item, (count, 2) float64."""
        digest = sha256(f"{self.seed}/{self.stream}/{draw}".encode()).digest()
        return factors(self.shape, int.from_bytes(digest[:8], "little"), np.arange(self.count))

    def read(self, rows: Rows, draw: int) -> Float[Tensor, "n d"]:
        """Returns (len(rows), d) float32, new ones in each draw."""
        return drawn(self, draw)[torch.from_numpy(np.asarray(rows))]


@lru_cache(maxsize=4)
def drawn(items: DrawnVectors, draw: int) -> Float[Tensor, "n d"]:
    """Returns all items of a draw; small batches out of them cost little."""
    values = items.factors(draw)
    return torch.from_numpy(values if items.informative else values[:, :1]).float()


@dataclass(frozen=True)
class DrawnPart(UnpairedPart):
    """Two domains drawn independently: equal positions have nothing to do with each other, so none is looked for."""

    def batch(self, at: Rows, draw: int, augmentation: tuple[str, ...] = (), seed: int = 0) -> Unpaired:
        """Returns items of both domains at these positions. See `Part.batch`."""
        return Unpaired(self.a.read(at, draw), self.b.read(at, draw))


def load_synthetic(config: DataConfig) -> Data:
    """Loads endless training data and 2,000 pairs each to validate and to test by. All follow from --data.seed.

    Raises UserError for settings that speak of images.
    """
    shape = config.set
    assert shape == "synthetic" or shape == "synthetic-identifiable"
    if config.size or config.channels or config.augment:
        raise UserError(
            f"The set {shape} holds vectors; --data.size, --data.channels and --data.augment are for images"
        )

    def sides(stream_a: str, stream_b: str, count: int) -> tuple[DrawnVectors, DrawnVectors]:
        return (
            DrawnVectors(shape, True, stream_a, config.seed, count),
            DrawnVectors(shape, False, stream_b, config.seed, count),
        )

    def pairs(part: str) -> PairedPart:
        (a, b), rows = sides(part, part, HELD_OUT), np.arange(HELD_OUT)
        residual = a.factors(0)[:, 1]
        return PairedPart(a, b, rows, [f"{part} {i}" for i in rows], factors={"residual": residual})

    a, b = sides("train a", "train b", TRAIN)
    rows, names = np.arange(TRAIN), [str(i) for i in range(TRAIN)]
    train = DrawnPart(a, b, rows, rows, names, names)
    return Data(shape, DataSpec(a.spec, b.spec), train, pairs("val"), pairs("test"))
