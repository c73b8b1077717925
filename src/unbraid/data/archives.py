"""Members of tar files, read where they lie: a path goes on behind the archive, as in shards/000.tar/cat/1.jpg.

Nothing is unpacked: an archive's headers are read once, and each member by its place in the file.
"""

import io
import os
import re
import tarfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from unbraid.core.types import UserError

ENDING = ".tar"
OPENED = 256
"""Archives whose tables of contents are kept in memory."""
_MARK = re.compile(rf"{re.escape(ENDING)}[{re.escape(os.sep)}/]", re.IGNORECASE)
"""Where a path may go on behind an archive."""
_BLOCK = 512
"""Bytes of a header; one of zeros closes an archive."""


class Location(NamedTuple):
    """The place of a file's bytes: in which file, from where, how many, and that file's times. See `_times`."""

    file: str
    start: int
    size: int
    times: tuple[int, int]


def is_archive(path: str | Path) -> bool:
    """Returns whether a path names a tar file."""
    return str(path).casefold().endswith(ENDING) and os.path.isfile(path)


def members(archive: str | Path) -> Mapping[str, tuple[int, int]]:
    """Returns where the files in an archive begin, and their sizes, by their names with "/".

    Raises UserError if it can't be read, is damaged or compressed, or holds two files of one name.
    """
    try:
        about = os.stat(archive)
        return _members(str(archive), about.st_size, _times(about))
    except (OSError, tarfile.TarError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UserError(f"{archive} can't be read as a tar file, uncompressed: {reason}") from error


@lru_cache(OPENED)
def _members(archive: str, size: int, times: tuple[int, int]) -> Mapping[str, tuple[int, int]]:
    """size and times are the archive's, so that a changed one is read anew."""
    found: dict[str, tuple[int, int]] = {}
    with tarfile.open(archive, "r:") as opened:
        end = 0
        while (info := opened.next()) is not None:
            end = opened.offset
            if info.offset_data + info.size > size:
                raise UserError(f"{archive} ends within {info.name}: it is cut off. Copy it again")
            if not info.isreg() or info.issparse():
                continue
            name = info.name.removeprefix("./")
            if name in found:
                raise UserError(f"{archive} holds {name} twice: which one counts? Write it again with one")
            found[name] = (info.offset_data, info.size)
    with open(archive, "rb") as file:
        file.seek(end)
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise UserError(
                f"{archive} has no end behind its {len(found)} files: it is cut off or damaged there. Copy it again"
            )
    return found


def locate(path: str | Path) -> Location:
    """Returns where the bytes of a file lie, which may be a member of an archive. Raises OSError if it isn't there."""
    path = str(path)
    if (parts := _divided(path)) is None:
        about = os.stat(path)
        return Location(path, 0, about.st_size, _times(about))
    archive, name = parts
    about = os.stat(archive)
    found = members(archive).get(name)
    if found is None:
        raise FileNotFoundError(f"{archive} holds no {name}")
    return Location(archive, *found, _times(about))


def _times(about: os.stat_result) -> tuple[int, int]:
    """Returns when a file was written and, but on Windows, when the system saw its last change, in nanoseconds: copying
    and unpacking set the first to what it was elsewhere."""
    return about.st_mtime_ns, about.st_ctime_ns


def archive_of(path: str | Path) -> Path | None:
    """Returns the archive that a path leads through, if it does."""
    parts = _divided(str(path))
    return Path(parts[0]) if parts else None


def open_file(path: str | Path) -> io.BufferedReader:
    """Opens a file for reading, or a member of an archive. Raises OSError if it isn't there."""
    return io.BufferedReader(_Member(locate(path))) if archive_of(path) else open(path, "rb")


def _divided(path: str) -> tuple[str, str] | None:
    """Returns the archive that a path leads through and the member's name, or None. A folder may be called so too."""
    for mark in _MARK.finditer(path):  # casefold() would move places: it makes ss of ß
        end = mark.end() - 1
        if os.path.isfile(path[:end]):
            return path[:end], path[end + 1 :].replace(os.sep, "/")
    return None


class _Member(io.RawIOBase):
    """The bytes of a member, as a file of its own."""

    def __init__(self, at: Location) -> None:
        self._file = open(at.file, "rb", buffering=0)  # noqa: SIM115
        self._start, self._size, self._at = at.start, at.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        wanted = memoryview(buffer)[: max(0, self._size - self._at)]
        self._file.seek(self._start + self._at)
        count = self._file.readinto(wanted) or 0
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
