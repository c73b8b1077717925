"""Answers at any size are put together without seams, and nothing that lies where a command is to write is lost."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from helpers import write_png
from unbraid.core.types import ImageSpec, UserError
from unbraid.data.images import decode
from unbraid.model.drawing import quantised, save_gif, save_picture
from unbraid.model.inputs import Fitting, view
from unbraid.model.outputs import (
    MARK,
    FormatName,
    Picture,
    PictureFormat,
    check_codes,
    check_file,
    check_folder,
    rendered,
    tiled,
    tiles_along,
)


def copied(given: Path, place: Path) -> Path:
    place.write_bytes(given.read_bytes())
    return place


OTHER_NAMES: dict[str, Callable[[Path, Path], Path]] = {
    "itself": lambda given, place: given,
    "dots": lambda given, place: given.parent / ".." / given.parent.name / "." / given.name,
    "link": lambda given, place: [place.symlink_to(given), place][1],  # type: ignore[return-value,func-returns-value]
    "hard link": lambda given, place: [os.link(given, place), place][1],  # type: ignore[return-value,func-returns-value]
    "link to its folder": lambda given, place: [place.symlink_to(given.parent), place / given.name][1],  # type: ignore[return-value,func-returns-value]
}


@pytest.mark.parametrize("name", OTHER_NAMES)
@pytest.mark.parametrize("by_folder", [False, True])
def test_what_was_given_is_not_written_over_by_any_name(name: str, by_folder: bool, tmp_path: Path) -> None:
    given = tmp_path / "mine" / "q.png"
    save_picture(Image.new("RGB", (4, 4)), given, MARK)  # even if an earlier command has made it
    out = OTHER_NAMES[name](given, tmp_path / "other.png")
    files = [given.parent, given] if by_folder else [given]
    with pytest.raises(UserError, match="choose another --out"):
        check_file(out, files)
    with pytest.raises(UserError, match="choose another --out"):
        check_folder(out.parent, [out.name], files)


def test_a_file_that_a_command_made_may_be_replaced_and_no_other(tmp_path: Path) -> None:
    save_picture(Image.new("RGB", (4, 4)), tmp_path / "ours.png", MARK)
    save_gif([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)], tmp_path / "ours.gif", comment=MARK)
    check_file(tmp_path / "ours.png", [])
    check_folder(tmp_path, ["ours.png", "ours.gif", "new.png"], [])
    write_png(tmp_path / "theirs.png", 1)
    copied(tmp_path / "theirs.png", tmp_path / "theirs.gif")
    (tmp_path / "text.png").write_text("notes")
    for name in ("theirs.png", "theirs.gif", "text.png"):
        with pytest.raises(UserError, match="has not made it: choose another --out"):
            check_folder(tmp_path, ["new.png", name], [])
    with pytest.raises(UserError, match="has not made it"):
        check_file(tmp_path / "new.png", [], tmp_path / "theirs.gif")


def test_codes_replace_codes(tmp_path: Path) -> None:
    np.savez(tmp_path / "codes.npz", names=np.array(["a"]), shared=np.zeros(1), exclusive=np.zeros(1))
    np.savez(tmp_path / "data.npz", a=np.zeros(1), b=np.zeros(1))
    (tmp_path / "text.npz").write_text("notes")
    check_codes(tmp_path / "codes.npz", [])
    for name in ("data.npz", "text.npz"):
        with pytest.raises(UserError, match="has not made it"):
            check_codes(tmp_path / name, [])


def test_what_is_written_has_the_ending_of_what_it_is(tmp_path: Path) -> None:
    for name in ("q.jpg", "q", "q.png.jpg", "q.webp"):
        with pytest.raises(UserError, match=r"ends in \.png"):
            check_file(tmp_path / name, [])
        with pytest.raises(UserError, match=r"ends in \.npz"):
            check_codes(tmp_path / name, [])
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        check_file(tmp_path / "folder.png", [])
    write_png(tmp_path / "file.png", 1)
    with pytest.raises(UserError, match="is a file: give a folder"):
        check_folder(tmp_path / "file.png", [], [])


def test_answers_do_not_lie_among_the_images(tmp_path: Path) -> None:
    write_png(tmp_path / "mine" / "x.png", 1)
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for out in (tmp_path / "mine", tmp_path / "mine" / "new", tmp_path / "link" / "new"):
        with pytest.raises(UserError, match="stay apart"):
            check_folder(out, ["x-1.png"], [tmp_path / "mine"])
        with pytest.raises(UserError, match="stay apart"):
            check_file(out / "new.png", [tmp_path / "mine"])
    check_folder(tmp_path / "answers", ["x-1.png"], [tmp_path / "mine"])


SPEC = ImageSpec(16, 24)


def identity(x: Tensor) -> Tensor:
    return x[:, None]


def pixels(height: int, width: int, kind: type = np.uint8, channels: int = 3) -> Tensor:
    most = np.iinfo(kind).max + 1
    return torch.from_numpy(np.random.default_rng(0).integers(most, size=(channels, height, width)).astype(kind))


def as_rows(x: Tensor) -> np.ndarray:
    return x.numpy().transpose(1, 2, 0)


@pytest.mark.parametrize("size", [(16, 24), (17, 24), (50, 100), (5, 7), (16, 200), (131, 30)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_tiles_of_a_model_that_changes_nothing_give_the_image(size: tuple[int, int], kind: type) -> None:
    x = pixels(*size, kind)
    (made,) = tiled(x, SPEC, identity, deep=kind is np.uint16)
    assert made.dtype == kind
    np.testing.assert_array_equal(made, as_rows(x))


def test_tiles_that_differ_meet_without_a_seam() -> None:
    """Each tile is answered by a grey of its own: between neighbours no step is larger than the blend makes it."""
    greys = iter(torch.linspace(-1, 1, 1000)[torch.randperm(1000)])
    (made,) = tiled(
        pixels(100, 300),
        ImageSpec(64, 64),
        lambda x: torch.stack([torch.full((1, 3, 64, 64), float(next(greys))) for _ in x]),
    )
    steps = max(np.abs(np.diff(made.astype(int), axis=axis)).max() for axis in (0, 1))
    assert 0 < steps <= 255 * 1.2 * np.pi / 2 / 16  # the steepest part of a squared sine over 16 px


@pytest.mark.parametrize(("length", "size"), [(1, 8), (8, 8), (9, 8), (1000, 64), (64, 1), (7, 3)])
def test_weights_of_tiles_add_up_to_one(length: int, size: int) -> None:
    starts, weights = tiles_along(length, size)
    total = torch.zeros(max(length, size))
    for start, own in zip(starts, weights, strict=True):
        total[start : start + size] += own
    torch.testing.assert_close(total, torch.ones_like(total))
    assert starts[0] == 0
    assert starts[-1] + size == max(length, size)


@pytest.mark.parametrize(
    ("fitting", "size", "shape"),
    [
        ("cover", (40, 24), (16, 24)),  # what was kept, at the image's scale
        ("cover", (32, 48), (32, 48)),
        ("contain", (40, 24), (40, 24)),
        ("contain", (3, 400), (3, 400)),
        ("tile", (40, 60), (40, 60)),
    ],
)
def test_answers_have_the_size_of_the_input(fitting: Fitting, size: tuple[int, int], shape: tuple[int, int]) -> None:
    x = torch.linspace(0, 255, size[1]).expand(3, *size).round().to(torch.uint8)
    ((_, _, (made,)),) = rendered([(0, view(x, SPEC, fitting))], (SPEC, SPEC), identity, size="input")
    assert made.shape == (*shape, 3)
    top, left = (size[0] - shape[0]) // 2, (size[1] - shape[1]) // 2
    kept = as_rows(x)[top : top + shape[0], left : left + shape[1]].astype(int)
    assert abs(made - kept).mean() < 8
    if fitting == "contain":
        seen = view(x, SPEC, fitting).x
        assert seen.shape == SPEC.shape
        assert seen.isfinite().all()


@pytest.mark.parametrize("name", ["png", "png16", "jpeg", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_formats_hold_what_was_written_and_know_it_again(name: FormatName, channels: int, tmp_path: Path) -> None:
    smooth = torch.linspace(-1, 1, 40).expand(channels, 30, 40)
    form = PictureFormat(name, 95)
    picture: Picture = quantised(smooth, form.deep)
    path = tmp_path / f"x{form.ending}"
    form.save(picture, path)
    with Image.open(path) as opened:
        assert opened.size == (40, 30)
        opened.verify()
    read = decode(path)
    assert read.dtype == (torch.uint16 if name == "png16" else torch.uint8)
    difference = np.abs(as_rows(read).astype(int) - picture).max()
    assert difference == 0 if "png" in name else difference <= 6
    check_folder(tmp_path, [path.name], [])  # made by unbraid, so it may be replaced
    Image.new("RGB", (4, 4)).save(path)
    with pytest.raises(UserError, match="has not made it"):
        check_folder(tmp_path, [path.name], [])


def test_a_quality_is_from_1_to_100() -> None:
    with pytest.raises(UserError, match="--quality 0: from 1 to 100"):
        PictureFormat("jpeg", 0)
