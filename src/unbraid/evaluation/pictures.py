"""The pictures that `evaluate` makes of the test part: translations, analogies, interpolations, content transfer."""

import contextlib
import re
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from unbraid.core.types import DOMAINS, Domain, ImageSpec, UserError, other
from unbraid.data.parts import Data, Part
from unbraid.evaluation.measures.steganography import NOISES, Cycle, noisy, rounded, two_sides
from unbraid.model.codes import evenly_spaced, read
from unbraid.model.drawing import grid, save_gif, save_picture, to_picture, transfer_grid
from unbraid.model.trained import Trained

PICTURED = 8
"""Items in a picture."""
EXAMPLES = 48
"""Items of a domain among the examples: enough to train on for a try."""
LONGEST = 100
"""Bytes of a domain's name in a file's, which names two and may have 255."""


CAPTIONS = {
    "translate-": "a test image in each row, with answers; `guided` has the counterpart's exclusive code, `true` is it",
    "analogy-": "what the row's image shares, with what the column's has alone",
    "transfer": "the class of the row's image, with the content of the column's",
    "swap-": "images with each value of a label",
    "interpolate-": "from one image to another along one part of the code",
    "cheat-": "there and back, undisturbed and with noise in between",
}
"""What there is to see in pictures, by how their names begin."""


def captions(folder: Path) -> list[tuple[Path, str]]:
    """Returns the first picture of each kind in a folder, and what there is to see in it."""
    kinds = ((sorted(folder.glob(f"{start}*.png")), text) for start, text in CAPTIONS.items())
    return [(files[0], text) for files, text in kinds if files]


def pictures(model: Trained, data: Data, folder: Path, seed: int) -> None:
    """Draws what a model does with test images. Vectors have no pictures.

    Args:
        model: The model.
        data: Its data.
        folder: Takes the pictures.
        seed: Of what is drawn at random.
    """
    if not model.spec.of_images:
        return
    if test := data.test.labelled():
        save_picture(transfer_grid(model.method, test, seed), folder / "transfer.png")
        if train := data.train.labelled():
            save_picture(transfer_grid(model.method, train, seed), folder / "transfer-training-classes.png")
        x = read(data.test, "a", PICTURED)
        _interpolations(model, x, "a", folder, "content", "class")
        if len(model.spec.labels) > 1 and model.method.as_latent():
            with contextlib.suppress(UserError):  # values have no codes if everything is amortised
                _swaps(model, x, folder)
        return
    for domain in DOMAINS:
        x = read(data.test, domain, PICTURED)
        y = read(data.test, other(domain), PICTURED) if data.test.pairs() else None
        if domain in model.method.sources():
            _translations(model, x, y, domain, folder / f"translate-{way_name(model, domain)}.png")
        if model.exclusive_size(domain) > 0:
            generated = model.analogy(x[:5], x[-5:], domain)
            rows = [[None, *x[-5:]], *([item, *row] for item, row in zip(x[:5], generated, strict=True))]
            save_picture(grid(rows, ["shared", "exclusive"]), folder / f"analogy-{file_name(model, domain)}.png")
            _interpolations(model, x, domain, folder)


def file_name(model: Trained, domain: Domain) -> str:
    """Returns a domain's name as it stands in files' names: as a or b if it is long or the other's is the same."""
    mine, others = (re.sub(r"[^\w-]+", "-", model.spec.name(side)) for side in (domain, other(domain)))
    return domain if len(mine.encode()) > LONGEST or mine.casefold() == others.casefold() else mine


def way_name(model: Trained, source: Domain) -> str:
    """Returns a direction of translation as it stands in files' names, such as a-to-b."""
    return f"{file_name(model, source)}-to-{file_name(model, other(source))}"


def _swaps(model: Trained, x: Tensor, folder: Path) -> None:
    """Each image with each value of one label, a picture for each label."""
    for label, values in zip(model.spec.labels, model.spec.values, strict=True):
        drawn = values[:PICTURED]
        generated = torch.stack([model.swap(x, label, value) for value in drawn], 1)
        rows = [[item, *row] for item, row in zip(x, generated, strict=True)]
        save_picture(grid(rows, ["input", *drawn]), folder / f"swap-{label.replace('/', '_')}.png")


