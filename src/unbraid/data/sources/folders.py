"""Folders of images: two that belong together, two that don't, halves side by side, one folder for each class."""

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from unbraid.core.data_config import DataConfig
from unbraid.core.types import DOMAINS, DataSpec, UserError
from unbraid.data.cache import CachedImages, cached, form
from unbraid.data.classes import class_of, class_pairs
from unbraid.data.csvfile import Files, folded, read_rows
from unbraid.data.items import Chosen
from unbraid.data.labelled import labelled_data
from unbraid.data.layout import PART_NAMES
from unbraid.data.listing import Listing, list_images
from unbraid.data.parts import Data
from unbraid.data.splits import ELSEWHERE, PARTS, Split, divide, divide_rest, linked


def load_two_folders(config: DataConfig, like: DataSpec | None = None) -> Data:
    """Loads --data.a and --data.b, paired by name or by --data.pairs, or --data.unpaired.

    like: what the images of each domain are fitted to, in place of --data.size and --data.channels.
    Raises UserError if a folder is missing or empty, the names don't match, or the images can't be used.
    """
    if config.a is None or config.b is None:
        raise UserError(f"--data.{'b' if config.a else 'a'} is missing: two folders are needed, one for each domain")
    if config.unpaired and config.pairs:
        raise UserError("--data.unpaired and --data.pairs contradict each other: give one of them")
    a, b = list_images(config.a, tars=True), list_images(config.b, tars=True)
    if config.by_class:
        return pair_by_class(config, f"{a.folder.name} and {b.folder.name}", a, b, remark=_join(a.remark, b.remark))
    if config.unpaired:
        return _unpaired(config, a, b, like)
    own: list[str] = []
    if config.pairs:
        pairs, own, remark = _read_pairs(config.pairs, a, b)
        names, keys = [" | ".join(pair) for pair in pairs], linked(*zip(*pairs, strict=True))
        if not own and config.test != ELSEWHERE and len(set(keys)) < 3:
            raise UserError(
                f"--data.pairs {config.pairs}: through images that stand in several pairs, its {len(pairs)} pairs are "
                f"connected to {len(set(keys))} groups. Training, validation and test need one each, so that no image "
                "is in two of them: add pairs of other images"
            )
    else:
        pairs, remark = match_names(a, b)
        names = keys = [_stem(name) for name, _ in pairs]
    images, rows = [], []
    for domain, listing, side in zip(DOMAINS, (a, b), zip(*pairs, strict=True), strict=True):
        used = sorted(set(side))
        at = {name: i for i, name in enumerate(used)}
        images.append(cached(listing.folder, used, *form(config, like, domain), strict=config.strict))
        rows.append(np.array([at[name] for name in side], dtype=np.int64))
    kept = np.flatnonzero(np.isin(rows[0], images[0].readable) & np.isin(rows[1], images[1].readable))
    left, right = (Chosen(cache, row[kept]) for cache, row in zip(images, rows, strict=True))
    own = own if own and config.test != ELSEWHERE else ["train"] * len(keys)
    split = divide_rest([keys[i] for i in kept], [own[i] for i in kept], config.val, config.test, config.seed)
    remark = _join(remark, a.remark, b.remark, _mixed(a), _mixed(b), _same(config))
    skipped = images[0].skipped + images[1].skipped
    called = f"{config.a.name} and {config.b.name}"
    return Data.of_pairs(called, left, right, [names[i] for i in kept], split, remark, skipped)


def load_side_by_side(config: DataConfig, like: DataSpec | None = None) -> Data:
    """Loads images whose left half is a and whose right half is b.

    like: what halves are fitted to, in place of --data.size and --data.channels.
    Raises UserError if the folder is missing or empty, a width is odd, or the images can't be used.
    """
    assert config.side_by_side is not None
    listing = list_images(config.side_by_side, tars=True)
    images = cached(listing.folder, listing.names, *form(config, like, "a"), (1, 2), config.strict)
    names = [_stem(listing.names[i]) for i in images.readable]
    split = divide(names, config.val, config.test, config.seed)
    left, right = Chosen(images, 2 * images.readable), Chosen(images, 2 * images.readable + 1)
    remark = _join(listing.remark, _mixed(listing))
    return Data.of_pairs(listing.folder.name, left, right, names, split, remark, images.skipped)


