import pytest
import torch
from torch.distributions import Normal, kl_divergence

from unbraid.nn.blocks import FitSize
from unbraid.nn.functional import kl_normal, reparameterise, tile


def gaussians(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(5, 3, 2, generator=generator), torch.randn(5, 3, 2, generator=generator)


def test_kl_to_the_standard_normal_is_torchs() -> None:
    mean, log_variance = gaussians(0)
    reference = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum((1, 2)).mean()
    torch.testing.assert_close(kl_normal(mean, log_variance), reference)


def test_kl_between_two_is_torchs() -> None:
    (m, v), (n, w) = gaussians(0), gaussians(1)
    reference = kl_divergence(Normal(m, (v / 2).exp()), Normal(n, (w / 2).exp())).sum((1, 2)).mean()
    torch.testing.assert_close(kl_normal(m, v, n, w), reference)


def test_kl_is_nought_only_for_equals() -> None:
    mean, log_variance = gaussians(0)
    assert kl_normal(mean, log_variance, mean, log_variance) == 0
    assert kl_normal(mean, log_variance, mean + 0.1, log_variance) > 0


def test_kl_is_float32_under_autocast() -> None:
    mean, log_variance = gaussians(0)
    assert kl_normal(mean.bfloat16(), log_variance.bfloat16()).dtype == torch.float32


def test_samples_have_the_mean_and_spread_they_should() -> None:
    torch.manual_seed(0)
    mean, log_variance = torch.full((20_000, 1), 2.0), torch.full((20_000, 1), 2 * torch.tensor(3.0).log().item())
    samples = reparameterise(mean, log_variance)
    assert samples.mean().item() == pytest.approx(2, abs=0.1)
    assert samples.std().item() == pytest.approx(3, abs=0.1)


def test_tiles_are_alike_everywhere() -> None:
    tiled = tile(torch.arange(6.0).view(2, 3), 4, 5)
    assert tiled.shape == (2, 3, 4, 5)
    assert torch.equal(tiled[..., 0, 0], tiled[..., 3, 4])


@pytest.mark.parametrize(("height", "width", "layers"), [(32, 32, 2), (17, 22, 3), (100, 7, 3), (5, 5, 1)])
def test_any_size_fits_and_comes_back(height: int, width: int, layers: int) -> None:
    size = FitSize(height, width, layers)
    x = torch.rand(2, 3, height, width)
    grown = size.grow(x)
    assert grown.shape[-2] % 2**layers == grown.shape[-1] % 2**layers == 0
    assert (grown.shape[-2] // 2**layers, grown.shape[-1] // 2**layers) == size.map_size
    assert torch.equal(size.cut(grown), x)
