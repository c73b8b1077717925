"""Runs `unbraid` on several ranks, as torchrun starts it, and prints what became of each rank.

A program of its own: it imports once and forks the ranks. Reads scenarios as JSON from standard input: [{"ranks": 2,
"arguments": ["train", ...], "at": {"1": [5, "SIGKILL"]}, "copy": ["run", "copy"]}, ...], where "at" says what happens
to a rank before one of its steps: a signal, or "nan" for a batch of no numbers; "copy" is a folder to copy first.
"""

import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # which optimisers import

import unbraid.commands.measure
import unbraid.commands.train
import unbraid.evaluation.evaluate
from unbraid.commands.cli import main
from unbraid.core.method import Clock
from unbraid.evaluation.networks import NO_NETWORKS, PerceptualNetworks
from unbraid.training import experiment, loop

assert experiment, unbraid.commands.train  # imported once
PerceptualNetworks.find = lambda config, inception=None, named=None: NO_NETWORKS  # which take seconds


def happen(step: int, event: str) -> None:
    """Lets something happen to this rank before a step."""
    before = loop.Session.step

    def changed(self: loop.Session, batches: Iterator[Any], clock: Clock, *rest: Any) -> Any:
        if clock.step == step and event == "nan":
            batch = next(batches)
            values = {each.name: getattr(batch, each.name) for each in fields(batch)}
            bad = {name: x * torch.nan for name, x in values.items() if x.is_floating_point()}
            batches = iter([replace(batch, **bad)])
        elif clock.step == step:
            os.kill(os.getpid(), signal.Signals[event])
        return before(self, batches, clock, *rest)

    loop.Session.step = changed  # pyright: ignore[reportAttributeAccessIssue]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def rank(number: int, port: int, scenario: dict[str, Any], output: Path) -> None:
    """One rank, from its start to its end."""
    for stream in (1, 2):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.environ |= {
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(scenario["ranks"]),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    if event := scenario.get("at", {}).get(str(number)):
        happen(*event)
    status = 1
    try:
        status = main(scenario["arguments"])
    except BaseException:  # a rank must not go on as the program that started it
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def play(scenario: dict[str, Any], folder: Path) -> dict[str, list[Any]]:
    """Runs all ranks; returns their exit statuses and what they said."""
    if "copy" in scenario:
        shutil.copytree(*scenario["copy"])
    port, outputs = free_port(), [folder / str(number) for number in range(scenario["ranks"])]
    children = []
    for number, output in enumerate(outputs):
        if (child := os.fork()) == 0:
            rank(number, port, scenario, output)
        children.append(child)
    signal.alarm(100)  # nobody hangs
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    signal.alarm(0)
    return {"statuses": statuses, "said": [output.read_text() for output in outputs]}


if __name__ == "__main__":
    for scenario in json.loads(sys.stdin.read()):
        with tempfile.TemporaryDirectory() as place:
            print(json.dumps(play(scenario, Path(place))), flush=True)
