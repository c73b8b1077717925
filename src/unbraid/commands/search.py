"""The commands `index` and `search` as typed functions."""

import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from rich.table import Table

from unbraid.commands.folder import REQUIRED, AnswerPrecision, Device, Images, RunFolder, say_left_out
from unbraid.core.config import Distance
from unbraid.core.console import Console, printable
from unbraid.core.progress import Meter
from unbraid.core.types import DOMAINS, DataSpec, Domain, ImageSpec, UserError
from unbraid.data.images import read_image
from unbraid.model.drawing import save_picture
from unbraid.model.inputs import ImageFiles
from unbraid.model.outputs import MARK, check_file
from unbraid.model.run import Run
from unbraid.model.trained import load
from unbraid.search.hit import Hit
from unbraid.search.identity import Identity, read_identity
from unbraid.search.index import EXACT, RECALL, build, find_faiss
from unbraid.search.indexing import Changes, Shard, Source, list_sources, read_metadata, update
from unbraid.search.indexing import forget as take_out
from unbraid.search.indexing import merge as take_over
from unbraid.search.query import identity, open_index, query, source_of
from unbraid.search.sheet import contact_sheet
from unbraid.search.store import Store

Folders = Annotated[
    tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER...", help_behavior_hint=REQUIRED)
]
IndexPlace = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="INDEX")]
SHEET_ROWS = 50
"""Rows of a contact sheet at most."""
SHEET_COLUMNS = 50
"""Images found for one query that are drawn, at most."""
LISTED = 20
"""Files that can't be read are named up to so many; the others are counted."""


def index(
    run: RunFolder,
    folders: Folders = (),
    *,
    to: str,
    domain: str | None = None,
    shard: str | None = None,
    metadata: Path | None = None,
    merge: tuple[Path, ...] = (),
    forget: tuple[Path, ...] = (),
    distance: Distance | None = None,
    cache: bool = False,
    batch: int = 64,
    workers: int | None = None,
    precision: AnswerPrecision = "fp32",
    device: Device = "auto",
    exact: int = EXACT,
    recall: float = RECALL,
) -> None:
    """Makes an index of folders of images, or goes on with one: embeds what is new or changed, forgets what is gone.

    Args:
        run: Folder of the run whose model makes the codes.
        folders: Folders of images, of one domain; sub-folders are searched too.
        to: Folder of the index, or milvus://HOST:PORT/COLLECTION.
        domain: The domain the images are from. An index can hold both: call it once for each.
        shard: k/n: only part k of n, into a folder of its own; without it, RANK and WORLD_SIZE of torchrun.
        metadata: CSV file with a column `file` and others, which can be searched by.
        merge: Parts, or other indexes of the same model, to take into this one.
        forget: Folders, or files, whose images are taken out of the index, wherever they are now.
        distance: How shared codes are compared; as the run was trained, if not given.
        cache: Keep the images decoded for the next call. Images that are kept already are always used.
        batch: Images in a step.
        workers: Threads that read images; as many as there are cores, if not given.
        exact: Above so many images the search looks at a part of them.
        recall: Share of the ten nearest that it is to find then.
    """
    _check_numbers(batch, workers, exact, recall)
    part = Shard.parse(shard, os.environ)
    _check_images(folders, merge, forget, f"{to}{part.suffix}")
    model = load(run, device, precision)
    domain = _domain(model.spec, domain, folders)
    distance = (distance or Run.existing(run).config.train.distance) if model.space else "euclidean"
    sources = _listed(folders, model.image_spec(domain or "a"), cache) if folders else []
    about, unknown = read_metadata(metadata, sources) if metadata else (None, 0)
    with _target(to, part, identity(model, distance), model.spec) as (store, finish):
        _say_damaged(store)
        if forget:
            _report(take_out(store, forget, (domain,) if domain else DOMAINS), "")
        if sources and domain:
            spec, threads = model.image_spec(domain), workers or os.cpu_count() or 1
            _report(update(store, model, sources, domain, spec, part, about, batch, threads), str(model.precision))
        if merge:
            _report(take_over(store, merge), "")
        _say_lacking(store, model.spec)
        for line in finish(exact, recall):
            print(line)
    if unknown:
        print(f"{unknown} rows of {metadata} name none of the images")
    _say_merge(run, to, part.count)


