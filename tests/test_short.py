"""The text of an object that a Python user prints fits a few lines, whatever the object holds."""

import dataclasses
import importlib
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import unbraid
from helpers import SMALL_LORD, Stored, random_data
from unbraid.core.short import Short, short
from unbraid.core.types import Codes, DataSpec, ImageSpec, Labelled, Paired, VectorSpec
from unbraid.data.items import Chosen, Views
from unbraid.data.parts import UnpairedPart
from unbraid.data.sources.arrays import ArrayImages
from unbraid.evaluation.subject import Subject
from unbraid.methods.iiae import IIAE, IIAEConfig
from unbraid.model.trained import Trained
from unbraid.training.experiment import Experiment

MOST = 300
BULKY = re.compile(r"^(?!.*Callable).*\b(ndarray|Tensor|Items|Part|Module|CachedImages)\b")
INNER = ("unbraid.commands", "unbraid.web", "unbraid.__main__")
"""Modules of which a Python user gets no objects."""
MANY = 7968


def public_dataclasses() -> list[type]:
    """Of the whole package, but for what only commands and pages use."""
    names = (module.name for module in pkgutil.walk_packages(unbraid.__path__, "unbraid."))
    modules = [importlib.import_module(name) for name in names if not name.startswith(INNER)]
    return [
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__
        if not kind.__name__.startswith("_")
    ]


def test_what_holds_arrays_or_items_prints_short() -> None:
    kinds = public_dataclasses()
    bulky = [kind for kind in kinds if any(BULKY.match(str(field.type)) for field in dataclasses.fields(kind))]
    assert len(bulky) > 20
    assert [kind.__qualname__ for kind in bulky if not issubclass(kind, Short)] == []
    assert [
        kind.__qualname__ for kind in kinds if issubclass(kind, Short) and kind.__repr__ is not Short.__repr__
    ] == []


def objects() -> list[object]:
    spec = DataSpec(VectorSpec(1024), VectorSpec(1024), MANY, (MANY,), (tuple(map(str, range(MANY))),))
    images = ArrayImages(np.zeros((MANY, 32, 32, 3), np.uint8), ImageSpec(32, 32), 127.5, 1.0)
    rows, names = np.arange(MANY), [f"a/long/name/of/an/image-{i}.png" for i in range(MANY)]
    part = UnpairedPart(images, Chosen(images, rows), rows, rows, names, names, {"class": rows}, {}, rows, rows)
    data = random_data(DataSpec(ImageSpec(16, 16), ImageSpec(16, 16, 1)))
    labelled = random_data(DataSpec(ImageSpec(16, 16), ImageSpec(16, 16), classes=(4, 3)), Labelled)
    method = IIAE(data.spec, IIAEConfig(widths=(8,), decoder_widths=(8,), map_size=4))
    model = Trained(method, None, "iiae", 100)
    train = dataclasses.replace(unbraid.recipes.RECIPES["iiae-maps"].train, steps=10)
    config = unbraid.RunConfig(SMALL_LORD, train=train)
    codes, batch = (
        Codes(torch.rand(64, 128), torch.rand(64, 8)),
        Paired(torch.rand(64, 9), torch.rand(64, 9), torch.arange(64)),
    )
    experiment = Experiment("iiae", config, data, method, Path("run"), None, tuple(names), {"val": names}, None)
    views = Views(Stored(torch.rand(4, 9), VectorSpec(9)), rows, 4)
    return [
        *(spec, images, part, views, data, data.train, labelled, labelled.train, codes, batch, model, experiment),
        Subject(model, data, data.test),
    ]  # fmt: skip


@pytest.mark.parametrize("thing", objects(), ids=lambda thing: type(thing).__name__)
def test_the_text_is_short_and_names_the_kind(thing: object) -> None:
    assert repr(thing).startswith(f"{type(thing).__name__}(")
    assert len(repr(thing)) < MOST


def test_a_part_says_how_many_items_it_has_and_what_they_look_like() -> None:
    text = "UnpairedPart(a: 7,968 32x32 images of 3 channels, b: 7,968 32x32 images of 3 channels)"
    assert text in map(repr, objects())


def test_arrays_and_long_lists_are_their_size_and_short_ones_as_they_are() -> None:
    assert short(np.zeros((2, 3))) == "<2x3 float64>"
    assert short(torch.zeros(2, 3)) == "<2x3 float32>"
    assert short([*range(2000)]) == "<2,000 entries>"
    assert (short(["photo", 2]), short((1.5,)), short({"x": None})) == ("['photo', 2]", "(1.5,)", "{'x': None}")
    assert short(torch.nn.Linear(1, 1)) == "<Linear>"
