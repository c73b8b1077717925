"""Retrieval across domains: a query from one domain, a gallery of the other, and whether the right item comes first.

Protocols differ between papers, and then figures differ: a hit by pair is a counterpart of the query (IIAE), a hit by
label any item of the same class (CdDN on MNIST). Name the split, the size of the gallery and the distance.

Items that are equally far from the query stand in random order, and figures are what is expected over all such orders
(McSherry and Najork 2008): ties count neither for the model nor against it, and codes that are all alike get chance.

Everything is exact and computed in blocks of queries: 100,000 queries in a gallery of 100,000 take less than 2 GB.
Legend: q queries, g items of the gallery, d size of a vector, r items of the gallery that are hits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array
from torch import Tensor

from unbraid.core.config import Distance
from unbraid.core.files import Json
from unbraid.core.short import Short
from unbraid.data.equal import first_of_each, members
from unbraid.model.space import CodeSpace

KS = (1, 5, 10)
BLOCK = 2048
"""Queries compared at a time at most."""
BLOCK_VALUES = 2**25
"""Distances held at a time, 128 MB; a few arrays as large are held beside them."""
NEIGHBOURS = 10
"""How many items of both domains are looked at, in `union`."""
NORMAL = 1.959964
"""95 % of a normal distribution lie within so many deviations."""
EXACT = 2**22
"""Whole numbers whose squares sum to less than this have exact distances in float32."""


def distances(queries: Float[Tensor, "q d"], gallery: Float[Tensor, "g d"]) -> Float[Tensor, "q g"]:
    """Returns squared Euclidean distances, exact enough for ranking: float32 after the gallery's mean is taken away.

    Equal items of the gallery are equally far.
    """
    return _Gallery(gallery, _center(queries, gallery)).distances(queries)


def blocks(
    queries: Float[Tensor, "q d"], gallery: Float[Tensor, "g d"]
) -> Iterator[tuple[int, Float[Tensor, "block g"]]]:
    """Returns distances of some queries after others to the whole gallery, each with the number of its first query."""
    prepared = _Gallery(gallery, _center(queries, gallery))
    rows = max(1, min(BLOCK, BLOCK_VALUES // max(1, len(gallery))))
    for start in range(0, len(queries), rows):
        yield start, prepared.distances(queries[start : start + rows])


class _Gallery:
    """Vectors to measure distances to, equal ones once: a matrix product may round equal columns differently."""

    def __init__(self, gallery: Float[Tensor, "g d"], center: Float[Tensor, " d"]) -> None:
        self.center = center
        columns = gallery - center
        first, number = first_of_each([hash(row.tobytes()) for row in columns.cpu().numpy()])
        self.number = None if len(first) == len(gallery) else torch.from_numpy(number)
        self.columns = (columns if self.number is None else columns[torch.from_numpy(first)]).T.contiguous()

    def distances(self, queries: Float[Tensor, "q d"]) -> Float[Tensor, "q g"]:
        """Returns squared distances, (q, g), computed in place: a block of them is the largest thing there is."""
        queries = queries - self.center
        block = torch.addmm(self.columns.square().sum(0)[None], queries, self.columns, alpha=-2)
        block.add_(queries.square().sum(1, keepdim=True))
        return block if self.number is None else block[:, self.number]


def _center(queries: Float[Tensor, "q d"], gallery: Float[Tensor, "g d"]) -> Float[Tensor, " d"]:
    """Returns what to take away: the gallery's mean, but nothing from small whole numbers, such as signs, which are
    exact."""
    # the first row shows most that are no whole numbers, and costs nothing
    if not all(torch.equal(x[:1], x[:1].round()) for x in (queries, gallery)):
        return gallery.mean(0)
    whole = all(bool((x == x.round()).all()) and bool((x.square().sum(1) < EXACT).all()) for x in (queries, gallery))
    return torch.zeros_like(gallery[0]) if whole else gallery.mean(0)


@dataclass(frozen=True)
class FirstHits(Short):
    """Where the first hit of each query stands, (q,) each, on the processor.

    nearer: items that are nearer than it. tied: items as far as it, it among them. hits: hits among those. others:
    items of the gallery that are no hits. What has no hit at a finite distance finds it behind all others.
    """

    nearer: Int[Tensor, " q"]
    tied: Int[Tensor, " q"]
    hits: Int[Tensor, " q"]
    others: Int[Tensor, " q"]

    @classmethod
    def of(
        cls, block: Float[Tensor, "q g"], nearest: Float[Tensor, "q 1"], hits: Tensor, others: Int[Tensor, " q"]
    ) -> "FirstHits":
        """Returns places from distances, that of the nearest hit, and how many are as far. See `FirstHits`."""
        found = nearest[:, 0].isfinite().cpu()
        nearer, tied = _count(block < nearest), _count(block == nearest)
        one = torch.ones_like(tied)
        return cls(
            torch.where(found, nearer, others), torch.where(found, tied, one), torch.where(found, hits, one), others
        )

    @classmethod
    def join(cls, some: Sequence["FirstHits"]) -> "FirstHits":
        """Joins the places of several blocks of queries."""
        return cls(*(torch.cat([getattr(one, field.name) for one in some]) for field in fields(cls)))

    def within(self, k: int) -> Float[Tensor, " q"]:
        """Returns the probability that a hit is among the k nearest."""
        missed = torch.ones(len(self.nearer), dtype=torch.float64, device="cpu")
        for drawn in range(k):  # of those that are as far as the nearest hit
            miss = (self.tied - self.hits - drawn) / (self.tied - drawn).clamp(min=1)
            missed = torch.where(drawn < k - self.nearer, missed * miss.clamp(min=0), missed)
        return 1 - missed

    def places(self) -> Float[Tensor, " q"]:
        """Returns the expected place of the first hit; 1 is the first."""
        return self.nearer + (self.tied + 1) / (self.hits + 1).double()


def _count(mask: Bool[Tensor, "q g"]) -> Int[Tensor, " q"]:
    """Returns how many are true in each row, on the processor, where numpy is ten times as fast at this."""
    return torch.from_numpy(np.count_nonzero(mask.numpy(), axis=1)) if mask.is_cpu else mask.sum(1).cpu()


def first_hits(block: Float[Tensor, "q g"], hits: Bool[Tensor, "q g"]) -> FirstHits:
    """Finds the nearest hit of each query. block: distances; what is not a number is further than all others."""
    others = ~hits
    nearest = block.masked_fill(others, torch.inf).nan_to_num_(torch.inf, torch.inf).amin(1, keepdim=True)
    return FirstHits.of(block, nearest, _count((block == nearest) & hits), _count(others))


def recall_at(first: FirstHits, ks: Sequence[int] = KS) -> Json:
    """Returns the percentage of queries with a hit among the k nearest, for each k, and its interval.

    {"1": .., "5": .., "10": .., "interval": {"1": [low, high], ..}}. A k that can't fail, since the gallery has fewer
    than k items that are no hits, is left out; {} if all are.
    """
    shares = {str(k): first.within(k).mean().item() for k in ks if (first.others >= k).any()}
    if not shares:
        return {}
    figures: Json = {k: round(100 * share, 3) for k, share in shares.items()}
    return {**figures, "interval": {k: interval(share, len(first.nearer)) for k, share in shares.items()}}


def interval(share: float, count: int) -> list[float]:
    """Returns the 95 % interval of a share, percent: the score interval of Wilson (1927).

    share: in [0, 1], of so many queries that are taken for independent.
    """
    variance = NORMAL**2 / count
    middle = (share + variance / 2) / (1 + variance)
    half = (variance * share * (1 - share) + variance**2 / 4) ** 0.5 / (1 + variance)
    return [round(100 * max(0.0, middle - half), 3), round(100 * min(1.0, middle + half), 3)]


def pair_figures(
    queries: Float[Tensor, "n d"], gallery: Float[Tensor, "n d"], ks: Sequence[int] = KS
) -> dict[str, object]:
    """Returns figures where the query's own counterpart, row i for query i, is the one hit. See `label_figures`."""
    first = _pair_hits(queries, gallery)
    harmonic = torch.from_numpy(_harmonic(len(gallery)))
    inverse = (harmonic[first.nearer + first.tied] - harmonic[first.nearer]) / first.tied
    return {**_figures(first, ks), "map": round(float(inverse.mean()), 5)}


