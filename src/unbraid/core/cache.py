"""The cache folder, and arrays stored in it."""

import errno
import mmap
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from unbraid.core.types import UserError

try:
    import fcntl
except ImportError:  # on Windows, where an array that is mapped can't be deleted anyway
    fcntl = None


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


@contextmanager
def writing_cache(folder: Path) -> Iterator[None]:
    """Says of an OSError inside the block that the cache folder can't be written, and what to do, as a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"The cache folder {folder} can't be written: {error.strerror or error}. "
            "Make room there, or name another folder in the environment variable UNBRAID_CACHE"
        ) from error


def save_array(path: Path, array: np.ndarray, private: bool = False) -> None:
    """Writes an array to a .npy file of this very name, `private`: which only its owner can read. See `open_array`."""
    with path.open("wb") as file:  # np.save would add .npy to a path
        if private:
            path.chmod(0o600)
        np.save(file, array, allow_pickle=False)


def open_array(path: Path) -> np.ndarray:
    """Returns a .npy file as a memory-mapped array, for random access.

    Raises OSError or ValueError if it can't be read or contains pickled objects.
    """
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_RANDOM"):
        # else the system reads ahead at every item, which makes the first batches of a large file slow
        array.base.madvise(mmap.MADV_RANDOM)
    return array


def in_use(array: np.ndarray, path: Path) -> np.ndarray:
    """Returns the array that was opened from this file. No process deletes the file while the array is held; its time
    becomes that of the last use."""
    with suppress(OSError):  # a folder that can only be read
        os.utime(path)
    if fcntl is not None and isinstance(array.base, mmap.mmap):
        with suppress(OSError):  # deleted just now, which does the array no harm; a system without locks
            held = os.open(path, os.O_RDONLY)
            weakref.finalize(array.base, os.close, held)
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return array


@contextmanager
def lock_unused(path: Path) -> Iterator[None]:
    """Keeps a file from being used while the block runs. Raises OSError if it is in use."""
    if fcntl is None:  # the system refuses to delete what anybody has open, this program too
        yield
        return
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
