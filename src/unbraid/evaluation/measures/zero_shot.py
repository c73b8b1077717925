"""Retrieval among classes that training never saw: average precision and precision at 100, beside the features' own.

The experiment of section 4.2.2 of the IIAE paper (Hwang et al. 2020): a query is an item of one domain, the gallery all
items of the other, a hit any item of the query's class. It is measured where items have classes and no pairs.

Legend: n items of a, m items of b.
"""

from typing import TypedDict, get_args

import numpy as np
import torch
from torch import Tensor

from unbraid.core.config import Distance
from unbraid.core.files import Json
from unbraid.core.types import DOMAINS, VectorSpec
from unbraid.data.features import unheaded
from unbraid.data.parts import Part
from unbraid.evaluation.measure import WAY, Block, Measure, ValidationFigures, cells
from unbraid.evaluation.measures.retrieval import share
from unbraid.evaluation.metrics.retrieval import label_figures, signs
from unbraid.evaluation.subject import Subject
from unbraid.model.space import CodeSpace

Pair = tuple[Tensor, Tensor]
PRECISION_AT = 100


def says_nothing(part: Part) -> str | None:
    """Returns why retrieval by class says nothing of a part, or None if a query can both hit and miss, either way."""
    a, b = (np.unique(side) for side in _labels(part))
    if len(np.union1d(a, b)) == 1:
        return "a single class, so that every item is a hit"
    if not len(np.intersect1d(a, b)):
        return "no class in both domains, so that there are no hits"
    if min(len(a), len(b)) == 1:
        return "a single class in one domain, so that every item there is a hit or none is"
    return None


def prepared(codes: Pair, distance: Distance, space: CodeSpace | None) -> Pair:
    """Returns shared codes as compared, without a space by Euclidean distance. See `CodeSpace.prepared`."""
    if space is None:
        return codes[0].flatten(1).float(), codes[1].flatten(1).float()
    a, b = (space.prepared(code, domain, distance) for code, domain in zip(codes, DOMAINS, strict=True))
    return a, b


def both_ways(vectors: Pair, part: Part) -> dict[str, Json]:
    """Returns the figures of `label_figures` with queries from a, and from b. vectors: (n, d) and (m, d)."""
    a, b = vectors
    labels = [torch.from_numpy(np.asarray(some)) for some in _labels(part)]
    return {
        "a->b": label_figures(a, b, labels[0], labels[1], precision_at=PRECISION_AT),
        "b->a": label_figures(b, a, labels[1], labels[0], precision_at=PRECISION_AT),
    }


def _labels(part: Part) -> list[np.ndarray]:
    """Returns the classes of the items of a and of b."""
    labels = ((part.labels_of(domain), part.domain(domain)[1]) for domain in DOMAINS)
    return [known[rows] for known, rows in labels if known is not None]


def by_angle(vectors: Pair) -> Pair:
    """Returns vectors of length 1."""
    a, b = (torch.nn.functional.normalize(x.flatten(1).float(), dim=1) for x in vectors)
    return a, b


class ZeroShotResult(TypedDict, total=False):
    """As `ZeroShot` says, by way."""

    zero_shot: Json


