"""Steganography: does a translation hide what the way back needs (Harley et al. 2019, appendix A)?

Three measures, of any method that translates images there and back. x is an item of the source domain, y' its
translation, x'' what the way back makes of y'.

hidden pair   y' beside the true counterpart, whose pairing was hidden from training
decoding      what the way back makes of other items than y'. Of the true counterpart it should make x as well as of
              y'. Of another item's translation, with what x has alone, it should make something that shows that other
              item: if it still makes x, or if another pass reads out of it what it doesn't show, then something was
              hidden
sensitivity   x'' after y' was rounded to 8 bits a value or got a little noise. What shows survives that; what is hidden
              in small differences does not, and x'' jumps away from x

Legend: n items; values of images lie in [-1, 1].
"""

from collections.abc import Callable
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from unbraid.core.files import Json
from unbraid.core.types import Codes, Domain, other
from unbraid.data.equal import differ
from unbraid.data.items import Items, Recombining, Rows, derangement, unique_rows
from unbraid.data.parts import Part
from unbraid.evaluation.images import DistanceTable, blocks
from unbraid.evaluation.measure import WAY, Block, Measure, Ways, cells
from unbraid.evaluation.measures.through_translation import ThroughTranslation
from unbraid.evaluation.measures.translation import needs_translations
from unbraid.evaluation.metrics.images import rms_distance
from unbraid.evaluation.networks import Images
from unbraid.evaluation.subject import Subject
from unbraid.model.codes import decode_all, device_of, encode_all, evaluating, evenly_spaced
from unbraid.model.trained import Trained

CYCLED = 200
"""Images of each domain that go there and back, at most."""
FINEST = 100 / 255 / 12**0.5
"""How far rounding to 8 bits moves an image, by `rms_distance`. A way back that ends nearer to its input is exact."""
NOISES = (0.01, 0.02, 0.05, 0.1)
"""Standard deviations of the noise that y' gets; one step of 8 bits is 0.008."""


class Cycle:
    """A translation and the way back. `own`: exclusive codes of items of the source domain, (n, d), or None."""

    def __init__(self, model: Trained, source: Domain) -> None:
        self.model = model
        self.source: Domain = source
        self.target: Domain = other(source)
        self.codes = model.method.as_disentangler() is not None

    def exclusive(self, x: Tensor, domain: Domain) -> Tensor | None:
        """Returns the exclusive codes of items of a domain; None without codes."""
        return encode_all(self.model.method, x, domain).exclusive if self.codes else None

    def there(self, x: Tensor, style: Tensor | None) -> Tensor:
        """Returns y': x shown in the target domain, with these exclusive codes of it."""
        return self._translated(x, self.source, style)

    def back(self, y: Tensor, own: Tensor | None) -> Tensor:
        """Returns x'': y shown in the source domain, with these exclusive codes of it."""
        return self._translated(y, self.target, own)

    def _translated(self, x: Tensor, source: Domain, style: Tensor | None) -> Tensor:
        method = self.model.method
        if style is not None:
            return decode_all(method, Codes(encode_all(method, x, source).shared, style), other(source))
        translator = method.as_translator()
        assert translator
        with evaluating(method):
            return translator.translate(x.to(device_of(method)), source, other(source)).float()


def rounded(y: Tensor) -> Tensor:
    """Returns images as a file of 8 bits a value keeps them."""
    return ((y.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def noisy(y: Tensor, deviation: float, seed: int) -> Tensor:
    """Returns images with normal noise, the same for each call.

    Args:
        y: (n, c, h, w).
        deviation: Of the noise.
        seed: Of the noise.
    """
    return y + deviation * torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)).to(y.device)


