import pytest
import torch
from torch import nn

from unbraid.nn.blocks import UpConv, Upsampling, doubling
from unbraid.nn.functional import adain


def test_up_conv_is_nearest_upsampling_and_a_convolution() -> None:
    torch.manual_seed(0)
    block, x = UpConv(5, 4), torch.randn(2, 5, 6, 7)
    plain = nn.functional.conv2d(nn.functional.interpolate(x, scale_factor=2), block.weight, block.bias, padding=1)
    torch.testing.assert_close(block(x), plain, rtol=1e-4, atol=1e-5)


def test_up_conv_has_the_gradients_of_what_it_replaces() -> None:
    torch.manual_seed(0)
    block, x = UpConv(3, 4), torch.randn(2, 3, 4, 4)
    wanted = nn.functional.conv2d(nn.functional.interpolate(x, scale_factor=2), block.weight, block.bias, padding=1)
    expected = torch.autograd.grad(wanted.square().sum(), block.weight)[0]
    torch.testing.assert_close(
        torch.autograd.grad(block(x).square().sum(), block.weight)[0], expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("kernel", [3, 4])
def test_nearest_upsampling_leaves_no_grid_on_an_even_map(kernel: int) -> None:
    torch.manual_seed(0)
    grids: dict[Upsampling, float] = {"transposed": 0.0, "nearest": 0.0}
    for way in grids:
        doubled = doubling(4, 2, way, kernel=kernel)(torch.ones(1, 4, 8, 8))
        assert doubled.shape == (1, 2, 16, 16)
        grids[way] = float(doubled[..., 2:-2, 2:-2].std(dim=(2, 3)).max().detach())
    assert grids["nearest"] < 1e-5 < 1e-3 < grids["transposed"]


def test_adain_sets_mean_and_deviation_of_each_map() -> None:
    torch.manual_seed(0)
    x, scale, shift = torch.randn(3, 4, 8, 8) * 5 + 2, torch.rand(3, 4) + 0.5, torch.randn(3, 4)
    y = adain(x, scale, shift)
    torch.testing.assert_close(y.mean((2, 3)), shift, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(y.std((2, 3), correction=0), scale, rtol=1e-3, atol=1e-3)


def test_adain_is_blind_to_the_scale_of_what_comes_in() -> None:
    x, one, zero = torch.randn(2, 3, 8, 8), torch.ones(2, 3), torch.zeros(2, 3)
    torch.testing.assert_close(adain(x, one, zero), adain(7 * x + 3, one, zero), rtol=1e-3, atol=1e-3)


def test_adain_has_the_gradient_of_what_it_computes() -> None:
    torch.manual_seed(0)
    x, scale, shift = (torch.randn(*s, dtype=torch.float64) for s in ((2, 3, 4, 5), (2, 3), (2, 3)))
    inputs = [t.requires_grad_() for t in (x, scale, shift)]
    assert torch.autograd.gradcheck(adain, inputs)
