"""Layers of spectral norm 1."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from unbraid.nn.spectral import SpectralConv, SpectralLinear


@pytest.mark.parametrize("layer", [SpectralLinear(12, 7), SpectralLinear(5, 1), SpectralConv(3, 6, 4, 2, 1)])
def test_the_largest_singular_value_is_one(layer: SpectralLinear | SpectralConv) -> None:
    layer = copy.deepcopy(layer)
    with torch.no_grad():
        layer.weight.mul_(30)
        for _ in range(100):
            layer.normalised_weight()
    layer.eval()
    before = layer.u.clone()
    found = torch.linalg.matrix_norm(layer.normalised_weight().flatten(1), 2).item()
    assert found == pytest.approx(1, abs=1e-3)
    assert torch.equal(layer.u, before)  # it moves in training alone


def test_gradients_are_those_of_torchs_parametrisation() -> None:
    torch.manual_seed(0)
    mine, plain = SpectralLinear(6, 4), nn.Linear(6, 4)
    plain.load_state_dict({"weight": mine.weight, "bias": mine.bias})
    theirs = spectral_norm(plain, n_power_iterations=50)
    for _ in range(50):
        mine.normalised_weight()
    x = torch.randn(9, 6)
    mine(x).square().sum().backward()
    theirs(x).square().sum().backward()
    original = theirs.parametrizations["weight"].original  # pyright: ignore[reportIndexIssue, reportArgumentType, reportAttributeAccessIssue]
    assert isinstance(original, nn.Parameter)
    torch.testing.assert_close(mine.weight.grad, original.grad, rtol=1e-3, atol=1e-4)


def test_a_second_pass_leaves_the_first_ones_gradient_alone() -> None:
    """u moves with each pass; what was computed before must not see it."""
    torch.manual_seed(0)
    layer, x = SpectralLinear(6, 4), torch.randn(9, 6)
    twin = copy.deepcopy(layer)
    first = layer(x).square().sum()
    layer(x)
    first.backward()
    twin(x).square().sum().backward()
    assert layer.weight.grad is not None
    assert twin.weight.grad is not None
    assert torch.equal(layer.weight.grad, twin.weight.grad)
