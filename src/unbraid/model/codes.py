"""Codes of whole parts of the data, in batches."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unbraid.core.types import DOMAINS, Codes, Domain, other
from unbraid.data.parts import Items, LabelledPart, PairedPart, Part, Rows, side
from unbraid.model.space import CodeSpace

BATCH = 100
SPACE_PAIRS = 2000
"""How many training pairs the geometry of codes is fitted on, at most."""


@contextmanager
def evaluating(method: nn.Module) -> Iterator[None]:
    """Evaluation mode, without gradients, and back to what it was."""
    was = method.training
    method.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        method.train(was)


def encode_all(method: Any, x: Tensor, domain: Domain) -> Codes:
    """The codes of any number of items, on the CPU. x: (n, *spec.shape)."""
    device = next(method.parameters()).device
    with evaluating(method):
        batches: list[Codes] = [method.encode(part.to(device), domain) for part in x.split(BATCH)]
    return Codes(
        torch.cat([codes.shared.float().cpu() for codes in batches]),
        torch.cat([codes.exclusive.float().cpu() for codes in batches]),
    )


def spread(rows: Rows, count: int | None) -> Rows:
    """`count` of the rows, evenly over all of them: stored sets are often sorted by class."""
    return rows if count is None or count >= len(rows) else rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]


def read(part: Part, domain: Domain, limit: int | None = None) -> Tensor:
    """`limit` items spread over one side of a part, or all of them, as stored. (n, *spec.shape)."""
    items, rows = side(part, domain)
    return items.read(spread(rows, limit), 0)


def encode_part(method: Any, part: Part, domain: Domain, limit: int | None = None, exclusive: bool = True) -> Codes:
    """The codes of one side of a part, or of `limit` items spread over it, read as it goes.

    exclusive: without, exclusive codes are (n, 0). Those that are maps of large images are megabytes each.
    """
    items, rows = side(part, domain)
    return _encode(method, items, spread(rows, limit), domain, exclusive)


def encode_sides(method: Any, part: Part) -> tuple[Codes, Codes]:
    """The codes of a and of b; exclusive ones where they are of one size, and can be compared, else (n, 0)."""
    one, two = (exclusive_size(method, domain) for domain in DOMAINS)
    a, b = (encode_part(method, part, domain, exclusive=one == two) for domain in DOMAINS)
    return a, b


def exclusive_size(method: Any, domain: Domain) -> int:
    """How many values the exclusive code of an item of a domain has; 0 if nothing of it varies on its own."""
    return encode_all(method, torch.zeros(1, *method.spec[domain].shape), domain).exclusive.shape[1]


def encode_rows(method: Any, part: LabelledPart, at: Rows) -> Codes:
    """The codes of the items at these positions of a labelled part, read as it goes."""
    return _encode(method, part.x, part.rows[at], "a")


def _encode(method: Any, items: Items, rows: Rows, domain: Domain, exclusive: bool = True) -> Codes:
    kept: list[Codes] = []
    for some in np.array_split(rows, -(-len(rows) // BATCH)):
        codes = encode_all(method, items.read(some, 0), domain)
        kept.append(codes if exclusive else Codes(codes.shared, codes.shared.new_zeros(len(some), 0)))
    return Codes(torch.cat([codes.shared for codes in kept]), torch.cat([codes.exclusive for codes in kept]))


def decode_all(method: Any, codes: Codes, domain: Domain) -> Tensor:
    """The items that any number of codes describe, on the CPU. (n, *spec.shape)."""
    device = next(method.parameters()).device
    with evaluating(method):
        made = [
            method.decode(Codes(shared.to(device), exclusive.to(device)), domain).float().cpu()
            for shared, exclusive in zip(codes.shared.split(BATCH), codes.exclusive.split(BATCH), strict=True)
        ]
    return torch.cat(made)


def sample_all(method: Any, x: Tensor, source: Domain, count: int, generator: torch.Generator) -> Tensor:
    """`count` translations of each item, every exclusive code drawn by itself, on the CPU. (n, count, *shape)."""
    target = other(source)
    shared = encode_all(method, x, source).shared
    styles = (method.prior(len(x), target, generator).cpu() for _ in range(count))
    return torch.stack([decode_all(method, Codes(shared, style), target) for style in styles], 1)


def code_space(method: Any, train: PairedPart) -> CodeSpace:
    """The geometry of shared codes, fitted on training pairs as they are stored."""
    a, b = (encode_part(method, train, domain, SPACE_PAIRS, exclusive=False).shared for domain in DOMAINS)
    return CodeSpace.fit(a, b)
