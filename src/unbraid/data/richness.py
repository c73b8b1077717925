"""Estimates which of two domains is more informative, for methods that treat that one differently.

Two figures of each domain, of items spread over training: how far its items can be compressed without loss, an upper
bound of their entropy, and, as a quick probe, how many directions they vary in at a coarse look. Both are rough: noise
compresses badly and says nothing, and plain areas with sharp borders vary in many directions. So the first decides, and
the second is said with it.
"""

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from unbraid.core.types import DOMAINS, Domain
from unbraid.data.items import Items, Rows, unique_rows
from unbraid.data.parts import Part

LOOKED_AT = 200
"""Items of each domain, at most."""
COARSE = 16
"""Height and width at which directions are counted."""
VARIANCE = 0.95
"""Share of the variance that the counted directions hold."""
CLEAR = 1.2
"""Ratio of bits from which a domain is clearly more informative."""


@dataclass(frozen=True)
class Richness:
    """The richness of a domain. bits: of an item, compressed. directions: principal components that hold VARIANCE."""

    bits: float
    directions: int

    def __str__(self) -> str:
        size = f"{self.bits / 8:,.0f} bytes" if self.bits < 8000 else f"{self.bits / 8000:,.1f} kB"
        ways = "one main way" if self.directions == 1 else f"{self.directions} main ways"
        return f"{size} an item when compressed, and items that differ in {ways}"


@dataclass(frozen=True)
class Proposal:
    """The more informative domain, the reason, and whether the difference is clear."""

    informative: Domain
    reason: str
    clear: bool


def more_informative(part: Part) -> Proposal:
    """Compares the two domains of a part by their items as stored."""
    found = {domain: richness(*part.domain(domain)) for domain in DOMAINS}
    a, b = found["a"], found["b"]
    informative: Domain = "a" if a.bits >= b.bits else "b"
    more, less = (a, b) if informative == "a" else (b, a)
    reason = f"domain a has {a}; domain b has {b}"
    return Proposal(informative, reason, more.bits >= CLEAR * less.bits)


def richness(items: Items, rows: Rows) -> Richness:
    """Measures the richness of these rows, each item once."""
    rows = unique_rows(items, rows)
    at = np.unique(np.linspace(0, len(rows) - 1, LOOKED_AT).astype(np.int64))
    x = items.read(rows[at], 0).float()
    return Richness(compressed_bits(x), directions(x))


def compressed_bits(x: Tensor) -> float:
    """Returns the mean size of an item compressed by zlib, in bits. x: (n, c, h, w) in [-1, 1] or (n, d).

    Images are coded as differences of neighbours in 8 bits, vectors in sixteenths of a deviation.
    """
    if x.ndim == 4:
        values = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
        coded = np.diff(values, axis=3, prepend=np.uint8(0))  # wraps around, as PNG's filters do
        return 8 * float(np.mean([len(zlib.compress(one.tobytes())) for one in coded]))
    scaled = (x - x.mean(0)) / x.std(0, correction=0).clamp(min=1e-6)
    values = (scaled * 16).round().clamp(-127, 127).to(torch.int8).numpy()
    return 8 * len(zlib.compress(values.tobytes())) / len(x)


def directions(x: Tensor) -> int:
    """Returns the number of principal components that hold VARIANCE of the variance, of images at COARSE size."""
    if x.ndim == 4:
        x = adaptive_avg_pool2d(x, (min(COARSE, x.shape[2]), min(COARSE, x.shape[3])))
    flat = x.flatten(1).double()
    power = torch.linalg.svdvals(flat - flat.mean(0)).square().cumsum(0)
    return 1 + int((power < VARIANCE * power[-1]).sum())
