"""Answers to images of any size, put together from what a model gives, and files that a command writes where its user
says: nothing is lost that was there.

Legend: k answers to an image, c channels, h and w the model's size, H and W the image's.
"""

import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from unbraid.core.files import is_inside, read_json, write_atomically, write_json
from unbraid.core.types import ImageSpec, UserError
from unbraid.data.images import Pixels, open_image, scaled
from unbraid.model.drawing import Picture, as_picture, quantised, save_picture
from unbraid.model.inputs import Fitting, View, batch_size

Size = Literal["model", "input"]
"""Of answers: the model's, or that of the image, or of the part of it that was kept. Tiles give the image's."""
Answering = Callable[[Tensor], Tensor]
"""Images (n, c, h, w) -> k answers to each, (n, k, c2, h2, w2)."""
OVERLAP = 0.25
"""Of neighbouring tiles, at least, as a share of a tile's side."""
Key = TypeVar("Key")
MARK = "made by unbraid"
"""The comment in pictures that commands write. A file is replaced if it has one."""
ARRAYS = {"names", "shared", "exclusive"}
"""What `unbraid encode` writes into a .npz file, by which it knows it again."""
RECORD = "answers.json"
"""What answers in a folder were made with, so that the same command goes on."""
FormatName = Literal["png", "png16", "jpeg", "webp"]
ENDINGS: dict[FormatName, tuple[str, ...]] = {
    "png": (".png",),
    "png16": (".png",),
    "jpeg": (".jpg", ".jpeg"),
    "webp": (".webp",),
}
SOFTWARE = 0x0131
"""The tag of EXIF that says what has made a picture."""
WRITTEN_AS = {".png": "a picture is written as PNG", ".npz": "codes are written as NumPy arrays"}


def tiles_along(length: int, size: int) -> tuple[list[int], Float[Tensor, "t size"]]:
    """Returns where tiles begin along one side of an image, both in px, and their weights at each of their pixels.

    Weights rise and fall as a squared sine over the overlap; at each pixel of the image they add up to 1.
    """
    last = max(0, length - size)
    count = 1 + math.ceil(last / max(1, round(size * (1 - OVERLAP))))
    starts = [round(last * number / max(1, count - 1)) for number in range(count)]
    place = torch.arange(size, device="cpu") + 0.5
    edge = torch.minimum(place, size - place) / (size * OVERLAP)
    weights = (math.pi / 2 * edge.clamp(max=1)).sin().square().repeat(count, 1)
    total = torch.zeros(last + size, device="cpu")
    for start, own in zip(starts, weights, strict=True):
        total[start : start + size] += own
    return starts, torch.stack([own / total[start : start + size] for start, own in zip(starts, weights, strict=True)])


def tiled(pixels: Pixels, spec: ImageSpec, answering: Answering, deep: bool = False) -> list[Picture]:
    """Returns k answers to an image of any size, put together from answers to its tiles.

    Args:
        pixels: Of the image, (c, H, W).
        spec: Of a tile.
        answering: Gives answers of a tile's height and width.
        deep: Whether to return 16 bits a value instead of 8.
    """
    height, width = pixels.shape[1:]
    (tops, down), (lefts, across) = tiles_along(height, spec.height), tiles_along(width, spec.width)
    whole = (max(height, spec.height), max(width, spec.width))
    pictures: list[Picture] = []
    band = torch.empty(0, device="cpu")  # rows that are not complete yet, (k, c2, h, W)
    for number, top in enumerate(tops):
        for first in range(0, len(lefts), batch_size(spec.shape)):
            some = range(first, min(first + batch_size(spec.shape), len(lefts)))
            x = torch.stack([_tile(pixels, spec, top, lefts[at]) for at in some])
            for at, answers in zip(some, answering(x), strict=True):
                if not pictures:
                    channels = 3 if answers.shape[1] >= 3 else 1
                    shape = (*whole, channels)
                    pictures = [np.empty(shape, np.uint16 if deep else np.uint8) for _ in answers]
                    band = torch.zeros(len(answers), channels, spec.height, whole[1], device="cpu")
                weights = down[number][:, None] * across[at]
                band[..., lefts[at] : lefts[at] + spec.width] += answers[:, : band.shape[1]] * weights
        until = tops[number + 1] if number + 1 < len(tops) else whole[0]
        for one, rows in zip(pictures, band[:, :, : until - top], strict=True):
            one[top:until] = quantised(rows, deep)
        band = torch.cat([band[:, :, until - top :], torch.zeros_like(band[:, :, : until - top])], 2)
    return [one[:height, :width] for one in pictures]


