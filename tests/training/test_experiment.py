"""Training and measuring from Python: the same run as the command's, and words for what doesn't fit."""

import importlib
import json
import os
import shutil
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

import unbraid
from helpers import SMALL_LORD, write_pairs, write_png
from unbraid.commands.cli import main
from unbraid.core.types import UserError
from unbraid.data import from_datasets
from unbraid.methods import method_name
from unbraid.methods.iiae import IIAEConfig
from unbraid.training.experiment import Experiment, checked, open_run
from unbraid.training.loop import Session
from unbraid.training.places import place_of

SMALL = IIAEConfig(widths=(8,), decoder_widths=(8,), map_size=4, shared=4)
TRAIN = unbraid.TrainConfig(steps=6, batch=4, evaluate_every=3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("folders"))


def config_of(folders: Path, **train: Any) -> unbraid.RunConfig[IIAEConfig]:
    data = unbraid.DataConfig(a=folders / "photo", b=folders / "sketch")
    return unbraid.RunConfig(SMALL, data, replace(TRAIN, **train))


@pytest.fixture(scope="module")
def run(folders: Path) -> Path:
    unbraid.train(config_of(folders), folders / "run", quiet=True)
    return folders / "run"


def test_the_names_that_are_promised_are_there() -> None:
    module = importlib.import_module("unbraid")
    assert all(getattr(module, name) is not None for name in module.__all__)
    assert unbraid.methods.METHODS["iiae"].config_type is IIAEConfig


def test_a_run_from_python_is_the_commands_run(folders: Path, tmp_path: Path) -> None:
    """A method's name is taken as the command takes it."""
    data = ["--data.a", str(folders / "photo"), "--data.b", str(folders / "sketch")]
    length = "--train.steps 2 --train.batch 4 --train.evaluate-every 2 --method.perceptual-weight 0"
    assert main(["train", "iiae", "--run", str(tmp_path / "command"), *data, *length.split()]) == 0
    config = config_of(folders, steps=2, evaluate_every=2)
    best = Experiment.prepare(replace(config, method="iiae"), dry=True).config.method
    unbraid.train(replace(config, method=replace(best, perceptual_weight=0.0)), tmp_path / "python", quiet=True)
    for name in ("config.json", "parts.json", "model.safetensors"):
        assert (tmp_path / "command" / name).read_bytes() == (tmp_path / "python" / name).read_bytes()


def test_the_model_is_given_back(folders: Path, run: Path) -> None:
    model = unbraid.train(config_of(folders), run, quiet=True)  # goes on, at its end
    assert model.name == "iiae"
    assert model.step == unbraid.load(run).step


