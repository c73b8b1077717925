"""Codes of images on disk, and what is known of each image: what an index is made from, and what survives a crash.

A store is a folder:

index.json        whose codes these are (`Identity`)
records.sqlite    a row for each image: path, size and time of its file, metadata, and where its codes lie
codes-DOMAIN-N    rows of float32, shared code and exclusive code of one image one after the other

Codes are appended and brought to disk first; then one transaction acknowledges them. A process killed at any moment
leaves codes that nobody knows of behind the last row, and they are cut off by the next writer.

Legend: n images, d size of a shared code laid flat, e size of an exclusive one.
"""

import contextlib
import dataclasses
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from torch import Tensor, nn

from unbraid.config import Distance
from unbraid.files import write_json
from unbraid.metrics.space import CodeSpace
from unbraid.run import model_state
from unbraid.types import DOMAINS, Domain, UserError

FORMAT = 1
"""Version of the folder's layout; an index of another one is refused."""
ASKED = 500
"""Paths that are looked up at a time."""
SCHEMA = """
CREATE TABLE items (
    id INTEGER PRIMARY KEY, domain TEXT NOT NULL, path TEXT NOT NULL, size INTEGER NOT NULL, time INTEGER NOT NULL,
    row INTEGER, metadata TEXT NOT NULL, sent INTEGER NOT NULL DEFAULT 0, UNIQUE (domain, path)
);
CREATE INDEX items_rows ON items (domain, row);
CREATE INDEX items_unsent ON items (domain) WHERE sent = 0;
CREATE TABLE gone (id INTEGER NOT NULL, domain TEXT NOT NULL);
CREATE TABLE state (domain TEXT PRIMARY KEY, file INTEGER NOT NULL, changes INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Identity:
    """Whose codes an index holds, and how they are compared.

    model: hash of weights and geometry. sizes: for each domain, the sizes of a shared and an exclusive code.
    """

    model: str
    method: str
    distance: Distance
    sizes: dict[Domain, tuple[int, int]]

    def to_json(self) -> dict[str, Any]:
        """As it stands in index.json, or in the description of a collection."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, values: Any, place: str) -> "Identity":
        """The inverse. Raises UserError if these are other values, or of another format."""
        try:
            if values["format"] != FORMAT:
                raise UserError(f"{place} has format {values['format']}; this version of unbraid reads {FORMAT}")
            sizes: dict[Domain, tuple[int, int]] = {domain: tuple(values["sizes"][domain]) for domain in DOMAINS}
            return cls(values["model"], values["method"], values["distance"], sizes)
        except (KeyError, TypeError) as error:
            raise UserError(f"{place} is not an index of unbraid, or it is damaged") from error

    def check(self, asked: "Identity", place: str) -> None:
        """Raises UserError if `asked`, of the model at hand, is another one."""
        if self.sizes != asked.sizes:
            raise UserError(
                f"{place} holds codes of other sizes: {_sizes(self)}; this model has {_sizes(asked)}. "
                "Use the run that it was made with, or index again under another --to"
            )
        if self.model != asked.model:
            raise UserError(
                f"{place} was made by another model ({self.method} {self.model[:12]}); this one is {asked.method} "
                f"{asked.model[:12]}, and codes of two models can't be compared. Use the run that it was made with, or "
                "index again under another --to"
            )
        if self.distance != asked.distance:
            raise UserError(
                f"{place} compares by {self.distance} distance, not {asked.distance}: leave --distance out, or index "
                "again under another --to"
            )


def _sizes(identity: Identity) -> str:
    return ", ".join(f"{shared} and {exclusive} in {d}" for d, (shared, exclusive) in identity.sizes.items())


