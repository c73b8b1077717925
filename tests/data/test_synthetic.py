"""Vectors with known factors, drawn on the fly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from unbraid.core.data_config import DataConfig, SetName
from unbraid.core.types import DataSpec, Paired, Unpaired, UserError, VectorSpec
from unbraid.data.batches import Batches
from unbraid.data.loading import load, needs
from unbraid.data.parts import Data, PairedPart, listing
from unbraid.data.sources.synthetic import HELD_OUT, DrawnVectors, Shape, factors, uniforms

SHAPES: tuple[Shape, ...] = ("synthetic", "synthetic-identifiable")
each_shape = pytest.mark.parametrize("name", SHAPES)


def pairs(data: Data) -> PairedPart:
    assert isinstance(data.test, PairedPart)
    return data.test


def test_numbers_are_splitmix64() -> None:
    """Against the generator written out in whole numbers of any size, and its published first value for key 0."""

    def plain(key: int, at: int) -> int:
        x = (key + at * 0x9E3779B97F4A7C15) % 2**64
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
        return x ^ (x >> 31)

    assert plain(0, 1) == 0xE220A8397B1DCDAF
    for key in (0, 12345, 2**64 - 1):
        found = uniforms(key, np.array([0, 7]), 3)
        expected = [[(plain(key, row * 3 + i) >> 11) / 2**53 for i in (1, 2, 3)] for row in (0, 7)]
        assert np.array_equal(found, expected)


@each_shape
def test_factors_have_the_means_deviations_and_shapes_that_are_said(name: Shape) -> None:
    content, residual = factors(name, 9, np.arange(50_000)).T
    assert content.mean() == pytest.approx(2, abs=0.02)
    assert residual.mean() == pytest.approx(-2, abs=0.02)
    assert (content.std(), residual.std()) == pytest.approx((1, 1), abs=0.02)
    assert abs(np.corrcoef(content, residual)[0, 1]) < 0.02
    if name == "synthetic":
        for values in (content - 2, residual + 2):
            assert stats.kstest(values, "norm").pvalue > 0.01
    else:
        assert stats.kstest((content - 2) / np.sqrt(12) + 0.5, "uniform").pvalue > 0.01
        low, high = residual[residual < -1.3], residual[residual > -1.3]
        assert (low.mean(), high.mean()) == pytest.approx((-2.45, -0.2), abs=0.03)
        assert len(high) / len(residual) == pytest.approx(0.2, abs=0.01)
        assert (np.abs(residual + 1.3) < 0.2).mean() < 0.02  # few between the modes


def test_items_follow_from_seed_row_and_draw_alone() -> None:
    items = DrawnVectors("synthetic", True, "x", 3, 100)
    rows = np.array([5, 99, 0, 5])
    x = items.read(rows, 4)
    assert torch.equal(x[0], x[3])
    assert torch.equal(x[1:2], items.read(rows[1:2], 4))
    assert torch.equal(x, DrawnVectors("synthetic", True, "x", 3, 100).read(rows, 4))
    for other in (items.read(rows, 5), replace(items, seed=4).read(rows, 4), replace(items, stream="y").read(rows, 4)):
        assert not torch.isclose(x, other).any()


@each_shape
def test_training_is_unpaired_and_endless(name: SetName) -> None:
    data = needs(load(DataConfig(set=name)), Unpaired, "uncooperative")
    assert data.spec == DataSpec(VectorSpec(2), VectorSpec(1))
    batches = Batches[Unpaired](data.train, 4_096, seed=0)
    seen = [next(batches) for _ in range(35)]  # more than a pass
    a, b = torch.cat([batch.a for batch in seen]), torch.cat([batch.b for batch in seen])
    assert len(a.unique(dim=0)) == len(a)
    assert abs(float(torch.corrcoef(torch.stack([a[:, 0], b[:, 0]]))[0, 1])) < 0.02
    again = Batches[Unpaired](data.train, 4_096, seed=0, step=34)
    assert torch.equal(next(again).a, seen[34].a)


@each_shape
def test_validation_and_test_are_pairs_with_the_true_residual(name: SetName) -> None:
    data = load(DataConfig(set=name))
    rows = np.arange(HELD_OUT)
    seen = []
    for part in (data.val, data.test):
        assert isinstance(part, PairedPart)
        batch = part.batch(rows, 0)
        assert torch.equal(batch.a[:, :1], batch.b)
        assert torch.equal(batch.a[:, 1], torch.from_numpy(part.factors["residual"]).float())
        seen.append(batch.a)
    assert not torch.isclose(seen[0], seen[1]).all(1).any()
    assert listing(data)["train"] == len(data.train)
    assert len(listing(data)["test"]) == HELD_OUT


def test_a_seed_gives_other_items() -> None:
    one, two = (pairs(load(DataConfig(set="synthetic", seed=seed))) for seed in (0, 1))
    assert not np.isclose(one.factors["residual"], two.factors["residual"]).any()


def test_what_makes_no_sense_is_said() -> None:
    for config in (DataConfig(size=(8, 8)), DataConfig(channels=1), DataConfig(augment=("flip",))):
        with pytest.raises(UserError, match="holds vectors"):
            load(replace(config, set="synthetic"))
    with pytest.raises(UserError, match="iiae needs pairs"):
        needs(load(DataConfig(set="synthetic")), Paired, "iiae")
