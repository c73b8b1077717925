import pytest
import torch
from torch.distributions import Normal, kl_divergence

from unbraid.nn.blocks import FitSize
from unbraid.nn.functional import bounded_log_variance, kl_normal, reparameterise, tile


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


def test_log_variances_keep_to_their_bounds_and_come_back_from_the_lower_one() -> None:
    x = torch.tensor([-50.0, -50.0, -1.0, 50.0, 50.0], requires_grad=True)
    bounded = bounded_log_variance(x)
    assert bounded.tolist() == pytest.approx([-9.21, -9.21, -1, 9.21, 9.21])
    (bounded * torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, -1, 1, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kl_of_bounded_log_variances_is_finite_and_so_is_its_gradient(dtype: torch.dtype) -> None:
    values = torch.tensor([-1e30, -85.0, 0.0, 85.0, 1e30], dtype=dtype)
    means = torch.tensor([-1e4, 0.0, 1e4], dtype=dtype)
    inputs = [x.clone().requires_grad_() for x in torch.cartesian_prod(means, values, means, values).T]
    mean, log_variance, prior_mean, prior_log_variance = (x[None] for x in inputs)
    of, to = bounded_log_variance(log_variance), bounded_log_variance(prior_log_variance)
    loss = kl_normal(mean, of, prior_mean, to) + kl_normal(mean, of)
    loss.backward()
    assert loss.isfinite()
    assert all(x.grad is not None and x.grad.square().isfinite().all() for x in inputs)


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
    grown = size.pad(x)
    assert grown.shape[-2] % 2**layers == grown.shape[-1] % 2**layers == 0
    assert (grown.shape[-2] // 2**layers, grown.shape[-1] // 2**layers) == size.map_size
    assert torch.equal(size.crop(grown), x)
