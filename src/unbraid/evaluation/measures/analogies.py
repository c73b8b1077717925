"""Analogies beside the truth, where the data can build it."""

from typing import Any, TypedDict

import numpy as np

from unbraid.core.files import Json
from unbraid.core.types import DOMAINS, Codes, Domain
from unbraid.data.items import Recombining, unique_rows
from unbraid.evaluation.images import DistanceTable, blocks, two_of
from unbraid.evaluation.measure import WAY, Block, Measure, cells
from unbraid.evaluation.metrics.images import rms_distance
from unbraid.evaluation.subject import Subject
from unbraid.model.codes import decode_all, encode_all

ANALOGIES = 2000
"""Analogies in each domain, at most."""
COLUMNS = ("distance", "distance deviation", "lpips", "lpips deviation", "psnr", "ssim")
HEADS = ("distance", "+-", "lpips", "+-", "psnr", "ssim")


class AnalogiesResult(TypedDict, total=False):
    """As `Analogies` says, by domain."""

    analogy: dict[Domain, Json]


class Analogies(Measure[AnalogiesResult]):
    """The shared part of one image with the exclusive part of another of its domain, against the truth.

    made: the answer. copy: the query in place of an answer. again: the truth, from its own codes.
    """

    name = "analogies"
    says = "the shared part of one image with the exclusive part of another, against the true image"

    def applies(self, subject: Subject) -> str | None:
        """See `Measure.applies`."""
        if not subject.paired:
            return "it needs pairs"
        if not subject.codes:
            return f"{subject.model.name} has no codes"
        known = any(isinstance(subject.part.domain(domain)[0], Recombining) for domain in DOMAINS)
        return None if known else "the data can't build the true images"

    def compute(self, subject: Subject) -> AnalogiesResult:
        """See `Measure.compute`."""
        table: dict[Domain, Json] = {}
        for domain in DOMAINS:
            if found := _of_domain(subject, domain):
                table[domain] = found
        return {"analogy": table} if table else {}

    def rows(self, metrics: AnalogiesResult) -> list[Block]:
        """See `Measure.rows`."""
        return [generated_block("analogy", metrics.get("analogy", {}))]


def generated_block(title: str, found: dict[Any, Json]) -> Block:
    """Returns distances of generated images as a table, a line for each way, or domain, and name."""
    lines = [
        (f"{title}: {what}", str(way), *cells(values, COLUMNS))
        for way, figures in found.items()
        for what, values in figures.items()
        if isinstance(values, dict)
    ]
    return Block(("made images", WAY, *HEADS), lines)


def _of_domain(subject: Subject, domain: Domain) -> Json:
    method, (items, rows) = subject.model.method, subject.part.domain(domain)
    rows = unique_rows(items, rows)
    if not isinstance(items, Recombining) or len(rows) < 2:
        return {}
    queries, references = two_of(rows, subject.at_most(ANALOGIES), subject.seed)
    found = DistanceTable()
    for at in blocks(np.arange(len(queries)), items.spec.shape, 8):
        truth = items.recombined(queries[at], references[at]).to(subject.device)
        shared, exclusive = (subject.codes_of(domain, some[at]) for some in (queries, references))
        answers = {
            "made": decode_all(method, Codes(shared.shared, exclusive.exclusive), domain),
            "copy": subject.read(items, queries[at]),
            "again": decode_all(method, encode_all(method, truth, domain), domain),
        }
        for name, distances in subject.networks.each(answers, truth).items():
            found.add(name, {"distance": rms_distance(answers[name], truth), **distances})
    return {"tasks": len(queries), **found.figures()}
