"""A first look at folders of images: how they belong together, counts, sizes, what is there twice or can't be read."""

import contextlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import file_digest
from pathlib import Path
from typing import Literal

import numpy as np

from unbraid.core.data_config import DataConfig
from unbraid.core.short import Short
from unbraid.core.types import UserError
from unbraid.data.archives import locate, open_file
from unbraid.data.images import ImageError, read_header
from unbraid.data.items import Rows
from unbraid.data.layout import by_part
from unbraid.data.listing import Listing, list_images
from unbraid.data.sources.folders import match_names

Kind = Literal["pairs", "unpaired", "classes", "side by side"]
LOOKED_AT = 1000
"""Images of a folder whose headers are read, at most."""
FEWEST = 10
"""Pairs, or images of a kind, at least: some train, some choose the model, some measure it."""
SAME = 0.9
"""Folders that have such a share of their images in common hold the same images."""
ALIKE = 0.03
"""Aspect ratios that differ by no more count as one."""


@dataclass(frozen=True)
class Surveyed(Short):
    """A folder of images, but for those whose headers are damaged.

    sizes: (n, 2), height and width of those looked at. unreadable: "file: reason" for those that can't be read.
    contents: a hash of each file whose length another file shares, by name; equal files have one.
    """

    listing: Listing
    sizes: Rows
    unreadable: tuple[str, ...]
    contents: dict[str, str]

    @property
    def name(self) -> str:
        """Returns the name of the folder."""
        return self.listing.folder.resolve().name

    @property
    def repeated(self) -> int:
        """Returns how many files are equal to an earlier one."""
        return sum(count - 1 for count in Counter(self.contents.values()).values())

    def __str__(self) -> str:
        """Returns counts, sizes and what is odd, in words."""
        low, high = self.sizes.min(0), self.sizes.max(0)
        same = bool((low == high).all())
        size = f"{low[0]} x {low[1]} px" if same else f"{low[0]} x {low[1]} to {high[0]} x {high[1]} px"
        words = [f"{self.name}: {len(self.listing.names):,} images, {size} (height x width)"]
        if self.repeated:
            words.append(f"{self.repeated} are equal to another one")
        if self.unreadable:
            words.append(f"{len(self.unreadable)} more can't be read, {self.unreadable[0]}")
        if self.listing.remark:
            words.append(self.listing.remark)
        return "; ".join(words)


@dataclass(frozen=True)
class Survey(Short):
    """Content of the folders that a user names.

    kind: how images belong together. places: the two folders, or the one. pairs: how many names agree.
    common: how many images are in both folders. classes: images in each class folder. parts: whether the place has a
    folder for each part, of which the others tell what is in that of training.
    """

    kind: Kind
    places: tuple[Path, ...]
    folders: tuple[Surveyed, ...]
    pairs: int = 0
    common: int = 0
    classes: dict[str, int] | None = None
    parts: bool = False

    @property
    def items(self) -> int:
        """Returns the number of pairs, or of images of the smaller kind."""
        return self.pairs if self.kind == "pairs" else min(len(folder.listing.names) for folder in self.folders)

    def size(self, side: int) -> tuple[int, int]:
        """Returns height and width of images whose smaller side has `side` px: of the images' own shape, in sixteenths,
        if they all have one; else square. Images that are smaller are not enlarged beyond 32 px."""
        sizes = np.concatenate([folder.sizes for folder in self.folders]).astype(np.float64)
        if self.kind == "side by side":
            sizes[:, 1] /= 2
        smaller = int(np.median(sizes.min(1)))
        side = min(side, max(32, 16 * round(smaller / 16)))
        shapes = sizes[:, 0] / sizes[:, 1]
        shape = float(np.median(shapes))
        if np.abs(np.log(shapes / shape)).max() > ALIKE or not 0.5 <= shape <= 2:
            return side, side
        longer = max(side, 16 * round(side * max(shape, 1 / shape) / 16))
        return (longer, side) if shape > 1 else (side, longer)


def survey(places: Sequence[Path]) -> Survey:
    """Looks at two folders of images; or one with a folder for each class, or two that belong together, or images that
    hold both kinds side by side. Raises UserError, with what was found, if there is nothing to learn from.
    """
    if len(places) == 2:
        return _two(places[0], places[1])
    if len(places) != 1:
        raise UserError(f"{len(places)} folders: give two folders of images, or one with a folder for each class")
    place = places[0]
    if (parts := _in_parts(place)) is not None:
        return replace(parts, places=(place,), parts=True)
    listing = list_images(place)
    looked = _looked(listing)
    names = looked.listing.names
    classes = Counter(name.split("/")[0] for name in names if "/" in name)
    outside = len(names) - sum(classes.values())
    if len(classes) == 2 and not outside:
        with contextlib.suppress(UserError):  # then they are classes
            found = _two(*(place / name for name in sorted(classes)))
            if found.kind == "pairs":
                return found
    if len(classes) >= 2 and not outside:
        _check_different(looked)
        single = [name for name, count in classes.items() if count < 2]
        if single or len(names) < FEWEST:
            raise UserError(
                f"{place} has {len(classes)} class folders with {len(names)} images"
                + (f", and a single one in {', '.join(single[:3])}" if single else "")
                + f": {FEWEST} images are needed at least, two in each class; a hundred of each are little"
            )
        return Survey("classes", (place,), (looked,), classes=dict(classes))
    if not classes and _side_by_side(looked):
        _check_few(place, len(names), "images with two halves")
        return Survey("side by side", (place,), (looked,), len(names))
    raise UserError(
        f"{place} holds images of one kind, {len(names):,}: what is the other? Give two folders, "
        f"`unbraid start photos sketches`, or a folder with a folder for each class; halves that are not square: "
        f"`unbraid train iiae --data.side-by-side {place} --data.size HEIGHT WIDTH --run RUN`"
        + (f"; beside its folders lie images, {outside:,}" if classes else "")
    )


