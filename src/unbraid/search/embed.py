"""Images to codes in a stream: some batches are read ahead by threads while the model works on one.

Memory holds the batches that are read ahead and nothing else, however many images there are.

Legend: n images, d size of a shared code laid flat, e size of an exclusive one.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unbraid.core.ahead import in_order
from unbraid.core.config import Distance
from unbraid.core.short import Short
from unbraid.core.types import DOMAINS, Codes, Domain, UserError
from unbraid.model.trained import Trained

Batch = tuple[list[int], Tensor | None, list[tuple[int, str]]]
"""Numbers of the images that could be read, these images as the model sees them, (n, c, h, w), and why others not."""
Reader = Callable[[Sequence[int]], Batch]
"""Reads the images of these numbers."""


@dataclass(frozen=True)
class Embedded(Short):
    """Codes of some images. at: (n,) their numbers; codes: (n, d + e) float32; bad: lines about those left out."""

    at: list[int]
    codes: np.ndarray
    bad: list[tuple[int, str]]


@dataclass
class Timing:
    """Seconds spent so far: in the model, and in waiting for images."""

    model: float = 0.0
    waiting: float = 0.0
    images: int = 0


def embed(
    model: Trained,
    domain: Domain,
    read: Reader,
    numbers: Sequence[int],
    width: int,
    distance: Distance,
    batch: int,
    workers: int,
    timing: Timing | None = None,
) -> Iterator[Embedded]:
    """Encodes images in order, batch by batch, while threads read ahead. Names images that can't be read.

    Args:
        model: with codes.
        domain: of the images.
        read: reads images by their numbers.
        numbers: of the images.
        width: values of a code, d + e.
        distance: that shared codes are prepared for; exclusive ones stay as they are.
        batch: images at a time.
        workers: threads that read.
        timing: where to add the seconds.
    """
    timing = timing or Timing()
    batches = (numbers[start : start + batch] for start in range(0, len(numbers), batch))
    began = time.perf_counter()
    for at, images, bad in in_order(read, batches, workers, workers + 1):
        read_at = time.perf_counter()
        codes = np.empty((0, width), np.float32)
        if images is not None:
            codes = vectors(model, encoded(model, images, domain), domain, distance)
        timing.waiting += read_at - began
        timing.model += time.perf_counter() - read_at
        timing.images += len(at)
        yield Embedded(at, codes, bad)
        began = time.perf_counter()


def encoded(model: Trained, images: Tensor, domain: Domain) -> Codes:
    """Encodes images as files are read, (n, c, h, w), to float32 on the processor. See `Trained.encode`."""
    method = model.disentangler()
    if method is None:
        raise UserError(f"{model.name} has no codes to search by: it doesn't take items apart")
    with model.computing():
        codes = method.encode(model.preprocess(images).to(model.device), domain)
    return Codes(codes.shared.float().cpu(), codes.exclusive.float().cpu())


def vectors(model: Trained, codes: Codes, domain: Domain, distance: Distance) -> np.ndarray:
    """Returns shared codes as prepared for a distance, then exclusive ones, (n, d + e). See `CodeSpace.prepared`."""
    shared = codes.shared.flatten(1)
    if model.space is not None:
        shared = model.space.prepared(shared, domain, distance)
    return torch.cat([shared, codes.exclusive.flatten(1)], 1).numpy()


def code_sizes(model: Trained) -> dict[Domain, tuple[int, int]]:
    """Returns the sizes of a shared and an exclusive code of each domain. Raises UserError without codes."""
    found: dict[Domain, tuple[int, int]] = {}
    for domain in DOMAINS:
        shared, exclusive = model.code_shapes(domain).values()
        found[domain] = shared.numel(), exclusive.numel()
    return found
