"""Retrieval among classes that training never saw: average precision and precision at 100, beside the features' own.

The experiment of section 4.2.2 of the IIAE paper (Hwang et al. 2020): a query is an item of one domain, the gallery all
items of the other, a hit any item of the query's class. It is measured where items have classes and no pairs.

Legend: n items of a, m items of b.
"""

from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from unbraid.core.config import Distance
from unbraid.core.types import DOMAINS, VectorSpec
from unbraid.data.features import unheaded
from unbraid.data.parts import UnpairedPart
from unbraid.evaluation.metrics.retrieval import label_figures, signs
from unbraid.model.codes import encode_part
from unbraid.model.space import CodeSpace

Pair = tuple[Tensor, Tensor]
PRECISION_AT = 100


def has_classes(part: Any) -> bool:
    """Whether retrieval by class can be measured on a part."""
    return isinstance(part, UnpairedPart) and part.labels_a is not None and part.labels_b is not None


def class_count(part: UnpairedPart) -> int:
    """How many classes the items of a part have. With one, every item is a hit."""
    return len(np.unique(np.concatenate(_labels(part))))


def prepared(codes: Pair, distance: Distance, space: CodeSpace | None) -> Pair:
    """Shared codes of a and of b as they are compared; without a space by Euclidean distance."""
    if space is None:
        return codes[0].flatten(1).float(), codes[1].flatten(1).float()
    a, b = (space.prepared(code, domain, distance) for code, domain in zip(codes, DOMAINS, strict=True))
    return a, b


def both_ways(vectors: Pair, part: UnpairedPart) -> dict[str, dict[str, Any]]:
    """Figures of `label_figures` with queries from a, and with queries from b. vectors: (n, d) and (m, d)."""
    a, b = vectors
    labels = [torch.from_numpy(np.asarray(some)) for some in _labels(part)]
    return {
        "a->b": label_figures(a, b, labels[0], labels[1], precision_at=PRECISION_AT),
        "b->a": label_figures(b, a, labels[1], labels[0], precision_at=PRECISION_AT),
    }


def _labels(part: UnpairedPart) -> tuple[np.ndarray, np.ndarray]:
    assert part.labels_a is not None
    assert part.labels_b is not None
    return part.labels_a[part.rows_a], part.labels_b[part.rows_b]


def by_angle(vectors: Pair) -> Pair:
    """Vectors of length 1."""
    a, b = (torch.nn.functional.normalize(x.flatten(1).float(), dim=1) for x in vectors)
    return a, b


def zero_shot(method: Any, part: UnpairedPart, distance: Distance, space: CodeSpace | None) -> dict[str, Any]:
    """What metrics.json holds as `zero_shot`; `map` and `p_at_100` are with queries from b, sketches say. Empty for a
    single class.

    shared: by the run's distance, and by the others. binary: signs of the shared code, by Hamming distance. exclusive:
    by angle; near chance is good. features: what the method was given, by angle, as it is and with each domain's mean
    over this part taken away; raw: the same before a head was tuned.
    """
    if class_count(part) < 2:
        return {}
    codes = [encode_part(method, part, domain) for domain in DOMAINS]
    shared = codes[0].shared, codes[1].shared
    table: dict[str, Any] = {"shared": {distance: both_ways(prepared(shared, distance, space), part)}}
    for elsewhere in get_args(Distance):
        if elsewhere != distance and space is not None:
            table["shared"][elsewhere] = both_ways(prepared(shared, elsewhere, space), part)
    binary = prepared(shared, distance, space)
    table["binary"] = both_ways((signs(binary[0]), signs(binary[1])), part)
    if codes[0].exclusive.shape[1] == codes[1].exclusive.shape[1] > 0:
        table["exclusive"] = both_ways(by_angle((codes[0].exclusive, codes[1].exclusive)), part)
    given = part.a.read(part.rows_a, 0), part.b.read(part.rows_b, 0)
    before = unheaded(part.a).read(part.rows_a, 0), unheaded(part.b).read(part.rows_b, 0)
    for name, pair in {"features": given, "raw": before}.items():
        if isinstance(part.a.spec, VectorSpec) and pair[0].shape[1] == pair[1].shape[1]:
            means = pair[0].mean(0), pair[1].mean(0)
            table[name] = {
                "cosine": both_ways(by_angle(pair), part),
                "centred cosine": both_ways(by_angle((pair[0] - means[0], pair[1] - means[1])), part),
            }
    labels = _labels(part)
    counts = [np.bincount(side) for side in labels]
    chance = float((counts[0] * counts[1]).sum() / len(labels[0]) / len(labels[1]))
    best = table["shared"][distance]["b->a"]
    figures = {"map": best["map"], f"p_at_{PRECISION_AT}": best[f"p_at_{PRECISION_AT}"]}
    if "raw" in table:
        figures["raw"] = {name: table["raw"]["cosine"]["b->a"][name] for name in figures}
        table["before the head"] = table.pop("raw")
    fewest = min(int(count[count > 0].min()) for count in counts)
    return {
        **figures,
        "chance": round(chance, 5),
        "queries": {"a->b": len(labels[0]), "b->a": len(labels[1])},
        "classes": int((counts[0] > 0).sum()),
        f"highest p_at_{PRECISION_AT}": round(min(1.0, fewest / PRECISION_AT), 5),
        **table,
    }
