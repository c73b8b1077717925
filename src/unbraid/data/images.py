"""One image file: its header, its pixels, and the pixels at a wanted size.

Files are read by Pillow. torchvision.io is no faster, takes the whole process down with a segmentation fault on a PNG
with damaged contents (seen in 0.29), and is announced to be removed.

Shape legend: c channels, h height, w width.
"""

import importlib.util
import math
import struct
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8, UInt16
from PIL import Image, ImageOps, UnidentifiedImageError, features
from PIL.ImageFile import ImageFile
from torch import Tensor

from unbraid.core.memory import returning_blocks
from unbraid.core.types import ImageSpec, UserError
from unbraid.data.archives import archive_of, locate, open_file

HEIF = (".heic", ".heif")
"""Endings of images that Pillow reads with a package beside it."""
NEEDS_HEIF = "HEIC images need a package: pip install 'unbraid[heif]'"


def _formats() -> dict[str, tuple[str, ...]]:
    """Returns the formats that are read, by Pillow's names, with the endings of their files."""
    found: dict[str, tuple[str, ...]] = {
        "PNG": (".png",),
        "JPEG": (".jpg", ".jpeg"),
        "WEBP": (".webp",),
        "BMP": (".bmp",),
        "GIF": (".gif",),
        "TIFF": (".tif", ".tiff"),
        "PPM": (".ppm", ".pgm"),
    }
    if "avif" in features.modules and features.check("avif"):  # Pillow has it from 11.3 on
        found["AVIF"] = (".avif",)
    if importlib.util.find_spec("pillow_heif"):
        importlib.import_module("pillow_heif").register_heif_opener()
        found["HEIF"] = HEIF
    return found


FORMATS = _formats()
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
"""Lower-case endings of the files that count as images."""
MOST_PIXELS = 100_000_000
"""Larger images are refused before they are decoded: a file of a few kilobytes can claim any size."""
BYTES_A_PIXEL = 24
"""Memory that `read_image` takes at most for each pixel of the file: the decoded picture, what its codec keeps beside
it, and one channel as floats. Most kinds take 11 to 16; lossless WebP and colour with 16 bits take the most."""
BYTES_WANTED = 100
"""Memory that bringing it to a shape takes at most for each pixel of that shape."""
LONGEST = 8
"""An image longer than so many times what is shown of it is cut before it is scaled."""

Pixels = UInt8[Tensor, "c h w"] | UInt16[Tensor, "c h w"]

_GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}
_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}
_ORIENTED = {"JPEG", "MPO", "PNG", "WEBP", "AVIF"}
_TILE = 2**17
"""Pixels that are copied at once, so that steps in between take no memory to speak of."""
_BITS, _PHOTOMETRIC, _PLANES, _TILE_WIDTH, _TILE_HEIGHT = 258, 262, 284, 322, 323
"""TIFF's tags."""
_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601, as in Pillow)."""


class Room:
    """Memory that threads share: each waits until there is room for what it takes."""

    def __init__(self, size: int) -> None:
        self.size = self.free = size
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Takes so many bytes while the block runs; what is larger than all there is runs alone."""
        amount = min(amount, self.size)
        with self._changed:
            self._changed.wait_for(lambda: self.free >= amount)
            self.free -= amount
        try:
            yield
        finally:
            with self._changed:
                self.free += amount
                self._changed.notify_all()


LARGE_IMAGE = 20_000_000
"""Bytes that decoding takes from which on its memory is given back at once."""
DECODING = Room(BYTES_A_PIXEL * MOST_PIXELS)
"""What all threads of this process take for decoding, together: as much as the largest image may take alone."""
# warnings.catch_warnings changes a global list, so only one thread may be inside
_opening = threading.Lock()


