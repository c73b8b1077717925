"""Retrieval across domains: a query from one domain, a gallery of the other, and whether the right item comes first.

Protocols differ between papers, and then figures differ: a hit by pair is the query's own counterpart only (IIAE), a
hit by label any item of the same class (CdDN on MNIST). Name the split, the size of the gallery and the distance.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unbraid.config import Distance
from unbraid.metrics.space import CodeSpace

KS = (1, 5, 10)
BLOCK = 2048
"""Queries compared at a time, so memory is BLOCK x gallery."""


def distances(queries: Float[Tensor, "q d"], gallery: Float[Tensor, "g d"]) -> Float[Tensor, "q g"]:
    """Squared Euclidean distances, exact enough for ranking: float32 after the gallery's mean is taken away."""
    mean = gallery.mean(0)
    queries, gallery = queries - mean, gallery - mean
    return queries.square().sum(1, keepdim=True) - 2 * queries @ gallery.T + gallery.square().sum(1)


def pair_ranks(queries: Float[Tensor, "n d"], gallery: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
    """How many gallery items are at least as near to query i as item i, its counterpart, is. 0: the first place.

    Ties count against the counterpart, so codes that are all alike find nothing.
    """
    ranks = []
    for start in range(0, len(queries), BLOCK):
        block = distances(queries[start : start + BLOCK], gallery)
        own = block[torch.arange(len(block)), torch.arange(start, start + len(block))]
        ranks.append((~(block > own[:, None])).sum(1) - 1)  # so that what is not a number is no hit
    return torch.cat(ranks)


def label_ranks(
    queries: Float[Tensor, "q d"],
    gallery: Float[Tensor, "g d"],
    query_labels: Int[Tensor, " q"],
    gallery_labels: Int[Tensor, " g"],
) -> Int[Tensor, " q"]:
    """How many gallery items of another class are at least as near as the nearest of the query's own class."""
    ranks = []
    for start in range(0, len(queries), BLOCK):
        block = distances(queries[start : start + BLOCK], gallery)
        same = query_labels[start : start + BLOCK, None] == gallery_labels[None]
        nearest = block.masked_fill(~same, torch.inf).min(1, keepdim=True).values
        ranks.append((~(block > nearest) & ~same).sum(1))
    return torch.cat(ranks)


def recall_at(ranks: Int[Tensor, " n"], ks: Sequence[int] = KS) -> dict[str, float]:
    """Percentage of queries with a hit among the k nearest, for each k: {"1": .., "5": .., "10": ..}."""
    return {str(k): round(100 * (ranks < k).float().mean().item(), 3) for k in ks}


def recall(
    a: Float[Tensor, "n ..."],
    b: Float[Tensor, "n ..."],
    labels: Int[Tensor, " n"] | None = None,
    distance: Distance = "euclidean",
    space: CodeSpace | None = None,
) -> dict[str, dict[str, float]]:
    """Recall at 1, 5 and 10, in percent, both ways; row i of `a` and of `b` are a pair.

    Without labels the counterpart alone is a hit; with them, labels[i] being the class of pair i, any of the class.
    space: what codes are centred and weighed by, for every distance but "euclidean".
    Raises ValueError if it is missing then.
    """
    if distance == "euclidean":
        x, y = a.flatten(1).float(), b.flatten(1).float()
    elif space is None:
        raise ValueError(f"{distance} distance needs a fitted CodeSpace")
    else:
        x, y = space.prepared(a, "a", distance), space.prepared(b, "b", distance)
    if labels is None:
        return {"a->b": recall_at(pair_ranks(x, y)), "b->a": recall_at(pair_ranks(y, x))}
    return {
        "a->b": recall_at(label_ranks(x, y, labels, labels)),
        "b->a": recall_at(label_ranks(y, x, labels, labels)),
    }
