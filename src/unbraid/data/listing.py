"""The image files of a folder, or of the tar files in it."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unbraid.core.short import Short
from unbraid.core.types import UserError
from unbraid.data.archives import ENDING, is_archive, members
from unbraid.data.images import HEIF, NEEDS_HEIF, SUFFIXES

NOT_DATA = {
    *("@eadir", "#recycle", "@recycle", "#snapshot"),  # network storage: thumbnails, what was deleted, older states
    *("__macosx", "$recycle.bin", "system volume information", "lost+found"),
    *("thumbs.db", "desktop.ini"),
}
"""Folders and files that systems put beside the user's own, in lower case."""
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
"""Endings of tar files that can't be read where they lie."""


def is_data(name: str) -> bool:
    """Returns whether a file or folder of this name is the user's: not hidden, nor made by a system."""
    return not name.startswith(".") and name.casefold() not in NOT_DATA


@dataclass(frozen=True)
class Listing(Short):
    """The image files of a folder and its sub-folders. names: sorted, relative, with "/"; others: the files that are
    no images; misnamed: how many have a name that is not UTF-8, and are left out; advice: on others that could be."""

    folder: Path
    names: list[str]
    others: list[str]
    misnamed: int = 0
    advice: str = ""

    @property
    def remark(self) -> str:
        """Returns a remark on the other files, if there are any."""
        advice = f" ({self.advice})" if self.advice else ""
        found = {
            f"are no images{advice}": len(self.others),
            "have names that are not UTF-8: rename them": self.misnamed,
        }
        return "; ".join(f"{count} files in {self.folder} {what}" for what, count in found.items() if count)


def list_images(folder: Path, tars: bool = False) -> Listing:
    """Finds image files by their endings. Hidden files and folders, and those that systems make, are passed over, and
    no folder is read twice, by whatever links.

    tars: whether a tar file may stand for a folder, and what is in the tar files of a folder counts if it holds no
    other images. Raises UserError if the folder doesn't exist, can't be read or holds no image, or a tar file can't be
    read.
    """
    if tars and is_archive(folder):
        return _sorted_out(folder, _in_archives(folder, [""]), " in 1 tar files")
    if not folder.is_dir():
        advice = _advice([folder.name])
        is_file = f"{folder} is a file, not a folder{f': {advice}' if advice else ''}"
        raise UserError(is_file if folder.exists() else f"There is no folder {folder}")
    files = list(_files(folder))
    archives = sorted(name for name in files if name.casefold().endswith(ENDING) and not _broken(name))
    if tars and archives and not any(_is_image(name) and not _broken(name) for name in files):
        found = _sorted_out(folder, _in_archives(folder, archives), f" in {len(archives)} tar files")
        read = {*archives}
        return replace(found, others=found.others + [n for n in files if not _is_image(n) and n not in read])
    return _sorted_out(folder, files)


def _sorted_out(folder: Path, files: Sequence[str], where: str = "") -> Listing:
    """Returns the images among files. Raises UserError, which says where they are, if there are none."""
    images = [name for name in files if _is_image(name)]
    names = sorted(name for name in images if not _broken(name))
    if not names:
        found = f"{len(files)} other files{where}" if files or where else "it is empty"
        endings = f"Images end in {', '.join(sorted(SUFFIXES))}"
        raise UserError(f"No images in {folder}: {found}. {'. '.join(filter(None, (_advice(files), endings)))}")
    others = [name for name in files if not _is_image(name)]
    return Listing(folder, names, others, len(images) - len(names), _advice(files))


def _advice(files: Sequence[str]) -> str:
    """Returns what to do that more of these files can be read, "" if nothing is known."""
    ends = {ending for name in files for ending in (*HEIF, *COMPRESSED) if name.casefold().endswith(ending)}
    found = {
        NEEDS_HEIF: ends.intersection(HEIF) and not SUFFIXES.issuperset(HEIF),
        "tar files are read uncompressed: unpack them, or gunzip": ends.intersection(COMPRESSED),
    }
    return "; ".join(text for text, so in found.items() if so)


def _files(folder: Path) -> Iterator[str]:
    """Yields the files of a folder and its sub-folders, relative, with "/"."""
    visited = {os.path.realpath(folder)}

    def unreadable(error: OSError) -> None:
        raise UserError(f"{error.filename} can't be read: {error.strerror}") from error

    for place, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        inner_folders, folders[:] = sorted(filter(is_data, folders)), []
        for name in inner_folders:
            if (real := os.path.realpath(os.path.join(place, name))) not in visited:
                visited.add(real)
                folders.append(name)
        inner = os.path.relpath(place, folder).replace(os.sep, "/")
        yield from (file if inner == "." else f"{inner}/{file}" for file in filter(is_data, files))


def _in_archives(folder: Path, archives: Sequence[str]) -> list[str]:
    """Returns the files in the tar files of a folder, or in one: archives is [""] then."""
    return [
        f"{archive}/{name}" if archive else name
        for archive in archives
        for name in members(folder / archive)
        if all(map(is_data, name.split("/")))
    ]


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _broken(name: str) -> bool:
    """Returns whether a file's name is not UTF-8, as in old archives: it can be neither printed nor written down."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False
