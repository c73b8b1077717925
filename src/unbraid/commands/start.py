"""`unbraid start`: from folders of images to a report, by one command that asks nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from unbraid.commands.report import measured_report
from unbraid.commands.train import parse, train_run
from unbraid.core.config import RunConfig, TrainConfig
from unbraid.core.console import printable
from unbraid.core.data_config import DataConfig
from unbraid.core.device import choose_device
from unbraid.core.types import DOMAINS, UserError, other
from unbraid.data.loading import load as load_data
from unbraid.data.parts import Data
from unbraid.data.richness import CLEAR, richness
from unbraid.data.survey import Kind, Survey, survey
from unbraid.evaluation.report.content import names_of
from unbraid.methods import method_class
from unbraid.model.run import Run
from unbraid.recipes.choice import BATCH, METHOD, WHY, chosen_method
from unbraid.training.experiment import Experiment, open_run
from unbraid.training.length import in_flags
from unbraid.training.pace import seconds_a_step

SIDE, LARGE_SIDE = 64, 128
"""The smaller side of images in px, and on a GPU."""
FEW, SMALL_SET = 1000, 400
"""Items below which images are mirrored and shifted, and below which a fifth is held out in place of a tenth."""
MEASURING = 0.2
"""Share of the time that is kept for measuring and drawing."""
MEASUREMENTS, PATIENCE = 12, 8
"""Measurements in a run, and how many in a row without a better held-out score end it."""
LONG = 5000
"""Steps from which a run may end sooner: recall is often perfect long before pictures are."""
FEWEST_STEPS, ENOUGH, SMALLEST = 100, 800, 32
"""Steps of a run at least; steps below which images are made smaller, and to how many px."""


@dataclass(frozen=True)
class StartArguments:
    """Look at folders of images, choose method and settings, train, measure, and write a report.

    Two folders, one of each kind; or one with a folder for each class, or with images that hold both kinds side by
    side. Flags of `unbraid train`, such as --data.unpaired, --train.batch 8 or --method.exclusive 16, override what is
    chosen. The same command goes on with a run that was stopped.
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    minutes: float = 30.0
    """How long to train and to measure, about."""
    run: Path | None = None
    """Folder of the run. Default: runs/FOLDER-FOLDER."""
    size: int | None = None
    """Smaller side of the images in px, to which they are scaled."""
    method: str | None = None
    """Another method than the one that would be chosen."""
    dry_run: bool = False
    """Say what would be done, and leave."""


@dataclass(frozen=True)
class Plan:
    """A run to train, and why so, in lines for the user."""

    config: RunConfig[Any]
    data: Data
    lines: list[str]


def start(arguments: Sequence[str]) -> None:
    """`unbraid start FOLDER [FOLDER] ...`."""
    options, rest = tyro.cli(
        StartArguments, args=list(arguments), prog="unbraid start", return_unknown_args=True
    )  # fmt: skip
    if not options.folders:
        raise UserError("Which folders? unbraid start photos sketches")
    if not options.minutes > 0:
        raise UserError(f"--minutes {options.minutes:g}: it must be more than 0")
    found = survey(options.folders)
    say(list(described(found)))
    if found.kind == "pairs" and "--data.unpaired" in rest:
        say(["The pairs are hidden from training, as asked"])
    path = options.run or Path("runs") / "-".join(place.resolve().name for place in found.places)
    plan = _resumed(path, found, options, rest) if (path / "config.json").exists() else _planned(found, options, rest)
    say([*plan.lines, f"Folder of the run: {path}"])
    if options.dry_run:
        say(["Nothing was trained; leave --dry-run out to begin"])
        return
    train_run(path, plan.config, plan.data, dry_run=False)
    run, model, data = open_run(path, device=plan.config.train.device)
    written = measured_report(run, model, data, path / "report.html", limit=None)
    say(["", *written[:3], f"The report: {path / 'report.html'}, one file to open or to send"])


