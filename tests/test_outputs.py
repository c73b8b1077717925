"""Nothing that lies where a command is to write is lost."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import write_png
from unbraid.core.types import UserError
from unbraid.model.drawing import save_gif, save_picture
from unbraid.model.outputs import MADE, check_codes, check_file, check_folder


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
    save_picture(Image.new("RGB", (4, 4)), given, MADE)  # even if an earlier command has made it
    out = OTHER_NAMES[name](given, tmp_path / "other.png")
    files = [given.parent, given] if by_folder else [given]
    with pytest.raises(UserError, match="choose another --out"):
        check_file(out, files)
    with pytest.raises(UserError, match="choose another --out"):
        check_folder(out.parent, [out.name], files)


def test_a_file_that_a_command_made_may_be_replaced_and_no_other(tmp_path: Path) -> None:
    save_picture(Image.new("RGB", (4, 4)), tmp_path / "ours.png", MADE)
    save_gif([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)], tmp_path / "ours.gif", comment=MADE)
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