def _in_parts(place: Path) -> Survey | None:
    """Returns what is in the training part of a folder with a folder for each part; None if it has no such folders."""
    try:
        train = by_part(DataConfig(folder=place))["train"]
    except UserError:
        return None
    if train.a and train.b:
        return survey([train.a, train.b])
    inner = train.classes or train.side_by_side
    return survey([inner]) if inner and inner != place else None


def _two(a: Path, b: Path) -> Survey:
    if a.resolve() == b.resolve():
        raise UserError(f"{a} and {b} are the same folder: give one of each kind")
    for inner, outer in ((a, b), (b, a)):
        if inner.is_dir() and inner.resolve().is_relative_to(outer.resolve()):
            raise UserError(f"{inner} lies in {outer}, whose images would count for both: give folders that lie apart")
    listings = list_images(a, tars=True), list_images(b, tars=True)
    shared = _shared_bytes(listings)
    folders = _looked(listings[0], shared), _looked(listings[1], shared)
    for folder in folders:
        _check_different(folder)
    common = len({*folders[0].contents.values()} & {*folders[1].contents.values()})
    smaller = min(len(folder.listing.names) for folder in folders)
    if common >= SAME * smaller:
        raise UserError(
            f"{a} and {b} hold the same images ({common} of {smaller} are equal): two different kinds are needed"
        )
    try:
        pairs = len(match_names(folders[0].listing, folders[1].listing)[0])
    except UserError:  # there are none, or not by name
        pairs = 0
    if pairs < 3 or 2 * pairs < smaller:
        _check_few(a, len(folders[0].listing.names), "images")
        _check_few(b, len(folders[1].listing.names), "images")
        return Survey("unpaired", (a, b), folders, pairs, common)
    _check_few(a, pairs, f"pairs with {b}")
    return Survey("pairs", (a, b), folders, pairs, common)


def _looked(listing: Listing, elsewhere: frozenset[int] = frozenset()) -> Surveyed:
    """Reads headers, and hashes files of as many bytes as another one has, of this folder or `elsewhere`."""
    sizes, bad = [], dict[str, str]()
    for name in listing.names[:: -(-len(listing.names) // LOOKED_AT)]:
        try:
            header = read_header(listing.folder / name)
            sizes.append((header.height, header.width))
        except ImageError as error:
            bad[name] = error.reason
    lines = tuple(f"{name}: {reason}" for name, reason in bad.items())
    if not sizes:
        raise UserError(f"None of the {len(bad)} images of {listing.folder} can be read; {lines[0]}")
    listing = replace(listing, names=[name for name in listing.names if name not in bad])
    by_name = {name: length for name in listing.names if (length := _length(listing.folder / name)) is not None}
    count = Counter(by_name.values())
    contents = {
        name: _digest(listing.folder / name)
        for name, length in by_name.items()
        if (count[length] > 1 or length in elsewhere) and os.access(locate(listing.folder / name).file, os.R_OK)
    }
    return Surveyed(listing, np.array(sizes, dtype=np.int64), lines, contents)


def _shared_bytes(listings: Sequence[Listing]) -> frozenset[int]:
    """Returns the numbers of bytes that files of both folders have."""
    a, b = ({_length(listing.folder / name) for name in listing.names} for listing in listings)
    return frozenset(length for length in a & b if length is not None)


def _digest(path: Path) -> str:
    with open_file(path) as file:
        return file_digest(file, "sha256").hexdigest()


def _length(path: Path) -> int | None:
    try:
        return locate(path).size
    except OSError:
        return None


def _side_by_side(folder: Surveyed) -> bool:
    heights, widths = folder.sizes.T
    return bool((np.abs(widths - 2 * heights) <= ALIKE * heights).mean() > SAME and (widths % 2 == 0).all())


def _check_few(place: Path, count: int, what: str) -> None:
    if count < FEWEST:
        raise UserError(
            f"{place} has {count} {what}: {FEWEST} are needed at least, to train on some and measure on others; a "
            "hundred are little"
        )


def _check_different(folder: Surveyed) -> None:
    count = len(folder.listing.names)
    if count > 1 and len(folder.contents) == count and len(set(folder.contents.values())) == 1:
        raise UserError(f"All {count} images of {folder.listing.folder} are equal: there is nothing to learn from")
