from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unbraid.config import Distance
from unbraid.metrics.retrieval import label_ranks, pair_ranks, recall, recall_at
from unbraid.metrics.space import CodeSpace


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_equal_codes_find_each_other() -> None:
    codes = normal(50, 8)
    figures = recall(codes, codes)
    assert figures == {way: {"1": 100.0, "5": 100.0, "10": 100.0} for way in ("a->b", "b->a")}


def test_codes_that_are_all_alike_find_nothing() -> None:
    codes = torch.ones(50, 8)
    space = CodeSpace.fit(normal(60, 8), normal(60, 8, seed=1))
    for distance in get_args(Distance):
        assert recall(codes, codes, None, distance, space)["a->b"] == {"1": 0.0, "5": 0.0, "10": 0.0}


def test_codes_that_are_not_numbers_find_nothing() -> None:
    codes = normal(20, 4)
    codes[3:] = torch.nan
    assert recall(codes, codes)["a->b"]["1"] == 0
    assert recall(codes, codes, torch.arange(20) % 3)["a->b"]["1"] == 0


def test_unrelated_codes_hit_by_chance() -> None:
    figures = recall(normal(2000, 16), normal(2000, 16, seed=1))
    assert figures["a->b"]["1"] < 0.5


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 60), st.integers(1, 12), st.integers(0, 10_000))
def test_ranks_are_those_of_a_plain_double_loop(n: int, d: int, seed: int) -> None:
    x, y = normal(n, d, seed=seed), normal(n, d, seed=seed + 1)
    distances = ((x[:, None].double() - y[None].double()) ** 2).sum(-1).numpy()
    expected = [int((row < row[i]).sum()) for i, row in enumerate(distances)]
    assert pair_ranks(x, y).tolist() == expected


def test_label_hits_are_those_of_the_nearest_item() -> None:
    x, y = normal(40, 5), normal(40, 5, seed=1)
    labels = torch.arange(40) % 4
    nearest = torch.cdist(x, y).argmin(1)
    assert recall_at(label_ranks(x, y, labels, labels))["1"] == pytest.approx(
        100 * (labels[nearest] == labels).float().mean().item(), abs=1e-3
    )


def test_blocks_give_what_one_piece_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(30, 4), normal(30, 4, seed=1)
    whole = pair_ranks(x, y)
    monkeypatch.setattr("unbraid.metrics.retrieval.BLOCK", 7)
    assert torch.equal(whole, pair_ranks(x, y))


def test_maps_are_compared_flat() -> None:
    codes = normal(20, 3, 4, 4)
    space = CodeSpace.fit(normal(60, 3, 4, 4), normal(60, 3, 4, 4, seed=1))
    assert recall(codes, codes.clone(), None, "whitened", space)["b->a"]["1"] == 100


def test_a_distance_that_needs_a_space_says_so() -> None:
    with pytest.raises(ValueError, match="CodeSpace"):
        recall(normal(4, 2), normal(4, 2), None, "cosine")


def test_far_from_the_origin_ranks_stay_exact() -> None:
    x = normal(200, 6) + 1000
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 1e-2, (200, 6)).astype(np.float32))
    assert recall(x, x + noise)["a->b"]["1"] > 95
