import io
import struct
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unbraid.data.images import ImageError, decode, fit, fitted, read_header, read_image, scaled
from unbraid.types import ImageSpec, UserError

COLOUR = (200, 100, 50)


def picture(mode: str = "RGB", size: tuple[int, int] = (10, 6)) -> Image.Image:
    return Image.new("RGB", size, COLOUR).convert(mode)


def noise(height: int = 60, width: int = 80) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def deep_png(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a value, which Pillow can't write. values: (h, w, c); c = 1 grey, 3 colour, one more: alpha."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, contents: bytes) -> bytes:
        return struct.pack(">I", len(contents)) + kind + contents + struct.pack(">I", zlib.crc32(kind + contents))

    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    contents = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + contents


@pytest.mark.parametrize(
    ("name", "mode", "expected"),
    [
        ("x.png", "RGB", COLOUR),
        ("x.png", "L", (124,)),
        ("x.png", "1", (0,)),
        ("x.png", "P", COLOUR),
        ("x.png", "RGBA", COLOUR),
        ("x.png", "LA", (124,)),
        ("x.jpg", "RGB", COLOUR),
        ("x.jpg", "L", (124,)),
        ("x.jpg", "CMYK", COLOUR),
        ("x.webp", "RGB", COLOUR),
        ("x.webp", "RGBA", COLOUR),
        ("x.bmp", "RGB", COLOUR),
        ("x.gif", "P", COLOUR),
        ("x.tif", "RGB", COLOUR),
    ],
)
def test_every_kind_becomes_grey_or_colour(tmp_path: Path, name: str, mode: str, expected: tuple[int, ...]) -> None:
    image = picture("RGB").quantize(4) if mode == "P" else picture(mode)
    if mode == "1":
        image = Image.new("1", (10, 6))
    image.save(tmp_path / name)
    pixels, header = decode(tmp_path / name), read_header(tmp_path / name)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (len(expected), 6, 10) == (header.channels, header.height, header.width)
    assert (pixels[:, 3, 5].int() - torch.tensor(expected)).abs().max() <= 3  # JPEG and WebP lose a little


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    if mode == "P":
        Image.new("P", (4, 4)).save(tmp_path / "x.png", transparency=0)
    else:
        image = Image.new(mode, (4, 4))  # black, wholly transparent
        image.putpixel((0, 0), (0, 0, 0, 51) if mode == "RGBA" else (0, 51))
        image.save(tmp_path / "x.png")
        assert decode(tmp_path / "x.png")[0, 0, 0] == 204
    assert (decode(tmp_path / "x.png")[:, 1:] == 255).all()


@pytest.mark.parametrize(("channels", "kept"), [(1, 1), (2, 1), (3, 3), (4, 3)])
def test_16_bits_are_kept(tmp_path: Path, channels: int, kept: int) -> None:
    value = 40092 if channels == 2 else 40001  # of grey with transparency 8 bits are kept, 156 * 257
    values = np.full((4, 5, channels), value, np.uint16)
    if channels in (2, 4):
        values[..., -1] = 65535
    (tmp_path / "x.png").write_bytes(deep_png(values))
    pixels, header = decode(tmp_path / "x.png"), read_header(tmp_path / "x.png")
    assert header.deep
    assert header.channels == kept
    assert pixels.dtype == torch.uint16
    assert (pixels.int() == value).all()
    assert pixels.shape == (kept, 4, 5)


def test_exif_orientation_turns_pixels_and_header(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = picture()
    for name in ("x.jpg", "x.webp", "x.png"):
        image.save(tmp_path / name, exif=exif)
        header = read_header(tmp_path / name)
        assert decode(tmp_path / name).shape == (3, 10, 6) == (header.channels, header.height, header.width)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_lose_the_image(tmp_path: Path) -> None:
    picture().save(tmp_path / "x.jpg", exif=b"Exif\0\0MM\0*\0\0\xff\xff nonsense")
    assert decode(tmp_path / "x.jpg").shape == (3, 6, 10)


def bad_files() -> dict[str, tuple[bytes, str]]:
    files = {
        "empty.png": (b"", "empty"),
        "text.png": (b"hello, I am a list\n1,2,3\n", "text"),
        "zeros.jpg": (bytes(300), "not an image"),
    }
    for kind in ("PNG", "JPEG", "WEBP"):
        file = io.BytesIO()
        noise().save(file, kind)
        contents = file.getvalue()
        files[f"truncated.{kind.lower()}"] = (contents[: len(contents) // 2], "truncated")
        files[f"head.{kind.lower()}"] = (contents[:15], "not an image|truncated|damaged")
        if kind == "PNG":  # torchvision.io crashes on this one
            half = len(contents) // 2
            files["damaged.png"] = (contents[:half] + bytes(50) + contents[half + 50 :], "damaged")
    bomb = deep_png(np.zeros((1, 1, 3), np.uint16))
    head = struct.pack(">IIBBBBB", 12_000, 10_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    files["bomb.png"] = (bomb[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + bomb[33:], "megapixels")
    head = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    files["larger bomb.png"] = (bomb[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + bomb[33:], "megapixels")
    return files


@pytest.mark.parametrize("name", bad_files())
def test_bad_files_are_named_with_the_reason(tmp_path: Path, name: str) -> None:
    contents, reason = bad_files()[name]
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(ImageError, match=reason) as caught:
        decode(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.png: No such file"):
        read_image(tmp_path / "none.png", ImageSpec(4, 4))
    with pytest.raises(UserError, match="directory"):
        decode(tmp_path)


def test_floats_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(ImageError, match="32 bits"):
        decode(tmp_path / "x.tif")


def test_read_image_covers_and_cuts_the_middle(tmp_path: Path) -> None:
    values = np.zeros((20, 60, 3), np.uint8)
    values[:, 20:40] = 255
    Image.fromarray(values).save(tmp_path / "x.png")
    image = read_image(tmp_path / "x.png", ImageSpec(10, 10, 1))
    assert image.shape == (1, 10, 10)
    assert image.dtype == torch.float32
    assert image[:, :, 1:-1].min() > 0.99  # a seam of the black thirds may shine through the antialiasing
    assert read_image(tmp_path / "x.png", ImageSpec(20, 60)).unique().tolist() == [-1, 1]


def test_read_image_gives_grey_or_colour_only(tmp_path: Path) -> None:
    picture().save(tmp_path / "x.png")
    with pytest.raises(UserError, match="5 channels"):
        read_image(tmp_path / "x.png", ImageSpec(4, 4, 5))


@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    wanted=st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3])),
    channels=st.sampled_from([1, 3]),
)
def test_fitting_any_size_keeps_flat_images_flat(
    height: int, width: int, wanted: tuple[int, int, int], channels: int
) -> None:
    spec = ImageSpec(*wanted)
    pixels = torch.full((channels, height, width), 77, dtype=torch.uint8)
    result = fitted(pixels, spec)
    assert result.shape == spec.shape
    assert (result == 77).all()


def test_overshooting_of_the_resampling_does_not_wrap_around() -> None:
    steps = torch.zeros(1, 16, 16, dtype=torch.uint8)
    steps[:, :, 8:] = 255
    result = fitted(steps, ImageSpec(48, 48, 1)).int()
    assert result[:, :, :18].max() < 20
    assert result[:, :, 30:].min() > 235


def test_batches_are_fitted_like_single_images() -> None:
    images = torch.rand(3, 3, 12, 20)
    spec = ImageSpec(8, 8, 1)
    assert torch.allclose(fit(images, spec)[1], fit(images[1], spec), atol=1e-6)


@pytest.mark.parametrize(("kind", "most"), [(torch.uint8, 255), (torch.uint16, 65535)])
def test_range_is_minus_one_to_one(kind: torch.dtype, most: int) -> None:
    pixels = torch.tensor([0, most], dtype=torch.int32).to(kind)
    assert scaled(pixels).tolist() == [-1, 1]
    assert pixels.int().tolist() == [0, most]  # the input is left alone


@given(kind=st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "TIFF"]), place=st.floats(0, 1), count=st.integers(1, 40))
def test_any_damage_gives_pixels_or_a_clear_error(kind: str, place: float, count: int) -> None:
    file = io.BytesIO()
    noise(20, 30).save(file, kind)
    contents = bytearray(file.getvalue())
    start = int(place * (len(contents) - 1))
    contents[start : start + count] = bytes(b ^ 0x5A for b in contents[start : start + count])
    with tempfile.NamedTemporaryFile(suffix=".img") as damaged:
        damaged.write(contents)
        damaged.flush()
        with suppress(ImageError):
            assert decode(damaged.name).ndim == 3
