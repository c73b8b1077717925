"""Nearest neighbours among the codes of a store, by FAISS files.

For each domain and each part of the code there is one file: exact up to 200,000 vectors; above, inverted lists (IVF),
of which so many are looked at that a wanted share of the true neighbours is found, measured on a sample. Files are
mapped into memory when they are searched, so that opening takes no time and processes share them.

Legend: q queries, k neighbours, n vectors, d size of a vector.
"""

import importlib
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unbraid.core.cache import save_array
from unbraid.core.files import delete_unless_used, read_json, write_atomically, write_json
from unbraid.core.short import Short
from unbraid.core.types import DOMAINS, Domain, UserError
from unbraid.search.identity import read_identity
from unbraid.search.store import CHECKED, Store, checksum_of

Part = Literal["shared", "exclusive"]
PARTS: tuple[Part, Part] = ("shared", "exclusive")
EXACT = 200_000
"""Up to so many vectors are searched exactly."""
RECALL = 0.95
"""Share of the ten true neighbours that is to be found, if nothing else is asked for."""
SAMPLE = 500
"""Vectors whose neighbours are searched exactly, to measure what the lists find."""
NEIGHBOURS = 10
CHUNK = 50_000
"""Vectors taken from disk at a time."""
TRAINED = 64
"""Vectors for each list that the lists are learned from, at most."""
SELECTIVE = 0.1
"""If fewer than this share of the vectors may be found, all lists are looked at."""


def find_faiss() -> Any:
    """Returns the library, which only an index in a folder needs. Raises UserError if it is not installed."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of 1.11's own, which crash it where they are made errors
            return importlib.import_module("faiss")
    except ImportError as error:
        raise UserError("An index in a folder needs faiss: pip install 'unbraid[search]'") from error


@dataclass(frozen=True)
class Written:
    """A file as it was written: its length in bytes and its CRC-32; None where an earlier version didn't keep it."""

    length: int | None = None
    checksum: int | None = None

    def check(self, path: Path, limit: int | None = None) -> None:
        """Raises ValueError if a file isn't this one; of one of more than `limit` bytes only the length is compared."""
        if not path.is_file():
            raise ValueError(f"{path.name} is missing")
        found = path.stat().st_size
        if self.length not in (None, found):
            raise ValueError(f"{path.name} has {found} bytes instead of {self.length}")
        if self.checksum is not None and (limit is None or found <= limit) and checksum_of(path) != self.checksum:
            raise ValueError(f"{path.name} is not as it was written")


@dataclass(frozen=True)
class Built:
    """A file of vectors and how it is searched. recall: of ten neighbours, on a sample; None if the search is exact.
    length, checksum: as in `Written`."""

    file: str
    count: int
    lists: int = 0
    looked_at: int = 0
    recall: float | None = None
    checksum: int | None = None
    length: int | None = None

    def __str__(self) -> str:
        if self.recall is None:
            return f"{self.count} vectors, searched exactly"
        return (
            f"{self.count} vectors in {self.lists} lists, {self.looked_at} of them looked at: "
            f"{100 * self.recall:.1f} % of the ten nearest are found (on a sample of {min(SAMPLE, self.count)})"
        )


@dataclass(frozen=True)
class BuiltDomain:
    """The files of a domain: made at the store's count of `changes`, as `target` and `exact` asked. ids, ids_length:
    CRC-32 and length of the file of ids."""

    changes: int
    target: float
    exact: int
    parts: dict[Part, Built]
    ids: int | None = None
    ids_length: int | None = None

    def files(self, domain: Domain) -> dict[str, Written]:
        """Returns the files by their names."""
        parts = {part.file: Written(part.length, part.checksum) for part in self.parts.values()}
        return {ids_file(domain, self.changes): Written(self.ids_length, self.ids), **parts}


def ids_file(domain: Domain, changes: int) -> str:
    """Returns the name of a file of ids."""
    return f"ids-{domain}-{changes}.npy"


def build(store: Store, target: float = RECALL, exact: int = EXACT) -> dict[Domain, dict[Part, Built]]:
    """Makes the files of all domains that have changed, or are damaged, and says what is there now.

    New files stand beside the old ones until built.json names them, so a search never sees half of an index.

    Args:
        store: Holds the codes.
        target: Share of the ten nearest that is to be found.
        exact: Vectors up to which all are looked at.
    """
    try:
        before = read_built(store.folder) or {}
    except UserError:  # damaged: all is made again
        before = {}
    stands: dict[Domain, BuiltDomain] = {}
    for domain in DOMAINS:
        if not store.count(domain):
            continue
        known = before.get(domain)
        asked = (store.changes(domain), target, exact)
        if known and (known.changes, known.target, known.exact) == asked and _whole(store.folder, domain, known):
            stands[domain] = known
            continue
        if known and known.changes == store.changes(domain):
            store.renumber(domain)  # what is searched at this moment keeps its name
        store.compact(domain)
        stands[domain] = _built(store, domain, target, exact)
    write_json(store.folder / "built.json", {domain: asdict(about) for domain, about in stands.items()})
    kept = {name for domain, about in stands.items() for name in about.files(domain)}
    for file in (*store.folder.glob("*.faiss"), *store.folder.glob("ids-*.npy")):
        if file.name not in kept:
            delete_unless_used(file)
    return {domain: about.parts for domain, about in stands.items()}


