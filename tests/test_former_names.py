"""Runs and flags of a version whose settings, networks, players and losses had other names go on working.

former-runs.tar.xz holds runs that were stopped at step 5 of 10 by that version, and sums of what it came to at step 10.
"""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from unbraid.commands.cli import main
from unbraid.core.method import present_names
from unbraid.methods import METHODS
from unbraid.model.run import Run, load_model

TRAIN = "--train.steps 10 --train.batch 4 --train.evaluate-every 5 --train.device cpu --train.precision fp32"
FLAGS = {
    "cddn": "--method.vector-widths 4 4 --method.critic-widths 4 --method.latent-critic-widths 4 --method.shared 2 "
    "--method.exclusive 2 --method.separate-optimisers --method.no-reversal --method.autoencoder none "
    "--method.latent 0 --method.spread 1 --method.autoencoding=50 --method.alike 20",
    "cyclegan": "--data.unpaired --method.hidden 4 --method.history 6 --method.again 5 "
    "--method.discriminator-norm spectral --method.identity 0.5",
    "uncooperative": "--data.unpaired --method.hidden 4 --method.history 2 --method.bank 4 --method.rich a "
    "--method.again_poor 5 --method.r1 1 --method.discriminator-norm none --method.adversary-rate 1e-3",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("former")
    random = np.random.default_rng(0)
    np.savez(folder / "vectors.npz", a=random.random((20, 3), np.float32), b=random.random((20, 3), np.float32))
    with tarfile.open(Path(__file__).parent / "former-runs.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "old"


@pytest.mark.parametrize("name", ["cddn", "cyclegan", "iiae", "uncooperative", "uncooperative-images"])
def test_a_model_with_former_names_is_loaded(runs: Path, name: str) -> None:
    method, _, saved = load_model(runs / name)
    former = {*saved.config} & {*method.renamed}
    assert former
    assert {method.renamed[key] for key in former} <= {*vars(method.config)}


@pytest.mark.parametrize("name", [*FLAGS])
def test_a_run_with_former_names_goes_on_as_it_would_have(runs: Path, name: str) -> None:
    path, data = runs / name, ["--data.arrays", str(runs.parent / "vectors.npz")]
    average = ["--train.average", "0.5"]
    command = ["train", name, "--run", str(path), *data, *FLAGS[name].split(), *TRAIN.split(), *average]
    alike = {**os.environ, "MKL_CBWR": "COMPATIBLE"}  # matrix products round alike on every processor, and take longer
    done = subprocess.run([sys.executable, "-m", "unbraid", *command], env=alike, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "going on at step 5" in done.stderr
    state = Run.existing(path).load_state()
    assert state is not None
    found = {
        "method": {key: float(value.double().sum()) for key, value in state["method"].items()},
        "average": {key: float(value.double().sum()) for key, value in state["average"]["mean"].items()},
        "sums": state["position"]["sums"],
        "optimisers": {
            player: float(sum(slots["exp_avg"].double().sum() for slots in saved["state"].values()))
            for player, saved in state["optimisers"].items()
        },
    }
    ends = json.loads((path / "ends.json").read_text())
    assert {*found} == {*ends}
    for kind, values in ends.items():
        expected = present_names(values, METHODS[name].renamed)
        assert kind == "average" or expected.keys() != values.keys()
        assert found[kind] == pytest.approx(expected, rel=1e-3, abs=1e-5), kind


def test_former_flags_are_replaced_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--data.set", "digits", "--dry-run", "--train.steps", "1"]
    assert main(["train", "cddn", *flags, "--method.no-latent-critic", "--method.alike=3", "--method.rate", "1"]) == 0
    printed = capsys.readouterr()
    assert printed.err.splitlines()[:2] == [
        "--method.no-latent-critic is now --method.no-latent-discriminator; the former name will be removed",
        "--method.alike is now --method.shared-alignment; the former name will be removed",
    ]
    assert '"shared_alignment": 3' in printed.out
    assert '"latent_discriminator": false' in printed.out


@pytest.mark.parametrize("name", [*METHODS])
def test_former_names_are_no_settings_any_more(name: str) -> None:
    settings = {*METHODS[name].config_type.__dataclass_fields__}
    assert not settings & {*METHODS[name].renamed}
