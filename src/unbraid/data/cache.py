"""What is computed once and kept, images decoded and features of them: a memory-mapped array on disk that every later
run, and every process, shares.

The array's file name is a hash of everything its contents depend on (folder, names, sizes and times of the files, the
wanted size, this code's version), so a changed folder gets a new array and nothing is ever out of date.
"""

import json
import math
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Float
from torch import Tensor

from unbraid.core.cache import cache_folder, in_use, make_private, open_array, tighten, writing_cache
from unbraid.core.console import Console, Progress, printable
from unbraid.core.data_config import DataConfig
from unbraid.core.files import parse_json
from unbraid.core.kept import keep_within_limit
from unbraid.core.memory import format_bytes
from unbraid.core.short import Short
from unbraid.core.types import DataSpec, Domain, ImageSpec, UserError
from unbraid.data.archives import locate
from unbraid.data.fit import Fit
from unbraid.data.images import Header, ImageError, Pixels, decode, fitted, read_header, room, scaled
from unbraid.data.items import Rows

VERSION = 1
"""Counted up when the same files would give another array, so that old ones are not read."""
WAITING = 500_000_000
"""Bytes of decoded images that wait to be written, at most, if that is more than one image."""
Form = tuple[tuple[int, int] | None, int | None]
"""Size (height, width) and channels that images are brought to; None where they stay as they are."""
T = TypeVar("T")


@dataclass(frozen=True)
class CachedImages(Short):
    """Images kept as (n, c, h, w) uint8 or uint16 on disk; reading rows costs memory for those rows alone.

    A file that is a sheet of k tiles has k rows, left to right and top to bottom. Files that can't be read keep their
    rows, zeros, so that rows can be counted from the list of files: leave them out by `readable`.
    """

    array: "np.ndarray | Undecoded"
    spec: ImageSpec
    readable: Rows
    """Positions of the files that could be read."""
    skipped: tuple[str, ...]
    """One line "file: reason" for each of the others."""
    cut: str = ""
    """What was cut off to bring them to one size, in words; empty if nothing was, or decoded by an earlier version."""

    def __len__(self) -> int:
        return len(self.array)

    def read(self, rows: Rows, draw: int) -> Float[Tensor, "n c h w"]:
        """Returns (len(rows), c, h, w) in [-1, 1]; the same for every draw."""
        return scaled(torch.from_numpy(np.asarray(self.array[rows])))


@dataclass(frozen=True)
class _Request:
    """The images to decode, and their form; see `cached`."""

    folder: Path
    names: Sequence[str]
    size: tuple[int, int] | None
    channels: int | None
    grid: tuple[int, int]
    strict: bool

    @property
    def tiles(self) -> int:
        return self.grid[0] * self.grid[1]

    def path(self, index: int) -> str:
        return os.path.join(self.folder, self.names[index])

    def key(self) -> str:
        """Returns a hash of all that the array depends on. The folder is part of it: two folders of unpacked archives
        can agree in the names, sizes and times of their files."""
        about = [VERSION, str(self.folder.resolve()), self.size, self.channels, self.grid]
        digest = sha256(json.dumps(about).encode())
        for index, name in enumerate(self.names):
            try:
                at = locate(self.path(index))
                # a file skipped for its permissions gets another chance when they are mended
                allowed = os.access(at.file, os.R_OK)
                digest.update(f"{name}\0{at.size}\0{at.times}\0{allowed}\n".encode())
            except OSError:  # it will be among the skipped ones, with its reason
                digest.update(f"{name}\n".encode())
        return digest.hexdigest()[:24]


@dataclass(frozen=True)
class Undecoded:
    """Images as an array (n, c, h, w), which are decoded whenever they are read: for those that a disk has no room for.
    One that is damaged behind its header is an ImageError then."""

    request: _Request
    spec: ImageSpec
    deep: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns (n, c, h, w)."""
        return (len(self.request.names) * self.request.tiles, *self.spec.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Returns the type of the values."""
        return np.dtype(np.uint16 if self.deep else np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows | slice) -> np.ndarray:
        wanted = np.arange(len(self))[rows]
        if not len(wanted):
            return np.empty((0, *self.spec.shape), self.dtype)

        def read(row: int) -> np.ndarray:
            file, tile = divmod(row, self.request.tiles)
            return _tiles(self.request, file, self.spec, self.deep).numpy().reshape(-1, *self.spec.shape)[tile]

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.stack(list(pool.map(read, wanted.tolist())))


@dataclass(frozen=True)
class _About:
    """Facts beside an array. skipped: the files that can't be read, and why; cut: the parts cut off, in words."""

    skipped: dict[str, str]
    cut: str = ""


