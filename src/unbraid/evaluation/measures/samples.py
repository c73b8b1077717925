"""How much samples for one input vary, and how near they are to real images."""

from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from unbraid.core.files import Json
from unbraid.core.types import DOMAINS, Domain, UserError, other
from unbraid.data.items import Items, Rows, unique_rows
from unbraid.evaluation.images import DistanceTable, blocks, near, two_of
from unbraid.evaluation.measure import Block, Figures, Measure, ValidationFigures, Ways
from unbraid.evaluation.measures.analogies import generated_block
from unbraid.evaluation.measures.nearest_view import needs_samples
from unbraid.evaluation.metrics.coverage import coverage, variety
from unbraid.evaluation.metrics.images import rms_distance
from unbraid.evaluation.metrics.retrieval import distances
from unbraid.evaluation.networks import PerceptualNetworks
from unbraid.evaluation.subject import Subject
from unbraid.model.codes import evenly_spaced, sample_all

DIVERSE = 50
"""Images of each domain whose samples are compared with each other, at most."""
SAMPLES = 10
"""Samples for each of them."""
SHORTLIST = 5
"""Real images, the nearest by rms distance, among which the nearest by LPIPS is looked for."""
VALIDATION_ITEMS = 100
"""Images of each domain that training translates to measure coverage and variety, at most."""
VALIDATION_SAMPLES = 4
"""Samples for each of them."""


class SamplesResult(TypedDict, total=False):
    """As `Samples` says, by way."""

    diversity: Ways[Json]


class Samples(Measure[SamplesResult]):
    """Measures how far samples for one input are from each other, and a sample from the nearest real image, both ways.

    samples: pairs of samples for one input. real pairs: pairs of real images. sample to real, real to real: to the
    nearest of all (other) real images.
    """

    name = "samples"
    says = "distance of samples for one input to each other, and to the nearest real image"

    def applies(self, subject: Subject) -> str | None:
        """See `Measure.applies`."""
        return needs_samples(subject)

    def compute(self, subject: Subject) -> SamplesResult:
        """See `Measure.compute`."""
        return {"diversity": {f"{source}->{other(source)}": _one_way(subject, source) for source in DOMAINS}}

    def rows(self, metrics: SamplesResult) -> list[Block]:
        """See `Measure.rows`."""
        return [generated_block("diversity", metrics.get("diversity", {}))]

    def watch(self, subject: Subject) -> ValidationFigures:
        """Returns how many of the held-out images' ways samples cover, and how much samples for one image vary,
        percent, both ways. Empty for what has nothing to draw codes from."""
        covered: Figures = {}
        varied: Figures = {}
        for source in DOMAINS:
            x, real = (_distinct(subject, domain) for domain in (source, other(source)))
            generator = torch.Generator().manual_seed(0)
            try:
                generated = sample_all(subject.model.method, x, source, VALIDATION_SAMPLES, generator)
            except UserError:
                return ValidationFigures()
            way = f"{source}->{other(source)}"
            if len(real) > 1:
                covered[f"coverage {way}"] = coverage(real, generated.flatten(0, 1))
                varied[f"variety {way}"] = variety(generated, real)
        return ValidationFigures({**covered, **varied})


def _one_way(subject: Subject, source: Domain) -> Json:
    networks, count = subject.networks, subject.at_most(DIVERSE)
    (items, rows), (targets, target_rows) = subject.part.domain(source), subject.part.domain(other(source))
    inputs, gallery = evenly_spaced(unique_rows(items, rows), count), unique_rows(targets, target_rows)
    generator, found, first = torch.Generator().manual_seed(subject.seed), DistanceTable(), []
    for at in blocks(inputs, targets.spec.shape, SAMPLES):
        generated = subject.samples(source, at, SAMPLES, generator)
        first.append(generated[:, 0])
        found.add("samples", _among(generated, networks))
    found.add("sample to real", _nearest_real(torch.cat(first), subject, targets, gallery))
    if len(gallery) > 1:
        one, two = (subject.read(targets, some) for some in two_of(gallery, 5 * count, subject.seed))
        found.add("real pairs", near({"": one}, two, networks)[""])
        at = evenly_spaced(np.arange(len(gallery)), count)
        real = subject.read(targets, gallery[at])
        found.add("real to real", _nearest_real(real, subject, targets, gallery, at))
    counts = {"images": len(inputs), "translations": SAMPLES, "gallery": len(gallery)}
    return {**counts, **found.figures()}


def _distinct(subject: Subject, domain: Domain) -> Tensor:
    items, rows = subject.part.domain(domain)
    return subject.read(items, evenly_spaced(unique_rows(items, rows), VALIDATION_ITEMS))


def _among(samples: Tensor, networks: PerceptualNetworks) -> dict[str, Tensor]:
    """Distances of all pairs of a few samples, once each, of input after input. samples: (n, samples, c, h, w)."""
    one, two = torch.triu_indices(samples.shape[1], samples.shape[1], 1, device=samples.device)
    found = {"distance": torch.cat([rms_distance(some[one], some[two]) for some in samples])}
    if networks.lpips and samples.shape[2] in (1, 3):
        found["lpips"] = networks.lpips.among(samples)[:, one, two].flatten()
    return found


def _nearest_real(
    images: Tensor, subject: Subject, items: Items, gallery: Rows, own: Rows | None = None
) -> dict[str, Tensor]:
    """Distance to the nearest real image; by LPIPS, to the nearest of the SHORTLIST nearest by rms distance.

    own: where in the gallery the images themselves are, which then don't count.
    """
    flat = images.flatten(1)
    some = blocks(gallery, items.spec.shape)
    far = torch.cat([distances(flat, subject.read(items, rows).flatten(1)) for rows in some], 1)
    if own is not None:
        far[torch.arange(len(own), device=far.device), torch.from_numpy(own).to(far.device)] = torch.inf
    short = far.topk(min(SHORTLIST, len(gallery) - (own is not None)), largest=False).indices.cpu().numpy()
    real = {str(place): subject.read(items, gallery[column]) for place, column in enumerate(short.T)}
    found = list(near(real, images, subject.networks).values())
    return {name: torch.stack([one[name] for one in found]).amin(0) for name in found[0]}
