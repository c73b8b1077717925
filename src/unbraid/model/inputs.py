"""What a command or a call was given: image files, items in any common form, and functions of the user's own."""

import os
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

from unbraid.core.ahead import in_order
from unbraid.core.console import printable
from unbraid.core.short import Short
from unbraid.core.types import ImageSpec, UserError, VectorSpec
from unbraid.data.fit import Fit
from unbraid.data.images import (
    MOST_PIXELS,
    Pixels,
    decode,
    fitted,
    from_picture,
    read_header,
    read_image,
    room,
    scaled,
)
from unbraid.data.listing import list_images

Items = Tensor | np.ndarray | Image.Image | str | Path | Sequence[Any]
"""Items of a domain: (n, *spec.shape) or one (*spec.shape), float in [-1, 1] or uint8; or images of any size, as files,
Pillow's, or uint8 arrays (h, w) or (h, w, c), one or several."""
Fitting = Literal["cover", "contain", "tile"]
"""cover: scaled to cover the model's size, the middle kept. contain: scaled to lie within it, its border repeated
around it. tile: not scaled, but translated in overlapping tiles of the model's size, which are blended."""
BATCH_ITEMS = 100
"""Items that a model works on at a time, at most."""
BATCH_PIXELS = 1_000_000
"""Pixels that a model works on at a time, if that is more than one image."""
READERS = min(8, os.cpu_count() or 1)
"""Threads that read images ahead."""
LARGEST = 10.0
"""Values of images beyond this are of another scale than [-1, 1]; what networks make stays well below."""


