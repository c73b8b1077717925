"""What `unbraid start` does with folders of images: which method, which settings, and how many steps fit the time."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unbraid.commands.train import parse
from unbraid.core.config import RunConfig, TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.core.deadline import Deadline
from unbraid.core.device import choose_device
from unbraid.core.names import in_text
from unbraid.core.types import DOMAINS, UserError, other
from unbraid.data.loading import load as load_data
from unbraid.data.parts import Data
from unbraid.data.richness import CLEAR, richness
from unbraid.data.survey import Kind, Survey
from unbraid.evaluation.report.content import names_of
from unbraid.methods import method_class
from unbraid.model.run import Run, check_unused
from unbraid.recipes.choice import BATCH, METHOD, WHY, chosen_method
from unbraid.training.experiment import Experiment, check_apart
from unbraid.training.length import in_flags
from unbraid.training.pace import seconds_a_step

SIDE, LARGE_SIDE = 64, 128
"""The smaller side of images in px, and on a GPU."""
FEW, SMALL_SET = 1000, 400
"""Items below which images are mirrored and shifted, and below which a fifth is held out in place of a tenth."""
PLANNED = 0.85
"""Share of the time that is planned for steps: measurements take the rest."""
MEASUREMENTS, APART, PATIENCE = 12, 20.0, 8
"""Measurements in a run at most, seconds between two at least, and how many in a row without a better held-out score
end it."""
LONG = 5000
"""Steps from which a run may end sooner: recall is often perfect long before pictures are."""
FEWEST_STEPS, ENOUGH, SMALLEST = 100, 400, 32
"""Steps of a run at least; steps below which images are made smaller, and to how many px."""


@dataclass(frozen=True)
class Wanted:
    """Method, smaller side of images and flags of `unbraid train` that the user asks for."""

    method: str | None
    size: int | None
    flags: Sequence[str]


@dataclass(frozen=True)
class Plan:
    """A run to train, and why so, in lines for the user."""

    config: RunConfig[Any]
    data: Data
    lines: list[str]


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
        each = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
        yield f"{len(found.classes)} classes of {each} images, {sum(counts):,} in all"
    if found.parts:
        yield f"{found.places[0]} has a folder for each part; these are the ones to train on"
    if found.common:
        yield f"{found.common} images are in both folders: is that meant?"


def planned(path: Path, found: Survey, wanted: Wanted, until: Deadline) -> Plan:
    """Chooses method and settings, measures a few steps, and chooses as many as fit the time.

    Args:
        path: New folder of the run.
        found: What is in the folders.
        wanted: What the user asks for.
        until: When training ends.
    """
    check_unused(path)
    unpaired = found.kind == "unpaired" or "--data.unpaired" in wanted.flags
    kind: Kind = "unpaired" if unpaired and found.kind == "pairs" else found.kind
    name, side = wanted.method or METHOD[kind], wanted.size or _default_side()
    why = f", which {WHY[name]}" if name in WHY and not wanted.method else ""
    config, loaded, notes = _resolved(found, kind, side, name, wanted.flags)
    check_apart(path, config.data)
    if wanted.size and config.data.size and min(config.data.size) < wanted.size:
        notes.append(f"Images are not enlarged, so --size {wanted.size} is too much")
    if any((config.train.steps, config.train.epochs, config.train.minutes)):
        length = "As long as asked: " + in_flags(config.train)
    else:
        seconds = seconds_a_step(Experiment.prepare(config, None, None, loaded))
        steps = _possible_steps(until.at - time.monotonic(), seconds)
        used = min(config.data.size or (side,))
        if steps < ENOUGH and used > SMALLEST and wanted.size is None:
            config, loaded, notes = _resolved(found, kind, SMALLEST, name, wanted.flags)
            notes.append(f"At {used} px only {steps:,} steps would fit, so images are smaller")
            seconds = seconds_a_step(Experiment.prepare(config, None, None, loaded))
        left = until.at - time.monotonic()
        config = replace(config, train=with_steps(config.train, left, seconds, kind != "unpaired"))
        length = about_length(config.train, left, seconds)
    notes = [in_text(note, loaded.spec.names) for note in notes]
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


def _possible_steps(left: float, seconds: float) -> int:
    """Returns how many steps of so many seconds fit the seconds that are left."""
    return max(0, int(PLANNED * left / seconds))


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


def with_steps(train: TrainConfig, left: float, seconds: float, patient: bool) -> TrainConfig:
    """Returns the settings with as many steps as fit the time.

    Args:
        train: The settings.
        left: Seconds for training.
        seconds: Of a step.
        patient: Whether a held-out score that stands still may end the run: without pairs it is too rough for that.
    """
    count = max(FEWEST_STEPS, _possible_steps(left, seconds))
    unit = 10 ** max(0, len(str(count)) - 2)
    steps = count // unit * unit
    measurements = min(MEASUREMENTS, max(2, int(left / APART)))
    every = train.evaluate_every if train.evaluate_every != TrainConfig.evaluate_every else -(-steps // measurements)
    return replace(
        train,
        steps=steps,
        evaluate_every=every,
        patience=train.patience or (PATIENCE if patient and steps >= LONG else None),
    )


def about_length(train: TrainConfig, left: float, seconds: float) -> str:
    """Returns how long training is going to take, in words. See `with_steps`."""
    steps = train.steps or 0
    taken = steps * seconds
    words = f"A step takes {seconds:.2g} s here: {steps:,} steps, about {taken / 60:.0f} minutes"
    if taken > left:
        fit = max(1, int(left / seconds))
        words = f"A step takes {seconds:.2g} s here: about {fit} fit the time, and fewer than {steps} make little sense"
    if train.patience:
        words += (
            f"; fewer if {train.patience} measurements in a row, one every {train.evaluate_every} steps, are no better"
        )
    return words


def resumed(path: Path, found: Survey, wanted: Wanted) -> Plan:
    """Returns the plan of a run that is there.

    Args:
        path: Folder of the run.
        found: What is in the folders.
        wanted: What the user asks for.

    Raises:
        UserError: It is a run of other folders, or of another method than is asked for.
    """
    run = Run.existing(path)
    data = run.config.data
    places = [place for place in (data.folder, data.a, data.b, data.classes, data.side_by_side) if place]
    if [place.resolve() for place in places] != [place.resolve() for place in found.places]:
        raise UserError(f"{path} is a run of other folders: {', '.join(map(str, places))}. Give another --run")
    parsed = parse(run.method_name, wanted.flags, run.config)
    config = RunConfig(parsed.method, parsed.data, parsed.train)
    if wanted.size:
        config = replace(config, data=replace(config.data, size=found.size(wanted.size)))
    if wanted.method not in (None, run.method_name):
        raise UserError(f"{path} is a run of {run.method_name}. Give another --run for {wanted.method}")
    lines = [f"There is a run of {run.method_name}: it goes on to its end, {in_flags(config.train)}"]
    return Plan(config, load_data(config.data), lines)
