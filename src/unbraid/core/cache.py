"""The cache folder, and arrays stored in it."""

import errno
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from filelock import FileLock

from unbraid.core.files import write_atomically
from unbraid.core.types import UserError


def cache_folder() -> Path:
    """Returns the cache folder: $UNBRAID_CACHE, else $XDG_CACHE_HOME/unbraid, else ~/.cache/unbraid.

    Raises UserError if the user has no home folder.
    """
    try:
        if chosen := os.environ.get("UNBRAID_CACHE"):
            return _own(Path(chosen).expanduser())
        return _own(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "unbraid")
    except RuntimeError as error:  # no HOME, and a user whom the system doesn't know
        raise UserError(
            "There is no home folder for the cache: name one in the environment variable UNBRAID_CACHE"
        ) from (error)


def _own(folder: Path) -> Path:
    """Returns the folder, or a subfolder of this user's where others can write to it: their files are not trusted."""
    try:
        about = folder.stat()
    except OSError:
        return folder
    if not hasattr(os, "getuid") or (about.st_uid == os.getuid() and not about.st_mode & 0o022):
        return folder
    return folder / f"user-{os.getuid()}"


def tighten(place: Path) -> None:
    """Takes everybody else's rights to a file, or a folder, of this user's: earlier versions left them."""
    about = place.stat()
    if hasattr(os, "getuid") and about.st_uid == os.getuid() and about.st_mode & 0o077:
        with suppress(OSError):  # of a system that lets nobody
            place.chmod(about.st_mode & 0o700)


def make_private(folder: Path) -> None:
    """Creates a folder that only its owner can read. Raises OSError if it belongs to another user."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "it belongs to another user")
    if "UNBRAID_CACHE" not in os.environ or folder.parent == cache_folder():  # a chosen one may hold other things
        tighten(folder)


def open_array(path: Path) -> np.ndarray:
    """Returns a .npy file as a memory-mapped array, for random access.

    Raises OSError or ValueError if it can't be read or contains pickled objects.
    """
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_RANDOM"):
        # else the system reads ahead at every item, which makes the first batches of a large file slow
        array.base.madvise(mmap.MADV_RANDOM)
    return array


def cached_array(name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Returns an array from the cache folder as a memory map; computes and stores it if it is missing or damaged.

    name: identifies everything that it depends on. Raises UserError if the cache folder can't be written.
    """
    folder = cache_folder() / "features"
    target = folder / f"{name}.npy"
    try:
        make_private(folder.parent)
        make_private(folder)
        with FileLock(f"{target}.lock"):
            try:
                found = open_array(target)
                tighten(target)
                return found
            except (FileNotFoundError, ValueError, EOFError):
                array = compute()
            write_atomically(target, lambda path: _save_array(path, array))
            return open_array(target)
    except OSError as error:
        raise UserError(
            f"The cache folder {folder} can't be written: {error.strerror or error}. "
            "Make room there, or name another folder in the environment variable UNBRAID_CACHE"
        ) from error


def _save_array(path: Path, array: np.ndarray) -> None:
    """Writes an array to a file that only its owner can read."""
    with path.open("wb") as file:  # np.save would add .npy to a path
        path.chmod(0o600)
        np.save(file, array, allow_pickle=False)
