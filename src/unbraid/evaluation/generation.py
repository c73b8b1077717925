"""What `evaluate` measures of the images that a model makes: analogies, samples beside true views, samples beside each
other, and retrieval by way of translation. Written once, on the protocols.

Images are compared in blocks, so that large ones need no more memory than small ones.
"""

import math
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unbraid.core.method import Disentangler, Translator
from unbraid.core.types import DOMAINS, Codes, ImageSpec, other
from unbraid.data.equal import Pairing, differ
from unbraid.data.parts import Items, PairedPart, Part, Recombining, Rows, identities, once, side, strangers
from unbraid.evaluation.measurements import Judges, mean, sampled
from unbraid.evaluation.metrics.images import rms_distance
from unbraid.evaluation.metrics.retrieval import FirstHits, distances, first_hits, recall_at
from unbraid.model.codes import decode_all, encode_all, sample_all, spread
from unbraid.model.trained import Trained

ANALOGIES = 2000
"""Analogies in each domain, at most."""
SEEN_FROM = 500
"""Images of each domain whose samples are compared with their true views, at most."""
VIEW_SAMPLES = 3
"""Samples for each of them, as in the paper."""
DIVERSE = 50
"""Images of each domain whose samples are compared with each other, at most."""
DIVERSE_SAMPLES = 10
SHORTLIST = 5
"""Real images, the nearest by rms distance, among which the nearest by LPIPS is looked for."""
THROUGH = 1000
"""Images of each domain that are translated to retrieve by, at most."""
THROUGH_SAMPLES = 10
VALUES = 16_000_000
"""Values of images that a block holds, about."""


class Found:
    """Distances of images from others, gathered block by block, by name."""

    def __init__(self) -> None:
        self.values: defaultdict[str, defaultdict[str, list[Tensor]]] = defaultdict(lambda: defaultdict(list))

    def add(self, name: str, values: dict[str, Tensor]) -> None:
        """(n,) each."""
        for distance, each in values.items():
            self.values[name][distance].append(each)

    def figures(self) -> dict[str, dict[str, float]]:
        """Means, and standard deviations of `distance` and `lpips`."""
        table: dict[str, dict[str, float]] = {}
        for name, values in self.values.items():
            table[name] = {}
            for distance, parts in values.items():
                each = torch.cat(parts)
                table[name][distance] = mean(each)
                if distance in ("distance", "lpips"):
                    table[name][f"{distance} deviation"] = round(float(each.std(correction=0)), 4)
        return table


