"""The commands as typed functions: their flags and help come from hints and docstrings."""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor

from unbraid.config import PACKAGED, Distance, PerceptualConfig, RunConfig, TrainConfig, to_json
from unbraid.data import load as load_data
from unbraid.data import needs
from unbraid.data.config import DataConfig
from unbraid.data.features import save_extractor, with_head
from unbraid.data.images import read_image
from unbraid.data.parts import LabelledPart, listing
from unbraid.data.styles import wanted_styles
from unbraid.files import read_json, write_atomically, write_json
from unbraid.inputs import read_files
from unbraid.types import Domain, ImageSpec, Labelled, UserError
from unbraid.zeroshot import has_classes

MethodConfig = TypeVar("MethodConfig")
GRID_ROWS = 50
"""Rows of a picture of answers at most."""
RunFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
Images = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...")]
First = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FIRST")]
Second = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SECOND")]


def run(name: str, arguments: Sequence[str]) -> None:
    """Parses the arguments of one command and runs it."""
    if name == "train":
        train(arguments)
        return
    from unbraid.alignment import align
    from unbraid.web.command import explore

    if name in ("index", "search"):  # FAISS takes a moment to import
        from unbraid.retrieval import commands as retrieval

        tyro.cli(getattr(retrieval, name), args=list(arguments), prog=f"unbraid {name}")
        return
    functions: dict[str, Callable[..., None]] = {
        "align": align,
        "recipes": recipes,
        "evaluate": evaluate,
        "cheat": cheat,
        "translate": translate,
        "analogy": analogy,
        "interpolate": interpolate,
        "encode": encode,
        "transfer": transfer,
        "swap": swap,
        "explore": explore,
    }
    tyro.cli(functions[name], args=list(arguments), prog=f"unbraid {name}")


def recipes() -> None:
    """Lists the recipes: what each shows, the paper's figure and ours."""
    from unbraid.recipes import RECIPES
    from unbraid.recipes.recipe import AT_PAPER_SIZE

    table = Table(box=None, pad_edge=False)
    for column in ("recipe", "what", "paper", "ours"):
        table.add_column(column, overflow="fold", no_wrap=column == "recipe")
    paper = [name for name in RECIPES if name.endswith("-paper")]
    for name, recipe in RECIPES.items():
        if name not in paper:
            table.add_row(name, recipe.about, recipe.paper, recipe.ours)
    console = Console()
    console.print(table)
    console.print("\nFigures are recall@1 by pair on the test part, %, a->b / b->a, unless they say otherwise.")
    console.print(f"\nAt {AT_PAPER_SIZE}: {', '.join(paper)}.", highlight=False)


@dataclass(frozen=True)
class TrainArguments(Generic[MethodConfig]):
    """Train, or go on with the run in --run if it has the same settings."""

    method: MethodConfig
    run: Path | None = None
    """Folder of the run; new, empty, or one to go on with. Needed, unless it is a --dry-run."""
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    dry_run: bool = False
    """Print the complete configuration and what the data looks like, and leave."""


TRAIN_HELP = """usage: unbraid train RECIPE|METHOD --run DIR [--data.root DIR] [--train.minutes M]
                     [--method.FIELD V] [--dry-run]

The first argument is a recipe or a method; `unbraid train NAME --help` lists every setting with its default.

recipes: {recipes}
methods: {methods}
"""


