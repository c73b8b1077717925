"""How long a step of training takes here: a few are made, on an experiment that is thrown away."""

import time

import torch

from unbraid.core.device import choose_precision
from unbraid.core.method import Clock, Stage
from unbraid.data.batches import Batches
from unbraid.training.batches import DeviceBatches
from unbraid.training.experiment import Experiment
from unbraid.training.step import train_step

FIRST = 2
"""Steps that don't count: memory is taken and kernels are chosen in them."""
SECONDS = 2.0
"""Seconds of steps that are measured at either end of each stage, or MOST steps."""
MOST = 20
LAST = 0.999
"""Share of a stage that is its end."""
LONGEST = 5.0
"""Seconds of first steps after which these count too: no time is left for others."""


def seconds_a_step(experiment: Experiment) -> float:
    """Returns the mean time of a step over the stages of a method, by their shares of the run, and in each over its
    beginning and its end, where terms may have joined.

    The experiment's weights are changed: prepare another one to be trained.
    """
    config, method = experiment.config, experiment.method
    method.prepare()
    method.to(choose_precision(config.train).device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    method.train()
    stages = method.stages()
    total = sum(stage.share for stage in stages)
    return sum(
        stage.share / total * sum(_measured(experiment, stage, at) for at in (0.0, LAST)) / 2 for stage in stages
    )


def _measured(experiment: Experiment, stage: Stage, progress: float) -> float:
    config, method = experiment.config, experiment.method
    precision = choose_precision(config.train)
    batches = Batches(
        experiment.data.train, config.train.batch, config.train.seed, config.data.moves, 0, config.data.balanced
    )
    on_device, optimisers = DeviceBatches(batches, precision.device), method.optimisers(stage.name)
    first = began = time.monotonic()
    for step in range(FIRST + MOST):
        now = time.monotonic()
        if 0 < step <= FIRST and now - first > LONGEST:
            return (now - first) / step
        if step == FIRST:
            began = now
        elif step > FIRST and now - began > SECONDS:
            return (now - began) / (step - FIRST)
        train_step(
            method, optimisers, on_device, Clock(step, progress, stage.name), precision.autocast()
        )  # it waits for losses
    return (time.monotonic() - began) / MOST
