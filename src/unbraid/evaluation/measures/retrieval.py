"""Recall of counterparts, and what an item's neighbours in both domains are."""

from typing import TypedDict, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from unbraid.core.config import Distance
from unbraid.core.files import Json
from unbraid.core.types import DOMAINS, Domain
from unbraid.data.equal import equal_items
from unbraid.evaluation.measure import WAY, Block, Measure, ValidationFigures, Ways, cells
from unbraid.evaluation.metrics.retrieval import KS, NEIGHBOURS, recall, union, union_chance
from unbraid.evaluation.subject import Subject
from unbraid.model.codes import BATCH, evenly_spaced

QUERIES = 2000
"""Items of each domain whose neighbours among the items of both are counted, at most."""
LARGEST_COMPARED = 64
"""Pixels a side of the images whose pixels are compared."""

Recall = Json
"""Of the items within the 1, 5 and 10 nearest, percent, the median rank, and 95 % intervals."""
Sides = tuple[Tensor, Tensor]


class RetrievalResult(TypedDict, total=False):
    """Recalls by what is compared (shared, exclusive, pixels) and way; by pair, by label, and by other distances."""

    recall: dict[str, Ways[Recall]]
    recall_label: dict[str, Ways[Recall]]
    recall_euclidean: dict[str, Ways[Recall]]
    recall_whitened: dict[str, Ways[Recall]]
    recall_cosine: dict[str, Ways[Recall]]
    union: Json


class Retrieval(Measure[RetrievalResult]):
    """Recall both ways, of shared and exclusive codes and of pixels, by pair and by label; by other distances too."""

    name = "retrieval"
    says = "recall of counterparts by shared codes, both ways, beside exclusive codes and pixels"

    def applies(self, subject: Subject) -> str | None:
        """See `Measure.applies`."""
        if not subject.paired:
            return "it needs pairs"
        return None if subject.codes else f"{subject.model.name} has no codes"

    def compute(self, subject: Subject) -> RetrievalResult:
        """See `Measure.compute`."""
        assert subject.paired
        compared, space = _compared(subject), subject.model.space
        labels = subject.paired.label(np.arange(len(subject.paired)))
        result = RetrievalResult(recall=_recalls(compared, subject.distance, subject))
        if labels is not None:
            result["recall_label"] = _recalls(compared, subject.distance, subject, torch.from_numpy(labels))
        for elsewhere in get_args(Distance):
            if elsewhere not in (subject.distance, *(() if space else ("whitened", "cosine"))):
                result[f"recall_{elsewhere}"] = _recalls({"shared": compared["shared"]}, elsewhere, subject)
        result["union"] = _unions(compared, subject)
        return RetrievalResult(**{name: figures for name, figures in result.items() if figures})  # type: ignore[typeddict-item]

    def protocol(self, subject: Subject) -> Json:
        """See `Measure.protocol`."""
        items = subject.pairing
        p, q = (len(items.first[domain]) for domain in DOMAINS)
        return {
            "queries": p if p == q else {"a->b": p, "b->a": q},
            "gallery": q if p == q else {"a->b": q, "b->a": p},
            "hit": "any counterpart of the query" if items.repeated else "pair",
            "distance": subject.distance,
            "exclusive and pixel distance": "euclidean",
            "interval": "95 %, by Wilson's score, queries taken for independent",
        }

    def missing(self, subject: Subject, result: RetrievalResult) -> dict[str, str]:
        """See `Measure.missing`."""
        assert subject.paired
        reasons: dict[str, str] = {}
        wanted = {"recall": "pair"} | ({} if subject.paired.labels is None else {"recall_label": "label"})
        for key, hit in wanted.items():
            ways = [result.get(key, {}).get("shared", {}).get(way, {}) for way in ("a->b", "b->a")]
            if missing := [f"@{k}" for k in KS if any(str(k) not in way for way in ways)]:
                reasons[f"recall {', '.join(missing)} ({hit})"] = "with so few items that are no hits no query can miss"
        if "union" not in result:
            reasons["neighbours in both domains"] = "all other items would be among them"
        return reasons

    def rows(self, metrics: RetrievalResult) -> list[Block]:
        """See `Measure.rows`."""
        keys = [("recall", "pair"), ("recall_label", "label")]
        keys += [(f"recall_{name}", name) for name in get_args(Distance)]
        rows = {f"{what} ({label})": ways for key, label in keys for what, ways in metrics.get(key, {}).items()}
        names = ("other domain", "label", "counterpart")
        found, lines = metrics.get("union", {}), []
        for what in ("shared", "exclusive", "pixels", "chance"):
            for way, values in found.get(what, {}).items():
                lines.append((what, way, *cells(values, names, ".2f")))
        title = f"both domains, % of {found.get('neighbours')}"
        return [recall_block(rows), Block((title, WAY, *names), lines)]

    def watch(self, subject: Subject) -> ValidationFigures:
        """See `Measure.watch`."""
        assert subject.paired
        a, b = subject.both_encoded()
        space = subject.model.space
        distance = subject.distance if space else "euclidean"
        items = equal_items(*subject.part.domain("a")), equal_items(*subject.part.domain("b"))
        found = {"": recall(a.shared, b.shared, None, distance, space, items)}
        if a.exclusive.shape[1]:
            found["exclusive "] = recall(a.exclusive, b.exclusive, items=items)
        figures = {
            f"{name}{way}": values["1"] for name, ways in found.items() for way, values in ways.items() if values
        }
        hidden = subject.model.method.needs.hides_pairs  # pairs that training doesn't see don't choose its model
        if hidden or "a->b" not in figures or "b->a" not in figures:
            return ValidationFigures(figures)
        return ValidationFigures(figures, (figures["a->b"] + figures["b->a"]) / 2, len(subject.paired))