class ImageError(UserError):
    """Raised for an image file that can't be used. The message names the file; `reason` alone says why."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Header:
    """The size and kind of an image file, upright as its EXIF orientation wants it. channels: 1 or 3, transparency not
    counted; deep: 16 bits a value instead of 8."""

    height: int
    width: int
    channels: int
    deep: bool


def read_header(path: str | Path) -> Header:
    """Reads size and kind of an image, without decoding it.

    Raises ImageError (a UserError) if the file can't be opened, is no image, or claims more than 100 megapixels.
    """
    try:
        with open_image(path) as image:
            return _header(path, image)
    except ImageError:
        raise
    except Exception as error:  # Pillow's plugins raise anything on damaged files
        raise ImageError(path, _reason(path, error)) from error


def decode(path: str | Path) -> Pixels:
    """Returns the pixels of an image file, (1 or 3, h, w) uint8, or uint16 where the file has 16 bits.

    Palettes become colours, transparency is laid on white, CMYK becomes RGB, EXIF orientation is applied.
    Raises ImageError (a UserError) that names the file and says what is wrong with it.
    """
    try:
        with open_image(path) as image:
            header = _header(path, image)
            if header.deep and image.format == "PPM" and _stored(image)[0] != "ppm_plain":
                return _deep_ppm(path, image, header)
            values = _pixels(image, header)
        del image  # its own copy of the pixels goes with it
        if header.deep and values.dtype == np.uint8:
            values = _deep(path, header, values)
        return torch.from_numpy(values)
    except ImageError:
        raise
    except Exception as error:  # Pillow's plugins raise anything on damaged files
        raise ImageError(path, _reason(path, error)) from error


def from_picture(picture: Image.Image) -> Pixels:
    """Returns the pixels of a picture that Pillow holds, as `decode` gives those of a file.

    Raises UserError if it has 32 bits a value, or its file is damaged.
    """
    if picture.mode in ("F", "I"):
        raise UserError(f"A picture has 32 bits a value (mode {picture.mode}); images of 8 or 16 bits are needed")
    try:
        upright = ImageOps.exif_transpose(picture)
        channels = 1 if upright.mode in _GREY else 3
        header = Header(upright.height, upright.width, channels, deep=upright.mode.startswith("I"))
        return torch.from_numpy(_flat(_pixels(upright, header)))
    except Exception as error:  # a file that Pillow has opened is read now
        raise UserError(f"A picture can't be read ({error})") from error


def read_image(path: str | Path, spec: ImageSpec) -> Float[Tensor, "c h w"]:
    """Reads an image file as a model takes it: (*spec.shape) in [-1, 1], scaled to cover and cut to the middle.

    Raises ImageError (a UserError) if the file can't be read, UserError if `spec` is neither grey nor colour.
    """
    if spec.channels not in (1, 3):
        raise UserError(f"{path} is an image file, but {spec.channels} channels are wanted: give an array instead")
    with room(path, spec):
        return scaled(fitted(decode(path), spec))


@contextmanager
def room(path: str | Path, spec: ImageSpec) -> Iterator[None]:
    """Lets an image be decoded and brought to a shape while the block runs: when there is memory for it.

    Raises ImageError if the file can't be read.
    """
    header = read_header(path)
    amount = BYTES_A_PIXEL * header.height * header.width + BYTES_WANTED * spec.height * spec.width
    with DECODING.taken(amount), returning_blocks() if amount > LARGE_IMAGE else nullcontext():
        yield


def fitted(pixels: Pixels, spec: ImageSpec) -> UInt8[Tensor, "c2 h2 w2"] | UInt16[Tensor, "c2 h2 w2"]:
    """Brings pixels to spec.shape, keeping their type."""
    if pixels.shape == spec.shape:
        return pixels
    most = 255 if pixels.dtype == torch.uint8 else 65535
    rows, columns = middle(pixels.shape[1], pixels.shape[2], spec)
    pixels = pixels[:, rows, columns]
    if len(pixels) == 3 and spec.channels == 1:
        channels = iter([torch.cat([luma(some.float()) for some in pixels.split(1 + _TILE // pixels.shape[2], 1)], 1)])
    else:
        channels = (channel.float() for channel in pixels[:, None])  # one at a time: floats are large
    values = torch.cat([fit(channel, ImageSpec(spec.height, spec.width, 1)) for channel in channels])
    # bicubic weights are partly negative: edges overshoot the range
    values = values.clamp(0, most).round().to(pixels.dtype)
    return values.expand(spec.shape).contiguous()


def fit(images: Float[Tensor, "*n c h w"], spec: ImageSpec) -> Float[Tensor, "*n c2 h2 w2"]:
    """Brings images to spec.shape: grey is repeated, colour averaged to grey; scaled to cover, middle kept.

    Antialiased bicubic, so values may pass the range of the input a little. Channels must be equal, or 1 and 3.
    """
    if images.shape[-3] == 1 and spec.channels == 3:
        images = images.expand(*images.shape[:-3], 3, *images.shape[-2:])
    elif images.shape[-3] == 3 and spec.channels == 1:
        images = luma(images)
    rows, columns = middle(images.shape[-2], images.shape[-1], spec)
    images = images[..., rows, columns]
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


def middle(height: int, width: int, spec: ImageSpec) -> tuple[slice, slice]:
    """Returns the rows and columns of an image that scaling it to cover a spec needs. See `fit`.

    They are all, unless the image is longer than LONGEST times the part that is kept: scaled as a whole, one of
    1 x 200,000 pixels would take gigabytes.
    """
    scale = max(spec.height / height, spec.width / width)

    def needed(length: int, wanted: int) -> slice:
        most = math.ceil(LONGEST * wanted / scale)
        cut = max(0, length - most) // 2  # of both ends, so that the middle stays where it is
        return slice(cut, length - cut)

    return needed(height, spec.height), needed(width, spec.width)


def luma(images: Float[Tensor, "*n 3 h w"]) -> Float[Tensor, "*n 1 h w"]:
    """Returns the luma of colour images."""
    weights = images.new_tensor(_LUMA)[:, None, None]
    return (images * weights).sum(-3, keepdim=True)


def scaled(pixels: UInt8[Tensor, "..."] | UInt16[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Converts uint8 or uint16 values to float32 in [-1, 1]."""
    # in place: the same in three new tensors took 34 times as long
    return pixels.to(torch.float32, copy=True).div_(127.5 if pixels.dtype == torch.uint8 else 32767.5).sub_(1)