def fingerprint(method: nn.Module, space: CodeSpace | None, others: Mapping[str, Tensor] | None = None) -> str:
    """SHA-256 of a model's weights, of the geometry of its codes and of `others`: the same wherever the model lies."""
    digest = sha256()
    tensors = {**model_state(method), **({} if space is None else space.tensors()), **(others or {})}
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def item_id(domain: Domain, path: str) -> int:
    """A number of 63 bits for an image: the same on every machine, so that parts of an index merge."""
    return int.from_bytes(sha256(f"{domain}\0{path}".encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class Item:
    """An image file: its absolute path, and size and time of modification, which tell whether it has changed."""

    path: str
    size: int
    time: int
    metadata: dict[str, str]


class Store:
    """The records and codes in one folder. Use `writing` to change them; reading needs no lock."""

    def __init__(self, folder: Path, identity: Identity, connection: sqlite3.Connection) -> None:
        self.folder, self.identity, self._db = folder, identity, connection

    @classmethod
    def reading(cls, folder: Path) -> "Store":
        """What lies in the folder. Raises UserError if it is no index, half written, or damaged."""
        identity = read_identity(folder)
        path = folder / "records.sqlite"
        if not path.is_file():
            raise UserError(f"{folder} is half written: {path.name} is missing. Run the same `unbraid index` again")
        return cls(folder, identity, _connected(path, "ro"))

    @classmethod
    @contextlib.contextmanager
    def writing(cls, folder: Path, identity: Identity) -> Iterator["Store"]:
        """The same, to be changed by this process alone; a new or empty folder becomes a store.

        Raises UserError if another process writes, or the folder holds something else or another model's codes.
        """
        if folder.exists() and (
            not folder.is_dir() or (not (folder / "index.json").exists() and any(folder.iterdir()))
        ):
            raise UserError(f"{folder} exists and is not an index (no index.json in it). Give another --to")
        _made(folder)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(f"Another process writes to {folder}. Wait for it, or give another --to") from error
        connection = None
        try:
            if (folder / "index.json").exists():
                read_identity(folder).check(identity, str(folder))
            else:
                write_json(folder / "index.json", identity.to_json())
            for left in folder.glob(".*.tmp"):  # by a process that was killed while writing
                left.unlink(missing_ok=True)
            connection = _connected(folder / "records.sqlite", "rwc")
            store = cls(folder, identity, connection)
            store._prepare()
            yield store
        except sqlite3.Error as error:
            raise UserError(
                f"{folder / 'records.sqlite'} can't be written ({error}). What was there is kept"
            ) from error
        finally:
            if connection is not None:
                connection.close()
            lock.release()

    def close(self) -> None:
        """Lets go of the records."""
        self._db.close()

    def _prepare(self) -> None:
        with self._db:
            if not self._db.execute("SELECT 1 FROM sqlite_master").fetchall():
                self._db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
            for domain in DOMAINS:
                self._db.execute("INSERT OR IGNORE INTO state VALUES (?, 0, 0)", (domain,))
        for domain in DOMAINS:
            path, used = self.codes_path(domain), self._used(domain)
            for other in self.folder.glob(f"codes-{domain}-*"):
                if other != path:
                    other.unlink()
            if path.exists():
                os.truncate(path, used * self.width(domain) * 4)
            elif used:
                raise UserError(
                    f"{path} is missing: codes of {used} images are lost. Remove {self.folder} and index again"
                )

    def width(self, domain: Domain) -> int:
        """How many values an image of this domain has."""
        return sum(self.identity.sizes[domain])

    def codes_path(self, domain: Domain) -> Path:
        """The file of codes."""
        (number,) = self._db.execute("SELECT file FROM state WHERE domain = ?", (domain,)).fetchone()
        return self.folder / f"codes-{domain}-{number}"

    def changes(self, domain: Domain) -> int:
        """A number that grows with every change of a domain's items."""
        return self._db.execute("SELECT changes FROM state WHERE domain = ?", (domain,)).fetchone()[0]

    def _used(self, domain: Domain) -> int:
        row = self._db.execute("SELECT max(row) FROM items WHERE domain = ?", (domain,)).fetchone()[0]
        return 0 if row is None else row + 1

    def count(self, domain: Domain) -> int:
        """How many images of a domain there are."""
        return self._db.execute("SELECT count(*) FROM items WHERE domain = ?", (domain,)).fetchone()[0]

    def known(self, domain: Domain, paths: Sequence[str]) -> dict[str, Item]:
        """Those of these paths that are there, as they were when they were embedded."""
        found: dict[str, Item] = {}
        for start in range(0, len(paths), ASKED):
            some = paths[start : start + ASKED]
            marks = ", ".join("?" * len(some))
            query = f"SELECT path, size, time, metadata FROM items WHERE domain = ? AND path IN ({marks})"
            for path, size, time, metadata in self._db.execute(query, (domain, *some)):
                found[path] = Item(path, size, time, json.loads(metadata))
        return found

    def holds(self, path: Path) -> bool:
        """Whether a file is one of the images, by whatever name: those of its size are looked at."""
        if not path.is_file():
            return False
        names = str(path.absolute()), str(path.resolve())
        query = "SELECT path FROM items WHERE size = ? OR path IN (?, ?)"
        candidates = self._db.execute(query, (path.stat().st_size, *names))
        return any(name in names or (os.path.exists(name) and path.samefile(name)) for (name,) in candidates)

    def paths_under(self, domain: Domain, folder: Path) -> Iterator[str]:
        """Paths of the images of a domain below a folder."""
        start = os.path.join(folder, "")
        query = "SELECT path FROM items WHERE domain = ? AND path >= ? AND path < ?"
        for (path,) in self._db.execute(query, (domain, start, f"{start[:-1]}{chr(ord(os.sep) + 1)}")):
            yield path

    def append(self, domain: Domain, items: Sequence[Item], codes: np.ndarray) -> None:
        """Acknowledges images: when it returns they are on disk, and replace what was known of their paths.

        codes: (n, d + e) float32. Raises UserError for a full disk; then nothing has changed.
        """
        assert codes.shape == (len(items), self.width(domain))
        assert codes.dtype == np.float32
        path, used = self.codes_path(domain), self._used(domain)
        try:
            with path.open("r+b" if path.exists() else "w+b") as file:
                file.seek(used * self.width(domain) * 4)
                file.truncate()
                file.write(codes.tobytes())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(
                f"{path} can't be written ({error.strerror}). What was there before is untouched"
            ) from error
        rows = [
            (item_id(domain, i.path), domain, i.path, i.size, i.time, used + at, json.dumps(i.metadata))
            for at, i in enumerate(items)
        ]
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, 0)", rows)
            self._changed(domain)

    def remove(self, domain: Domain, paths: Iterable[str]) -> None:
        """Forgets images."""
        ids = [(item_id(domain, path), domain) for path in paths]
        with self._db:
            self._db.executemany("DELETE FROM items WHERE id = ? AND domain = ?", ids)
            self._db.executemany("INSERT INTO gone VALUES (?, ?)", ids)
            self._changed(domain)

    def describe(self, domain: Domain, metadata: dict[str, dict[str, str]]) -> None:
        """Sets the metadata of images by their paths."""
        rows = [(json.dumps(about), domain, path) for path, about in metadata.items()]
        with self._db:
            self._db.executemany("UPDATE items SET metadata = ?, sent = 0 WHERE domain = ? AND path = ?", rows)

    def _changed(self, domain: Domain) -> None:
        self._db.execute("UPDATE state SET changes = changes + 1 WHERE domain = ?", (domain,))

    def rows(self, domain: Domain) -> tuple[np.ndarray, np.ndarray]:
        """(n,) ids in increasing order, and (n,) the row of each one's codes; int64."""
        query = "SELECT id, row FROM items WHERE domain = ? AND row IS NOT NULL ORDER BY id"
        pairs = np.fromiter(
            (value for pair in self._db.execute(query, (domain,)) for value in pair), dtype=np.int64
        ).reshape(-1, 2)
        return pairs[:, 0].copy(), pairs[:, 1].copy()

    def codes(self, domain: Domain) -> np.ndarray:
        """(rows, d + e) float32, mapped from disk; rows that no image has any more are among them."""
        path, width = self.codes_path(domain), self.width(domain)
        if not path.exists() or path.stat().st_size < width * 4:
            return np.empty((0, width), np.float32)
        count = path.stat().st_size // (width * 4)
        return np.memmap(path, np.float32, "r", shape=(count, width))

    def compact(self, domain: Domain) -> None:
        """Writes the codes anew without rows that no image has any more, if those are the greater part."""
        ids, rows = self.rows(domain)
        if self._used(domain) < 2 * len(ids) + ASKED:
            return
        codes = self.codes(domain)
        number = 1 + int(self.codes_path(domain).name.rsplit("-", 1)[1])
        with (self.folder / f"codes-{domain}-{number}").open("wb") as file:
            for start in range(0, len(rows), ASKED):
                file.write(codes[rows[start : start + ASKED]].tobytes())
            file.flush()
            os.fsync(file.fileno())
        before = self.codes_path(domain)
        with self._db:
            self._db.executemany("UPDATE items SET row = ? WHERE id = ?", enumerate(ids.tolist()))
            self._db.execute("UPDATE state SET file = ? WHERE domain = ?", (number, domain))
        before.unlink()

    def lookup(self, ids: Sequence[int]) -> dict[int, tuple[str, dict[str, str]]]:
        """Path and metadata of images by their ids; those that were removed meanwhile are missing."""
        found: dict[int, tuple[str, dict[str, str]]] = {}
        for start in range(0, len(ids), ASKED):
            some = ids[start : start + ASKED]
            query = f"SELECT id, path, metadata FROM items WHERE id IN ({', '.join('?' * len(some))})"
            for number, path, metadata in self._db.execute(query, some):
                found[number] = (path, json.loads(metadata))
        return found

    def matching(self, domain: Domain, where: dict[str, str]) -> np.ndarray:
        """(n,) ids, increasing, of the images whose metadata has all these values."""
        tests = " ".join("AND json_extract(metadata, ?) = ?" for _ in where)
        values = [value for field, wanted in where.items() for value in (f'$."{field}"', wanted)]
        query = f"SELECT id FROM items WHERE domain = ? {tests} ORDER BY id"
        return np.fromiter((row[0] for row in self._db.execute(query, (domain, *values))), dtype=np.int64)

    def fields(self) -> list[str]:
        """Names of the metadata that any image has."""
        query = "SELECT DISTINCT json_each.key FROM items, json_each(items.metadata) ORDER BY 1"
        return [row[0] for row in self._db.execute(query)]

    def everything(self, domain: Domain) -> Iterator[tuple[Item, np.ndarray]]:
        """All images of a domain with their codes, in the order of their ids."""
        codes = self.codes(domain)
        query = "SELECT path, size, time, metadata, row FROM items WHERE domain = ? AND row IS NOT NULL ORDER BY id"
        for path, size, time, metadata, row in self._db.execute(query, (domain,)):
            yield Item(path, size, time, json.loads(metadata)), codes[row]

    def unsent(self, domain: Domain, count: int) -> list[tuple[int, Item, int]]:
        """Up to `count` images that a server doesn't have yet: id, file, row of the codes."""
        query = "SELECT id, path, size, time, metadata, row FROM items WHERE domain = ? AND sent = 0 LIMIT ?"
        found = self._db.execute(query, (domain, count)).fetchall()
        return [
            (number, Item(path, size, time, json.loads(about)), row) for number, path, size, time, about, row in found
        ]

    def waiting(self, domain: Domain) -> tuple[int, int]:
        """How many images a server must still be told of, and how many removals."""
        new = self._db.execute("SELECT count(*) FROM items WHERE domain = ? AND sent = 0", (domain,)).fetchone()[0]
        gone = self._db.execute("SELECT count(*) FROM gone WHERE domain = ?", (domain,)).fetchone()[0]
        return new, gone

    def sent(self, ids: Sequence[int]) -> None:
        """A server has these now."""
        with self._db:
            self._db.executemany("UPDATE items SET sent = 1 WHERE id = ?", [(i,) for i in ids])

    def unsend(self, domain: Domain) -> None:
        """A server has nothing of a domain any more."""
        with self._db:
            self._db.execute("UPDATE items SET sent = 0 WHERE domain = ?", (domain,))

    def gone(self, domain: Domain, count: int) -> list[int]:
        """Up to `count` ids that a server must forget: removed, and not there again."""
        query = "SELECT DISTINCT id FROM gone WHERE domain = ? LIMIT ?"
        return [row[0] for row in self._db.execute(query, (domain, count))]

    def forgotten(self, ids: Sequence[int]) -> None:
        """A server has forgotten these; those that are there again must be sent again."""
        with self._db:
            self._db.executemany("DELETE FROM gone WHERE id = ?", [(i,) for i in ids])
            self._db.executemany("UPDATE items SET sent = 0 WHERE id = ?", [(i,) for i in ids])


def read_identity(folder: Path) -> Identity:
    """Whose codes lie in a folder. Raises UserError if there is no index, or it can't be read."""
    path = folder / "index.json"
    if not folder.exists():
        raise UserError(f"There is no index {folder}. `unbraid index` makes one")
    if not path.is_file():
        raise UserError(f"{folder} is not an index: it has no {path.name}")
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged and can't be read as JSON ({error})") from error
    return Identity.from_json(values, str(folder))


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=10)
        connection.execute("SELECT 1 FROM sqlite_master").fetchall()
        connection.execute("PRAGMA synchronous = FULL")
        return connection
    except sqlite3.Error as error:
        raise UserError(
            f"{path} is damaged or can't be opened ({error}). Remove the index's folder and index again"
        ) from error


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} can't be made ({error.strerror})") from error