def cached(
    folder: Path,
    names: Sequence[str],
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    grid: tuple[int, int] = (1, 1),
    strict: bool = False,
) -> CachedImages:
    """Decodes image files, or finds them decoded by an earlier run.

    Args:
        folder: of the files.
        names: relative to folder.
        size: height and width of a tile; default: those of the files.
        channels: 1 or 3; default: 3 if any file has colour.
        grid: rows and columns of tiles in each file.
        strict: whether no file may be unreadable.

    Raises:
        UserError: if sizes differ and none is given, a file can't be cut into its grid, more than half of the files
            can't be read (with `strict`: any), or the cache folder can't be written. If it has no room for them, images
            are decoded whenever they are read.
    """
    if channels not in (None, 1, 3):
        raise UserError(f"--data.channels {channels}: image files give 1 (grey) or 3 (colour)")
    request = _Request(folder, names, size, channels, grid, strict)
    target = cache_folder() / request.key()
    with writing_cache(target.parent):  # errors of the images are ImageErrors by now
        found = _open(request, target)
        if found is None:
            found = _built(request, target)
    if strict and found.skipped:
        raise UserError(found.skipped[0])
    if found.cut:
        print(printable(f"{folder}: {found.cut}"), file=sys.stderr)
    return found


def form(config: DataConfig, like: DataSpec | None, domain: Domain) -> Form:
    """Returns size and channels that images of a domain are brought to.

    Args:
        config: whose size and channels count,
        like: unless this says what the items of each domain look like.
        domain: of the images.
    """
    spec = like[domain] if like else None
    return ((spec.height, spec.width), spec.channels) if isinstance(spec, ImageSpec) else (config.size, config.channels)


def found_cached(
    folder: Path, names: Sequence[str], size: tuple[int, int] | None = None, channels: int | None = None
) -> CachedImages | None:
    """Returns what `cached` would, if an earlier call decoded these very files; else None. See `cached`."""
    request = _Request(folder, names, size, channels, (1, 1), False)
    try:
        return _open(request, cache_folder() / request.key())
    except OSError:
        return None


def _open(request: _Request, target: Path) -> CachedImages | None:
    """Returns the array that an earlier run built, if it is there and whole."""
    try:
        about = parse_json(Path(f"{target}.json").read_bytes(), f"{target}.json", _About)
        array = in_use(open_array(Path(f"{target}.npy")), Path(f"{target}.npy"))
    except (FileNotFoundError, ValueError, EOFError, UserError):
        return None
    for name in (f"{target}.json", f"{target}.npy"):
        tighten(Path(name))
    if array.ndim != 4 or len(array) != len(request.names) * request.tiles or array.dtype not in (np.uint8, np.uint16):
        return None
    return _images(request, array, about)


def _images(request: _Request, array: np.ndarray | Undecoded, about: _About) -> CachedImages:
    readable = np.array([i for i, name in enumerate(request.names) if name not in about.skipped], dtype=np.int64)
    skipped = tuple(f"{request.folder / name}: {reason}" for name, reason in about.skipped.items())
    return CachedImages(array, ImageSpec(array.shape[2], array.shape[3], array.shape[1]), readable, skipped, about.cut)


def _built(request: _Request, target: Path) -> CachedImages:
    """Builds the array, unless another process does so meanwhile."""
    make_private(target.parent)
    with FileLock(f"{target}.lock"):
        found = _open(request, target) or _build(request, target) or _open(request, target)
    assert found is not None
    keep_within_limit()
    return found


def _build(request: _Request, target: Path) -> CachedImages | None:
    """Decodes all files into target.npy, then writes target.json, whose presence says that the array is whole.

    Returns images that are decoded when they are read if there is no room for the array.
    """
    bad: dict[str, str] = {}
    spec, deep, cut = _look(request, bad)
    kind = np.dtype(np.uint16 if deep else np.uint8)
    size = request.tiles * math.prod(spec.shape) * kind.itemsize
    if size * len(request.names) > shutil.disk_usage(target.parent).free:
        _check_half(request, bad)
        _say_no_room(request.folder, len(request.names), size, target.parent)
        return _images(request, Undecoded(request, spec, deep), _About(bad, cut))
    for left in target.parent.glob(f"{target.name}.*.partial"):  # by a build that was killed
        left.unlink()
    opened, name = tempfile.mkstemp(".partial", f"{target.name}.", target.parent)  # its owner alone can read it
    partial = Path(name)
    try:
        with open(opened, "wb") as file:
            shape = (len(request.names) * request.tiles, *spec.shape)
            head = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_2_0(file, head)
            nothing = bytes(size)

            def read(index: int) -> Pixels | str:
                if request.names[index] in bad:
                    return bad[request.names[index]]
                try:
                    return _tiles(request, index, spec, deep)
                except ImageError as error:
                    return error.reason

            decoded = _threaded(read, len(request.names), f"Decoding {request.folder}", size)
            for index, tiles in enumerate(decoded):
                if isinstance(tiles, str):
                    _note(request, bad, index, tiles)
                # written, not assigned to a memory map: a full disk is an OSError here and a dead process there
                file.write(nothing if isinstance(tiles, str) else tiles.numpy().tobytes())
            file.flush()
            os.fsync(file.fileno())
        _check_half(request, bad)
        os.replace(partial, f"{target}.npy")
        about = json.dumps({"folder": str(request.folder.resolve()), **asdict(_About(bad, cut))})
        partial.touch(0o600)
        partial.write_text(about, "utf-8")
        os.replace(partial, f"{target}.json")
    finally:
        partial.unlink(missing_ok=True)
    return None


