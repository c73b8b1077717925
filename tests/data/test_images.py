import io
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import unbraid
from unbraid.core.types import ImageSpec, UserError
from unbraid.data.images import (
    BYTES_A_PIXEL,
    BYTES_WANTED,
    DECODING,
    FORMATS,
    HEIF,
    MOST_PIXELS,
    SUFFIXES,
    ImageError,
    Room,
    decode,
    fit,
    fitted,
    open_image,
    read_header,
    read_image,
    room,
    scaled,
)

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


def peak(work: Callable[[], object]) -> int:
    """Bytes by which memory in use rises at most while `work` is done."""

    def now(what: str) -> int:
        found = re.search(what + r":\s+(\d+)", Path("/proc/self/status").read_text())
        assert found
        return int(found[1]) * 1024

    Path("/proc/self/clear_refs").write_text("5")
    before = now("VmRSS")
    work()
    return now("VmHWM") - before


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="measures memory as Linux does")
@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("x.png", "RGB", {}),
        ("x.png", "RGBA", {}),
        ("x.png", "LA", {}),
        ("x.png", "P", {"transparency": 1}),
        ("x.png", "RGBA", {"turned": True}),
        ("x.jpg", "CMYK", {"progressive": True}),
        ("x.jpg", "RGB", {"progressive": True, "subsampling": 0, "turned": True}),
        ("x.webp", "RGBA", {"lossless": True, "method": 0, "quality": 0}),
        ("x.tif", "CMYK", {"compression": "tiff_lzw"}),
        ("x.png", "16 bits", {}),
        ("x.png", "16 bits and alpha", {}),
        ("x.ppm", "16 bits", {}),
    ],
)
def test_memory_is_bounded_by_the_stated_bytes_a_pixel(
    tmp_path: Path, name: str, mode: str, options: dict[str, Any]
) -> None:
    height, width = 1000, 2000
    file = tmp_path / name
    values = np.zeros((height, width, 4 if "alpha" in mode else 3), np.uint16)
    if name == "x.ppm":
        file.write_bytes(b"P6 %d %d 65535 " % (width, height) + values.tobytes())
    elif "16" in mode:
        file.write_bytes(deep_png(values))
    else:
        if options.pop("turned", False):
            options["exif"] = Image.Exif()
            options["exif"][0x0112] = 6
        Image.new("RGB", (width, height)).convert(mode).save(file, **options)
    for spec in (ImageSpec(16, 16), ImageSpec(16, 16, 1)):
        read_image(file, spec)  # so that the codecs' code is there
        assert peak(lambda spec=spec: read_image(file, spec)) < BYTES_A_PIXEL * height * width


