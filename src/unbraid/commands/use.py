"""What a trained model does: `unbraid translate`, `analogy`, `transfer`, `swap`, `interpolate` and `encode`."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor

from unbraid.commands.folder import AnswerPrecision, Device, Images, RunFolder, image_model
from unbraid.core.console import printable
from unbraid.core.files import write_atomically
from unbraid.core.progress import Meter
from unbraid.core.types import Codes, Domain, ImageSpec, UserError, other
from unbraid.data.images import SUFFIXES, scaled
from unbraid.model.codes import evenly_spaced
from unbraid.model.drawing import SMALLEST, Picture, as_picture, grid, quantised, save_gif, save_picture, to_picture
from unbraid.model.inputs import Fitting, ImageFiles, View
from unbraid.model.outputs import (
    MARK,
    RECORD,
    FormatName,
    PictureFormat,
    Size,
    answered_before,
    check_codes,
    check_file,
    check_folder,
    check_tiles,
    format_of,
    record_answers,
    rendered,
)

GRID_ROWS = 50
"""Rows of a picture of answers at most."""
GRID_SIDE = 12
"""Images of folders along each side of a grid of analogies, at most."""
LONGEST = 200
"""Bytes of an answer's name at most; file systems allow 255, with what is added to it."""
GRID_PIXELS = 100_000_000
"""Of one picture at most: three bytes of memory for each, twice."""

First = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FIRST")]
Second = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SECOND")]

FIT = tyro.conf.arg(
    help="How images of other sizes are brought to the model's. cover: scaled to cover it, the middle kept; contain: "
    "scaled to lie within it, padded by their borders; tile (translate, swap): not scaled, but answered in overlapping "
    "tiles that are blended."
)


@dataclass(frozen=True)
class Pictures:
    """Flags that say how images are fitted and answers written."""

    fit: Annotated[Fitting, FIT] = "cover"
    size: Size = "model"
    """Of the answers: the model's, or that of the image, or what --fit kept of it. Tiles give the image's."""
    format: FormatName = "png"
    """Of the answers. png16: 16 bits a value."""
    quality: int = 90
    """Of JPEG and WebP, from 1 to 100."""


PictureFlags = Annotated[Pictures, tyro.conf.arg(name="")]


def translate(
    run: RunFolder,
    images: Images,
    out: Path,
    source: str = "a",
    target: str | None = None,
    samples: int | None = None,
    like: Path | None = None,
    seed: int = 0,
    pictures: PictureFlags = Pictures(),
    device: Device = "auto",
    precision: AnswerPrecision = "fp32",
) -> None:
    """Shows images of one domain in the other: a file for each answer, and the first of them in OUT/grid.png.

    The same command goes on with a folder where it was stopped: images that have their answers are left out.

    Args:
        run: Folder of the run.
        images: Image files, or folders of them.
        out: Folder for the answers; or a file, for one answer to one image.
        source: The domain the images are from.
        target: The domain to show them in; the other one, if not given.
        samples: Answers for each image, drawn from what the model learned can vary; one where nothing can. Four, if not
            given, or one for a file.
        like: Image of the target domain; answers take from it what the target domain has alone.
        seed: Seed of the answers.
    """
    if samples is not None and samples < 1:
        raise UserError(f"--samples {samples}: at least 1")
    model = image_model(run, device, precision)
    start = model.spec.domain(source, "--source")
    source, target = start, model.spec.domain(target, "--target") if target else other(start)
    answers = _Answers(model, images, out, pictures, model.spec[source], model.spec[target])
    asked = 1 if like or answers.one_file else 4 if samples is None else samples
    reference = _one(like, model.spec[target]) if like else None
    if not like and asked > 1 and not model.exclusive_size(target):
        asked = 1
        print(f"One answer for each image: nothing of {model.spec.called(target)} varies in this model of {model.name}")
    if answers.one_file and (samples or 1) > 1:
        raise UserError(f"--out {out} is one file: give --samples 1, or a folder")
    guide = [] if reference is None else [to_picture(reference[0])]
    columns = ["input", *(["like", "answer"] if like else [f"sample {i + 1}" for i in range(asked)])]
    settings = {"source": source, "target": target, "seed": seed, "like": _digest(like) if like else None}
    answers.check([f"-{number}" for number in range(1, asked + 1)], columns, settings, [like] if like else [])
    answers.write("Translating", lambda x: model.translate(x, source, target, asked, reference, seed), columns, guide)


