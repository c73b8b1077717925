"""How long a training step of each recipe takes, for `unbraid recipes` to say how long a run takes.

    python benchmarks/recipe_seconds.py --root DATA [--threads N] [RECIPE ...]

Plays some steps of each recipe on its own data: reading and augmenting them counts, measuring and
saving come on top. With one thread it counts the process's own seconds, so that other work disturbs little; with more,
which wait for each other, those of the clock, and nothing else should run. The median step counts.
Writes src/unbraid/recipes/seconds.json, an entry for each recipe measured; the others stay as they were, unless they
were measured with another number of threads.
"""

import argparse
import dataclasses
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from machine import facts
from unbraid.core.config import RunConfig
from unbraid.core.device import choose_precision
from unbraid.core.files import write_json
from unbraid.core.memory import keep_freed_memory
from unbraid.core.method import Clock, Method
from unbraid.data.batches import Batches
from unbraid.data.features import with_head
from unbraid.data.loading import load, needs
from unbraid.data.styles import wanted_styles
from unbraid.methods import METHODS, method_name
from unbraid.recipes import RECIPES
from unbraid.recipes.figures import SECONDS, read_seconds
from unbraid.training.average import Average
from unbraid.training.batches import DeviceBatches
from unbraid.training.loop import train_step

SHORTEST, FEWEST, WARM = 5.0, 3, 1
"""Seconds and steps that are timed at least, and steps before them."""


def prepared(name: str, config: RunConfig[Any], root: Path) -> tuple[Method[Any], Batches[Any]]:
    """The method and its batches, as a run has them at its start; a tuned head that learned nothing."""
    data_config = dataclasses.replace(config.data, root=root)
    data, _ = with_head(load(data_config), data_config, None, dry=True)
    kind: type[Method[Any]] = METHODS[name]
    styles = wanted_styles(data_config, getattr(config.method, "perceptual", None))
    data = needs(data, kind.needs, name, data_config.balanced, styles)
    torch.manual_seed(config.train.seed)
    method = kind(data.spec, kind.resolve_config(config.method, data.train)[0])
    method.prepare()
    method.to(memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]
    train = config.train
    return method, Batches(data.train, train.batch, train.seed, data_config.moves, 0, data_config.balanced)


def seconds(name: str, config: RunConfig[Any], root: Path, threads: int) -> float:
    """Seconds of a step, the mean over the method's stages by their shares of a run."""
    method, batches = prepared(name, config, root)
    precision, average = choose_precision(config.train), Average(method, config.train.average, None)
    moved = DeviceBatches(batches, precision.device)
    now = time.process_time if threads == 1 else time.perf_counter
    total = 0.0
    for stage in method.stages():
        optimisers = method.optimisers(stage.name)
        times: list[float] = []
        while len(times) < WARM + FEWEST or sum(times[WARM:]) < SHORTEST:
            began = now()
            losses = train_step(method, optimisers, moved, Clock(len(times), 0.1, stage.name), precision.autocast())
            average.update()
            torch.stack([loss.float() for loss in losses.values()]).tolist()
            times.append(now() - began)
        total += stage.share * median(times[WARM:])
    return total


def main() -> None:
    """Measures the recipes named, or all of them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("recipes", nargs="*", default=list(RECIPES))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    for name in arguments.recipes:
        config = RECIPES[name].config
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, device="cpu"))
        step = seconds(method_name(config.method), config, arguments.root, arguments.threads)
        known, machine = read_seconds(), facts()
        before = known["cpu"] if known["cpu"]["machine"].get("threads") == machine["threads"] else {"seconds": {}}
        measured = {**before["seconds"], name: float(f"{step:.3g}")}
        ordered = {key: measured[key] for key in RECIPES if key in measured}
        write_json(SECONDS, {**known, "cpu": {"machine": machine, "seconds": ordered}})
        print(f"{name:40} {step:8.4f} s", flush=True)


if __name__ == "__main__":
    main()
