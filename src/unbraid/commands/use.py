"""What a trained model does: `unbraid translate`, `analogy`, `transfer`, `swap`, `interpolate` and `encode`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from torch import Tensor

from unbraid.commands.folder import RunFolder, image_model
from unbraid.data.images import read_image
from unbraid.files import keep_apart, write_atomically
from unbraid.inputs import read_files
from unbraid.types import Domain, UserError

GRID_ROWS = 50
"""Rows of a picture of answers at most."""

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
    from unbraid.show import grid, save_picture, to_picture
    from unbraid.types import other

    target = target or other(source)
    model = image_model(run)
    names, x = read_images(images, model.spec[source])
    reference = _one(like, model.spec[target]) if like else None
    if samples < 1:
        raise UserError(f"--samples {samples}: at least 1")
    if not like and samples > 1 and not model.exclusive_size(target):
        samples = 1
        print(f"One answer for each image: nothing of domain {target} varies in this model of {model.name}")
    asked = 1 if like else samples
    made = [f"{name}-{number}.png" for name in names for number in range(1, asked + 1)]
    keep_apart((out / name for name in (*made, "grid.png")), [*images, *([like] if like else [])])
    answers = model.translate(x, source, target, asked, reference, seed)
    for name, row in zip(names, answers, strict=True):
        for number, answer in enumerate(row, 1):
            save_picture(to_picture(answer), out / f"{name}-{number}.png")
    columns = ["input", *(["like", "answer"] if like else [f"sample {i + 1}" for i in range(samples)])]
    rows = [[x[i], *(reference if reference is not None else []), *answers[i]] for i in range(len(x))]
    save_picture(grid(rows[:GRID_ROWS], columns), out / "grid.png")
    some = f", the first {GRID_ROWS}" if len(rows) > GRID_ROWS else ""
    print(f"Written: {answers.shape[0] * answers.shape[1]} pictures, and {out}/grid.png of them{some}")


def analogy(
    run: RunFolder, shared: tuple[Path, ...], exclusive: tuple[Path, ...], out: Path, domain: Domain = "a"
) -> None:
    """Draws a grid: what the image of the row shares with the other domain, with what that of the column has alone.

    Args:
        run: Folder of the run.
        shared: Images, or folders of them, that give the rows.
        exclusive: Images, or folders of them, that give the columns.
        out: PNG file.
        domain: The domain all images are from.
    """
    from unbraid.show import grid, save_picture

    model = image_model(run)
    row_names, rows = read_images(shared, model.spec[domain])
    column_names, columns = read_images(exclusive, model.spec[domain])
    _check_png(out, [*shared, *exclusive])
    made = model.analogy(rows, columns, domain)
    cells: list[list[Tensor | None]] = [[None, *columns]]
    cells += [[item, *answers] for item, answers in zip(rows, made, strict=True)]
    save_picture(grid(cells, ["shared", *column_names], ["", *row_names]), out)
    print(f"Written: {out}")


def transfer(
    run: RunFolder,
    content: tuple[Path, ...],
    class_: Annotated[tuple[Path, ...], tyro.conf.arg(name="class")],
    out: Path,
) -> None:
    """Draws a grid: the class of the image before the row, with the content of the image over the column.

    Args:
        run: Folder of the run, of a method trained on labelled images.
        content: Images, or folders of them, that give the columns.
        class_: Images, or folders of them, that give the rows.
        out: PNG file.
    """
    from unbraid.show import grid, save_picture

    model = image_model(run)
    if not model.spec.classes:
        raise UserError(f"{model.name} was not trained on labelled images; `unbraid analogy` draws what it exchanges")
    row_names, rows = read_images(class_, model.spec.a)
    column_names, columns = read_images(content, model.spec.a)
    _check_png(out, [*content, *class_])
    made = model.analogy(columns, rows, "a")
    cells: list[list[Tensor | None]] = [[None, *columns]]
    cells += [[item, *made[:, i]] for i, item in enumerate(rows)]
    save_picture(grid(cells, ["class", *column_names], ["", *row_names]), out)
    print(f"Written: {out}")


def swap(run: RunFolder, images: Images, label: str, value: str, out: Path) -> None:
    """Shows images with another value of one label: a file for each, and all of them in OUT/grid.png.

    Args:
        run: Folder of the run, of a method trained on labelled images.
        images: Image files, or folders of them.
        label: Which label: a column of the CSV file, or what the data call it.
        value: The value to give it.
        out: Folder for the answers.
    """
    from unbraid.show import grid, save_picture, to_picture

    model = image_model(run)
    names, x = read_images(images, model.spec.a)
    keep_apart((out / f"{name}.png" for name in (*names, "grid")), images)
    made = model.swap(x, label, value)
    for name, answer in zip(names, made, strict=True):
        save_picture(to_picture(answer), out / f"{name}.png")
    rows = [[x[i], made[i]] for i in range(len(x))]
    save_picture(grid(rows[:GRID_ROWS], ["input", value]), out / "grid.png")
    print(f"Written: {len(made)} pictures, and {out}/grid.png of them")


def interpolate(
    run: RunFolder,
    first: First,
    second: Second,
    out: Path,
    part: Literal["shared", "exclusive"] = "shared",
    domain: Domain = "a",
    steps: int = 9,
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
    from unbraid.show import grid, save_gif, save_picture

    if steps < 2:
        raise UserError(f"--steps {steps}: at least 2")
    model = image_model(run)
    start, end = _one(first, model.spec[domain]), _one(second, model.spec[domain])
    _check_png(out, [first, second])
    frames = model.interpolate(start, end, part, domain, steps)
    save_picture(grid([[start[0], *frames, end[0]]], ["first", *[""] * steps, "second"], [part]), out)
    save_gif(list(frames), out.with_suffix(".gif"))
    print(f"Written: {out} and {out.with_suffix('.gif')}")


def encode(run: RunFolder, images: Images, out: Path, domain: Domain = "a") -> None:
    """Writes the codes of images to a .npz file with the arrays names, shared and exclusive.

    Args:
        run: Folder of the run.
        images: Image files, or folders of them.
        out: .npz file.
        domain: The domain the images are from.
    """
    model = image_model(run)
    names, x = read_images(images, model.spec[domain])
    keep_apart([out], images)
    codes = model.encode(x, domain)
    arrays = {"names": np.array(names), "shared": codes.shared.numpy(), "exclusive": codes.exclusive.numpy()}

    def save(file: Path) -> None:
        with file.open("wb") as opened:
            np.savez(opened, allow_pickle=False, **arrays)

    write_atomically(out, save)
    print(f"Written: {out}: shared {codes.shared.shape}, exclusive {codes.exclusive.shape}".replace("torch.Size", ""))


def _check_png(out: Path, given: Sequence[Path]) -> None:
    """UserError if a picture is to be written as something else, or over one of those given."""
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: a picture is written as PNG, so give a name that ends in .png")
    keep_apart([out, out.with_suffix(".gif")], given)


def _one(path: Path, spec: Any) -> Tensor:
    return read_image(path, spec)[None]


def read_images(paths: Sequence[Path], spec: Any) -> tuple[list[str], Tensor]:
    """The images of files and folders, as (names, (n, c, h, w)). One that can't be read is left out, and said.

    Names are the files' without folder and ending, numbered where two are alike, or one is called as the picture of all
    is. Raises UserError if none is left.
    """
    files, x = read_files(paths, spec)
    names: dict[str, None] = {}
    for file in files:
        name, count = file.stem, 1
        while name in names or name == "grid":
            count += 1
            name = f"{file.stem}~{count}"
        names[name] = None
    return [*names], x
