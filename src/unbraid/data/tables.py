"""Labels in a CSV file beside the images, or above them."""

import csv
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unbraid.data.cache import cached
from unbraid.data.config import DataConfig
from unbraid.data.folders import Listing, list_images
from unbraid.data.labelled import labelled_data
from unbraid.data.parts import Chosen, Data, Split
from unbraid.types import UserError

PARTS = ("train", "val", "test")
SPECIAL = ("file", "part", "content")
"""Columns that are no labels."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")


def load_csv(config: DataConfig) -> Data:
    """A CSV file with a header: `file`, relative to the CSV file's folder, a column for each label, and perhaps `part`
    (train, val or test) and `content` (what the image shows apart from its class; may be empty).

    Raises UserError that names the row if a file is not there or named twice or a value is missing, or if the columns
    can't be used as labels.
    """
    assert config.csv is not None
    path = config.csv
    header, rows = _read(path)
    labels = _label_columns(path, header, config.labels)
    listing = list_images(path.parent)
    at = _rows_by_file(path, rows, listing)
    files = sorted(at)
    images = cached(listing.folder, files, config.size, config.channels, strict=config.strict)
    kept = [files[i] for i in images.readable]

    def column(name: str) -> list[str]:
        """One value for each image."""
        return [rows[at[file]][header.index(name)] for file in kept]

    for name in (*labels, *(["part"] if "part" in header else [])):
        for number, row in rows.items():
            if not row[header.index(name)]:
                raise UserError(f"{path}, row {number} has no {name}: fill it in, or take the row away")
    own = None
    if "part" in header:
        for number, row in rows.items():
            if (part := row[header.index("part")]) not in PARTS:
                raise UserError(f"{path}, row {number}: part is {part!r}; it must be train, val or test")
        parts = np.array(column("part"))
        own = Split(*(np.flatnonzero(parts == part) for part in PARTS))
    content = _content(path, column("content")) if "content" in header else None
    unnamed = len(listing.names) - len(files)
    return labelled_data(
        config,
        path.stem,
        Chosen(images, images.readable),
        kept,
        {name: _values(path, name, column(name)) for name in labels},
        own,
        f"{unnamed} images of {listing.folder} are in no row of {path.name}" if unnamed else "",
        images.skipped,
        content,
    )


def _read(path: Path) -> tuple[list[str], dict[int, list[str]]]:
    """The header, and the other rows by their number in the file."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = {number: [cell.strip() for cell in row] for number, row in enumerate(csv.reader(file), 1)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--data.csv {path} can't be read: {error}") from error
    rows = {number: row for number, row in rows.items() if any(row)}
    if not rows:
        raise UserError(f"--data.csv {path} is empty")
    header = rows.pop(min(rows))
    if header[0] != "file":
        raise UserError(
            f"{path} must begin with a header whose first column is file, as in file,class; it begins with "
            f"{','.join(header)}"
        )
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise UserError(f"{path} has several columns {', '.join(twice)}: rename them, or take them away")
    if not rows:
        raise UserError(f"--data.csv {path} has a header and no rows")
    for number, row in rows.items():
        if len(row) != len(header):
            raise UserError(f"{path}, row {number} has {len(row)} values; the header has {len(header)}")
    return header, rows


def _label_columns(path: Path, header: Sequence[str], chosen: Sequence[str]) -> Sequence[str]:
    there = [name for name in header if name not in SPECIAL]
    if not there:
        raise UserError(f"{path} has no column for a label, only {', '.join(header)}: add one, such as class")
    if unknown := [name for name in chosen if name not in there]:
        raise UserError(f"--data.labels: {path} has no label {', '.join(unknown)}; there are {', '.join(there)}")
    return chosen or there


def _rows_by_file(path: Path, rows: dict[int, list[str]], listing: Listing) -> dict[str, int]:
    """The number of each file's row."""
    at: dict[str, int] = {}
    known = set(listing.names)
    for number, row in rows.items():
        name = posixpath.normpath(row[0])  # ./x.png is x.png
        if name not in known:
            raise UserError(
                f"{path}, row {number}: there is no image {row[0]} in {listing.folder}, a label with no image. "
                "Correct the name, or take the row away"
            )
        if name in at:
            raise UserError(f"{path}, row {number} names {row[0]} again, as row {at[name]} did: take one away")
        at[name] = number
    return at


def _values(path: Path, column: str, cells: Sequence[str]) -> np.ndarray:
    """(n,) whole numbers if all cells are, so that 10 comes after 9; else words."""
    if not all(_NUMBER.fullmatch(cell) for cell in cells):
        return np.array(cells)
    if broken := [cell for cell in cells if not _WHOLE.fullmatch(cell)]:
        raise UserError(
            f"{path}: the column {column} has numbers that are not whole, such as {broken[0]}. Labels are words or "
            "whole numbers: put the numbers into groups, or name the other columns with --data.labels"
        )
    return np.array([int(cell.split(".")[0]) for cell in cells])


def _content(path: Path, cells: Sequence[str]) -> np.ndarray:
    """(n,) int64 numbers of the values; -1 where there is none."""
    numbers = np.full(len(cells), -1, np.int64)
    known = np.array([bool(cell) for cell in cells])
    if known.any():
        values = _values(path, "content", [cell for cell in cells if cell])
        numbers[known] = np.unique(values, return_inverse=True)[1]
    return numbers
