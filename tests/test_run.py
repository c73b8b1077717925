"""Large checkpoints, which are written beside training."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import unbraid.run as module
from helpers import IMAGES, labelled_random, paired_data
from helpers import SMALL_LORD as SMALL
from unbraid.config import RunConfig, TrainConfig
from unbraid.files import read_json, write_json
from unbraid.log import Log
from unbraid.methods.iiae import IIAE, IIAEConfig
from unbraid.methods.lord import LORD
from unbraid.run import BackgroundWriter, Run, load_model
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


IIAE_CONFIG = RunConfig(
    IIAEConfig(widths=(8,), decoder_widths=(8,), map_size=4, shared=4), train=TrainConfig(steps=2, batch=4)
)


def test_a_configuration_of_an_earlier_version_is_read_as_what_it_meant(tmp_path: Path) -> None:
    run = Run.open(tmp_path, "iiae", IIAE_CONFIG)
    model = IIAE(IMAGES, IIAE_CONFIG.method)
    run.save_model(model, None, 2)
    rewrite_config(tmp_path, dropout=0.4, vector_widths=[64, 16])
    for config in (Run.existing(tmp_path).config.method, load_model(tmp_path)[0].config):
        assert config.dropout == (0, 0.4)
        assert config.vector_decoder_width == 16


def test_networks_of_another_version_are_said(tmp_path: Path) -> None:
    """Both where the model is loaded and where the run would go on."""
    run = Run.open(tmp_path, "iiae", IIAE_CONFIG)
    torch.manual_seed(0)
    fit(run, IIAE(IMAGES, IIAE_CONFIG.method), paired_data(IMAGES), Log(run.path, quiet=True))
    rewrite_config(tmp_path, shared=5)
    with pytest.raises(UserError, match=r"model\.safetensors doesn't fit this version of unbraid: .*Train anew"):
        load_model(tmp_path)
    run = Run.existing(tmp_path)
    with pytest.raises(UserError, match=r"state\.pt doesn't fit this version of unbraid: .*the first is a\.ups"):
        fit(run, IIAE(IMAGES, run.config.method), paired_data(IMAGES), Log(run.path, quiet=True))


def rewrite_config(folder: Path, **method: Any) -> None:
    """Another configuration of the method, in the run's file and in its model's metadata."""
    about = read_json(folder / "config.json")
    about["config"]["method"] |= method
    write_json(folder / "config.json", about)
    with safe_open(folder / "model.safetensors", "pt") as opened:
        meta = json.loads(opened.metadata()["unbraid"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    meta["config"] |= method
    save_file(tensors, folder / "model.safetensors", {"unbraid": json.dumps(meta)})
