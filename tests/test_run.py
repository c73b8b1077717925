"""Large checkpoints, which are written beside training."""

import os
import time
from pathlib import Path

import pytest
import torch

import unbraid.run as module
from helpers import SMALL_LORD as SMALL
from helpers import labelled_random
from unbraid.config import RunConfig, TrainConfig
from unbraid.files import read_json, write_json
from unbraid.log import Log
from unbraid.methods.lord import LORD
from unbraid.run import BackgroundWriter, Run
from unbraid.train import fit
from unbraid.types import DataSpec, ImageSpec, UserError

SPEC = DataSpec(ImageSpec(32, 32), ImageSpec(32, 32), items=8, classes=(4,))


def test_what_is_written_is_what_was_there_at_that_moment(tmp_path: Path) -> None:
    values, writer = torch.zeros(1000), BackgroundWriter()

    def write() -> None:
        time.sleep(0.3)
        torch.save(values, tmp_path / "values.pt")

    writer.start(write)
    values += 1
    writer.wait()
    assert torch.load(tmp_path / "values.pt").sum() == 0


def test_one_file_at_a_time(tmp_path: Path) -> None:
    writer = BackgroundWriter()
    writer.start(lambda: time.sleep(0.3))
    writer.start(lambda: (tmp_path / "second").touch())
    writer.wait()
    assert not (tmp_path / "second").exists()
    writer.start(lambda: (tmp_path / "third").touch())
    writer.wait()
    assert (tmp_path / "third").exists()


def test_what_goes_wrong_beside_training_is_said() -> None:
    def write() -> None:
        raise UserError("the disk is full")

    writer = BackgroundWriter()
    writer.start(write)
    with pytest.raises(UserError, match="the disk is full"):
        writer.wait()
    writer.wait()


def test_a_run_whose_checkpoints_are_large_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(name: str) -> Run:
        train = TrainConfig(steps=8, batch=4, evaluate_every=3, precision="fp32", checkpoint_seconds=-1)
        run = Run.open(tmp_path / name, "lord", RunConfig(SMALL, train=train))
        torch.manual_seed(0)
        fit(run, LORD(SPEC, SMALL), labelled_random(SPEC), Log(run.path, quiet=True))
        return run

    first = trained("small").load_state()
    monkeypatch.setattr(module, "LARGE", 0)
    second = trained("large").load_state()
    assert first is not None
    assert second is not None
    for name, value in first["method"].items():
        assert torch.equal(value, second["method"][name])
    assert not [name for name in os.listdir(tmp_path / "large") if name.endswith(".tmp")]


def test_settings_newer_than_a_run_have_their_defaults(tmp_path: Path) -> None:
    config = RunConfig(SMALL, train=TrainConfig(steps=8))
    Run.open(tmp_path, "lord", config)
    old = read_json(tmp_path / "config.json")
    del old["config"]["data"]["styles_per_class"]
    write_json(tmp_path / "config.json", old)
    Run.open(tmp_path, "lord", config)
    with pytest.raises(UserError, match="--train"):
        Run.open(tmp_path, "lord", RunConfig(SMALL, train=TrainConfig(steps=9)))
