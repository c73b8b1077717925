"""Every recipe is a complete run: it survives being written down, and its networks can be built."""

import dataclasses
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import unbraid
from unbraid import recipes
from unbraid.commands.cli import main
from unbraid.commands.recipes import duration, measured
from unbraid.core.config import to_json
from unbraid.core.files import read_json
from unbraid.core.types import DataSpec, ImageSpec, Labelled, VectorSpec
from unbraid.data.features import SIZE
from unbraid.methods import METHODS, method_name
from unbraid.methods.cddn import CdDNConfig
from unbraid.methods.uncooperative import UncooperativeConfig
from unbraid.model.run import from_json
from unbraid.nn.pretrained import teacher
from unbraid.nn.pretrained.teacher import NAMED
from unbraid.recipes import RECIPES, cddn
from unbraid.recipes.figures import Figure, read_figures, read_papers, read_seconds

STORED = {"maps": (256, 256), "facades": (256, 256), "cars": (64, 64), "digits": (32, 32), "mnist-cdcb": (32, 32)}
DRAWN = ("synthetic", "synthetic-identifiable")
STORED |= dict.fromkeys(("cars3d", "car-sides", "emoji"), (64, 64))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_complete(name: str) -> None:
    recipe = RECIPES[name]
    config = recipe.config
    written, file = to_json(config), Path("config.json")
    for part in ("method", "data", "train"):
        assert from_json(type(getattr(config, part)), written[part], file) == getattr(config, part)
    assert config.train.steps  # and nothing else, so that it is the same run on every machine
    assert config.train.epochs is config.train.minutes is None
    if config.data.set in DRAWN:
        spec = DataSpec(VectorSpec(2), VectorSpec(1))
    elif config.data.features:
        size = SIZE if config.data.tuned else NAMED[config.data.features]
        spec = DataSpec(VectorSpec(size), VectorSpec(size))
    else:
        size = config.data.size or STORED[str(config.data.set)]
        classes = (5,) if METHODS[method_name(recipe.method)].needs is Labelled else ()
        spec = DataSpec(ImageSpec(*size), ImageSpec(*size), 10, classes)
    with torch.device("meta"):
        METHODS[method_name(recipe.method)](spec, config.method)


