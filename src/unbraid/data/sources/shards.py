"""Shards as WebDataset writes them: tar files whose members of one KEY make an item, KEY.a.jpg and KEY.b.png a pair,
KEY.jpg and KEY.cls an image with its class. They are read where they lie; nothing in them is unpickled.

A KEY goes to the first dot of the file's name. The same KEY in two shards is two items.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unbraid.core.data_config import DataConfig
from unbraid.core.short import Short
from unbraid.core.types import DOMAINS, DataSpec, UserError
from unbraid.data.archives import archive_of, members, open_file
from unbraid.data.cache import cached, form
from unbraid.data.images import SUFFIXES
from unbraid.data.items import Chosen
from unbraid.data.labelled import labelled_data
from unbraid.data.layout import PART_NAMES
from unbraid.data.listing import Listing, list_images
from unbraid.data.parts import Data
from unbraid.data.sources.tables import label_values
from unbraid.data.splits import ELSEWHERE, Split, divide_rest

CLASS = "cls"
"""The ending of a member that holds an item's class, as text."""
LONGEST_CLASS = 1000
"""Bytes of such a member, at most."""
_ENDINGS = {suffix[1:] for suffix in SUFFIXES}


@dataclass(frozen=True)
class Shards(Short):
    """The images of shards. items: the names of an item's images, one or two, by the item's key. remark: on what is
    left out."""

    folder: Path
    items: Mapping[str, tuple[str, ...]]
    remark: str

    @property
    def labelled(self) -> bool:
        """Returns whether an item is one image."""
        return all(len(item) == 1 for item in self.items.values())


def read_shards(path: Path, names: Sequence[str] | None = None, strict: bool = False) -> Shards:
    """Lists the items of a tar file, or of all tar files in a folder.

    Args:
        path: Of the file or folder.
        names: What the two images of an item are called, if there are such: which is a, and which is b.
        strict: Whether each item must have both.

    Raises:
        UserError: There are no tar files, one can't be read, an item has several images of one kind, or items have
            different kinds of images.
    """
    listing = list_images(path, tars=True)
    if archive_of(listing.folder / listing.names[0]) is None:
        raise UserError(f"--data.shards: {path} holds images, and no tar files of images: give --data.a and --data.b")
    items: dict[str, dict[str, str]] = {}
    for name in listing.names:
        key, kind = _divided(name)
        if kind in (item := items.setdefault(key, {})):
            raise UserError(f"--data.shards {path}: {item[kind]} and {name} have one key and one kind: keep one")
        item[kind] = name
    remark = _without_image(listing, items)
    count = Counter(kind for item in items.values() for kind in item)
    if set(count) <= _ENDINGS and all(len(item) == 1 for item in items.values()):
        return Shards(listing.folder, {key: tuple(item.values()) for key, item in items.items()}, remark)
    a, b = _two(path, count, names)
    whole = {key: (item[a], item[b]) for key, item in items.items() if a in item and b in item}
    broken = [key for key in items if key not in whole]
    if broken and (strict or len(broken) > len(whole)):
        raise UserError(
            f"--data.shards {path}: {len(broken)} of {len(items)} items lack {a} or {b}, {broken[0]} among them, which "
            f"has {', '.join(items[broken[0]].values())}. Two members of one key make a pair: KEY.{a}.jpg, KEY.{b}.png"
        )
    half = f"{len(broken)} items lack {a} or {b} and are left out" if broken else ""
    return Shards(listing.folder, whole, "; ".join(filter(None, (half, remark))))


def _without_image(listing: Listing, items: Collection[str]) -> str:
    """Returns a remark on keys of members without an image, "" if there are none. items: keys of the others."""
    keys = sorted({_divided(name)[0] for name in listing.others}.difference(items))
    keys = [key for key in keys if archive_of(listing.folder / key)]
    advice = f" ({listing.advice})" if listing.advice else ""
    return f"{len(keys)} keys, {keys[0]} among them, have no image{advice} and are left out" if keys else ""