def _pair_hits(queries: Float[Tensor, "n d"], gallery: Float[Tensor, "n d"]) -> FirstHits:
    found = []
    for start, block in blocks(queries, gallery):
        own = block.diagonal(start)
        one = torch.ones(len(block), dtype=torch.int64, device="cpu")
        found.append(FirstHits.of(block, own[:, None], one, one * (len(gallery) - 1)))
    return FirstHits.join(found)


def label_figures(
    queries: Float[Tensor, "q d"],
    gallery: Float[Tensor, "g d"],
    query_labels: Int[Tensor, " q"],
    gallery_labels: Int[Tensor, " g"],
    ks: Sequence[int] = KS,
    precision_at: int = 100,
) -> Json:
    """Returns figures of retrieval where every item of the query's class is a hit.

    recall: {"1": ..}, percent of queries with a hit among the k nearest, as `recall_at` gives it. median_rank: of the
    nearest hit, 1 is the first place. map: mean over queries of the average precision over the whole ranking. p_at_K:
    mean share of hits among the K nearest; with fewer than K items of a class it can't reach 1.
    What is not a number is last. Queries whose class the gallery lacks are left out.

    Args:
        queries: Vectors.
        gallery: Vectors.
        query_labels: Classes.
        gallery_labels: Classes.
        ks: Of the recall.
        precision_at: K.

    Raises:
        ValueError: The gallery has no query's class.
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
            places = _Places.of(block.cpu().numpy(), start, stop)
            first.append(places.first(len(gallery) - (stop - start)))
            precision.append(places.precision())
            shares.append(places.share(precision_at))
    if not first:
        raise ValueError("no query has a class that the gallery holds")
    return {
        **_figures(FirstHits.join(first), ks),
        "map": round(float(np.concatenate(precision).mean()), 5),
        f"p_at_{precision_at}": round(float(np.concatenate(shares).mean()), 5),
    }


@dataclass(frozen=True)
class _Places:
    """Where hits stand, (q, r) each, the nearest first: items that are nearer, items as far as the hit, and hits that
    are nearer, hits as far."""

    nearer: np.ndarray
    tied: np.ndarray
    nearer_hits: np.ndarray
    tied_hits: np.ndarray

    @classmethod
    def of(cls, block: np.ndarray, start: int, stop: int) -> "_Places":
        """Ranks the gallery's items `start` to `stop`. block: (q, g) distances, which are sorted in place."""
        if np.isnan(block).any():  # what is not a number would stand behind infinity
            np.nan_to_num(block, copy=False, nan=np.inf)
        hits = np.sort(block[:, start:stop], axis=1)
        block.sort(axis=1)
        found = np.empty((4, *hits.shape), np.int64)
        for row, (near, all_) in enumerate(zip(hits, block, strict=True)):
            for column, values in ((0, all_), (2, near)):
                found[column, row] = np.searchsorted(values, near, "left")
                found[column + 1, row] = np.searchsorted(values, near, "right")
        found[1::2] -= found[::2]
        lost, number = np.isinf(hits), np.arange(stop - start)
        last = (block.shape[1] - (stop - start) + number, 1, number, 1)
        return cls(*(np.where(lost, behind, values) for behind, values in zip(last, found, strict=True)))

    def first(self, others: int) -> FirstHits:
        """Returns the place of the first hit of each query."""
        nearer, tied, hits = (torch.from_numpy(x[:, 0].copy()) for x in (self.nearer, self.tied, self.tied_hits))
        return FirstHits(nearer, tied, hits, torch.full_like(nearer, others))

    def precision(self) -> np.ndarray:
        """Returns (q,): the average precision that is expected (McSherry and Najork 2008)."""
        slope = (self.tied_hits - 1) / np.maximum(self.tied - 1, 1)
        harmonic = _harmonic(int((self.nearer + self.tied).max()))
        sums = harmonic[self.nearer + self.tied] - harmonic[self.nearer]
        constant = self.nearer_hits + 1 - slope * (1 + self.nearer)
        return ((slope * self.tied + constant * sums) / self.tied).mean(1)

    def share(self, k: int) -> np.ndarray:
        """Returns (q,): the expected share of hits among the k nearest."""
        return np.clip((k - self.nearer) / self.tied, 0, 1).sum(1) / k


