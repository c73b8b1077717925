"""Arrays from files that others made: .npz, and .npy that stay on disk. Nothing is unpickled."""

import math
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unbraid.core.cache import open_array
from unbraid.core.types import UserError
from unbraid.data.listing import is_data

LIMIT = Path("/sys/fs/cgroup/memory.max")
"""What a container may use, on Linux."""


def read_arrays(path: Path, flag: str = "", needed: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Returns the arrays of an .npz file, or those of a folder of .npy files memory-mapped, by name.

    Args:
        path: The file or folder.
        flag: What named it, for messages.
        needed: Arrays that must be there.

    Raises:
        UserError: It is missing, damaged, encrypted, larger than memory, holds other than arrays of numbers or words,
            or lacks an array.
    """
    what = f"{flag} {path}".strip()
    try:
        if path.is_dir():
            arrays = {file.stem: open_array(file) for file in sorted(path.glob("*.npy")) if is_data(file.name)}
        else:
            arrays = _read_npz(path, what)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{flag}: there is no file or folder {path}".removeprefix(": ")) from error
    except Exception as error:  # numpy, zipfile and zlib raise whatever a damaged file makes of them
        # numpy takes what it doesn't know for a pickle, and would tell how to load that
        reason = "it holds something else than arrays of numbers" if "pickle" in str(error) else str(error)
        reason = reason.splitlines()[0] if reason.strip() else type(error).__name__
        raise UserError(f"{what} can't be read as .npz or folder of .npy: {reason}") from error
    if missing := [name for name in needed if name not in arrays]:
        there = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays.items()) or "no arrays"
        raise UserError(f"{what} holds {there}; it has no {', '.join(missing)}")
    return arrays


def _read_npz(path: Path, what: str) -> dict[str, np.ndarray]:
    with open(path, "rb") as file:
        if file.read(6) == np.lib.format.MAGIC_PREFIX:
            raise UserError(f"{what} is a single array: give the folder that holds a.npy and b.npy")
    with zipfile.ZipFile(path) as archive:
        infos = [
            info
            for info in archive.infolist()
            if info.filename.endswith(".npy") and all(map(is_data, info.filename.split("/")))
        ]
        size, memory = sum(info.file_size for info in infos), _memory()
        if size > memory:
            raise UserError(
                f"{what} unpacks to {size / 1e9:,.1f} GB, and there are {memory / 1e9:,.1f} GB of memory. Unpack it "
                "and give the folder of .npy files, which stay on disk"
            )
        for info in infos:
            _check_size(archive, info)
    with np.load(path, allow_pickle=False) as arrays:
        return {info.filename[: -len(".npy")]: np.asarray(arrays[info.filename]) for info in infos}


def _check_size(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Raises ValueError unless a member holds as many values as its header says: numpy makes room first."""
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(member)
        size = info.file_size - member.tell()
    if kind.hasobject:
        raise ValueError(f"{info.filename} holds something else than arrays of numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != size:
        raise ValueError(f"{info.filename} says it is {kind} {shape} and has {size} bytes")


def _memory() -> int:
    """Returns the bytes that this process may have."""
    try:
        most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not every system says
        return 2**63
    try:
        return min(most, int(LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or "max"
        return most
