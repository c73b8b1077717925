"""Retrieval across domains: a query from one domain, a gallery of the other, and whether the right item comes first.

Protocols differ between papers, and then figures differ: a hit by pair is the query's own counterpart only (IIAE), a
hit by label any item of the same class (CdDN on MNIST). Name the split, the size of the gallery and the distance.

Everything is exact and computed in blocks of queries: 100,000 queries in a gallery of 100,000 take less than 2 GB.
Legend: q queries, g items of the gallery, d size of a vector, r items of the gallery that are hits.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unbraid.config import Distance
from unbraid.metrics.space import CodeSpace

KS = (1, 5, 10)
BLOCK = 2048
"""Queries compared at a time at most."""
BLOCK_VALUES = 2**25
"""Distances held at a time, 128 MB; a few arrays as large are held beside them."""
NEIGHBOURS = 10
"""How many items of both domains are looked at, in `union`."""


def distances(queries: Float[Tensor, "q d"], gallery: Float[Tensor, "g d"]) -> Float[Tensor, "q g"]:
    """Squared Euclidean distances, exact enough for ranking: float32 after the gallery's mean is taken away."""
    mean = gallery.mean(0)
    return _distances(queries - mean, (gallery - mean).T)


def _distances(queries: Float[Tensor, "q d"], gallery: Float[Tensor, "d g"]) -> Float[Tensor, "q g"]:
    """Squared Euclidean distances. In place: a block of them is the largest thing there is."""
    block = torch.addmm(gallery.square().sum(0)[None], queries, gallery, alpha=-2)
    return block.add_(queries.square().sum(1, keepdim=True))


def blocks(
    queries: Float[Tensor, "q d"], gallery: Float[Tensor, "g d"]
) -> Iterator[tuple[int, Float[Tensor, "block g"]]]:
    """Distances of some queries after others to the whole gallery, each with the number of its first query."""
    mean = gallery.mean(0)
    columns = (gallery - mean).T.contiguous()
    rows = max(1, min(BLOCK, BLOCK_VALUES // max(1, len(gallery))))
    for start in range(0, len(queries), rows):
        yield start, _distances(queries[start : start + rows] - mean, columns)


def pair_ranks(queries: Float[Tensor, "n d"], gallery: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
    """How many gallery items are at least as near to query i as item i, its counterpart, is. 0: the first place.

    Ties count against the counterpart, so codes that are all alike find nothing.
    """
    ranks = []
    for start, block in blocks(queries, gallery):
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
    for start, block in blocks(queries, gallery):
        ranks.append(hit_ranks(block, query_labels[start : start + len(block), None] == gallery_labels[None]))
    return torch.cat(ranks)


def hit_ranks(block: Float[Tensor, "q g"], hits: Bool[Tensor, "q g"]) -> Int[Tensor, " q"]:
    """How many gallery items that are no hit are at least as near as the nearest hit. block: distances."""
    nearest = block.masked_fill(~hits, torch.inf).min(1, keepdim=True).values
    return (~(block > nearest) & ~hits).sum(1)


def recall_at(ranks: Int[Tensor, " n"], ks: Sequence[int] = KS) -> dict[str, float]:
    """Percentage of queries with a hit among the k nearest, for each k: {"1": .., "5": .., "10": ..}."""
    return {str(k): round(100 * (ranks < k).float().mean().item(), 3) for k in ks}


def pair_figures(
    queries: Float[Tensor, "n d"], gallery: Float[Tensor, "n d"], ks: Sequence[int] = KS
) -> dict[str, object]:
    """What `label_figures` gives, where the query's own counterpart, row i for query i, is the one hit.

    recall: percent, by k. median_rank: 1 is the first place. map: mean of 1 / rank.
    """
    return _figures(pair_ranks(queries, gallery), ks)


def label_figures(
    queries: Float[Tensor, "q d"],
    gallery: Float[Tensor, "g d"],
    query_labels: Int[Tensor, " q"],
    gallery_labels: Int[Tensor, " g"],
    ks: Sequence[int] = KS,
    precision_at: int = 100,
) -> dict[str, object]:
    """Figures of retrieval where every item of the query's class is a hit.

    recall: {"1": ..}, percent of queries with a hit among the k nearest. median_rank: of the nearest hit, 1 is the
    first place. map: mean over queries of the average precision over the whole ranking. p_at_K: mean share of hits
    among the K nearest; with fewer than K items of a class it can't reach 1.
    Ties count against the hit, and what is not a number is last. Queries whose class the gallery lacks are left out.
    Raises ValueError if that leaves none.
    """
    order = torch.argsort(gallery_labels, stable=True)
    sorted_labels, gallery = gallery_labels[order].contiguous(), gallery[order]
    first, precision, shares = [], [], []
    for label in query_labels.unique().tolist():
        start = int(torch.searchsorted(sorted_labels, label))
        stop = int(torch.searchsorted(sorted_labels, label, right=True))
        if start == stop:
            continue
        for _, block in blocks(queries[query_labels == label], gallery):
            ranks = _hit_ranks(block.numpy(), start, stop)
            first.append(ranks[:, 0].copy())  # a view would keep all of them
            precision.append((np.arange(1, stop - start + 1) / (ranks + 1)).mean(1))
            shares.append((ranks < precision_at).sum(1) / precision_at)
    if not first:
        raise ValueError("no query has a class that the gallery holds")
    return {
        **_figures(torch.from_numpy(np.concatenate(first)), ks),
        "map": round(float(np.concatenate(precision).mean()), 5),
        f"p_at_{precision_at}": round(float(np.concatenate(shares).mean()), 5),
    }


def _hit_ranks(block: np.ndarray, start: int, stop: int) -> np.ndarray:
    """(q, r): the places, from 0, of the gallery's items `start` to `stop`, sorted; others as near stand before them.

    block: (q, g) distances, which are sorted in place.
    """
    if np.isnan(block).any():  # what is not a number would stand behind infinity
        np.nan_to_num(block, copy=False, nan=np.inf)
    hits = np.sort(block[:, start:stop], axis=1)
    block.sort(axis=1)
    count = np.arange(1, stop - start + 1)
    ranks = np.empty(hits.shape, np.int64)
    for row, (near, all_) in enumerate(zip(hits, block, strict=True)):
        # as near or nearer, of all and of the hits
        others = np.searchsorted(all_, near, "right") - np.searchsorted(near, near, "right")
        ranks[row] = others + count - 1
    return ranks


def _figures(ranks: Int[Tensor, " q"], ks: Sequence[int]) -> dict[str, object]:
    return {
        "recall": recall_at(ranks, ks),
        "median_rank": float(ranks.double().quantile(0.5)) + 1,
        "map": round(float((1 / (ranks.double() + 1)).mean()), 5),
    }


def signs(codes: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Binary codes, 1 and -1: their squared Euclidean distance is four times the Hamming distance, exactly."""
    return torch.where(codes > 0, 1.0, -1.0)


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
    for some in at.split(max(1, min(BLOCK // 4, BLOCK_VALUES // (len(own) + len(others))))):
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
