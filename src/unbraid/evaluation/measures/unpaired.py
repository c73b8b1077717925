"""One number for translations without their pairs: do they look like the target domain, and like their inputs?

It chooses the checkpoint of a method that trains without pairs. `benchmarks/unpaired_choice.py` measures how well it
agrees with the truth where that is known.

Legend: n inputs x and their translations, m real images of the target domain, d size of a feature vector.
"""

from typing import Any, TypedDict

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from unbraid.core.types import Domain, other
from unbraid.data.items import unique_rows
from unbraid.evaluation.measure import WAY, Block, Figures, Measure, ValidationFigures, cells
from unbraid.evaluation.measures.steganography import two_sides
from unbraid.evaluation.measures.translation import needs_translations
from unbraid.evaluation.metrics.images import kernel_distance
from unbraid.evaluation.networks import FEWEST, mean
from unbraid.evaluation.subject import Subject
from unbraid.model.codes import evenly_spaced
from unbraid.nn.pretrained.perceptual import SMALLEST

SCORE = "unpaired score"
"""What training logs."""
HIDDEN = "hidden LPIPS"
"""What training logs of pairs that are hidden from it."""
COMPARED = 200
"""Images of each domain, at most."""


class UnpairedResult(TypedDict, total=False):
    """As `UnpairedScore` says: `score`, and by way its parts."""

    unpaired: dict[str, Any]


class UnpairedScore(Measure[UnpairedResult]):
    """`likeness` and `content` of translations each way, percent, by features of a fixed network, and `score`, the mean
    over ways of their geometric mean.

    likeness: how much nearer translations are to the target domain than inputs are, by kernel distance. content: as
    `content_kept` says.
    """

    name = "unpaired"
    says = "without pairs: how far translations look like the target domain, and like their inputs"

    def applies(self, subject: Subject) -> str | None:
        """See `Measure.applies`."""
        if reason := needs_translations(subject):
            return reason
        if subject.networks.vgg is None:
            return "the weights of VGG16 are missing"
        shapes = [subject.model.spec[domain].shape for domain in ("a", "b")]
        if any(channels not in (1, 3) or min(*sides) < SMALLEST for channels, *sides in shapes):
            return f"VGG16 takes grey and colour images of at least {SMALLEST} x {SMALLEST}"
        few = min(len(unique_rows(*subject.part.domain(domain))) for domain in ("a", "b"))
        return f"the part has fewer than {FEWEST} different items of a domain" if few < FEWEST else None

    def by_default(self, subject: Subject) -> bool:
        """See `Measure.by_default`."""
        return subject.model.method.needs.hides_pairs

    def compute(self, subject: Subject) -> UnpairedResult:
        """See `Measure.compute`."""
        ways = {f"{source}->{other(source)}": _one_way(subject, source) for source in subject.sources}
        scores = [(way["likeness"] * way["content"]) ** 0.5 for way in ways.values()]
        return {"unpaired": {"score": round(sum(scores) / len(scores), 3), **ways}}

    def rows(self, metrics: UnpairedResult) -> list[Block]:
        """See `Measure.rows`."""
        found = metrics.get("unpaired", {})
        lines = [
            ("translations", way, *cells(values, ("likeness", "content"), ".1f"))
            for way, values in found.items()
            if isinstance(values, dict)
        ]
        return [Block(("without pairs, %", WAY, "likeness", "content"), lines)]

    def watches(self, subject: Subject) -> bool:
        """See `Measure.watches`."""
        return subject.model.method.needs.hides_pairs and self.applies(subject) is None

    def watch(self, subject: Subject) -> ValidationFigures:
        """Returns the score and its parts; and beside it, deciding nothing, LPIPS to counterparts that are known."""
        found = self.compute(subject).get("unpaired", {})
        figures: Figures = {SCORE: found["score"]}
        for source in subject.sources:
            way = f"{source}->{other(source)}"
            figures |= {f"{name} {way}": value for name, value in found[way].items()}
            figures |= {f"{HIDDEN} {way}": value for value in _hidden(subject, source)}
        return ValidationFigures(figures, found["score"])


def _one_way(subject: Subject, source: Domain) -> dict[str, float]:
    networks, count = subject.networks, subject.at_most(COMPARED)
    (items, rows), (targets, target_rows) = subject.part.domain(source), subject.part.domain(other(source))
    rows = evenly_spaced(unique_rows(items, rows), count)
    target_rows = evenly_spaced(unique_rows(targets, target_rows), count)
    x, y = (networks.features(subject.read(*some), real=True) for some in ((items, rows), (targets, target_rows)))
    translated = subject.translated_features(source, rows)
    apart = kernel_distance(x, y)
    likeness = 1 - kernel_distance(translated, y) / apart if apart > 0 else 0.0
    return {
        "likeness": round(100 * min(1.0, max(0.0, likeness)), 3),
        "content": round(100 * max(0.0, content_kept(translated, x)), 3),
    }


def _hidden(subject: Subject, source: Domain) -> list[float]:
    """Mean LPIPS of translations to their counterparts; empty without pairs."""
    if not subject.paired:
        return []
    _, rows, targets, target_rows = two_sides(subject.part, source, subject.at_most(COMPARED))
    true = subject.read(targets, target_rows)
    looks = subject.networks.looks({"translation": subject.translated(source, rows)}, true)["translation"]
    return [mean(values) for values in looks.values()]


def content_kept(translations: Float[Tensor, "n d"], inputs: Float[Tensor, "n d"]) -> float:
    """Returns how often a translation is more like its own input than like another one, taken from [1/2, 1] to [0, 1].

    1: each is nearest to its own. 0: as if translations had been shuffled, or were all alike. Both sets are compared by
    angle after their mean is taken away, so that what all have of their domain doesn't count.
    """
    one, two = (normalize(x.double() - x.double().mean(0), dim=1) for x in (translations, inputs))
    alike = one @ two.T
    own = alike.diagonal()[:, None]
    nearer = (own > alike).double() + 0.5 * (own == alike).double()
    others = ~torch.eye(len(one), dtype=torch.bool, device=one.device)
    return 2 * nearer[others].mean().item() - 1
