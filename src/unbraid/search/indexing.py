"""What `unbraid index` does to a store: finds what is new, gone or changed in folders, and embeds it; merges parts."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unbraid.core.progress import Meter
from unbraid.core.short import Short
from unbraid.core.types import DOMAINS, Domain, ImageSpec, UserError
from unbraid.data.cache import CachedImages, cached, found_cached
from unbraid.data.csvfile import Files, read_table
from unbraid.data.fit import Fit
from unbraid.data.images import ImageError, read_header, read_image
from unbraid.data.listing import list_images
from unbraid.model.trained import Trained
from unbraid.search.embed import Batch, Timing, embed
from unbraid.search.store import ASKED, Item, Store

ACKNOWLEDGED, SECONDS = 1000, 1.0
"""Images, or seconds, after which those embedded so far are acknowledged: what a killed process has to do again."""


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count`, numbered from 1: the images whose path's hash falls there."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str | None, environment: Mapping[str, str]) -> "Shard":
        """Reads `--shard k/n`, else torchrun's RANK and WORLD_SIZE. Raises UserError for anything else."""
        if text is None:
            try:
                return cls(int(environment.get("RANK", "0")) + 1, int(environment.get("WORLD_SIZE", "1")))
            except ValueError as error:
                raise UserError(f"RANK and WORLD_SIZE in the environment are no numbers ({error})") from error
        number, _, count = text.partition("/")
        if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
            raise UserError(f"--shard {text}: give it as k/n, part k of n, 1/4 to 4/4 say")
        return cls(int(number), int(count))

    def __contains__(self, path: str) -> bool:
        return self.count == 1 or int(sha256(path.encode()).hexdigest()[:12], 16) % self.count == self.number - 1

    @property
    def suffix(self) -> str:
        """The ending of an index's name."""
        return f"-part-{self.number}-of-{self.count}" if self.count > 1 else ""


@dataclass
class Changes:
    """Counts of a change. bad: a line for each file that could not be read; cut: what was cut off others, in words."""

    new: int = 0
    changed: int = 0
    removed: int = 0
    kept: int = 0
    described: int = 0
    bad: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    timing: Timing = field(default_factory=Timing)

    def __str__(self) -> str:
        parts = {"new": self.new, "changed": self.changed, "removed": self.removed, "as they were": self.kept}
        text = ", ".join(f"{count} {what}" for what, count in parts.items() if count) or "nothing to do"
        return text + (f", {len(self.bad)} can't be read" if self.bad else "")


@dataclass(frozen=True)
class Source(Short):
    """A folder of images: relative names, and how they are read."""

    folder: Path
    names: list[str]
    cached: CachedImages | None = None
    bad: Mapping[int, str] = field(default_factory=dict)

    def path(self, at: int) -> str:
        """Returns the absolute path of an image."""
        return os.path.join(self.folder, self.names[at])

    def read(self, at: int, fit: Fit) -> Tensor:
        """Returns an image, (*fit.spec.shape), in [-1, 1]. Raises ImageError."""
        if self.cached is None:
            image, header = read_image(self.path(at), fit.spec), read_header(self.path(at))
            fit.add(self.path(at), header.height, header.width)
            return image
        if at in self.bad:
            raise ImageError(self.path(at), self.bad[at])
        return self.cached.read(np.array([at]), 0)[0]


def read_batch(wanted: Sequence[tuple[Source, int]], numbers: Sequence[int], fit: Fit) -> Batch:
    """Returns some images, and why others can't be read.

    Args:
        wanted: All images, a folder and a position each.
        numbers: Of the wanted ones to be read.
        fit: Counts those that are cut.
    """
    some = [wanted[number] for number in numbers]
    first, decoded = some[0][0], some[0][0].cached
    if decoded is not None and all(source is first and at not in first.bad for source, at in some):
        return list(numbers), decoded.read(np.array([at for _, at in some]), 0), []  # at once: twice as fast
    good: list[int] = []
    images: list[Tensor] = []
    bad: list[tuple[int, str]] = []
    for number, (source, at) in zip(numbers, some, strict=True):
        try:
            images.append(source.read(at, fit))
            good.append(number)
        except ImageError as error:
            bad.append((number, error.reason))
    return good, torch.stack(images) if images else None, bad


