"""CSV files that name files, such as pairs, labels, metadata and landmarks: one reader, and one rule for names.

Cells lose the blanks around them, empty rows are passed over, and a row may be shorter or end in commas. Text is UTF-8
or UTF-16; columns are divided by commas or, where the first row has none, by semicolons or tabs, as spreadsheets write
them.
"""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from unicodedata import normalize

from unbraid.core.short import Short
from unbraid.core.types import UserError


def read_rows(path: Path, flag: str) -> dict[int, list[str]]:
    """Returns the rows that hold something, by their number in the file, without empty cells at their end.

    Raises UserError, which names the flag and the file, if it can't be read.
    """
    try:
        text = _decoded(path.read_bytes())
        first = next((line for line in text.splitlines() if line.strip()), "")
        divider = next((mark for mark in ",;\t" if mark in first), ",")
        rows = csv.reader(
            io.StringIO(text, newline=""), delimiter=divider, skipinitialspace=divider != "\t", strict=True
        )
        cells = {number: [cell.strip() for cell in row] for number, row in enumerate(rows, 1)}
    except OSError as error:
        raise UserError(f"{flag} {path} can't be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{flag} {path} can't be read as CSV in UTF-8 or UTF-16: {error}") from error
    return {number: row[: max(i for i, cell in enumerate(row, 1) if cell)] for number, row in cells.items() if any(row)}


def _decoded(data: bytes) -> str:
    """Decodes text by its mark; without one, zeros mean UTF-16, for text has none."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    if b"\0" in data[:200]:
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be")
    return data.decode("utf-8-sig")


@dataclass(frozen=True)
class Table(Short):
    """A CSV file with a header, one of whose columns is `file`. rows: by their number in the file, as long as the
    header; cells that a row lacks are empty."""

    path: Path
    header: list[str]
    rows: dict[int, list[str]]

    def column(self, name: str) -> dict[int, str]:
        """Returns the values of a column by the number of their row."""
        at = self.header.index(name)
        return {number: row[at] for number, row in self.rows.items()}


def read_table(path: Path, flag: str, known: Sequence[str] = ("file",), example: str = "file,class") -> Table:
    """Reads a CSV file with a header.

    Args:
        path: The file.
        flag: What named it.
        known: Columns with a meaning, whose names may be in any case; the first of them must be there.
        example: A header, to show.

    Raises:
        UserError: It can't be read, is empty, has no such header, two columns of one name, or a row with more cells.
    """
    rows = read_rows(path, flag)
    if not rows:
        raise UserError(f"{flag} {path} is empty")
    written = {name.casefold(): name for name in known}
    header = [written.get(name.casefold(), normalize("NFC", name)) for name in rows.pop(min(rows))]
    if known[0] not in header:
        raise UserError(
            f"{flag} {path} needs a header with a column {known[0]}, as in {example}; it begins with {','.join(header)}"
        )
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise UserError(f"{path} has several columns {', '.join(twice)}: rename them, or take them away")
    if "" in header:
        raise UserError(f"{path}: column {header.index('') + 1} has no name in the header: name it, or take it away")
    if not rows:
        raise UserError(f"{flag} {path} has a header and no rows")
    for number, row in rows.items():
        if len(row) > len(header):
            raise UserError(
                f"{path}, row {number} has {len(row)} values; the header has {len(header)}. "
                "A value with a comma in it stands in double quotes"
            )
    return Table(path, header, {number: row + [""] * (len(header) - len(row)) for number, row in rows.items()})


def folded(name: str) -> str:
    """Returns a name without case and with letters composed one way: "É" is one sign or two."""
    return normalize("NFC", normalize("NFC", name).casefold())


class Files:
    """Finds the file that a cell names: relative to one of some folders, or absolute; ./x.png is x.png.

    If there is none, one whose name differs in case or in how its letters are composed will do.
    """

    def __init__(self, folders: Sequence[tuple[str | Path, Sequence[str]]]) -> None:
        """folders: each with the names of its files, relative, with "/"; what is in an earlier one is found first."""
        self._places = [(os.path.abspath(folder), os.path.realpath(folder)) for folder, _ in folders]
        self._names = [set(names) for _, names in folders]

    @cached_property
    def _folded(self) -> list[dict[str, list[str]]]:
        table: list[dict[str, list[str]]] = [{} for _ in self._names]
        for names, alike in zip(self._names, table, strict=True):
            for name in sorted(names):
                alike.setdefault(folded(name), []).append(name)
        return table

    def find(self, cell: str, where: str) -> tuple[int, str] | None:
        """Returns the number of the folder and the name of the file that a cell names, or None.

        Raises UserError, about `where`, if it could be several files.
        """
        written = [at for name in dict.fromkeys((cell, cell.replace("\\", "/"))) for at in self._relative(name)]
        for folder, name in written:
            if name in self._names[folder]:
                return folder, name
        for folder, name in written:
            if alike := self._folded[folder].get(folded(name)):
                if len(alike) > 1:
                    raise UserError(f"{where}: {cell} could be {' or '.join(alike)}: write it as the file is named")
                return folder, alike[0]
        return None

    def _relative(self, cell: str) -> list[tuple[int, str]]:
        """Yields the places where a file of this name would be: folders and names below them."""
        path = os.path.normpath(cell)
        if not os.path.isabs(path):
            return [(folder, path) for folder in range(len(self._places))]
        return [
            (folder, os.path.relpath(path, place))
            for folder, places in enumerate(self._places)
            for place in dict.fromkeys(places)
            if path.startswith(place.rstrip("/") + "/")
        ]