def say(lines: Sequence[str]) -> None:
    """Prints lines that hold names of a user's files."""
    print(*map(printable, lines), sep="\n", flush=True)


def described(found: Survey) -> Iterator[str]:
    """Yields what was found in the folders, in words."""
    yield from map(str, found.folders)
    if found.kind == "pairs":
        yield f"{found.pairs:,} pairs, by equal names; if equal names mean nothing here, add --data.unpaired"
    elif found.kind == "side by side":
        yield f"{found.pairs:,} pairs, the halves of each image"
    elif found.kind == "unpaired":
        few = f"; {found.pairs} names agree, too few to count" if found.pairs else ""
        yield f"No pairs: names of files don't agree{few}"
    elif found.classes:
        counts = found.classes.values()
        yield f"{len(found.classes)} classes of {min(counts)} to {max(counts)} images, {sum(counts):,} in all"
    if found.parts:
        yield f"{found.places[0]} has a folder for each part; these are the ones to train on"
    if found.common:
        yield f"{found.common} images are in both folders: is that meant?"


def _planned(found: Survey, options: StartArguments, rest: Sequence[str]) -> Plan:
    """Chooses method and settings, measures a few steps, and chooses as many as fit the time."""
    unpaired = found.kind == "unpaired" or "--data.unpaired" in rest
    kind: Kind = "unpaired" if unpaired and found.kind == "pairs" else found.kind
    name, side = options.method or METHOD[kind], options.size or _default_side()
    why = f", which {WHY[name]}" if name in WHY and not options.method else ""
    config, loaded, notes = _resolved(found, kind, side, name, rest)
    if any((config.train.steps, config.train.epochs, config.train.minutes)):
        length = "As long as asked: " + in_flags(config.train)
    else:
        seconds = seconds_a_step(Experiment.prepare(config, None, None, loaded))
        steps = _possible_steps(options.minutes, seconds)
        if steps < ENOUGH and side > SMALLEST and options.size is None:
            notes.append(f"At {side} px only {steps:,} steps would fit, so images are smaller")
            config, loaded, more = _resolved(found, kind, SMALLEST, name, rest)
            notes += more
            seconds = seconds_a_step(Experiment.prepare(config, None, None, loaded))
        config = replace(config, train=with_steps(config.train, options.minutes, seconds, kind != "unpaired"))
        length = about_length(config.train, seconds, options.minutes)
    return Plan(config, loaded, [f"Method: {name}{why}", *notes, *_about_data(loaded, config.data, kind), length])


def _resolved(
    found: Survey, kind: Kind, side: int, name: str, rest: Sequence[str]
) -> tuple[RunConfig[Any], Data, list[str]]:
    """Returns a complete configuration but for its length, the data, and notes. `rest` overrides what is chosen."""
    data = _chosen_data(found, kind, side, name)
    train = TrainConfig(batch=BATCH.get(name, 8), average=0.999 if kind == "unpaired" else 0.0)
    parsed = parse(name, rest, RunConfig(method_class(name).config_type(), data, train))
    loaded = load_data(parsed.data)
    method, notes = chosen_method(name, loaded)
    parsed = parse(name, rest, RunConfig(method, data, train))
    return RunConfig(parsed.method, parsed.data, parsed.train), loaded, notes


def _default_side() -> int:
    """Returns the smaller side that images are brought to, if none is asked for."""
    return LARGE_SIDE if choose_device().type == "cuda" else SIDE


def _possible_steps(minutes: float, seconds: float) -> int:
    """Returns how many steps of so many seconds fit the time."""
    return int(60 * minutes * (1 - MEASURING) / seconds)


