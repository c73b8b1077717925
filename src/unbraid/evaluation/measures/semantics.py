"""Semantics: does a translation show what is known of its input, such as its category, to a reader of real images?

A measure of translations without the pixels of a pair (Royer et al. 2017 show it by pictures alone).
"""

from collections.abc import Callable
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from unbraid.core.files import Json
from unbraid.core.types import Domain, ImageSpec, other
from unbraid.data.items import Rows, unique_rows
from unbraid.data.parts import Part
from unbraid.evaluation.measure import WAY, Block, Measure, Ways
from unbraid.evaluation.measures.translation import TRANSLATED, needs_translations
from unbraid.evaluation.metrics.attributes import AttributeReader, ImageReader, agreement, chance, many_of_each
from unbraid.evaluation.subject import Subject
from unbraid.model.codes import evenly_spaced

READ = 3000
"""Real images whose features a reader is fitted to, at most."""


class SemanticsResult(TypedDict, total=False):
    """As `Semantics` says, by way and attribute."""

    attributes: Ways[dict[str, Json]]


class Semantics(Measure[SemanticsResult]):
    """Counts, for each attribute of both domains, translations that show what their inputs do, percent, both ways.

    real: real images of the target domain in place of translations, the best that the reader allows. random: the same
    on average over all others, each compared with what another one should show. Readers are fitted to training images
    of the target domain: a network to the images where they are many, otherwise a classifier to VGG16's features.
    """

    name = "semantics"
    says = "attributes of the input that a reader of real images finds in its translation"

    def applies(self, subject: Subject) -> str | None:
        """See `Measure.applies`."""
        if reason := needs_translations(subject):
            return reason
        known = any(_names(subject, source) for source in subject.sources)
        return None if known else "no attribute is known in both domains"

    def compute(self, subject: Subject) -> SemanticsResult:
        """See `Measure.compute`."""
        table = {f"{source}->{other(source)}": way for source in subject.sources if (way := _one_way(subject, source))}
        return {"attributes": table} if table else {}

    def rows(self, metrics: SemanticsResult) -> list[Block]:
        """See `Measure.rows`."""
        kinds = ("translations", "real", "random")
        lines = []
        for way, found in metrics.get("attributes", {}).items():
            for name, figures in found.items():
                pairs = [(figures[kind]["accuracy"], figures[kind]["balanced"]) for kind in kinds]
                lines.append((name, way, *(f"{every:.2f} ({balanced:.2f})" for every, balanced in pairs)))
        return [Block(("attribute shown, % (balanced)", WAY, *kinds), lines)]


def _compared(subject: Subject, source: Domain) -> list[tuple[Part, Domain]]:
    """Returns what a reader is fitted to, what is translated, and what is real beside translations."""
    target = other(source)
    return [(subject.data.train, target), (subject.part, source), (subject.part, target)]


def _names(subject: Subject, source: Domain) -> list[str]:
    """Returns the attributes that are known of all of these."""
    known = [part.attributes_of(domain) for part, domain in _compared(subject, source)]
    return [name for name in known[0] if all(name in others for others in known)]


def _one_way(subject: Subject, source: Domain) -> Json:
    """Returns what is found by attribute."""
    compared, names = _compared(subject, source), _names(subject, source)
    if not names:
        return {}
    count = subject.at_most(TRANSLATED)
    known, inputs, real = (
        evenly_spaced(unique_rows(*part.domain(domain)), most)
        for (part, domain), most in zip(compared, (None, count, count), strict=True)
    )
    way: Json = {}
    for name in names:
        learned, wanted, true = (
            part.attributes_of(domain)[name][rows]
            for (part, domain), rows in zip(compared, (known, inputs, real), strict=True)
        )
        try:
            reader, translations, others = _reader(subject, source, (known, inputs, real), learned)
            way[name] = {
                "values": len(reader.known),
                "fitted to": reader.count,
                "translations": _agreement(reader, translations, wanted),
                "real": _agreement(reader, others, true),
                "random": _agreement(reader, others, true, chance),
            }
        except ValueError:  # one value only, too few images, or features without VGG16's weights
            continue
    return way


def _reader(
    subject: Subject, source: Domain, rows: tuple[Rows, Rows, Rows], values: np.ndarray
) -> tuple[ImageReader | AttributeReader, Tensor, Tensor]:
    """Returns a reader of images or features, and the translations and real images as it takes them: images if there
    are many of each value, otherwise features. Raises ValueError if there are too few of either."""
    (train, target), _, (part, _) = _compared(subject, source)
    known, inputs, real = rows
    items, others = train.domain(target)[0], part.domain(target)[0]
    if many_of_each(values) and isinstance(items.spec, ImageSpec):
        reader = ImageReader(lambda some: subject.read(items, some), known, values, subject.seed)
        return reader, subject.translated(source, inputs), subject.read(others, real)
    at = evenly_spaced(np.arange(len(known)), READ)
    features = subject.networks.features
    learned = AttributeReader(features(subject.read(items, known[at]), real=True), values[at])
    return learned, subject.translated_features(source, inputs), features(subject.read(others, real), real=True)


def _agreement(
    reader: ImageReader | AttributeReader,
    x: Tensor,
    wanted: np.ndarray,
    compare: Callable[[np.ndarray, np.ndarray], dict[str, float]] = agreement,
) -> dict[str, float]:
    """Returns how far readings of images or features agree with wanted values, and of how many: those whose value is
    known to the reader."""
    known = np.isin(wanted, reader.known)
    return {"images": int(known.sum()), **compare(reader.read(x[torch.from_numpy(known)]), wanted[known])}