def train(arguments: Sequence[str]) -> None:
    """`unbraid train RECIPE|METHOD ...`."""
    from unbraid.methods import METHODS
    from unbraid.recipes import RECIPES

    if not arguments or arguments[0].startswith("-"):
        print(TRAIN_HELP.format(recipes=", ".join(RECIPES), methods=", ".join(METHODS)), end="")
        if arguments and arguments[0] in ("-h", "--help"):
            return
        raise UserError("Which recipe or method? It is the first argument after `train`")
    target, *rest = arguments
    if target in RECIPES:
        name, start = RECIPES[target].method, RECIPES[target].make()
    elif target in METHODS:
        name, start = target, RunConfig(METHODS[target].config_type())
    else:
        raise UserError(
            f"There is no recipe or method {target!r}. Recipes: {', '.join(RECIPES)}; methods: {', '.join(METHODS)}"
        )
    parsed = tyro.cli(
        TrainArguments[METHODS[name].config_type],
        default=TrainArguments(start.method, None, start.data, start.train),
        args=rest,
        prog=f"unbraid train {target}",
    )
    data = parsed.data
    if (
        target in RECIPES
        and data.set == start.data.set
        and any((data.a, data.b, data.side_by_side, data.classes, data.csv, data.arrays))
    ):
        # a recipe's settings on images of one's own, which have no labels of its set
        labels = () if data.labels == start.data.labels else data.labels
        data = dataclasses.replace(data, set=None, labels=labels)
    config = RunConfig(parsed.method, data, parsed.train)
    train_run(parsed.run, name, config, target if target in RECIPES else None, parsed.dry_run)


def train_run(path: Path | None, name: str, config: RunConfig[Any], recipe: str | None, dry_run: bool) -> None:
    """Builds data and method, trains, says where things are."""
    from unbraid.log import Log
    from unbraid.method import Latent
    from unbraid.methods import method_class
    from unbraid.run import Run
    from unbraid.train import Interrupted, check, fit

    if dry_run:
        print(json.dumps({"method_name": name, **to_json(config)}, indent=2))
    data = load_data(config.data)
    data, tuned = with_head(data, config.data, path, dry_run)
    kind, parts = method_class(name), listing(data)
    styles = wanted_styles(config.data, getattr(config.method, "perceptual", None))
    data = needs(data, kind.needs, name, config.data.balanced, styles)
    settled, notes = kind.settled(config.method, data.train)
    config = dataclasses.replace(config, method=settled)
    torch.manual_seed(config.train.seed)
    method = kind(data.spec, config.method)
    size = sum(p.numel() for p in method.parameters())
    about = (
        f"{name}, {size / 1e6:.2f} M parameters; {data.name}: {len(data.train)} train, {len(data.val)} validation, "
        f"{len(data.test)} test; a: {data.spec.a}, b: {data.spec.b}"
    )
    if isinstance(method, Latent):
        moved = "--data.augment moves them" if config.data.augment else ""
        if config.data.set in ("digits", "mnist-cdcb"):
            moved = f"the digits of {config.data.set} have new colours in each pass"
        if moved:
            raise UserError(f"{name} keeps a code for each image, which must stay as it is; {moved}")
    if dry_run:
        print(about, *notes, sep="\n")
        return
    if path is None:
        raise UserError("Where to? Give --run DIR, a folder for the run")
    check(config.train, method)
    run = Run.open(path, name, config, recipe)
    check_parts(path, parts)
    if (config.data.features or tuned) and not (path / "features.safetensors").exists():
        save_extractor(path, config.data.features, data.images or data.spec, tuned)
    log = Log(path, config.train.tensorboard)
    log.console.print(about, highlight=False, soft_wrap=True)
    for line in (*notes, *([data.remark] if data.remark else []), *(f"left out: {line}" for line in data.skipped)):
        log.console.print(line, highlight=False, soft_wrap=True)
    try:
        with run.locked():
            position = fit(run, method, data, log)
    except Interrupted as stop:
        log.close()
        print(
            f"{stop}; saved. The same command goes on from there:\n  unbraid {' '.join(sys.argv[1:])}", file=sys.stderr
        )
        raise KeyboardInterrupt from stop
    finally:
        log.close()
    figure = ("PSNR", "dB") if kind.needs is Labelled else ("mAP" if has_classes(data.val) else "recall@1", "%")
    score = f" (validation {figure[0]} {position.best:.1f} {figure[1]})" if position.best > 0 else ""
    print(f"Done after {position.step} steps; best at step {position.best_step}{score}. Next: unbraid evaluate {path}")


