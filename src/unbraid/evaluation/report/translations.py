"""Translations of test images: how near they are to the truth, and the best, the middling and the worst."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unbraid.core.short import Short
from unbraid.core.types import Domain, other
from unbraid.data.equal import differ
from unbraid.data.items import derangement
from unbraid.evaluation.metrics.images import rms_distance
from unbraid.evaluation.report.content import Names, Row, Sheet
from unbraid.evaluation.report.embed import Picture, picture
from unbraid.evaluation.subject import Subject
from unbraid.model.codes import evaluating, evenly_spaced

COMPARED = 200
"""Test images of each domain that are translated and compared, at most."""
EACH = 2
"""Images shown as best, as middling and as worst."""
ROWS = 6
"""Images shown where no truth is known."""
VARIED = 3
"""Images of which several answers are shown."""
ANSWERS = 3


@dataclass(frozen=True)
class Compared(Short):
    """Translations of one way.

    names: of the inputs, (n,). x, generated: inputs and translations, (n, c, h, w). true: counterparts; None where they
    aren't known. measure: by what they are compared. own, another, copied: (n,) distances of the translation, of
    another image of the target domain and of the input from the truth; copied is None where its shape is another.
    coarse: how many percent of the translations are nearer to the truth than another image by their pixels.
    """

    source: Domain
    names: list[str]
    x: Tensor
    generated: Tensor
    true: Tensor | None
    measure: str
    own: Tensor
    another: Tensor
    copied: Tensor | None
    coarse: float = 0.0

    @property
    def way(self) -> str:
        """Returns the way, as metrics.json writes it."""
        return f"{self.source}->{other(self.source)}"


def compare(subject: Subject, source: Domain) -> Compared:
    """Translates test images of a domain and compares them with their counterparts, where these are known."""
    target, part = other(source), subject.part
    (items, rows), (targets, target_rows) = part.domain(source), part.domain(target)
    at = evenly_spaced(np.arange(len(rows)), subject.at_most(COMPARED))
    x, generated = subject.read(items, rows[at]), subject.translated(source, rows[at])
    known = part.names_of(source)
    names = [str(known[int(row)]) for row in rows[at]]
    none = torch.zeros(0)
    if part.pairs() is None:
        return Compared(source, names, x.cpu(), generated.cpu(), None, "", none, none, None)
    true = subject.read(targets, target_rows[at])

    def distance(images: Tensor, beside: Tensor) -> Tensor:
        found = subject.networks.looks({"images": images}, beside)["images"]
        return found.get("lpips", rms_distance(images, beside)).cpu()

    others = derangement(len(at))
    apart = np.flatnonzero(differ(targets, target_rows[at], target_rows[at[others]]))
    another = torch.full((len(at),), torch.nan)
    coarse = 0.0
    if len(apart):
        another[apart] = distance(true[others[apart]], true[apart])
        pixels = (rms_distance(images, true[apart]) for images in (generated[apart], true[others[apart]]))
        coarse = 100 * float(torch.lt(*pixels).float().mean())
    copied = None
    if x.shape[2:] == true.shape[2:] and (x.shape[1] == true.shape[1] or {x.shape[1], true.shape[1]} == {1, 3}):
        channels = max(x.shape[1], true.shape[1])
        copied = distance(x.expand(-1, channels, -1, -1), true.expand(-1, channels, -1, -1))
    measure = "LPIPS" if subject.networks.lpips and generated.shape[1] in (1, 3) else "distance of pixels"
    own = distance(generated, true)
    return Compared(source, names, x.cpu(), generated.cpu(), true.cpu(), measure, own, another, copied, coarse)


def ranked_sheet(found: Compared, names: Names) -> Sheet:
    """Returns the best, the middling and the worst translations of one way beside the truth."""
    assert found.true is not None
    order = found.own.argsort().tolist()
    count, middle = len(order), len(order) // 2
    each = min(EACH, max(1, count // 3))
    groups = {
        "best": order[:each],
        "median": order[middle - each // 2 : middle - each // 2 + each],
        "worst": order[-each:],
    }
    rows = [
        Row(
            (
                picture(found.x[i], f"input {found.names[i]}"),
                picture(found.generated[i], f"its translation, {found.measure} {found.own[i]:.3f}"),
                picture(found.true[i], "the true counterpart"),
            ),
            f"{group}, {_number(float(found.own[i]))}",
        )
        for group, chosen in groups.items()
        for i in chosen
    ]
    source, target = names[found.source], names[other(found.source)]
    words = (
        f"Test images that training never saw: the best, the median and the worst of {count} translations by "
        f"{found.measure} to the true image (0 is equal)."
    )
    return Sheet(f"{source} → {target}", words, tuple(rows), ("input", "translation", "truth"), "cards")


def plain_sheet(subject: Subject, found: Compared, names: Names) -> Sheet:
    """Returns translations of test images with no truth to compare them with, spread evenly over the test part; of a
    method without codes also what becomes of them on the way back. See `search_sheet`."""
    source, target = found.source, other(found.source)
    at = evenly_spaced(np.arange(len(found.x)), ROWS).tolist()
    columns, back = ["input", "translation"], None
    translator = subject.translator
    if translator and subject.codes is None and target in subject.sources:
        with evaluating(subject.model.method):
            back = translator.translate(found.generated[at].to(subject.device), target, source).cpu()
        columns.append("back again")
    rows = [
        Row(
            (
                picture(found.x[i], f"input {found.names[i]}"),
                picture(found.generated[i], "its translation"),
                *([picture(back[number], "the translation, translated back")] if back is not None else []),
            )
        )
        for number, i in enumerate(at)
    ]
    words = "Test images that training never saw, evenly spaced, not chosen. No true counterparts are known."
    return Sheet(f"{names[source]} → {names[target]}", words, tuple(rows), tuple(columns), "cards")


def several_sheet(subject: Subject, found: Compared, names: Names) -> Sheet | None:
    """Returns several answers to one image; None where nothing of the target can vary. See `search_sheet`."""
    source, target, model = found.source, other(found.source), subject.model
    if model.exclusive_size(target) == 0:
        return None
    at = evenly_spaced(np.arange(len(found.x)), VARIED + 2)[1:-1].tolist() or [0]
    answers = model.translate(found.x[at], source, target, samples=ANSWERS)
    columns = ["input", *(f"answer {number}" for number in range(1, ANSWERS + 1))]
    rows = []
    for number, i in enumerate(at):
        row: list[Picture] = [picture(found.x[i], f"input {found.names[i]}")]
        row += [picture(answer, f"answer {k}") for k, answer in enumerate(answers[number], 1)]
        if found.true is not None:
            guided = model.translate(found.x[i : i + 1], source, target, like=found.true[i : i + 1])[0, 0]
            row += [picture(guided, "answer guided by the truth"), picture(found.true[i], "the true counterpart")]
        rows.append(Row(tuple(row)))
    if found.true is not None:
        columns += ["guided", "truth"]
    words = f"What {names[target]} have of their own is drawn at random, the same draw in each column." + (
        " “Guided” takes it from the true counterpart instead." if found.true is not None else ""
    )
    return Sheet(f"{names[source]} → {names[target]}", words, tuple(rows), tuple(columns))


def _number(value: float) -> str:
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.1f}"
