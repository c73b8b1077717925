"""Files that a command writes where its user says: nothing is lost that was there."""

import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from unbraid.core.files import is_inside
from unbraid.core.types import UserError
from unbraid.data.images import open_image

MADE = "made by unbraid"
"""The comment in pictures that commands write. A file is replaced if it has one."""
ARRAYS = {"names", "shared", "exclusive"}
"""What `unbraid encode` writes into a .npz file, by which it knows it again."""
WRITTEN_AS = {".png": "a picture is written as PNG", ".npz": "codes are written as NumPy arrays"}


def check_file(out: Path, given: Sequence[Path], *more: Path) -> None:
    """UserError if a picture (.png), and more files with it, can't be written without loss; see `keep_apart`."""
    _check_ending(out, ".png")
    keep_apart([out, *more], given)
    _check_place(out, given)


def check_codes(out: Path, given: Sequence[Path]) -> None:
    """UserError if codes (.npz) can't be written there without loss; see `keep_apart`."""
    keep_apart([out], given)
    _check_ending(out, ".npz")


def check_folder(out: Path, names: Iterable[str], given: Sequence[Path]) -> None:
    """UserError if files of these names can't be written into the folder without loss; see `keep_apart`."""
    if os.path.isfile(out):
        raise UserError(f"--out {out} is a file: give a folder")
    _check_place(out, given)
    keep_apart((out / name for name in names), given)


def keep_apart(outputs: Iterable[Path], given: Sequence[Path]) -> None:
    """UserError if a file that is to be written is there, unless `unbraid` made it and it is none of those given.

    given: files, and folders with all that they hold; links of any kind are followed.
    """
    folders = [path.resolve() for path in given if os.path.isdir(path)]
    files = {(found.st_dev, found.st_ino) for found in (path.stat() for path in given if os.path.isfile(path))}
    for out in outputs:
        if not os.path.exists(out):
            continue
        found, place = out.stat(), out.resolve()
        if (found.st_dev, found.st_ino) in files or any(place.is_relative_to(folder) for folder in folders):
            raise UserError(f"{out} is among the images that were given: choose another --out, so that none is lost")
        if out.is_dir():
            raise UserError(f"--out {out} is a folder: give the name of a file")
        if not _made_here(out):
            raise UserError(
                f"{out} is there, and `unbraid` has not made it: choose another --out, so that it is not lost, or "
                "remove it"
            )


def _check_ending(out: Path, ending: str) -> None:
    if out.suffix.lower() != ending:
        raise UserError(f"--out {out}: {WRITTEN_AS[ending]}, so give a name that ends in {ending}")


def _check_place(out: Path, given: Sequence[Path]) -> None:
    """Answers in a folder of images would be taken for images the next time."""
    for folder in given:
        if os.path.isdir(folder) and is_inside(out, folder):
            raise UserError(
                f"--out {out} lies in {folder}, which holds the images that were given: choose another --out, so that "
                "answers and images stay apart"
            )


def _made_here(path: Path) -> bool:
    try:
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(path) as file:
                return {name.removesuffix(".npy") for name in file.namelist()} == ARRAYS
        with open_image(path) as picture:
            return picture.info.get("comment") in (MADE, MADE.encode())
    except Exception:  # Pillow and zipfile raise anything on files of other kinds
        return False
