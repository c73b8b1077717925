"""What a command or a call was given: image files, items in any common form, and functions of the user's own."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from unbraid.core.console import printable
from unbraid.core.types import ImageSpec, UserError, VectorSpec
from unbraid.data.fit import Fit
from unbraid.data.images import MOST_PIXELS, fitted, from_picture, read_header, read_image, scaled
from unbraid.data.listing import list_images

Items = Tensor | np.ndarray | Image.Image | str | Path | Sequence[Any]
"""Items of a domain: (n, *spec.shape) or one (*spec.shape), float in [-1, 1] or uint8; or images of any size, as files,
Pillow's, or uint8 arrays (h, w) or (h, w, c), one or several."""
AT_ONCE = 100
"""Items that a model works on at a time, at most."""
PIXELS_AT_ONCE = 1_000_000
"""Pixels that a model works on at a time, if that is more than one image."""
LARGEST = 10.0
"""Values of images beyond this are of another scale than [-1, 1]; what networks make stays well below."""


def at_once(shape: tuple[int, ...], answers: int = 1) -> int:
    """Returns how many items of this shape, with so many answers to each, are taken at a time: memory stays flat."""
    return max(1, min(AT_ONCE, PIXELS_AT_ONCE // max(1, answers * int(np.prod(shape[-2:])))))


class ImageFiles:
    """Image files, and those of folders, read a few at a time.

    files: all of them, in order. bad: lines about those that could not be read so far, which are printed on stderr.
    """

    def __init__(self, paths: Sequence[Path], spec: ImageSpec) -> None:
        if not paths:
            raise UserError("Which images? Give files or folders")
        self.files = [
            file
            for path in paths
            for file in ([path / name for name in list_images(path).names] if os.path.isdir(path) else [path])
        ]
        self.spec, self.fit = spec, Fit(spec)
        self.bad: list[str] = []

    def batches(self, answers: int = 1) -> Iterator[tuple[list[int], Float[Tensor, "n c h w"], int]]:
        """Yields positions in `files`, their images in [-1, 1], and how many files were looked at for them.

        answers: how many images are made of each. Raises UserError at the end if none could be read.
        """
        said, size = 0, at_once(self.spec.shape, answers)
        for start in range(0, len(self.files), size):
            some = range(start, min(start + size, len(self.files)))
            at, images = [], []
            for number in some:
                try:
                    images.append(self._read(self.files[number]))
                    at.append(number)
                except UserError as error:
                    self.bad.append(str(error))
            if images:
                yield at, torch.stack(images), len(some)
            if self.fit.count:
                for line in self.bad[said:]:
                    print(f"left out: {printable(line)}", file=sys.stderr)
                said = len(self.bad)
        if not self.fit.count:
            first, count = self.bad[0], len(self.bad)
            raise UserError(first if count == 1 else f"None of {count} images could be read; the first: {first}")
        if note := str(self.fit):
            print(printable(note), file=sys.stderr)

    def read(self) -> tuple[list[Path], Float[Tensor, "n c h w"]]:
        """Returns those that can be read, and their images in [-1, 1]. Raises UserError if there are none."""
        found = list(self.batches())
        return [self.files[number] for at, _, _ in found for number in at], torch.cat([x for _, x, _ in found])

    def _read(self, file: Path) -> Tensor:
        image, header = read_image(file, self.spec), read_header(file)
        self.fit.add(str(file), header.height, header.width)
        return image


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
    """Returns a whole number within bounds. Raises UserError, which names it, for anything else."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least or value > (2**63 - 1 if most is None else most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise UserError(f"{name} {value!r}: a whole number, {bounds}")
    return int(value)


def one_of(value: Any, name: str, choices: Sequence[str]) -> Any:
    """Returns the value if it is one of the choices. Raises UserError, which names them, if it is not."""
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
    """An array or a tensor of numbers, on the processor, sharing memory where it can."""
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
