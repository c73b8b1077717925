from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unbraid.config import Distance
from unbraid.metrics.retrieval import hit_ranks, label_ranks, pair_ranks, recall, recall_at, union, union_chance
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


def both(n: int) -> torch.Tensor:
    """Pairs of equal positions. (n, 2)."""
    return torch.arange(n)[:, None].expand(n, 2)


def test_any_hit_counts_and_other_hits_are_not_in_its_way() -> None:
    block = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 0.0, 2.0]])
    hits = torch.tensor([[False, True, True, False], [False, True, False, True]])
    assert hit_ranks(block, hits).tolist() == [1, 2]


def test_the_union_of_equal_codes_is_half_of_the_other_domain() -> None:
    codes, labels = normal(400, 8), torch.arange(400) % 5
    figures = union(codes, codes, both(400), (labels, labels))
    # the query's copy has one place, the other nine go to images and their copies
    assert figures["other domain"] == pytest.approx(55, abs=0.5)
    assert figures["counterpart"] == 100


def test_domains_that_lie_apart_find_their_own() -> None:
    own = normal(100, 4)
    figures = union(own, own + 100, both(100))
    assert figures == {"other domain": 0.0, "counterpart": 0.0}


def test_neighbours_in_the_union_are_those_of_a_plain_loop() -> None:
    own, others = normal(30, 3), normal(20, 3, seed=1)
    labels = torch.arange(30) % 3, torch.arange(20) % 4
    partners, at = torch.tensor([[2, 7], [2, 9], [5, 0], [29, 19]]), torch.tensor([2, 5, 29])
    other = label = found = 0
    for query in at.tolist():
        far = [(float((own[query] - x).square().sum()), "own", i) for i, x in enumerate(own) if i != query]
        far += [(float((own[query] - x).square().sum()), "other", i) for i, x in enumerate(others)]
        near = sorted(far)[:4]
        other += sum(which == "other" for _, which, _ in near)
        label += sum(labels[which == "other"][i] == labels[0][query] for _, which, i in near)
        found += any([query, i] in partners.tolist() for _, which, i in near if which == "other")
    figures = union(own, others, partners, labels, at, k=4)
    wanted = {"other domain": other / 12, "label": int(label) / 12, "counterpart": found / 3}
    assert figures == pytest.approx({name: 100 * share for name, share in wanted.items()}, abs=1e-3)


def test_what_is_as_far_as_the_last_neighbour_shares_its_place() -> None:
    labels = torch.arange(60) % 3, torch.arange(40) % 3
    figures = union(torch.ones(60, 2), torch.ones(40, 2), both(40), labels)
    assert figures == pytest.approx(union_chance(60, 40, both(40), labels), abs=1e-3)


def test_chance_in_the_union_is_what_random_codes_get() -> None:
    labels = torch.arange(200) % 4, torch.arange(200) % 4
    chance = union_chance(200, 200, both(200), labels)
    assert chance == pytest.approx(
        {"other domain": 100 * 200 / 399, "label": 100 * 99 / 399, "counterpart": 1000 / 399}, abs=1e-3
    )
    figures = union(normal(200, 2), normal(200, 2, seed=1), both(200), labels)
    assert figures["other domain"] == pytest.approx(chance["other domain"], abs=3)
    assert figures["label"] == pytest.approx(chance["label"], abs=3)
    two = torch.tensor([[0, 0], [0, 1], [1, 0]])
    # among 3 others, two of them counterparts of the first: drawing 2 misses both never; one of them of the second
    assert union_chance(2, 2, two, k=2)["counterpart"] == pytest.approx(100 * (1 + 2 / 3) / 2, abs=1e-3)


def test_blocks_of_the_union_give_what_one_piece_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    own, others = normal(30, 4), normal(25, 4, seed=1)
    whole = union(own, others, both(25))
    monkeypatch.setattr("unbraid.metrics.retrieval.BLOCK", 28)
    assert union(own, others, both(25)) == whole
