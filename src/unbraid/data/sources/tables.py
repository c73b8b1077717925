"""Labels in a CSV file beside the images, or above them."""

import re
from collections.abc import Sequence
from pathlib import Path
from unicodedata import normalize

import numpy as np

from unbraid.core.data_config import DataConfig
from unbraid.core.types import DataSpec, UserError
from unbraid.data.cache import cached, form
from unbraid.data.csvfile import Files, Table, read_table
from unbraid.data.items import Chosen
from unbraid.data.labelled import labelled_data
from unbraid.data.listing import Listing, list_images
from unbraid.data.parts import Data
from unbraid.data.splits import PARTS, Split

SPECIAL = ("file", "part", "content")
"""Columns that are no labels."""
DIGITS = 1000
"""Longer numbers are taken for words."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")


def load_csv(config: DataConfig, like: DataSpec | None = None) -> Data:
    """Loads a CSV file with a header: `file`, relative to the CSV file's folder, a column for each label, and perhaps
    `part` (train, val or test) and `content` (what the image shows apart from its class; may be empty).

    like: what images are fitted to, in place of --data.size and --data.channels.
    Raises UserError that names the row if a file is not there or named twice or a value is missing, or if the columns
    can't be used as labels.
    """
    assert config.csv is not None
    path = config.csv
    table = read_table(path, "--data.csv", SPECIAL)
    labels = _label_columns(path, table.header, config.labels)
    listing = list_images(path.parent)
    at = _rows_by_file(table, listing)
    files = sorted(at)
    images = cached(listing.folder, files, *form(config, like, "a"), strict=config.strict)
    kept = [files[i] for i in images.readable]

    def column(name: str) -> list[str]:
        """Returns one value for each image."""
        values = table.column(name)
        return [normalize("NFC", values[at[file]]) for file in kept]

    for name in (*labels, *(["part"] if "part" in table.header else [])):
        for number, value in table.column(name).items():
            if not value:
                raise UserError(f"{path}, row {number} has no {name}: fill it in, or take the row away")
    own = None
    if "part" in table.header:
        for number, part in table.column("part").items():
            if part not in PARTS:
                raise UserError(f"{path}, row {number}: part is {part!r}; it must be train, val or test")
        own = Split.of(column("part"))
    content = _content(path, column("content")) if "content" in table.header else None
    unnamed = len(listing.names) - len(files)
    return labelled_data(
        config,
        path.stem,
        Chosen(images, images.readable),
        kept,
        {name: label_values(path, name, column(name)) for name in labels},
        own,
        f"{unnamed} images of {listing.folder} are in no row of {path.name}" if unnamed else "",
        images.skipped,
        content,
    )


def _label_columns(path: Path, header: Sequence[str], chosen: Sequence[str]) -> Sequence[str]:
    there = [name for name in header if name not in SPECIAL]
    if not there:
        raise UserError(f"{path} has no column for a label, only {', '.join(header)}: add one, such as class")
    if unknown := [name for name in chosen if normalize("NFC", name) not in there]:
        raise UserError(f"--data.labels: {path} has no label {', '.join(unknown)}; there are {', '.join(there)}")
    return [normalize("NFC", name) for name in chosen] or there


def _rows_by_file(table: Table, listing: Listing) -> dict[str, int]:
    """Returns the number of each file's row."""
    at: dict[str, int] = {}
    files = Files([(listing.folder, listing.names)])
    for number, cell in table.column("file").items():
        where = f"{table.path}, row {number}"
        if (found := files.find(cell, where)) is None:
            raise UserError(
                f"{where}: there is no image {cell} in {listing.folder}, a label with no image. "
                "Correct the name, or take the row away"
            )
        if found[1] in at:
            raise UserError(f"{where} names {cell} again, as row {at[found[1]]} did: take one away")
        at[found[1]] = number
    return at


class Numeral(str):
    """A whole number as it is written, so that 007 is not 7, in the order of values."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return (int(self), str(self)) < (int(other), str(other))


def label_values(path: Path, column: str, cells: Sequence[str]) -> np.ndarray:
    """Returns (n,) whole numbers as they are written if all cells are, so that 10 comes after 9; else words.

    Programs that know one kind of number write 9 as 9.0, so that is 9.

    Args:
        path: Of the file or folder, for messages.
        column: What the values are called, for messages.
        cells: One value for each item.

    Raises:
        UserError: If there are numbers that are not whole.
    """
    if not all(_NUMBER.fullmatch(cell) for cell in cells):
        return np.array(cells)
    if broken := [cell for cell in cells if not _WHOLE.fullmatch(cell)]:
        raise UserError(
            f"{path}: the column {column} has numbers that are not whole, such as {broken[0]}. Labels are words or "
            "whole numbers: put the numbers into groups, or name the other columns with --data.labels"
        )
    if max(map(len, cells)) > DIGITS:
        return np.array(cells)
    return np.array([Numeral(cell.split(".")[0]) for cell in cells], dtype=object)


def _content(path: Path, cells: Sequence[str]) -> np.ndarray:
    """Returns numbers of the values, (n,) int64; -1 where there is none."""
    numbers = np.full(len(cells), -1, np.int64)
    known = np.array([bool(cell) for cell in cells])
    if known.any():
        values = label_values(path, "content", [cell for cell in cells if cell])
        numbers[known] = np.unique(values, return_inverse=True)[1]
    return numbers
