"""The commands as a user types them, on a small run; and what they say when something is wrong."""

import html
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from helpers import write_pairs, write_png
from unbraid.commands import use
from unbraid.commands.cli import COMMANDS, main
from unbraid.commands.flags import square
from unbraid.core.types import UserError
from unbraid.data.images import read_header
from unbraid.model import inputs
from unbraid.model.trained import load

SMALL = [
    *("--method.widths", "8", "--method.decoder-widths", "8", "--method.map-size", "4", "--method.shared", "4"),
    *("--train.batch", "4", "--train.steps", "6", "--train.evaluate-every", "3"),
    *("--data.test", "0.4"),  # fewer items would leave figures out
    *("--method.initial", "torch"),  # with which answers differ after so few steps
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of 30 pairs, paired by name."""
    return write_pairs(tmp_path_factory.mktemp("folders"))


@pytest.fixture(scope="module")
def run(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on them."""
    path = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNBRAID_CACHE", str(path.parent / "cache"))
        sides = ["--data.a", str(folders / "photo"), "--data.b", str(folders / "sketch")]
        assert main(["train", "iiae", *sides, "--run", str(path), *SMALL]) == 0
        assert main(["evaluate", str(path)]) == 0
    return path


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on the error stream."""
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("unbraid: error:")]
    assert len(errors) == 1
    return errors[0]


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_help_answers_in_under_a_second() -> None:
    subprocess.run([sys.executable, "-m", "unbraid", "--help"], check=True, capture_output=True)  # warms the disk
    times, out = [], ""
    for _ in range(3):
        began = time.perf_counter()
        out = subprocess.run(
            [sys.executable, "-m", "unbraid", "--help"], check=True, capture_output=True, text=True
        ).stdout
        times.append(time.perf_counter() - began)
    assert min(times) < 1
    assert all(f"\n  {command} " in out for command in COMMANDS)
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("command", ["start", "translate", "swap", "encode", "index", "search", "explore"])
def test_help_says_which_lists_must_be_given(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    positional = capsys.readouterr().out.split("positional arguments")[1].split("options")[0]
    assert "(default" not in positional
    assert "(required)" in positional


def test_a_run_on_two_folders_is_complete(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names == {
        *("config.json", "parts.json", "model.safetensors", "state.pt", "log.jsonl", "samples", ".lock"),
        *("metrics.json", "pictures", "examples", "README.md"),
    }
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["recall"].keys() == {"shared", "exclusive", "pixels"}
    for ways in metrics["recall"].values():
        assert ways.keys() == {"a->b", "b->a"}
        assert all(way.keys() == {"1", "5", "10", "interval"} for way in ways.values())
    assert metrics["protocol"]["part"] == "test"
    assert metrics["union"].keys() == {"neighbours", "queries", "chance", "shared", "exclusive", "pixels"}
    assert metrics["recall_through_translation"].keys() == {"queries", "samples", "pair"}
    for name in ("nearest_view", "diversity"):
        assert metrics[name].keys() == {"a->b", "b->a"}
    assert "analogy" not in metrics  # nobody knows the truth
    card = " ".join((run / "README.md").read_text().split())
    for row in ("translated (pair)", "both domains, % of 10", "nearest view: sample photo->sketch"):
        assert row in card
    assert "diversity: samples sketch->photo" in card
    assert len(list((run / "pictures").glob("*.png"))) == 8
    parts = json.loads((run / "parts.json").read_text())
    assert parts["train"] + len(parts["val"]) + len(parts["test"]) == 30


def test_a_run_goes_on_with_moved_images_and_not_with_others(
    run: Path, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place, names in ((tmp_path / "moved", None), (tmp_path / "others", shutil.ignore_patterns("0*"))):
        shutil.copytree(folders, place, ignore=names)
    shutil.copytree(run, tmp_path / "run")

    def train(place: Path) -> int:
        sides = ["--data.a", str(place / "photo"), "--data.b", str(place / "sketch")]
        return main(["train", "iiae", *sides, "--run", str(tmp_path / "run"), *SMALL])

    assert train(tmp_path / "moved") == 0
    assert train(tmp_path / "others") == 2
    assert "not those the run began with" in said(capsys)


def test_translate_writes_a_file_for_each_answer_and_a_grid(run: Path, folders: Path, tmp_path: Path) -> None:
    images = [str(folders / "photo" / f"0{i}.png") for i in range(3)]
    out = tmp_path / "out"
    assert (
        main(["translate", str(run), *images, "--source", "a", "--target", "b", "--samples", "2", "--out", str(out)])
        == 0
    )
    assert {path.name for path in out.iterdir()} == {f"0{i}-{j}.png" for i in range(3) for j in (1, 2)} | {
        "grid.png",
        "answers.json",
    }
    assert size_of(out / "00-1.png") == (16, 16)


def test_translate_is_the_same_for_the_same_seed_and_takes_a_reference(
    run: Path, folders: Path, tmp_path: Path
) -> None:
    image, like = str(folders / "photo" / "01.png"), str(folders / "sketch" / "02.png")
    for name, more in (
        ("one", ["--seed", "3"]),
        ("two", ["--seed", "3"]),
        ("three", ["--seed", "4"]),
        ("like", ["--like", like]),
    ):
        assert main(["translate", str(run), image, "--out", str(tmp_path / name), *more]) == 0
    files = {name: (tmp_path / name / "01-1.png").read_bytes() for name in ("one", "two", "three", "like")}
    assert files["one"] == files["two"]
    assert files["one"] != files["three"]
    assert len(list((tmp_path / "like").glob("*.png"))) == 2


def test_translate_takes_folders_and_leaves_out_what_it_cannot_read(
    run: Path, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = tmp_path / "mixed"
    write_png(mixed / "good.png", 1)
    (mixed / "bad.png").write_text("no image")
    assert main(["translate", str(run), str(mixed), "--out", str(tmp_path / "out"), "--samples", "1"]) == 0
    assert "bad.png" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good-1.png", "grid.png", "answers.json"}


def test_translate_keeps_answers_of_equal_names_apart(run: Path, tmp_path: Path) -> None:
    images = [write_png(tmp_path / folder / "x.png", i) for i, folder in enumerate("pqr")]
    assert main(["translate", str(run), *map(str, images), "--samples", "1", "--out", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 4
    long = [write_png(tmp_path / folder / f"{'x' * 250}.png", i) for i, folder in enumerate("pq")]
    assert main(["translate", str(run), *map(str, long), "--samples", "1", "--out", str(tmp_path / "long")]) == 0
    assert len(list((tmp_path / "long").glob("*.png"))) == 3


def test_names_that_no_file_can_have_are_said(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, long = str(write_png(tmp_path / "x.png", 1)), "x" * 300
    for command in (
        ["translate", str(run), long, "--out", str(tmp_path / "out")],
        ["translate", str(run), image, "--out", str(tmp_path / long)],
        ["encode", str(run), image, "--out", str(tmp_path / f"{long}.npz")],
        ["analogy", str(run), "--shared", image, "--exclusive", image, "--out", str(tmp_path / f"{long}.png")],
    ):
        assert main(command) == 2
        assert "ile name too long" in said(capsys)


def test_no_image_that_was_given_is_written_over(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine"
    images = [str(write_png(mine / name, i)) for i, name in enumerate(("x.png", "x-1.png", "grid.png", "x~2.png"))]
    before = {path.name: path.read_bytes() for path in mine.iterdir()}
    for command in (
        ["translate", str(run), str(mine), "--out", str(mine)],
        ["translate", str(run), images[0], images[1], "--out", str(mine)],
        ["analogy", str(run), "--shared", images[0], "--exclusive", images[1], "--out", images[0]],
        ["interpolate", str(run), images[0], images[1], "--out", images[1]],
        ["encode", str(run), str(mine), "--out", images[3]],
    ):
        assert main(command) == 2
        assert "choose another --out" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in mine.iterdir()} == before
    assert main(["interpolate", str(run), images[0], images[1], "--out", str(tmp_path / "way.gif")]) == 2
    assert "ends in .png" in capsys.readouterr().err
    twice = [*images, str(write_png(tmp_path / "other" / "x.png", 9))]
    assert main(["translate", str(run), *twice, "--samples", "1", "--out", str(tmp_path / "answers")]) == 0
    assert len(list((tmp_path / "answers").glob("*.png"))) == 6  # five answers and the picture of all


def test_answers_stay_apart_from_images_and_from_what_others_wrote(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, out = tmp_path / "mine", tmp_path / "out"
    image = str(write_png(mine / "x.png", 0))
    write_png(out / "x-1.png", 1)
    write_png(out / "way.gif.png", 2).rename(out / "way.gif")
    before = {path: path.read_bytes() for folder in (mine, out) for path in folder.iterdir()}
    for command, words in (
        (["translate", str(run), str(mine), "--out", str(mine)], "stay apart"),
        (["translate", str(run), str(mine), "--out", str(mine / "answers")], "stay apart"),
        (
            ["analogy", str(run), "--shared", str(mine), "--exclusive", image, "--out", str(mine / "y.png")],
            "stay apart",
        ),
        (["translate", str(run), image, "--out", str(out)], "has not made it"),
        (["interpolate", str(run), image, image, "--out", str(out / "way.png")], "has not made it"),
        (["encode", str(run), image, "--out", str(out / "codes.txt")], "ends in .npz"),
    ):
        assert main(command) == 2
        assert words in said(capsys)
    assert {path: path.read_bytes() for folder in (mine, out) for path in folder.iterdir()} == before
    for _ in range(2):  # what an earlier call made is replaced
        assert main(["translate", str(run), image, "--out", str(tmp_path / "answers")]) == 0
        assert main(["encode", str(run), image, "--out", str(tmp_path / "codes.npz")]) == 0
        assert main(["interpolate", str(run), image, image, "--out", str(tmp_path / "way.png")]) == 0


def test_answers_are_written_when_they_are_made(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few images at a time are read, and the answers to those before lie there by then."""
    monkeypatch.setattr(inputs, "BATCH_ITEMS", 3)
    for i in range(8):
        write_png(tmp_path / "mine" / f"{i}.png", i)
    (tmp_path / "mine" / "5.png").write_text("no image")
    monkeypatch.setattr(inputs, "READERS", 1)
    read, seen = inputs.decode, []

    def watched(path: Path) -> Tensor:
        seen.append(len(list((tmp_path / "out").glob("*.png"))))
        return read(path)

    monkeypatch.setattr(inputs, "decode", watched)
    command = ["translate", str(run), str(tmp_path / "mine"), "--samples", "2"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert seen[:3] == [0, 0, 0]
    assert len(seen) == 8 - 1  # the damaged one isn't decoded
    assert seen[-1] >= 6
    monkeypatch.undo()
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "out").iterdir())
    for name in filter(lambda name: name.endswith(".png"), names):
        one, two = (np.asarray(Image.open(tmp_path / place / name), dtype=int) for place in ("out", "whole"))
        assert abs(one - two).max() <= 1