def load_classes(config: DataConfig, like: DataSpec | None = None) -> Data:
    """Loads a folder with one folder of images for each class; see `labelled_data` for their numbers.

    With --data.folder, class folders have folders train, test and perhaps val.
    like: what images are fitted to, in place of --data.size and --data.channels.
    Raises UserError if the folder is missing or empty, an image lies outside the class folders, a class has a single
    image, or images can't be used.
    """
    assert config.classes is not None
    listing = list_images(config.classes)
    outside = [name for name in listing.names if "/" not in name]
    if outside:
        raise UserError(
            f"--data.classes wants one folder for each class: {len(outside)} images lie in {listing.folder} itself, "
            f"{outside[0]} among them"
        )
    images = cached(listing.folder, listing.names, *form(config, like, "a"), strict=config.strict)
    names = [listing.names[i] for i in images.readable]
    columns = {"class": np.array([name.split("/")[0] for name in names])}
    own = None
    if config.folder:
        own = Split.of([PART_NAMES.get(name.split("/")[1].casefold(), "") for name in names])
    return labelled_data(
        config,
        listing.folder.name,
        Chosen(images, images.readable),
        names,
        columns,
        own,
        _join(listing.remark, "" if own else _mixed(listing)),
        images.skipped,
    )


def match_names(a: Listing, b: Listing) -> tuple[list[tuple[str, str]], str]:
    """Pairs files whose relative names agree but for the ending, or, if none do, whose last parts agree. What is left
    may differ in case, or in how letters are composed.

    Returns the pairs and a remark on those left over. Raises UserError if nothing matches or a name stands for two
    files.
    """
    matched: list[tuple[str, str]] = []
    for key in (_stem, lambda name: PurePosixPath(name).stem):
        matched = _matched(a, b, a.names, b.names, key)
        used_a, used_b = {name for name, _ in matched}, {name for _, name in matched}
        rest_a, rest_b = [n for n in a.names if n not in used_a], [n for n in b.names if n not in used_b]
        matched += _matched(a, b, rest_a, rest_b, lambda name, key=key: folded(key(name)))
        if matched:
            break
    if len(matched) < 3 and len(matched) < max(len(a.names), len(b.names)):
        found = f"only {len(matched)} of the names" if matched else "no names"
        raise UserError(
            f"{a.folder} has {len(a.names)} images, {b.folder} {len(b.names)}, and {found} in common. "
            "Give --data.pairs pairs.csv, or --data.unpaired for a method that needs no pairs"
        )
    left = [f"{len(side.names) - len(matched)} of {side.folder}" for side in (a, b) if len(side.names) > len(matched)]
    return matched, f"{len(matched)} pairs; without partner: {' and '.join(left)}" if left else ""


def paired_by_name(a: Path, b: Path) -> bool:
    """Returns whether `match_names` pairs most of the images of two folders."""
    one, two = list_images(a, tars=True), list_images(b, tars=True)
    try:
        return 2 * len(match_names(one, two)[0]) > min(len(one.names), len(two.names))
    except UserError:
        return False


def _read_pairs(path: Path, a: Listing, b: Listing) -> tuple[list[tuple[str, str]], list[str], str]:
    """Reads a CSV file of names of files in the two folders, with or without the header a,b; or with a,b,part.

    Returns the pairs, each once; their parts if the file says them, else nothing; and a remark on repeated pairs.
    """
    rows = read_rows(path, "--data.pairs")
    header = [cell.lower() for cell in rows[min(rows)]] if rows else []
    with_part = header == ["a", "b", "part"]
    if with_part or header == ["a", "b"]:
        rows.pop(min(rows))
    files = [(listing, Files([(listing.folder, listing.names)])) for listing in (a, b)]
    found_parts: dict[tuple[str, str], str] = {}
    for number, row in rows.items():
        where = f"{path}, row {number}"
        if len(row) != 2 + with_part:
            needed = (
                "three are needed, a file of a, a file of b and its part"
                if with_part
                else ("two are needed, a file of a and a file of b; or a header a,b,part and three")
            )
            raise UserError(f"{where} has {len(row)} columns; {needed}")
        part = row[2] if with_part else "train"
        if part not in PARTS:
            raise UserError(f"{where}: part is {part!r}; it must be train, val or test")
        names = []
        for cell, (listing, known) in zip(row[:2], files, strict=True):
            if (found := known.find(cell, where)) is None:
                raise UserError(f"{where}: there is no image {cell} in {listing.folder}")
            names.append(found[1])
        pair = (names[0], names[1])
        if found_parts.setdefault(pair, part) != part:
            raise UserError(f"{where}: part is {part}, and it was {found_parts[pair]} where the pair was named before")
    if not found_parts:
        raise UserError(f"--data.pairs {path} names no pairs")
    repeated = len(rows) - len(found_parts)
    remark = f"{repeated} rows of {path.name} name a pair again and are left out" if repeated else ""
    return list(found_parts), list(found_parts.values()) if with_part else [], remark


