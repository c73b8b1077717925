"""Translators of CycleGAN's kind."""

import pytest
import torch

from unbraid.core.types import DataSpec, ImageSpec, VectorSpec
from unbraid.nn.blocks import draw_normal
from unbraid.nn.residual import Norm, ResidualTranslator, check_same_shape, drawn


@pytest.mark.parametrize(("height", "width"), [(8, 8), (17, 22), (5, 32)])
def test_any_size_comes_back_at_its_size(height: int, width: int) -> None:
    translator = ResidualTranslator(ImageSpec(height, width, 2), 3, width=4, blocks=1)
    made = translator(torch.randn(2, 2, height, width))
    assert made.shape == (2, 3, height, width)
    assert made.abs().max() <= 1


@pytest.mark.parametrize(("logit", "kept"), [(100.0, 1.0), (-100.0, 0.0)])
def test_a_mask_keeps_the_input_or_draws_anew(logit: float, kept: float) -> None:
    translator = ResidualTranslator(ImageSpec(16, 20), 3, width=4, blocks=1, norm="group", mask=True)
    last = list(translator.modules())[-1]
    assert isinstance(last, torch.nn.Conv2d)
    torch.nn.init.zeros_(last.weight)
    last.bias = torch.nn.Parameter(torch.tensor([0.5, 0.5, 0.5, logit]))
    x = torch.rand(2, 3, 16, 20) * 2 - 1
    expected = kept * x + (1 - kept) * torch.full_like(x, 0.5).tanh()
    torch.testing.assert_close(translator(x), expected)


def test_a_mask_keeps_the_brightness_where_channels_differ() -> None:
    x = torch.rand(2, 3, 8, 8)
    kept = torch.full((2, 2, 8, 8), 100.0)
    torch.testing.assert_close(drawn(kept, x, mask=True), x.mean(1, keepdim=True))


def test_the_paper_counts_its_weights() -> None:
    """11.4 million in a generator of nine blocks at 256 px, as the published program prints."""
    with torch.device("meta"):
        translator = ResidualTranslator(ImageSpec(256, 256), 3, width=64, blocks=9)
    assert 11.3e6 < sum(p.numel() for p in translator.parameters()) < 11.4e6  # less the biases that a norm takes away


def test_weights_are_drawn_from_a_narrow_normal() -> None:
    torch.manual_seed(0)
    translator = ResidualTranslator(ImageSpec(16, 16), 3, width=8, blocks=1).apply(draw_normal)
    kernels = torch.cat([p.detach().flatten() for p in translator.parameters() if p.ndim == 4])
    assert float(kernels.std()) == pytest.approx(0.02, rel=0.05)


def test_domains_of_one_kind_and_size_are_alike() -> None:
    check_same_shape("x", DataSpec(VectorSpec(2), VectorSpec(1)))
    check_same_shape("x", DataSpec(ImageSpec(16, 20, 1), ImageSpec(16, 20, 3)))


@pytest.mark.parametrize(("norm", "passes"), [("instance", False), ("group", True)])
def test_the_colour_of_a_flat_image_passes_a_group_norm_alone(norm: Norm, passes: bool) -> None:
    torch.manual_seed(0)
    translator = ResidualTranslator(ImageSpec(16, 16), 3, width=8, blocks=2, norm=norm).apply(draw_normal).eval()
    flat = torch.tensor([[0.8, -0.5, 0.1], [-0.2, 0.6, 0.9]])[:, :, None, None].expand(2, 3, 16, 16)
    with torch.no_grad():
        one, two = translator(flat)
    assert bool((one - two).abs().amax() > 1e-2) == passes


@pytest.mark.parametrize("norm", ["instance", "group"])
@pytest.mark.parametrize("colour", [(-0.4, 0.4, 0.9), (0.0, 0.0, 0.0)])
def test_a_blank_image_there_and_back_has_a_gradient_that_can_be_used(
    colour: tuple[float, float, float], norm: Norm
) -> None:
    """The sea on a map: divided by its deviation in each of twenty norms, gradients were NaN."""
    torch.manual_seed(0)
    there, back = (
        ResidualTranslator(ImageSpec(32, 32), 3, width=8, blocks=6, norm=norm).apply(draw_normal) for _ in range(2)
    )
    blank = torch.tensor(colour)[None, :, None, None].expand(2, 3, 32, 32).contiguous()
    again = back(there(blank))
    weights = [*there.parameters(), *back.parameters()]
    slopes = torch.autograd.grad((again - blank).abs().mean() + again.square().mean(), weights, allow_unused=True)
    assert max(float(slope.abs().max()) for slope in slopes if slope is not None) < 10