def open_image(path: str | Path) -> ImageFile:
    """Opens an image file by Pillow, as one of the FORMATS, whatever its name: an EPS file would start Ghostscript."""
    with _opening, warnings.catch_warnings():
        # Pillow warns from 89 megapixels on; the limit here is another one, checked in _header
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        # Pillow maps what it opens by name into memory, and closes it
        return Image.open(open_file(path) if archive_of(path) else path, formats=[*FORMATS])


def _header(path: str | Path, image: ImageFile) -> Header:
    width, height = image.size
    # a tile of a TIFF may be larger than the image, and is decoded whole
    for w, h in ((width, height), (_tag(image, _TILE_WIDTH, 0), _tag(image, _TILE_HEIGHT, 0))):
        if w * h > MOST_PIXELS:
            raise ImageError(path, f"{w}x{h} pixels, more than {MOST_PIXELS // 1_000_000} megapixels")
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise ImageError(path, "32 bits a value; images of 8 or 16 bits are needed")
    if _orientation(image) >= 5:
        width, height = height, width
    grey, deep = image.mode in _GREY, image.mode.startswith("I")
    if image.format == "PNG":
        with open_file(path) as file:
            depth, colour = struct.unpack_from("2B", file.read(26), 24)
        deep = depth == 16
        # Pillow gives 16-bit grey with transparency as RGBA
        grey = grey or (deep and colour == 4)
    elif image.format == "TIFF":
        deep = deep or _stored(image)[1].startswith(("RGB;16", "RGBA;16", "RGBX;16"))
        if max(_tag(image, _BITS, (1,))) > 8 and _tag(image, _PLANES) == 2 and not grey:
            raise ImageError(path, "16 bits a value in separate planes: save it in another way")
    elif image.format == "PPM":
        codec, _, most = _stored(image)
        deep = deep or (isinstance(most, int) and codec != "raw" and most > 255)
        if deep and not grey and codec == "ppm_plain":
            raise ImageError(path, "16 bits a value, written as text: save it in another way")
    return Header(height, width, 1 if grey else 3, deep)


def _stored(image: Image.Image) -> tuple[str, str, Any]:
    """Returns Pillow's decoder for the file, its raw mode, and its next argument."""
    tiles = getattr(image, "tile", None)  # a picture in memory has none
    if not tiles:
        return "", "", None
    codec, _, _, arguments = tiles[0]
    parsed = arguments if isinstance(arguments, tuple) else (arguments,)
    return codec, str(parsed[0]), parsed[1] if len(parsed) > 1 else None


def _tag(image: Image.Image, tag: int, default: Any = None) -> Any:
    return getattr(image, "tag_v2", {}).get(tag, default)


