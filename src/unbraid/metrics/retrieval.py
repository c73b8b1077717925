"""Retrieval across domains: a query from one domain, a gallery of the other, and whether the right item comes first.

Protocols differ between papers, and then figures differ: a hit by pair is the query's own counterpart only (IIAE), a
hit by label any item of the same class (CdDN on MNIST). Name the split, the size of the gallery and the distance.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unbraid.config import Distance
from unbraid.metrics.space import CodeSpace

KS = (1, 5, 10)
BLOCK = 2048
"""Queries compared at a time, so memory is BLOCK x gallery."""
NEIGHBOURS = 10
"""How many items of both domains are looked at, in `union`."""


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
        ranks.append(hit_ranks(block, query_labels[start : start + BLOCK, None] == gallery_labels[None]))
    return torch.cat(ranks)


def hit_ranks(block: Float[Tensor, "q g"], hits: Bool[Tensor, "q g"]) -> Int[Tensor, " q"]:
    """How many gallery items that are no hit are at least as near as the nearest hit. block: distances."""
    nearest = block.masked_fill(~hits, torch.inf).min(1, keepdim=True).values
    return (~(block > nearest) & ~hits).sum(1)


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


def union(
    own: Float[Tensor, "n d"],
    others: Float[Tensor, "m d"],
    partners: Int[Tensor, "p 2"],
    labels: tuple[Int[Tensor, " n"], Int[Tensor, " m"]] | None = None,
    at: Int[Tensor, " q"] | None = None,
    k: int = NEIGHBOURS,
) -> dict[str, float]:
    """What the k nearest neighbours of items are in both domains together, the item itself left out, in percent.

    other domain: neighbours from the other one. label: neighbours of the query's class. counterpart: queries with
    one of their counterparts among the neighbours. (Gonzalez-Garcia et al. 2018, figure 4b.)
    own, others: vectors of the queries' domain and of the other. partners: the pairs, positions in `own` and `others`.
    at: positions in `own` of the queries, increasing; default: all. Neighbours as far as the k-th share the places
    that are left.
    """
    at = torch.arange(len(own)) if at is None else at
    classes = torch.cat(labels) if labels else None
    k = min(k, len(own) + len(others) - 1)
    shares: dict[str, list[Tensor]] = {"other domain": []} | ({"label": []} if labels else {}) | {"counterpart": []}
    for some in at.split(BLOCK // 4):
        block = torch.cat([distances(own[some], own), distances(own[some], others)], 1)
        block[torch.arange(len(some)), some] = torch.inf
        taken = _taken(block, k)
        shares["other domain"].append(taken[:, len(own) :].sum(1) / k)
        if classes is not None:
            shares["label"].append((taken * (classes[some, None] == classes)).sum(1) / k)
        shares["counterpart"].append((taken[:, len(own) :] * _paired(some, partners, len(others))).amax(1))
    return {name: _percent(torch.cat(values)) for name, values in shares.items()}


def union_chance(
    own: int,
    others: int,
    partners: Int[Tensor, "p 2"],
    labels: tuple[Int[Tensor, " n"], Int[Tensor, " m"]] | None = None,
    at: Int[Tensor, " q"] | None = None,
    k: int = NEIGHBOURS,
) -> dict[str, float]:
    """What `union` gives for neighbours drawn at random. own, others: how many items the domains have."""
    at = torch.arange(own) if at is None else at
    size = own + others - 1
    k = min(k, size)
    figures = {"other domain": _percent(torch.tensor([others / size]))}
    if labels:
        counts = torch.bincount(torch.cat(labels))
        figures["label"] = _percent((counts[labels[0][at]] - 1) / size)
    counterparts = torch.bincount(partners[:, 0], minlength=own)[at].double()
    missed = torch.ones_like(counterparts)
    for drawn in range(k):  # none of the k is a counterpart
        missed *= ((size - counterparts - drawn) / (size - drawn)).clamp(min=0)
    figures["counterpart"] = _percent(1 - missed)
    return figures


def _taken(block: Float[Tensor, "q g"], k: int) -> Float[Tensor, "q g"]:
    """How much of a place among the k nearest each item has: 1, 0, or as much as others that are as far as the k-th."""
    furthest = block.topk(k, largest=False).values[:, -1:]
    inside, edge = block < furthest, block == furthest
    left = (k - inside.sum(1, keepdim=True)) / edge.sum(1, keepdim=True).clamp(min=1)
    return inside + edge * left


def _paired(some: Int[Tensor, " q"], partners: Int[Tensor, "p 2"], count: int) -> Bool[Tensor, "q m"]:
    """Whether an item of the other domain is a counterpart of a query. some: increasing positions."""
    pairs = partners[torch.isin(partners[:, 0], some)]
    table = torch.zeros(len(some), count, dtype=torch.bool)
    table[torch.searchsorted(some, pairs[:, 0].contiguous()), pairs[:, 1]] = True
    return table


def _percent(shares: Tensor) -> float:
    return round(100 * shares.double().mean().item(), 3)
