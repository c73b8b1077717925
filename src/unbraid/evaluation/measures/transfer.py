"""Content transfer: the class of one image with the content of another (Gabbay and Hoshen 2020)."""

from typing import Any, TypedDict

import numpy as np
import torch

from unbraid.core.files import Json
from unbraid.core.types import DOMAINS
from unbraid.evaluation.measure import WAY, Block, Measure, ValidationFigures, cells
from unbraid.evaluation.metrics.images import psnr
from unbraid.evaluation.metrics.transfer import transferred, transfers
from unbraid.evaluation.networks import mean
from unbraid.evaluation.subject import Subject
from unbraid.model.codes import decode_all, encode_rows, evenly_spaced

TRANSFERS = 2000
"""Content transfers that are compared, at most."""
VALIDATION_ITEMS = 500
"""Items, or transfers, that training measures, at most."""
DISTANCES = ("lpips", "psnr", "ssim", "frechet", "kernel")


class TransferResult(TypedDict, total=False):
    """As `Transfer` says: figures by what is beside the true image."""

    content_transfer: Json


class Transfer(Measure[TransferResult]):
    """The class of one image with the content of another, against the image that has both.

    class image: the image that gives the class in place of an answer. again: the true image, from its own codes.
    """

    name = "transfer"
    says = "the class of one image with the content of another, against the true image"

    def applies(self, subject: Subject) -> str | None:
        """See `Measure.applies`."""
        part = subject.labelled
        if not part:
            return "it needs images of one kind with labels"
        return None if len(self._tasks(subject)) else "the content of images isn't known"

    def compute(self, subject: Subject) -> TransferResult:
        """See `Measure.compute`."""
        part, networks, method = subject.labelled, subject.networks, subject.model.method
        assert part
        tasks = self._tasks(subject)
        true = subject.read(part.x, part.rows[tasks.truth])
        generated = transferred(method, part, tasks)
        codes = encode_rows(method, part, tasks.truth)
        answers = {
            "transfer": generated,
            "again": decode_all(method, codes, "a"),
            "class image": subject.read(part.x, part.rows[tasks.class_from]),
        }
        table = networks.pairs(answers, true)
        table["transfer"] |= networks.sets(networks.features(generated), networks.features(true, real=True))
        return {"content_transfer": {"tasks": len(tasks), **table}}

    def rows(self, metrics: TransferResult) -> list[Block]:
        """See `Measure.rows`."""
        return [distances_block({"": metrics.get("content_transfer", {})})]

    def watches(self, subject: Subject) -> bool:
        """See `Measure.watches`."""
        return True

    def watch(self, subject: Subject) -> ValidationFigures:
        """Returns the mean PSNR of held-out images from their own codes; of content transfers too, where the truth is
        known. The former needs no labels, and is the score."""
        method = subject.model.method
        part = subject.labelled
        if not part:
            limit = VALIDATION_ITEMS // 2
            sides = {domain: subject.part.domain(domain) for domain in DOMAINS}
            true = [subject.read(items, evenly_spaced(rows, limit)) for items, rows in sides.values()]
            generated = [decode_all(method, subject.encoded(domain, limit), domain) for domain in DOMAINS]
            figures = {"psnr": mean(psnr(torch.cat(generated), torch.cat(true)))}
            return ValidationFigures(figures, figures["psnr"])
        at = evenly_spaced(np.arange(len(part)), VALIDATION_ITEMS)
        generated = decode_all(method, encode_rows(method, part, at), "a")
        figures = {"psnr": mean(psnr(generated, subject.read(part.x, part.rows[at])))}
        tasks = transfers(part, VALIDATION_ITEMS, seed=0)
        if len(tasks):
            generated = transferred(method, part, tasks)
            figures["transfer_psnr"] = mean(psnr(generated, subject.read(part.x, part.rows[tasks.truth])))
        return ValidationFigures(figures, figures["psnr"])

    def _tasks(self, subject: Subject) -> Any:
        assert subject.labelled
        return transfers(subject.labelled, subject.at_most(TRANSFERS), subject.seed)


def distances_block(rows: dict[str, Json]) -> Block:
    """Returns distances of images as a table, a line for each name and what is compared."""
    lines = [
        (what, way, *cells(values, DISTANCES))
        for way, figures in rows.items()
        for what, values in figures.items()
        if isinstance(values, dict) and values
    ]
    return Block(("images", WAY, *DISTANCES), lines)
