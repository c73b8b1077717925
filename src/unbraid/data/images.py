"""One image file: its header, its pixels, and the pixels at a wanted size.

Files are read by Pillow. torchvision.io is no faster, takes the whole process down with a segmentation fault on a PNG
with damaged contents (seen in 0.29), and is announced to be removed.

Shape legend: c channels, h height, w width.
"""

import struct
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8, UInt16
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from torch import Tensor

from unbraid.types import ImageSpec, UserError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
"""Lower-case endings of the files that count as images."""
MOST_PIXELS = 100_000_000
"""Larger images are refused before they are decoded: a file of a few kilobytes can claim any size."""

Pixels = UInt8[Tensor, "c h w"] | UInt16[Tensor, "c h w"]

_GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}
_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}
_ORIENTED = {"JPEG", "MPO", "PNG", "WEBP"}
_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601, as in Pillow)."""
# warnings.catch_warnings changes a global list, so only one thread may be inside
_opening = threading.Lock()


class ImageError(UserError):
    """An image file that can't be used. The message names the file; `reason` alone says why."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Header:
    """What a file says about its image, upright as its EXIF orientation wants it. channels: 1 or 3, transparency not
    counted; deep: 16 bits a value instead of 8."""

    height: int
    width: int
    channels: int
    deep: bool


def read_header(path: str | Path) -> Header:
    """Size and kind of an image, without decoding it.

    Raises ImageError (a UserError) if the file can't be opened, is no image, or claims more than 100 megapixels.
    """
    try:
        with _opened(path) as image:
            return _header(path, image)
    except ImageError:
        raise
    except Exception as error:  # Pillow's plugins raise anything on damaged files
        raise ImageError(path, _reason(path, error)) from error


def decode(path: str | Path) -> Pixels:
    """The pixels of an image file, (1 or 3, h, w) uint8, or uint16 where the file has 16 bits.

    Palettes become colours, transparency is laid on white, CMYK becomes RGB, EXIF orientation is applied.
    Raises ImageError (a UserError) that names the file and says what is wrong with it.
    """
    try:
        with _opened(path) as image:
            header = _header(path, image)
            pixels = _pixels(_upright(image))
        if header.deep and pixels.dtype == torch.uint8:
            pixels = _deep(path, pixels)
        return _flat(pixels)
    except ImageError:
        raise
    except Exception as error:  # Pillow's plugins raise anything on damaged files
        raise ImageError(path, _reason(path, error)) from error


def from_picture(picture: Image.Image) -> Pixels:
    """The pixels of a picture that Pillow holds, as `decode` gives those of a file.

    Raises UserError if it has 32 bits a value, or its file is damaged.
    """
    if picture.mode in ("F", "I"):
        raise UserError(f"A picture has 32 bits a value (mode {picture.mode}); images of 8 or 16 bits are needed")
    try:
        return _flat(_pixels(_upright(picture)))
    except Exception as error:  # a file that Pillow has opened is read now
        raise UserError(f"A picture can't be read ({error})") from error


def read_image(path: str | Path, spec: ImageSpec) -> Float[Tensor, "c h w"]:
    """An image file as a model sees it: (*spec.shape) in [-1, 1], scaled to cover and cut to the middle.

    Raises ImageError (a UserError) if the file can't be read, UserError if `spec` is neither grey nor colour.
    """
    if spec.channels not in (1, 3):
        raise UserError(f"{path} is an image file, but {spec.channels} channels are wanted: give an array instead")
    return scaled(fitted(decode(path), spec))


def fitted(pixels: Pixels, spec: ImageSpec) -> UInt8[Tensor, "c2 h2 w2"] | UInt16[Tensor, "c2 h2 w2"]:
    """Brings pixels to spec.shape, keeping their type."""
    if pixels.shape == spec.shape:
        return pixels
    most = 255 if pixels.dtype == torch.uint8 else 65535
    values = fit(pixels.float(), spec)
    # bicubic weights are partly negative: edges overshoot the range
    return values.clamp(0, most).round().to(pixels.dtype)


def fit(images: Float[Tensor, "*n c h w"], spec: ImageSpec) -> Float[Tensor, "*n c2 h2 w2"]:
    """Brings images to spec.shape: grey is repeated, colour averaged to grey; scaled to cover, middle kept.

    Antialiased bicubic, so values may pass the range of the input a little. Channels must be equal, or 1 and 3.
    """
    if images.shape[-3] == 1 and spec.channels == 3:
        images = images.expand(*images.shape[:-3], 3, *images.shape[-2:])
    elif images.shape[-3] == 3 and spec.channels == 1:
        weights = images.new_tensor(_LUMA)[:, None, None]
        images = (images * weights).sum(-3, keepdim=True)
    height, width = images.shape[-2:]
    if (height, width) == (spec.height, spec.width):
        return images
    scale = max(spec.height / height, spec.width / width)
    cover = (max(spec.height, round(height * scale)), max(spec.width, round(width * scale)))
    if cover != (height, width):
        flat = images.reshape(-1, *images.shape[-3:])
        flat = torch.nn.functional.interpolate(flat, cover, mode="bicubic", align_corners=False, antialias=True)
        images = flat.reshape(*images.shape[:-2], *cover)
    top, left = (cover[0] - spec.height) // 2, (cover[1] - spec.width) // 2
    return images[..., top : top + spec.height, left : left + spec.width]