class ZeroShot(Measure[ZeroShotResult]):
    """Retrieval by class; `map` and `p_at_100` are with queries from b, sketches say.

    shared: by the run's distance, and by the others. binary: signs of the shared code, by Hamming distance. exclusive:
    by angle; near chance is good. features: what the method was given, by angle, as it is and with each domain's mean
    over this part taken away; before the head: the same before a head was tuned.
    """

    name = "zero_shot"
    says = "retrieval by class among classes that training never saw"

    def applies(self, subject: Subject) -> str | None:
        """See `Measure.applies`."""
        if not subject.classes:
            return "it needs classes and no pairs"
        return None if subject.codes else f"{subject.model.name} has no codes"

    def compute(self, subject: Subject) -> ZeroShotResult:
        """See `Measure.compute`."""
        part, distance, space = subject.part, subject.distance, subject.model.space
        if says_nothing(part):
            return {}
        codes = [subject.encoded(domain) for domain in DOMAINS]
        shared = codes[0].shared, codes[1].shared
        table: Json = {"shared": {distance: both_ways(prepared(shared, distance, space), part)}}
        for elsewhere in get_args(Distance):
            if elsewhere != distance and space is not None:
                table["shared"][elsewhere] = both_ways(prepared(shared, elsewhere, space), part)
        binary = prepared(shared, distance, space)
        table["binary"] = both_ways((signs(binary[0]), signs(binary[1])), part)
        if codes[0].exclusive.shape[1] == codes[1].exclusive.shape[1] > 0:
            table["exclusive"] = both_ways(by_angle((codes[0].exclusive, codes[1].exclusive)), part)
        table |= _features(part)
        best = table["shared"][distance]["b->a"]
        figures = {"map": best["map"], f"p_at_{PRECISION_AT}": best[f"p_at_{PRECISION_AT}"]}
        if "raw" in table:
            figures["raw"] = {name: table["raw"]["cosine"]["b->a"][name] for name in figures}
            table["before the head"] = table.pop("raw")
        return {"zero_shot": {**figures, **_counts(part), **table}}

    def protocol(self, subject: Subject) -> Json:
        """See `Measure.protocol`."""
        return {"hit": "any item of the query's class, which training never saw", "distance": subject.distance}

    def missing(self, subject: Subject, result: ZeroShotResult) -> dict[str, str]:
        """See `Measure.missing`."""
        why = says_nothing(subject.part)
        return {"unseen classes": f"the test part has {why}"} if why else {}

    def rows(self, metrics: ZeroShotResult) -> list[Block]:
        """See `Measure.rows`."""
        found = metrics.get("zero_shot", {})
        rows = {f"shared ({name})": ways for name, ways in found.get("shared", {}).items()}
        rows |= {name: found[name] for name in ("binary", "exclusive") if name in found}
        for what, title in (("features", "features"), ("before the head", "raw features")):
            rows |= {f"{title} ({name})": ways for name, ways in found.get(what, {}).items()}
        lines = []
        for what, ways in rows.items():
            for way, values in ways.items():
                recall, rank = share(values["recall"], 1), f"{values['median_rank']:g}"
                lines.append((what, way, *cells(values, ("map", "p_at_100")), recall, rank))
        return [Block(("unseen classes", WAY, "mAP", "P@100", "recall@1, % (95 %)", "median rank"), lines)]

    def watch(self, subject: Subject) -> ValidationFigures:
        """Returns the mean average precision of shared codes both ways, percent."""
        part = subject.part
        if says_nothing(part):
            return ValidationFigures({}, 0.0)
        codes = [subject.encoded(domain, exclusive=False).shared for domain in DOMAINS]
        vectors = prepared((codes[0], codes[1]), subject.distance, subject.model.space)
        figures = {f"mAP {way}": 100 * values["map"] for way, values in both_ways(vectors, part).items()}
        return ValidationFigures(figures, sum(figures.values()) / 2)


def _features(part: Part) -> Json:
    """Returns what the method was given, and what was there before a head was tuned, where these are vectors of one
    size."""
    (a, rows_a), (b, rows_b) = (part.domain(domain) for domain in DOMAINS)
    given = a.read(rows_a, 0), b.read(rows_b, 0)
    before = unheaded(a).read(rows_a, 0), unheaded(b).read(rows_b, 0)
    table: Json = {}
    for name, pair in {"features": given, "raw": before}.items():
        if isinstance(a.spec, VectorSpec) and pair[0].shape[1] == pair[1].shape[1]:
            means = pair[0].mean(0), pair[1].mean(0)
            table[name] = {
                "cosine": both_ways(by_angle(pair), part),
                "centred cosine": both_ways(by_angle((pair[0] - means[0], pair[1] - means[1])), part),
            }
    return table


def _counts(part: Part) -> Json:
    """Returns what chance gives, how many queries and classes there are, and the highest precision that is possible."""
    labels = _labels(part)
    counts = [np.bincount(side, minlength=1 + max(some.max() for some in labels)) for side in labels]
    chance = float((counts[0] * counts[1]).sum() / len(labels[0]) / len(labels[1]))
    fewest = min(int(count[count > 0].min()) for count in counts)
    return {
        "chance": round(chance, 5),
        "queries": {"a->b": len(labels[0]), "b->a": len(labels[1])},
        "classes": int((counts[0] > 0).sum()),
        f"highest p_at_{PRECISION_AT}": round(min(1.0, fewest / PRECISION_AT), 5),
    }