@pytest.mark.parametrize("name", [name for name in RECIPES if name.endswith("-paper")])
def test_the_papers_recipes_have_the_papers_networks(name: str) -> None:
    config = RECIPES[name].config.method
    # the baseline differs from its method in this alone
    plain = UncooperativeConfig(cooperative=True) if name.startswith("cooperative-") else type(config)()
    if name.startswith("cddn-"):  # the program made the paper's figures, and the defaults are neither's
        plain = CdDNConfig(**cddn.PROGRAM)
    paper = {
        "cddn": tuple(field.name for field in dataclasses.fields(plain)),
        "iiae": ("widths", "decoder_widths", "map_size", "shared", "exclusive", "rate", "dropout", "decay"),
        "cyclegan": tuple(field.name for field in dataclasses.fields(plain)),
        "uncooperative": tuple(field.name for field in dataclasses.fields(plain)),
        "lord": tuple(field.name for field in dataclasses.fields(plain)),
        **{
            name: tuple(field.name for field in dataclasses.fields(plain))
            for name in ("xgan", "cut", "munit", "dtn", "pix2pix")
        },
    }
    own = ("shared", "exclusive") if name == "iiae-sketchy-paper" else ()  # 64 values for vectors
    for field in set(paper[method_name(config)]) - set(own):
        assert getattr(config, field) == getattr(plain, field), field


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_dry_runs(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On images of one's own, since the sets are not here; the demo and drawn vectors on their own data."""
    data = RECIPES[name].config.data
    images = tmp_path / "images"
    for i in range(10):
        from helpers import write_png

        inner = f"class {i % 5}/" if data.by_class else ""
        write_png(images / "a" / f"{inner}{i}.png", i, (32, 32))
        write_png(images / "b" / f"{inner}{i}.png", 100 + i, (32, 32))
    # in place of the networks, whose weights need not be here
    monkeypatch.setattr(teacher, "named_teacher", lambda name, *_: lambda x: x.flatten(1)[:, : NAMED[name]])
    sources = ["--data.a", str(images / "a"), "--data.b", str(images / "b")]
    if data.set in ("cars3d", "avataaars"):
        sources = ["--data.classes", str(images)]
    alone = name == "demo" or data.set in DRAWN
    own = [] if alone else [*sources, "--data.size", "32", "32"]
    assert main(["train", name, *own, "--dry-run"]) == 0
    assert "M parameters" in capsys.readouterr().err
    assert dataclasses.is_dataclass(RECIPES[name].config)


COMPARED = (
    *(("iiae-" + name, "cddn-" + name) for name in ("mnist-cdcb", "maps", "facades", "emoji", "sketchy")),
    ("iiae-car-sides", "cddn-cars"),
    *(
        tuple(f"{method}-{name}" for method in ("uncooperative", "cooperative", "cyclegan", "cut", "munit"))
        for name in ("relit-32", "relit", "maps", "cuhk", "facades")
    ),
    ("xgan-mnist-cdcb", "dtn-mnist-cdcb"),
    ("uncooperative-synthetic", "cooperative-synthetic"),
    ("uncooperative-synthetic-identifiable", "cooperative-synthetic-identifiable"),
    ("xgan-emoji", "cyclegan-emoji", "dtn-emoji"),
    ("uncooperative-relit-paper", "cooperative-relit-paper", "cyclegan-relit-paper"),
    tuple(recipe.name for recipe in recipes.CDDN_ABLATIONS),
    tuple(recipe.name for recipe in recipes.XGAN_ABLATIONS),
)


@pytest.mark.parametrize("names", COMPARED, ids=lambda names: names[0])
def test_what_is_compared_has_equal_steps(names: tuple[str, ...]) -> None:
    assert len({RECIPES[name].config.train.steps for name in names}) == 1


@pytest.mark.parametrize("name", [name for name in RECIPES if name.split("-")[0] not in ("demo", "iiae", "lord")])
def test_recipes_of_gans_keep_the_average_of_weights(name: str) -> None:
    config = RECIPES[name].config
    vectors = config.data.set in DRAWN or config.data.features
    assert config.train.average == (0.0 if vectors else 0.999)


def test_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in RECIPES)
    assert max(map(len, out.splitlines())) <= 80
    assert re.search(r"^demo +1,600 +\d+ min", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--method", "lord", "--set", "emoji"], ["lord-emoji-styles", "lord-emoji-two-classes"]),
        (["--set", "maps", "--method", "iiae"], ["iiae-maps", "iiae-maps-paper"]),
        (["--set", "digits", "--minutes", "60"], ["demo"]),
    ],
)
def test_recipes_are_chosen(flags: list[str], names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", *flags]) == 0
    first = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert [word for word in first if word in RECIPES] == names


def test_recipes_that_dont_exist_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--method", "nothing"]) == 2
    assert "There is no method 'nothing'; there are: cddn, " in capsys.readouterr().err
    assert main(["recipes", "--set", "maps", "--method", "lord"]) == 2
    assert "There is no such recipe" in capsys.readouterr().err


def test_recipes_are_values_under_their_names() -> None:
    several = (*recipes.CDDN_ABLATIONS, *recipes.LORD_VARIANTS, *recipes.XGAN_ABLATIONS)
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert recipe in several or getattr(recipes, name.upper().replace("-", "_")) is recipe


def test_a_run_of_a_recipe_remembers_its_name(tmp_path: Path) -> None:
    short = replace(recipes.DEMO, train=replace(recipes.DEMO.train, steps=1))
    unbraid.train(short, tmp_path / "run", quiet=True)
    saved = read_json(tmp_path / "run" / "config.json", dict[str, Any])
    assert saved["recipe"] == "demo"
    assert set(saved["config"]) == {"method_name", "method", "data", "train"}


def test_papers_figures_are_those_of_the_results() -> None:
    results = Path(__file__).parents[1] / "benchmarks" / "results" / "papers.json"
    assert read_papers() == read_json(results, dict[str, str])
    assert set(read_papers()) <= set(RECIPES)


def test_no_figure_stands_in_a_recipes_source() -> None:
    for path in Path(recipes.__file__).parent.glob("*.py"):
        assert re.findall(r'"[^"\n]*(?:\d / \d|[ "]\.\d\d)[^"\n]*"', path.read_text()) == []


def test_seconds_are_of_recipes_that_there_are() -> None:
    for device in read_seconds().values():
        assert device["machine"]["processor"]
        assert set(device["seconds"]) <= set(RECIPES)


@pytest.mark.parametrize(
    ("steps", "seconds", "shown"),
    [
        (10, 0.1, "1 min"),
        (1600, 0.1, "3 min"),
        (9000, 1.0, "2 h"),  # 150 minutes
        (1_012_000, 0.5, "6 days"),
        (10, None, "-"),
    ],
)
def test_durations_are_rounded(steps: int, seconds: float | None, shown: str) -> None:
    assert duration(steps, seconds) == shown


def test_figures_are_of_recipes_that_there_are() -> None:
    figures = read_figures()
    assert set(figures) <= set(RECIPES)
    assert all(re.search(r"\d", figure.words) for figure in figures.values())


@pytest.mark.parametrize(
    ("figure", "steps", "note", "shown"),
    [
        (Figure("9.0 / 8.0", 100), 100, "", "ours 9.0 / 8.0"),
        (Figure("9.0 / 8.0", 1200), 100, "", "ours 9.0 / 8.0 (1,200 steps)"),
        (Figure("9.0 / 8.0", 1200), 100, "other split", "ours 9.0 / 8.0 (1,200 steps; other split)"),
        (Figure("mAP .3", None), 100, "", "ours mAP .3"),
        (None, 100, "", "not measured"),
        (None, 100, "no pairs", "not measured (no pairs)"),
    ],
)
def test_a_figure_says_what_it_is_of(figure: Figure | None, steps: int, note: str, shown: str) -> None:
    assert measured(figure, steps, note) == shown