def load_shards(config: DataConfig, like: DataSpec | None = None) -> Data:
    """Loads --data.shards: pairs if its items have two images, else images with labels.

    like: what the images of each domain are fitted to, in place of --data.size and --data.channels.
    Raises UserError as `read_shards` does, or if an image has no class or the images can't be used.
    """
    assert config.shards is not None
    shards = read_shards(config.shards, config.names, config.strict)
    names = zip(*shards.items.values(), strict=True)
    images = [
        cached(shards.folder, some, *form(config, like, domain), strict=config.strict)
        for some, domain in zip(names, DOMAINS, strict=False)
    ]
    kept = images[0].readable if len(images) == 1 else np.intersect1d(images[0].readable, images[1].readable)
    keys = [list(shards.items)[i] for i in kept]
    own = _parts(shards.folder, keys)
    items = [Chosen(one, kept) for one in images]
    called, skipped = shards.folder.stem, tuple(line for one in images for line in one.skipped)
    if len(items) == 1:
        given = Split.of(own) if own else None
        columns = {"class": _classes(shards.folder, keys)}
        return labelled_data(config, called, items[0], keys, columns, given, shards.remark, skipped)
    own = own if own and config.test != ELSEWHERE else ["train"] * len(keys)
    split = divide_rest(keys, own, config.val, config.test, config.seed)
    return Data.of_pairs(called, items[0], items[1], keys, split, shards.remark, skipped)


def _divided(name: str) -> tuple[str, str]:
    """Returns the key of a member, with its shard and folder, and what its image is called: "a" of KEY.a.jpg, "jpg" of
    KEY.jpg."""
    folder, _, file = name.rpartition("/")
    key, _, endings = file.partition(".")
    kind, _, ending = endings.casefold().rpartition(".")
    return f"{folder}/{key}" if folder else key, kind or ending


def _two(path: Path, count: Counter[str], names: Sequence[str] | None) -> tuple[str, str]:
    """Returns what the images of a pair are called: as `names` says if there are such, else the only two, sorted."""
    wanted = [name.casefold() for name in names or ()]
    if len(wanted) == 2 and all(name in count for name in wanted):
        return wanted[0], wanted[1]
    if len(count) != 2:
        found = ", ".join(f"{kind} ({number})" for kind, number in sorted(count.items())[:6])
        raise UserError(
            f"--data.shards {path} has images called {found}. Two make a pair, as KEY.a.jpg and KEY.b.png; give "
            "--data.names with two of these"
        )
    a, b = sorted(count)
    return a, b


def _parts(folder: Path, keys: Sequence[str]) -> list[str]:
    """Returns the part of each item, by what its shard is called, such as val-000.tar or val/000.tar; nothing if no
    shard is called so. Raises UserError if some are."""
    found: dict[str, str | None] = {}
    for key in keys:
        shard = key.casefold().partition(".tar/")[0]
        if shard not in found:
            words = re.split(r"[\W\d_]+", shard)
            found[shard] = next((PART_NAMES[word] for word in words if word in PART_NAMES), None)
    if not any(found.values()):
        return []
    for shard, part in found.items():
        if part is None:
            known = next(name for name, one in found.items() if one)
            raise UserError(
                f"--data.shards {folder}: {known} is called as a part is, and {shard} is not: write train, val or test "
                "into the name of each shard, or of its folder, or of none"
            )
    return [str(found[key.casefold().partition(".tar/")[0]]) for key in keys]


def _classes(folder: Path, keys: Sequence[str]) -> np.ndarray:
    """Returns the class of each item, (n,): what KEY.cls says, or else the folder in the archive that it lies in."""
    cells: list[str] = []
    for key in keys:
        shard, name = _in_shard(folder, key)
        about = members(shard).get(f"{name}.{CLASS}")
        if about is None:
            cells.append(name.split("/")[0] if "/" in name else "")
            continue
        if about[1] > LONGEST_CLASS:
            raise UserError(f"{shard}: {name}.{CLASS} has {about[1]:,} bytes; the name or number of a class is needed")
        with open_file(shard / f"{name}.{CLASS}") as file:
            cells.append(file.read().decode("utf-8", "replace").strip())
    if lacking := [key for key, cell in zip(keys, cells, strict=True) if not cell]:
        raise UserError(
            f"--data.shards {folder}: {len(lacking)} of {len(keys)} images have no class, {lacking[0]} among them: add "
            "KEY.cls, or a folder for each class; two images of a key, KEY.a.jpg and KEY.b.png, make a pair. Two kinds "
            "of images that don't belong together are --data.a A.tar --data.b B.tar"
        )
    return label_values(folder, "class", cells)


def _in_shard(folder: Path, key: str) -> tuple[Path, str]:
    """Returns the shard of an item, and its key in there."""
    shard = archive_of(folder / key)
    assert shard is not None
    return shard, (folder / key).relative_to(shard).as_posix()
