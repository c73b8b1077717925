"""Exported functions run without Unbraid and give what the model gives."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image

from helpers import write_png
from indexes import write_run
from test_methods import CASES
from unbraid.commands.cli import main
from unbraid.core.types import Codes, UserError
from unbraid.data.images import read_image
from unbraid.methods import METHODS
from unbraid.model import export as exporting
from unbraid.model.export import Function, export
from unbraid.model.trained import Trained, load

PAGE = Path(__file__).parents[1] / "docs" / "export.md"


@pytest.fixture(autouse=True, scope="module")
def unchecked() -> Iterator[None]:
    """Shapes are not checked while torch traces: that takes ten times as long."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def model_of(name: str) -> Trained:
    torch.manual_seed(0)
    case = next(case for case in CASES.values() if case.method == name)
    return Trained(case.build().eval(), None, name, 0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and its translations as ONNX files."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    place = tmp_path_factory.mktemp("place")
    run, out = write_run(place / "run"), place / "exported"
    assert main(["export", str(run), "--to", "onnx", "--only", "translate", "--out", str(out)]) == 0
    return run, out


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_gives_the_same_by_onnxruntime(name: str, tmp_path: Path) -> None:
    """For one item and for three. Fresh networks give images that are nearly grey: their weights are scattered."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    model = model_of(name)
    with torch.no_grad():
        for weight in model.method.parameters():
            weight += 0.1 * torch.randn_like(weight)
    specs = exporting._specs(model)
    job = next(exporting._jobs(model, specs, exporting._priors(model, specs), ("translate",)))
    assert job.module(*job.inputs.values())[0].std(0).mean() > 5e-4
    _, difference = exporting._written(job, "onnx", tmp_path / "x.onnx", 1e-4)
    assert difference <= 1e-4


def test_codes_that_are_optimised_are_not_exported_in_words(tmp_path: Path) -> None:
    model = Trained(CASES["lord-no-second-stage"].build().eval(), None, "lord", 0)
    with pytest.raises(UserError, match=r"This lord has no encoder: .* --only decode leaves them out"):
        export(model, "torch", tmp_path)
    assert [*export(model, "torch", tmp_path, ("decode",))["functions"]] == ["decode_a"]


def test_an_export_says_what_goes_in_and_comes_out(exported: tuple[Path, Path]) -> None:
    about = json.loads((exported[1] / "export.json").read_text())
    assert about["functions"].keys() == {"translate_a_to_b", "translate_b_to_a"}
    one = about["functions"]["translate_a_to_b"]
    assert one["inputs"] == {"x": ["n", 3, 16, 16], "exclusive": ["n", 3]}
    assert one["max_difference"] <= 1e-4
    assert about["items"]["a"]["mode"] == "RGB"
    assert "N(0, I)" in about["exclusive_prior"]["b"]["is"]
    assert np.load(exported[1] / "prior_b.npy").shape == (16, 3)
    assert {path.name for path in exported[1].iterdir()} <= set(exporting.names("onnx"))


def test_the_page_s_ten_lines_give_what_the_model_gives(
    exported: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = exported
    monkeypatch.chdir(out.parent)
    write_png(Path("photo.png"), 1)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "unbraid", None)  # the page does without
        exec(block, {})
    made = np.asarray(Image.open("answer.png"), int)
    model = load(run)
    shared = model.encode(read_image("photo.png", model.image_spec("a"))[None], "a").shared
    exclusive = torch.from_numpy(np.load(out / "prior_b.npy")[:1])
    true = (model.decode(Codes(shared, exclusive), "b")[0].permute(1, 2, 0) + 1) * 127.5
    assert np.abs(made - true.clamp(0, 255).round().numpy()).max() <= 1


def test_an_export_that_differs_is_deleted(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"translate_a_to_b\.pt2 differs from the model by .*, more than --tolerance -1"
    ):
        export(model_of("cyclegan"), "torch", tmp_path, ("translate",), tolerance=-1)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "only", "size", "words"),
    [
        ("cyclegan", ("encode",), None, "cyclegan has no encode"),
        (
            "xgan",
            ("encode",),
            (48, 48),
            "--size 48 48: the networks of this model of xgan are made for 16x16 images",
        ),
    ],
)
def test_what_cannot_be_exported_is_said(
    name: str, only: tuple[Function, ...], size: tuple[int, int] | None, words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        export(model_of(name), "torch", tmp_path, only, size)


def test_networks_that_take_any_size_are_exported_at_another() -> None:
    model = exporting._resized(model_of("cyclegan"), (48, 64))
    job = next(exporting._jobs(model, exporting._specs(model), {}, ("translate",)))
    assert job.module(job.inputs["x"])[0].shape == (3, 3, 48, 64)