def _domain(spec: DataSpec, domain: str | None, folders: Sequence[Path]) -> Domain | None:
    if folders and domain is None:
        first, second = map(shlex.quote, spec.names)
        raise UserError(f"Which domain are the images from? Give --domain {first} or --domain {second}")
    return spec.domain(domain, "--domain") if domain else None


def _say_damaged(store: Store) -> None:
    for side, count in store.damaged.items():
        print(f"{store.codes_path(side)} is damaged: codes of {count} images are lost", file=sys.stderr)


def _listed(folders: Sequence[Path], spec: ImageSpec, cache: bool) -> list[Source]:
    try:
        return list_sources(folders, spec, cache)
    except UserError as error:
        gone = [str(folder) for folder in folders if not folder.exists()]
        raise UserError(
            f"{error}. --forget {' '.join(gone)} takes its images out of an index" if gone else str(error)
        ) from error


def _check_images(folders: Sequence[Path], merge: Sequence[Path], forget: Sequence[Path], to: str) -> None:
    if not (folders or merge or forget):
        raise UserError("Which images? Give folders of them, parts to --merge, or folders to --forget")
    if not (folders or merge or to.startswith("milvus://")):
        read_identity(Path(to))  # nothing can be forgotten where there is no index


def _check_numbers(batch: int, workers: int | None, exact: int, recall: float) -> None:
    for name, value in (("batch", batch), ("workers", 1 if workers is None else workers), ("exact", exact)):
        if value < 1:
            raise UserError(f"--{name} {value}: at least 1")
    if not 0 < recall <= 1:
        raise UserError(f"--recall {recall}: a share, more than 0 and at most 1")


@contextlib.contextmanager
def _target(
    to: str, part: Shard, asked: Identity, spec: DataSpec
) -> Iterator[tuple[Store, Callable[[int, float], Iterable[str]]]]:
    """Returns where codes are kept, and what is done when all are there, which returns lines that say how it went."""
    if to.startswith("milvus://"):
        from unbraid.search.milvus import sending

        with sending(to, part.suffix, asked, spec.names) as (store, send):
            yield store, lambda exact, recall: send()
        return
    find_faiss()  # before anything is embedded
    folder = Path(f"{to}{part.suffix}")
    with Store.writing(folder, asked) as store:

        def finish(exact: int, recall: float) -> Iterator[str]:
            for domain, parts in build(store, recall, exact).items():
                for name, built in parts.items():
                    yield f"{folder}: {spec.name(domain)}, {name}: {built}"

        yield store, finish


def _say_merge(run: Path, to: str, count: int) -> None:
    """Says how parts become one; a server has them together."""
    if count == 1 or to.startswith("milvus://"):
        return
    parts = " ".join(f"{to}{Shard(number, count).suffix}" for number in range(1, count + 1))
    print(f"When all {count} parts are done: unbraid index {run} --merge {parts} --to {to}")


def _say_lacking(store: Store, spec: DataSpec) -> None:
    for domain in DOMAINS:
        if count := store.lacking(domain):
            line = f"{count} images of {spec.called(domain)} can't be found, for their codes are lost"
            print(f"{line}: index their folders again, or --forget them", file=sys.stderr)


def _report(changes: Changes, setting: str) -> None:
    timing = changes.timing
    print(changes)
    if timing.images:
        seconds = timing.model + timing.waiting
        share = 100 * timing.model / seconds
        print(f"{timing.images / seconds:.0f} images a second, {setting}; {share:.0f} % of the time in the model")
    for line in changes.cut:
        print(printable(line), file=sys.stderr)
    say_left_out(changes.bad, LISTED, errors=True)


