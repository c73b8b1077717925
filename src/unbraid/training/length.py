"""A run that goes on to another length than it had: the schedules of a method are stretched to the new one."""

import math
from dataclasses import replace
from typing import Any

from unbraid.core.config import LENGTH, TrainConfig
from unbraid.core.method import Method
from unbraid.core.types import UserError
from unbraid.model.log import Log
from unbraid.model.run import Run
from unbraid.model.saved import Position
from unbraid.training.loop import Length, place


def change_length(run: Run, former: TrainConfig, method: Method[Any], items: int, log: Log) -> None:
    """Gives a run the length that is asked for now: says what that means, in the log too, and writes config.json.

    former: the training settings that it had. items: the number of training items. See `Length`.
    Raises UserError, with nothing changed, if the run stands at its new end or beyond it.
    """
    state, stages, asked = run.load_state(), method.stages(), run.config.train
    position = Position(**state["position"]) if state else Position()
    number = min(position.stage, len(stages) - 1)
    stage, where = stages[number], place(stages, number)
    before, after = (Length.of(each, stage, items) for each in (former, asked))
    clocks = [length.clock(position.step, position.seconds, stage.name) for length in (before, after)]
    if clocks[1].progress >= 1:
        raise UserError(
            f"{run.path} stands at step {position.step}{where}, after {position.seconds / 60:.1f} minutes; with "
            f"{in_flags(asked)} it ends at {end(after)}. Give more (the first length to be reached ends a run; None "
            f"takes one away), or {in_flags(former)}, which it had"
        )
    log.resume(position)
    log.event(
        position,
        f"Another length: {in_flags(former)} -> {in_flags(asked)}; from step {position.step}{where} on to {end(after)}"
        + (", that stage's share; earlier stages stay as they are" if number else ""),
    )
    rates = [100 * method.rate_factor(stage.name, replace(clock, progress=min(1, clock.progress))) for clock in clocks]
    if abs(rates[1] - rates[0]) > 0.05:
        log.event(
            position,
            f"Learning rates fall over the whole length, which is another one now: they go on at {rates[1]:.0f} % of "
            f"their first values, where they stood at {rates[0]:.0f} %, and reach their last ones at the new end",
        )
    run.keep_length()


def end(length: Length) -> str:
    """Returns where a stage ends, in words."""
    steps = [f"step {math.ceil(length.steps)}"] if length.steps < math.inf else []
    return " or ".join([*steps, *([f"{length.seconds / 60:.1f} minutes"] if length.seconds < math.inf else [])])


def in_flags(config: TrainConfig) -> str:
    """Returns the length of a run as flags."""
    given = [f"--train.{name} {value}" for name in LENGTH if (value := getattr(config, name)) is not None]
    return " ".join(given)