def list_sources(folders: Sequence[Path], spec: ImageSpec, keep: bool) -> list[Source]:
    """Returns the images of all folders, before anything is changed.

    Args:
        folders: With images.
        spec: Of the images that the model takes.
        keep: Decode them into the library's cache. Images decoded by an earlier call are always taken from there.

    Raises:
        UserError: A folder is missing or has no images.
    """
    sources = []
    for folder in folders:
        listing = list_images(folder.resolve())
        size = (spec.height, spec.width)
        at_hand = (cached if keep else found_cached)(listing.folder, listing.names, size, spec.channels)
        bad: dict[int, str] = {}
        if at_hand and at_hand.skipped:
            missing = np.setdiff1d(np.arange(len(listing.names)), at_hand.readable)
            bad = {int(at): line.split(": ", 1)[1] for at, line in zip(missing, at_hand.skipped, strict=True)}
        sources.append(Source(listing.folder, listing.names, at_hand, bad))
    return sources


def update(
    store: Store,
    model: Trained,
    sources: Sequence[Source],
    domain: Domain,
    spec: ImageSpec,
    shard: Shard,
    metadata: Mapping[str, dict[str, str]] | None,
    batch: int,
    workers: int,
) -> Changes:
    """Brings a store to what the folders hold now: embeds new and changed files, forgets those that are gone.

    metadata: of files by absolute path; None leaves what is known. See `list_sources` and `embed`.
    """
    changes = Changes()
    wanted: list[tuple[Source, int, Item]] = []
    present: set[str] = set()
    for source in sources:
        # a file that lies in two of the folders counts once
        mine = [at for at in range(len(source.names)) if source.path(at) in shard and source.path(at) not in present]
        for start in range(0, len(mine), ASKED):
            some = mine[start : start + ASKED]
            known = store.known(domain, [source.path(at) for at in some])
            described: dict[str, dict[str, str]] = {}
            for at in some:
                path = source.path(at)
                present.add(path)
                try:
                    stat = os.stat(path)
                except OSError as error:
                    changes.bad.append(f"{path}: {error.strerror}")
                    continue
                before = known.get(path)
                about = before.metadata if metadata is None and before else (metadata or {}).get(path, {})
                item = Item(path, stat.st_size, stat.st_mtime_ns, about)
                if before and (before.size, before.time) == (item.size, item.time):
                    changes.kept += 1
                    if before.metadata != about:
                        described[path] = about
                    continue
                changes.changed += before is not None
                wanted.append((source, at, item))
            if described:
                store.describe(domain, described)
                changes.described += len(described)
    gone = [
        path for s in sources for path in store.paths_under(domain, s.folder) if path in shard and path not in present
    ]
    if gone:
        store.remove(domain, gone)
        changes.removed = len(set(gone))
    _embed(store, model, wanted, domain, spec, batch, workers, changes)
    return changes


def forget(store: Store, places: Sequence[Path], domains: Sequence[Domain]) -> Changes:
    """Forgets the images of folders, or files, wherever they are now. See `Store.remove`.

    Raises UserError, before anything is changed, for a place of which there are none.
    """
    gone: dict[Domain, set[str]] = {domain: set() for domain in domains}
    for place in places:
        names = {place.absolute(), place.resolve()}
        before = sum(map(len, gone.values()))
        for domain, paths in gone.items():
            paths.update(path for name in names for path in store.paths_under(domain, name))
        if sum(map(len, gone.values())) == before:
            raise UserError(f"--forget {place}: no image of {store.folder} lies there")
    for domain, paths in gone.items():
        store.remove(domain, paths)
    return Changes(removed=sum(map(len, gone.values())))


