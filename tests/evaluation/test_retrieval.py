from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unbraid.core.config import Distance
from unbraid.evaluation.metrics import retrieval
from unbraid.evaluation.metrics.retrieval import (
    distances,
    first_hits,
    interval,
    label_figures,
    pair_figures,
    recall,
    signs,
    union,
    union_chance,
)
from unbraid.model.space import CodeSpace


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shares(figures: dict) -> dict:
    """Recall by k, without its interval."""
    return {way: {k: value for k, value in values.items() if k != "interval"} for way, values in figures.items()}


def test_equal_codes_find_each_other() -> None:
    codes = normal(50, 8)
    assert shares(recall(codes, codes)) == {way: {"1": 100.0, "5": 100.0, "10": 100.0} for way in ("a->b", "b->a")}


def test_codes_that_are_all_alike_find_what_chance_would() -> None:
    codes = torch.ones(50, 8)
    space = CodeSpace.fit(normal(60, 8), normal(60, 8, seed=1))
    for distance in get_args(Distance):
        found = shares(recall(codes, codes, None, distance, space))
        assert found["a->b"] == {"1": 2.0, "5": 10.0, "10": 20.0}


def test_codes_that_are_not_numbers_find_nothing() -> None:
    codes = normal(20, 4)
    codes[3:] = torch.nan
    assert recall(codes, codes)["a->b"]["1"] == 0
    assert recall(codes, codes, torch.arange(20) % 3)["a->b"]["1"] == 0


def rows_of(case: str) -> tuple[np.ndarray, np.ndarray]:
    """Which of 40 items of a, and which of b, each pair has."""
    own = np.arange(40)
    return {
        "each once": (own, own),
        "all rows twice": (np.tile(own, 2), np.tile(own, 2)),
        "ten rows twice": (np.concatenate([own, own[:10]]),) * 2,
        "three of b for each a": (own.repeat(3), np.arange(120)),
        "three of a for each b": (np.arange(120), own.repeat(3)),
        "two by two": (own.repeat(2), (own - own % 2).repeat(2) + np.tile([0, 1], 40)),
    }[case]


CASES = [
    "each once",
    "all rows twice",
    "ten rows twice",
    "three of b for each a",
    "three of a for each b",
    "two by two",
]


@pytest.mark.parametrize("case", CASES)
def test_an_item_in_several_pairs_is_there_once_and_any_partner_is_a_hit(case: str) -> None:
    rows = rows_of(case)
    # what belongs together is near, and a little apart, so that there are no ties but of repeated rows
    things = rows[0] // 2 if case == "two by two" else rows[int(len(set(rows[0])) > 40)]
    a, b = (normal(40, 6)[things] + 1e-3 * normal(120, 6, seed=side)[rows[side - 1]] for side in (1, 2))
    labels = torch.from_numpy(things % 4)
    for of in (None, labels):
        figures = recall(a, b, of, items=rows)
        for way, (queries, gallery) in {"a->b": (0, 1), "b->a": (1, 0)}.items():
            assert [figures[way][k] for k in ("1", "5", "10")] == [100, 100, 100]
            assert figures[way]["interval"]["1"] == interval(1.0, len(set(rows[queries])))
            assert len(set(rows[gallery])) in (40, 120)


@pytest.mark.parametrize("case", CASES)
def test_recall_with_repeated_items_is_that_of_plain_loops(case: str) -> None:
    rows = rows_of(case)
    vectors = normal(120, 3), normal(120, 3, seed=1)
    pairs = set(zip(*(row.tolist() for row in rows), strict=True))
    figures = recall(vectors[0][rows[0]], vectors[1][rows[1]], items=rows)
    for way, own in {"a->b": 0, "b->a": 1}.items():
        found = []
        for query in sorted(set(rows[own])):
            gallery = sorted(set(rows[1 - own]))
            far = [float((vectors[own][query] - vectors[1 - own][item]).square().sum()) for item in gallery]
            near = [gallery[i] for i in np.argsort(far)]
            found.append(min(near.index(pair[1 - own]) for pair in pairs if pair[own] == query))
        assert figures[way]["1"] == pytest.approx(100 * np.mean(np.array(found) < 1), abs=1e-3)
        assert figures[way]["10"] == pytest.approx(100 * np.mean(np.array(found) < 10), abs=1e-3)


