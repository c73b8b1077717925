"""`unbraid start`: what it chooses and says, and that the same command goes on."""

import json
import re
import shlex
from pathlib import Path

import pytest

from helpers import write_pairs, write_png
from unbraid.commands.cli import main
from unbraid.commands.plan import PATIENCE, about_length, with_steps
from unbraid.core.config import TrainConfig

README = Path(__file__).parent.parent / "README.md"
TINY = [
    *("--method.widths", "8", "--method.decoder-widths", "8", "--method.map-size", "4", "--method.shared", "4"),
    *("--method.perceptual-weight", "0", "--train.batch", "4", "--data.size", "16", "16"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 pairs by name, class folders, and 12 images whose names agree with none."""
    root = write_pairs(tmp_path_factory.mktemp("folders"))
    (root / "photo").rename(root / "photos")
    (root / "sketch").rename(root / "sketches")
    for i in range(12):
        write_png(root / "other" / f"x{i}.png", 200 + i)
        write_png(root / "classes" / "xy"[i % 2] / f"{i}.png", 300 + i, (32, 32))
    return root


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that take a tenth of a second, without being made."""
    monkeypatch.setattr("unbraid.commands.plan.seconds_a_step", lambda experiment: 0.1)


def test_images_are_smaller_where_few_steps_would_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        write_png(tmp_path / "a" / f"{number}.png", number, (64, 64))
        write_png(tmp_path / "b" / f"{number}.png", 100 + number, (64, 64))
    monkeypatch.setattr("unbraid.commands.plan.seconds_a_step", lambda experiment: experiment.config.data.size[0] / 320)
    output = said(capsys, str(tmp_path / "a"), str(tmp_path / "b"), "--minutes", "2", "--dry-run")
    assert re.search(r"At 64 px only 3\d\d steps would fit, so images are smaller", output)
    assert "brought to 32 x 32 px" in output
    assert re.search(r"A step takes 0.1 s here: 7\d0 steps, about 1 minutes", output)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["start", *arguments]) == 0
    return capsys.readouterr().out


def test_pairs_are_found_measured_and_reported_and_the_same_command_goes_on(
    folders: Path,
    tmp_path: Path,
    blind: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = next(line for line in README.read_text().splitlines() if line.startswith("unbraid start "))
    monkeypatch.chdir(folders)
    run, length = tmp_path / "run", ["--train.steps", "2", "--train.evaluate-every", "1"]
    asked = [*line.split()[2:], "--run", str(run), *TINY, *length]
    output = said(capsys, *asked)
    for words in (
        "photos: 30 images",
        "30 pairs, by equal names",
        "Method: iiae, which",
        "21 train, 3 choose",
        "6 are kept",
    ):
        assert words in output
    assert "As long as asked: --train.steps 2" in output
    assert "photos → sketches: translations are" in output
    config = json.loads((run / "config.json").read_text())["config"]
    assert (config["data"]["size"], config["data"]["augment"], config["data"]["test"]) == (
        [16, 16],
        ["flip", "shift"],
        0.2,
    )
    assert (run / "metrics.json").exists()
    (run / "report.html").unlink()
    asked = ["photos", "sketches", "--run", str(run)]
    again = said(capsys, *asked)
    assert "There is a run of iiae: it goes on to its end, --train.steps 2" in again
    assert (run / "report.html").exists()
    assert main(["start", "photos", "other", "--run", str(run)]) == 2
    assert "is a run of other folders" in capsys.readouterr().err
    assert main(["start", *asked, "--method", "cddn"]) == 2
    assert "Give another --run for cddn" in capsys.readouterr().err


def test_a_dry_run_says_all_and_writes_nothing(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    output = said(capsys, str(folders / "photos"), str(folders / "sketches"), "--minutes", "5", "--dry-run", *TINY)
    assert "A step takes" in output
    assert f"Folder of the run: {Path('runs', 'photos-sketches')}" in output
    assert not list(tmp_path.iterdir())


def test_without_pairs_and_with_classes_other_methods_are_taken(
    folders: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, sketch, other = (str(folders / name) for name in ("photos", "sketches", "other"))
    output = said(capsys, photo, other, "--dry-run")
    assert "No pairs" in output
    assert "Method: cyclegan" in output
    output = said(capsys, photo, sketch, "--data.unpaired", "--dry-run")
    assert "Method: cyclegan" in output
    assert "hidden from training" in output
    output = said(capsys, str(folders / "classes"), "--dry-run", "--minutes", "10")
    assert "2 classes of 6 images, 12 in all" in output
    assert "Method: lord" in output
    assert "4,000 steps, about 7 minutes" in output
    behind_flags = said(capsys, "--train.steps", "3", photo, other, "--method", "xgan", "--dry-run")
    assert "Method: xgan\n" in behind_flags
    assert "As long as asked: --train.steps 3\n" in behind_flags
    assert "Method: xgan\n" in said(capsys, photo, other, "--method", "xgan", "--train.steps", "3", "--dry-run")


def test_steps_fit_the_time() -> None:
    train = with_steps(TrainConfig(), 1500, 0.1, patient=True)
    assert (train.steps, train.evaluate_every, train.patience) == (12_000, 1000, PATIENCE)
    assert with_steps(TrainConfig(evaluate_every=7, patience=2), 1500, 0.1, patient=False).evaluate_every == 7
    assert with_steps(TrainConfig(), 500, 0.1, patient=True).patience is None
    short = with_steps(TrainConfig(), 60, 5.0, patient=False)
    assert short.evaluate_every == 34  # three measurements, for each takes time
    assert "about 12 fit the time, and fewer than 100 make little sense" in about_length(short, 60, 5.0)


def test_it_ends_when_the_time_is_over_and_the_same_command_goes_on(
    folders: Path, tmp_path: Path, quick: None, blind: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "a run"
    asked = [str(folders / "photos"), str(folders / "sketches"), "--minutes", "0.001", "--run", str(run), *TINY]
    output = said(capsys, *asked)
    assert "Ended at step 1 of 100, for the time is over" in output
    assert f"The same command goes on, as long again:\n  unbraid start {shlex.join(asked)}" in output
    assert "the time was over" in json.loads((run / "metrics.json").read_text())["not_measured"]["leakage"]
    report = (run / "report.html").read_text()
    assert "trained for 1 of 100 steps" in report
    assert "leakage: the time was over" in report
    assert "--train.steps 100" in report
    assert json.loads((run / "config.json").read_text())["config"]["train"]["minutes"] is None
    again = said(capsys, *asked)
    assert "it goes on to its end, --train.steps 100" in again
    assert "Ended at step 2 of 100" in again


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Which folders?"),
        (["photos", "--minutes", "0"], "must be more than 0"),
        (["photos", "--minutes", "3", "sketches", "--size", "0"], "--size 0: it is a number of pixels"),
        (["photos", "--minutes", "3", "sketches", "--run", "photos/run"], "its pictures would be taken for data"),
        (["photos", "sketches", "--run", "classes"], "classes exists and is not a run"),
        (["photos"], "photos holds images of one kind, 30: what is the other?"),
        (["photos", "--minutes", "inf"], "must be more than 0 and finite"),
        (["photos", "photos"], "are the same folder"),
        (["photos", "sketches", "--method", "nothing"], "There is no method 'nothing'"),
    ],
)
def test_mistakes_are_one_line(
    folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(folders)
    assert main(["start", *arguments]) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert "Traceback" not in errors