def check_parts(path: Path, listing: dict[str, Any]) -> None:
    """Writes parts.json, or compares with the one the run began with. UserError if the images have changed since."""
    file = path / "parts.json"
    if not file.exists():
        write_json(file, listing)
        return
    before = read_json(file)
    if before != listing:
        raise UserError(
            f"The images are not those the run began with: {before['train']} train, {len(before['val'])} validation, "
            f"{len(before['test'])} test then; {listing['train']}, {len(listing['val'])}, {len(listing['test'])} now "
            f"(names are in {file}). Start another --run, or bring the images back"
        )


@dataclass(frozen=True)
class Elsewhere:
    """Where the data lies now."""

    root: Path | None = None
    """Folder that holds the known data sets, if it is not where it was in training."""


def evaluate(
    run: RunFolder,
    data: Elsewhere = Elsewhere(),
    distance: Distance | None = None,
    perceptual: PerceptualConfig = PACKAGED,
    limit: int | None = None,
) -> None:
    """Measures a run on its test part: prints the table, writes RUN/metrics.json, pictures, examples and README.md.

    Args:
        run: Folder of the run.
        distance: Distance of shared codes; the one the run was trained with, if not given.
        limit: Items in a figure at most, to be done sooner; retrieval takes all. Default: 500 translations of each
            domain, 2000 transfers, 2000 items of a part for probes.
    """
    from unbraid.evaluate import evaluate as measure
    from unbraid.evaluate import table

    opened, model, loaded = _with_data(run, data, limit)
    metrics = measure(opened, model, loaded, distance, perceptual, limit)
    print(table(metrics))
    protocol = metrics["protocol"]
    by = f", {protocol['distance']} distance" if "distance" in protocol else ""
    print(f"\n{protocol['items']} test items of {protocol['data']}{by}; {protocol['model']}")
    if protocol["remark"]:
        print(f"Say with it: {protocol['remark']}")
    written = [run / name for name in ("metrics.json", "README.md", "pictures", "examples")]
    print(f"Written: {', '.join(str(path) for path in written if path.exists())}")


def cheat(
    run: RunFolder,
    data: Elsewhere = Elsewhere(),
    perceptual: PerceptualConfig = PACKAGED,
    limit: int | None = None,
) -> None:
    """Measures on the test part whether translations hide what the way back needs: prints three measures, draws
    RUN/pictures/cheat-*.png, adds hidden_pair and cheat to RUN/metrics.json.

    hidden pair: translations beside their true counterparts, where pairs are known. decoding: what the way back makes
    of these counterparts, and of another item's translation. disturbed by: how far the way back ends from its input
    when the translation is rounded to 8 bits or gets a little noise; what is hidden in small differences is lost then.

    Args:
        run: Folder of the run.
        limit: Images of each domain at most; 200, if not given.
    """
    from unbraid.cycles import cycles
    from unbraid.evaluate import cheats
    from unbraid.measurements import Judges
    from unbraid.pictures import cheat_pictures

    _image_model(run)
    opened, model, loaded = _with_data(run, data, limit)
    if isinstance(loaded.test, LabelledPart):
        raise UserError(f"{run} was trained on labelled images; there is no way there and back between two domains")
    judges = Judges.find(perceptual)
    found = cycles(model, loaded.test, judges, limit, opened.config.train.seed)
    path = run / "metrics.json"
    write_json(path, {**(read_json(path) if path.exists() else {}), **found})
    written = cheat_pictures(model, loaded, run / "pictures", opened.config.train.seed)
    print("\n".join(cheats(found)))
    for line in filter(None, (loaded.remark, judges.remark)):
        print(f"Say with it: {line}")
    print(f"Written: {', '.join(map(str, (path, *written)))}")


def _with_data(run: Path, data: Elsewhere, limit: int | None) -> tuple[Any, Any, Any]:
    """A run, its model, and its data as it trains on them. UserError if the images are others now."""
    from unbraid.apply import load
    from unbraid.run import Run

    if limit is not None and limit < 8:
        raise UserError(f"--limit {limit}: at least 8")
    opened, model = Run.existing(run), load(run)
    config = opened.config.data
    if data.root:
        config = dataclasses.replace(config, root=data.root)
    loaded, _ = with_head(load_data(config), config, run)
    check_parts(run, listing(loaded))
    return opened, model, needs(loaded, model.method.needs, model.name, config.balanced)


