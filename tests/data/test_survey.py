"""A first look at folders: how images belong together, and what there is to say before anything is trained."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import write_pairs, write_png
from unbraid.core.types import UserError
from unbraid.data.survey import survey


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Folders photo and sketch of 12 pairs."""
    return write_pairs(tmp_path, 12)


def filled(folder: Path, names: list[str], size: tuple[int, int] = (16, 16)) -> Path:
    for number, name in enumerate(names, 1000):
        write_png(folder / name, number, size)
    return folder


def test_equal_names_are_pairs(root: Path) -> None:
    found = survey([root / "photo", root / "sketch"])
    assert (found.kind, found.pairs, found.common, found.items) == ("pairs", 12, 0, 12)
    assert str(found.folders[0]) == "photo: 12 images, 16 x 16 px (height x width)"
    assert survey([root]).kind == "pairs"  # two folders in one, whose names agree


def test_other_names_are_none(root: Path) -> None:
    other = filled(root / "other", [f"x{i}.png" for i in range(10)] + ["00.png", "01.png"])
    found = survey([root / "photo", other])
    assert (found.kind, found.places) == ("unpaired", (root / "photo", other))


def test_class_folders_and_halves_are_known(tmp_path: Path) -> None:
    for name in "xyz":
        filled(tmp_path / "classes" / name, [f"{i}.png" for i in range(4)])
    found = survey([tmp_path / "classes"])
    assert (found.kind, found.classes) == ("classes", {"x": 4, "y": 4, "z": 4})
    found = survey([filled(tmp_path / "halves", [f"{i}.png" for i in range(10)], (16, 32))])
    assert (found.kind, found.pairs, found.size(32)) == ("side by side", 10, (32, 32))


def test_folders_for_each_part_are_known(root: Path) -> None:
    (root / "parts").mkdir()
    (root / "photo").rename(root / "parts" / "trainA")
    (root / "sketch").rename(root / "parts" / "trainB")
    found = survey([root / "parts"])
    assert (found.kind, found.pairs, found.places, found.parts) == ("pairs", 12, (root / "parts",), True)


def test_what_is_odd_is_counted(root: Path) -> None:
    shutil.copy(root / "photo" / "00.png", root / "photo" / "twice.png")
    shutil.copy(root / "photo" / "01.png", root / "sketch" / "common.png")
    (root / "photo" / "broken.png").write_bytes(b"no image")
    (root / "photo" / "notes.txt").write_text("notes")
    found = survey([root / "photo", root / "sketch"])
    assert found.common == 1
    words = str(found.folders[0])
    assert all(part in words for part in ("13 images", "1 are equal", "1 more can't be read, broken.png", "1 files"))


@pytest.mark.parametrize(
    ("shapes", "side", "expected"),
    [
        ([(160, 128)] * 3, 64, (80, 64)),
        ([(128, 160)] * 3, 64, (64, 80)),
        ([(160, 128), (128, 160)], 64, (64, 64)),
        ([(28, 28)], 64, (32, 32)),
        ([(50, 50)], 64, (48, 48)),
        ([(900, 100)], 64, (64, 64)),
    ],
)
def test_the_size_follows_the_images(
    tmp_path: Path, shapes: list[tuple[int, int]], side: int, expected: tuple[int, int]
) -> None:
    for folder in "ab":
        for number in range(10):
            write_png(tmp_path / folder / f"{number}.png", 100 * ord(folder) + number, shapes[number % len(shapes)])
    assert survey([tmp_path / "a", tmp_path / "b"]).size(side) == expected


def test_folders_with_nothing_to_learn_from_are_refused(root: Path) -> None:
    photo = root / "photo"

    def refused(match: str, *places: Path) -> None:
        with pytest.raises(UserError, match=match):
            survey(places)

    shutil.copytree(photo, root / "copy")
    refused("are the same folder", photo, root / "sketch" / ".." / "photo")
    refused("lies in", root, photo)
    refused(r"hold the same images \(12 of 12", photo, root / "copy")
    refused("There is no folder", photo, root / "nowhere")
    (root / "empty").mkdir()
    refused("it is empty", photo, root / "empty")
    refused("what is the other", photo)
    refused("3 folders", photo, photo, photo)
    few = filled(root / "few", ["00.png", "01.png", "02.png", "03.png"])
    refused("10 are needed at least", few, root / "sketch")
    for number in range(5, 12):
        (root / "copy" / f"{number:02d}.png").write_bytes(b"")
    refused(r"copy has 5 pairs with .*: 10 are needed", root / "copy", root / "sketch")
    grey = root / "grey"
    grey.mkdir()
    for number in range(12):
        Image.fromarray(np.zeros((16, 16), np.uint8)).save(grey / f"{number:02d}.png")
    refused("All 12 images", grey, photo)
