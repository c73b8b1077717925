"""A run that starts from another run's weights."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import unbraid
from helpers import write_pairs
from unbraid.commands.cli import main
from unbraid.core.types import UserError
from unbraid.methods.cyclegan import CycleGAN, CycleGANConfig
from unbraid.methods.iiae import IIAEConfig
from unbraid.model.log import read_log
from unbraid.model.run import Run, load_model
from unbraid.training.experiment import Experiment
from unbraid.training.initial import start_from

SMALL = IIAEConfig(widths=(8,), decoder_widths=(8,), map_size=4, shared=4)
TRAIN = unbraid.TrainConfig(steps=2, batch=4, evaluate_every=2, precision="fp32")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("folders"), 16)


@pytest.fixture(scope="module")
def other(folders: Path) -> Path:
    unbraid.train(config_of(folders), folders / "other", quiet=True)
    return folders / "other"


def config_of(folders: Path, method: Any = SMALL, **train: Any) -> unbraid.RunConfig[Any]:
    data = unbraid.DataConfig(a=folders / "photo", b=folders / "sketch")
    return unbraid.RunConfig(method, data, replace(TRAIN, **train))


def events(run: Path) -> str:
    return "\n".join(row["event"] for row in read_log(run / "log.jsonl") if "event" in row)


def test_a_run_starts_from_anothers_weights_and_needs_them_no_longer(
    folders: Path, other: Path, tmp_path: Path
) -> None:
    init, run = Path(shutil.copytree(other, tmp_path / "init")), tmp_path / "run"
    experiment = Experiment.prepare(config_of(folders, init=init, seed=1), run)
    experiment.start_from(init)
    best = load_model(init)[0].state_dict()
    assert all(torch.equal(experiment.method.state_dict()[name], value) for name, value in best.items())
    experiment.train(quiet=True)
    assert f"Starts from {init}, step 2" in events(run)
    assert Run.existing(run).config.train.init == init
    shutil.rmtree(init)
    assert unbraid.train(config_of(folders, init=init, seed=1, steps=3), run, quiet=True).step == 3
    assert unbraid.train(config_of(folders, seed=1, steps=4), run, quiet=True).step == 4  # nor to be named again
    with pytest.raises(UserError, match=r"init: .*init.* -> .*other"):
        unbraid.train(config_of(folders, init=other, seed=1, steps=4), run, quiet=True)


def test_what_does_not_fit_is_named_and_left(folders: Path, other: Path, tmp_path: Path) -> None:
    wider = replace(SMALL, exclusive=SMALL.exclusive + 1)
    unbraid.train(config_of(folders, wider, init=other), tmp_path / "run", quiet=True)
    said = events(tmp_path / "run")
    assert "Left as they start: " in said
    assert "exclusive.2.bias 18 (16 there)" in said


def test_a_run_that_never_began_is_not_another_ones(folders: Path, other: Path, tmp_path: Path) -> None:
    """Stopped before its first checkpoint, it begins with the weights again."""
    run = tmp_path / "run"
    Run.open(run, "iiae", config_of(folders, init=other))
    unbraid.train(config_of(folders), run, quiet=True)
    assert "Starts from" in events(run)


def test_weights_of_another_method_are_refused_and_nothing_is_written(
    folders: Path, other: Path, tmp_path: Path
) -> None:
    config = config_of(folders, CycleGANConfig(width=8, blocks=1, discriminator_width=8), init=other)
    with pytest.raises(UserError, match="is a model of iiae; cyclegan can start from one of cyclegan only"):
        unbraid.train(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_discriminators_start_from_those_of_the_last_checkpoint(folders: Path, tmp_path: Path) -> None:
    config = config_of(folders, CycleGANConfig(width=8, blocks=1, discriminator_width=8), steps=1)
    config = replace(config, data=replace(config.data, unpaired=True))
    unbraid.train(config, tmp_path / "first", quiet=True)
    method = Experiment.prepare(replace(config, train=replace(config.train, seed=1))).method
    assert isinstance(method, CycleGAN)
    start_from(tmp_path / "first", "cyclegan", method)
    state = Run.existing(tmp_path / "first").load_state()
    assert state is not None
    names = [name for name in state["method"] if name.startswith("discriminators")]
    assert names
    assert all(torch.equal(method.state_dict()[name], state["method"][name]) for name in names)


def test_the_flag_is_init(folders: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data.a", str(folders / "photo"), "--data.b", str(folders / "sketch"), "--init", str(tmp_path / "none")]
    assert main(["train", "iiae", *data, "--train.steps", "1", "--run", str(tmp_path / "run")]) == 2
    assert f"There is no run folder {tmp_path / 'none'}" in capsys.readouterr().err