def search(
    run: RunFolder,
    index: IndexPlace,
    images: Images,
    k: int = 10,
    domain: str | None = None,
    code: Literal["shared", "exclusive"] = "shared",
    target_domain: str | None = None,
    where: tuple[str, ...] = (),
    out: Path | None = None,
    exclude_self: bool = False,
    device: Device = "auto",
) -> None:
    """Finds the nearest images of an index for each image, and prints them, nearest first.

    Args:
        run: Folder of the run that the index was made with.
        index: Folder of the index, or milvus://HOST:PORT/COLLECTION.
        images: Image files, or folders of them.
        k: How many to find for each.
        domain: The domain the images are from; the one that the index doesn't hold, if not given.
        code: shared: what they show; exclusive: their style, among images of their own domain.
        target_domain: Find images of this domain only; of all that the index holds, if not given.
        where: FIELD=VALUE: find images with this metadata only; several must all be met.
        out: PNG file for a contact sheet: each image with what was found for it.
        exclude_self: Don't find the image itself.
    """
    model = load(run, device)
    wanted = dict(_condition(text) for text in where)
    domain = model.spec.domain(domain, "--domain") if domain else None
    target_domain = model.spec.domain(target_domain, "--target-domain") if target_domain else None
    opened = open_index(index)
    files: list[Path] = []
    found: list[list[Hit]] = []
    try:
        source = source_of(opened, domain, code, model.spec.names)
        given = ImageFiles(images, model.image_spec(source))
        if out is not None:
            check_file(out, [*images, *given.files])
            if opened.holds(out):
                raise UserError(f"{out} is an image of {index}: choose another --out, so that it is not lost")
        with Meter("Searching", len(given.files)) as meter:
            for at, x, looked_at in given.batches():
                some = [given.files[number] for number in at]
                exclude = some if exclude_self else []
                found += query(opened, model, x, k, source, code, target_domain, wanted, exclude)
                files += some
                meter.advance(looked_at)
    finally:
        opened.close()
    _print_hits(files, found, model.spec)
    if out is not None:
        _draw(files, found, out)
        some = f", the first {SHEET_ROWS} queries" if len(files) > SHEET_ROWS else ""
        some += f", the nearest {SHEET_COLUMNS} of each" if k > SHEET_COLUMNS else ""
        print(f"Written: {out}{some}")


def _condition(text: str) -> tuple[str, str]:
    field, equals, value = text.partition("=")
    if not equals or not field:
        raise UserError(f"--where {text}: give it as FIELD=VALUE")
    return field, value


def _print_hits(files: Sequence[Path], found: Sequence[Sequence[Hit]], spec: DataSpec) -> None:
    fields = sorted({field for row in found for hit in row for field in hit.metadata})
    table = Table(box=None, pad_edge=False)
    table.add_column("image", overflow="fold")
    for column in ("#", "distance"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("domain", no_wrap=True)
    for column in ("file", *fields):
        table.add_column(printable(column), overflow="fold")
    for file, row in zip(files, found, strict=True):
        for place, hit in enumerate(row, 1):
            about = [hit.metadata.get(field, "") for field in fields]
            path = f"{hit.path}{'' if os.path.exists(hit.path) else ' (gone)'}"
            words = (
                str(file) if place == 1 else "",
                str(place),
                f"{hit.distance:.4f}",
                spec.name(hit.domain),
                path,
                *about,
            )
            table.add_row(*map(printable, words))
        if not row:
            table.add_row(printable(str(file)), "", "", "", "nothing found")
    console = Console()
    if not console.is_terminal:  # lines are not to be folded in a file or a pipe
        console = Console(width=100_000)
    console.print(table)


def _draw(files: Sequence[Path], found: Sequence[Sequence[Hit]], out: Path) -> None:
    some = min(len(files), SHEET_ROWS)
    queries = [_picture_of(file) for file in files[:some]]
    drawn = [row[:SHEET_COLUMNS] for row in found[:some]]
    pictures = [[_picture_of(hit.path) for hit in row] for row in drawn]
    captions = [[f"{hit.distance:.3f}" for hit in row] for row in drawn]
    sheet = contact_sheet(queries, pictures, captions, names=[printable(file.name) for file in files[:some]])
    save_picture(sheet, out, MARK)


def _picture_of(path: Path, side: int = 128) -> torch.Tensor | None:
    """Returns an image file for a sheet, (3, side, side) in [-1, 1]; None if it can't be read any more."""
    try:
        return read_image(path, ImageSpec(side, side, 3))
    except UserError:
        return None