def disturbances(seed: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Returns what is done to y', by name."""
    table: dict[str, Callable[[Tensor], Tensor]] = {"none": lambda y: y, "8 bits": rounded}
    for deviation in NOISES:
        table[f"noise {deviation:g}"] = lambda y, deviation=deviation: noisy(y, deviation, seed)
    return table


class SteganographyResult(TypedDict, total=False):
    """As `Steganography` says, by way."""

    hidden_pair: Ways[Json]
    cheat: Ways[Json]


class Steganography(Measure[SteganographyResult]):
    """`hidden_pair` and `cheat`, as the module says, each way that the model translates.

    hidden_pair, where pairs are known: `translation` beside the counterpart, and `random`, another image of the target
    domain in its place. Where the target domain has something alone, the translation gets the counterpart's. `lpips` is
    that of `translation`, `recall` recall@1 through translation, whose codes are drawn.
    cheat, where there is a way back: `decoding` and `sensitivity`. In `decoding`, `matched` is x'' beside x, `real` the
    same of the counterpart. Where the source domain has something alone, `mismatched` is E(y'_j, own_i) beside x_i,
    `others` another item beside x_i; `read out` is that translated again beside y'_j, `translations` another y' beside
    y'_j; `composition`, where the truth is known, E(y'_j, own_i) beside it.
    `jump` is how many times as far from x the way back ends after rounding as without, by root mean square; what is
    nearer than rounding moves an image counts as that far.
    """

    name = "steganography"
    says = "does a translation hide what the way back needs? what rounding and noise do to the way back"

    def applies(self, subject: Subject) -> str | None:
        """See `Measure.applies`."""
        if len(subject.sources) < 2 and not subject.paired:
            return f"{subject.model.name} translates one way, and no pairs are known"
        return needs_translations(subject)

    def by_default(self, subject: Subject) -> bool:
        """See `Measure.by_default`."""
        return subject.model.method.needs.hides_pairs

    def compute(self, subject: Subject) -> SteganographyResult:
        """See `Measure.compute`."""
        hidden: Ways[Json] = {}
        cheat: Ways[Json] = {}
        for source in subject.sources:
            way = f"{source}->{other(source)}"
            found = _Measured(Cycle(subject.model, source), subject)
            if subject.paired:
                hidden[way] = {"images": found.count, **_summary(subject, found, way), **found.hidden.figures()}
            if len(subject.sources) < 2:
                continue
            sensitivity = found.sensitivity.figures()
            clean, after = (max(sensitivity[name]["distance"], FINEST) for name in ("none", "8 bits"))
            cheat[way] = {
                "images": found.count,
                "decoding": found.decoding.figures(),
                "sensitivity": sensitivity,
                "jump": round(after / clean, 4),
            }
        result: SteganographyResult = {}
        if hidden:
            result["hidden_pair"] = hidden
        if cheat:
            result["cheat"] = cheat
        return result

    def rows(self, metrics: SteganographyResult) -> list[Block]:
        """See `Measure.rows`."""
        names = ("lpips", "psnr", "ssim", "distance")
        lines: list[tuple[str, ...]] = []
        ends: list[tuple[str, ...]] = []
        hidden, cheat = metrics.get("hidden_pair", {}), metrics.get("cheat", {})
        for way in {**hidden, **cheat}:
            groups = {
                "hidden pair": hidden.get(way, {}),
                "decoding": cheat.get(way, {}).get("decoding", {}),
                "disturbed by": cheat.get(way, {}).get("sensitivity", {}),
            }
            lines += [
                (f"{title}: {what}", way, *cells(values, names))
                for title, rows in groups.items()
                for what, values in rows.items()
                if isinstance(values, dict)
            ]
            end = cells(hidden.get(way, {}), ("recall",), ".2f") + cells(cheat.get(way, {}), ("jump",), ".3f")
            ends += [("translations", way, *end)] * any(end)
        titles = "through translation", WAY, "recall@1, %", "distance from the input after 8 bits, ratio"
        return [Block(("there and back", WAY, *names), lines), Block(titles, ends)]


def _summary(subject: Subject, found: "_Measured", way: str) -> dict[str, float]:
    """Returns the two figures of a translation that say most: LPIPS to the hidden counterpart, and how often it finds
    it."""
    through = ThroughTranslation().compute(subject).get("recall_through_translation", {})
    lpips = found.hidden.figures().get("translation", {}).get("lpips")
    recall = through.get("pair", {}).get(way, {}).get("1")
    return {name: value for name, value in (("lpips", lpips), ("recall", recall)) if value is not None}


class _Measured:
    """The distances of one way."""

    def __init__(self, cycle: Cycle, subject: Subject) -> None:
        self.cycle, self.subject = cycle, subject
        self.back = len(subject.sources) > 1
        self.hidden, self.decoding, self.sensitivity = DistanceTable(), DistanceTable(), DistanceTable()
        self.items, rows, self.targets, targets = two_sides(subject.part, cycle.source, subject.at_most(CYCLED))
        self.count = len(rows)
        partners = rows[derangement(len(rows))]
        for at in blocks(np.arange(self.count), self.items.spec.shape, 64):
            self._block(rows[at], targets[at], partners[at], paired=subject.paired is not None)

    def _block(self, rows: Rows, targets: Rows, partners: Rows, paired: bool) -> None:
        cycle = self.cycle
        x, y = self.subject.read(self.items, rows), self.subject.read(self.targets, targets)
        style, own = cycle.exclusive(y, cycle.target), cycle.exclusive(x, cycle.source)
        translation = cycle.there(x, style)
        if paired:
            self._add(self.hidden, {"translation": translation}, y)
            if len(apart := np.flatnonzero(differ(self.targets, targets, partners))):
                self._add(self.hidden, {"random": self.subject.read(self.targets, partners[apart])}, y[apart])
        if not self.back:
            return
        disturbed = disturbances(self.subject.seed).items()
        answers = {name: cycle.back(disturb(translation), own) for name, disturb in disturbed}
        far = self._far(answers | ({"real": cycle.back(y, own)} if paired else {}), x)
        for name in answers:
            self.sensitivity.add(name, far[name])
        self.decoding.add("matched", far["none"])
        if paired:
            self.decoding.add("real", far["real"])
        apart = np.flatnonzero(differ(self.items, rows, partners))
        if own is not None and own.shape[1] and len(apart):
            style = None if style is None else style[apart]
            self._mismatched(rows[apart], partners[apart], x[apart], own[apart], style)

    def _mismatched(self, rows: Rows, partners: Rows, x: Tensor, own: Tensor, style: Tensor | None) -> None:
        cycle = self.cycle
        theirs = self.subject.read(self.items, partners)
        foreign = cycle.there(theirs, style)
        mixed = cycle.back(foreign, own)
        self._add(self.decoding, {"mismatched": mixed, "others": theirs}, x)
        second = {"read out": cycle.there(mixed, style), "translations": cycle.there(x, style)}
        self._add(self.decoding, second, foreign)
        if isinstance(self.items, Recombining):
            composed = self.items.recombined(partners, rows).to(self.subject.device)
            self._add(self.decoding, {"composition": mixed}, composed)

    def _add(self, table: DistanceTable, generated: Images, true: Tensor) -> None:
        for name, far in self._far(generated, true).items():
            table.add(name, far)

    def _far(self, generated: Images, true: Tensor) -> dict[str, dict[str, Tensor]]:
        found = self.subject.networks.each(generated, true)
        return {name: {"distance": rms_distance(generated[name], true), **far} for name, far in found.items()}


def two_sides(part: Part, source: Domain, limit: int) -> tuple[Items, Rows, Items, Rows]:
    """Returns items of the source domain and as many of the target: counterparts, where pairs are known, else any.

    Args:
        part: Of the data.
        source: The domain.
        limit: Items of each, at most.
    """
    (items, rows), (targets, target_rows) = part.domain(source), part.domain(other(source))
    if part.pairs():
        rows = target_rows = evenly_spaced(unique_rows(items, rows), limit)
    else:
        rows = evenly_spaced(rows, limit)
        target_rows = np.resize(evenly_spaced(target_rows, limit), len(rows))
    return items, rows, targets, target_rows
