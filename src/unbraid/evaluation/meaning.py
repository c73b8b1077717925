"""Whether a translation means what its input means, measured without the pixels of a pair (Royer et al. 2017 show it by
pictures alone).

attributes     what is known of an input, such as its category, beside what its translation shows to a reader that was
               fitted to real images of the target domain
domain probe   how well the domain of an item is told from its shared code: by a reader fitted afresh, which is what
               counts, and by the classifier that plays along in training, if there is one

Legend: n items.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unbraid.core.types import DOMAINS, Domain, other
from unbraid.data.parts import Data, LabelledPart, Part, Rows, attributes_of, once, side
from unbraid.evaluation.generation import makes_images
from unbraid.evaluation.measurements import TRANSLATED, Judges, sampled
from unbraid.evaluation.metrics.attributes import AttributeReader, agreement, chance
from unbraid.model.codes import spread
from unbraid.model.log import read_log
from unbraid.model.trained import Trained

READ = 3000
"""Real images that a reader is fitted to, at most."""
DOMAIN_ACCURACY = "domain accuracy, %"
"""What methods call the accuracy of their own classifier of domains in the log."""


def attributes(model: Trained, data: Data, judges: Judges, limit: int | None) -> dict[str, Any]:
    """Of each attribute known in both domains, how many translations show what their inputs do, percent, both ways.

    real: real images of the target domain in place of translations, the best that the reader allows. random: the same
    on average over all others, each compared with what another one should show. Readers are fitted to features of
    training images. Empty without attributes, without VGG16's weights, or for images it can't see.
    """
    if not makes_images(model) or isinstance(data.test, LabelledPart):
        return {}
    count = min(TRANSLATED, limit or TRANSLATED)
    table: dict[str, Any] = {}
    for source in DOMAINS:
        target = other(source)
        known = [attributes_of(part, domain) for part, domain in _compared(data, source)]
        names = [name for name in known[0] if all(name in others for others in known)]
        if not names:
            continue
        (fitted, fitted_at), (inputs, inputs_at), (real, real_at) = (
            _some(part, domain, most)
            for (part, domain), most in zip(_compared(data, source), (READ, count, count), strict=True)
        )
        learned = judges.seen(fitted, real=True)
        if not learned.shape[1]:
            continue
        made, true = judges.seen(sampled(model, inputs, source)), judges.seen(real, real=True)
        way = {}
        for name in names:
            values = [others[name][rows] for others, rows in zip(known, (fitted_at, inputs_at, real_at), strict=True)]
            try:
                reader = AttributeReader(learned, values[0])
                way[name] = {
                    "values": len(reader.known),
                    "fitted to": reader.count,
                    "translations": _agreement(reader, made, values[1]),
                    "real": _agreement(reader, true, values[2]),
                    "random": _agreement(reader, true, values[2], chance),
                }
            except ValueError:  # one value only, or too few images
                continue
        if way:
            table[f"{source}->{target}"] = way
    return table


def domain_probe(probes: dict[str, Any], log: Path) -> dict[str, Any]:
    """How well the domain is told from shared codes of test items, by readers fitted afresh to three quarters of them,
    percent, beside chance, the lower of their controls, and whether both say anything; and by the classifier in
    training, at the end of the log. 50 is what guessing gives. Empty without codes.
    """
    found = probes.get("domain from shared", {})
    if "linear" not in found:
        return {}
    figures = {kind: found[kind]["accuracy"] for kind in ("linear", "mlp")}
    kinds = [found[kind] for kind in figures]
    figures |= {
        "chance": found["linear"]["chance"],
        "control": min(kind["control"] for kind in kinds),
        "conclusive": all(kind["conclusive"] for kind in kinds),
    }
    logged = [row.get("diagnostics", {}) for row in read_log(log)] if log.exists() else []
    accuracies = [row[DOMAIN_ACCURACY] for row in logged if DOMAIN_ACCURACY in row]
    return figures | ({"in training": round(accuracies[-1], 3)} if accuracies else {})


def _compared(data: Data, source: Domain) -> list[tuple[Part, Domain]]:
    """What a reader is fitted to, what is translated, and what is real beside translations."""
    target = other(source)
    return [(data.train, target), (data.test, source), (data.test, target)]


def _some(part: Part, domain: Domain, count: int) -> tuple[Tensor, Rows]:
    """At most so many items of one side, spread over it, and their rows."""
    items, rows = side(part, domain)
    rows = spread(once(items, rows), count)
    return items.read(rows, 0), rows


def _agreement(
    reader: AttributeReader,
    seen: Tensor,
    wanted: np.ndarray,
    compare: Callable[[np.ndarray, np.ndarray], dict[str, float]] = agreement,
) -> dict[str, float]:
    """Of the images whose value is one that the reader knows."""
    told = np.isin(wanted, reader.known)
    return {"images": int(told.sum()), **compare(reader.read(seen[torch.from_numpy(told)]), wanted[told])}
