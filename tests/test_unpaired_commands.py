"""Commands on methods that need no pairs or make no codes, and on one whose poor domain has no exclusive code."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import write_pairs, write_png
from unbraid.commands.cli import main
from unbraid.evaluation import validation
from unbraid.evaluation.measure import ValidationFigures
from unbraid.evaluation.measures.unpaired import SCORE, UnpairedScore
from unbraid.evaluation.networks import NO_NETWORKS

LENGTH = ["--train.batch", "4", "--train.steps", "6", "--train.evaluate-every", "3"]
SMALL = {
    "cyclegan": ["--method.width", "4", "--method.blocks", "1", "--method.discriminator-width", "4"],
    "uncooperative": ["--method.width", "4", "--method.blocks", "2", "--method.discriminator-width", "4"],
    "cut": ["--method.width", "4", "--method.blocks", "1", "--method.discriminator-width", "4"],
    "pix2pix": ["--method.width", "4", "--method.discriminator-width", "4"],
    "xgan": ["--method.embedding", "8", "--method.dense", "8", "--method.decoder-widths", "8", "8", "8", "8"],
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 pairs by name, and 13 more photos."""
    root = write_pairs(tmp_path_factory.mktemp("folders"))
    for i in range(30):
        write_png(root / "more" / f"{i:02d}.png", i)
    for i in range(13):
        write_png(root / "more" / f"x{i:02d}.png", 200 + i)
    return root


