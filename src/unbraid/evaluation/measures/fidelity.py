"""The distance of translations, as a set, to the target domain: FID and KID by Inception's features, and the same
distances by those of another network."""

from collections.abc import Callable
from typing import TypedDict

from torch import Tensor

from unbraid.core.files import Json
from unbraid.core.types import Domain, ImageSpec, other
from unbraid.evaluation.measure import Block, Figures, Measure, Ways
from unbraid.evaluation.measures.translation import needs_translations
from unbraid.evaluation.metrics.images import frechet_distance, kernel_distance
from unbraid.evaluation.networks import FEWEST
from unbraid.evaluation.subject import Subject
from unbraid.model.codes import evenly_spaced

COMPARED = 5000
"""Images of each domain, at most."""
NETWORK = "Inception v3 of torch-fidelity, 2,048 features; KID over the sets as they are"


class FidelityResult(TypedDict, total=False):
    """As `Fidelity` says, by way."""

    fidelity: Ways[Json]


class Fidelity(Measure[FidelityResult]):
    """FID and KID of translations both ways, with exclusive codes drawn, and of one half of the real images to the
    other.

    An FID of few images is too large: compare figures of equal numbers only.
    """

    name = "fidelity"
    says = "FID and KID by Inception, with --inception"

    def applies(self, subject: Subject) -> str | None:
        """See `Measure.applies`."""
        if reason := needs_translations(subject):
            return reason
        if subject.networks.inception is None:
            return "it is measured with --inception auto, or --inception FILE"
        return None if _colours(subject) else "Inception sees grey and colour images only"

    def compute(self, subject: Subject) -> FidelityResult:
        """See `Measure.compute`."""
        network = subject.networks.inception
        assert network is not None
        return {"fidelity": _both_ways(subject, network, ("fid", "kid"))}

    def protocol(self, subject: Subject) -> Json:
        """See `Measure.protocol`."""
        return {"fidelity": NETWORK}

    def rows(self, metrics: FidelityResult) -> list[Block]:
        """See `Measure.rows`."""
        lines = [
            f"{f'{way} {what}':<30}FID {values['fid']:<10.2f}KID {values['kid']:.5f}"
            for way, found in metrics.get("fidelity", {}).items()
            for what, values in found.items()
            if isinstance(values, dict) and values
        ]
        return [Block("FID and KID by Inception", lines)]


class FeatureDistancesResult(TypedDict, total=False):
    """As `FeatureDistances` says, by way."""

    feature_distances: Ways[Json]


class FeatureDistances(Measure[FeatureDistancesResult]):
    """Fréchet and kernel distance as `Fidelity` has them, by a network that is named."""

    name = "feature_distances"
    says = "Fréchet and kernel distance by a network of your choice, with --features"

    def applies(self, subject: Subject) -> str | None:
        """See `Measure.applies`."""
        if reason := needs_translations(subject):
            return reason
        if subject.networks.features_of is None:
            return "it is measured with --features timm/NAME"
        return None if _colours(subject) else "the network sees grey and colour images only"

    def compute(self, subject: Subject) -> FeatureDistancesResult:
        """See `Measure.compute`."""
        named = subject.networks.features_of
        assert named is not None
        return {"feature_distances": _both_ways(subject, named.features, ("frechet", "kernel"))}

    def protocol(self, subject: Subject) -> Json:
        """See `Measure.protocol`."""
        return {"feature_distances": subject.networks.features_of.name if subject.networks.features_of else ""}

    def rows(self, metrics: FeatureDistancesResult) -> list[Block]:
        """See `Measure.rows`."""
        lines = [
            f"{f'{way} {what}':<30}Fréchet {values['frechet']:<12.5g}kernel {values['kernel']:.5g}"
            for way, found in metrics.get("feature_distances", {}).items()
            for what, values in found.items()
            if isinstance(values, dict) and values
        ]
        return [Block("distances by the network of --features", lines)]


def _colours(subject: Subject) -> bool:
    specs = [subject.model.spec[domain] for domain in ("a", "b")]
    return all(isinstance(spec, ImageSpec) and spec.channels in (1, 3) for spec in specs)


def _both_ways(subject: Subject, network: Callable[[Tensor], Tensor], names: tuple[str, str]) -> Ways[Json]:
    return {f"{source}->{other(source)}": _one_way(subject, source, network, names) for source in subject.sources}


def _one_way(subject: Subject, source: Domain, network: Callable[[Tensor], Tensor], names: tuple[str, str]) -> Json:
    count = subject.at_most(COMPARED)
    rows, (items, target_rows) = subject.part.domain(source)[1], subject.part.domain(other(source))
    rows, target_rows = evenly_spaced(rows, count), evenly_spaced(target_rows, count)
    translated, real = network(subject.translated(source, rows)), network(subject.read(items, target_rows))
    figures: Json = {"images": len(rows), "real images": len(target_rows)}
    sets = {"sample set": (translated, real), "real set": (real[::2], real[1::2])}
    return {**figures, **{what: _distances(x, y, names) for what, (x, y) in sets.items()}}


def _distances(x: Tensor, y: Tensor, names: tuple[str, str]) -> Figures:
    if min(len(x), len(y)) < FEWEST:
        return {}
    x, y = x.cpu(), y.cpu()  # in float64, which not every device has
    return dict(zip(names, (round(frechet_distance(x, y), 4), round(kernel_distance(x, y), 6)), strict=True))