@pytest.mark.parametrize("size", [(1, 200_000), (200_000, 1), (20_000, 1), (3, 70_000)])
def test_long_images_are_cut_before_they_are_scaled(tmp_path: Path, size: tuple[int, int]) -> None:
    image = Image.new("RGBA", size, "black")
    image.paste("white", (size[0] // 2 - 99, size[1] // 2 - 99, size[0] // 2 + 99, size[1] // 2 + 99))
    image.save(tmp_path / "x.png")
    if os.access("/proc/self/clear_refs", os.W_OK):
        assert peak(lambda: read_image(tmp_path / "x.png", ImageSpec(256, 256))) < 60e6
    assert (read_image(tmp_path / "x.png", ImageSpec(256, 256)) > 0.99).all()


def test_cutting_first_changes_nothing_that_is_seen() -> None:
    strip = torch.rand(1, 3, 20, 900, generator=torch.Generator().manual_seed(0))
    cut, whole = (fit(strip, ImageSpec(10, 10)), fit(strip[..., 380:520], ImageSpec(10, 10)))
    assert torch.allclose(cut, whole, atol=1e-5)
    batch = fit(torch.zeros(2, 1, 1, 500_000), ImageSpec(64, 64))
    assert batch.shape == (2, 3, 64, 64)


def tiff(**tags: int) -> bytes:
    """A grey TIFF of 10 x 10 that says this of itself too."""
    known = {
        "width": 256,
        "height": 257,
        "bits": 258,
        "compression": 259,
        "photometric": 262,
        "offset": 273,
        "planes": 284,
    }
    known |= {"bytes": 279, "tile_width": 322, "tile_height": 323, "tile_offset": 324, "tile_bytes": 325}
    said = {"width": 10, "height": 10, "bits": 8, "compression": 1, "photometric": 1} | tags
    entries = sorted((known[name], value) for name, value in said.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries) + bytes(4)


def test_a_tile_larger_than_its_image_counts(tmp_path: Path) -> None:
    side = 30_000
    claim = tiff(compression=5, tile_width=side, tile_height=side, tile_offset=300, tile_bytes=500)
    (tmp_path / "x.tif").write_bytes(claim + bytes(1000))
    assert side * side > MOST_PIXELS
    with pytest.raises(ImageError, match="30000x30000 pixels"):
        read_header(tmp_path / "x.tif")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize("name", ["photo.png", "photo.eps", "photo.jpg"])
def test_no_other_program_is_started_for_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("Ghostscript was started"))
    (tmp_path / name).write_bytes(EPS)
    for read in (decode, read_header):
        with pytest.raises(ImageError, match="not an image"):
            read(tmp_path / name)


@pytest.mark.parametrize("kind", ["ICO", "PCX", "SGI", "TGA", "JPEG2000", "PDF", "ICNS", "DDS", "IM"])
def test_formats_that_few_look_at_are_not_read(tmp_path: Path, kind: str) -> None:
    picture(size=(32, 32)).save(tmp_path / "x.png", kind)
    with pytest.raises(ImageError, match="one of PNG, JPEG"):
        decode(tmp_path / "x.png")


def test_nothing_opens_images_past_the_one_function_that_knows_the_formats() -> None:
    for file in Path(unbraid.__file__).parent.rglob("*.py"):
        count = len(re.findall(r"Image\.open\(", file.read_text(encoding="utf-8")))
        assert count == (file.name == "images.py" and file.parent.name == "data"), file


def deep_values(channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65536, (5, 7, channels), dtype=np.uint16)


@pytest.mark.parametrize(("kind", "channels"), [(b"P5", 1), (b"P6", 3)])
@pytest.mark.parametrize("most", [65535, 4095, 300])
def test_16_bits_of_ppm_and_pgm_are_read(tmp_path: Path, kind: bytes, channels: int, most: int) -> None:
    values = (deep_values(channels).astype(np.uint32) * most // 65535).astype(">u2")
    file = tmp_path / "x.ppm"
    file.write_bytes(kind + b"\n# from a camera\n7 5\n%d\n" % most + values.tobytes())
    header, pixels = read_header(file), decode(file)
    assert (header.deep, header.channels, pixels.dtype) == (True, channels, torch.uint16)
    wanted = torch.from_numpy(np.rint(values / most * 65535).transpose(2, 0, 1).copy())
    assert (pixels.double() - wanted).abs().max() <= 1
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ImageError, match="truncated"):
        decode(file)


def test_16_bits_of_a_text_pgm_are_read_and_of_a_text_ppm_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pgm").write_bytes(b"P2 2 1 1000 0 1000")
    assert decode(tmp_path / "x.pgm").int().tolist() == [[[0, 65535]]]
    (tmp_path / "x.ppm").write_bytes(b"P3 1 1 1000 0 500 1000")
    with pytest.raises(ImageError, match="16 bits a value"):
        decode(tmp_path / "x.ppm")


def deep_tiff(values: np.ndarray, order: str = "<", photometric: int | None = None) -> bytes:
    """An uncompressed TIFF of 16 bits a value."""
    height, width, channels = values.shape
    photometric = photometric if photometric is not None else 2 if channels >= 3 else 1
    shorts = {256: width, 257: height, 259: 1, 262: photometric, 277: channels, 278: height}
    if channels == 4:
        shorts[338] = 2
    contents = values.astype(f"{order}u2").tobytes()
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    count = len(shorts) + 3
    at = 8 + 2 + 12 * count + 4
    entries = {tag: struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in shorts.items()}
    depth = struct.pack(f"{order}HH", 16, 0) if channels == 1 else struct.pack(f"{order}I", at)
    entries[258] = struct.pack(f"{order}HHI", 258, 3, channels) + depth
    entries[273] = struct.pack(f"{order}HHII", 273, 4, 1, at + len(bits))
    entries[279] = struct.pack(f"{order}HHII", 279, 4, 1, len(contents))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, count)
    return head + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4) + bits + contents


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_of_tiff_are_read(tmp_path: Path, channels: int, order: str) -> None:
    values = deep_values(channels)
    if channels == 4:
        values[..., 3] = 65535
    (tmp_path / "x.tif").write_bytes(deep_tiff(values, order))
    header, pixels = read_header(tmp_path / "x.tif"), decode(tmp_path / "x.tif")
    assert header.deep
    assert (pixels.int().numpy() == values[..., :3].transpose(2, 0, 1)).all()


