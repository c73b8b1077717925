"""Discriminators of patches."""

from typing import Any

import pytest
import torch
from torch import nn

from unbraid.core.types import DataSpec, ImageSpec, UserError, VectorSpec
from unbraid.methods import METHODS
from unbraid.nn.blocks import InstanceNorm
from unbraid.nn.patch import (
    DiscriminatorNorm,
    GANLoss,
    PatchDiscriminator,
    PatchSize,
    VectorDiscriminator,
    discriminator_loss,
    domain_discriminator,
    generator_loss,
    patch_halvings,
    r1_penalty,
    small_settings,
)
from unbraid.nn.spectral import SpectralConv


@pytest.mark.parametrize(("size", "halvings", "patch"), [(256, 3, 70), (128, 2, 34), (64, 1, 16), (32, 1, 16)])
def test_a_score_sees_a_patch_in_proportion_to_the_image(size: int, halvings: int, patch: int) -> None:
    """Measured: the pixels that the gradient of the middle score reaches."""
    assert patch_halvings(ImageSpec(size, size)) == halvings
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(1, 2, halvings, "none")
    x = torch.randn(1, 1, 256, 256, requires_grad=True)
    scores = discriminator(x)
    middle = scores.shape[2] // 2
    scores[0, 0, middle, middle].backward()
    assert x.grad is not None
    reached = x.grad[0, 0].abs().sum(1) > 0
    assert int(reached.sum()) == patch


@pytest.mark.parametrize("norm", ["instance", "spectral+instance", "spectral", "none"])
def test_odd_sizes_and_any_channels_have_scores(norm: DiscriminatorNorm) -> None:
    discriminator = PatchDiscriminator(5, 4, 1, norm)
    assert discriminator(torch.randn(2, 5, 17, 22)).shape[:2] == (2, 1)
    assert VectorDiscriminator(7, 4, norm)(torch.randn(2, 7)).shape == (2, 1)


@pytest.mark.parametrize("norm", ["instance", "spectral+instance", "spectral", "none"])
def test_weights_start_small_and_biases_at_nought(norm: DiscriminatorNorm) -> None:
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(3, 32, 1, norm)
    for module in discriminator.modules():
        if isinstance(module, nn.Conv2d):
            assert float(module.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
            assert module.bias is None or not module.bias.any()


def test_spectral_norm_stands_on_top_of_instance_norm() -> None:
    """Harley et al. take CycleGAN's discriminators and add spectral norm. Its estimate is right at once."""
    torch.manual_seed(0)
    body = PatchDiscriminator(3, 8, 2, "spectral+instance").eval().body
    norms = [isinstance(layer, InstanceNorm) for layer in body]
    assert sum(norms) == 2
    assert not norms[1]  # the first has none
    for layer in body:
        if isinstance(layer, SpectralConv) and len(layer.weight) > 1:
            assert torch.linalg.matrix_norm(layer.normalised_weight().flatten(1), 2).item() == pytest.approx(1, abs=0.1)


def test_spectral_norm_bounds_the_slope() -> None:
    """Each layer stretches by 1 at most, so two items' scores differ by no more than the items do."""
    torch.manual_seed(0)
    discriminator = VectorDiscriminator(6, 16, "spectral").eval()
    x, y = torch.randn(500, 6) * 3, torch.randn(500, 6) * 3
    with torch.no_grad():
        slope = (discriminator(x) - discriminator(y)).abs()[:, 0] / (x - y).norm(dim=1)
    assert slope.max() <= 1.01


def test_losses_of_a_gan_are_those_of_their_papers() -> None:
    first, second = torch.tensor([[2.0], [-1.0]]), torch.tensor([[0.5]])
    squares = ((first - 1).square().sum() + second.square().sum()) / 3
    torch.testing.assert_close(discriminator_loss(nn.Identity(), first, second), squares)
    true, false = torch.sigmoid(first).log().mean(), torch.sigmoid(-second).log().mean()
    torch.testing.assert_close(discriminator_loss(nn.Identity(), first, second, "logistic"), -true - false)
    torch.testing.assert_close(generator_loss(first), (first - 1).square().mean())
    torch.testing.assert_close(generator_loss(first, "logistic"), -true)


def pull(kind: GANLoss) -> float:
    """How far one generated point is pulled by a discriminator trained on it and a real one that lies far away."""
    torch.manual_seed(0)
    discriminator, real, generated = nn.Linear(1, 1), torch.tensor([[50.0]]), torch.tensor([[-50.0]])
    optimiser = torch.optim.Adam(discriminator.parameters(), 0.01)
    for _ in range(300):
        loss = discriminator_loss(discriminator, real, generated, kind) + 0.001 * r1_penalty(discriminator, real)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    x = generated.requires_grad_()
    (gradient,) = torch.autograd.grad(generator_loss(discriminator(x), kind), x)
    return gradient.abs().item()


def test_a_logistic_loss_pulls_what_lies_far_away() -> None:
    assert pull("logistic") > 3 * pull("least-squares")


def test_r1_of_a_linear_discriminator_is_that_of_its_weights() -> None:
    linear, x = nn.Linear(6, 1), torch.randn(4, 6)
    slope = r1_penalty(linear, x)
    torch.testing.assert_close(slope, linear.weight.square().sum())
    (gradient,) = torch.autograd.grad(slope, linear.weight)
    torch.testing.assert_close(gradient, 2 * linear.weight)


@pytest.mark.parametrize("norm", ["instance", "spectral+instance", "spectral", "none"])
def test_r1_of_patches_is_that_of_their_mean(norm: DiscriminatorNorm) -> None:
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(3, 4, 1, norm).eval()
    x = torch.rand(2, 3, 16, 16, requires_grad=True)
    slope = r1_penalty(discriminator, x)
    (expected,) = torch.autograd.grad(discriminator(x).mean((1, 2, 3)).sum(), x)
    torch.testing.assert_close(slope, expected.square().sum((1, 2, 3)).mean())
    (gradient,) = torch.autograd.grad(slope, next(discriminator.parameters()))
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize(("patch", "least"), [(16, 6), (34, 12), (70, 24)])
def test_patches_of_a_size_need_images_that_hold_them(patch: PatchSize, least: int) -> None:
    made = domain_discriminator(ImageSpec(least, least + 3, 1), 4, 8, "none", patch)
    assert made(torch.zeros(2, 1, least, least + 3)).shape[0] == 2
    with pytest.raises(UserError, match=f"at least {least} x {least}"):
        domain_discriminator(ImageSpec(least - 1, 64), 4, 8, "none", patch)


def test_settings_for_small_images_follow_their_size() -> None:
    def settings(height: int, width: int) -> dict[str, Any]:
        return small_settings(DataSpec(ImageSpec(height, width), ImageSpec(height, width, 1)))

    assert settings(32, 32) == {"discriminator_patch": 34, "r1": 3}
    assert settings(64, 64)["r1"] == 4 * 3
    assert settings(8, 64)["discriminator_patch"] == 16


@pytest.mark.parametrize("name", ["cyclegan", "uncooperative", "xgan"])
def test_methods_without_pairs_have_settings_for_small_images(name: str) -> None:
    kind = METHODS[name]
    for size, small in ((128, True), (256, False)):
        config, notes = kind.default_config(DataSpec(ImageSpec(size, size), ImageSpec(size, size)))
        assert (config == kind.config_type(), bool(notes)) == (not small, small)
        assert (config.r1, config.discriminator_norm == "none") == ((16 * 3, True) if small else (0.0, False))
    assert kind.default_config(DataSpec(VectorSpec(2), VectorSpec(1))) == (kind.config_type(), [])