def analogy(
    run: RunFolder,
    shared: tuple[Path, ...],
    exclusive: tuple[Path, ...],
    out: Path,
    domain: str = "a",
    device: Device = "auto",
) -> None:
    """Draws a grid: what the image of the row shares with the other domain, with what that of the column has alone.

    Args:
        run: Folder of the run.
        shared: Images, or folders of them, that give the rows; of folders 12 at most.
        exclusive: Images, or folders of them, that give the columns; of folders 12 at most.
        out: PNG file.
        domain: The domain all images are from.
    """
    model = image_model(run, device)
    _draw_analogies(model, shared, exclusive, model.spec.domain(domain, "--domain"), out, "shared")


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
        content: Images, or folders of them, that give the columns; of folders 12 at most.
        class_: Images, or folders of them, that give the rows; of folders 12 at most.
        out: PNG file.
    """
    model = image_model(run, device)
    if not model.spec.classes:
        raise UserError(f"{model.name} was not trained on labelled images; `unbraid analogy` draws what it exchanges")
    _draw_analogies(model, class_, content, "a", out, "class")


def swap(
    run: RunFolder,
    images: Images,
    label: str,
    value: str,
    out: Path,
    pictures: PictureFlags = Pictures(),
    device: Device = "auto",
) -> None:
    """Shows images with another value of one label: a file for each, and the first of them in OUT/grid.png.

    Args:
        run: Folder of the run, of a method trained on labelled images.
        images: Image files, or folders of them.
        label: Which label: a column of the CSV file, or what the data call it.
        value: The value to give it.
        out: Folder for the answers; or a file, for the answer to one image.
    """
    model = image_model(run, device)
    model.check_value(label, value)
    answers, columns = _Answers(model, images, out, pictures, model.spec.a, model.spec.a), ["input", printable(value)]
    answers.check([""], columns, {"label": label, "value": value}, [])
    answers.write("Swapping", lambda x: model.swap(x, label, value)[:, None], columns)


def interpolate(
    run: RunFolder,
    first: First,
    second: Second,
    out: Path,
    part: Literal["shared", "exclusive"] = "shared",
    domain: str = "a",
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
    if steps < 2:
        raise UserError(f"--steps {steps}: at least 2")
    model = image_model(run, device)
    animation = out.with_suffix(".gif")
    check_file(out, [first, second], animation)
    domain = model.spec.domain(domain, "--domain")
    _check_size(1, steps + 2, model.spec[domain])
    start, end = _one(first, model.spec[domain]), _one(second, model.spec[domain])
    frames = model.interpolate(start, end, part, domain, steps)
    save_picture(grid([[start[0], *frames, end[0]]], ["first", *[""] * steps, "second"], [part]), out, MARK)
    save_gif(list(frames), animation, comment=MARK)
    print(f"Written: {out} and {animation}")


def encode(
    run: RunFolder,
    images: Images,
    out: Path,
    domain: str = "a",
    fit: Annotated[Literal["cover", "contain"], FIT] = "cover",
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
    domain = model.spec.domain(domain, "--domain")
    files = ImageFiles(images, model.spec[domain], fit)
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


class _Answers:
    """Answers to image files, written one by one into a folder, or into one file. one_file: whether `out` is one."""

    def __init__(
        self, model: Any, images: Sequence[Path], out: Path, pictures: Pictures, source: ImageSpec, target: ImageSpec
    ) -> None:
        self.model, self.images, self.out, self.pictures, self.specs = model, images, out, pictures, (source, target)
        check_tiles(pictures.fit, self.specs)
        self.files = ImageFiles(images, source, pictures.fit)
        self.format = PictureFormat(pictures.format, pictures.quality)
        self.one_file = out.suffix.lower() in SUFFIXES and not out.is_dir()
        self.names: list[list[str]] = []
        self.done: set[int] = set()
        if self.one_file:
            self.format = format_of(out, self.format)
            if len(self.files.files) != 1:
                raise UserError(f"--out {out} is one file, for {len(self.files.files)} images: give a folder")

    def check(
        self, endings: Sequence[str], columns: Sequence[str], settings: dict[str, Any], guides: Sequence[Path]
    ) -> None:
        """Raises UserError if something would be lost; finds which images have their answers already.

        endings: of the answers' names. columns: of the picture of all. guides: images that were given with these.
        """
        given = [*self.images, *self.files.files, *guides]
        if self.one_file:
            self.names = [[self.out.name]]
            check_file(self.out, given, ending=self.out.suffix.lower())
            return
        _drawn_rows(len(columns), self.specs[1])
        stems = _answer_names(self.files.files)
        self.names = [[f"{stem}{ending}{self.format.ending}" for ending in endings] for stem in stems]
        from unbraid.search.identity import fingerprint

        self.settings = {
            "model": fingerprint(self.model.method, None),
            "precision": str(self.model.precision.dtype),
            **vars(self.pictures),
            **settings,
        }
        self.done = answered_before(self.out, self.settings, self.names, self.files.files)
        written = (name for number, own in enumerate(self.names) if number not in self.done for name in own)
        check_folder(self.out, (*written, "grid.png", RECORD), given)

    def write(
        self,
        title: str,
        answering: Callable[[Tensor], Tensor],
        columns: Sequence[str],
        guide: Sequence[Image.Image] = (),
    ) -> None:
        """Writes the answers to each image when they are made, and a picture of the first.

        answering: images (n, c, h, w) -> answers (n, k, c, h, w). guide: what stands behind the image in each row.
        """
        folder = self.out.parent if self.one_file else self.out
        drawn = 0 if self.one_file else min(GRID_ROWS, _drawn_rows(len(columns), self.specs[1]))
        if self.done:
            print(f"{len(self.done)} of {len(self.names)} images have their answers already: these stay as they are")
            drawn = 0 if (self.out / "grid.png").exists() else drawn
        if len(self.done) == len(self.names):
            return
        rows: list[list[Image.Image]] = []
        written = answers = 0
        with Meter(title, len(self.names) - len(self.done)) as meter:
            size, deep = self.pictures.size, self.format.deep
            stream = rendered(self._views(meter), self.specs, answering, len(columns), size, deep)
            for number, view, outputs in stream:
                if not (self.one_file or written):
                    record_answers(self.out, self.settings)
                for name, picture in zip(self.names[number], outputs, strict=True):
                    self.format.save(picture, folder / name)
                answers, written = answers + 1, written + len(outputs)
                if len(rows) < drawn:
                    rows.append([self._small(quantised(_input(view))), *guide, *map(self._small, outputs)])
                    if len(rows) == drawn:
                        self._draw(rows, columns)
        if rows and len(rows) < drawn:
            self._draw(rows, columns)
        if self.one_file:
            print(f"Written: {self.out}")
            return
        some = f", the first {drawn}" if answers > drawn else ""
        print(f"Written: {written} pictures{f', and {self.out}/grid.png of them{some}' if rows else ''}")

    def _views(self, meter: Meter) -> Iterator[tuple[int, View]]:
        for number, view in self.files.views(self.done):
            meter.advance(1)
            if view is not None:
                yield number, view

    def _small(self, picture: Picture) -> Image.Image:
        image = as_picture(picture)
        image.thumbnail((self.specs[1].width, self.specs[1].height))
        return image

    def _draw(self, rows: Sequence[Sequence[Image.Image]], columns: Sequence[str]) -> None:
        save_picture(grid(rows, columns), self.out / "grid.png", MARK)


def _input(view: View) -> Tensor:
    return scaled(view.x) if view.size is None else view.x


def _digest(file: Path) -> str:
    try:
        return sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}") from error


def _draw_analogies(
    model: Any, rows: Sequence[Path], columns: Sequence[Path], domain: Domain, out: Path, title: str
) -> None:
    """Draws analogies, or content transfer, by `title`: the row's image gives its shared code or its class."""
    spec = model.spec[domain]
    left, top = _side(rows, spec), _side(columns, spec)
    check_file(out, [*rows, *columns, *left.files, *top.files])
    _check_size(len(left.files) + 1, len(top.files) + 1, spec)
    row_files, x = left.read()
    column_files, y = top.read()

    def cells() -> Iterator[list[Image.Image | None]]:
        yield [None, *map(to_picture, y)]
        if title == "class":
            content, classes = model.encode(y, domain).shared, model.encode(x, domain).exclusive
            outputs = (model.decode(Codes(content, own.expand(len(y), -1)), domain) for own in classes)
        else:
            outputs = model.analogies(x, y, domain)
        for item, answers in zip(x, outputs, strict=True):
            yield [to_picture(item), *map(to_picture, answers)]

    names = [[printable(name) for name in _answer_names(files)] for files in (column_files, row_files)]
    save_picture(grid(cells(), [title, *names[0]], ["", *names[1]]), out, MARK)
    print(f"Written: {out}")


def _side(paths: Sequence[Path], spec: ImageSpec) -> ImageFiles:
    """Returns the images along a side of a grid: all files that are named, some of a large folder's."""
    found = ImageFiles(paths, spec)
    if len(found.files) <= GRID_SIDE or not any(path.is_dir() for path in paths):
        return found
    print(f"Drawn are {GRID_SIDE} of {len(found.files)} images, evenly spaced; name files to choose", file=sys.stderr)
    return ImageFiles([found.files[i] for i in evenly_spaced(np.arange(len(found.files)), GRID_SIDE)], spec)


def _drawn_rows(columns: int, spec: ImageSpec) -> int:
    """Returns how many rows of a grid there may be. Raises UserError if not even one."""
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
    """Returns names for answers: the files' without folder and ending, numbered where two are alike, or one is called
    grid."""
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
