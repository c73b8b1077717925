import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unbraid.core.types import ImageSpec, UserError
from unbraid.web import uploads
from unbraid.web.uploads import read_upload, readable

SPEC = ImageSpec(16, 16)


def sent(path: Path) -> dict[str, str]:
    return {"path": str(path)}


def saved(path: Path, image: Image.Image, **options: object) -> dict[str, str]:
    image.save(path, **options)  # pyright: ignore[reportArgumentType]
    return sent(path)


def picture(mode: str = "RGB", size: tuple[int, int] = (24, 20)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(256, size=(size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def claims(path: Path, width: int, height: int) -> dict[str, str]:
    """A PNG of a few bytes that says it is large."""
    head = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 4)
        + b"IDAT"
        + bytes(8)
    )
    return sent(path)


@pytest.mark.parametrize(
    ("mode", "name"),
    [("RGB", "x.png"), ("RGBA", "x.png"), ("CMYK", "x.jpg"), ("L", "x.png"), ("P", "x.gif"), ("RGB", "x.webp"),
     ("RGB", "x.bmp"), ("RGB", "x.tif"), ("1", "x.png")],
)  # fmt: skip
def test_every_mode_becomes_what_the_model_sees(mode: str, name: str, tmp_path: Path) -> None:
    x, _ = read_upload(saved(tmp_path / name, picture(mode)), SPEC, tmp_path)
    assert x.shape == (1, 3, 16, 16)
    assert x.min() >= -1
    assert x.max() <= 1
    assert x.std() > 0


def test_16_bits_are_read(tmp_path: Path) -> None:
    grey = Image.fromarray(np.full((20, 20), 32768, np.uint16))
    x, note = read_upload(saved(tmp_path / "x.png", grey), SPEC, tmp_path)
    assert x.abs().max() < 0.01
    assert "grey" in note


def test_of_an_animation_the_first_picture_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    sent = saved(tmp_path / "x.gif", frames[0], save_all=True, append_images=frames[1:])
    x, note = read_upload(sent, SPEC, tmp_path)
    assert torch.equal(x[0, :, 0, 0], torch.tensor([1.0, -1.0, -1.0]))
    assert "first picture" in note


def test_one_pixel_is_enlarged_and_said(tmp_path: Path) -> None:
    x, note = read_upload(saved(tmp_path / "x.png", Image.new("RGB", (1, 1), "white")), SPEC, tmp_path)
    assert (x == 1).all()
    assert "1 x 1 pixels" in note


@pytest.mark.parametrize("side", [20_000, 6_000])
def test_large_images_are_refused_before_they_are_decoded(side: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="megapixels"):
        read_upload(claims(tmp_path / "x.png", side, side), SPEC, tmp_path)


@pytest.mark.parametrize("head", [b"hello", b"", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"8BPS\0\1", b"<svg xmlns=''/>"])
def test_what_is_no_known_image_is_refused(head: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(head)
    with pytest.raises(UserError, match=r"an image is one of PNG, JPEG|empty"):
        read_upload(sent(tmp_path / "x.png"), SPEC, tmp_path)


def test_damaged_images_are_refused_without_naming_a_place(tmp_path: Path) -> None:
    good = saved(tmp_path / "x.png", picture(size=(200, 200)))
    (tmp_path / "x.png").write_bytes((tmp_path / "x.png").read_bytes()[:2000])
    with pytest.raises(UserError, match="can't be read") as caught:
        read_upload(good, SPEC, tmp_path)
    assert str(tmp_path) not in str(caught.value)
    assert not readable(good, tmp_path)
    assert readable(saved(tmp_path / "x.png", picture()), tmp_path)


def test_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_BYTES", 100)
    with pytest.raises(UserError, match="MB"):
        read_upload(saved(tmp_path / "x.png", picture()), SPEC, tmp_path)


def test_only_files_in_the_folder_are_opened(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside.png"
    folder.mkdir()
    saved(outside, picture())
    (folder / "link.png").symlink_to(outside)
    saved(tmp_path / "folder-twin.png", picture())
    for path in (outside, folder / ".." / "outside.png", folder / "link.png", tmp_path / "folder-twin.png", folder):
        with pytest.raises(UserError, match="uploaded here"):
            read_upload(sent(path), SPEC, folder)
    for other in ("http://127.0.0.1/x.png", "", "x\0.png", None, 3, ["x"]):
        with pytest.raises(UserError, match="uploaded here"):
            read_upload({"path": other}, SPEC, folder)
    with pytest.raises(UserError, match="uploaded here"):
        read_upload(str(outside), SPEC, folder)
    assert outside.exists()


def test_what_is_cut_off_is_said(tmp_path: Path) -> None:
    _, note = read_upload(saved(tmp_path / "x.png", Image.new("RGB", (40, 20))), SPEC, tmp_path)
    assert "50 % of it (40 x 20) cut off" in note
    _, note = read_upload(saved(tmp_path / "y.png", Image.new("RGB", (20, 20))), SPEC, tmp_path)
    assert "cut off" not in note
