"""Parts of one or two items, of one class, of equal items: nothing raises, and no figure is infinite or no number."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import Stored, random_data
from test_methods import CASES, Case
from unbraid.core.config import RunConfig, TrainConfig
from unbraid.core.types import DataSpec, VectorSpec
from unbraid.data.parts import Data, PairedPart, Part, UnpairedPart
from unbraid.evaluation.card import table
from unbraid.evaluation.evaluate import evaluate
from unbraid.evaluation.networks import NO_NETWORKS, PerceptualNetworks
from unbraid.evaluation.validation import validate
from unbraid.model.codes import code_space
from unbraid.model.log import Log
from unbraid.model.run import Run
from unbraid.model.saved import Position
from unbraid.model.trained import Trained


@pytest.fixture(autouse=True)
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without perceptual networks, which take seconds."""
    monkeypatch.setattr(PerceptualNetworks, "find", lambda *_: NO_NETWORKS)


def tiny(data: Data, count: int, equal: bool) -> Data:
    """The same with validation and test parts of so many items, which are equal and of one class if wanted."""

    def part(some: Any) -> Part:
        some = replace(some, rows=some.rows[:count])
        if not equal:
            return some
        if isinstance(some, PairedPart):
            labels = None if some.labels is None else np.zeros_like(some.labels)
            return replace(some, a=same(some.a), b=same(some.b), labels=labels)
        return replace(some, x=same(some.x), labels=np.zeros_like(some.labels))

    return replace(data, val=part(data.val), test=part(data.test))


def same(items: Any) -> Stored:
    """Items that are all the first one."""
    return Stored(items.x[:1].expand(items.x.shape).contiguous(), items.spec)


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for each in value.values():
            yield from numbers(each)
    elif isinstance(value, float):
        yield value


def check(case: Case, data: Data, folder: Path) -> dict[str, Any]:
    config = RunConfig(case.config, train=TrainConfig(steps=8, probe=True))
    run = Run.open(folder / "run", case.method, config)
    method = case.build()
    for stage in range(len(method.stages())):
        validate(run, method, data, Position(stage=stage), Log(run.path, quiet=True))
    pairs = data.train.pairs() if method.as_disentangler() else None
    model = Trained(method.eval(), code_space(method, pairs) if pairs else None, case.method, 0)
    metrics = evaluate(run, model, data, limit=4)
    table(metrics)
    logged = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    assert all(math.isfinite(value) for found in (metrics, *logged) for value in numbers(found))
    return metrics


FIRST = {case.method: case for case in reversed(CASES.values())}
KINDS = ("iiae-vectors", "iiae-unlike", "cyclegan-vectors", "lord-two-domains", "lord-attributes", "iiae", "cyclegan")
"""Cases of each kind of data, with codes and without."""
SIZES = {"one": (1, False), "two": (2, False), "equal": (2, True)}
"""How many items, and whether they are equal."""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", KINDS)
def test_a_part_of_so_few_items_is_measured(name: str, size: str, tmp_path: Path) -> None:
    case, (count, equal) = (CASES | FIRST)[name], SIZES[size]
    check(case, tiny(random_data(case.spec, case.needs), count, equal), tmp_path)


@pytest.mark.parametrize("case", [case for name, case in FIRST.items() if name not in KINDS], ids=lambda c: c.method)
def test_one_item_is_measured_of_every_method(case: Case, tmp_path: Path) -> None:
    check(case, tiny(random_data(case.spec, case.needs), 1, equal=False), tmp_path)


@pytest.mark.parametrize(("a", "b"), [([0], [0]), ([0], [1]), ([0], [1, 0]), ([0, 1], [7, 7]), ([0, 1], [0, 7, 0])])
def test_classes_of_so_few_items_are_measured(a: list[int], b: list[int], tmp_path: Path) -> None:
    case = CASES["iiae-vectors"]
    data = random_data(case.spec)
    assert isinstance(data.train, PairedPart)
    sides = [np.arange(len(side)) for side in (a, b)]
    names = [str(i) for i in range(3)]
    few = UnpairedPart(
        data.train.a, data.train.b, sides[0], sides[1], names, names, labels_a=np.array(a), labels_b=np.array(b)
    )
    metrics = check(case, replace(data, val=few, test=few), tmp_path)
    assert ("zero_shot" in metrics) == (len(b) == 3)
    assert ("unseen classes" in metrics.get("not_measured", {})) == (len(b) < 3)


@pytest.mark.parametrize("count", [1, 2])
def test_a_known_residual_of_so_few_items_is_not_measured(count: int, tmp_path: Path) -> None:
    case = replace(CASES["iiae-vectors"], spec=DataSpec(VectorSpec(2), VectorSpec(1)))
    case = replace(case, config=replace(case.config, shared=1, exclusive=1))
    data = random_data(case.spec)
    parts = {
        name: replace(part, factors={"residual": np.linspace(0, 1, 24)})  # type: ignore[type-var]
        for name, part in data.parts().items()
    }
    assert "residual" not in check(case, tiny(replace(data, **parts), count, equal=False), tmp_path)
    assert "residual, %" not in (tmp_path / "run" / "log.jsonl").read_text()


def test_black_images_that_are_made_exactly_have_a_finite_score(tmp_path: Path) -> None:
    """Their ratio of signal to noise is infinite."""
    case = CASES["lord"]
    method, data = case.build(), tiny(random_data(case.spec, case.needs), 2, equal=True)
    method.decode = lambda codes, domain: data.val.labelled().x.x[: len(codes.shared)]  # type: ignore
    run = Run.open(tmp_path / "run", "lord", RunConfig(case.config, train=TrainConfig(steps=8)))
    position = validate(run, method, data, Position(stage=1), Log(run.path, quiet=True))
    assert position.best == 100
