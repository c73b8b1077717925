"""Several ranks train what one process trains; what happens to one of them ends all, with words, and can be gone on
from."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import IMAGES, paired_data
from test_methods import CASES as METHOD_CASES
from unbraid.commands.cli import main
from unbraid.core.config import TrainConfig
from unbraid.core.ranks import Ranks, gather, on_whole_batch
from unbraid.core.types import UserError
from unbraid.data.batches import Batches
from unbraid.methods import METHODS
from unbraid.model.run import Run
from unbraid.training.loop import check_numbers

FOLDER = Path(__file__).parent / "ranks"
CASES = ("cyclegan", "cddn", "cddn-no-latent", "iiae-flat", "uncooperative", "iiae-gan", "lord", "lord-amortised")
CASES += ("xgan-together", "cut", "munit", "dtn", "pix2pix")
EXACT, FP32 = 1e-12, 1e-5
"""Largest difference of a weight from one process, relative where it is over 1: in float64, and of a run in float32."""


def run(program: str, *arguments: str, stdin: str = "") -> str:
    found = subprocess.run(
        [sys.executable, str(FOLDER / program), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    folder = tmp_path_factory.mktemp("steps")
    run("steps.py", str(folder), *CASES)
    return json.loads((folder / "apart.json").read_text())


def test_every_method_is_among_them() -> None:
    assert {METHOD_CASES[case].method for case in CASES} == set(METHODS)


@pytest.mark.parametrize("case", CASES)
def test_two_and_four_ranks_get_the_weights_of_one(case: str, apart: dict[str, dict[str, float]]) -> None:
    assert "4" in apart[case]
    assert max(apart[case].values()) < EXACT


MEASURED = {1: "measured by one", 2: "measured by two"}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Runs of 1, 2 and 4 ranks, some of which end before their time."""
    folder = tmp_path_factory.mktemp("runs")
    items = np.random.default_rng(0).random((2, 30, 16, 16, 3), np.float32)
    np.savez(folder / "data.npz", a=items[0], b=items[1])
    base = [
        "train",
        "iiae",
        "--data.arrays",
        str(folder / "data.npz"),
        "--method.widths",
        "8",
        "--method.decoder-widths",
        "8",
    ]
    base += ["--method.map-size", "4", "--method.shared", "4", "--train.steps", "8", "--data.augment", "shift"]
    base += ["--train.average", "0.9", "--train.checkpoint-seconds", "0", "--train.precision", "fp32"]
    scenarios = {
        "one": (1, "one", {}),
        "stopped": (2, "stopped", {1: (5, "SIGTERM")}),
        "went on after a stop": (1, "stopped", {}),
        "killed": (2, "killed", {1: (5, "SIGKILL")}),
        "went on after a kill": (4, "killed", {}),
        "nan": (2, "nan", {1: (5, "nan")}),
    }
    asked = [
        {"ranks": count, "arguments": [*base, "--run", str(folder / name)], "at": at}
        for count, name, at in scenarios.values()
    ]
    for count, name in MEASURED.items():
        paths = [str(folder / "one"), str(folder / name)]
        asked.append({"ranks": count, "arguments": ["evaluate", paths[1]], "copy": paths})
    lines = run("programs.py", stdin=json.dumps(asked)).splitlines()
    return folder, dict(zip([*scenarios, *MEASURED.values()], map(json.loads, lines), strict=True))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state = Run.existing(folder).load_state()
    assert state is not None
    assert state["position"]["step"] == 8
    return {**state["method"], **{f"average {name}": value for name, value in state["average"]["mean"].items()}}


@pytest.mark.parametrize("name", ["stopped", "killed"])
def test_a_run_that_was_ended_goes_on_with_another_number_of_ranks(
    name: str, played: tuple[Path, dict[str, Any]]
) -> None:
    folder, outcome = played
    assert outcome[f"went on after a {name[:4]}"]["statuses"] == [0] * (1 if name == "stopped" else 4)
    one, other = weights(folder / "one"), weights(folder / name)
    for key, value in one.items():
        torch.testing.assert_close(other[key], value, rtol=FP32, atol=FP32)
    assert {path.name for path in (folder / "one").iterdir()} == {path.name for path in (folder / name).iterdir()}


def test_a_signal_to_one_rank_saves_and_stops_all(played: tuple[Path, dict[str, Any]]) -> None:
    outcome = played[1]["stopped"]
    assert outcome["statuses"] == [130] * 2
    assert "stopped at step 6; saved. The same command goes on" in outcome["said"][0]
    assert outcome["said"][1] == "unbraid (rank 1): stopped\n"


def test_a_rank_that_is_gone_ends_all_with_words(played: tuple[Path, dict[str, Any]]) -> None:
    outcome = played[1]["killed"]
    assert outcome["statuses"] == [2, -9]
    assert "unbraid (rank 0): error: Another rank ended or can't be reached" in outcome["said"][0]
    assert "Traceback" not in outcome["said"][0]


def test_a_loss_that_is_not_finite_on_one_rank_is_named_by_all(played: tuple[Path, dict[str, Any]]) -> None:
    outcome = played[1]["nan"]
    assert outcome["statuses"] == [2, 2]
    assert all("Step 5: the loss is no longer finite (reconstruction_a = nan" in said for said in outcome["said"])


def test_a_batch_that_ranks_can_not_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match=r"--train.batch 8 .* give a multiple of 3, such as 6"):
        check_numbers(TrainConfig(batch=8))


def test_two_ranks_measure_what_one_measures(played: tuple[Path, dict[str, Any]]) -> None:
    folder, outcome = played
    assert [outcome[name]["statuses"] for name in MEASURED.values()] == [[0], [0, 0]]
    one, two = (folder / name for name in MEASURED.values())
    metrics = json.loads((one / "metrics.json").read_text())
    assert len(metrics) > 5
    assert json.loads((two / "metrics.json").read_text()) == metrics
    assert list(json.loads((two / "metrics.json").read_text())) == list(metrics)
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
    (alone,), (first, second) = (outcome[name]["said"] for name in MEASURED.values())
    assert first == alone.replace(str(one), str(two))
    assert second == ""


def test_other_commands_are_done_by_the_first_rank(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, said in (("1", ""), ("0", "unbraid (rank 0): error: There is no run folder")):
        monkeypatch.setenv("RANK", rank)
        assert main(["cheat", "no-such-run"]) == (2 if said else 0)
        assert capsys.readouterr().err.startswith(said)


def test_shares_make_up_the_batch() -> None:
    part = paired_data(IMAGES).train
    whole = next(Batches(part, 4, 0, ("shift",)))
    shares = [next(Batches(part, 4, 0, ("shift",), share=Ranks(rank, 2).share(4))) for rank in range(2)]
    assert torch.equal(torch.cat([share.a for share in shares]), whole.a)
    assert torch.equal(torch.cat([share.index for share in shares]), whole.index)


def test_the_smallest_batch_has_an_item_for_each_rank() -> None:
    with pytest.raises(UserError, match="such as 4"):
        Ranks(0, 4).share(2)


def test_nothing_is_gathered_in_one_process() -> None:
    x = torch.rand(3)
    assert gather(x) is x
    assert torch.equal(on_whole_batch(torch.neg, x), -x)