def _embed(
    store: Store,
    model: Trained,
    wanted: Sequence[tuple[Source, int, Item]],
    domain: Domain,
    spec: ImageSpec,
    batch: int,
    workers: int,
    changes: Changes,
) -> None:
    places, fit = [(source, at) for source, at, _ in wanted], Fit(spec)

    def read(numbers: Sequence[int]) -> Batch:
        return read_batch(places, numbers, fit)

    held: list[Item] = []
    codes: list[np.ndarray] = []
    since = time.monotonic()

    def acknowledge() -> None:
        if held:
            store.append(domain, held, np.concatenate(codes))
        held.clear()
        codes.clear()

    numbers = range(len(wanted))
    width, distance = store.width(domain), store.identity.distance
    stream = embed(model, domain, read, numbers, width, distance, batch, workers, changes.timing)
    with Meter("Embedding", len(wanted)) as meter:
        for found in stream:
            held += [wanted[number][2] for number in found.at]
            codes.append(found.codes)
            bad = [(wanted[number][2].path, reason) for number, reason in found.bad]
            changes.bad += [f"{path}: {reason}" for path, reason in bad]
            # a file that was readable once and is not any more has no code to be found by
            if lost := list(store.known(domain, [path for path, _ in bad])):
                store.remove(domain, lost)
            if len(held) >= ACKNOWLEDGED or time.monotonic() - since > SECONDS:
                acknowledge()
                since = time.monotonic()
            meter.advance(len(found.at) + len(found.bad))
        acknowledge()
    known = {source.folder: source.cached.cut for source, _ in places if source.cached}
    changes.cut = [*filter(None, (str(fit),)), *(f"{folder}: {cut}" for folder, cut in known.items() if cut)]
    changes.new = changes.timing.images - changes.changed
    if changes.new < 0:  # changed ones that can't be read
        changes.changed, changes.new = changes.timing.images, 0


def merge(store: Store, parts: Sequence[Path]) -> Changes:
    """Takes over what other stores hold: new and changed images, and which were removed.

    Raises UserError if a part is no index, or of another model.
    """
    changes = Changes()
    opened = [Store.reading(part) for part in parts]
    try:
        for part in opened:
            part.identity.check(store.identity, str(part.folder))
        for domain in DOMAINS:
            present: set[str] = set()
            for part in opened:
                for items, codes in _chunks(part.everything(domain)):
                    present |= {item.path for item in items}
                    known = store.known(domain, [item.path for item in items])
                    fresh = [at for at, item in enumerate(items) if known.get(item.path) != item]
                    changes.kept += len(items) - len(fresh)
                    changes.changed += sum(items[at].path in known for at in fresh)
                    changes.new += sum(items[at].path not in known for at in fresh)
                    if fresh:
                        store.append(domain, [items[at] for at in fresh], codes[fresh])
            for part in opened:
                known = store.lookup(part.gone(domain, 2**62))
                if lost := [path for path, _ in known.values() if path not in present]:
                    store.remove(domain, lost)
                    changes.removed += len(lost)
    finally:
        for part in opened:
            part.close()
    return changes


def _chunks(items: Iterator[tuple[Item, np.ndarray]]) -> Iterator[tuple[list[Item], np.ndarray]]:
    held: list[Item] = []
    codes: list[np.ndarray] = []
    for item, code in items:
        held.append(item)
        codes.append(code)
        if len(held) == ACKNOWLEDGED:
            yield held, np.stack(codes)
            held, codes = [], []
    if held:
        yield held, np.stack(codes)


def read_metadata(path: Path, sources: Sequence[Source]) -> tuple[dict[str, dict[str, str]], int]:
    """Returns metadata by absolute path from a CSV file: a column `file`, absolute or relative to a folder, and any
    others.

    Returns it with the number of rows that name none of the images. Raises UserError if it can't be read.
    """
    table = read_table(path, "--metadata", example="file,artist")
    if len(table.header) < 2:
        raise UserError(f"--metadata {path} needs one more column at least beside file")
    files = Files([(source.folder, source.names) for source in sources])
    at, found, unknown = table.header.index("file"), {}, 0
    for number, row in table.rows.items():
        named = files.find(row[at], f"--metadata {path}, row {number}")
        if named is None:
            unknown += 1
            continue
        place = os.path.join(sources[named[0]].folder, named[1])
        found[place] = {key: value for key, value in zip(table.header, row, strict=True) if key != "file"}
    return found, unknown