def translate(
    run: RunFolder,
    images: Images,
    out: Path,
    source: Domain = "a",
    target: Domain | None = None,
    samples: int = 4,
    like: Path | None = None,
    seed: int = 0,
) -> None:
    """Shows images of one domain in the other: a file for each answer, and all of them in OUT/grid.png.

    Args:
        run: Folder of the run.
        images: Image files, or folders of them.
        out: Folder for the answers.
        source: The domain the images are from.
        target: The domain to show them in; the other one, if not given.
        samples: Answers for each image, drawn from what the model learned can vary.
        like: Image of the target domain; answers take from it what the target domain has alone.
        seed: Seed of the answers.
    """
    from unbraid.show import grid, save_picture, to_picture
    from unbraid.types import other

    target = target or other(source)
    model = _image_model(run)
    names, x = read_images(images, model.spec[source])
    reference = _one(like, model.spec[target]) if like else None
    if samples < 1:
        raise UserError(f"--samples {samples}: at least 1")
    answers = model.translate(x, source, target, 1 if like else samples, reference, seed)
    for name, row in zip(names, answers, strict=True):
        for number, answer in enumerate(row, 1):
            save_picture(to_picture(answer), out / f"{name}-{number}.png")
    columns = ["input", *(["like", "answer"] if like else [f"sample {i + 1}" for i in range(samples)])]
    rows = [[x[i], *(reference if reference is not None else []), *answers[i]] for i in range(len(x))]
    save_picture(grid(rows[:GRID_ROWS], columns), out / "grid.png")
    some = f", the first {GRID_ROWS}" if len(rows) > GRID_ROWS else ""
    print(f"Written: {answers.shape[0] * answers.shape[1]} pictures, and {out}/grid.png of them{some}")


def analogy(
    run: RunFolder, shared: tuple[Path, ...], exclusive: tuple[Path, ...], out: Path, domain: Domain = "a"
) -> None:
    """Draws a grid: what the image of the row shares with the other domain, with what that of the column has alone.

    Args:
        run: Folder of the run.
        shared: Images, or folders of them, that give the rows.
        exclusive: Images, or folders of them, that give the columns.
        out: PNG file.
        domain: The domain all images are from.
    """
    from unbraid.show import grid, save_picture

    model = _image_model(run)
    row_names, rows = read_images(shared, model.spec[domain])
    column_names, columns = read_images(exclusive, model.spec[domain])
    made = model.analogy(rows, columns, domain)
    cells: list[list[Tensor | None]] = [[None, *columns]]
    cells += [[item, *answers] for item, answers in zip(rows, made, strict=True)]
    save_picture(grid(cells, ["shared", *column_names], ["", *row_names]), out)
    print(f"Written: {out}")


def transfer(
    run: RunFolder,
    content: tuple[Path, ...],
    class_: Annotated[tuple[Path, ...], tyro.conf.arg(name="class")],
    out: Path,
) -> None:
    """Draws a grid: the class of the image before the row, with the content of the image over the column.

    Args:
        run: Folder of the run, of a method trained on labelled images.
        content: Images, or folders of them, that give the columns.
        class_: Images, or folders of them, that give the rows.
        out: PNG file.
    """
    from unbraid.show import grid, save_picture

    model = _image_model(run)
    if not model.spec.classes:
        raise UserError(f"{model.name} was not trained on labelled images; `unbraid analogy` draws what it exchanges")
    row_names, rows = read_images(class_, model.spec.a)
    column_names, columns = read_images(content, model.spec.a)
    made = model.analogy(columns, rows, "a")
    cells: list[list[Tensor | None]] = [[None, *columns]]
    cells += [[item, *made[:, i]] for i, item in enumerate(rows)]
    save_picture(grid(cells, ["class", *column_names], ["", *row_names]), out)
    print(f"Written: {out}")


