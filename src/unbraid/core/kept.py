"""What the cache keeps: arrays of decoded images and of features, how large they are, when they were last used, and how
room is made. Only arrays that this program wrote are looked at, for a chosen folder may hold other things."""

import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from filelock import FileLock, Timeout

from unbraid.core.cache import (
    cache_folder,
    in_use,
    lock_unused,
    make_private,
    open_array,
    save_array,
    tighten,
    writing_cache,
)
from unbraid.core.files import write_atomically
from unbraid.core.types import UserError

LIMIT = "UNBRAID_CACHE_LIMIT"
"""The environment variable with the bytes that arrays may take together, such as 20GB."""
IMAGES, FEATURES = re.compile(r"[0-9a-f]{24}"), re.compile(r".+-[0-9a-f]{24}")
UNITS = {"": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}
ABANDONED = 86_400
"""Seconds after which a file that was being written belongs to a process that was killed."""


class _About(msgspec.Struct):
    folder: str = ""


@dataclass(frozen=True)
class Kept:
    """An array of the cache.

    path: its file. about: what was decoded, or which network's features these are. size: bytes, with those of the files
    beside it. used: when it was last used, in seconds since 1970.
    """

    path: Path
    about: str
    size: int
    used: float

    def delete(self) -> bool:
        """Deletes it. Returns whether it did: not while a process uses or writes it."""
        lock = self.path.with_suffix(".lock" if IMAGES.fullmatch(self.path.stem) else ".npy.lock")
        try:
            with FileLock(lock, timeout=0), lock_unused(self.path):
                self.path.unlink()  # first: Windows refuses while it is mapped, and then all must stay
                self.path.with_suffix(".json").unlink(missing_ok=True)
                with suppress(OSError):
                    lock.unlink()
        except (Timeout, OSError):
            return False
        return True


def kept_arrays() -> list[Kept]:
    """Returns the arrays of the cache folder, the least recently used first."""
    found = []
    for folder, names in ((cache_folder(), IMAGES), (cache_folder() / "features", FEATURES)):
        for path in folder.glob("*.npy"):
            with suppress(OSError):  # deleted meanwhile
                if names.fullmatch(path.stem):
                    beside = path.with_suffix(".json")
                    size = path.stat().st_size + (beside.stat().st_size if beside.exists() else 0)
                    found.append(Kept(path, _about(path, beside), size, path.stat().st_mtime))
    return sorted(found, key=lambda kept: kept.used)


def make_room(limit: float, arrays: Sequence[Kept]) -> tuple[list[Kept], float]:
    """Deletes arrays, the first ones first, until the rest takes at most `limit` bytes; none that a process uses.

    Returns:
        Those that were deleted, and the bytes that are left.
    """
    left, gone = sum(kept.size for kept in arrays), []
    for kept in arrays:
        if left > limit and kept.delete():
            left -= kept.size
            gone.append(kept)
    return gone, left


def keep_within_limit() -> None:
    """Makes room if $UNBRAID_CACHE_LIMIT says how much the cache may take. Raises UserError if it is no size."""
    if limit := os.environ.get(LIMIT):
        make_room(parse_bytes(limit, LIMIT), kept_arrays())


def delete_abandoned() -> None:
    """Deletes what processes that were killed had begun to write."""
    for path in cache_folder().glob("*.partial"):
        with suppress(OSError):
            if IMAGES.match(path.name) and time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()


def parse_bytes(text: str, name: str) -> float:
    """Returns the bytes that "20GB", "500 MB" or a number says. Raises UserError, naming what was set."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?b)?", text.strip().lower())
    if not found:
        raise UserError(f"{name} {text}: give a size, such as 20GB or 500MB")
    return float(found[1]) * UNITS[(found[2] or "").removeprefix("b")]


def _about(path: Path, beside: Path) -> str:
    try:
        return msgspec.json.decode(beside.read_bytes(), type=_About).folder
    except (OSError, msgspec.MsgspecError):
        return path.stem.rpartition("-")[0]


def cached_array(name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Returns an array from the cache folder as a memory map; computes and stores it if it is missing or damaged.

    name: identifies everything that it depends on. Raises UserError if the cache folder can't be written.
    """
    folder = cache_folder() / "features"
    target = folder / f"{name}.npy"
    with writing_cache(folder):
        make_private(folder.parent)
        make_private(folder)
        with FileLock(f"{target}.lock"):
            try:
                found = in_use(open_array(target), target)
                tighten(target)
                return found
            except (FileNotFoundError, ValueError, EOFError):
                array = compute()
            write_atomically(target, lambda path: save_array(path, array, private=True))
            found = in_use(open_array(target), target)
        keep_within_limit()
        return found