def blocks(rows: Rows, shape: tuple[int, ...], times: int = 1) -> list[Rows]:
    """The rows in blocks, of which each may need `times` items of this shape."""
    size = max(1, VALUES // (times * math.prod(shape)))
    return np.array_split(rows, -(-len(rows) // size))


def _near(made: Tensor, true: Tensor, judges: Judges) -> dict[str, Tensor]:
    """The distances that are small for like images: (n,) each."""
    return {"distance": rms_distance(made, true), **judges.looks(made, true)}


def makes_images(model: Trained) -> bool:
    """Whether the model translates, and both domains are images."""
    return isinstance(model.method, Translator) and all(isinstance(model.spec[d], ImageSpec) for d in DOMAINS)


def analogy(model: Trained, part: Part, judges: Judges, limit: int | None, seed: int) -> dict[str, Any]:
    """The shared part of one image with the exclusive part of another of its domain, against the truth; by domain.

    copy: the query in place of an answer. again: the truth, from its own codes. Empty where no truth can be built.
    """
    if not (isinstance(part, PairedPart) and isinstance(model.method, Disentangler)):
        return {}
    table: dict[str, Any] = {}
    for domain in DOMAINS:
        items, rows = side(part, domain)
        rows = once(items, rows)
        if not isinstance(items, Recombining) or len(rows) < 2:
            continue
        queries, references = two_of(rows, min(ANALOGIES, limit or ANALOGIES), seed)
        found = Found()
        for at in blocks(np.arange(len(queries)), items.spec.shape, 8):
            query, reference = items.read(queries[at], 0), items.read(references[at], 0)
            truth = items.recombined(queries[at], references[at])
            shared, exclusive = (encode_all(model.method, x, domain) for x in (query, reference))
            answers = {
                "made": decode_all(model.method, Codes(shared.shared, exclusive.exclusive), domain),
                "copy": query,
                "again": decode_all(model.method, encode_all(model.method, truth, domain), domain),
            }
            for name, answer in answers.items():
                found.add(name, {"distance": rms_distance(answer, truth), **judges.each(answer, truth)})
        table[domain] = {"tasks": len(queries), **found.figures()}
    return table


def two_of(rows: Rows, count: int, seed: int) -> tuple[Rows, Rows]:
    """At most `count` different ordered pairs of two different rows, drawn by the seed."""
    rest = len(rows) - 1
    drawn = np.random.default_rng(seed).choice(len(rows) * rest, min(count, len(rows) * rest), replace=False)
    first, second = drawn // rest, drawn % rest
    return rows[first], rows[second + (second >= first)]


def nearest_view(model: Trained, part: Part, judges: Judges, limit: int | None, seed: int) -> dict[str, Any]:
    """Samples against the nearest of all true views of their input (Gonzalez-Garcia et al. 2018, table 2), both ways.

    random: a true view of another input, and not of this one, in place of a sample. Empty without pairs of images.
    """
    if not (isinstance(part, PairedPart) and makes_images(model) and isinstance(model.method, Disentangler)):
        return {}
    table: dict[str, Any] = {}
    for source in DOMAINS:
        (items, rows), (targets, _) = side(part, source), side(part, other(source))
        number = identities(items, rows)
        order = np.argsort(number, kind="stable")
        groups = np.split(rows[order], np.flatnonzero(np.diff(number[order])) + 1)  # of rows that show one input
        inputs = spread(np.arange(len(groups)), min(SEEN_FROM, limit or SEEN_FROM))
        views = [once(targets, groups[i]) for i in inputs]
        others = np.array([views[i][0] for i in strangers(len(inputs))])
        own = np.repeat(np.arange(len(inputs)), [len(some) for some in views])
        apart = np.ones(len(inputs), np.bool_)
        np.logical_and.at(apart, own, differ(targets, np.concatenate(views), others[own]))
        generator, found = torch.Generator().manual_seed(seed), Found()
        for at in blocks(np.arange(len(inputs)), targets.spec.shape, max(map(len, views)) + VIEW_SAMPLES):
            x = items.read(np.array([groups[inputs[i]][0] for i in at]), 0)
            true = targets.read(np.concatenate([views[i] for i in at]), 0)
            owner = torch.from_numpy(np.repeat(np.arange(len(at)), [len(views[i]) for i in at]))
            made = sample_all(model.method, x, source, VIEW_SAMPLES, generator)
            for answer in made.unbind(1):
                far = _near(answer[owner], true, judges)
                found.add("sample", {key: _least(each, owner, len(at)) for key, each in far.items()})
            if apart[at].any():
                far = _near(targets.read(others[at], 0)[owner], true, judges)
                known = torch.from_numpy(apart[at])
                found.add("random", {key: _least(each, owner, len(at))[known] for key, each in far.items()})
        counts = {"images": len(inputs), "samples": VIEW_SAMPLES, "views": sum(map(len, views)) / len(views)}
        table[f"{source}->{other(source)}"] = {**counts, **found.figures()}
    return table


def _least(values: Tensor, owner: Tensor, count: int) -> Tensor:
    """The least value of each owner. values, owner: (n,) -> (count,)."""
    return torch.full((count,), torch.inf).scatter_reduce(0, owner, values.float(), "amin")


def diversity(model: Trained, part: Part, judges: Judges, limit: int | None, seed: int) -> dict[str, Any]:
    """How far samples for one input are from each other, and a sample from the nearest real image, both ways.

    samples: pairs of samples for one input. real pairs: pairs of real images. sample to real, real to real: to the
    nearest of all (other) real images. Empty for what makes no images of codes.
    """
    if not (makes_images(model) and isinstance(model.method, Disentangler)):
        return {}
    count = min(DIVERSE, limit or DIVERSE)
    table: dict[str, Any] = {}
    for source in DOMAINS:
        (items, rows), (targets, target_rows) = side(part, source), side(part, other(source))
        inputs, gallery = spread(once(items, rows), count), once(targets, target_rows)
        generator, found, first = torch.Generator().manual_seed(seed), Found(), []
        for at in blocks(inputs, targets.spec.shape, DIVERSE_SAMPLES):
            made = sample_all(model.method, items.read(at, 0), source, DIVERSE_SAMPLES, generator)
            first.append(made[:, 0])
            for samples in made:
                found.add("samples", _among(samples, judges))
        found.add("sample to real", _nearest_real(torch.cat(first), targets, gallery, judges))
        if len(gallery) > 1:
            one, two = (targets.read(some, 0) for some in two_of(gallery, 5 * count, seed))
            found.add("real pairs", _near(one, two, judges))
            at = spread(np.arange(len(gallery)), count)
            real = targets.read(gallery[at], 0)
            found.add("real to real", _nearest_real(real, targets, gallery, judges, at))
        counts = {"images": len(inputs), "translations": DIVERSE_SAMPLES, "gallery": len(gallery)}
        table[f"{source}->{other(source)}"] = {**counts, **found.figures()}
    return table


def _among(images: Tensor, judges: Judges) -> dict[str, Tensor]:
    """Distances of all pairs of a few images, once each."""
    one, two = torch.triu_indices(len(images), len(images), 1)
    found = {"distance": rms_distance(images[one], images[two])}
    if judges.lpips and images.shape[1] in (1, 3):
        found["lpips"] = judges.lpips.among(images)[one, two]
    return found


def _nearest_real(
    images: Tensor, items: Items, gallery: Rows, judges: Judges, own: Rows | None = None
) -> dict[str, Tensor]:
    """Distance to the nearest real image; by LPIPS, to the nearest of the SHORTLIST nearest by rms distance.

    own: where in the gallery the images themselves are, which then don't count.
    """
    flat = images.flatten(1)
    far = torch.cat([distances(flat, items.read(some, 0).flatten(1)) for some in blocks(gallery, items.spec.shape)], 1)
    if own is not None:
        far[torch.arange(len(own)), torch.from_numpy(own)] = torch.inf
    short = far.topk(min(SHORTLIST, len(gallery) - (own is not None)), largest=False).indices
    near = [_near(images, items.read(gallery[column.numpy()], 0), judges) for column in short.T]
    return {name: torch.stack([one[name] for one in near]).amin(0) for name in near[0]}


def through_translation(model: Trained, part: Part, limit: int | None, seed: int) -> dict[str, Any]:
    """Recall of the real images nearest to any of an input's translations, by pixels; by pair and by label, both ways.

    Gonzalez-Garcia et al. 2018, section 4.4, retrieve so with a method that has no shared codes. Gallery and hits are
    those of `retrieval`. One translation of each where the method draws no codes. Empty without pairs of images.
    """
    if not (isinstance(part, PairedPart) and makes_images(model)):
        return {}
    pairing = Pairing.of(part)
    groups = {"pair": np.arange(len(part))}
    if part.labels is not None:
        groups["label"] = part.labels[part.rows]
    samples = THROUGH_SAMPLES if isinstance(model.method, Disentangler) else 1
    table: dict[str, Any] = {"queries": {}, "samples": samples, **{name: {} for name in groups}}
    for source in DOMAINS:
        (items, _), (targets, _) = side(part, source), side(part, other(source))
        first, gallery = pairing.first[source], part.rows[pairing.first[other(source)]]
        at = spread(np.arange(len(first)), min(THROUGH, limit or THROUGH))
        table["queries"][f"{source}->{other(source)}"] = len(at)
        generator = torch.Generator().manual_seed(seed)
        found: dict[str, list[FirstHits]] = {name: [] for name in groups}
        for some in blocks(at, targets.spec.shape, samples):
            x = items.read(part.rows[first[some]], 0)
            if isinstance(model.method, Disentangler):
                made = sample_all(model.method, x, source, samples, generator)
            else:
                made = sampled(model, x, source)[:, None]
            far = _far(made, targets, gallery)
            for name, of in groups.items():
                found[name].append(first_hits(far, torch.from_numpy(pairing.hits(of, source, some))))
        for name, blocks_of in found.items():
            if figures := recall_at(FirstHits.join(blocks_of)):
                table[name][f"{source}->{other(source)}"] = figures
    counts = set(table["queries"].values())
    table["queries"] = counts.pop() if len(counts) == 1 else table["queries"]
    return table if any(table[name] for name in groups) else {}


def _far(made: Tensor, items: Items, rows: Rows) -> Tensor:
    """Squared pixel distance of each real image from the nearest of an input's samples. (n, samples, ...) -> (n, g)."""
    flat = made.flatten(2).flatten(0, 1)
    nearest = [
        distances(flat, items.read(some, 0).flatten(1)).unflatten(0, made.shape[:2]).amin(1)
        for some in blocks(rows, items.spec.shape, 8)
    ]
    return torch.cat(nearest, 1)