def recall_block(rows: dict[str, Ways[Recall]]) -> Block:
    """Returns recalls as a table, a line for each name and way."""
    lines = [
        (what, way, *(share(values, k) for k in KS)) for what, ways in rows.items() for way, values in ways.items()
    ]
    return Block(("recall, % (95 %)", WAY, *(f"@{k}" for k in KS)), lines)


def share(found: Recall, k: int) -> str:
    """Returns recall at k with its interval, which older files lack; "-" if it was not measured."""
    if str(k) not in found:
        return "-"
    bounds = found.get("interval", {}).get(str(k))
    return f"{found[str(k)]:.2f}" + (f" ({bounds[0]:.1f}-{bounds[1]:.1f})" if bounds else "")


def _compared(subject: Subject) -> dict[str, Sides]:
    """Returns what retrieval compares, of a and of b: codes and pixels, (n, ...) each, of those that have one shape and
    hold something."""
    a, b = subject.both_encoded()
    others = {"exclusive": (a.exclusive, b.exclusive), "pixels": (_pixels(subject, "a"), _pixels(subject, "b"))}
    alike = {name: (x, y) for name, (x, y) in others.items() if x.shape == y.shape and x.shape[1]}
    return {"shared": (a.shared, b.shared), **alike}


def _pixels(subject: Subject, domain: Domain) -> Tensor:
    """One side as it is stored, images of more than `LARGEST_COMPARED` pixels a side averaged down to that: ten
    thousand of 256 x 256 would take 8 gigabytes."""
    items, rows = subject.part.domain(domain)
    kept = []
    for some in np.array_split(rows, -(-len(rows) // BATCH)):
        x = items.read(some, 0)
        if x.ndim == 4 and max(x.shape[2:]) > LARGEST_COMPARED:
            x = interpolate(x, [min(length, LARGEST_COMPARED) for length in x.shape[2:]], mode="area")
        kept.append(x)
    return torch.cat(kept)


def _recalls(
    compared: dict[str, Sides], distance: Distance, subject: Subject, labels: Tensor | None = None
) -> dict[str, Ways[Recall]]:
    table: dict[str, Ways[Recall]] = {}
    number = subject.pairing.number
    for name, (a, b) in compared.items():
        measured, space = (distance, subject.model.space) if name == "shared" else ("euclidean", None)
        ways = recall(a, b, labels, measured, space, (number["a"], number["b"]))
        table[name] = {way: figures for way, figures in ways.items() if figures}
    return {name: ways for name, ways in table.items() if ways}


def _unions(compared: dict[str, Sides], subject: Subject) -> Json:
    """Neighbours among the items of both domains, each of which is there once, and what chance would give. Empty where
    all other items are neighbours."""
    part, items, space = subject.paired, subject.pairing, subject.model.space
    assert part
    first = [torch.from_numpy(items.first[domain]) for domain in DOMAINS]
    if sum(map(len, first)) - 1 <= NEIGHBOURS:
        return {}
    pairs = torch.from_numpy(items.pairs)
    labels = part.label(np.arange(len(part)))
    table: Json = {"neighbours": NEIGHBOURS, "queries": {}, "chance": {}, **{name: {} for name in compared}}
    for own, (source, target) in enumerate((("a", "b"), ("b", "a"))):
        way, mine, theirs = f"{source}->{target}", first[own], first[1 - own]
        at = torch.from_numpy(evenly_spaced(np.arange(len(mine)), QUERIES))
        partners = pairs if own == 0 else pairs.flip(1)
        classes = None if labels is None else (torch.from_numpy(labels)[mine], torch.from_numpy(labels)[theirs])
        table["queries"][way] = len(at)
        table["chance"][way] = union_chance(len(mine), len(theirs), partners, classes, at)
        for name, pair in compared.items():
            vectors = [x.flatten(1).float() for x in pair]
            if name == "shared" and space:
                vectors = [space.prepared(x, d, subject.distance) for x, d in zip(pair, DOMAINS, strict=True)]
            table[name][way] = union(vectors[own][mine], vectors[1 - own][theirs], partners, classes, at)
    return table
