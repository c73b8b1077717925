"""A run's configuration in a file: what is written can be given back, from the command line and from Python."""

import json
from pathlib import Path

import pytest

import unbraid
from helpers import write_pairs
from unbraid.commands.cli import main
from unbraid.core.config import to_json
from unbraid.core.types import UserError
from unbraid.methods import method_name
from unbraid.methods.iiae import SMALL_IMAGES, IIAEConfig
from unbraid.model.run import Run
from unbraid.recipes import RECIPES


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("folders"), 16)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def own(folders: Path, suffix: str, **more: object) -> Path:
    """A small file of settings."""
    values = {
        "method_name": "iiae",
        "method": {"widths": [8], "decoder_widths": [8], "map_size": 4, "shared": 4, "perceptual_weight": 0},
        "data": {"a": str(folders / "photo"), "b": str(folders / "sketch"), "size": 16},
        "train": {"steps": 2, "batch": 4, "evaluate_every": 2},
    }
    return write(folders / f"run{suffix}", json.dumps(values | more))  # which is YAML too


def test_what_a_run_wrote_gives_the_same_run(folders: Path, tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    assert main(["train", "--config", str(own(folders, ".yaml")), "--run", str(first)]) == 0
    assert main(["train", "--config", str(first / "config.json"), "--run", str(second)]) == 0
    unbraid.train(unbraid.read_config(first), third, quiet=True)
    for name in ("config.json", "model.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes() == (third / name).read_bytes()


def test_what_a_dry_run_prints_can_be_given_back(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sides = ["--data.a", str(folders / "photo"), "--data.b", str(folders / "sketch"), "--method.perceptual-weight", "0"]
    assert main(["train", "iiae", *sides, "--data.size", "16", "--train.steps", "3", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    file = write(tmp_path / "run.json", printed)
    assert main(["train", "--config", str(file), "--dry-run"]) == 0
    assert capsys.readouterr().out == printed
    assert main(["train", "iiae", f"--config={file}", "--train.steps", "4", "--dry-run"]) == 0  # a flag overrides
    other = json.loads(capsys.readouterr().out)
    assert other["train"].pop("steps") == 4
    assert other | {"train": other["train"] | {"steps": 3}} == json.loads(printed)


@pytest.mark.parametrize("name", ["demo", "lord-cars3d", "uncooperative-maps", "xgan-emoji"])
def test_a_recipe_is_read_back_as_it_was(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    values = {"method_name": method_name(recipe.method), "recipe": name, **to_json(recipe.config)}
    assert unbraid.read_config(write(tmp_path / "run.json", json.dumps(values))) == recipe
    del values["recipe"]
    assert unbraid.read_config(write(tmp_path / "run.json", json.dumps(values))) == recipe.config


def test_a_method_has_the_defaults_of_its_data_where_the_file_says_nothing(folders: Path, tmp_path: Path) -> None:
    text = f"""
    method_name: iiae
    method: {{rate: 1e-3, perceptual_weight: 0}}
    data: {{a: {folders / "photo"}, b: {folders / "sketch"}}}
    train: {{steps: 3}}
    """
    config = unbraid.read_config(write(tmp_path / "run.yml", text))
    assert config.method.rate == 1e-3
    assert config.method.widths == SMALL_IMAGES.widths != IIAEConfig().widths
    assert main(["train", "--config", str(tmp_path / "run.yml"), "--run", str(tmp_path / "run"), "--dry-run"]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{train: {step: 5}}", "no setting train.step. Did you mean steps?"),
        ("{method: {perceptual: {vg16: x}}}", "no setting method.perceptual.vg16. Did you mean perceptual.vgg16"),
        ("{trian: {steps: 5}}", "there is no entry trian. Did you mean train?"),
        ("{train: 5}", "train must be settings by their names"),
        ("{train: {batch: many}}", 'train that is none: wrong value type for field "batch"'),
        ("{method_name: lord}", "is of the method lord, but iiae is of iiae"),
        ("[1, 2]", "has no settings by their names"),
        ("{a: [", "can't be read as YAML"),
    ],
)
def test_what_a_file_says_wrong_is_named(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "iiae", "--config", str(write(tmp_path / "run.yaml", text)), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_a_file_must_name_a_method_or_the_command_does(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="names no method"):
        unbraid.read_config(write(tmp_path / "run.json", '{"train": {"steps": 4}}'))
    with pytest.raises(UserError, match=r"no method 'iiea'; .*Did you mean iiae"):
        unbraid.read_config(write(tmp_path / "run.json", '{"method_name": "iiea"}'))
    with pytest.raises(UserError, match="can't be read"):
        unbraid.read_config(tmp_path / "none.json")


def test_settings_of_former_names_are_taken(folders: Path, tmp_path: Path) -> None:
    file = own(folders, "-former.json", method_name="cyclegan", method={"again": 3.0})
    assert unbraid.read_config(file).method.cycle == 3.0


def test_a_runs_folder_is_its_file(folders: Path, tmp_path: Path) -> None:
    config = unbraid.read_config(own(folders, ".json"))
    run = Run.open(tmp_path / "run", "iiae", config)
    assert unbraid.read_config(run.path) == Run.existing(run.path).config