@pytest.fixture(scope="module", params=["paired", "unpaired"])
def pairs(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=["cyclegan", "uncooperative"])
def run(
    request: pytest.FixtureRequest, folders: Path, pairs: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A finished run of either method, on pairs hidden from training or on folders of unequal numbers."""
    path = tmp_path_factory.mktemp("runs") / "run"
    a = "photo" if pairs == "paired" else "more"
    sides = ["--data.a", str(folders / a), "--data.b", str(folders / "sketch")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNBRAID_CACHE", str(path.parent / "cache"))
        more = ["--data.unpaired"] if pairs == "unpaired" else []
        assert main(["train", request.param, *sides, *more, "--run", str(path), *SMALL[request.param], *LENGTH]) == 0
        assert main(["evaluate", str(path), "--limit", "8"]) == 0
    return path, request.param


def test_a_run_is_complete(run: tuple[Path, str], pairs: str) -> None:
    path, method = run
    metrics = json.loads((path / "metrics.json").read_text())
    codes, known = method == "uncooperative", pairs == "paired"
    assert ("recall" in metrics) == (codes and known)
    if "recall" in metrics:
        assert metrics["recall"].keys() == {"shared", "pixels"}  # exclusive codes of the domains are not alike
    assert metrics["translation"].keys() == {"a->b", "b->a"}
    for figures in metrics["translation"].values():
        assert ("sample" in figures) == known
        assert ("guided" in figures) == (known and codes)
    assert metrics["cheat"].keys() == {"a->b", "b->a"}
    assert ("hidden_pair" in metrics) == known
    if known:
        assert all(0 <= metrics["hidden_pair"][way]["recall"] <= 100 for way in ("a->b", "b->a"))
    assert ("mismatched" in metrics["cheat"]["a->b"]["decoding"]) == codes
    a = "photo" if known else "more"
    expected = {f"{what}-{way}.png" for what in ("translate", "cheat") for way in (f"{a}-to-sketch", f"sketch-to-{a}")}
    if codes:  # domain a alone has something of its own
        strips = [f"interpolate-{part}-{a}" for part in ("shared", "exclusive")]
        expected |= {f"analogy-{a}.png", *(f"{strip}{ending}" for strip in strips for ending in (".png", ".gif"))}
    assert {file.name for file in (path / "pictures").iterdir()} == expected
    for sample in (path / "samples").iterdir():
        with Image.open(sample) as picture:
            assert picture.width > 100
    rows = [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
    recalls = {"a->b", "b->a"} if codes and known else set()
    sampled = {f"{what} {way}" for what in ("coverage", "variety") for way in ("a->b", "b->a")} if codes else set()
    assert rows[-1]["validation"].keys() == recalls | sampled


def test_hidden_pairs_do_not_choose_the_model(run: tuple[Path, str]) -> None:
    """The latest is kept, whatever validation says."""
    import torch

    state = torch.load(run[0] / "state.pt", weights_only=True)
    assert (state["position"]["best"], state["position"]["best_step"]) == (0.0, 6)
    metrics = json.loads((run[0] / "metrics.json").read_text())
    assert metrics["protocol"]["model"].endswith("step 6, the last that was measured in training")


def test_a_score_without_pairs_chooses_the_model(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([5.0, 1.0])
    monkeypatch.setattr(UnpairedScore, "watches", lambda *_: True)
    monkeypatch.setattr(UnpairedScore, "watch", lambda *_: ValidationFigures({SCORE: (score := next(scores))}, score))
    sides = ["--data.a", str(folders / "photo"), "--data.b", str(folders / "sketch")]
    assert main(["train", "cut", *sides, "--run", str(tmp_path / "run"), *SMALL["cut"], *LENGTH]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--only", "translation", "--limit", "8"]) == 0
    model = json.loads((tmp_path / "run" / "metrics.json").read_text())["protocol"]["model"]
    assert model == "cut, step 3, chosen on the validation part without its pairs"


def test_pairs_choose_a_model_without_codes(
    folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    blind: None,
) -> None:
    monkeypatch.setattr(validation, "_networks", lambda: NO_NETWORKS)
    path = tmp_path / "run"
    sides = ["--data.a", str(folders / "photo"), "--data.b", str(folders / "sketch")]
    assert main(["train", "pix2pix", *sides, "--run", str(path), *SMALL["pix2pix"], *LENGTH]) == 0
    assert "(validation similarity to the truth " in capsys.readouterr().out
    rows = [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
    figures = [row["validation"] for row in rows if "validation" in row]
    assert [found.keys() for found in figures] == 2 * [{"PSNR a->b", "PSNR b->a"}]
    best = max(range(2), key=lambda number: (sum(figures[number].values()), number))  # of equals the later
    assert main(["evaluate", str(path), "--limit", "8"]) == 0
    metrics = json.loads((path / "metrics.json").read_text())
    assert f"pix2pix, step {3 * best + 3}, chosen on the validation part" in metrics["protocol"]["model"]
    assert "recall" not in metrics
    assert {"sample", "random"} <= metrics["translation"]["a->b"].keys()
    assert {file.name for file in (path / "pictures").iterdir()} == {
        f"translate-{way}.png" for way in ("photo-to-sketch", "sketch-to-photo")
    }
    assert main(["report", str(path)]) == 0
    assert "worst, " in (path / "report.html").read_text("utf-8")


def test_a_model_of_one_way_is_refused_for_the_other(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, sketch = str(tmp_path / "run"), str(folders / "sketch" / "01.png")
    sides = ["--data.a", str(folders / "photo"), "--data.b", str(folders / "sketch")]
    assert main(["train", "cut", *sides, "--run", path, *SMALL["cut"], *LENGTH]) == 0
    assert main(["evaluate", path, "--limit", "8"]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["translation"].keys() == metrics["hidden_pair"].keys() == {"a->b"}
    assert "cheat" not in metrics
    assert {file.name for file in (tmp_path / "run" / "pictures").iterdir()} == {"translate-photo-to-sketch.png"}
    assert main(["report", path]) == 0
    capsys.readouterr()
    assert main(["cheat", path]) == 2
    assert "translates one way: without a way back there is nothing to hide" in capsys.readouterr().err
    assert main(["translate", path, sketch, "--source", "b", "--out", str(tmp_path / "out")]) == 2
    assert (
        "translates one way only, and this is the other: train another with --method.towards both"
        in capsys.readouterr().err
    )
    assert not list((tmp_path / "out").glob("*.png"))


def test_both_translate_both_ways(run: tuple[Path, str], folders: Path, tmp_path: Path) -> None:
    path, _ = run
    for source, folder in (("a", "photo"), ("b", "sketch")):
        command = ["translate", str(path), str(folders / folder / "01.png"), "--source", source]
        for name in ("one", "two"):
            assert main([*command, "--samples", "2", "--out", str(tmp_path / source / name)]) == 0
        files = [(tmp_path / source / name / "01-1.png").read_bytes() for name in ("one", "two")]
        assert files[0] == files[1]  # the same seed


def test_what_needs_codes_says_so_or_works(
    run: tuple[Path, str], folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, method = run
    one, two = (str(folders / "photo" / f"0{i}.png") for i in range(2))
    sketch = str(folders / "sketch" / "00.png")
    commands = [
        ["analogy", str(path), "--shared", one, "--exclusive", two, "--out", str(tmp_path / "analogy.png")],
        ["interpolate", str(path), one, two, "--part", "exclusive", "--out", str(tmp_path / "strip.png")],
        ["encode", str(path), one, two, "--out", str(tmp_path / "codes.npz")],
        ["translate", str(path), sketch, "--source", "b", "--like", one, "--out", str(tmp_path / "guided")],
    ]
    for command in commands:
        status = main(command)
        if method == "cyclegan":
            assert status == 2
            assert "cyclegan has no codes" in capsys.readouterr().err
        else:
            assert status == 0
    if method == "uncooperative":
        with np.load(tmp_path / "codes.npz", allow_pickle=False) as codes:
            assert codes["shared"].shape == (2, 3, 16, 16)
            assert codes["exclusive"].shape == (2, 3 * 8 * 4 * 4)
    else:
        assert not any(tmp_path.iterdir())


def test_the_same_command_goes_on(run: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A finished run has nothing left to do; its data are those it began with."""
    path, method = run
    config = json.loads((path / "config.json").read_text())["config"]["data"]
    sides = ["--data.a", config["a"], "--data.b", config["b"], *(["--data.unpaired"] if config["unpaired"] else [])]
    assert main(["train", method, *sides, "--run", str(path), *SMALL[method], *LENGTH]) == 0
    assert "Done after 6 steps" in capsys.readouterr().out


def test_cheat_prints_three_measures_and_keeps_the_others(
    run: tuple[Path, str], pairs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = run
    before = json.loads((path / "metrics.json").read_text())
    for picture in (path / "pictures").glob("cheat-*.png"):
        picture.unlink()
    assert main(["cheat", str(path), "--limit", "8"]) == 0
    printed = capsys.readouterr().out
    first, second = json.loads((path / "metrics.json").read_text())["protocol"]["domains"].values()
    words = " ".join(printed.split())
    assert ("hidden pair: translation" in words) == (pairs == "paired")
    for line in (f"decoding: matched {second}->{first}", f"disturbed by: 8 bits {first}->{second}"):
        assert line in words
    assert "distance from the input after 8 bits, ratio" in words
    assert len(list((path / "pictures").glob("cheat-*.png"))) == 2
    assert json.loads((path / "metrics.json").read_text()) == before  # the same figures as evaluate's
    assert main(["cheat", str(path), "--limit", "2"]) == 2
    assert main(["cheat", str(path / "none")]) == 2


def test_cheat_needs_two_domains_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = tmp_path / "vectors"
    small = ["--train.steps", "2", "--train.evaluate-every", "2"]
    assert main(["train", "uncooperative-synthetic", "--run", str(vectors), *small]) == 0
    assert main(["cheat", str(vectors)]) == 2
    assert "works on vectors" in capsys.readouterr().err


@pytest.fixture(scope="module")
def unlike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise in `noise`, one grey in each of `plain`."""
    root = tmp_path_factory.mktemp("unlike")
    for i in range(30):
        write_png(root / "noise" / f"{i:02d}.png", i)
        (root / "plain").mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), (i, i, i)).save(root / "plain" / f"{i:02d}.png")
    return root


@pytest.mark.parametrize(("a", "b", "informative"), [("noise", "plain", "a"), ("plain", "noise", "b")])
def test_the_rich_domain_is_measured_said_and_kept(
    unlike: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], a: str, b: str, informative: str
) -> None:
    sides = ["--data.a", str(unlike / a), "--data.b", str(unlike / b), "--data.unpaired"]
    command = ["train", "uncooperative", *sides, "--run", str(tmp_path / "run"), *SMALL["uncooperative"], *LENGTH]
    for _ in range(2):  # the same command goes on
        assert main(command) == 0
        said = capsys.readouterr().err
        assert f"More informative, as measured: noise. {a} has" in said
        assert f"; {b} has" in said
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["method"]["informative"] == informative


@pytest.mark.parametrize(("informative", "warned"), [("a", False), ("b", True)])
def test_folders_given_the_wrong_way_round_are_noticed(
    unlike: Path, capsys: pytest.CaptureFixture[str], informative: str, warned: bool
) -> None:
    sides = ["--data.a", str(unlike / "noise"), "--data.b", str(unlike / "plain"), "--data.unpaired"]
    assert main(["train", "uncooperative", *sides, "--method.informative", informative, "--dry-run"]) == 0
    printed = capsys.readouterr().err
    assert ("wrong way round" in printed) == warned
    assert ("but noise seems to be the more informative: noise has" in printed) == warned


def test_a_method_whose_domains_have_nothing_alone(folders: Path, tmp_path: Path) -> None:
    sides = ["--data.a", str(folders / "photo"), "--data.b", str(folders / "sketch")]
    assert main(["train", "xgan", *sides, "--run", str(tmp_path / "run"), *SMALL["xgan"], *LENGTH]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--limit", "8"]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["recall"].keys() == {"shared", "pixels"}
    assert "hidden_pair" in metrics
    assert "mismatched" not in metrics["cheat"]["a->b"]["decoding"]
    pictures = {file.name for file in (tmp_path / "run" / "pictures").iterdir()}
    assert pictures == {
        f"{what}-{way}.png" for what in ("translate", "cheat") for way in ("photo-to-sketch", "sketch-to-photo")
    }
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert not any("exclusive" in name for name in rows[-1]["validation"])


def test_a_report_shows_what_there_is(run: tuple[Path, str], pairs: str, blind: None) -> None:
    path, method = run
    assert main(["report", str(path)]) == 0
    page = (path / "report.html").read_text("utf-8")
    assert ("worst, " in page) == (pairs == "paired")
    assert ("back again" in page) == (pairs == "unpaired" and method == "cyclegan")
    assert ("What is shared" in page) == (method == "uncooperative")
    assert "There and back, " in page