@lru_cache
def _say_no_room(folder: Path, count: int, size: int, cache: Path) -> None:
    """Says on stderr, once of a folder, that its images of so many bytes are decoded whenever they are read."""
    free = format_bytes(shutil.disk_usage(cache).free)
    text = (
        f"{folder}: decoded, its {count:,} images take {format_bytes(count * size)}, and {cache} has room for {free}: "
        "they are decoded anew whenever they are read, which takes longer, and images that are equal to some of "
        "another part are not looked for. A smaller --data.size may fit, or another folder in the environment variable "
        "UNBRAID_CACHE"
    )
    print(printable(text), file=sys.stderr)


def _look(request: _Request, bad: dict[str, str]) -> tuple[ImageSpec, bool, str]:
    """Reads all headers: what a tile becomes, whether any file has 16 bits, and what is cut off, in words. Notes the
    bad files."""
    sizes: Counter[tuple[int, int]] = Counter()
    colour = deep = False
    fit = Fit(ImageSpec(*request.size, 1), "") if request.size else None

    def look(index: int) -> Header | str:
        try:
            return read_header(request.path(index))
        except ImageError as error:
            return error.reason

    for index, header in enumerate(_threaded(look, len(request.names), f"Looking at {request.folder}")):
        if isinstance(header, str):
            _note(request, bad, index, header)
            continue
        _check_grid(request, index, header)
        sizes[header.height, header.width] += 1
        if fit:
            fit.add(request.names[index], header.height // request.grid[0], header.width // request.grid[1])
        colour, deep = colour or header.channels == 3, deep or header.deep
    _check_half(request, bad)
    channels = request.channels or (3 if colour else 1)
    if request.size:
        return ImageSpec(*request.size, channels), deep, str(fit)
    if len(sizes) > 1:
        common = ", ".join(f"{h}x{w} ({count})" for (h, w), count in sizes.most_common(3))
        more = f" and {len(sizes) - 3} more" if len(sizes) > 3 else ""
        raise UserError(
            f"The images in {request.folder} have several sizes, height x width: {common}{more}. "
            "Say which they shall have: --data.size H W"
        )
    (height, width), _ = sizes.most_common(1)[0]
    return ImageSpec(height // request.grid[0], width // request.grid[1], channels), deep, ""


def _tiles(request: _Request, index: int, spec: ImageSpec, deep: bool) -> Pixels:
    """Returns a file's tiles, one below the other in memory: (tiles * c, h, w)."""
    with room(request.path(index), spec):
        pixels = decode(request.path(index))
        if deep and pixels.dtype == torch.uint8:
            pixels = (pixels.int() * 257).to(torch.uint16)  # 255 becomes 65535
        rows, columns = request.grid
        height, width = pixels.shape[1] // rows, pixels.shape[2] // columns
        corners = [(row * height, column * width) for row in range(rows) for column in range(columns)]
        return torch.cat([fitted(pixels[:, y : y + height, x : x + width], spec) for y, x in corners])


def _check_grid(request: _Request, index: int, header: Header) -> None:
    rows, columns = request.grid
    if header.height % rows or header.width % columns:
        raise UserError(
            f"{request.path(index)} is {header.width} pixels wide and {header.height} high: "
            f"that can't be cut into {columns} x {rows} images of one size"
        )


def _note(request: _Request, bad: dict[str, str], index: int, reason: str) -> None:
    """Notes a file that can't be read; raises UserError with `strict`."""
    if request.strict:
        raise ImageError(request.path(index), reason)
    bad[request.names[index]] = reason


def _check_half(request: _Request, bad: dict[str, str]) -> None:
    if len(bad) * 2 > len(request.names):
        first = "; ".join(f"{name}: {reason}" for name, reason in list(bad.items())[:3])
        raise UserError(f"{len(bad)} of the {len(request.names)} images in {request.folder} can't be read: {first}")


def _threaded(work: Callable[[int], T], count: int, title: str, size: int = 0) -> Iterator[T]:
    """work(0) to work(count - 1) by as many threads as there are cores, in order; what takes longer than two seconds
    gets a bar on stderr. size: bytes of a result."""
    started, chunk = monotonic(), max(1, min(64, WAITING // max(1, size)))  # results wait in memory
    with ThreadPoolExecutor(os.cpu_count()) as pool, ExitStack() as stack:
        bar = None
        for start in range(0, count, chunk):
            yield from pool.map(work, range(start, min(start + chunk, count)))
            if bar is None and monotonic() - started > 2:
                bar = stack.enter_context(Progress(console=Console(stderr=True)))
                bar.add_task(title, total=count)
            if bar is not None:
                bar.update(bar.task_ids[0], completed=start + chunk)
