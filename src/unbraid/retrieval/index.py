"""Nearest neighbours among the codes of a store, by FAISS files.

For each domain and each part of the code there is one file: exact up to 200,000 vectors; above, inverted lists (IVF),
of which so many are looked at that a wanted share of the true neighbours is found, measured on a sample. Files are
mapped into memory when they are searched, so that opening takes no time and processes share them.

Legend: q queries, k neighbours, n vectors, d size of a vector.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np

from unbraid.files import write_atomically, write_json
from unbraid.retrieval.store import Store
from unbraid.types import DOMAINS, Domain, UserError

FAISS: Any = faiss
"""Its classes take keywords that its declarations don't know."""
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


@dataclass(frozen=True)
class Built:
    """A file of vectors and how it is searched. recall: of ten neighbours, on a sample; None if the search is exact."""

    file: str
    count: int
    lists: int = 0
    looked_at: int = 0
    recall: float | None = None

    def __str__(self) -> str:
        if self.recall is None:
            return f"{self.count} vectors, searched exactly"
        return (
            f"{self.count} vectors in {self.lists} lists, {self.looked_at} of them looked at: "
            f"{100 * self.recall:.1f} % of the ten nearest are found (on a sample of {min(SAMPLE, self.count)})"
        )


def build(store: Store, target: float = RECALL, exact: int = EXACT) -> dict[Domain, dict[Part, Built]]:
    """Makes the files of all domains that have changed, and says what is there now.

    New files stand beside the old ones until built.json names them, so a search never sees half of an index.
    """
    before = read_built(store.folder) or {}
    table: dict[Domain, dict[Part, Built]] = {}
    stands: dict[str, Any] = {}
    for domain in DOMAINS:
        changes = store.changes(domain)
        if not store.count(domain):
            continue
        known = before.get(domain)
        if known and known["changes"] == changes and known["target"] == target and known["exact"] == exact:
            table[domain] = {part: Built(**about) for part, about in known["parts"].items()}
            stands[domain] = known
            continue
        store.compact(domain)
        ids, rows = store.rows(domain)
        write_atomically(store.folder / f"ids-{domain}-{changes}.npy", lambda path, ids=ids: _save(path, ids))
        shared, exclusive = store.identity.sizes[domain]
        columns: dict[Part, slice] = {"shared": slice(0, shared), "exclusive": slice(shared, shared + exclusive)}
        table[domain] = {}
        for part, where in columns.items():
            if where.start == where.stop:
                continue
            vectors = Vectors(store.codes(domain), rows, where)
            index, built = make(vectors, f"{domain}-{part}-{changes}.faiss", target, exact)
            write_atomically(store.folder / built.file, lambda path, index=index: faiss.write_index(index, str(path)))
            table[domain][part] = built
        parts = {part: asdict(built) for part, built in table[domain].items()}
        stands[domain] = {"changes": changes, "target": target, "exact": exact, "parts": parts}
    write_json(store.folder / "built.json", stands)
    kept = {name for values in stands.values() for name in (about["file"] for about in values["parts"].values())}
    kept |= {f"ids-{domain}-{values['changes']}.npy" for domain, values in stands.items()}
    for file in (*store.folder.glob("*.faiss"), *store.folder.glob("ids-*.npy")):
        if file.name not in kept:
            file.unlink()
    return table


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def read_built(folder: Path) -> dict[Any, Any] | None:
    """What built.json says; None if nothing is built yet. Raises UserError if it is damaged."""
    try:
        return json.loads((folder / "built.json").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'built.json'} is damaged ({error}). Run the same `unbraid index` again") from error


@dataclass(frozen=True)
class Vectors:
    """Some columns of some rows of the codes, taken from disk as they are asked for."""

    codes: np.ndarray
    rows: np.ndarray
    columns: slice

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, positions: np.ndarray) -> np.ndarray:
        """(len(positions), d) float32."""
        # in the order of the disk, and back
        order = np.argsort(self.rows[positions])
        found = np.empty((len(positions), self.columns.stop - self.columns.start), np.float32)
        found[order] = self.codes[self.rows[positions[order]], self.columns]
        return found

    def chunk(self, start: int) -> np.ndarray:
        """CHUNK vectors from `start` on, fewer at the end."""
        return self.at(np.arange(start, min(start + CHUNK, len(self))))