def _built(store: Store, domain: Domain, target: float, exact: int) -> BuiltDomain:
    """Writes the files of a domain."""
    changes, (ids, rows) = store.changes(domain), store.rows(domain)
    path = store.folder / ids_file(domain, changes)
    write_atomically(path, lambda file: save_array(file, ids))
    shared, exclusive = store.identity.sizes[domain]
    columns: dict[Part, slice] = {"shared": slice(0, shared), "exclusive": slice(shared, shared + exclusive)}
    parts: dict[Part, Built] = {}
    for part, where in columns.items():
        if where.start == where.stop:
            continue
        vectors = Vectors(store.codes(domain), rows, where)
        index, built = make(vectors, f"{domain}-{part}-{changes}.faiss", target, exact)
        place = store.folder / built.file
        write_atomically(place, lambda file, index=index: find_faiss().write_index(index, str(file)))
        parts[part] = replace(built, checksum=checksum_of(place), length=place.stat().st_size)
    return BuiltDomain(changes, target, exact, parts, checksum_of(path), path.stat().st_size)


def _whole(folder: Path, domain: Domain, about: BuiltDomain) -> bool:
    """Returns whether the files are there, and known to be as they were written."""
    try:
        for name, written in about.files(domain).items():
            written.check(folder / name)
    except ValueError:
        return False
    return all(None not in (written.length, written.checksum) for written in about.files(domain).values())


def read_built(folder: Path) -> dict[Domain, BuiltDomain] | None:
    """Returns what built.json says; None if nothing is built yet. Raises UserError if it is damaged."""
    path = folder / "built.json"
    if not path.exists():
        return None
    try:
        return read_json(path, dict[Domain, BuiltDomain])
    except UserError as error:
        raise UserError(f"{error}. Run the same `unbraid index` again") from error