def _tile(pixels: Pixels, spec: ImageSpec, top: int, left: int) -> Float[Tensor, "c h2 w2"]:
    """Returns a tile; an image that is smaller than one is continued by its last row and column."""
    x = scaled(pixels[:, top : top + spec.height, left : left + spec.width])
    edges = (0, spec.width - x.shape[2], 0, spec.height - x.shape[1])
    return pad(x[None], edges, mode="replicate")[0] if any(edges) else x


def rendered(
    views: Iterable[tuple[Key, View]],
    specs: tuple[ImageSpec, ImageSpec],
    answering: Answering,
    count: int = 1,
    size: Size = "model",
    deep: bool = False,
) -> Iterator[tuple[Key, View, list[Picture]]]:
    """Yields for each image its answers, as many at a time as memory allows.

    Args:
        views: Images by some key.
        specs: Of the images that go into the model, and of those that come out.
        answering: Gives answers.
        count: Answers to each image.
        size: Of the answers.
        deep: Whether to give 16 bits a value instead of 8.
    """
    waiting: list[tuple[Key, View]] = []

    def done() -> Iterator[tuple[Key, View, list[Picture]]]:
        if waiting:
            for (key, own), pictures in zip(waiting, answering(torch.stack([v.x for _, v in waiting])), strict=True):
                pictures = pictures if size == "model" else own.restored(pictures)
                yield key, own, [quantised(one, deep) for one in pictures]
        waiting.clear()

    most = batch_size(max((spec.shape for spec in specs), key=lambda shape: shape[1] * shape[2]), count)
    for key, own in views:
        if own.size is None:
            yield key, own, tiled(own.x, specs[0], answering, deep)
            continue
        waiting.append((key, own))
        if len(waiting) == most:
            yield from done()
    yield from done()


def check_tiles(fitting: Fitting, specs: tuple[ImageSpec, ImageSpec]) -> None:
    """Raises UserError for tiles where answers have another size than what they answer."""
    sizes = [(spec.height, spec.width) for spec in specs]
    if fitting == "tile" and sizes[0] != sizes[1]:
        raise UserError(
            f"--fit tile needs domains of one size; here they have {sizes[0][0]}x{sizes[0][1]} and "
            f"{sizes[1][0]}x{sizes[1][1]}"
        )


@dataclass(frozen=True)
class PictureFormat:
    """The format in which answers are written, and the quality of JPEG and WebP, 1 to 100."""

    name: FormatName = "png"
    quality: int = 90

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise UserError(f"--quality {self.quality}: from 1 to 100")

    @property
    def ending(self) -> str:
        """Returns what names of files end in."""
        return ENDINGS[self.name][0]

    @property
    def deep(self) -> bool:
        """Returns whether it has 16 bits a value."""
        return self.name == "png16"

    def save(self, picture: Picture, path: Path) -> None:
        """Saves a picture, (H, W, 1 or 3), atomically. Raises UserError if it can't be written."""
        if self.deep:
            write_atomically(path, lambda file: file.write_bytes(_png16(picture)))
            return
        image = as_picture(picture)
        if self.name == "png":
            save_picture(image, path, MARK)
            return
        exif = Image.Exif()
        exif[SOFTWARE] = MARK
        more: dict[str, Any] = {"comment": MARK.encode()} if self.name == "jpeg" else {"exif": exif}
        write_atomically(path, lambda file: image.save(file, self.name.upper(), quality=self.quality, **more))


def format_of(path: Path, asked: PictureFormat) -> PictureFormat:
    """Returns the format that a file's ending says, or the one that was asked for if it has that ending too.

    Raises UserError for an ending of another kind.
    """
    ending = path.suffix.lower()
    if ending in ENDINGS[asked.name]:
        return asked
    for name, endings in ENDINGS.items():
        if ending in endings and asked.name == "png":
            return PictureFormat(name, asked.quality)
    raise UserError(f"--out {path}: with --format {asked.name} give a name that ends in {ENDINGS[asked.name][0]}")