def _interpolations(
    model: Trained, x: Tensor, domain: Domain, folder: Path, shared: str = "shared", exclusive: str = "exclusive"
) -> None:
    parts: tuple[tuple[Literal["shared", "exclusive"], str], ...] = (("shared", shared), ("exclusive", exclusive))
    for what, name in parts:
        frames = model.interpolate(x[:1], x[-1:], what, domain)
        path = folder / f"interpolate-{name}-{file_name(model, domain)}.png"
        save_picture(grid([[x[0], *frames, x[-1]]], ["first", *[""] * len(frames), "second"]), path)
        save_gif(list(frames), path.with_suffix(".gif"))


def _translations(model: Trained, x: Tensor, y: Tensor | None, source: Domain, path: Path) -> None:
    """Samples; and with counterparts, the answer guided by them, and themselves. Where nothing of the target domain can
    vary, the one answer."""
    target = other(source)
    varies = model.exclusive_size(target) > 0
    columns = ["input", *([f"sample {i + 1}" for i in range(4)] if varies else ["answer"])]
    samples = model.translate(x, source, target, samples=len(columns) - 1)
    rows: list[list[Tensor]] = [[x[i], *samples[i]] for i in range(len(x))]
    if y is not None and not varies:
        rows = [[*row, y[i]] for i, row in enumerate(rows)]
        columns.append("true")
    elif y is not None:
        guided = [model.translate(x[i : i + 1], source, target, like=y[i : i + 1])[0, 0] for i in range(len(x))]
        rows = [[*row, guided[i], y[i]] for i, row in enumerate(rows)]
        columns += ["guided", "true"]
    save_picture(grid(rows, columns), path)


def draw_cycles(model: Trained, data: Data, folder: Path, seed: int) -> list[Path]:
    """Draws there and back from each domain: undisturbed, after rounding to 8 bits, with noise; and, where the domain
    has exclusive codes, the translation of another item decoded with them. See `pictures`. Returns the files; none
    without a way back."""
    written = []
    for source in DOMAINS if len(model.method.sources()) > 1 else ():
        cycle = Cycle(model, source)
        items, rows, targets, target_rows = two_sides(data.test, source, PICTURED)
        x, y = items.read(rows, 0), targets.read(target_rows, 0)
        own, style = cycle.exclusive(x, source), cycle.exclusive(y, cycle.target)
        there = cycle.there(x, style)
        columns = {"input": x, "there": there}
        if data.test.pairs():
            columns["true"] = y
        columns["back"] = cycle.back(there, own)
        columns["8 bits"] = cycle.back(rounded(there), own)
        columns[f"noise {NOISES[2]:g}"] = cycle.back(noisy(there, NOISES[2], seed), own)
        if own is not None and own.shape[1]:
            theirs = there.roll(len(there) // 2, 0)
            mixed = cycle.back(theirs, own)
            columns |= {"another's": theirs, "mixed": mixed, "read out": cycle.there(mixed, style)}
        path = folder / f"cheat-{way_name(model, source)}.png"
        save_picture(grid(list(zip(*columns.values(), strict=True)), list(columns)), path)
        written.append(path)
    return written


def examples(data: Data, folder: Path) -> None:
    """Writes EXAMPLES test images as PNG files, to try the commands on: folder/a/NAME.png and folder/b/NAME.png, or,
    with labels, folder/NAME.png. See `pictures`."""
    part = data.test
    for domain in ("a",) if part.labelled() else DOMAINS:
        rows, names = part.domain(domain)[1], part.names_of(domain)
        place = folder if part.labelled() else folder / domain
        _write(part, domain, [str(names[int(row)]) for row in evenly_spaced(rows, EXAMPLES)], place, data)


def _write(part: Part, domain: Domain, names: list[str], folder: Path, data: Data) -> None:
    if isinstance(data.spec[domain], ImageSpec):
        for name, x in zip(names, read(part, domain, len(names)), strict=True):
            save_picture(to_picture(x), folder / f"{name.replace('/', '_')}.png")
