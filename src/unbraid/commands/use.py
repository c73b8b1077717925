"""What a trained model does: `unbraid translate`, `analogy`, `transfer`, `swap`, `interpolate` and `encode`."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor

from unbraid.commands.folder import AnswerPrecision, Device, RunFolder, image_model
from unbraid.core.console import printable
from unbraid.core.files import write_atomically
from unbraid.core.progress import Meter
from unbraid.core.types import Codes, Domain, ImageSpec, UserError
from unbraid.model.inputs import ImageFiles
from unbraid.model.outputs import MADE, check_codes, check_file, check_folder

GRID_ROWS = 50
"""Rows of a picture of answers at most."""
LONGEST = 200
"""Bytes of an answer's name at most; file systems allow 255, with what is added to it."""
GRID_PIXELS = 100_000_000
"""Of one picture at most: three bytes of memory for each, twice."""

Images = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...")]
First = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FIRST")]
Second = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SECOND")]


def translate(
    run: RunFolder,
    images: Images,
    out: Path,
    source: Domain = "a",
    target: Domain | None = None,
    samples: int = 4,
    like: Path | None = None,
    seed: int = 0,
    device: Device = "auto",
    precision: AnswerPrecision = "fp32",
) -> None:
    """Shows images of one domain in the other: a file for each answer, and all of them in OUT/grid.png.

    Args:
        run: Folder of the run.
        images: Image files, or folders of them.
        out: Folder for the answers.
        source: The domain the images are from.
        target: The domain to show them in; the other one, if not given.
        samples: Answers for each image, drawn from what the model learned can vary; one where nothing can.
        like: Image of the target domain; answers take from it what the target domain has alone.
        seed: Seed of the answers.
    """
    from unbraid.core.types import other
    from unbraid.model.drawing import to_picture

    if samples < 1:
        raise UserError(f"--samples {samples}: at least 1")
    target = target or other(source)
    model = image_model(run, device, precision)
    files = ImageFiles(images, model.spec[source])
    reference = _one(like, model.spec[target]) if like else None
    if not like and samples > 1 and not model.exclusive_size(target):
        samples = 1
        print(f"One answer for each image: nothing of domain {target} varies in this model of {model.name}")
    asked = 1 if like else samples
    _drawn_rows(2 + asked, model.spec[target])
    names = _answer_names(files.files)
    made = (f"{name}-{number}.png" for name in names for number in range(1, asked + 1))
    check_folder(out, (*made, "grid.png"), [*images, *files.files, *([like] if like else [])])
    guide = [] if reference is None else [to_picture(reference[0])]

    def answered(x: Tensor) -> Iterator[dict[str, Image.Image]]:
        for row in model.translate(x, source, target, asked, reference, seed):
            yield {f"-{number}": to_picture(answer) for number, answer in enumerate(row, 1)}

    columns = ["input", *(["like", "answer"] if like else [f"sample {i + 1}" for i in range(samples)])]
    _write_answers("Translating", files, names, answered, out, columns, guide)


def analogy(
    run: RunFolder,
    shared: tuple[Path, ...],
    exclusive: tuple[Path, ...],
    out: Path,
    domain: Domain = "a",
    device: Device = "auto",
) -> None:
    """Draws a grid: what the image of the row shares with the other domain, with what that of the column has alone.

    Args:
        run: Folder of the run.
        shared: Images, or folders of them, that give the rows.
        exclusive: Images, or folders of them, that give the columns.
        out: PNG file.
        domain: The domain all images are from.
    """
    model = image_model(run, device)
    _draw_analogies(model, shared, exclusive, domain, out, "shared")


def transfer(
    run: RunFolder,
    content: tuple[Path, ...],
    class_: Annotated[tuple[Path, ...], tyro.conf.arg(name="class")],
    out: Path,
    device: Device = "auto",
) -> None:
    """Draws a grid: the class of the image before the row, with the content of the image over the column.

    Args:
        run: Folder of the run, of a method trained on labelled images.
        content: Images, or folders of them, that give the columns.
        class_: Images, or folders of them, that give the rows.
        out: PNG file.
    """
    model = image_model(run, device)
    if not model.spec.classes:
        raise UserError(f"{model.name} was not trained on labelled images; `unbraid analogy` draws what it exchanges")
    _draw_analogies(model, class_, content, "a", out, "class")