@settings(max_examples=15)
@given(st.integers(3, 14), st.integers(2, 4), st.integers(0, 1000))
def test_ties_are_what_random_orders_give_on_average(g: int, values: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    far, hits = random.integers(values, size=(4, g)).astype(np.float32), random.random((4, g)) < 0.4
    hits[:, 0] = True
    first = first_hits(torch.from_numpy(far), torch.from_numpy(hits))
    places = []
    for _ in range(4000):
        order = np.lexsort((random.random((4, g)), far))
        places.append(np.take_along_axis(hits, order, 1).argmax(1))
    for k in (1, 2, 5):
        assert first.within(k).numpy() == pytest.approx((np.array(places) < k).mean(0), abs=0.05)
    assert first.places().numpy() == pytest.approx(np.mean(places, 0) + 1, abs=0.25)


@settings(max_examples=15)
@given(st.integers(6, 14), st.integers(0, 1000))
def test_precision_with_ties_is_what_random_orders_give_on_average(g: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    gallery, labels = torch.from_numpy(random.integers(2, size=(g, 2)).astype(np.float32)), torch.arange(g) % 3
    query = torch.zeros(1, 2)
    averages, shares = [], []
    for _ in range(4000):
        order = np.lexsort((random.random(g), gallery.sum(1).numpy()))
        hits = (labels[order] == 0).numpy()
        averages.append((np.cumsum(hits) / np.arange(1, g + 1))[hits].mean())
        shares.append(hits[:4].mean())
    found = label_figures(query, gallery, torch.zeros(1).long(), labels, precision_at=4)
    assert found["map"] == pytest.approx(np.mean(averages), abs=0.02)
    assert found["p_at_4"] == pytest.approx(np.mean(shares), abs=0.02)


def test_equal_items_of_a_gallery_are_equally_far() -> None:
    gallery = normal(61, 37)
    far = distances(normal(29, 37, seed=1), torch.cat([gallery, gallery[:50], gallery]))
    assert torch.equal(far[:, :61], far[:, 111:])
    assert torch.equal(far[:, :50], far[:, 61:111])


def test_signs_tie_exactly_where_they_differ_in_as_many_places() -> None:
    x, y = signs(normal(30, 33)), signs(normal(200, 33, seed=1))
    assert torch.equal(distances(x, y), 4.0 * (x[:, None] != y[None]).sum(-1))


@pytest.mark.parametrize(
    ("gallery", "left"), [(1, []), (2, ["1"]), (5, ["1"]), (6, ["1", "5"]), (11, ["1", "5", "10"])]
)
def test_what_no_query_can_miss_is_left_out(gallery: int, left: list[str]) -> None:
    figures = recall(normal(gallery, 3), normal(gallery, 3, seed=1))["a->b"]
    assert [k for k in figures if k != "interval"] == left
    assert list(figures.get("interval", {})) == left
    # one class: every item is a hit
    assert recall(normal(12, 3), normal(12, 3), torch.zeros(12).long())["a->b"] == {}


def test_intervals_are_wilsons() -> None:
    assert interval(1.0, 8) == pytest.approx([67.559, 100], abs=1e-3)
    assert interval(0.5, 100) == pytest.approx([40.383, 59.617], abs=1e-3)
    assert interval(0.0, 1)[0] == 0


def test_unrelated_codes_hit_by_chance() -> None:
    figures = recall(normal(2000, 16), normal(2000, 16, seed=1))
    assert figures["a->b"]["1"] < 0.5


@settings(max_examples=25)
@given(st.integers(2, 60), st.integers(1, 12), st.integers(0, 10_000))
def test_ranks_are_those_of_a_plain_double_loop(n: int, d: int, seed: int) -> None:
    x, y = normal(n, d, seed=seed), normal(n, d, seed=seed + 1)
    distances = ((x[:, None].double() - y[None].double()) ** 2).sum(-1).numpy()
    expected = [int((row < row[i]).sum()) for i, row in enumerate(distances)]
    first = first_hits(retrieval.distances(x, y), torch.eye(n, dtype=torch.bool))
    assert (first.places() - 1).tolist() == expected
    figures = shares(recall(x, y))["a->b"]
    assert figures == {k: round(100 * float(np.mean(np.array(expected) < int(k))), 3) for k in figures}


def test_label_hits_are_those_of_the_nearest_item() -> None:
    x, y = normal(40, 5), normal(40, 5, seed=1)
    labels = torch.arange(40) % 4
    nearest = torch.cdist(x, y).argmin(1)
    assert recall(x, y, labels)["a->b"]["1"] == pytest.approx(
        100 * (labels[nearest] == labels).float().mean().item(), abs=1e-3
    )


def test_blocks_give_what_one_piece_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, rows = normal(30, 4), normal(30, 4, seed=1), np.arange(30) // 2
    whole = recall(x, y), recall(x, y, items=(rows, rows))
    monkeypatch.setattr("unbraid.evaluation.metrics.retrieval.BLOCK", 7)
    assert (recall(x, y), recall(x, y, items=(rows, rows))) == whole


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
    assert first_hits(block, hits).places().tolist() == [2, 2.5]  # a hit and another are both at 1 from the second


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
    monkeypatch.setattr("unbraid.evaluation.metrics.retrieval.BLOCK", 28)
    assert union(own, others, both(25)) == whole


def naive(
    x: torch.Tensor, y: torch.Tensor, of: torch.Tensor, among: torch.Tensor, precision_at: int
) -> dict[str, float]:
    """Average precision, precision and first rank of each query by plain loops, without ties."""
    table = ((x[:, None].double() - y[None].double()) ** 2).sum(-1)
    averages, shares, firsts = [], [], []
    for row, label in zip(table, of, strict=True):
        hits = (among[row.argsort()] == label).tolist()
        places = [place for place, hit in enumerate(hits, 1) if hit]
        averages.append(np.mean([number / place for number, place in enumerate(places, 1)]))
        shares.append(sum(hits[:precision_at]) / precision_at)
        firsts.append(places[0])
    return {"map": float(np.mean(averages)), "share": float(np.mean(shares)), "median": float(np.median(firsts))}


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(3, 60), st.integers(1, 9), st.integers(0, 10_000))
def test_figures_by_label_are_those_of_plain_loops(q: int, g: int, k: int, seed: int) -> None:
    x, y = normal(q, 6, seed=seed), normal(g, 6, seed=seed + 1)
    of, among = torch.arange(q) % 3, torch.arange(g) % 3
    found, expected = label_figures(x, y, of, among, precision_at=k), naive(x, y, of, among, k)
    assert found["map"] == pytest.approx(expected["map"], abs=1e-5)
    assert found[f"p_at_{k}"] == pytest.approx(expected["share"], abs=1e-5)
    assert found["median_rank"] == pytest.approx(expected["median"])


def test_small_blocks_give_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, labels = normal(50, 6), normal(50, 6, seed=1), torch.arange(50) % 5
    whole = label_figures(x, y, labels, labels), pair_figures(x, y)
    monkeypatch.setattr(retrieval, "BLOCK_VALUES", 350)
    assert (label_figures(x, y, labels, labels), pair_figures(x, y)) == whole


def test_figures_by_pair_are_those_of_classes_of_one() -> None:
    x, y, own = normal(60, 6), normal(60, 6, seed=1), torch.arange(60)
    by_label = label_figures(x, y, own, own)
    assert pair_figures(x, y) == {name: by_label[name] for name in ("recall", "median_rank", "map")}
    found = pair_figures(x, x)
    assert (found["recall"], found["median_rank"], found["map"]) == (recall(x, x)["a->b"], 1.0, 1.0)


def test_what_is_no_number_comes_last() -> None:
    labels = torch.arange(20) % 2
    broken = normal(20, 3)
    broken[:, 0] = torch.nan
    found = label_figures(broken, broken, labels, labels, precision_at=10)
    # ten others stand before the ten hits
    assert found["map"] == pytest.approx(np.mean([j / (10 + j) for j in range(1, 11)]), abs=1e-5)
    assert found["p_at_10"] == 0
    assert found["recall"]["10"] == 0


def test_queries_without_a_class_in_the_gallery_are_left_out() -> None:
    x = normal(10, 3)
    some = label_figures(x, x, torch.arange(10), torch.arange(5).repeat(2))
    assert some == label_figures(x[:5], x, torch.arange(5), torch.arange(5).repeat(2))
    with pytest.raises(ValueError, match="no query"):
        label_figures(x, x, torch.zeros(10).long(), torch.ones(10).long())


def test_distances_of_signs_are_hamming_distances() -> None:
    x, y = signs(normal(8, 64)), signs(normal(9, 64, seed=1))
    hamming = (x[:, None] != y[None]).sum(-1)
    torch.testing.assert_close(retrieval.distances(x, y), 4.0 * hamming, atol=1e-3, rtol=0)
