"""A run killed at any moment, while a checkpoint is being written among them, goes on as if it had never stopped."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from unbraid.core.types import UserError
from unbraid.model.run import Run

COMMAND = [
    *("train", "iiae", "--data.set", "digits", "--data.size", "16", "16", "--method.widths", "8"),
    *("--method.decoder-widths", "8", "--method.map-size", "4", "--method.shared", "4", "--method.anneal", "10"),
    *("--train.batch", "8", "--train.steps", "120", "--train.evaluate-every", "40", "--train.checkpoint-seconds", "0"),
    *("--train.average", "0.9", "--data.augment", "shift", "--train.precision", "fp32"),
]
"""A checkpoint after each step, so that most kills hit one being written."""


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "unbraid", *COMMAND, "--run", str(folder), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(folder: Path) -> None:
    process = start(folder)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def state_of(folder: Path) -> tuple[dict[str, torch.Tensor], object]:
    state = Run.existing(folder).load_state()
    assert state is not None
    position = {key: value for key, value in state["position"].items() if key != "seconds"}
    flat = {f"method {name}": value for name, value in state["method"].items()}
    flat |= {f"average {name}": value for name, value in state["average"]["mean"].items()}
    for number, slots in state["optimisers"]["model"]["state"].items():
        flat |= {f"adam {number} {name}": value for name, value in slots.items()}
    return flat, position


def test_sigkill_at_arbitrary_moments_changes_nothing(tmp_path: Path) -> None:
    finish(tmp_path / "whole")
    moments = random.Random(0)
    kills = 0
    broken = tmp_path / "broken"
    for _ in range(4):
        process = start(broken)
        deadline = time.monotonic() + 60
        log = broken / "log.jsonl"
        size = log.stat().st_size if log.exists() else 0
        while (
            (not log.exists() or log.stat().st_size == size) and process.poll() is None and time.monotonic() < deadline
        ):
            time.sleep(0.01)  # imports take seconds; the moments that matter come after them
        time.sleep(moments.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    finish(broken)
    assert kills >= 3
    (tensors, position), (again, position_again) = state_of(tmp_path / "whole"), state_of(broken)
    assert position == position_again
    assert tensors.keys() == again.keys()
    assert all(torch.equal(tensors[name], again[name]) for name in tensors)
    assert (tmp_path / "whole" / "model.safetensors").read_bytes() == (broken / "model.safetensors").read_bytes()


def test_ctrl_c_saves_says_how_to_go_on_and_leaves_with_130(tmp_path: Path) -> None:
    process = start(tmp_path / "run", "--train.steps", "100000")
    while not (tmp_path / "run" / "state.pt").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "saved. The same command goes on" in errors
    assert "Traceback" not in errors
    assert Run.existing(tmp_path / "run").load_state() is not None


def test_a_changed_config_is_refused_and_the_keys_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder, "--train.steps", "2")
    process.communicate(timeout=120)
    assert process.returncode == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    process = start(folder, "--train.steps", "3", "--method.beta", "0.5")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "--method.beta: 0.02 -> 0.5" in errors
    assert "--train.steps" not in errors  # which may be another one
    assert len(errors.strip().splitlines()) == 1
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_damaged_checkpoint_is_said_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder, "--train.steps", "2")
    process.communicate(timeout=120)
    state = folder / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    process = start(folder, "--train.steps", "2")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "state.pt is damaged" in errors
    assert state.stat().st_size == 1000
    with pytest.raises(UserError, match="is damaged"):
        Run.existing(folder).load_state()