def swap(run: RunFolder, images: Images, label: str, value: str, out: Path, device: Device = "auto") -> None:
    """Shows images with another value of one label: a file for each, and all of them in OUT/grid.png.

    Args:
        run: Folder of the run, of a method trained on labelled images.
        images: Image files, or folders of them.
        label: Which label: a column of the CSV file, or what the data call it.
        value: The value to give it.
        out: Folder for the answers.
    """
    from unbraid.model.drawing import to_picture

    model = image_model(run, device)
    model.check_value(label, value)
    files = ImageFiles(images, model.spec.a)
    names = _answer_names(files.files)
    check_folder(out, (f"{name}.png" for name in (*names, "grid")), [*images, *files.files])

    def answered(x: Tensor) -> Iterator[dict[str, Image.Image]]:
        for answer in model.swap(x, label, value):
            yield {"": to_picture(answer)}

    _write_answers("Swapping", files, names, answered, out, ["input", printable(value)])


def interpolate(
    run: RunFolder,
    first: First,
    second: Second,
    out: Path,
    part: Literal["shared", "exclusive"] = "shared",
    domain: Domain = "a",
    steps: int = 9,
    device: Device = "auto",
) -> None:
    """Draws the way from one image to another along one part of the code, as a strip (PNG) and a GIF beside it.

    Args:
        run: Folder of the run.
        first: Image to start from.
        second: Image to go to.
        out: PNG file; the GIF gets the same name.
        part: What changes: what both domains have, or what this one has alone.
        domain: The domain both images are from.
        steps: Pictures on the way, both ends included.
    """
    from unbraid.model.drawing import grid, save_gif, save_picture

    if steps < 2:
        raise UserError(f"--steps {steps}: at least 2")
    model = image_model(run, device)
    animation = out.with_suffix(".gif")
    check_file(out, [first, second], animation)
    _check_size(1, steps + 2, model.spec[domain])
    start, end = _one(first, model.spec[domain]), _one(second, model.spec[domain])
    frames = model.interpolate(start, end, part, domain, steps)
    save_picture(grid([[start[0], *frames, end[0]]], ["first", *[""] * steps, "second"], [part]), out, MADE)
    save_gif(list(frames), animation, comment=MADE)
    print(f"Written: {out} and {animation}")


def encode(
    run: RunFolder,
    images: Images,
    out: Path,
    domain: Domain = "a",
    device: Device = "auto",
    precision: AnswerPrecision = "fp32",
) -> None:
    """Writes the codes of images to a .npz file with the arrays names, shared and exclusive.

    Args:
        run: Folder of the run.
        images: Image files, or folders of them.
        out: .npz file.
        domain: The domain the images are from.
    """
    model = image_model(run, device, precision)
    files = ImageFiles(images, model.spec[domain])
    names, found, kept = _answer_names(files.files), [], []
    check_codes(out, [*images, *files.files])
    with Meter("Encoding", len(files.files)) as meter:
        for at, x, looked_at in files.batches():
            found += [names[number] for number in at]
            kept.append(model.encode(x, domain))
            meter.advance(looked_at)
    codes = Codes(torch.cat([some.shared for some in kept]), torch.cat([some.exclusive for some in kept]))
    arrays = {"names": np.array(found), "shared": codes.shared.numpy(), "exclusive": codes.exclusive.numpy()}

    def save(file: Path) -> None:
        with file.open("wb") as opened:
            np.savez(opened, **arrays)  # none holds objects; NumPy 2.0 takes `allow_pickle` for an array

    write_atomically(out, save)
    print(f"Written: {out}: shared {codes.shared.shape}, exclusive {codes.exclusive.shape}".replace("torch.Size", ""))


