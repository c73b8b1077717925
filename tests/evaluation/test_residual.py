"""Correlation of what is found with what is true."""

import numpy as np
import pytest
import torch

from unbraid.evaluation.measures.residual import correlation


def test_it_is_pearsons_without_its_sign() -> None:
    random = np.random.default_rng(0)
    for _ in range(5):
        x, y = random.normal(size=(2, 200))
        y = y + random.normal() * x
        expected = abs(np.corrcoef(x, y)[0, 1])
        assert correlation(torch.from_numpy(x).float(), torch.from_numpy(y).float()) == pytest.approx(
            expected, abs=1e-6
        )


def test_scale_sign_and_offset_change_nothing() -> None:
    torch.manual_seed(0)
    x = torch.randn(100)
    assert correlation(x, 3 - 5 * x) == pytest.approx(1)
    assert correlation(x, x.square()) < 0.5


def test_a_constant_follows_nothing() -> None:
    assert correlation(torch.full((9,), 0.1), torch.arange(9.0)) == 0.0
