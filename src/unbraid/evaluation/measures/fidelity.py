"""The distance of translations, as a set, to the target domain: FID and KID by Inception's features, and the same
distances by those of another network."""

from collections.abc import Callable

from torch import Tensor

from unbraid.core.files import Json
from unbraid.core.types import Domain, ImageSpec, other
from unbraid.evaluation.measure import WAY, Block, Figures, Measure, cells
from unbraid.evaluation.measures.translation import needs_translations
from unbraid.evaluation.metrics.images import frechet_distance, kernel_distance
from unbraid.evaluation.networks import FEWEST
from unbraid.evaluation.subject import Subject
from unbraid.model.codes import evenly_spaced

COMPARED = 5000
"""Images of each domain, at most."""
NETWORK = "Inception v3 of torch-fidelity, 2,048 features; KID over the sets as they are"


class Fidelity(Measure[Json]):
    """FID and KID of translations both ways, with exclusive codes drawn, and of one half of the real images to the
    other.

    An FID of few images is too large: compare figures of equal numbers only.
    """

    name = "fidelity"
    says = "FID and KID by Inception, with --inception"
    asked = "--inception auto, or --inception FILE"
    figures = ("fid", "kid")
    heading = "by Inception"

    def network(self, subject: Subject) -> Callable[[Tensor], Tensor] | None:
        """Returns what makes features (n, d) of images (n, c, h, w) in [-1, 1], None if it was not asked for."""
        return subject.networks.inception

    def applies(self, subject: Subject) -> str | None:
        """See `Measure.applies`."""
        if reason := needs_translations(subject):
            return reason
        if self.network(subject) is None:
            return f"it is measured with {self.asked}"
        specs = [subject.model.spec[domain] for domain in ("a", "b")]
        images = all(isinstance(spec, ImageSpec) and spec.channels in (1, 3) for spec in specs)
        return None if images else "the network sees grey and colour images only"

    def compute(self, subject: Subject) -> Json:
        """See `Measure.compute`."""
        network = self.network(subject)
        assert network is not None
        ways = {
            f"{source}->{other(source)}": _one_way(subject, source, network, self.figures) for source in subject.sources
        }
        return {self.name: ways}

    def protocol(self, subject: Subject) -> Json:
        """See `Measure.protocol`."""
        return {self.name: NETWORK}

    def rows(self, metrics: Json) -> list[Block]:
        """See `Measure.rows`."""
        lines = [
            (what, way, *cells(values, self.figures, ".5g"))
            for way, found in metrics.get(self.name, {}).items()
            for what, values in found.items()
            if isinstance(values, dict) and values
        ]
        return [Block((self.heading, WAY, *self.figures), lines)]


class FeatureDistances(Fidelity):
    """Fréchet and kernel distance as `Fidelity` has them, by a network that is named."""

    name = "feature_distances"
    says = "Fréchet and kernel distance by a network of your choice, with --features"
    asked = "--features timm/NAME"
    figures = ("frechet", "kernel")
    heading = "by the network of --features"

    def network(self, subject: Subject) -> Callable[[Tensor], Tensor] | None:
        """See `Fidelity.network`."""
        return subject.networks.features_of and subject.networks.features_of.features

    def protocol(self, subject: Subject) -> Json:
        """See `Measure.protocol`."""
        return {self.name: subject.networks.features_of.name if subject.networks.features_of else ""}


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