def _unpaired(config: DataConfig, a: Listing, b: Listing, like: DataSpec | None) -> Data:
    images: list[CachedImages] = []
    names, splits = [], []
    for domain, listing in zip(DOMAINS, (a, b), strict=True):
        images.append(cached(listing.folder, listing.names, *form(config, like, domain), strict=config.strict))
        readable = [listing.names[i] for i in images[-1].readable]
        names.append(readable)
        # without the ending, so that two images of one thing fall into the same part if their names say so
        splits.append(divide([_stem(name) for name in readable], config.val, config.test, config.seed))
    left, right = (Chosen(cache, cache.readable) for cache in images)
    remark = _join(a.remark, b.remark, _mixed(a), _mixed(b), _same(config))
    skipped = images[0].skipped + images[1].skipped
    return Data.of_two_domains(f"{a.folder.name} and {b.folder.name}", (left, right), names, splits, remark, skipped)


def pair_by_class(
    config: DataConfig, name: str, a: Listing, b: Listing, test_share: float | None = None, remark: str = ""
) -> Data:
    """Loads two folders that have a folder of images for each class. See `class_pairs`."""
    images = [cached(some.folder, some.names, config.size, config.channels, strict=config.strict) for some in (a, b)]
    names = [[some.names[i] for i in images[k].readable] for k, some in enumerate((a, b))]
    classes = [[class_of(name, some.folder) for name in names[k]] for k, some in enumerate((a, b))]
    items = [Chosen(own, own.readable) for own in images]
    skipped = images[0].skipped + images[1].skipped
    return class_pairs(config, name, items, classes, names, test_share, remark, skipped)


def _mixed(listing: Listing) -> str:
    """Returns a remark on folders called as parts are, whose images are divided as if they were one."""
    found = sorted({name.split("/")[0] for name in listing.names if "/" in name})
    parts = {PART_NAMES.get(name.casefold()) for name in found}
    if None in parts or len(parts) < 2:
        return ""
    return f"the images of {' and '.join(found)} in {listing.folder} are mixed; --data.folder keeps them apart"


def _same(config: DataConfig) -> str:
    """Returns a remark if both domains lie in one folder, and no CSV file tells them apart."""
    if not (config.a and config.b) or config.pairs or config.a.resolve() != config.b.resolve():
        return ""
    return f"--data.a and --data.b are the same folder, {config.a}"


def _stem(name: str) -> str:
    """Returns a relative name without its ending."""
    return name.rsplit(".", 1)[0]


def _matched(
    a: Listing, b: Listing, names_a: Sequence[str], names_b: Sequence[str], key: Callable[[str], str]
) -> list[tuple[str, str]]:
    """Returns names of a and of b with one key. Raises UserError if there are several with it in one of the folders."""
    sides: list[dict[str, list[str]]] = [{}, {}]
    for names, side in zip((names_a, names_b), sides, strict=True):
        for name in names:
            side.setdefault(key(name), []).append(name)
    common = sorted(set(sides[0]) & set(sides[1]))
    for listing, side in zip((a, b), sides, strict=True):
        for name in common:
            if len(side[name]) > 1:
                raise UserError(
                    f"{listing.folder} has {' and '.join(side[name][:2])}: which belongs to the other folder's "
                    f"{name}? Give --data.pairs pairs.csv"
                )
    return [(sides[0][name][0], sides[1][name][0]) for name in common]


def _join(*remarks: str) -> str:
    return "; ".join(remark for remark in remarks if remark)