def test_a_longer_run_that_was_stopped_goes_on_bit_for_bit(
    folders: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_step = Session.after_step

    def stop(self: Session, position: Any, *rest: Any) -> Any:
        position = after_step(self, position, *rest)
        if position.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return position

    with monkeypatch.context() as patch:
        patch.setattr(Session, "after_step", stop)
        with pytest.raises(KeyboardInterrupt, match=r"stopped at step 2; saved. The same call goes on from there"):
            unbraid.train(config_of(folders), tmp_path / "run", quiet=True)
    unbraid.train(config_of(folders), tmp_path / "run", quiet=True)
    one, other = (unbraid.load(path).method.state_dict() for path in (run, tmp_path / "run"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_methods_name_takes_what_is_best_for_the_data(folders: Path) -> None:
    data = unbraid.DataConfig(a=folders / "photo", b=folders / "sketch")
    experiment = Experiment.prepare(unbraid.RunConfig("iiae", data, TRAIN), dry=True)
    assert experiment.config.method.rate == 1e-3
    assert any("proven at 64 px" in note for note in experiment.notes)


def test_text_becomes_a_path_and_a_list_a_tuple(folders: Path) -> None:
    given = with_wrong(config_of(folders).data, a=str(folders / "photo"), size=[16, 16])
    config = checked(unbraid.RunConfig(with_wrong(SMALL, widths=[8], rate=1), given))
    assert config.data.a == folders / "photo"
    assert config.data.size == (16, 16)
    assert config.method == replace(SMALL, rate=1.0)


def test_a_run_is_measured(run: Path) -> None:
    metrics = unbraid.evaluate(run, limit=8)
    assert metrics == json.loads((run / "metrics.json").read_text())
    assert metrics["protocol"]["items"] == 3


def test_a_run_with_other_settings_is_refused(folders: Path, run: Path) -> None:
    with pytest.raises(UserError, match=r"other settings: train.batch: 4 -> 5"):
        unbraid.train(config_of(folders, batch=5), run, quiet=True)


def test_other_images_are_refused(folders: Path, run: Path, tmp_path: Path) -> None:
    config = config_of(write_pairs(tmp_path))
    (tmp_path / "photo" / "00.png").unlink()
    with pytest.raises(UserError, match="The images are not those the run began with"):
        unbraid.train(config, run, quiet=True)


@dataclass(frozen=True)
class Nameless:
    width: Any = 8


def with_wrong(config: Any, **values: Any) -> Any:
    """The same with values of types that tests' checks of hints would not let through, as a user's program has them."""
    config = replace(config)
    for name, value in values.items():
        object.__setattr__(config, name, value)
    return config


RUN = unbraid.RunConfig(SMALL)
WRONG = (
    (SMALL, r"config: RunConfig\(.*\) is needed, or a recipe; found IIAEConfig"),
    ({"method": "iiae"}, "found dict"),
    (unbraid.RunConfig(IIAEConfig), "a method's configuration, or its name, is needed; found IIAEConfig"),
    (unbraid.RunConfig(3), "a method's configuration, or its name, is needed; found int"),
    (unbraid.RunConfig(Nameless()), r'METHODS\["NAME"\] = YourMethod'),
    (unbraid.RunConfig(Nameless(object())), "a run's folder can't keep these settings"),
    (with_wrong(RUN, data="photos"), "config.data: DataConfig is needed; found str"),
    (with_wrong(RUN, train=100), "config.train: TrainConfig is needed; found int"),
    (with_wrong(RUN, train=with_wrong(TRAIN, steps="many")), 'TrainConfig: .*"steps"'),
    (with_wrong(RUN, method=with_wrong(SMALL, widths="wide")), 'IIAEConfig: .*"widths"'),
)


@pytest.mark.parametrize(("config", "words"), WRONG)
def test_a_wrong_configuration_is_told(config: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        method_name(checked(config).method)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (unbraid.RunConfig("nothing", train=TRAIN), "There is no method 'nothing'; there are: cddn, "),
        (replace(RUN, train=replace(TRAIN, steps=-1)), "more than 0"),
        (replace(RUN, train=replace(TRAIN, steps=None)), "How long"),
        (unbraid.RunConfig("lord", train=TRAIN), "one shape|VGG16"),
    ],
)
def test_what_cant_be_trained_is_told_before_a_folder_is_made(
    config: Any, words: str, folders: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        unbraid.train(replace(config, data=config_of(folders).data), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_data_and_a_folder_are_asked_for(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"Give one source of data; .* data.a with data.b, data.side_by_side, [^-]*, data= too$"
    ):
        unbraid.train(replace(RUN, train=TRAIN), tmp_path / "run", quiet=True)
    with pytest.raises(UserError, match="Where to"):
        Experiment.prepare(config_of(folders)).train()
    with pytest.raises(UserError, match="its pictures would be taken for data"):
        unbraid.train(config_of(folders), folders / "photo" / "run", quiet=True)
    with pytest.raises(UserError, match="There is no run folder"):
        unbraid.evaluate(tmp_path / "nothing")
    with pytest.raises(UserError, match="at least 8"):
        unbraid.evaluate(folders / "run", limit=3)


def test_data_that_were_moved_are_found(folders: Path, run: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path)
    _, model, data = open_run(run, {"a": tmp_path / "photo"})
    assert model.name == "iiae"
    assert len(data.test) == 3
    with pytest.raises(UserError, match=r"--data.side-by-side: .* was not trained on data that were given so"):
        open_run(run, {"side_by_side": tmp_path})


def test_data_that_are_gone_are_named_and_may_have_another_name_now(
    folders: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "run")
    config = (run / "config.json").read_text().replace(str(folders), str(tmp_path / "gone"))
    (tmp_path / "run" / "config.json").write_text(config)
    with pytest.raises(UserError, match=r"no longer in .*gone/photo: bring them back$"):
        unbraid.evaluate(tmp_path / "run")
    assert main(["report", str(tmp_path / "run")]) == 2
    assert "gone/photo: bring them back, or say where they are now: --data.a PLACE\n" in capsys.readouterr().err
    for before, now in (("photo", "aerial photos"), ("sketch", "drawings")):
        shutil.copytree(folders / before, tmp_path / now)
    places = {"a": tmp_path / "aerial photos", "b": tmp_path / "drawings"}
    assert place_of(tmp_path / "run", places) == (places, None)
    assert len(open_run(tmp_path / "run", places)[2].test) == 3


def on_others(run: Path, **places: Path) -> tuple[str, dict[str, Any]]:
    """What evaluate is given by these flags: "moved" or the name of the other data, and metrics of these."""
    flags = [word for name, place in places.items() for word in (f"--data.{name.replace('_', '-')}", str(place))]
    assert main(["evaluate", str(run), *flags, "--only", "retrieval"]) == 0
    _, on = place_of(run, places)
    metrics = json.loads((run / "metrics.json").read_text())
    return ("moved", metrics) if on is None else ("others", metrics["others"])


def test_images_the_run_was_not_given_are_measured_apart(folders: Path, run: Path, tmp_path: Path) -> None:
    """The same names, other pixels, another size, two of them training images."""
    shutil.copytree(run, tmp_path / "run")
    own = unbraid.evaluate(tmp_path / "run", only=("retrieval",))
    for i in range(10):
        write_png(tmp_path / "p" / f"{i:02d}.png", 1000 + i, (24, 24))
        write_png(tmp_path / "s" / f"{i:02d}.png", 2000 + i, (24, 24))
    trained = set(range(30)) - {
        int(name) for part in ("val", "test") for name in json.loads((run / "parts.json").read_text())[part]
    }
    for i in sorted(trained)[:2]:
        shutil.copy(folders / "photo" / f"{i:02d}.png", tmp_path / "p" / f"x{i}.png")
        shutil.copy(folders / "sketch" / f"{i:02d}.png", tmp_path / "s" / f"x{i}.png")
    what, others = on_others(tmp_path / "run", a=tmp_path / "p", b=tmp_path / "s")
    assert what == "others"
    protocol = others["p and s"]["protocol"]
    assert protocol["items"] == 12
    assert "not given" in protocol["part"]
    assert (
        "2 of 12 test items of photo and 2 of 12 test items of sketch are equal to items of training"
        in protocol["remark"]
    )
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert {**metrics, "others": None} == {**own, "others": None}
    assert "on p and s, which it was not given" in (tmp_path / "run" / "README.md").read_text()


def test_others_whose_folders_are_called_alike_stand_apart(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    found = {}
    for first, place in enumerate((tmp_path / "day", tmp_path / "night", tmp_path / "day")):
        for i in range(4):
            write_png(place / "testA" / f"{i}.png", 1000 * len(place.name) + i)
            write_png(place / "testB" / f"{i}.png", 2000 * len(place.name) + i)
        found[first] = on_others(tmp_path / "run", a=place / "testA", b=place / "testB")[1]
    name, other = found[1]
    assert name == "testA and testB"
    assert other.startswith("testA and testB (")
    assert found[1][name] == found[0][name] == found[2][name]
    assert list(found[2]) == [name, other]


def test_the_runs_own_images_elsewhere_are_its_test_part(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    write_pairs(tmp_path / "moved")
    what, metrics = on_others(tmp_path / "run", a=tmp_path / "moved" / "photo", b=tmp_path / "moved" / "sketch")
    assert (what, metrics["protocol"]["items"]) == ("moved", 3)
    held_out = json.loads((run / "parts.json").read_text())["test"][0]
    write_png(tmp_path / "moved" / "photo" / f"{held_out}.png", 999)
    assert place_of(run, {"a": tmp_path / "moved" / "photo", "b": tmp_path / "moved" / "sketch"})[1] is not None


def test_others_are_measured_where_the_runs_own_images_are_gone(tmp_path: Path) -> None:
    write_pairs(tmp_path / "own", 12)
    unbraid.train(config_of(tmp_path / "own", steps=2, evaluate_every=2), tmp_path / "run", quiet=True)
    (tmp_path / "own").rename(tmp_path / "away")
    for i in range(4):
        write_png(tmp_path / "p" / f"new{i}.png", 500 + i)
        write_png(tmp_path / "s" / f"else{i}.png", 600 + i)
    metrics = unbraid.evaluate(
        tmp_path / "run", on=unbraid.DataConfig(a=tmp_path / "p", b=tmp_path / "s"), only=("samples",)
    )
    assert "is not known" in metrics["protocol"]["remark"]
    assert "these are 4 items of a domain, and of fewer than 20 figures say little;" in metrics["protocol"]["remark"]
    assert "equal to items of training" not in metrics["protocol"]["remark"]
    shutil.copytree(tmp_path / "away", tmp_path / "most")
    (tmp_path / "most" / "photo" / "00.png").unlink()
    with pytest.raises(UserError, match="not those the run began with"):
        place_of(tmp_path / "run", {"a": tmp_path / "most" / "photo", "b": tmp_path / "most" / "sketch"})


def test_parts_of_ones_own_train_and_are_measured_as_they_are(folders: Path, tmp_path: Path) -> None:
    for part, start, count in (("train", 0, 9), ("test", 50, 5)):
        for i in range(start, start + count):
            write_png(tmp_path / "data" / f"{part}A" / f"{i}.png", i)
            write_png(tmp_path / "data" / f"{part}B" / f"{i}.png", 100 + i)
    config = replace(config_of(folders, steps=2, evaluate_every=2), data=unbraid.DataConfig(folder=tmp_path / "data"))
    unbraid.train(config, tmp_path / "run", quiet=True)
    unbraid.train(config, tmp_path / "run", quiet=True)  # the parts are those it began with
    parts = json.loads((tmp_path / "run" / "parts.json").read_text())
    assert (parts["data"], parts["train"], len(parts["val"])) == ("data", 8, 1)
    assert parts["test"] == [str(i) for i in range(50, 55)]
    there = tmp_path / "there" / "data"
    shutil.move(tmp_path / "data", there)
    flags = ["--data.folder", str(there), "--only", "retrieval"]
    assert main(["evaluate", str(tmp_path / "run"), *flags]) == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["protocol"]["items"] == 5
    with pytest.raises(UserError, match="lies in"):
        unbraid.train(replace(config, data=unbraid.DataConfig(folder=there)), there / "run")


def own(count: int = 24, seed: int = 0) -> Any:
    images = torch.rand(count, 6, 16, 16, generator=torch.Generator().manual_seed(seed))
    return from_datasets(pairs=TensorDataset(images[:, :3], images[:, 3:]))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (unbraid.DataConfig(by_class=True), "the items that --data.by-class pairs are drawn anew in each pass"),
        (unbraid.DataConfig(augment=("flip",)), "--data.augment moves them"),
        (unbraid.DataConfig(by_class=True, styles_per_class=2), "so no image keeps its style"),
    ],
)
def test_a_method_that_keeps_a_code_of_each_image_wants_images_that_stay(data: unbraid.DataConfig, words: str) -> None:
    items = [(x, i % 4) for i, x in enumerate(torch.rand(24, 3, 16, 16))]
    config = unbraid.RunConfig(SMALL_LORD, data, TRAIN)
    with pytest.raises(UserError, match=words):
        Experiment.prepare(config, data=from_datasets(a=items, b=items[::-1]))


def test_data_sets_of_ones_own_are_trained_on_and_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, run = unbraid.RunConfig(SMALL, train=TRAIN), tmp_path / "run"
    assert unbraid.train(config, run, data=own(), quiet=True).step > 0
    assert unbraid.train(config, run, data=own(), quiet=True).name == "iiae"
    assert unbraid.evaluate(run, data=own(), limit=8)["protocol"]["data"].startswith("pairs from Python")
    assert json.loads((run / "config.json").read_text())["config"]["data"]["from_python"] == "pairs"
    with pytest.raises(UserError, match="The images are not those the run began with"):
        unbraid.train(config, run, data=own(seed=1), quiet=True)
    with pytest.raises(UserError, match=r"other settings: .* data.from_python"):
        unbraid.train(config_of(write_pairs(tmp_path), evaluate_every=3), run, quiet=True)
    capsys.readouterr()
    assert main(["evaluate", str(run)]) == 2
    assert "The command line and the explorer can't read them" in capsys.readouterr().err


def test_data_that_settings_name_are_not_given(run: Path) -> None:
    with pytest.raises(UserError, match="leave data= out"):
        unbraid.evaluate(run, data=own())


def test_the_flag_of_data_from_python_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "iiae", "--help-all"])
    assert "from-python" not in capsys.readouterr().out
