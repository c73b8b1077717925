"""The commands on labelled images, as a user types them."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from helpers import write_png
from unbraid.commands.cli import main

SMALL = [
    *("--method.content", "8", "--method.class-code", "8", "--method.dense", "16", "16", "--method.width", "8"),
    *("--method.last-width", "8", "--method.encoder-widths", "8", "8", "8", "--method.encoder-dense", "16"),
    *("--method.loss", "pixels", "--train.batch", "4", "--train.steps", "6", "--train.evaluate-every", "2"),
]


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNBRAID_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 12 images, with a CSV file of two labels and content."""
    root = tmp_path_factory.mktemp("images")
    lines = ["file,kind,size,content"]
    for i in range(36):
        name = f"{'xyz'[i % 3]}/{i:02d}.png"
        write_png(root / name, i, (32, 32))
        lines.append(f"{name},{'xyz'[i % 3]},{i // 3 % 2},{i // 3 % 4}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def train(images: Path, run: Path, *more: str) -> int:
    return main(["train", "lord", "--run", str(run), *SMALL, *more])


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    assert train(images, path, "--data.csv", str(images / "labels.csv"), "--data.labels", "kind") == 0
    assert main(["evaluate", str(path)]) == 0
    return path


def test_evaluate_writes_transfers_and_probes(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert set(metrics["probes"]) == {"training classes", "test part"}
    assert "class from content" in metrics["probes"]["training classes"]
    assert "psnr" in metrics["content_transfer"]["transfer"]
    assert metrics["content_transfer"]["tasks"] > 0
    assert (run / "pictures" / "transfer.png").exists()
    assert "unbraid transfer" in (run / "README.md").read_text()
    assert "recall" not in metrics


def test_evaluate_can_be_done_again_on_fewer(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--limit", "8"]) == 0
    assert "test items of" in capsys.readouterr().out
    assert main(["evaluate", str(run), "--limit", "2"]) == 2


def test_transfer_draws_a_grid(run: Path, images: Path, tmp_path: Path) -> None:
    content = [str(images / "x" / f"{i:02d}.png") for i in (0, 3, 6)]
    classes = [str(images / "y" / f"{i:02d}.png") for i in (1, 4)]
    out = tmp_path / "grid.png"
    assert main(["transfer", str(run), "--content", *content, "--class", *classes, "--out", str(out)]) == 0
    with Image.open(out) as picture:
        assert picture.width > 4 * 64
        assert picture.height > 3 * 64


def test_swap_shows_another_value(run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = str(images / "x" / "00.png")
    assert main(["swap", str(run), picture, "--label", "kind", "--value", "z", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "00.png").exists()
    for label, value, said in (("kind", "w", "it has: x, y, z"), ("colour", "z", "there are: kind")):
        arguments = ["swap", str(run), picture, "--label", label, "--value", value, "--out", str(tmp_path / "none")]
        assert main(arguments) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_several_labels_get_a_picture_each(images: Path, tmp_path: Path) -> None:
    assert train(images, tmp_path / "run", "--data.csv", str(images / "labels.csv")) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--limit", "8"]) == 0
    assert {path.name for path in (tmp_path / "run" / "pictures").glob("swap-*")} == {"swap-kind.png", "swap-size.png"}


def test_a_fully_amortised_run_has_all_but_swaps(images: Path, tmp_path: Path) -> None:
    source = ["--data.csv", str(images / "labels.csv"), "--method.inference", "amortised"]
    assert train(images, tmp_path / "run", *source) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--limit", "8"]) == 0
    assert (tmp_path / "run" / "README.md").exists()
    assert not list((tmp_path / "run" / "pictures").glob("swap-*"))


def test_unseen_classes(images: Path, tmp_path: Path) -> None:
    folders = tmp_path / "classes"
    for kind in "xyz":
        shutil.copytree(images / kind, folders / kind)
    assert train(images, tmp_path / "run", "--data.classes", str(folders), "--data.split", "class") == 0
    parts = json.loads((tmp_path / "run" / "parts.json").read_text())
    assert len({name.split("/")[0] for name in parts["test"]}) == 1
    assert main(["evaluate", str(tmp_path / "run")]) == 0


def test_two_unpaired_folders_become_a_translator(images: Path, tmp_path: Path) -> None:
    sides = ["--data.a", str(images / "x"), "--data.b", str(images / "y"), "--data.unpaired"]
    assert train(images, tmp_path / "run", *sides) == 0
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(metrics["translation"]) == {"a->b", "b->a"}
    picture = str(images / "x" / "00.png")
    assert main(["translate", str(tmp_path / "run"), picture, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "grid.png").exists()


def test_pairs_know_nothing_of_transfer(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["transfer", str(tmp_path), "--content", "a.png", "--out", "x.png"])
    capsys.readouterr()
    assert train(images, tmp_path / "run", "--data.csv", str(images / "labels.csv"), "--data.augment", "flip") == 2
    assert "--data.augment" in capsys.readouterr().err


def test_leakage_is_a_curve_if_asked_for(images: Path, tmp_path: Path) -> None:
    source = ["--data.csv", str(images / "labels.csv"), "--data.labels", "kind", "--train.probe"]
    assert train(images, tmp_path / "run", *source) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    curve = [row["validation"] for row in rows if "validation" in row]
    assert {row["stage"] for row in rows if "validation" in row} == {0, 1}
    assert all("class from content" in figures for figures in curve)


def test_a_report_shows_transfers(run: Path, blind: None) -> None:
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text("utf-8")
    assert "The class of one image, the content of another" in page
    assert "Reconstruction" in page