def batch_size(shape: tuple[int, ...], answers: int = 1) -> int:
    """Returns how many items of this shape, with so many answers to each, are taken at a time: memory stays flat."""
    return max(1, min(BATCH_ITEMS, BATCH_PIXELS // max(1, answers * int(np.prod(shape[-2:])))))


@dataclass(frozen=True)
class View(Short):
    """One image as a model sees it.

    Args:
        x: The image at the model's size, (c, h, w) in [-1, 1]; or its pixels, if it is to be tiled.
        size: Height and width that answers get at the input's size; None if it is to be tiled.
        box: Top, bottom, left and right of the image in x, as shares of its height and width.
    """

    x: Tensor
    size: tuple[int, int] | None
    box: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 1.0)

    def restored(self, answer: Float[Tensor, "k c2 h2 w2"]) -> Float[Tensor, "k c2 _ _"]:
        """Returns answers without what was padded, at the input's size."""
        assert self.size is not None
        height, width = answer.shape[2:]
        top, bottom, left, right = self.box
        rows = slice(round(top * height), max(round(top * height) + 1, round(bottom * height)))
        columns = slice(round(left * width), max(round(left * width) + 1, round(right * width)))
        kept = answer[:, :, rows, columns]
        if kept.shape[2:] == self.size:
            return kept
        return interpolate(kept, self.size, mode="bicubic", antialias=True)


def view(pixels: Pixels, spec: ImageSpec, fitting: Fitting) -> View:
    """Returns what a model of images of this spec sees of some pixels.

    Args:
        pixels: (1 or 3, H, W).
        spec: Of the model's images.
        fitting: How they are brought to its size.
    """
    height, width = pixels.shape[1:]
    if fitting == "cover":
        scale = max(spec.height / height, spec.width / width)
        kept = (min(height, round(spec.height / scale)), min(width, round(spec.width / scale)))
        return View(scaled(fitted(pixels, spec)), kept)
    pixels = fitted(pixels, ImageSpec(height, width, spec.channels))
    if fitting == "tile":
        return View(pixels, None)
    scale = min(spec.height / height, spec.width / width)
    inner = (max(1, round(height * scale)), max(1, round(width * scale)))
    top, left = (spec.height - inner[0]) // 2, (spec.width - inner[1]) // 2
    channels = (  # one at a time: floats are large
        interpolate(scaled(channel)[None, None], inner, mode="bicubic", antialias=True) for channel in pixels
    )
    x = torch.cat(list(channels), 1).clamp(-1, 1)
    edges = (left, spec.width - inner[1] - left, top, spec.height - inner[0] - top)
    box = (
        *(top / spec.height, (top + inner[0]) / spec.height),
        *(left / spec.width, (left + inner[1]) / spec.width),
    )
    return View(pad(x, edges, mode="replicate")[0], (height, width), box)


class ImageFiles:
    """Image files, and those of folders, read ahead a few at a time.

    files: all of them, in order. bad: lines about those that could not be read so far, which are printed on stderr.
    """

    def __init__(self, paths: Sequence[Path], spec: ImageSpec, fitting: Fitting = "cover") -> None:
        if not paths:
            raise UserError("Which images? Give files or folders")
        self.files = [
            file
            for path in paths
            for file in ([path / name for name in list_images(path).names] if os.path.isdir(path) else [path])
        ]
        self.spec, self.fit = spec, Fit(spec)
        self.fitting: Fitting = fitting
        self.bad: list[str] = []
        self._count = 0

    def views(self, skip: Collection[int] = ()) -> Iterator[tuple[int, View | None]]:
        """Yields positions in `files` and what a model sees of them, None of one that can't be read.

        skip: positions to leave out. Raises UserError at the end if nothing was left out and none could be read.
        """
        wanted = [number for number in range(len(self.files)) if number not in skip]
        reported = 0
        ahead = 1 if self.fitting == "tile" else 2 * READERS  # whole images, for tiles, one by one
        found_ahead = in_order(self._read, [self.files[number] for number in wanted], min(ahead, READERS), ahead)
        for number, found in zip(wanted, found_ahead, strict=True):
            if isinstance(found, View):
                self._count += 1
            else:
                self.bad.append(str(found))
            if self._count or skip:
                for line in self.bad[reported:]:
                    print(f"left out: {printable(line)}", file=sys.stderr)
                reported = len(self.bad)
            yield number, found if isinstance(found, View) else None
        if wanted and not (self._count or skip):
            first, count = self.bad[0], len(self.bad)
            raise UserError(first if count == 1 else f"None of {count} images could be read; the first: {first}")
        if note := str(self.fit):
            print(printable(note), file=sys.stderr)

    def batches(self) -> Iterator[tuple[list[int], Float[Tensor, "n c h w"], int]]:
        """Yields positions in `files`, their images in [-1, 1], and how many files were looked at for them.

        Raises UserError at the end if none could be read.
        """
        at, images, looked_at = [], [], 0
        for number, found in self.views():
            looked_at += 1
            if found is not None:
                at.append(number)
                images.append(found.x)
            if len(images) == batch_size(self.spec.shape):
                yield at, torch.stack(images), looked_at
                at, images, looked_at = [], [], 0
        if images:
            yield at, torch.stack(images), looked_at

    def read(self) -> tuple[list[Path], Float[Tensor, "n c h w"]]:
        """Returns those that can be read, and their images in [-1, 1]. Raises UserError if there are none."""
        found = list(self.batches())
        return [self.files[number] for at, _, _ in found for number in at], torch.cat([x for _, x, _ in found])

    def _read(self, file: Path) -> View | UserError:
        try:
            if self.spec.channels not in (1, 3):
                raise UserError(f"{file} is an image file, but {self.spec.channels} channels are wanted: give an array")
            with room(file, self.spec):
                pixels = decode(file)
                found = view(pixels, self.spec, self.fitting)
        except UserError as error:
            return error
        if self.fitting == "cover":
            self.fit.add(str(file), *pixels.shape[1:])
        return found


def as_images(given: Any, spec: ImageSpec) -> tuple[Float[Tensor, "n c h w"], Fit]:
    """Returns images as a model sees them, (n, *spec.shape) in [-1, 1], and how they were fitted.

    given: as `Items` says. Raises UserError for anything else.
    """
    fit = Fit(spec)
    if isinstance(given, (list, tuple)):
        found = [_one_kind(one, spec, fit) for one in given]
        images = torch.cat(found) if found else torch.empty(0, *spec.shape)
    else:
        images = _one_kind(given, spec, fit)
    return _checked(images), fit


def as_views(given: Any, spec: ImageSpec, fitting: Fitting) -> Iterator[View]:
    """Yields what a model sees of images of any size, one by one: files, Pillow's, uint8 or uint16 arrays (h, w) or
    (h, w, c), or several of them, which may be drawn from a generator. See `view`.

    Raises UserError if something is no image, or can't be read.
    """
    if isinstance(given, Iterable) and not isinstance(given, (str, Path, Image.Image, np.ndarray)):
        for one in given:
            yield from as_views(one, spec, fitting)
    elif isinstance(given, (str, Path)):
        with room(given, spec):
            found = view(decode(given), spec, fitting)
        yield found
    elif isinstance(given, Image.Image):
        yield view(from_picture(given), spec, fitting)
    elif isinstance(given, np.ndarray) and given.dtype == np.uint16 and given.ndim in (2, 3):
        values = np.ascontiguousarray(given[None] if given.ndim == 2 else given.transpose(2, 0, 1))
        if len(values) not in (1, 3):
            raise UserError(f"An array of 16 bits has {len(values)} channels: 1 or 3 are needed, (h, w) or (h, w, c)")
        yield view(torch.from_numpy(values), spec, fitting)
    elif isinstance(given, np.ndarray) and given.dtype == np.uint8 and (pictures := _pictures(given)):
        for picture in pictures:
            yield view(from_picture(picture), spec, fitting)
    else:
        what = f"an array of {given.dtype}, {given.shape}" if isinstance(given, np.ndarray) else type(given).__name__
        raise UserError(f"{what}: give files, Pillow's images, or uint8 or uint16 arrays (h, w) or (h, w, c)")


def as_vectors(given: Any, spec: VectorSpec) -> Float[Tensor, "n d"]:
    """Returns vectors (n, d) float32 of an array, a tensor or a list of them. Raises UserError for anything else."""
    if isinstance(given, (list, tuple)):
        parts = [as_vectors(one, spec) for one in given]
        return torch.cat(parts) if parts else _checked(torch.empty(0, *spec.shape))
    values = floats(given, str(spec))
    values = values[None] if values.shape == spec.shape else values
    if values.shape[1:] != spec.shape:
        raise _other_shape(spec, values)
    return _checked(values)


def is_images(given: Any) -> bool:
    """Returns whether these are image files, Pillow's images or arrays of images, and no vectors."""
    if isinstance(given, (list, tuple)):
        return bool(given) and is_images(given[0])
    return isinstance(given, (str, Path, Image.Image)) or getattr(given, "ndim", 0) >= 3


def whole_number(value: Any, name: str, least: int, most: int | None = None) -> int:
    """Returns a whole number. Raises UserError, which names it, for anything else.

    Args:
        value: Perhaps one.
        name: What it is called.
        least: Bound, included.
        most: Bound, included.
    """
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least or value > (2**63 - 1 if most is None else most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise UserError(f"{name} {value!r}: a whole number, {bounds}")
    return int(value)


def one_of(value: Any, name: str, choices: Sequence[str]) -> Any:
    """Returns the value if it is one of the choices. Raises UserError if it is not. See `whole_number`."""
    if not isinstance(value, str) or value not in choices:
        raise UserError(f"There is no {name} {value!r}; there are: {', '.join(choices)}")
    return value


def floats(given: Any, wanted: str) -> Tensor:
    """Returns numbers of an array or a tensor as float32, on the processor. Raises UserError for anything else."""
    values = _tensor(given, wanted)
    if values.dtype == torch.bool or values.is_complex():
        raise UserError(f"Values are {str(values.dtype).removeprefix('torch.')}; numbers are needed")
    return values.float()


def _one_kind(given: Any, spec: ImageSpec, fit: Fit) -> Tensor:
    """(n, *spec.shape) of a file, a picture, an array or a tensor."""
    if isinstance(given, (str, Path)):
        image, header = read_image(given, spec), read_header(given)
        fit.add(str(given), header.height, header.width)
        return image[None]
    if isinstance(given, Image.Image):
        return _picture(given, spec, fit)
    values = _tensor(given, str(spec))
    if values.shape == spec.shape:
        values = values[None]
    channels, height, width = spec.shape
    if values.shape[-3:] == (height, width, channels) != spec.shape and values.ndim in (3, 4):
        values = values.movedim(-1, -3).reshape(-1, *spec.shape)
    if values.ndim != 4 or values.shape[1:] != spec.shape:
        if isinstance(given, np.ndarray) and given.dtype == np.uint8 and (pictures := _pictures(given)):
            return torch.cat([_picture(picture, spec, fit) for picture in pictures])
        raise _other_shape(spec, values)
    if values.dtype in (torch.uint8, torch.uint16):
        return scaled(values)
    if not values.is_floating_point():
        raise UserError(
            f"Images are {str(values.dtype).removeprefix('torch.')}: give floats in [-1, 1], or uint8 from 0 to 255"
        )
    return values.float()


def _pictures(values: np.ndarray) -> list[Image.Image]:
    """uint8 arrays (h, w), (h, w, c) or (n, h, w, c) as pictures; empty for others."""
    if 0 in values.shape:
        return []
    if values.ndim == 2:
        return [Image.fromarray(values)]
    if values.shape[-1] not in (1, 3, 4) or values.ndim > 4:
        return []
    return [
        Image.fromarray(one[..., 0] if one.shape[-1] == 1 else one)
        for one in (values[None] if values.ndim == 3 else values)
    ]


def _picture(picture: Image.Image, spec: ImageSpec, fit: Fit) -> Tensor:
    if picture.width * picture.height > MOST_PIXELS:
        raise UserError(
            f"An image has {picture.width}x{picture.height} pixels, more than {MOST_PIXELS // 1_000_000} megapixels"
        )
    if spec.channels not in (1, 3):
        raise UserError(f"This model has images of {spec.channels} channels: give arrays of them instead of pictures")
    pixels = from_picture(picture)
    fit.add(str(getattr(picture, "filename", "")) or "an image", *pixels.shape[-2:])
    return scaled(fitted(pixels, spec))[None]


def _tensor(given: Any, wanted: str) -> Tensor:
    """Returns an array or a tensor of numbers, on the processor, sharing memory where it can."""
    if isinstance(given, Tensor):
        return given.detach().cpu()
    if isinstance(given, np.ndarray) and given.dtype.kind in "biuf":
        native = given.astype(given.dtype.newbyteorder("="), copy=False)
        return torch.from_numpy(np.ascontiguousarray(native if native.dtype != np.longdouble else native.astype(float)))
    kind = f"an array of {given.dtype}" if isinstance(given, np.ndarray) else f"{type(given).__name__}"
    raise UserError(
        f"{wanted} are needed; found {kind}. Give tensors, numpy arrays, or for images also files or Pillow's images"
    )


def _other_shape(spec: ImageSpec | VectorSpec, values: Tensor) -> UserError:
    return UserError(
        f"This model has {spec}, shape {spec.shape}; found {'items of shape' if values.ndim > 1 else 'shape'} "
        f"{tuple(values.shape[1:] if values.ndim > 1 else values.shape)}"
    )


def _checked(values: Tensor) -> Tensor:
    """UserError if there is nothing, or no numbers, or images on another scale."""
    if len(values) == 0:
        raise UserError("There are no items: give at least one")
    largest = float(values.abs().max())  # NaN if any is
    if not np.isfinite(largest):
        raise UserError("Some values are NaN or infinite")
    if values.ndim == 4 and largest > LARGEST:
        raise UserError(f"Images have values of up to {largest:.4g}: give floats in [-1, 1], or uint8 from 0 to 255")
    return values
