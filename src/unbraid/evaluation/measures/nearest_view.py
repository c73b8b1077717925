"""Samples beside the nearest true view of their input (Gonzalez-Garcia et al. 2018, table 2)."""

from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from unbraid.core.files import Json
from unbraid.core.types import DOMAINS, Domain, other
from unbraid.data.equal import differ
from unbraid.data.items import derangement, identities, unique_rows
from unbraid.evaluation.images import DistanceTable, blocks, near
from unbraid.evaluation.measure import Block, Measure, Ways
from unbraid.evaluation.measures.analogies import generated_block
from unbraid.evaluation.measures.translation import needs_translations
from unbraid.evaluation.subject import Subject
from unbraid.model.codes import evenly_spaced

INPUTS = 500
"""Images of each domain whose samples are compared with their true views, at most."""
SAMPLES = 3
"""Samples for each of them, as in the paper."""


class NearestViewResult(TypedDict, total=False):
    """As `NearestView` says, by way."""

    nearest_view: Ways[Json]


class NearestView(Measure[NearestViewResult]):
    """Samples against the nearest of all true views of their input, both ways.

    random: a true view of another input, and not of this one, in place of a sample.
    """

    name = "nearest_view"
    says = "distance of samples to the nearest true counterpart of their input"

    def applies(self, subject: Subject) -> str | None:
        """See `Measure.applies`."""
        if not subject.paired:
            return "it needs pairs"
        return needs_samples(subject)

    def compute(self, subject: Subject) -> NearestViewResult:
        """See `Measure.compute`."""
        return {"nearest_view": {f"{source}->{other(source)}": _one_way(subject, source) for source in DOMAINS}}

    def rows(self, metrics: NearestViewResult) -> list[Block]:
        """See `Measure.rows`."""
        return [generated_block("nearest view", metrics.get("nearest_view", {}))]


def needs_samples(subject: Subject) -> str | None:
    """Returns why a subject has no samples of images, or None if it has."""
    return needs_translations(subject) or (
        None if subject.codes else f"{subject.model.name} gives one answer to an input"
    )


def _one_way(subject: Subject, source: Domain) -> Json:
    (items, rows), (targets, _) = subject.part.domain(source), subject.part.domain(other(source))
    number = identities(items, rows)
    order = np.argsort(number, kind="stable")
    groups = np.split(rows[order], np.flatnonzero(np.diff(number[order])) + 1)  # of rows that show one input
    inputs = evenly_spaced(np.arange(len(groups)), subject.at_most(INPUTS))
    views = [unique_rows(targets, groups[i]) for i in inputs]
    others = np.array([views[i][0] for i in derangement(len(inputs))])
    own = np.repeat(np.arange(len(inputs)), [len(some) for some in views])
    apart = np.ones(len(inputs), np.bool_)
    np.logical_and.at(apart, own, differ(targets, np.concatenate(views), others[own]))
    generator, found = torch.Generator().manual_seed(subject.seed), DistanceTable()
    for at in blocks(np.arange(len(inputs)), targets.spec.shape, max(map(len, views)) + SAMPLES):
        own = subject.samples(source, np.array([groups[inputs[i]][0] for i in at]), SAMPLES, generator).unbind(1)
        true = subject.read(targets, np.concatenate([views[i] for i in at]))
        owner = torch.from_numpy(np.repeat(np.arange(len(at)), [len(views[i]) for i in at])).to(true.device)
        answers = {f"sample {i}": answer[owner] for i, answer in enumerate(own)}
        known = torch.from_numpy(apart[at]).to(true.device)
        if apart[at].any():
            answers["random"] = subject.read(targets, others[at])[owner]
        for name, far in near(answers, true, subject.networks).items():
            least = {key: _least(each, owner, len(at)) for key, each in far.items()}
            found.add(name.split()[0], {key: each[known] if name == "random" else each for key, each in least.items()})
    counts = {"images": len(inputs), "samples": SAMPLES, "views": sum(map(len, views)) / len(views)}
    return {**counts, **found.figures()}


def _least(values: Tensor, owner: Tensor, count: int) -> Tensor:
    """Returns the least value of each owner. values, owner: (n,) -> (count,)."""
    return torch.full((count,), torch.inf, device=values.device).scatter_reduce(0, owner, values.float(), "amin")
