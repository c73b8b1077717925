"""Codes of images on disk, and what is known of each image: what an index is made from, and what survives a crash.

A store is a folder:

index.json        whose codes these are (`Identity`)
records.sqlite    a row for each image: path, size and time of its file, metadata, and where its codes lie
records.json      `Seal`: what records.sqlite was when the last writer left it
codes-DOMAIN-N    rows of float32, shared code and exclusive code of one image one after the other

Codes are appended and brought to disk first; then one transaction acknowledges them. A process killed at any moment
leaves codes that nobody knows of behind the last row, and they are cut off by the next writer. Each writer compares all
codes with their checksums first; images whose codes are damaged, or cut off, have none until they are encoded again.

Legend: n images, d size of a shared code laid flat, e size of an exclusive one.
"""

import contextlib
import dataclasses
import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from filelock import FileLock, Timeout

from unbraid.core.files import delete_unless_used, parse_json, read_json, write_json
from unbraid.core.types import DOMAINS, Domain, UserError
from unbraid.search.identity import Identity, read_identity

ASKED = 500
"""Paths that are looked up at a time."""
BLOCK = 2**24
"""Bytes of a file that are read at a time."""
CHECKED = 10**9
"""Bytes up to which a file is compared with its checksum when it is opened to be searched."""
SCHEMA = """
CREATE TABLE items (
    id INTEGER PRIMARY KEY, domain TEXT NOT NULL, path TEXT NOT NULL, size INTEGER NOT NULL, time INTEGER NOT NULL,
    row INTEGER, metadata TEXT NOT NULL, sent INTEGER NOT NULL DEFAULT 0, checksum INTEGER, UNIQUE (domain, path)
);
CREATE INDEX items_rows ON items (domain, row);
CREATE INDEX items_unsent ON items (domain) WHERE sent = 0;
CREATE TABLE gone (id INTEGER NOT NULL, domain TEXT NOT NULL);
CREATE TABLE state (domain TEXT PRIMARY KEY, file INTEGER NOT NULL, changes INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Seal:
    """State of records.sqlite when the last writer left it: the count of changes in its header, and the CRC-32 of the
    whole file. `own` is the CRC-32 of these two. Once it is changed the count is larger, and this says nothing."""

    changes: int
    checksum: int
    own: int

    @classmethod
    def of(cls, records: Path) -> "Seal":
        """Returns the seal of a file."""
        with records.open("rb") as file:
            changes = int.from_bytes(file.read(28)[24:], "big")  # SQLite's file change counter
        found = checksum_of(records)
        return cls(changes, found, zlib.crc32(f"{changes} {found}".encode()))

    @classmethod
    def write(cls, folder: Path) -> None:
        """Writes records.json."""
        write_json(folder / "records.json", dataclasses.asdict(cls.of(folder / "records.sqlite")))

    @classmethod
    def check(cls, folder: Path, connection: sqlite3.Connection) -> None:
        """Raises UserError if records.sqlite is not what the last writer left, as far as there is a seal."""
        path, records = folder / "records.json", folder / "records.sqlite"
        try:
            kept = read_json(path, cls)
        except UserError:  # none, or damaged itself
            return
        if kept.own != zlib.crc32(f"{kept.changes} {kept.checksum}".encode()):
            return
        try:
            with connection:  # nobody writes meanwhile
                connection.execute("BEGIN")
                connection.execute("SELECT 1 FROM sqlite_master").fetchall()
                found = cls.of(records) if records.stat().st_size <= CHECKED else kept
        except (sqlite3.Error, OSError) as error:
            raise _damaged(records, error) from error
        if found.checksum != kept.checksum and found.changes <= kept.changes:
            raise _damaged(records, "it is not as it was written")


def item_id(domain: Domain, path: str) -> int:
    """Returns a number of 63 bits for an image: the same on every machine, so that parts of an index merge."""
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
        self.damaged: dict[Domain, int] = {}
        """How many images turned out to have no codes, or damaged ones, when it was opened to be changed."""

    @classmethod
    def reading(cls, folder: Path) -> "Store":
        """Opens what lies in the folder for reading. Raises UserError if it is no index, half written, or damaged."""
        identity = read_identity(folder)
        path = folder / "records.sqlite"
        if not path.is_file() and not (folder / "records.json").exists():
            raise UserError(f"{folder} is half written: {path.name} is missing. Run the same `unbraid index` again")
        # not "ro": what a writer was doing that was killed must be taken back first
        connection = _connected(path, "rw")
        try:
            Seal.check(folder, connection)
        except UserError:
            connection.close()
            raise
        return cls(folder, identity, connection)

    @classmethod
    @contextlib.contextmanager
    def writing(cls, folder: Path, identity: Identity) -> Iterator["Store"]:
        """Opens the store to be changed by this process alone; a new or empty folder becomes a store.

        Raises UserError if another process writes, or the folder holds something else or another model's codes.
        """
        if folder.exists() and not _may_become_index(folder):
            raise UserError(f"{folder} exists and is not an index (no index.json in it). Give another --to")
        _make_folder(folder)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(f"Another process writes to {folder}. Wait for it, or give another --to") from error
        except OSError as error:
            raise UserError(f"{folder} can't be written ({error.strerror or error})") from error
        connection = None
        try:
            if (folder / "index.json").exists():
                read_identity(folder).check(identity, str(folder))
            else:
                write_json(folder / "index.json", identity.to_json())
            for left in folder.glob(".*.tmp"):  # by a process that was killed while writing
                left.unlink(missing_ok=True)
            records = folder / "records.sqlite"
            connection = _connected(records, "rw" if (folder / "records.json").exists() else "rwc")
            Seal.check(folder, connection)
            store = cls(folder, identity, connection)
            store._prepare()
            try:
                yield store
            finally:
                with contextlib.suppress(UserError):  # without it, less is noticed
                    Seal.write(folder)
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

    def _ask(self, query: str, values: Sequence[Any] = (), kind: Any = tuple[int]) -> Iterator[Any]:
        """Yields the rows of an answer. Raises UserError if they can't be read, or are of another kind."""
        try:
            for row in self._db.execute(query, values):
                yield msgspec.convert(row, kind)
        except (sqlite3.Error, ValueError, msgspec.ValidationError) as error:
            raise _damaged(self.folder / "records.sqlite", error) from error

    def _number(self, query: str, values: Sequence[Any] = ()) -> int:
        for (value,) in self._ask(query, values):
            return value
        raise _damaged(self.folder / "records.sqlite", "a row is missing")

    def _about(self, metadata: str) -> dict[str, str]:
        return parse_json(metadata, str(self.folder / "records.sqlite"), dict[str, str])

    def _prepare(self) -> None:
        with self._db:
            if not self._db.execute("SELECT 1 FROM sqlite_master").fetchall():
                self._db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
            if not self._has_checksums():  # an index of an earlier version
                self._db.execute("ALTER TABLE items ADD COLUMN checksum INTEGER")
            for domain in DOMAINS:
                self._db.execute("INSERT OR IGNORE INTO state VALUES (?, 0, 0)", (domain,))
        for domain in DOMAINS:
            path = self.codes_path(domain)
            for other in self.folder.glob(f"codes-{domain}-*"):
                if other != path:
                    delete_unless_used(other)
            if lost := self._without_codes(domain):
                with self._db:
                    self._db.executemany("UPDATE items SET row = NULL WHERE id = ?", [(number,) for number in lost])
                    self._changed(domain)
                self.damaged[domain] = len(lost)
            if path.exists():
                os.truncate(path, self._used(domain) * self.width(domain) * 4)

    def _has_checksums(self) -> bool:
        return any(row[1] == "checksum" for row in self._db.execute("PRAGMA table_info(items)"))

    def _without_codes(self, domain: Domain) -> list[int]:
        """Ids of images whose codes are cut off or not those that were written; notes checksums that there are none of.

        An earlier version wrote none, and filled up with zeros what was cut off.
        """
        codes = self.codes(domain)
        lost: list[int] = []
        fresh: list[tuple[int, int]] = []
        query = "SELECT id, row, checksum FROM items WHERE domain = ? AND row IS NOT NULL ORDER BY row"
        for number, row, expected in self._ask(query, (domain,), tuple[int, int, int | None]):
            if not 0 <= row < len(codes):
                lost.append(number)
                continue
            found = checksum(codes[row])
            if expected is None and codes[row].any():
                fresh.append((found, number))
            elif found != expected:
                lost.append(number)
        with self._db:
            self._db.executemany("UPDATE items SET checksum = ? WHERE id = ?", fresh)
        return lost

    def width(self, domain: Domain) -> int:
        """Returns how many values an image of this domain has."""
        return sum(self.identity.sizes[domain])

    def codes_path(self, domain: Domain) -> Path:
        """Returns the file of codes."""
        return self.folder / f"codes-{domain}-{self._number('SELECT file FROM state WHERE domain = ?', (domain,))}"

    def changes(self, domain: Domain) -> int:
        """Returns a number that grows with every change of a domain's items."""
        return self._number("SELECT changes FROM state WHERE domain = ?", (domain,))

    def _used(self, domain: Domain) -> int:
        return self._number("SELECT ifnull(max(row) + 1, 0) FROM items WHERE domain = ?", (domain,))

    def count(self, domain: Domain) -> int:
        """Returns how many images of a domain there are."""
        return self._number("SELECT count(*) FROM items WHERE domain = ? AND row IS NOT NULL", (domain,))

    def lacking(self, domain: Domain) -> int:
        """Returns how many images of a domain have lost their codes."""
        return self._number("SELECT count(*) FROM items WHERE domain = ? AND row IS NULL", (domain,))

    def known(self, domain: Domain, paths: Sequence[str]) -> dict[str, Item]:
        """Returns those of these paths that are there, as they were when embedded; of size -1 without codes."""
        found: dict[str, Item] = {}
        for start in range(0, len(paths), ASKED):
            some = paths[start : start + ASKED]
            marks = ", ".join("?" * len(some))
            query = (
                "SELECT path, CASE WHEN row IS NULL THEN -1 ELSE size END, time, metadata FROM items "
                f"WHERE domain = ? AND path IN ({marks})"
            )
            for path, size, time, metadata in self._ask(query, (domain, *some), tuple[str, int, int, str]):
                found[path] = Item(path, size, time, self._about(metadata))
        return found

    def holds(self, path: Path) -> bool:
        """Returns whether a file is one of the images, by whatever name: those of its size are looked at."""
        if not path.is_file():
            return False
        names = str(path.absolute()), str(path.resolve())
        query = "SELECT path FROM items WHERE size = ? OR path IN (?, ?)"
        candidates = self._ask(query, (path.stat().st_size, *names), tuple[str])
        return any(name in names or (os.path.exists(name) and path.samefile(name)) for (name,) in candidates)

    def paths_under(self, domain: Domain, folder: Path) -> Iterator[str]:
        """Returns paths of the images of a domain below a folder, or its own if it is one of them."""
        start = os.path.join(folder, "")
        end = f"{start[:-1]}{chr(ord(os.sep) + 1)}"
        query = "SELECT path FROM items WHERE domain = ? AND (path = ? OR path >= ? AND path < ?)"
        for (path,) in self._ask(query, (domain, str(folder), start, end), tuple[str]):
            yield path

    def append(self, domain: Domain, items: Sequence[Item], codes: np.ndarray) -> None:
        """Acknowledges images: when it returns they are on disk, and replace what was known of their paths. See `Item`.

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
            (item_id(domain, i.path), domain, i.path, i.size, i.time, used + at, json.dumps(i.metadata), checksum(code))
            for at, (i, code) in enumerate(zip(items, codes, strict=True))
        ]
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)", rows)
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

    def renumber(self, domain: Domain) -> None:
        """Counts a change of a domain, so that what is made of its codes has another name than before."""
        with self._db:
            self._changed(domain)

    def _changed(self, domain: Domain) -> None:
        self._db.execute("UPDATE state SET changes = changes + 1 WHERE domain = ?", (domain,))

    def rows(self, domain: Domain) -> tuple[np.ndarray, np.ndarray]:
        """Returns (n,) ids in increasing order, and (n,) the row of each one's codes; int64."""
        query = "SELECT id, row FROM items WHERE domain = ? AND row IS NOT NULL ORDER BY id"
        found = self._ask(query, (domain,), tuple[int, int])
        pairs = np.fromiter((value for pair in found for value in pair), dtype=np.int64).reshape(-1, 2)
        return pairs[:, 0].copy(), pairs[:, 1].copy()

    def codes(self, domain: Domain) -> np.ndarray:
        """Returns (rows, d + e) float32, mapped from disk; rows that no image has any more are among them."""
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
        del codes  # Windows deletes no file that is mapped
        delete_unless_used(before)

    def lookup(self, ids: Sequence[int]) -> dict[int, tuple[str, dict[str, str]]]:
        """Returns path and metadata of images by their ids; those that were removed meanwhile are missing."""
        found: dict[int, tuple[str, dict[str, str]]] = {}
        for start in range(0, len(ids), ASKED):
            some = ids[start : start + ASKED]
            query = f"SELECT id, path, metadata FROM items WHERE id IN ({', '.join('?' * len(some))})"
            for number, path, metadata in self._ask(query, some, tuple[int, str, str]):
                found[number] = (path, self._about(metadata))
        return found

    def matching(self, domain: Domain, where: dict[str, str]) -> np.ndarray:
        """Returns (n,) ids, increasing, of the images whose metadata has all these values."""
        tests = " ".join("AND EXISTS (SELECT 1 FROM json_each(metadata) WHERE key = ? AND value = ?)" for _ in where)
        values = [value for pair in where.items() for value in pair]
        query = f"SELECT id FROM items WHERE domain = ? {tests} ORDER BY id"
        return np.fromiter((row[0] for row in self._ask(query, (domain, *values))), dtype=np.int64)

    def fields(self) -> list[str]:
        """Returns names of the metadata that any image has."""
        query = "SELECT DISTINCT json_each.key FROM items, json_each(items.metadata) ORDER BY 1"
        return [row[0] for row in self._ask(query, kind=tuple[str])]

    def everything(self, domain: Domain) -> Iterator[tuple[Item, np.ndarray]]:
        """Yields all images of a domain with their codes, by their ids. Raises UserError for damaged codes."""
        codes, kept = self.codes(domain), self._has_checksums()
        query = (
            f"SELECT path, size, time, metadata, row, {'checksum' if kept else 'NULL'} FROM items "
            "WHERE domain = ? AND row IS NOT NULL ORDER BY id"
        )
        kind = tuple[str, int, int, str, int, int | None]
        for path, size, time, metadata, row, expected in self._ask(query, (domain,), kind):
            if not 0 <= row < len(codes) or expected not in (None, checksum(codes[row])):
                raise UserError(
                    f"{self.codes_path(domain)} is damaged: run the `unbraid index` again that made {self.folder}"
                )
            yield Item(path, size, time, self._about(metadata)), codes[row]

    def unsent(self, domain: Domain, count: int) -> list[tuple[int, Item, int]]:
        """Returns up to `count` images that a server doesn't have yet: id, file, row of the codes."""
        query = (
            "SELECT id, path, size, time, metadata, row FROM items "
            "WHERE domain = ? AND sent = 0 AND row IS NOT NULL LIMIT ?"
        )
        return [
            (number, Item(path, size, time, self._about(about)), row)
            for number, path, size, time, about, row in self._ask(
                query, (domain, count), tuple[int, str, int, int, str, int]
            )
        ]

    def waiting(self, domain: Domain) -> tuple[int, int]:
        """Returns how many images a server must still be told of, and how many removals."""
        new = "SELECT count(*) FROM items WHERE domain = ? AND sent = 0 AND row IS NOT NULL"
        gone = "SELECT count(*) FROM gone WHERE domain = ?"
        return self._number(new, (domain,)), self._number(gone, (domain,))

    def sent(self, ids: Sequence[int]) -> None:
        """Notes that a server has these now."""
        with self._db:
            self._db.executemany("UPDATE items SET sent = 1 WHERE id = ?", [(i,) for i in ids])

    def unsend(self, domain: Domain) -> None:
        """Notes that a server has nothing of a domain any more."""
        with self._db:
            self._db.execute("UPDATE items SET sent = 0 WHERE domain = ?", (domain,))

    def gone(self, domain: Domain, count: int) -> list[int]:
        """Returns up to `count` ids that a server must forget: removed, and not there again."""
        query = "SELECT DISTINCT id FROM gone WHERE domain = ? LIMIT ?"
        return [row[0] for row in self._ask(query, (domain, count))]

    def forgotten(self, ids: Sequence[int]) -> None:
        """Notes that a server has forgotten these; those that are there again must be sent again."""
        with self._db:
            self._db.executemany("DELETE FROM gone WHERE id = ?", [(i,) for i in ids])
            self._db.executemany("UPDATE items SET sent = 0 WHERE id = ?", [(i,) for i in ids])


def checksum_of(path: Path) -> int:
    """Returns the CRC-32 of a file."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found = zlib.crc32(block, found)
    return found


def checksum(code: np.ndarray) -> int:
    """Returns the CRC-32 of one image's codes."""
    return zlib.crc32(code.tobytes())


def _may_become_index(folder: Path) -> bool:
    """Returns whether a folder holds an index, or nothing but what a process left that was killed before there was
    one."""
    if not folder.is_dir():
        return False
    return (folder / "index.json").exists() or all(
        path.name == ".lock" or path.match(".index.json.*.tmp") for path in folder.iterdir()
    )


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=10)
        connection.execute("SELECT 1 FROM sqlite_master").fetchall()
        connection.execute("PRAGMA synchronous = FULL")
        return connection
    except (sqlite3.Error, ValueError) as error:  # SQLite's words about a damaged name may be no text
        raise _damaged(path, error) from error


def _damaged(records: Path, reason: object) -> UserError:
    return UserError(f"{records} is damaged or can't be opened ({reason}). Remove the index's folder and index again")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} can't be made ({error.strerror})") from error
