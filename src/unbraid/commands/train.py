"""`unbraid train`: a recipe, or a method on data of one's own."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

import tyro

from unbraid.commands import train_help
from unbraid.commands.flags import check_choice, of_method, present_flags, square, taken, tracked
from unbraid.core.config import RunConfig, TrainConfig, to_json
from unbraid.core.data_config import DataConfig, SetName
from unbraid.core.deadline import Deadline
from unbraid.core.memory import keep_freed_memory
from unbraid.core.recipe import Recipe
from unbraid.core.suggest import did_you_mean
from unbraid.core.types import UserError
from unbraid.data.loading import load as load_data
from unbraid.data.parts import Data

MethodConfig = TypeVar("MethodConfig")


@dataclass(frozen=True, kw_only=True)
class TrainArguments(Generic[MethodConfig]):
    """Train, or go on with the run in --run."""

    run: Path | None = None
    """Folder of the run; new, empty, or one to go on with. Needed, unless it is a --dry-run."""
    config: Path | None = None
    """Settings from a file, JSON or YAML: what --dry-run prints, the config.json of a run, or some of one's own."""
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    method: MethodConfig
    dry_run: bool = False
    """Print the complete configuration and what the data looks like, and leave."""


def train(arguments: Sequence[str]) -> None:
    """`unbraid train RECIPE|METHOD ...`, or `unbraid train --config FILE ...`."""
    from unbraid.methods import method_class, method_name, method_names
    from unbraid.recipes import RECIPES
    from unbraid.recipes.config_file import read_config_file
    from unbraid.training.experiment import check_length

    given, rest = taken(arguments, "--config")
    target = rest.pop(0) if rest and not rest[0].startswith("-") else None
    if target is None and given is None:
        print(train_help.of_command(method_names()))
        if {"-h", "--help", "--help-all"} & {*rest}:
            return
        raise UserError("Which recipe or method? It is the first argument after `train`")
    if target is not None and target not in RECIPES:
        _check_target(target, [*RECIPES], method_names())
    file = read_config_file(None if given is None else Path(given))
    start = file.over(file.start(target))
    kind, title = method_class(method_name(start.method)), target or f"--config {given}"
    if {"-h", "--help"} & {*rest}:
        print(train_help.of_target(title, start, kind.needs))
        return
    rest = square(present_flags(tracked(rest), of_method(kind.renamed)), "--data.size")
    check_choice(rest, "--data.set", get_args(SetName))
    parsed = parse(title, ["--help" if flag == "--help-all" else flag for flag in rest], start)
    data = _own_data(start.data, parsed.data)
    check_length(data, parsed.train)
    loaded, notes = load_data(data), []
    if not (isinstance(start, Recipe) or file.complete(start.method)):
        # a method's defaults depend on the data; what is given in the file and on the command line stays
        default, notes = kind.default_config(loaded.spec)
        parsed = parse(title, rest, file.over(replace(start, method=default), ("method",)))
    config = replace(start, method=parsed.method, data=data, train=parsed.train)
    train_run(parsed.run, config, loaded, parsed.dry_run, notes)


def _check_target(target: str, recipes: Sequence[str], methods: Sequence[str]) -> None:
    """UserError if there is no recipe or method of this name; it says which names are like it."""
    if target not in methods:
        hint = did_you_mean(target, [*methods, *recipes])
        raise UserError(
            f"There is no recipe or method {target!r}.{hint} Methods: {', '.join(methods)}; `unbraid recipes` lists "
            "recipes"
        )


def _own_data(before: DataConfig, asked: DataConfig) -> DataConfig:
    """Returns the data that are asked for: where images of one's own are given, without a recipe's set and labels."""
    sources = ("a", "b", "side_by_side", "classes", "csv", "shards", "arrays")
    given = any(getattr(asked, name) and not getattr(before, name) for name in sources)
    if not before.set or asked.set != before.set or not given:
        return asked
    return replace(asked, set=None, labels=() if asked.labels == before.labels else asked.labels)


def parse(title: str, arguments: Sequence[str], start: RunConfig[Any]) -> TrainArguments[Any]:
    """Returns the arguments of `unbraid train`.

    Args:
        title: The recipe or method, for messages.
        arguments: Those behind it.
        start: The configuration that they change.
    """
    return tyro.cli(
        TrainArguments[type(start.method)],
        default=TrainArguments(method=start.method, data=start.data, train=start.train),
        args=arguments,
        prog=f"unbraid train {title}",
    )


def train_run(
    path: Path | None,
    config: RunConfig[Any],
    data: Data,
    dry_run: bool,
    notes: Sequence[str] = (),
    until: Deadline | None = None,
) -> None:
    """Builds the method, trains, says where things are. See `Experiment.prepare` and `Experiment.train`."""
    from unbraid.core.ranks import number
    from unbraid.evaluation.validation import score_in_words
    from unbraid.methods import method_name
    from unbraid.training.experiment import Experiment
    from unbraid.training.loop import Interrupted

    if dry_run:
        recipe = {"recipe": config.name} if isinstance(config, Recipe) else {}
        settings = to_json(RunConfig(config.method, config.data, config.train))
        print(json.dumps({"method_name": method_name(config.method), **recipe, **settings}, indent=2))
    experiment = Experiment.prepare(config, path, None, data, notes, dry_run)
    if dry_run:
        experiment.method.prepare()
        print(*experiment.lines, *experiment.start_from(config.train.init), sep="\n", file=sys.stderr)
        return
    try:
        keep_freed_memory()
        position = experiment.train(until=until)
    except Interrupted as stop:
        if not number():
            print(
                f"{stop}; saved. The same command goes on from there:\n  unbraid {shlex.join(sys.argv[1:])}",
                file=sys.stderr,
            )
        raise KeyboardInterrupt from stop
    if number():
        return
    words = score_in_words(experiment.method, experiment.data, position.best)
    score = f" (validation {words})" if position.best > 0 else ""
    steps = f"Done after {position.step} steps{' of the last stage' if position.stage else ''}"
    if until and until.ended:
        steps = f"Ended at {until.ended}, for the time is over"
    print(f"{steps}; best at step {position.best_step}{score}. Next: unbraid evaluate {shlex.quote(str(path))}")
