"""Codes of whole parts of the data, in batches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from unbraid.core.method import AnyMethod, Disentangler
from unbraid.core.types import DOMAINS, Codes, Domain, other
from unbraid.data.items import Items, Rows
from unbraid.data.parts import LabelledPart, PairedPart, Part
from unbraid.model.space import CodeSpace

BATCH = 100
SPACE_PAIRS = 2000
"""How many training pairs the geometry of codes is fitted on, at most."""


@contextmanager
def evaluating(method: nn.Module) -> Iterator[None]:
    """Puts a method into evaluation mode, without gradients, inside the block."""
    was = method.training
    if was:  # a walk over all modules takes as long as a small network
        method.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        if was:
            method.train()


def device_of(method: nn.Module) -> torch.device:
    """Returns the device where a method's weights are."""
    return next(method.parameters()).device


def coder(method: AnyMethod) -> Disentangler:
    """Returns a method that is known to be a disentangler, as one."""
    return cast(Disentangler, method)


def encode_all(method: AnyMethod, x: Tensor, domain: Domain) -> Codes:
    """Encodes any number of items in batches, to float32 where the method is. See `Disentangler.encode`."""
    device = device_of(method)
    with evaluating(method):
        batches: list[Codes] = [coder(method).encode(part.to(device), domain) for part in x.split(BATCH)]
    return _joined([Codes(codes.shared.float(), codes.exclusive.float()) for codes in batches])


def _joined(parts: Sequence[Codes]) -> Codes:
    return Codes(torch.cat([codes.shared for codes in parts]), torch.cat([codes.exclusive for codes in parts]))


def evenly_spaced(rows: Rows, count: int | None) -> Rows:
    """Returns `count` of the rows, evenly spaced: stored sets are often sorted by class. None takes all."""
    return rows if count is None or count >= len(rows) else rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]


def read(part: Part, domain: Domain, limit: int | None = None) -> Tensor:
    """Reads items of one domain of a part, as stored, (n, *spec.shape). See `encode_part`."""
    items, rows = part.domain(domain)
    return items.read(evenly_spaced(rows, limit), 0)


def encode_part(
    method: AnyMethod, part: Part, domain: Domain, limit: int | None = None, exclusive: bool = True
) -> Codes:
    """Encodes one domain of a part, reading it in batches.

    Args:
        method: a disentangler.
        part: with items of the domain.
        domain: to encode.
        limit: items at most, evenly spaced; None takes all.
        exclusive: whether exclusive codes are wanted; (n, 0) if not. Those that are maps of large images are megabytes
            each.
    """
    items, rows = part.domain(domain)
    return _encode(method, items, evenly_spaced(rows, limit), domain, exclusive)


def encode_rows(method: AnyMethod, part: LabelledPart, at: Rows) -> Codes:
    """Encodes the items at positions (n,) of a labelled part, reading them in batches. See `encode_part`."""
    return _encode(method, part.x, part.rows[at], "a")


def _encode(method: AnyMethod, items: Items, rows: Rows, domain: Domain, exclusive: bool = True) -> Codes:
    kept: list[Codes] = []
    for some in np.array_split(rows, -(-len(rows) // BATCH)):
        codes = encode_all(method, items.read(some, 0), domain)
        kept.append(codes if exclusive else Codes(codes.shared, codes.shared.new_zeros(len(some), 0)))
    return _joined(kept)


def decode_all(method: AnyMethod, codes: Codes, domain: Domain) -> Tensor:
    """Decodes any number of codes in batches, to float32 where the method is. See `Disentangler.decode`."""
    device = device_of(method)
    with evaluating(method):
        decoded = [
            coder(method).decode(Codes(shared.to(device), exclusive.to(device)), domain).float()
            for shared, exclusive in zip(codes.shared.split(BATCH), codes.exclusive.split(BATCH), strict=True)
        ]
    return torch.cat(decoded)


def sample_all(method: AnyMethod, x: Tensor, source: Domain, count: int, generator: torch.Generator) -> Tensor:
    """Translates each item `count` times, each time with an exclusive code of its own from the prior.

    Returns (n, count, *spec[target].shape), where the method is. See `Disentangler.prior`.
    """
    return sample_codes(method, encode_all(method, x, source).shared, other(source), count, generator)


def sample_codes(method: AnyMethod, shared: Tensor, target: Domain, count: int, generator: torch.Generator) -> Tensor:
    """Decodes shared codes (n, ...) `count` times. See `sample_all`."""
    styles = (coder(method).prior(len(shared), target, generator) for _ in range(count))
    return torch.stack([decode_all(method, Codes(shared, style), target) for style in styles], 1)


def code_space(method: AnyMethod, train: PairedPart) -> CodeSpace:
    """Fits the geometry of shared codes on training pairs as they are stored."""
    a, b = (encode_part(method, train, domain, SPACE_PAIRS, exclusive=False).shared for domain in DOMAINS)
    return CodeSpace.fit(a.cpu(), b.cpu())