def test_translate_goes_on_where_it_was_stopped(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(4):
        write_png(tmp_path / "mine" / f"{i}.png", i)
    out = tmp_path / "out"
    command = ["translate", str(run), str(tmp_path / "mine"), "--samples", "2", "--out", str(out)]
    assert main(command) == 0
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / "2-1.png").unlink()
    assert main(command) == 0
    assert "3 of 4 images have their answers already" in capsys.readouterr().out
    after = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"2-1.png", "2-2.png", "answers.json"}
    assert main([*command, "--seed", "5"]) == 0  # other answers
    assert after["0-1.png"] != (out / "0-1.png").stat().st_mtime_ns
    assert "already" not in capsys.readouterr().out
    (tmp_path / "mine" / "damaged.png").write_bytes(b"no")
    assert main([*command, "--seed", "5"]) == 0
    assert "left out" in capsys.readouterr().err


def test_answers_have_the_size_and_format_that_are_asked_for(run: Path, tmp_path: Path) -> None:
    image = str(write_png(tmp_path / "wide.png", 1, (40, 70)))
    command = ["translate", str(run), image]
    for fit, size in (("cover", (40, 40)), ("contain", (70, 40)), ("tile", (70, 40))):
        out = tmp_path / fit
        assert main([*command, "--samples", "1", "--fit", fit, "--size", "input", "--out", str(out)]) == 0
        assert size_of(out / "wide-1.png") == size
        assert size_of(out / "grid.png")[1] < 150
    for name, words in (("one.jpg", "JPEG"), ("one.webp", "WEBP"), ("one.png", "PNG")):
        assert main([*command, "--fit", "tile", "--out", str(tmp_path / name)]) == 0
        with Image.open(tmp_path / name) as picture:
            assert (picture.format, picture.size) == (words, (70, 40))
    assert main([*command, "--format", "png16", "--out", str(tmp_path / "deep.png")]) == 0
    assert read_header(tmp_path / "deep.png").deep
    out = tmp_path / "jpegs"
    assert main([*command, "--format", "jpeg", "--quality", "50", "--samples", "2", "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {"wide-1.jpg", "wide-2.jpg", "grid.png", "answers.json"}
    assert main(["encode", str(run), image, "--fit", "contain", "--out", str(tmp_path / "codes.npz")]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--samples", "2", "--out", "x.png"], "is one file: give --samples 1, or a folder"),
        (["--format", "jpeg", "--out", "x.png"], "with --format jpeg give a name that ends in .jpg"),
        (["--quality", "0", "--format", "jpeg", "--out", "x"], "--quality 0: from 1 to 100"),
    ],
)
def test_one_file_takes_one_answer(
    arguments: list[str], words: str, run: Path, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(folders / "photo" / "00.png")
    assert main(["translate", str(run), image, *arguments[:-1], str(tmp_path / arguments[-1])]) == 2
    assert words in said(capsys)
    assert main(["translate", str(run), image, image, "--out", str(tmp_path / "x.png")]) == 2
    assert "is one file, for 2 images: give a folder" in said(capsys)
    assert not any(tmp_path.iterdir())


def test_python_translates_images_of_any_size(run: Path, tmp_path: Path) -> None:
    model = load(run)
    file = write_png(tmp_path / "wide.png", 1, (40, 70))
    array = np.asarray(Image.open(file))
    deep = array.astype(np.uint16) * 257
    for given in (file, str(file), Image.open(file), array, deep, [file, file], (array for _ in range(2))):
        made = list(model.translate_images(given, "a", "b", samples=2, fit="tile"))
        assert [[one.shape for one in row] for row in made] == [[(40, 70, 3)] * 2] * len(made)
        np.testing.assert_array_equal(made[0][1], next(model.translate_images(file, "a", "b", 2, fit="tile"))[1])
    assert next(model.translate_images(file, "a", "b", size="model", deep=True))[0].dtype == np.uint16
    for wrong in (3, np.zeros((4, 4), np.float32), np.zeros((4, 4, 2), np.uint16), [None]):
        with pytest.raises(UserError):
            next(model.translate_images(wrong, "a", "b"))


def test_a_grid_that_would_fill_memory_is_refused(
    run: Path, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image, photos = str(folders / "photo" / "00.png"), str(folders / "photo")
    assert main(["interpolate", str(run), image, image, "--steps", "1000000", "--out", str(tmp_path / "x.png")]) == 2
    assert "megapixels" in said(capsys)
    many = ["translate", str(run), image, "--samples", "1000000", "--out", str(tmp_path / "x")]
    assert main(many) == 2
    assert "megapixels" in said(capsys)
    assert not any(tmp_path.iterdir())
    monkeypatch.setattr(use, "GRID_PIXELS", 200_000)
    files = [str(file) for file in sorted((folders / "photo").iterdir())]
    assert main(["analogy", str(run), "--shared", *files, "--exclusive", *files, "--out", str(tmp_path / "x.png")]) == 2
    assert "31 x 31 images" in said(capsys)
    assert main(["analogy", str(run), "--shared", photos, "--exclusive", photos, "--out", str(tmp_path / "x.png")]) == 2
    output = capsys.readouterr().err
    assert "Drawn are 12 of 30 images" in output
    assert "13 x 13 images" in output
    monkeypatch.setattr(use, "GRID_PIXELS", 20_000)
    assert main(["translate", str(run), photos, "--samples", "2", "--out", str(tmp_path / "few")]) == 0
    assert "the first 1" in capsys.readouterr().out


def test_what_is_cut_off_is_said(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wide = str(write_png(tmp_path / "wide.png", 1, (16, 32)))
    same = str(write_png(tmp_path / "larger.png", 1, (64, 64)))
    assert main(["translate", str(run), same, wide, "--out", str(tmp_path / "out")]) == 0
    assert "1 image has another shape than the model's 16 x 16" in (err := capsys.readouterr().err)
    assert "50 % of" in err
    assert "wide.png (32 x 16)" in err
    assert main(["encode", str(run), same, "--out", str(tmp_path / "codes.npz")]) == 0
    assert capsys.readouterr().err == ""
    many = [
        ["encode", str(run), wide, "--out", str(tmp_path / "cut.npz")],
        ["analogy", str(run), "--shared", wide, "--exclusive", same, "--out", str(tmp_path / "grid.png")],
        ["interpolate", str(run), wide, same, "--out", str(tmp_path / "way.png")],
    ]
    for command in many:
        assert main(command) == 0
        assert "1 image has another shape than the model's 16 x 16" in capsys.readouterr().err


def test_training_says_what_its_size_cuts_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(20):
        for side in "ab":
            write_png(tmp_path / side / f"{number}.png", number, (16, 40 if number < 3 and side == "a" else 16))
    sides = ["--data.a", str(tmp_path / "a"), "--data.b", str(tmp_path / "b"), "--data.size", "16", "16"]
    small = ["--method.widths", "8", "--method.decoder-widths", "8", "--method.map-size", "4", "--method.shared", "4"]
    for _ in range(2):  # decoded, and found decoded
        assert main(["train", "iiae", *sides, *small, "--dry-run"]) == 0
        err = capsys.readouterr().err
        assert f"{tmp_path / 'a'}: 3 of 20 images have another shape than 16 x 16" in err
        assert "60 % of" in err
        assert f"{tmp_path / 'b'}:" not in err


@pytest.mark.parametrize(
    ("flags", "match"),
    [(["--data.size", "9000000", "9000000"], "--data.size takes at least 5,184.0 TB of memory, where .* available"),
     (["--data.size", "9000000", "9000000", "--data.features", "vgg16"], "000 takes .* of memory"),
     (["--data.size", "4096", "4096", "--train.batch", "100000"], "--train.batch 100000 of --data.size takes at least"),
     (["--data.size", "512", "512", "--train.batch", "0"], "more than 0")],
)  # fmt: skip
def test_sizes_that_cant_fit_are_refused_before_images_are_read(
    flags: list[str], match: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for side in "ab":
        (tmp_path / side).mkdir()
        (tmp_path / side / "x.png").write_bytes(b"no image")
    sides = ["--data.a", str(tmp_path / "a"), "--data.b", str(tmp_path / "b")]
    assert main(["train", "iiae", *sides, *flags, "--run", str(tmp_path / "run")]) == 2
    assert re.search(match, " ".join(capsys.readouterr().err.split()))


def test_analogy_interpolate_and_encode(run: Path, folders: Path, tmp_path: Path) -> None:
    one, two, three = (str(folders / "sketch" / f"0{i}.png") for i in range(3))
    command = ["analogy", str(run), "--shared", one, two, "--exclusive", three, "--domain", "b"]
    assert main([*command, "--out", str(tmp_path / "analogy.png")]) == 0
    assert size_of(tmp_path / "analogy.png")[0] > 100
    for part in ("shared", "exclusive"):
        out = tmp_path / f"{part}.png"
        assert main(["interpolate", str(run), one, two, "--part", part, "--domain", "b", "--out", str(out)]) == 0
        with Image.open(out.with_suffix(".gif")) as animation:
            assert getattr(animation, "n_frames", 0) == 16
    assert main(["encode", str(run), one, two, "--domain", "b", "--out", str(tmp_path / "codes.npz")]) == 0
    with np.load(tmp_path / "codes.npz", allow_pickle=False) as codes:
        assert codes["shared"].shape == (2, 4, 4, 4)
        assert codes["exclusive"].shape == (2, 8)
        assert codes["names"].tolist() == ["00", "01"]


def test_a_dry_run_prints_the_configuration_and_writes_nothing(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sides = ["--data.a", str(folders / "photo"), "--data.b", str(folders / "sketch")]
    assert main(["train", "iiae", *sides, "--run", str(tmp_path / "run"), *SMALL, "--dry-run"]) == 0
    out, about = capsys.readouterr()
    assert '"widths": [' in out
    assert "15 train, 3 validation, 12 test" in about
    assert not (tmp_path / "run").exists()


def test_a_methods_defaults_follow_the_images_size_and_what_is_given_stays(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sides = ["--data.a", str(folders / "photo"), "--data.b", str(folders / "sketch"), "--train.steps", "5"]
    given = ["--method.rate", "2e-4", "--method.perceptual-weight", "0", "--dry-run"]  # the paper's, asked for
    for size, shared, said in (("64", 32, True), ("256", 128, False)):
        assert main(["train", "iiae", *sides, "--data.size", size, size, *given]) == 0
        out, about = capsys.readouterr()
        assert f'"shared": {shared},' in out
        assert '"rate": 0.0002,' in out
        assert '"perceptual_weight": 0.0,' in out
        assert ("proven at 64 px" in about) == said


def test_a_folder_that_is_no_run_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    assert main(["train", "demo", "--run", str(tmp_path)]) == 2
    assert "exists and is not a run" in said(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["translat"], "no command 'translat'"),
        (["train", "nothing", "--run", "x"], "no recipe or method 'nothing'"),
        (["evaluate", "nowhere"], "no run folder nowhere"),
        (["translate", "nowhere", "x.png", "--out", "y"], "no run folder nowhere"),
        (["train", "iiae-maps", "--run", "x"], "--data.root"),
        (["train", "iiae", "--run", "x", "--train.steps", "1"], "--data.a"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in said(capsys)
    assert not any(tmp_path.iterdir())


def test_an_image_that_cannot_be_read_is_named(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in (
        ("empty.png", b""),
        ("text.png", b"hello"),
        ("cut.png", write_png(tmp_path / "w.png", 1).read_bytes()[:300]),
    ):
        (tmp_path / name).write_bytes(content)
        assert main(["translate", str(run), str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
        assert name in said(capsys)
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_damaged_or_of_another_version_is_said(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("config.json", "parts.json"):
        (copy / name).write_bytes((run / name).read_bytes())
    assert main(["evaluate", str(copy)]) == 2
    assert "no model yet" in said(capsys)
    (copy / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:500])
    assert main(["evaluate", str(copy)]) == 2
    assert "damaged" in said(capsys)
    with safe_open(run / "model.safetensors", "pt") as file:
        about, tensors = json.loads(file.metadata()["unbraid"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    about["config"]["setting_of_tomorrow"] = 1
    save_file(tensors, copy / "model.safetensors", {"unbraid": json.dumps(about)})
    assert main(["evaluate", str(copy)]) == 2
    assert "setting_of_tomorrow" in said(capsys)
    (copy / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    for damaged in ("{", "[]"):
        (copy / "metrics.json").write_text(damaged)
        assert main(["evaluate", str(copy)]) == 2
        assert f"Delete it: `unbraid evaluate {copy}`" in said(capsys)
    (copy / "config.json").write_text((run / "config.json").read_text().replace('"format": 1', '"format": 99'))
    assert main(["evaluate", str(copy)]) == 2
    assert "format 99" in said(capsys)


def test_images_that_changed_since_training_are_noticed(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    for i in range(12):
        write_png(own / "a" / f"{i}.png", i)
        write_png(own / "b" / f"{i}.png", 50 + i)
    sides = ["--data.a", str(own / "a"), "--data.b", str(own / "b")]
    assert main(["train", "iiae", *sides, "--run", str(tmp_path / "run"), *SMALL]) == 0
    (own / "a" / "3.png").unlink()
    assert main(["evaluate", str(tmp_path / "run")]) == 2
    assert "not those the run began with" in said(capsys)


def test_folders_that_moved_since_training_can_be_named(
    run: Path, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, there = tmp_path / "run", folders / "photo"
    shutil.copytree(run, own)
    config = (own / "config.json").read_text()
    assert str(there) in config
    (own / "config.json").write_text(config.replace(str(there), str(tmp_path / "gone" / "photo")))
    assert main(["evaluate", str(own), "--limit", "8"]) == 2
    assert "gone" in said(capsys)
    assert main(["evaluate", str(own), "--limit", "8", "--data.a", str(there)]) == 0
    assert main(["evaluate", str(own), "--data.classes", str(there)]) == 2
    assert "--data.classes" in said(capsys)


def test_an_output_that_cannot_be_written_is_said(
    run: Path, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    image = str(folders / "photo" / "00.png")
    assert main(["translate", str(run), image, "--out", str(tmp_path / "file" / "out")]) == 2
    assert "Could not write" in said(capsys)


def test_a_report_shows_a_run_in_one_file(run: Path, capsys: pytest.CaptureFixture[str], blind: None) -> None:
    before = (run / "metrics.json").read_bytes()
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text("utf-8")
    assert (run / "metrics.json").read_bytes() == before
    assert "<h1>photo ↔ sketch</h1>" in page
    for heading in ("Translations", "One image, several answers", "Search", "Figures", "Go on"):
        assert f"<h2>{heading}</h2>" in page
    shown = ("best, ", "median, ", "worst, ", "distance of pixels", "Within photo", "There are 15 pairs")
    assert all(words in page for words in shown)
    assert len(page) < 6_000_000
    longer = html.unescape(page.split("<pre>")[1].split("</pre>")[0])
    assert main([*shlex.split(longer)[1:], "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert "photo → sketch: translations are nearer to the truth than another image of sketch is in" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "no command 'trian'. Did you mean train"),
        (["train", "iiae-map"], "no recipe or method 'iiae-map'. Did you mean iiae-maps"),
        (["train", "iiea"], "Did you mean iiae"),
        (["train", "iiae", "--data.set", "digit"], "--data.set digit: there is none of this name. Did you mean digits"),
        (["recipes", "--method", "lrod"], "Did you mean lord"),
        (["train", "iiae", "--config"], "--config takes one value"),
    ],
)
def test_names_that_are_like_the_unknown_one_are_said(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("target", ["iiae", "lord-cars3d", "uncooperative"])
def test_help_of_training_begins_with_what_people_set(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", target, "--help"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert len(out.splitlines()) < 35
    assert ("--data.classes DIR" if target == "lord-cars3d" else "--data.a DIR --data.b DIR") in out
    assert all(flag in out for flag in ("--run", "--train.steps", "--train.batch", "--train.seed", "--help-all"))
    with pytest.raises(SystemExit):
        main(["train", target, "--help-all"])
    assert "--data.styles-per-class" in capsys.readouterr().out


def test_one_number_is_a_square() -> None:
    for given in (["--data.size", "64"], ["--data.size=64"], ["--data.size", "64", "64"]):
        assert square([*given, "--dry-run"], "--data.size") == ["--data.size", "64", "64", "--dry-run"]
    assert square(["--data.size", "64"], "--data.size") == ["--data.size", "64", "64"]
    assert square(["--data.size", "None", "--x", "1"], "--data.size") == ["--data.size", "None", "--x", "1"]


def test_domains_have_the_names_of_their_folders(
    run: Path, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load(run)
    assert model.spec.names == ("photo", "sketch")
    image = str(folders / "photo" / "00.png")
    for source, out in (("Photo", "one"), ("a", "two")):
        assert main(["translate", str(run), image, "--source", source, "--out", str(tmp_path / out)]) == 0
    assert (tmp_path / "one" / "00-1.png").read_bytes() == (tmp_path / "two" / "00-1.png").read_bytes()
    assert model.translate(image, "photo", "sketch").equal(model.translate(image, "a", "b"))
    assert main(["encode", str(run), image, "--domain", "drawing", "--out", str(tmp_path / "c.npz")]) == 2
    assert "There is no --domain 'drawing'; there are: photo, sketch, a, b" in said(capsys)
    assert (run / "pictures" / "translate-photo-to-sketch.png").exists()
    assert "Photo: 16x16 images of 3 channels. Sketch:" in (run / "README.md").read_text()
    card = (run / "README.md").read_text()
    assert "photo->sketch" in card
    assert "domains: a: photo, b: sketch" in card
    assert not re.search(r"\b[ab]->[ab]\b|\bdomain [ab]\b", card)
    assert main(["index", str(run), str(folders / "photo"), "--to", str(tmp_path / "index")]) == 2
    assert "Give --domain photo or --domain sketch" in said(capsys)
    assert main(["index", str(run), str(folders / "photo"), "--domain", "photo", "--to", str(tmp_path / "index")]) == 0
    assert "index: photo, shared: " in capsys.readouterr().out


def test_every_command_is_found_after_a_plain_install() -> None:
    code = """if True:
        import sys
        for extra in ("gradio", "uvicorn", "faiss", "pymilvus", "timm", "onnx", "onnxruntime", "huggingface_hub"):
            sys.modules[extra] = None
        from unbraid.commands import COMMANDS, find
        for name in COMMANDS:
            find(name)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
