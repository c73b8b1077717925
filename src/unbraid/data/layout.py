"""Data whose parts are kept in folders of their own: where each part lies."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from unbraid.core.data_config import DataConfig
from unbraid.core.types import DOMAINS, UserError
from unbraid.data.images import SUFFIXES
from unbraid.data.listing import is_data

PART_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What folders of parts are called, in lower case."""
_PART, _BETWEEN = "|".join(sorted(PART_NAMES, key=len, reverse=True)), "[/_ -]?"
_SIDES = (
    re.compile(f"(?P<part>{_PART}){_BETWEEN}(?P<side>[ab])"),
    re.compile(f"(?P<side>[ab]){_BETWEEN}(?P<part>{_PART})"),
)
_WORD = re.compile(r"[^\W\d_][\w -]+")
_PARTLY = re.compile(f"((domain|{_PART}){_BETWEEN})?[ab]|[ab]{_BETWEEN}({_PART})|{_PART}")
LAYOUTS = (
    "trainA trainB testA testB; train and test with folders A and B, with images of two halves, or with a folder for "
    "each class; or a folder for each class with train and test in it. val may be there or not"
)


def by_part(config: DataConfig) -> dict[str, DataConfig]:
    """Returns where each part lies whose images are given apart from others: "train", and perhaps "val" and "test".

    Raises UserError if a folder has none of the usual layouts, or a part has one domain only.
    """
    if config.folder is not None:
        return _in_folder(config, config.folder)
    places = {"train": config}
    for name, a, b in (("val", config.val_a, config.val_b), ("test", config.test_a, config.test_b)):
        if a is None and b is None:
            continue
        if a is None or b is None:
            raise UserError(f"--data.{name}-{'b' if a else 'a'} is missing: the part needs a folder for each domain")
        if config.a is None or config.b is None:
            raise UserError(
                f"--data.{name}-a and --data.{name}-b stand beside --data.a and --data.b, which are missing"
            )
        if config.pairs:
            raise UserError(
                f"--data.pairs pairs files of --data.a and --data.b: leave --data.{name}-a out, and give the CSV file "
                "a third column, with the header a,b,part"
            )
        if config.by_class:
            raise UserError(
                f"--data.by-class holds out whole classes: leave --data.{name}-a out, give --data.test-classes"
            )
        places[name] = replace(config, a=a, b=b)
    return places


def domain_names(config: DataConfig) -> tuple[str, str]:
    """Returns what the domains are called: as the user says, or as their folders are, if these are two words.

    Raises UserError for names that can't be told apart.
    """
    if config.names is not None:
        a, b = (name.strip() for name in config.names)
        letters = {a.casefold(): "a", b.casefold(): "b"}
        if not (a and b) or len(letters) < 2 or letters.get("a", "a") != "a" or letters.get("b", "b") != "b":
            raise UserError(f"--data.names {' '.join(config.names)}: two different words are needed, and a stays a")
        return a, b
    if config.a is None or config.b is None:
        return DOMAINS
    a, b = config.a.resolve().name, config.b.resolve().name
    words = all(_WORD.fullmatch(name) and not _PARTLY.fullmatch(name.casefold()) for name in (a, b))
    return (a, b) if words and a.casefold() != b.casefold() else DOMAINS


def _in_folder(config: DataConfig, root: Path) -> dict[str, DataConfig]:
    if not root.is_dir():
        raise UserError(f"--data.folder: {root} is {'a file' if root.exists() else 'not there'}; a folder is needed")
    if config.by_class:
        raise UserError("--data.by-class holds out whole classes: give --data.a and --data.b in place of --data.folder")
    inner = _folders(root)
    if sides := _sides(root, inner):
        return {part: replace(config, a=two["a"], b=two["b"]) for part, two in sides.items()}
    parts = {part: root / name for name in inner if (part := PART_NAMES.get(name.casefold()))}
    if "train" in parts:
        source = "side_by_side" if _has_images(parts["train"]) else "classes"
        return {part: replace(config, folder=None, **{source: place}) for part, place in parts.items()}
    below = [{PART_NAMES.get(name.casefold()) for name in _folders(root / name)} for name in inner]
    if below and all("train" in names and "test" in names and None not in names for names in below):
        return {"train": replace(config, classes=root)}
    found = ", ".join(inner[:8]) or "no folders"
    raise UserError(f"--data.folder {root} holds {found}; needed are {LAYOUTS}")


def _sides(root: Path, inner: list[str]) -> dict[str, dict[str, Path]]:
    """Returns the folder of each domain by part; nothing if no folder is called as a domain of the training part."""
    found: dict[str, dict[str, Path]] = {}
    deeper = [f"{name}/{below}" for name in inner for below in _folders(root / name)]
    for name in [*inner, *deeper]:
        match = next(filter(None, (pattern.fullmatch(name.casefold()) for pattern in _SIDES)), None)
        if match:
            two = found.setdefault(PART_NAMES[match["part"]], {})
            if match["side"] in two:
                raise UserError(f"--data.folder: {two[match['side']]} and {root / name} are called alike: keep one")
            two[match["side"]] = root / name
    if "train" not in found:
        return {}
    for part, two in found.items():
        for side in "ab":
            if side not in two:
                raise UserError(
                    f"--data.folder {root}: {part} has {two['b' if side == 'a' else 'a'].name} and no {side}"
                )
    return found


def _folders(place: Path) -> list[str]:
    with os.scandir(place) as entries:
        return sorted(entry.name for entry in entries if is_data(entry.name) and entry.is_dir())


def _has_images(place: Path) -> bool:
    with os.scandir(place) as entries:
        return any(is_data(entry.name) and Path(entry.name).suffix.lower() in SUFFIXES for entry in entries)
