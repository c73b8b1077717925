"""`unbraid train`: a recipe, or a method on data of one's own."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import tyro

from unbraid.commands.flags import of_method, present_flags
from unbraid.core.config import RunConfig, TrainConfig, to_json
from unbraid.core.data_config import DataConfig
from unbraid.core.memory import keep_freed_memory
from unbraid.core.types import UserError
from unbraid.data.loading import load as load_data
from unbraid.data.parts import Data
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
    from unbraid.methods import method_class, method_name, method_names
    from unbraid.recipes import RECIPES
    from unbraid.training.experiment import check_length

    if not arguments or arguments[0].startswith("-"):
        print(TRAIN_HELP.format(recipes=", ".join(RECIPES), methods=", ".join(method_names())), end="")
        if arguments and arguments[0] in ("-h", "--help"):
            return
        raise UserError("Which recipe or method? It is the first argument after `train`")
    target, *rest = arguments
    if target in RECIPES:
        start: RunConfig[Any] = RECIPES[target]
    elif target in method_names():
        start = RunConfig(method_class(target).config_type())
    else:
        raise UserError(
            f"There is no recipe or method {target!r}. Recipes: {', '.join(RECIPES)}; methods: "
            f"{', '.join(method_names())}"
        )
    rest = present_flags(rest, of_method(method_class(method_name(start.method)).renamed))
    parsed = parse(target, rest, start)
    data = parsed.data
    if (
        target in RECIPES
        and data.set == start.data.set
        and any((data.a, data.b, data.side_by_side, data.classes, data.csv, data.arrays))
    ):
        # a recipe's settings on images of one's own, which have no labels of its set
        labels = () if data.labels == start.data.labels else data.labels
        data = replace(data, set=None, labels=labels)
    check_length(data, parsed.train)
    loaded, notes = load_data(data), []
    if target not in RECIPES:  # a method's defaults depend on the data; what is given on the command line stays
        default, notes = method_class(target).default_config(loaded.spec)
        parsed = parse(target, rest, replace(start, method=default))
    config = replace(start, method=parsed.method, data=data, train=parsed.train)
    train_run(parsed.run, config, loaded, parsed.dry_run, notes)


def parse(target: str, arguments: Sequence[str], start: RunConfig[Any]) -> TrainArguments[Any]:
    """Returns the arguments behind RECIPE or METHOD, with the rest as `start` has it."""
    return tyro.cli(
        TrainArguments[type(start.method)],
        default=TrainArguments(start.method, None, start.data, start.train),
        args=arguments,
        prog=f"unbraid train {target}",
    )


def train_run(
    path: Path | None,
    config: RunConfig[Any],
    data: Data,
    dry_run: bool,
    notes: Sequence[str] = (),
) -> None:
    """Builds the method, trains, says where things are.

    Args:
        path: Folder of the run; needed unless it is a dry run.
        config: The run, which may be a recipe.
        data: What `config.data` describes.
        dry_run: Whether to say what would be done and leave.
        notes: Lines about the configuration, for the user.
    """
    from unbraid.core.ranks import number
    from unbraid.methods import method_name
    from unbraid.training.experiment import Experiment
    from unbraid.training.loop import Interrupted

    if dry_run:
        print(
            json.dumps(
                {
                    "method_name": method_name(config.method),
                    **to_json(RunConfig(config.method, config.data, config.train)),
                },
                indent=2,
            )
        )
    experiment = Experiment.prepare(config, path, None, data, notes, dry_run)
    if dry_run:
        experiment.method.prepare()
        print(experiment.about, *experiment.notes, *experiment.start_from(config.train.init), sep="\n")
        return
    try:
        keep_freed_memory()
        position = experiment.train()
    except Interrupted as stop:
        if not number():
            print(
                f"{stop}; saved. The same command goes on from there:\n  unbraid {shlex.join(sys.argv[1:])}",
                file=sys.stderr,
            )
        raise KeyboardInterrupt from stop
    if number():
        return
    labelled = experiment.method.needs.labelled
    figure = ("PSNR", "dB") if labelled else ("mAP" if has_classes(experiment.data.val) else "recall@1", "%")
    score = f" (validation {figure[0]} {position.best:.1f} {figure[1]})" if position.best > 0 else ""
    steps = f"{position.step} steps{' of the last stage' if position.stage else ''}"
    print(f"Done after {steps}; best at step {position.best_step}{score}. Next: unbraid evaluate {path}")
