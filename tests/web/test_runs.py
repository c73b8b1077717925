import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from classes import write_classes
from unbraid.commands.cli import main
from unbraid.core.types import UserError
from unbraid.data import features
from unbraid.web import runs as module
from unbraid.web.runs import Runs


def test_names_are_as_short_as_tells_them_apart(tmp_path: Path) -> None:
    assert Runs([tmp_path / "x" / "demo", tmp_path / "y" / "maps"]).names == ["demo", "maps"]
    assert Runs([tmp_path / "x" / "demo", tmp_path / "y" / "demo"]).names == ["x/demo", "y/demo"]
    with pytest.raises(UserError, match="once"):
        Runs([tmp_path, tmp_path / "."])


def test_a_run_is_opened_once(runs: Runs) -> None:
    with runs.using("pairs") as first, runs.using("pairs") as second:
        assert first is second
        assert first.domains == ("a", "b")
        assert first.sizes["a"][0] > 0
        assert torch.equal(first.item("a", 1), first.item("a", 1))


def test_an_index_that_is_made_later_is_found(runs: Runs, folder: Path, tmp_path: Path) -> None:
    later = Runs([folder / "pairs"], indexes=[str(tmp_path / "later")])
    with later.using("pairs") as opened:
        assert opened.index is None
        shutil.copytree(folder / "index", tmp_path / "later")
        assert opened.index == str(tmp_path / "later")
        shutil.rmtree(tmp_path / "later")
        assert opened.index is None


def test_labelled_images_of_one_kind_have_one_domain(runs: Runs) -> None:
    with runs.using("faces") as opened:
        assert opened.domains == ("a",)
        assert set(opened.labels("a", np.array([0, 1]))) == {"class"}
        with pytest.raises(UserError, match="no domain 'b'"):
            opened.known("b")


def test_the_codes_of_a_gallery_are_those_of_its_items(runs: Runs) -> None:
    with runs.using("pairs") as opened:
        gallery = opened.gallery("b")
        codes = opened.model.encode(opened.item("b", int(gallery.at[2])), "b")
        torch.testing.assert_close(gallery.codes.shared[2:3], codes.shared)
        assert opened.title("b", 0).removesuffix(".png").isdigit()


def test_items_that_arent_there_are_refused_with_the_range(runs: Runs) -> None:
    with runs.using("pairs") as opened:
        for at in (-1, opened.count("a")):
            with pytest.raises(UserError, match=f"0 to {opened.count('a') - 1}"):
                opened.item("a", at)


def test_few_models_stay_open(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_OPEN", 2)
    some = Runs(list(runs.paths.values()))
    for name in some.names:
        with some.using(name):
            pass
    assert list(some._open) == some.names[-2:]


def test_a_better_model_is_read_again(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "pairs", tmp_path / "copy")
    some = Runs([tmp_path / "copy"])
    with some.using("copy") as before:
        pass
    (tmp_path / "copy" / "model.safetensors").touch()
    with some.using("copy") as after:
        assert after is not before
        assert after.data is before.data


def test_a_run_that_goes_away_is_said_without_its_place(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "pairs", tmp_path / "copy")
    some = Runs([tmp_path / "copy"])
    with some.using("copy"):
        pass
    shutil.rmtree(tmp_path / "copy")
    with pytest.raises(UserError) as caught, some.using("copy"):
        pass
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(UserError, match="there are: copy"):
        some.path("other")


def test_images_that_cant_be_found_leave_the_model(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "pairs", tmp_path / "copy")
    file = tmp_path / "copy" / "config.json"
    file.write_text(file.read_text().replace("/photo", "/gone"))
    with Runs([tmp_path / "copy"]).using("copy") as opened:
        assert opened.data is None
        assert opened.count("a") == 0
        assert opened.without_data.startswith("The data of copy are no longer in")
        assert "--" not in opened.without_data  # explore takes no place of a domain
        with pytest.raises(UserError, match="Upload one"):
            opened.item("a", 0)


def test_images_that_come_back_are_read(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "pairs", tmp_path / "copy")
    shutil.copytree(folder / "pairs-data", tmp_path / "gone")
    file = tmp_path / "copy" / "config.json"
    file.write_text(file.read_text().replace(str(folder / "pairs-data"), str(tmp_path / "data")))
    some = Runs([tmp_path / "copy"])
    with some.using("copy") as opened:
        assert opened.data is None
    (tmp_path / "gone").rename(tmp_path / "data")
    with some.using("copy") as again:
        assert again.count("a") > 0
        assert again.without_data == ""
        assert again.model is opened.model


def test_whoever_waits_too_long_is_told(runs: Runs) -> None:
    some = Runs(list(runs.paths.values()), patience=0.05)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with some.turn():
            held.set()
            done.wait(5)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(5)
    with pytest.raises(UserError, match="Try again"), some.turn():
        pass
    done.set()
    thread.join()


def test_a_run_behind_a_tuned_head_has_its_own_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "STEPS", 2)
    arrays = write_classes(tmp_path / "classes.npz")
    small = ["--method.vector-widths", "8", "--method.shared", "4", "--method.exclusive", "4"]
    few = ["--train.steps", "2", "--train.evaluate-every", "2", "--train.batch", "4", "--data.by-class", "--data.tuned"]
    run = tmp_path / "run"
    assert main(["train", "iiae", "--data.arrays", str(arrays), "--run", str(run), *small, *few]) == 0
    with Runs([run]).using("run") as opened:
        assert opened.item("b", 0).shape == (1, features.SIZE)
        assert opened.model.encode(opened.item("b", 0), "b").shared.shape == (1, 4)
        with pytest.raises(UserError, match="works on vectors"):
            opened.image_spec("a")