def test_16_bits_where_white_is_0_are_turned_round(tmp_path: Path) -> None:
    values = deep_values(1)
    (tmp_path / "x.tif").write_bytes(deep_tiff(values, photometric=0))
    assert (decode(tmp_path / "x.tif").int().numpy() == 65535 - values.astype(int).transpose(2, 0, 1)).all()


@pytest.mark.skipif(".avif" not in SUFFIXES, reason="this Pillow has no AVIF")
def test_avif_is_read_and_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(tmp_path / "x.avif", exif=exif)
    header = read_header(tmp_path / "x.avif")
    assert decode(tmp_path / "x.avif").shape == (3, 10, 6) == (header.channels, header.height, header.width)


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
@pytest.mark.skipif(".heic" in SUFFIXES, reason="pillow-heif is there")
def test_heic_without_its_package_says_what_to_install(tmp_path: Path, brand: bytes) -> None:
    (tmp_path / "x.heic").write_bytes(struct.pack(">I", 24) + b"ftyp" + brand + bytes(12))
    with pytest.raises(ImageError, match=r"pip install 'unbraid\[heif\]'"):
        decode(tmp_path / "x.heic")


def test_damaged_heic_with_its_package_is_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "HEIF", HEIF)
    (tmp_path / "x.heic").write_bytes(struct.pack(">I", 24) + b"ftypheic" + bytes(12))
    with pytest.raises(ImageError, match="damaged"):
        decode(tmp_path / "x.heic")


@pytest.mark.skipif(".heic" not in SUFFIXES, reason="needs pillow-heif")
def test_heic_is_read(tmp_path: Path) -> None:
    picture(size=(64, 48)).save(tmp_path / "x.heic")
    assert decode(tmp_path / "x.heic").shape == (3, 48, 64)
    shutil.copy(tmp_path / "x.heic", tmp_path / "x.jpg")
    with open_image(tmp_path / "x.jpg") as image:
        assert image.format == "HEIF"


def test_threads_take_no_more_at_once_than_there_is_room_for() -> None:
    shared, most, held = Room(100), 0, 0
    lock = threading.Lock()

    def take(amount: int) -> None:
        nonlocal most, held
        weight = min(amount, shared.size)
        with shared.taken(amount):
            with lock:
                held += weight
                most = max(most, held)
            time.sleep(0.002)
            with lock:
                held -= weight

    amounts = [int(each) for each in np.random.default_rng(0).integers(1, 90, 60)] + [1000, 5000]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, amounts))
    assert most == 100  # of what is larger, which runs alone
    assert shared.free == 100


def test_the_room_is_given_back_whatever_happens(tmp_path: Path) -> None:
    noise().save(tmp_path / "x.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "x.png").read_bytes()[:5000])
    with room(tmp_path / "x.png", ImageSpec(10, 10)):
        assert DECODING.size - DECODING.free == BYTES_A_PIXEL * 60 * 80 + BYTES_WANTED * 100
    for name in ("x.png", "cut.png", "none.png"):
        with suppress(ImageError):
            read_image(tmp_path / name, ImageSpec(10, 10))
    assert DECODING.free == DECODING.size


SEVERAL = """
import re, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unbraid.data import images
from unbraid.core.types import ImageSpec

def now(what):
    return int(re.search(what + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

images.DECODING = images.Room(int(sys.argv[2]))
read = lambda _: images.read_image(sys.argv[1], ImageSpec(16, 16))
read(0)
Path("/proc/self/clear_refs").write_text("5")
before = now("VmRSS")
with ThreadPoolExecutor(6) as pool:
    list(pool.map(read, range(18)))
print(now("VmHWM") - before)
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="measures memory as Linux does")
def test_the_memory_of_several_threads_stays_within_the_room(tmp_path: Path) -> None:
    noise(1000, 2000).save(tmp_path / "x.png")
    room_there = int(1.5 * BYTES_A_PIXEL * 1000 * 2000)
    command = [sys.executable, "-c", SEVERAL, str(tmp_path / "x.png"), str(room_there)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < room_there


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="measures memory as Linux does")
@pytest.mark.parametrize("size", [(40, 30), (30, 240), (240, 30)])
def test_memory_for_a_large_wanted_size_is_bounded(tmp_path: Path, size: tuple[int, int]) -> None:
    noise(*size).save(tmp_path / "x.png")
    for spec in (ImageSpec(1000, 1000), ImageSpec(1000, 1000, 1)):
        assert peak(lambda spec=spec: read_image(tmp_path / "x.png", spec)) < BYTES_WANTED * 1000 * 1000