def scaled(pixels: UInt8[Tensor, "..."] | UInt16[Tensor, "..."]) -> Float[Tensor, "..."]:
    """uint8 or uint16 values to float32 in [-1, 1]."""
    # in place: the same in three new tensors took 34 times as long
    return pixels.to(torch.float32, copy=True).div_(127.5 if pixels.dtype == torch.uint8 else 32767.5).sub_(1)


def _opened(path: str | Path) -> Image.Image:
    with _opening, warnings.catch_warnings():
        # Pillow warns from 89 megapixels on; the limit here is another one, checked in _header
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path)


def _header(path: str | Path, image: Image.Image) -> Header:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise ImageError(path, f"{width}x{height} pixels, more than {MOST_PIXELS // 1_000_000} megapixels")
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise ImageError(path, "32 bits a value; images of 8 or 16 bits are needed")
    if _orientation(image) >= 5:
        width, height = height, width
    grey, deep = image.mode in _GREY, image.mode.startswith("I;16")
    if image.format == "PNG":
        with open(path, "rb") as file:
            depth, colour = struct.unpack_from("2B", file.read(26), 24)
        deep = depth == 16
        # Pillow gives 16-bit grey with transparency as RGBA
        grey = grey or (deep and colour == 4)
    return Header(height, width, 1 if grey else 3, deep)


def _upright(image: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(image) if _orientation(image) != 1 else image


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) to 8. Pillow turns TIFF by itself."""
    if image.format not in _ORIENTED or (image.format == "PNG" and "exif" not in image.info):
        return 1  # for a PNG without EXIF at its head getexif() would decode the image to look behind it
    try:
        found = image.getexif().get(0x0112, 1)
    except Exception:  # a damaged EXIF block is no reason to lose the image
        return 1
    return found if found in range(1, 9) else 1


def _pixels(image: Image.Image) -> Tensor:
    """(1 to 4, h, w): grey or colour, and alpha if the image has transparency."""
    grey = image.mode in _GREY
    if not image.mode.startswith("I"):  # "I" and "I;16" hold 16-bit grey
        if image.mode in _ALPHA or "transparency" in image.info:
            image = image.convert("LA" if grey else "RGBA")
        else:
            image = image.convert("L" if grey else "RGB")
    array = np.array(image)
    if array.dtype != np.uint8:
        array = array.astype(np.uint16)  # native byte order
    return torch.from_numpy(array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1)))


def _flat(pixels: Tensor) -> Pixels:
    """Lays transparency on white: (2 or 4, h, w) becomes (1 or 3, h, w)."""
    if len(pixels) in (1, 3):
        return pixels
    most = 255 if pixels.dtype == torch.uint8 else 65535
    colour, alpha = pixels[:-1].float(), pixels[-1:].float() / most
    return (colour * alpha + most * (1 - alpha)).round().to(pixels.dtype)


def _deep(path: str | Path, high: Tensor) -> Tensor:
    """All 16 bits of a colour PNG of which Pillow has given the upper 8: read as little-endian it gives the lower 8.

    Grey with transparency can't be read so; its upper 8 bits are spread over 16.
    """
    with _opened(path) as image:
        assert isinstance(image, ImageFile)
        codec, extents, offset, kind = image.tile[0]
        if kind == "LA;16B":
            high = low = high[[0, 3]]
        else:
            image.tile = [(codec, extents, offset, f"{image.mode};16L")]  # pyright: ignore[reportAttributeAccessIssue]
            low = _pixels(_upright(image))
    return (high.int() * 256 + low.int()).to(torch.uint16)


def _reason(path: str | Path, error: Exception) -> str:
    """Why a file can't be read, in words of its own where Pillow's are no help."""
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MOST_PIXELS // 1_000_000} megapixels"
    if isinstance(error, UnidentifiedImageError):
        with open(path, "rb") as file:
            head = file.read(512)
        if not head:
            return "the file is empty"
        if b"\0" not in head and head.isascii():
            return "not an image: the file holds text"
        return "not an image, or its first bytes are damaged"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"damaged or truncated ({error})"