def _png16(values: Picture) -> bytes:
    """Returns a PNG file of 16 bits a value, which Pillow writes for grey images only."""
    height, width, channels = values.shape
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.full((height, 1 + rows.shape[1]), 2, np.uint8)  # 2: each row less the one above it
    filtered[0, 1:], filtered[1:, 1:] = rows[0], rows[1:] - rows[:-1]
    head = struct.pack(">2I5B", width, height, 16, 0 if channels == 1 else 2, 0, 0, 0)
    text = b"comment\0" + MARK.encode()
    chunks = ((b"IHDR", head), (b"tEXt", text), (b"IDAT", zlib.compress(filtered.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def check_file(out: Path, given: Sequence[Path], *more: Path, ending: str = ".png") -> None:
    """UserError if a picture, and more files with it, can't be written without loss. See `keep_apart`."""
    _check_ending(out, ending)
    keep_apart([out, *more], given)
    _check_place(out, given)


def check_codes(out: Path, given: Sequence[Path]) -> None:
    """UserError if codes (.npz) can't be written there without loss; see `keep_apart`."""
    keep_apart([out], given)
    _check_ending(out, ".npz")


def answered_before(
    out: Path, settings: Mapping[str, Any], names: Sequence[Sequence[str]], files: Sequence[Path]
) -> set[int]:
    """Returns which of these files have all their answers in a folder, made with the same settings (JSON), and
    since the files were last changed. See `record_answers`.
    """
    record = out / RECORD
    if not record.is_file() or not _is_ours(record) or read_json(record, dict[str, Any]) != _recorded(settings):
        return set()

    def newer(name: str, since: float) -> bool:
        try:
            return (out / name).stat().st_mtime >= since
        except OSError:
            return False

    done: set[int] = set()
    for number, (own, file) in enumerate(zip(names, files, strict=True)):
        if file.exists() and all(newer(name, file.stat().st_mtime) for name in own):
            done.add(number)
    return done


def record_answers(out: Path, settings: Mapping[str, Any]) -> None:
    """Notes what answers in a folder are made with; `answered_before` compares."""
    write_json(out / RECORD, _recorded(settings))


def _recorded(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"comment": MARK, **settings}


def check_folder(out: Path, names: Iterable[str], given: Sequence[Path]) -> None:
    """UserError if files of these names can't be written into the folder without loss. See `keep_apart`."""
    if os.path.isfile(out):
        raise UserError(f"--out {out} is a file: give a folder")
    _check_place(out, given)
    keep_apart((out / name for name in names), given)


def keep_apart(outputs: Iterable[Path], given: Sequence[Path]) -> None:
    """UserError if a file that is to be written is there, unless `unbraid` made it and it is none of those given.

    given: files, and folders with all that they hold; links of any kind are followed.
    """
    folders = [path.resolve() for path in given if os.path.isdir(path)]
    files = {(found.st_dev, found.st_ino) for found in (path.stat() for path in given if os.path.isfile(path))}
    for out in outputs:
        if not os.path.exists(out):
            continue
        found, place = out.stat(), out.resolve()
        if (found.st_dev, found.st_ino) in files or any(place.is_relative_to(folder) for folder in folders):
            raise UserError(f"{out} is among the images that were given: choose another --out, so that none is lost")
        if out.is_dir():
            raise UserError(f"--out {out} is a folder: give the name of a file")
        if not _is_ours(out):
            raise UserError(
                f"{out} is there, and `unbraid` has not made it: choose another --out, so that it is not lost, or "
                "remove it"
            )


def _check_ending(out: Path, ending: str) -> None:
    if out.suffix.lower() != ending:
        raise UserError(f"--out {out}: {WRITTEN_AS.get(ending, ending)}, so give a name that ends in {ending}")


def _check_place(out: Path, given: Sequence[Path]) -> None:
    """Answers in a folder of images would be taken for images the next time."""
    for folder in given:
        if os.path.isdir(folder) and is_inside(out, folder):
            raise UserError(
                f"--out {out} lies in {folder}, which holds the images that were given: choose another --out, so that "
                "answers and images stay apart"
            )


def _is_ours(path: Path) -> bool:
    try:
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(path) as file:
                return {name.removesuffix(".npy") for name in file.namelist()} == ARRAYS
        if path.suffix.lower() == ".json":
            return read_json(path, dict[str, Any]).get("comment") == MARK
        with open_image(path) as picture:
            if picture.format == "WEBP":
                return picture.getexif().get(SOFTWARE) == MARK
            return picture.info.get("comment") in (MARK, MARK.encode())
    except Exception:  # Pillow and zipfile raise anything on files of other kinds
        return False