def make(vectors: Vectors, file: str, target: float = RECALL, exact: int = EXACT) -> tuple[Any, Built]:
    """A FAISS index of the vectors, and how it is searched."""
    size, count = vectors.columns.stop - vectors.columns.start, len(vectors)
    if count <= exact:
        index = faiss.IndexFlatL2(size)
        for start in range(0, count, CHUNK):
            index.add(vectors.chunk(start))  # pyright: ignore[reportCallIssue]
        return index, Built(file, count)
    lists = max(1, min(round(4 * count**0.5), count // 39))  # k-means wants 39 vectors for each list
    random = np.random.default_rng(0)
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(size), size, lists)
    index.cp.seed = 0
    index.train(vectors.at(random.permutation(count)[: TRAINED * lists]))  # pyright: ignore[reportCallIssue]
    for start in range(0, count, CHUNK):
        index.add(vectors.chunk(start))  # pyright: ignore[reportCallIssue]
    looked_at, recall = _looked_at(index, vectors, target, random)
    return index, Built(file, count, lists, looked_at, round(recall, 4))


def _looked_at(index: Any, vectors: Vectors, target: float, random: np.random.Generator) -> tuple[int, float]:
    """How few lists must be looked at to find the wanted share of the ten nearest, and the share found.

    Measured on a sample of the vectors, each without itself.
    """
    sample = random.permutation(len(vectors))[:SAMPLE]
    queries = vectors.at(sample)
    true = exact_neighbours(queries, vectors, NEIGHBOURS + 1)[1]

    def share(lists: int) -> float:
        found = index.search(queries, NEIGHBOURS + 1, params=FAISS.SearchParametersIVF(nprobe=lists))[1]
        return overlap(found, true, sample)

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


def overlap(found: np.ndarray, true: np.ndarray, own: np.ndarray) -> float:
    """Mean share of the true neighbours that are among those found, the query itself left out. (q, k) each."""
    shares = []
    for mine, theirs, self_ in zip(found, true, own, strict=True):
        wanted = set(theirs.tolist()) - {int(self_)}
        shares.append(len(wanted & set(mine.tolist())) / len(wanted))
    return float(np.mean(shares))


def exact_neighbours(queries: np.ndarray, vectors: Vectors, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances and positions of the k nearest, (q, k) each, by looking at every vector."""
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
        self.folder = folder
        built = read_built(folder)
        if built is None:
            raise UserError(f"{folder} is half written: nothing is built yet. Run the same `unbraid index` again")
        self._ids: dict[Domain, np.ndarray] = {}
        self._indexes: dict[tuple[Domain, Part], tuple[Any, Built]] = {}
        try:
            for domain, about in built.items():
                self._ids[domain] = np.load(
                    folder / f"ids-{domain}-{about['changes']}.npy", mmap_mode="r", allow_pickle=False
                )
                for part, values in about["parts"].items():
                    made = Built(**values)
                    self._indexes[domain, part] = self._opened(made), made
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{folder} is half written or damaged ({reason}). Remove {folder / 'built.json'} and run the same "
                "`unbraid index` again: codes are kept"
            ) from error

    def _opened(self, built: Built) -> Any:
        path = self.folder / built.file
        if not path.is_file():
            raise FileNotFoundError(f"{built.file} is missing")
        if built.recall is None:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        else:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        if index.ntotal != built.count:
            raise ValueError(f"{built.file} holds {index.ntotal} vectors instead of {built.count}")
        return index

    @property
    def domains(self) -> list[Domain]:
        """The domains that have items."""
        return list(self._ids)

    def about(self, domain: Domain, part: Part) -> Built | None:
        """How a part is searched; None if it isn't there."""
        found = self._indexes.get((domain, part))
        return found[1] if found else None

    def search(
        self, domain: Domain, part: Part, queries: np.ndarray, k: int, only: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances and ids of the k nearest, (q, k) each; where there are fewer, infinity and -1.

        queries: (q, d) float32. only: (m,) ids, increasing, that may be found.
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
            selector = FAISS.IDSelectorBitmap(bits)
            if len(at) < SELECTIVE * len(ids):
                lists = built.lists
        k_here = min(k, built.count)
        if built.recall is None:
            parameters = FAISS.SearchParameters(sel=selector)
        else:
            parameters = FAISS.SearchParametersIVF(sel=selector, nprobe=lists)
        distances, positions = index.search(np.ascontiguousarray(queries, np.float32), k_here, params=parameters)
        found = np.where(positions >= 0, ids[np.maximum(positions, 0)], -1)
        distances = np.where(positions >= 0, distances, np.inf)
        missing = ((0, 0), (0, k - k_here))
        return np.pad(distances, missing, constant_values=np.inf), np.pad(found, missing, constant_values=-1)