@dataclass(frozen=True)
class Vectors(Short):
    """Some columns of some rows of the codes, taken from disk as they are asked for."""

    codes: np.ndarray
    rows: np.ndarray
    columns: slice

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Returns the vectors at these positions, (len(positions), d) float32."""
        # in the order of the disk, and back
        order = np.argsort(self.rows[positions])
        found = np.empty((len(positions), self.columns.stop - self.columns.start), np.float32)
        found[order] = self.codes[self.rows[positions[order]], self.columns]
        return found

    def chunk(self, start: int) -> np.ndarray:
        """Returns CHUNK vectors from `start` on, fewer at the end."""
        return self.at(np.arange(start, min(start + CHUNK, len(self))))


def make(vectors: Vectors, file: str, target: float = RECALL, exact: int = EXACT) -> tuple[Any, Built]:
    """Returns a FAISS index of the vectors, and how it is searched. See `build`."""
    faiss = find_faiss()
    size, count = vectors.columns.stop - vectors.columns.start, len(vectors)
    if count <= exact:
        index = faiss.IndexFlatL2(size)
        for start in range(0, count, CHUNK):
            index.add(vectors.chunk(start))
        return index, Built(file, count)
    lists = max(1, min(round(4 * count**0.5), count // 39))  # k-means wants 39 vectors for each list
    random = np.random.default_rng(0)
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(size), size, lists)
    index.cp.seed = 0
    index.train(vectors.at(random.permutation(count)[: TRAINED * lists]))
    for start in range(0, count, CHUNK):
        index.add(vectors.chunk(start))
    looked_at, recall = _looked_at(index, vectors, target, random)
    return index, Built(file, count, lists, looked_at, round(recall, 4))


def _looked_at(index: Any, vectors: Vectors, target: float, random: np.random.Generator) -> tuple[int, float]:
    """Returns how few lists must be looked at to find the wanted share of the ten nearest, and the share found.

    Measured on a sample of the vectors, each without itself.
    """
    sample = random.permutation(len(vectors))[:SAMPLE]
    queries = vectors.at(sample)
    true = exact_neighbours(queries, vectors, NEIGHBOURS + 1)[1]
    faiss = find_faiss()

    def share(lists: int) -> float:
        found = index.search(queries, NEIGHBOURS + 1, params=faiss.SearchParametersIVF(nprobe=lists))[1]
        return _overlap(found, true, sample)

    low, high = 0, 1
    while (reached := share(high)) < target and high < index.nlist:
        low, high = high, min(2 * high, index.nlist)
    best = high, reached
    while high - low > max(1, high // 16):
        middle = (low + high) // 2
        if (reached := share(middle)) >= target:
            high, best = middle, (middle, reached)
        else:
            low = middle
    return best


def _overlap(found: np.ndarray, true: np.ndarray, own: np.ndarray) -> float:
    """Returns the mean share of true neighbours among those found, the query itself left out. (q, k) each."""
    shares = []
    for mine, theirs, self_ in zip(found, true, own, strict=True):
        wanted = set(theirs.tolist()) - {int(self_)}
        shares.append(len(wanted & set(mine.tolist())) / len(wanted))
    return float(np.mean(shares))


def exact_neighbours(queries: np.ndarray, vectors: Vectors, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds positions in place of ids, by looking at every vector. See `Searcher.search`."""
    faiss = find_faiss()
    best = np.full((len(queries), k), np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
    for start in range(0, len(vectors), CHUNK):
        chunk = vectors.chunk(start)
        near, at = faiss.knn(queries, chunk, min(k, len(chunk)))
        distances, positions = np.concatenate([best[0], near], 1), np.concatenate([best[1], at + start], 1)
        order = np.argsort(distances, 1, kind="stable")[:, :k]
        best = np.take_along_axis(distances, order, 1), np.take_along_axis(positions, order, 1)
    return best


class Searcher:
    """The built files of a folder, mapped into memory."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._sizes = folder, read_identity(folder).sizes
        self._faiss = find_faiss()
        self._ids: dict[Domain, np.ndarray] = {}
        self._indexes: dict[tuple[Domain, Part], tuple[Any, Built]] = {}
        while True:
            built = read_built(folder)
            if built is None:
                raise UserError(f"{folder} is half written: nothing is built yet. Run the same `unbraid index` again")
            try:
                for domain, about in built.items():
                    self._open(domain, about)
                return
            except Exception as error:  # faiss and NumPy raise anything on damaged files
                if read_built(folder) != built:
                    continue  # `unbraid index` has put other files in their place meanwhile
                reason = (str(error) or type(error).__name__).splitlines()[0]
                raise UserError(
                    f"{folder} is half written or damaged ({reason}). Run the same `unbraid index` again: codes are "
                    "kept"
                ) from error

    def _open(self, domain: Domain, about: BuiltDomain) -> None:
        for name, written in about.files(domain).items():
            # of larger files only a part is read in a search; `unbraid index` looks at all of them
            written.check(self.folder / name, CHECKED)
        ids = np.lib.format.open_memmap(self.folder / ids_file(domain, about.changes), mode="r")
        if ids.ndim != 1 or ids.dtype != np.int64:
            raise ValueError(f"{ids_file(domain, about.changes)} holds {ids.dtype} of shape {ids.shape}")
        if missing := [
            part for part, size in zip(PARTS, self._sizes[domain], strict=True) if size and part not in about.parts
        ]:
            raise ValueError(f"the {missing[0]} codes of {domain} are missing")
        self._ids[domain] = ids
        for part, built in about.parts.items():
            path, size = str(self.folder / built.file), self._sizes[domain][part == "exclusive"]
            lists = self._faiss.IO_FLAG_MMAP | self._faiss.IO_FLAG_READ_ONLY
            index = self._faiss.read_index(path, self._faiss.IO_FLAG_MMAP_IFC if built.recall is None else lists)
            if (index.ntotal, index.d) != (built.count, size) or built.count != len(ids):
                raise ValueError(
                    f"{built.file} holds {index.ntotal} vectors of {index.d} values instead of {len(ids)} of {size}"
                )
            self._indexes[domain, part] = index, built

    @property
    def domains(self) -> list[Domain]:
        """The domains that have items."""
        return list(self._ids)

    def about(self, domain: Domain, part: Part) -> Built | None:
        """Returns how a part is searched; None if it isn't there."""
        found = self._indexes.get((domain, part))
        return found[1] if found else None

    def search(
        self, domain: Domain, part: Part, queries: np.ndarray, k: int, only: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns squared distances and ids of the k nearest, (q, k) each; where there are fewer, infinity and -1.

        only: (m,) ids, increasing, that may be found. See `Index.nearest`.
        """
        index, built = self._indexes[domain, part]
        ids = self._ids[domain]
        selector, lists = None, built.looked_at
        if only is not None:
            mask = np.zeros(len(ids), bool)
            at = np.searchsorted(ids, only)
            inside = at < len(ids)
            at = at[inside][ids[at[inside]] == only[inside]]
            mask[at] = True
            bits = np.packbits(mask, bitorder="little")
            selector = self._faiss.IDSelectorBitmap(bits)
            if len(at) < SELECTIVE * len(ids):
                lists = built.lists
        k_here = min(k, built.count)
        if built.recall is None:
            parameters = self._faiss.SearchParameters(sel=selector)
        else:
            parameters = self._faiss.SearchParametersIVF(sel=selector, nprobe=lists)
        distances, positions = index.search(np.ascontiguousarray(queries, np.float32), k_here, params=parameters)
        if positions.size and positions.max() >= len(ids):  # a file that is too large to be compared with its checksum
            raise UserError(
                f"{self.folder / built.file} is damaged. Run the same `unbraid index` again: codes are kept"
            )
        found = np.where(positions >= 0, ids[np.maximum(positions, 0)], -1)
        distances = np.where(positions >= 0, distances, np.inf)
        missing = ((0, 0), (0, k - k_here))
        return np.pad(distances, missing, constant_values=np.inf), np.pad(found, missing, constant_values=-1)