def _turn_upright(image: Image.Image) -> None:
    if _orientation(image) != 1:
        ImageOps.exif_transpose(image, in_place=True)


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 (upright) to 8. Pillow turns TIFF by itself."""
    if image.format not in _ORIENTED or (image.format == "PNG" and "exif" not in image.info):
        return 1  # for a PNG without EXIF at its head getexif() would decode the image to look behind it
    try:
        found = image.getexif().get(0x0112, 1)
    except Exception:  # a damaged EXIF block is no reason to lose the image
        return 1
    return found if found in range(1, 9) else 1


def _pixels(image: Image.Image, header: Header) -> np.ndarray:
    """Returns (1 or 3, h, w) uint8, or uint16 of grey with 16 bits; transparency is laid on white.

    Of colour with 16 bits, and grey with transparency, the upper 8 as uint8, with alpha if there is any.
    """
    invert = header.deep and image.format == "TIFF" and _tag(image, _PHOTOMETRIC) == 0  # white is 0
    bits = 12 if _stored(image)[1] == "I;12" else 16
    _turn_upright(image)
    image.load()
    grey = image.mode in _GREY
    wanted = "" if image.mode.startswith("I") else "L" if grey else "RGB"  # "I" and "I;16" hold 16-bit grey
    # the one colour that counts as transparent has 16 bits where the image has
    if wanted and (image.mode in _ALPHA or ("transparency" in image.info and not header.deep)):
        wanted = "LA" if grey else "RGBA"
    channels = len(wanted) if header.deep and wanted else header.channels
    values = np.empty((channels, image.height, image.width), np.uint8 if wanted else np.uint16)
    for rows, columns in _tiles(image.height, image.width):
        tile = image.crop((columns.start, rows.start, columns.stop, rows.stop))
        if wanted and tile.mode != wanted:
            tile = tile.convert(wanted)
        array = np.asarray(tile)
        if not wanted:
            array = array.astype(np.uint16)  # native byte order
            array = array << 4 | array >> 8 if bits == 12 else array
            array = ~array if invert else array
        array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
        values[:, rows, columns] = array if header.deep else _flat(array)
    return values


def _tiles(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Returns the rows and columns of the parts of an image."""
    across = min(width, _TILE)
    down = _TILE // across
    for top in range(0, height, down):
        for left in range(0, width, across):
            yield slice(top, min(top + down, height)), slice(left, min(left + across, width))


def _flat(values: np.ndarray) -> np.ndarray:
    """Lays transparency on white: (2 or 4, h, w) becomes (1 or 3, h, w)."""
    if len(values) in (1, 3):
        return values
    most = np.float32(np.iinfo(values.dtype).max)
    colour, alpha = values[:-1].astype(np.float32), values[-1:].astype(np.float32) / most
    return (colour * alpha + most * (1 - alpha)).round().astype(values.dtype)


def _deep(path: str | Path, header: Header, high: np.ndarray) -> np.ndarray:
    """Returns all 16 bits of a colour image of which Pillow has given the upper 8: read in the other byte order it
    gives the lower 8.

    Grey with transparency can't be read so; its upper 8 bits are spread over 16.
    """
    with open_image(path) as image:
        if _stored(image)[1] == "LA;16B":
            high = low = high[[0, 3]]
        else:
            image.tile = [(*tile[:3], _swapped(tile[3])) for tile in image.tile]  # pyright: ignore[reportAttributeAccessIssue]
            low = _pixels(image, header)
    del image
    values = np.empty((header.channels, *high.shape[1:]), np.uint16)
    for rows, columns in _tiles(*high.shape[1:]):
        values[:, rows, columns] = _flat(high[:, rows, columns].astype(np.uint16) << 8 | low[:, rows, columns])
    return values


def _swapped(arguments: Any) -> Any:
    """Returns a tile's arguments with the other byte order."""
    if isinstance(arguments, tuple):
        return _swapped(arguments[0]), *arguments[1:]
    order = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
    return arguments[:-1] + order[arguments[-1]]


def _deep_ppm(path: str | Path, image: ImageFile, header: Header) -> Pixels:
    """Decodes a PPM or PGM with two bytes a value; Pillow gives colour in 8 bits, and is slow."""
    codec, _, most = _stored(image)
    most = 65535 if codec == "raw" else most
    file, start, *_ = locate(path)
    stored = np.memmap(file, ">u2", "r", start + image.tile[0][2], (header.height, header.width, header.channels))
    values = np.empty((header.channels, header.height, header.width), np.uint16)
    for rows, columns in _tiles(header.height, header.width):
        tile = stored[rows, columns].transpose(2, 0, 1).astype(np.uint32)
        values[:, rows, columns] = np.minimum((tile * 65535 + most // 2) // most, 65535)
    return torch.from_numpy(values)


def _reason(path: str | Path, error: Exception) -> str:
    """Returns why a file can't be read, in words of its own where Pillow's are no help."""
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MOST_PIXELS // 1_000_000} megapixels"
    if isinstance(error, UnidentifiedImageError):
        with open_file(path) as file:
            head = file.read(512)
        if not head:
            return "the file is empty"
        heic = head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"heim", b"heis")
        if heic and "HEIF" not in FORMATS:
            return NEEDS_HEIF
        kinds = "an image is one of " + ", ".join(FORMATS)
        if b"\0" not in head and head.isascii():
            return f"not an image: the file holds text; {kinds}"
        return f"not an image, or its first bytes are damaged; {kinds}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"damaged or truncated ({error})"