def _harmonic(count: int) -> np.ndarray:
    """(count + 1,): sums of the first reciprocals, of none to all."""
    return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, count + 1))])


def _figures(first: FirstHits, ks: Sequence[int]) -> Json:
    return {"recall": recall_at(first, ks), "median_rank": float(first.places().quantile(0.5))}


def signs(codes: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Returns binary codes, 1 and -1: their squared Euclidean distance is four times the Hamming distance, exactly."""
    return torch.where(codes > 0, 1.0, -1.0)


def recall(
    a: Float[Tensor, "n ..."],
    b: Float[Tensor, "n ..."],
    labels: Int[Tensor, " n"] | None = None,
    distance: Distance = "euclidean",
    space: CodeSpace | None = None,
    items: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Json]:
    """Returns recall at 1, 5 and 10, in percent, both ways; row i of `a` and of `b` are a pair.

    Args:
        a: Codes, or other values, (n, ...).
        b: The same of the other domain.
        labels: The class of each pair, (n,): then any item of the query's class is a hit, else its counterparts alone.
        distance: What is compared; all but "euclidean" need a space.
        space: What codes are centred and weighed by.
        items: A number for each row of a and of b, (n,), the same for rows that are the same item. It is asked for
            once and stands in the gallery once, and any of its counterparts is a hit. Default: all are different.

    Returns:
        {"a->b": {"1": .., "5": .., "10": .., "interval": ..}, "b->a": ..}, as `recall_at` says.

    Raises:
        ValueError: The space is missing.
    """
    if distance == "euclidean":
        x, y = a.flatten(1).float(), b.flatten(1).float()
    elif space is None:
        raise ValueError(f"{distance} distance needs a fitted CodeSpace")
    else:
        x, y = space.prepared(a, "a", distance), space.prepared(b, "b", distance)
    own = np.arange(len(x))
    first, number = zip(*(first_of_each(own if items is None else items[side]) for side in (0, 1)), strict=True)
    if labels is None and len(first[0]) == len(first[1]) == len(own):
        return {"a->b": recall_at(_pair_hits(x, y)), "b->a": recall_at(_pair_hits(y, x))}
    groups = own if labels is None else labels.numpy()
    x, y = x[torch.from_numpy(first[0])], y[torch.from_numpy(first[1])]
    one, two = (members(of, groups) for of in number)
    return {"a->b": recall_at(_group_hits(x, y, one, two)), "b->a": recall_at(_group_hits(y, x, two, one))}


def _group_hits(
    queries: Float[Tensor, "q d"], gallery: Float[Tensor, "g d"], of: csr_array, among: csr_array
) -> FirstHits:
    """Returns where an item of the gallery is a hit that is in a group of the query."""
    found = []
    for start, block in blocks(queries, gallery):
        hits = of[start : start + len(block)] @ among.T
        dense = torch.from_numpy(hits.toarray().astype(np.bool_, copy=False))
        found.append(first_hits(block, dense.to(block.device)))
    return FirstHits.join(found)


def union(
    own: Float[Tensor, "n d"],
    others: Float[Tensor, "m d"],
    partners: Int[Tensor, "p 2"],
    labels: tuple[Int[Tensor, " n"], Int[Tensor, " m"]] | None = None,
    at: Int[Tensor, " q"] | None = None,
    k: int = NEIGHBOURS,
) -> dict[str, float]:
    """Returns the kinds of the k nearest neighbours of items in both domains together, the item itself left out, in
    percent.

    other domain: neighbours from the other one. label: neighbours of the query's class. counterpart: queries with
    one of their counterparts among the neighbours. (Gonzalez-Garcia et al. 2018, figure 4b.)
    Args:
        own: Vectors of the queries' domain.
        others: Vectors of the other.
        partners: The pairs, positions in `own` and `others`.
        labels: Classes in both, if known.
        at: Positions in `own` of the queries, increasing; default: all.
        k: Neighbours; those as far as the k-th share the places that are left.
    """
    at = torch.arange(len(own), device="cpu") if at is None else at
    classes = torch.cat(labels).to(own.device) if labels else None
    k = min(k, len(own) + len(others) - 1)
    shares: dict[str, list[Tensor]] = {"other domain": []} | ({"label": []} if labels else {}) | {"counterpart": []}
    for some in at.split(max(1, min(BLOCK // 4, BLOCK_VALUES // (len(own) + len(others))))):
        block = torch.cat([distances(own[some], own), distances(own[some], others)], 1)
        block[torch.arange(len(some), device="cpu"), some] = torch.inf
        taken = _taken(block, k)
        shares["other domain"].append(taken[:, len(own) :].sum(1) / k)
        if classes is not None:
            shares["label"].append((taken * (classes[some, None] == classes)).sum(1) / k)
        paired = _paired(some, partners, len(others)).to(taken.device)
        shares["counterpart"].append((taken[:, len(own) :] * paired).amax(1))
    return {name: _percent(torch.cat(values)) for name, values in shares.items()}


def union_chance(
    own: int,
    others: int,
    partners: Int[Tensor, "p 2"],
    labels: tuple[Int[Tensor, " n"], Int[Tensor, " m"]] | None = None,
    at: Int[Tensor, " q"] | None = None,
    k: int = NEIGHBOURS,
) -> dict[str, float]:
    """Returns figures for neighbours drawn at random. own, others: numbers of items of the domains. See `union`."""
    at = torch.arange(own, device="cpu") if at is None else at
    size = own + others - 1
    k = min(k, size)
    figures = {"other domain": round(100 * others / size, 3)}
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
    """Returns how much of a place among the k nearest each item has: 1, 0, or as much as others that are as far as the
    k-th."""
    furthest = block.topk(k, largest=False).values[:, -1:]
    inside, edge = block < furthest, block == furthest
    left = (k - inside.sum(1, keepdim=True)) / edge.sum(1, keepdim=True).clamp(min=1)
    return inside + edge * left


def _paired(some: Int[Tensor, " q"], partners: Int[Tensor, "p 2"], count: int) -> Bool[Tensor, "q m"]:
    """Returns whether an item of the other domain is a counterpart of a query. some: increasing positions."""
    pairs = partners[torch.isin(partners[:, 0], some)]
    table = torch.zeros(len(some), count, dtype=torch.bool, device="cpu")
    table[torch.searchsorted(some, pairs[:, 0].contiguous()), pairs[:, 1]] = True
    return table


def _percent(shares: Tensor) -> float:
    return round(100 * shares.cpu().double().mean().item(), 3)
