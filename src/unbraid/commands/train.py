"""`unbraid train`: a recipe, or a method on data of one's own."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import tyro

from unbraid.commands.folder import check_parts
from unbraid.core.config import RunConfig, TrainConfig, to_json
from unbraid.core.data_config import DataConfig
from unbraid.core.files import is_inside
from unbraid.core.memory import build_method, keep_freed_memory, require_memory
from unbraid.core.types import Labelled, UserError
from unbraid.data.features import save_extractor, with_head
from unbraid.data.loading import load as load_data
from unbraid.data.loading import needs
from unbraid.data.parts import Data, counted, listing
from unbraid.data.styles import wanted_styles
from unbraid.evaluation.subject import has_classes

MethodConfig = TypeVar("MethodConfig")


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


TRAIN_HELP = """usage: unbraid train RECIPE|METHOD --run DIR [--data.root DIR] [--train.steps N]
                     [--method.FIELD V] [--dry-run]

The first argument is a recipe or a method; `unbraid train NAME --help` lists every setting with its default.

recipes: {recipes}
methods: {methods}
"""


def train(arguments: Sequence[str]) -> None:
    """`unbraid train RECIPE|METHOD ...`."""
    from unbraid.methods import METHODS
    from unbraid.recipes import RECIPES
    from unbraid.training.loop import check_numbers

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
    rest = present_flags(rest, METHODS[name].renamed)
    parsed = parse(target, rest, METHODS[name].config_type, start)
    data = parsed.data
    if (
        target in RECIPES
        and data.set == start.data.set
        and any((data.a, data.b, data.side_by_side, data.classes, data.csv, data.arrays))
    ):
        # a recipe's settings on images of one's own, which have no labels of its set
        labels = () if data.labels == start.data.labels else data.labels
        data = replace(data, set=None, labels=labels)
    check_numbers(parsed.train)
    if data.size and not data.features:
        least = 8 * parsed.train.batch * data.size[0] * data.size[1]  # bytes of a grey image of each domain, as floats
        require_memory(least, f"--train.batch {parsed.train.batch} of --data.size takes at least", "Give smaller ones")
    loaded, notes = load_data(data), []
    if target in METHODS:  # a method's defaults depend on the data; what is given on the command line stays
        default, notes = METHODS[name].default_config(loaded.spec)
        parsed = parse(target, rest, METHODS[name].config_type, replace(start, method=default))
    config = RunConfig(parsed.method, data, parsed.train)
    train_run(parsed.run, name, config, loaded, target if target in RECIPES else None, parsed.dry_run, notes)


def present_flags(arguments: Sequence[str], renamed: Mapping[str, str]) -> list[str]:
    """Replaces former names of a method's flags, and says so on standard error."""
    present = []
    for argument in arguments:
        prefix, _, rest = argument.partition("--method.")
        name, *value = rest.split("=", 1)
        no = "no-" if name.startswith("no-") else ""
        new = renamed.get(name.removeprefix("no-").replace("-", "_"))
        if prefix == "" and new:
            flag = f"--method.{no}{new.replace('_', '-')}"
            print(f"{argument.split('=')[0]} is now {flag}; the former name will be removed", file=sys.stderr)
            argument = "=".join([flag, *value])
        present.append(argument)
    return present


def parse(target: str, arguments: Sequence[str], kind: type, start: RunConfig[Any]) -> TrainArguments[Any]:
    """Returns the arguments behind RECIPE or METHOD, with the rest as `start` has it. kind: of the method's
    configuration."""
    return tyro.cli(
        TrainArguments[kind],
        default=TrainArguments(start.method, None, start.data, start.train),
        args=arguments,
        prog=f"unbraid train {target}",
    )


def train_run(
    path: Path | None,
    name: str,
    config: RunConfig[Any],
    data: Data,
    recipe: str | None,
    dry_run: bool,
    notes: Sequence[str] = (),
) -> None:
    """Builds the method, trains, says where things are.

    Args:
        path: Folder of the run; needed unless it is a dry run.
        name: Name of the method.
        data: What `config.data` describes.
        recipe: Name of the recipe, if it is one.
        dry_run: Whether to say what would be done and leave.
        notes: Lines about the configuration, for the user.
    """
    from unbraid.core.device import choose_precision
    from unbraid.core.method import Latent
    from unbraid.methods import method_class
    from unbraid.model.log import Log
    from unbraid.model.run import Run
    from unbraid.training.loop import Interrupted, check, check_numbers, fit

    check_numbers(config.train)
    if dry_run:
        print(json.dumps({"method_name": name, **to_json(config)}, indent=2))
    data, tuned = with_head(data, config.data, path, dry_run)
    kind, parts = method_class(name), listing(data)
    styles = wanted_styles(config.data, getattr(config.method, "perceptual", None))
    data = needs(data, kind.needs, name, config.data.balanced, styles)
    method_config, more = kind.resolve_config(config.method, data.train)
    notes = [*notes, *more]
    config = replace(config, method=method_config)
    torch.manual_seed(config.train.seed)
    method = build_method(kind, data.spec, config.method, copies=4, device=choose_precision(config.train).device)
    size = sum(p.numel() for p in method.parameters())
    items = f"{counted(data.train)} train, {counted(data.val)} validation, {counted(data.test)} test"
    about = f"{name}, {size / 1e6:.2f} M parameters; {data.name}: {items}; a: {data.spec.a}, b: {data.spec.b}"
    if isinstance(method, Latent):
        moved = "--data.augment moves them" if config.data.augment else ""
        if config.data.set in ("digits", "mnist-cdcb"):
            moved = f"the digits of {config.data.set} have new colours in each pass"
        if moved:
            raise UserError(f"{name} keeps a code for each image, which must stay as it is; {moved}")
    if dry_run:
        method.prepare()
        print(about, *notes, sep="\n")
        return
    if path is None:
        raise UserError("Where to? Give --run DIR, a folder for the run")
    for folder in (config.data.a, config.data.b, config.data.side_by_side, config.data.classes):
        if folder is not None and is_inside(path, folder):
            raise UserError(f"--run {path} lies in {folder}: its pictures would be taken for data. Give another --run")
    check(config.train, method)
    run, log = Run.open(path, name, config, recipe), None
    try:
        with run.locked():
            check_parts(path, parts)
            if (config.data.features or tuned) and not (path / "features.safetensors").exists():
                save_extractor(path, config.data.features, data.images or data.spec, tuned)
            log = Log(path, config.train.tensorboard)
            log.console.print(about, highlight=False, soft_wrap=True)
            remarks = [data.remark] if data.remark else []
            for line in (*notes, *remarks, *(f"left out: {line}" for line in data.skipped)):
                log.console.print(line, highlight=False, soft_wrap=True)
            keep_freed_memory()
            position = fit(run, method, data, log)
    except Interrupted as stop:
        if log:
            log.close()
        print(
            f"{stop}; saved. The same command goes on from there:\n  unbraid {shlex.join(sys.argv[1:])}",
            file=sys.stderr,
        )
        raise KeyboardInterrupt from stop
    finally:
        if log:
            log.close()
    figure = ("PSNR", "dB") if kind.needs is Labelled else ("mAP" if has_classes(data.val) else "recall@1", "%")
    score = f" (validation {figure[0]} {position.best:.1f} {figure[1]})" if position.best > 0 else ""
    steps = f"{position.step} steps{' of the last stage' if position.stage else ''}"
    print(f"Done after {steps}; best at step {position.best_step}{score}. Next: unbraid evaluate {path}")