def swap(run: RunFolder, images: Images, label: str, value: str, out: Path) -> None:
    """Shows images with another value of one label: a file for each, and all of them in OUT/grid.png.

    Args:
        run: Folder of the run, of a method trained on labelled images.
        images: Image files, or folders of them.
        label: Which label: a column of the CSV file, or what the data call it.
        value: The value to give it.
        out: Folder for the answers.
    """
    from unbraid.show import grid, save_picture, to_picture

    model = _image_model(run)
    names, x = read_images(images, model.spec.a)
    made = model.swap(x, label, value)
    for name, answer in zip(names, made, strict=True):
        save_picture(to_picture(answer), out / f"{name}.png")
    rows = [[x[i], made[i]] for i in range(len(x))]
    save_picture(grid(rows[:GRID_ROWS], ["input", value]), out / "grid.png")
    print(f"Written: {len(made)} pictures, and {out}/grid.png of them")


def interpolate(
    run: RunFolder,
    first: First,
    second: Second,
    out: Path,
    part: Literal["shared", "exclusive"] = "shared",
    domain: Domain = "a",
    steps: int = 9,
) -> None:
    """Draws the way from one image to another along one part of the code, as a strip (PNG) and a GIF beside it.

    Args:
        run: Folder of the run.
        first: Image to start from.
        second: Image to go to.
        out: PNG file; the GIF gets the same name.
        part: What changes: what both domains have, or what this one has alone.
        domain: The domain both images are from.
        steps: Pictures on the way, both ends included.
    """
    from unbraid.show import grid, save_gif, save_picture

    if steps < 2:
        raise UserError(f"--steps {steps}: at least 2")
    model = _image_model(run)
    start, end = _one(first, model.spec[domain]), _one(second, model.spec[domain])
    frames = model.interpolate(start, end, part, domain, steps)
    save_picture(grid([[start[0], *frames, end[0]]], ["first", *[""] * steps, "second"], [part]), out)
    save_gif(list(frames), out.with_suffix(".gif"))
    print(f"Written: {out} and {out.with_suffix('.gif')}")


def encode(run: RunFolder, images: Images, out: Path, domain: Domain = "a") -> None:
    """Writes the codes of images to a .npz file with the arrays names, shared and exclusive.

    Args:
        run: Folder of the run.
        images: Image files, or folders of them.
        out: .npz file.
        domain: The domain the images are from.
    """
    model = _image_model(run)
    names, x = read_images(images, model.spec[domain])
    codes = model.encode(x, domain)
    arrays = {"names": np.array(names), "shared": codes.shared.numpy(), "exclusive": codes.exclusive.numpy()}

    def save(file: Path) -> None:
        with file.open("wb") as opened:
            np.savez(opened, allow_pickle=False, **arrays)

    write_atomically(out, save)
    print(f"Written: {out}: shared {codes.shared.shape}, exclusive {codes.exclusive.shape}".replace("torch.Size", ""))


def _image_model(run: Path) -> Any:
    from unbraid.apply import load

    model = load(run)
    if not (isinstance(model.spec.a, ImageSpec) and isinstance(model.spec.b, ImageSpec)):
        raise UserError(f"{run} works on vectors; this command reads image files. Use unbraid.load in Python")
    return model


def _one(path: Path, spec: Any) -> Tensor:
    return read_image(path, spec)[None]


def read_images(paths: Sequence[Path], spec: Any) -> tuple[list[str], Tensor]:
    """The images of files and folders, as (names, (n, c, h, w)). One that can't be read is left out, and said.

    Names are the files' without folder and ending, numbered where two are alike. Raises UserError if none is left.
    """
    files, x = read_files(paths, spec)
    names: list[str] = []
    for file in files:
        count = sum(name == file.stem or name.startswith(f"{file.stem}~") for name in names)
        names.append(f"{file.stem}~{count + 1}" if count else file.stem)
    return names, x