def _chosen_data(found: Survey, kind: Kind, side: int, method: str) -> DataConfig:
    """Returns where the data lie, and how they are brought to a size and divided."""
    size = found.size(side)
    first, *second = found.places
    places: dict[str, Any] = {"classes": first} if kind == "classes" else {"side_by_side": first}
    if found.parts:
        places = {"folder": first, "unpaired": kind == "unpaired"}
    elif second:
        places = {"a": first, "b": second[0], "unpaired": kind == "unpaired"}
    few = found.items < FEW and not method_class(method).needs.labelled
    share = 0.2 if found.items < SMALL_SET else 0.1
    return DataConfig(**places, size=size, augment=("flip", "shift") if few else (), test=share)


def _about_data(data: Data, config: DataConfig, kind: Kind) -> Iterator[str]:
    """Yields how images are prepared and divided, and which side holds more, in words."""
    if config.size:
        yield f"Images are brought to {config.size[0]} x {config.size[1]} px"
    if config.augment:
        yield f"In training they are moved at random ({' '.join(config.augment)}), for there are few"
    if kind != "classes":
        names = names_of(config, False, data.spec)
        kilobytes = {domain: richness(*data.train.domain(domain)).bits / 8000 for domain in DOMAINS}
        more = max(DOMAINS, key=kilobytes.__getitem__)
        less = other(more)
        if kilobytes[more] > CLEAR * kilobytes[less]:
            yield (
                f"A guess: {names[more]} hold more than {names[less]}, for compressed an image takes "
                f"{kilobytes[more]:.1f} KB against {kilobytes[less]:.1f}"
            )
    yield (
        f"{data.train.counted()} train, {data.val.counted()} choose the model, {data.test.counted()} are kept to "
        "measure it"
    )


def with_steps(train: TrainConfig, minutes: float, seconds: float, patient: bool) -> TrainConfig:
    """Returns the settings with as many steps as fit the time.

    Args:
        train: The settings.
        minutes: For training and measuring.
        seconds: Of a step.
        patient: Whether a held-out score that stands still may end the run: without pairs it is too rough for that.
    """
    count = max(FEWEST_STEPS, _possible_steps(minutes, seconds))
    unit = 10 ** max(0, len(str(count)) - 2)
    steps = count // unit * unit
    every = train.evaluate_every if train.evaluate_every != TrainConfig.evaluate_every else -(-steps // MEASUREMENTS)
    return replace(
        train,
        steps=steps,
        evaluate_every=every,
        patience=train.patience or (PATIENCE if patient and steps >= LONG else None),
    )


def about_length(train: TrainConfig, seconds: float, minutes: float) -> str:
    """Returns how long training is going to take, in words. See `with_steps`."""
    steps = train.steps or 0
    taken = steps * seconds / 60
    words = f"A step takes {seconds:.2g} s here: {steps:,} steps, about {taken:.0f} of {minutes:g} minutes"
    if taken > minutes:
        words = f"A step takes {seconds:.2g} s here: the fewest that make sense, {steps:,}, take {taken:.0f} minutes"
    if train.patience:
        words += (
            f"; fewer if {train.patience} measurements in a row, one every {train.evaluate_every} steps, are no better"
        )
    return words


def _resumed(path: Path, found: Survey, options: StartArguments, rest: Sequence[str]) -> Plan:
    """Returns the plan of the run that is there. Raises UserError if it is one of other folders."""
    run = Run.existing(path)
    data = run.config.data
    places = [place for place in (data.folder, data.a, data.b, data.classes, data.side_by_side) if place]
    if [place.resolve() for place in places] != [place.resolve() for place in found.places]:
        raise UserError(f"{path} is a run of other folders: {', '.join(map(str, places))}. Give another --run")
    parsed = parse(run.method_name, rest, run.config)
    config = RunConfig(parsed.method, parsed.data, parsed.train)
    if options.size:
        config = replace(config, data=replace(config.data, size=found.size(options.size)))
    if options.method not in (None, run.method_name):
        raise UserError(f"{path} is a run of {run.method_name}. Give another --run for {options.method}")
    lines = [f"There is a run of {run.method_name}: it goes on to its end, {in_flags(config.train)}"]
    return Plan(config, load_data(config.data), lines)
