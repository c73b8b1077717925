from dataclasses import replace

import numpy as np
import pytest
import threadpoolctl
import torch
from torch import Tensor

from unbraid.evaluation.metrics import probes
from unbraid.evaluation.metrics.probes import Kind, ProbeResult, RegressionResult, probe, regress

KINDS: list[Kind] = ["linear", "mlp"]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fifth(n: int) -> Tensor:
    return torch.arange(n) % 5 == 0


@pytest.mark.parametrize("kind", KINDS)
def test_codes_that_carry_nothing_score_near_chance(kind: Kind) -> None:
    labels = torch.randint(4, (1500,), generator=torch.Generator().manual_seed(1))
    result = probe(normal(1500, 8), labels, fifth(1500), kind)
    assert result.accuracy < result.chance + 8
    assert (result.classes, result.train, result.test, result.left_out) == (4, 1200, 300, 0)
    assert result.kind == kind
    assert result.control > 98
    assert result.conclusive


@pytest.mark.parametrize("kind", KINDS)
def test_a_code_that_is_the_label_scores_all(kind: Kind) -> None:
    labels = torch.arange(1200) % 7
    codes = torch.nn.functional.one_hot(labels).float()
    assert probe(codes, labels, fifth(1200), kind).accuracy > 99


@pytest.mark.parametrize("kind", KINDS)
def test_many_classes_are_read_from_codes_that_hold_them(kind: Kind) -> None:
    labels = torch.arange(1600) % 41
    codes = normal(41, 64, seed=1)[labels] + 0.5 * normal(1600, 64)
    result = probe(codes, labels, fifth(1600), kind)
    assert result.accuracy > 98
    assert result.control > 98
    assert result.conclusive


def test_too_few_codes_of_each_class_say_nothing() -> None:
    labels = torch.arange(90) % 30  # two of each to be fitted to
    result = probe(normal(90, 2), labels, torch.arange(90) < 30)
    assert result.control < 90
    assert not result.conclusive


def test_what_is_found_says_something_whatever_the_control() -> None:
    found = ProbeResult(99.0, 10.0, 20.0, 10, 100, 50, 0, 1, "linear")
    assert found.conclusive
    assert not replace(found, accuracy=10.0).conclusive
    assert RegressionResult(0.95, 0.1, 100, 50, 0, 1, "linear").conclusive
    assert not RegressionResult(0.1, 0.5, 100, 50, 0, 1, "linear").conclusive


def test_the_code_that_tells_more_is_the_others_control() -> None:
    content = ProbeResult(2.0, 1.6, 99.0, 163, 100, 50, 0, 1, "linear")
    poor, good = replace(content, accuracy=48.0), replace(content, accuracy=98.0)
    assert content.beside(good) == replace(content, control=98.0)
    assert not content.beside(poor).conclusive
    assert good.beside(content) == good


def test_an_exclusive_or_is_read_by_the_mlp_alone() -> None:
    codes = normal(2000, 2)
    labels = ((codes[:, 0] > 0) ^ (codes[:, 1] > 0)).long()
    assert probe(codes, labels, fifth(2000), "linear").accuracy < 60
    assert probe(codes, labels, fifth(2000), "mlp").accuracy > 90


def test_chance_is_that_of_the_most_frequent_class() -> None:
    labels = (torch.arange(500) % 7 == 0).long()  # 15 of the 100 held out
    result = probe(normal(500, 2), labels, fifth(500))
    assert result.chance == 85
    assert result.parameters == 3


def test_chance_is_one_in_all_classes_if_that_is_more() -> None:
    labels = torch.tensor([0, 1, 2, 3] * 10)
    train, test = np.arange(40), np.arange(4)
    assert probe(normal(40, 2), labels, (train, test)).chance == 25


@pytest.mark.parametrize("kind", KINDS)
def test_positions_and_truth_values_mean_the_same(kind: Kind) -> None:
    codes, labels, held_out = normal(300, 4), torch.arange(300) % 3, fifth(300)
    positions = (torch.arange(300)[~held_out], torch.arange(300)[held_out])
    assert probe(codes, labels, held_out, kind) == probe(codes, labels, positions, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_many_rare_classes_and_flat_dimensions_are_taken(kind: Kind) -> None:
    labels = torch.arange(60) % 29  # two or three items each, one of them held out
    codes = torch.cat([torch.nn.functional.one_hot(labels).float(), torch.ones(60, 3)], 1).view(60, 2, 4, 4)
    held_out = torch.arange(60) < 29
    assert probe(codes, labels, held_out, kind).classes == 29


def test_more_codes_than_the_limit_are_drawn_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "LIMIT", 50)
    codes, labels = normal(300, 3), torch.arange(300) % 2
    first, again, other = (probe(codes, labels, fifth(300), seed=seed) for seed in (0, 0, 1))
    assert (first.train, first.test, first.left_out) == (50, 50, 200)
    assert first == again
    assert first != other


def test_nothing_to_fit_to_is_an_error() -> None:
    labels = torch.arange(10) % 2
    with pytest.raises(ValueError, match="not 0 and 10"):
        probe(normal(10, 2), labels, torch.ones(10, dtype=torch.bool))
    with pytest.raises(ValueError, match="5 items have one"):
        probe(normal(10, 2), labels, labels == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_regression_reads_what_is_there(kind: Kind) -> None:
    codes = normal(1500, 4)
    factors = 3 * codes @ torch.tensor([1.0, -2.0, 0.0, 0.0]) + 100
    result = regress(codes, factors, fifth(1500), kind)
    assert result.r2 > 0.98
    assert (result.train, result.test) == (1200, 300)
    nothing = regress(codes, normal(1500, seed=1), fifth(1500), kind)
    assert nothing.r2 < 0.05
    assert nothing.control > 0.9
    assert nothing.conclusive


def test_a_square_is_read_by_the_mlp_alone() -> None:
    codes = normal(2000, 2)
    factors = codes[:, 0].square()
    assert regress(codes, factors, fifth(2000), "linear").r2 < 0.1
    assert regress(codes, factors, fifth(2000), "mlp").r2 > 0.8


def test_a_factor_that_does_not_vary_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not vary"):
        regress(normal(20, 2), torch.ones(20), fifth(20))


def test_readers_are_fitted_by_one_thread() -> None:
    class Model:
        def fit(self, x: np.ndarray, y: np.ndarray) -> set[int]:
            return {each["num_threads"] for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"}

    with threadpoolctl.threadpool_limits(2, "blas"):
        assert probes.fitted(Model(), np.zeros((2, 2)), np.zeros(2)) == {1}
