"""Translations beside their true counterparts, and as a set beside the target domain."""

from typing import TypedDict

import numpy as np
from torch import Tensor

from unbraid.core.files import Json
from unbraid.core.types import Codes, Domain, other
from unbraid.data.equal import differ
from unbraid.data.items import Rows, derangement
from unbraid.evaluation.measure import Block, Figures, Measure, ValidationFigures, Ways
from unbraid.evaluation.measures.transfer import distances_block
from unbraid.evaluation.metrics.coverage import coverage
from unbraid.evaluation.networks import FEWEST
from unbraid.evaluation.subject import Subject
from unbraid.model.codes import decode_all, evenly_spaced

TRANSLATED = 500
"""Images of each domain that are translated and compared, at most."""
IN_TRAINING = 200
"""The same in training."""


class TranslationResult(TypedDict, total=False):
    """As `Translation` says, by way."""

    translation: Ways[Json]


class Translation(Measure[TranslationResult]):
    """Translations both ways, against true counterparts where they are known, and as a set against the target domain.

    sample: exclusive code drawn, one for each image. guided: exclusive code of the true counterpart. random: another
    image of the target domain in place of an answer. real: one half of the target domain against the other. coverage:
    how many of the real images the answers cover, percent.
    """

    name = "translation"
    says = "LPIPS, PSNR and SSIM of translations to the truth; Fréchet, kernel distance, coverage of the target domain"

    def applies(self, subject: Subject) -> str | None:
        """See `Measure.applies`."""
        return needs_translations(subject)

    def compute(self, subject: Subject) -> TranslationResult:
        """See `Measure.compute`."""
        return {"translation": {f"{source}->{other(source)}": _one_way(subject, source) for source in subject.sources}}

    def missing(self, subject: Subject, result: TranslationResult) -> dict[str, str]:
        """See `Measure.missing`."""
        if not subject.paired:
            return {}
        why = "there is no other item to take in place of an answer"
        return {f"{way} random": why for way, found in result.get("translation", {}).items() if "random" not in found}

    def rows(self, metrics: TranslationResult) -> list[Block]:
        """See `Measure.rows`."""
        return [distances_block(metrics.get("translation", {}))]

    def watches(self, subject: Subject) -> bool:
        """See `Measure.watches`."""
        return subject.paired is not None and self.applies(subject) is None

    def watch(self, subject: Subject) -> ValidationFigures:
        """Returns LPIPS and PSNR of translations to the truth. LPIPS chooses the model; without its weights, PSNR."""
        figures: Figures = {}
        for source in subject.sources:
            (_, rows), (targets, target_rows) = subject.part.domain(source), subject.part.domain(other(source))
            rows, target_rows = (evenly_spaced(some, subject.at_most(IN_TRAINING)) for some in (rows, target_rows))
            generated = {"sample": subject.translated(source, rows)}
            found = subject.networks.pairs(generated, subject.read(targets, target_rows))["sample"]
            names = {"LPIPS": "lpips", "PSNR": "psnr"}
            figures |= {f"{name} {source}->{other(source)}": found[key] for name, key in names.items() if key in found}
        looks = [value for name, value in figures.items() if name.startswith("LPIPS")]
        score = 100 * (1 - sum(looks) / len(looks)) if looks else sum(figures.values()) / len(figures)
        return ValidationFigures(figures, score)


def needs_translations(subject: Subject) -> str | None:
    """Returns why a subject's translations can't be looked at, or None if they can."""
    if subject.labelled:
        return "the items have labels and no second domain"
    return None if subject.translator else f"{subject.model.name} makes no images of one domain from the other"


def _one_way(subject: Subject, source: Domain) -> Json:
    part, networks, target, count = subject.part, subject.networks, other(source), subject.at_most(TRANSLATED)
    rows, (items, target_rows) = part.domain(source)[1], part.domain(target)
    rows, target_rows = evenly_spaced(rows, count), evenly_spaced(target_rows, count)
    y, generated = subject.read(items, target_rows), subject.translated(source, rows)
    figures: Json = {"images": len(rows)}
    if subject.paired:
        answers = {"sample": generated}
        if subject.codes:
            sides: tuple[tuple[Domain, Rows], ...] = ((source, rows), (target, target_rows))
            shared, exclusive = (subject.codes_of(d, at) for d, at in sides)
            answers["guided"] = decode_all(subject.model.method, Codes(shared.shared, exclusive.exclusive), target)
        figures |= networks.pairs(answers, y)
        others = derangement(len(y))
        if len(apart := np.flatnonzero(differ(items, target_rows, target_rows[others]))):
            figures |= networks.pairs({"random": y[others[apart]]}, y[apart])
    real = networks.features(y, real=True)
    translated = subject.translated_features(source, rows)
    figures["sample set"] = networks.sets(translated, real) | _covered(y, generated)
    figures["real set"] = networks.sets(real[::2], real[1::2]) | _covered(y[::2], y[1::2])
    return figures


def _covered(real: Tensor, generated: Tensor) -> dict[str, float]:
    """Returns the percentage of real images that generated ones cover; empty for few."""
    return {"coverage": round(coverage(real, generated), 2)} if min(len(real), len(generated)) >= FEWEST else {}
