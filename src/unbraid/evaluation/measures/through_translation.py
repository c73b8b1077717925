"""Retrieval by way of translation (Gonzalez-Garcia et al. 2018, section 4.4), for methods without shared codes too."""

from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from unbraid.core.files import Json
from unbraid.core.types import other
from unbraid.data.items import Items, Rows
from unbraid.evaluation.images import blocks
from unbraid.evaluation.measure import Block, Measure
from unbraid.evaluation.measures.retrieval import recall_block
from unbraid.evaluation.measures.translation import needs_translations
from unbraid.evaluation.metrics.retrieval import FirstHits, distances, first_hits, recall_at
from unbraid.evaluation.subject import Subject, sampled
from unbraid.model.codes import evenly_spaced

THROUGH = 1000
"""Images of each domain that are translated to retrieve by, at most."""
SAMPLES = 10
"""Translations of each of them."""


class ThroughTranslationResult(TypedDict, total=False):
    """As `ThroughTranslation` says: queries, samples, and recalls by hit and way."""

    recall_through_translation: Json


class ThroughTranslation(Measure[ThroughTranslationResult]):
    """Recall of the real images nearest to any of an input's translations, by pixels; by pair and by label, both ways.

    Gallery and hits are those of `Retrieval`. One translation of each where the method draws no codes.
    """

    name = "through_translation"
    says = "recall of counterparts by the pixels of translations"

    def applies(self, subject: Subject) -> str | None:
        """See `Measure.applies`."""
        return needs_translations(subject) if subject.paired else "it needs pairs"

    def compute(self, subject: Subject) -> ThroughTranslationResult:
        """See `Measure.compute`."""
        return subject.figures(self.name, lambda: self._compute(subject))

    def _compute(self, subject: Subject) -> ThroughTranslationResult:
        part, pairing = subject.paired, subject.pairing
        assert part
        groups = {"pair": np.arange(len(part))}
        if part.labels is not None:
            groups["label"] = part.labels[part.rows]
        samples = SAMPLES if subject.codes else 1
        table: Json = {"queries": {}, "samples": samples, **{name: {} for name in groups}}
        for source in subject.sources:
            (items, _), (targets, _) = part.domain(source), part.domain(other(source))
            first, gallery = pairing.first[source], part.rows[pairing.first[other(source)]]
            at = evenly_spaced(np.arange(len(first)), subject.at_most(THROUGH))
            table["queries"][f"{source}->{other(source)}"] = len(at)
            generator = torch.Generator().manual_seed(subject.seed)
            found: dict[str, list[FirstHits]] = {name: [] for name in groups}
            for some in blocks(at, targets.spec.shape, samples):
                rows = part.rows[first[some]]
                if subject.codes:
                    generated = subject.samples(source, rows, samples, generator)
                else:
                    generated = sampled(subject.model, items.read(rows, 0), source)[:, None]
                far = _far(generated, subject, targets, gallery)
                for name, of in groups.items():
                    hits = torch.from_numpy(pairing.hits(of, source, some)).to(far.device)
                    found[name].append(first_hits(far, hits))
            for name, blocks_of in found.items():
                if figures := recall_at(FirstHits.join(blocks_of)):
                    table[name][f"{source}->{other(source)}"] = figures
        counts = set(table["queries"].values())
        table["queries"] = counts.pop() if len(counts) == 1 else table["queries"]
        return {"recall_through_translation": table} if any(table[name] for name in groups) else {}

    def rows(self, metrics: ThroughTranslationResult) -> list[Block]:
        """See `Measure.rows`."""
        found = metrics.get("recall_through_translation", {})
        return [recall_block({f"translated ({hit})": found[hit] for hit in ("pair", "label") if hit in found})]


def _far(generated: Tensor, subject: Subject, items: Items, rows: Rows) -> Tensor:
    """Squared pixel distance of each real image from the nearest of an input's samples. (n, samples, ...) -> (n, g)."""
    flat = generated.flatten(2).flatten(0, 1)
    nearest = [
        distances(flat, subject.read(items, some).flatten(1)).unflatten(0, generated.shape[:2]).amin(1)
        for some in blocks(rows, items.spec.shape, 8)
    ]
    return torch.cat(nearest, 1)
