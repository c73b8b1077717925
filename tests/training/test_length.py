"""A run that goes on to another length than it had."""

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import unbraid
from helpers import SMALL_LORD, write_pairs, write_png
from unbraid.core.deadline import Deadline
from unbraid.core.files import read_json
from unbraid.core.types import UserError
from unbraid.methods.iiae import IIAEConfig
from unbraid.model.log import read_log
from unbraid.model.run import Run
from unbraid.training.experiment import Experiment

SMALL = IIAEConfig(widths=(8,), decoder_widths=(8,), map_size=4, shared=4)
TRAIN = unbraid.TrainConfig(steps=4, batch=4, evaluate_every=2, precision="fp32")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("folders"), 16)


@pytest.fixture(scope="module")
def finished(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    unbraid.train(config_of(folders), folder, quiet=True)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def config_of(folders: Path, method: IIAEConfig = SMALL, **train: Any) -> unbraid.RunConfig[IIAEConfig]:
    data = unbraid.DataConfig(a=folders / "photo", b=folders / "sketch")
    return unbraid.RunConfig(method, data, replace(TRAIN, **train))


def state_of(run: Path) -> dict[str, Any]:
    state = Run.existing(run).load_state()
    assert state is not None
    return state


def events(run: Path) -> list[str]:
    return [row["event"] for row in read_log(run / "log.jsonl") if "event" in row]


def test_a_finished_run_goes_on_to_a_greater_length_as_if_it_had_been_the_first(
    folders: Path, run: Path, tmp_path: Path
) -> None:
    unbraid.train(config_of(folders, steps=8), run, quiet=True)
    unbraid.train(config_of(folders, steps=8), tmp_path / "whole", quiet=True)
    one, other = state_of(run), state_of(tmp_path / "whole")
    assert one["position"]["step"] == 8
    assert all(torch.equal(value, other["method"][name]) for name, value in one["method"].items())
    assert "Another length: --train.steps 4 -> --train.steps 8; from step 4 on to step 8" in events(run)
    assert not any("Learning rates" in text for text in events(run))  # a constant schedule


def test_the_new_length_is_kept(folders: Path, run: Path) -> None:
    before = read_json(run / "config.json", dict[str, Any])
    unbraid.train(config_of(folders, steps=6), run, quiet=True)
    after = read_json(run / "config.json", dict[str, Any])
    assert after["config"]["train"].pop("steps") == 6
    assert before["config"]["train"].pop("steps") == 4
    assert before == after
    log = events(run)
    unbraid.train(config_of(folders, steps=6), run, quiet=True)
    assert sum("Another length" in text for text in log) == sum("Another length" in text for text in events(run)) == 1


def test_another_unit_is_another_length(folders: Path, run: Path) -> None:
    unbraid.train(config_of(folders, steps=None, epochs=2), run, quiet=True)
    assert state_of(run)["position"]["step"] > 4
    assert Run.existing(run).config.train.steps is None


@pytest.mark.parametrize("steps", [3, None])
def test_a_length_that_the_run_has_passed_is_refused(folders: Path, run: Path, steps: int | None) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    with pytest.raises(UserError, match=r"stands at step 4, .* it ends at .*Give more .* or train.steps 4"):
        unbraid.train(config_of(folders, steps=steps, minutes=None if steps else 1e-9), run, quiet=True)
    assert before == {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}


def test_other_settings_are_refused_as_ever_and_named_without_the_length(folders: Path, run: Path) -> None:
    with pytest.raises(UserError, match=r"other settings: train.batch: 4 -> 5\. Give"):
        unbraid.train(config_of(folders, steps=8, batch=5), run, quiet=True)
    assert Run.existing(run).config.train.steps == 4


def test_a_schedule_that_falls_is_stretched_and_said(folders: Path, tmp_path: Path) -> None:
    falling = replace(SMALL, decay=True)
    unbraid.train(config_of(folders, falling), tmp_path / "run", quiet=True)
    unbraid.train(config_of(folders, falling, steps=8), tmp_path / "run", quiet=True)
    assert any(
        "they go on at 50 % of their first values, where they stood at 0 %" in t for t in events(tmp_path / "run")
    )


def test_a_run_of_several_stages_goes_on_in_its_last(tmp_path: Path) -> None:
    for index in range(12):
        write_png(tmp_path / "classes" / str(index % 2) / f"{index}.png", index)
    data = unbraid.DataConfig(classes=tmp_path / "classes")
    config = unbraid.RunConfig(replace(SMALL_LORD, first_share=0.5), data, TRAIN)
    unbraid.train(config, tmp_path / "run", quiet=True)
    unbraid.train(replace(config, train=replace(TRAIN, steps=8)), tmp_path / "run", quiet=True)
    position = state_of(tmp_path / "run")["position"]
    assert (position["stage"], position["step"]) == (1, 4)
    assert any("from step 2 of stage 2 of 2 (encoders) on to step 4, that" in text for text in events(tmp_path / "run"))


def test_a_time_that_is_over_ends_a_run_that_later_goes_on_as_if_it_had_not(folders: Path, tmp_path: Path) -> None:
    run, falling, until = tmp_path / "run", config_of(folders, replace(SMALL, decay=True)), Deadline(0.0)
    Experiment.prepare(falling, run).train(quiet=True, until=until)
    assert until.ended == "step 1 of 4"
    assert events(run)[-1] == (
        "The time is over: ended at step 1 of 4; learning rates, which fall to 0 %, stand at 100 %"
    )
    assert (run / "model.safetensors").exists()
    assert Run.existing(run).config.train == TRAIN
    unbraid.train(falling, run, quiet=True)
    unbraid.train(falling, tmp_path / "whole", quiet=True)
    one, other = state_of(run), state_of(tmp_path / "whole")
    assert one["position"]["step"] == 4
    assert all(torch.equal(value, other["method"][name]) for name, value in one["method"].items())


def test_a_later_stage_has_its_share_of_the_time(tmp_path: Path) -> None:
    for index in range(12):
        write_png(tmp_path / "classes" / str(index % 2) / f"{index}.png", index)
    data, until = unbraid.DataConfig(classes=tmp_path / "classes"), Deadline(0.0)
    config = unbraid.RunConfig(replace(SMALL_LORD, first_share=0.5), data, TRAIN)
    Experiment.prepare(config, tmp_path / "run").train(quiet=True, until=until)
    position = state_of(tmp_path / "run")["position"]
    assert (position["stage"], position["step"]) == (1, 1)
    assert until.ended == "step 1 of 2 of stage 2 of 2 (encoders)"
    assert Deadline(60.0 + time.monotonic()).of_stage([0.25, 0.75]) - time.monotonic() == pytest.approx(15, abs=1)