def _write_answers(
    title: str,
    files: ImageFiles,
    names: Sequence[str],
    answered: Any,
    out: Path,
    columns: Sequence[str],
    guide: Sequence[Image.Image] = (),
) -> None:
    """Writes the answers to each image when they are made, OUT/NAME and what `answered` calls them, and in the end a
    picture of the first.

    answered: images (n, c, h, w) -> for each the answers by name. guide: what stands behind the image in each row.
    """
    from unbraid.model.drawing import grid, save_picture, to_picture

    rows: list[list[Image.Image]] = []
    drawn = min(GRID_ROWS, _drawn_rows(len(columns), files.spec))
    written = answers = 0
    with Meter(title, len(files.files)) as meter:
        for at, x, looked_at in files.batches(len(columns)):
            for number, image, made in zip(at, x, answered(x), strict=True):
                for name, picture in made.items():
                    save_picture(picture, out / f"{names[number]}{name}.png", MADE)
                answers, written = answers + 1, written + len(made)
                if len(rows) < drawn:
                    rows.append([to_picture(image), *guide, *made.values()])
            meter.advance(looked_at)
    save_picture(grid(rows, columns), out / "grid.png", MADE)
    some = f", the first {drawn}" if answers > drawn else ""
    print(f"Written: {written} pictures, and {out}/grid.png of them{some}")


def _draw_analogies(
    model: Any, rows: Sequence[Path], columns: Sequence[Path], domain: Domain, out: Path, title: str
) -> None:
    """Draws a grid of analogies, or of content transfer: `title` says what the image of the row gives, its shared code
    or its class."""
    from unbraid.model.drawing import grid, save_picture, to_picture

    spec = model.spec[domain]
    left, top = ImageFiles(rows, spec), ImageFiles(columns, spec)
    check_file(out, [*rows, *columns, *left.files, *top.files])
    _check_size(len(left.files) + 1, len(top.files) + 1, spec)
    row_files, x = left.read()
    column_files, y = top.read()

    def cells() -> Iterator[list[Image.Image | None]]:
        yield [None, *map(to_picture, y)]
        if title == "class":
            content, classes = model.encode(y, domain).shared, model.encode(x, domain).exclusive
            made = (model.decode(Codes(content, own.expand(len(y), -1)), domain) for own in classes)
        else:
            made = model.analogies(x, y, domain)
        for item, answers in zip(x, made, strict=True):
            yield [to_picture(item), *map(to_picture, answers)]

    names = [[printable(name) for name in _answer_names(files)] for files in (column_files, row_files)]
    save_picture(grid(cells(), [title, *names[0]], ["", *names[1]]), out, MADE)
    print(f"Written: {out}")


def _drawn_rows(columns: int, spec: ImageSpec) -> int:
    """How many rows of a grid there may be. UserError if not even one."""
    from unbraid.model.drawing import SMALLEST

    factor = max(1, -(-SMALLEST // min(spec.height, spec.width)))
    rows = GRID_PIXELS // (columns * spec.height * spec.width * factor**2)
    if not rows:
        raise UserError(
            f"{columns} images beside each other would have more than {GRID_PIXELS / 1e6:g} megapixels: ask for fewer"
        )
    return rows


def _check_size(rows: int, columns: int, spec: ImageSpec) -> None:
    """UserError if a grid would take more memory than there may be."""
    if rows > (most := _drawn_rows(columns, spec)):
        raise UserError(
            f"A picture of {rows} x {columns} images would have more than {GRID_PIXELS / 1e6:g} megapixels: with so "
            f"many columns, give {most - 1} images for the rows at most"
        )


def _one(path: Path, spec: ImageSpec) -> Tensor:
    return ImageFiles([path], spec).read()[1][:1]


def _answer_names(files: Sequence[Path]) -> list[str]:
    """Names for answers: the files' without folder and ending, numbered where two are alike, or one is called as the
    picture of all is."""
    names: dict[str, None] = {}
    for file in files:
        stem, count = file.stem, 1
        while len(os.fsencode(stem)) > LONGEST:
            stem = stem[:-1]
        name = stem
        while name in names or name == "grid":
            count += 1
            name = f"{stem}~{count}"
        names[name] = None
    return list(names)
