import pytest
import torch
from torch import Tensor

from unbraid.evaluation.metrics.coverage import coverage, reduced, variety


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_images_are_compared_at_eight_pixels_a_side() -> None:
    x = random(2, 3, 16, 40)
    areas = x.view(2, 3, 8, 2, 8, 5).mean((3, 5)).flatten(1)
    torch.testing.assert_close(reduced(x), areas)
    assert reduced(random(2, 1, 4, 20)).shape == (2, 32)


def test_real_images_cover_themselves_and_one_covers_few() -> None:
    real = random(60, 3, 16, 16)
    assert coverage(real, real) == 100
    assert coverage(real, random(240, 3, 16, 16, seed=1)) > 95
    assert coverage(real, real[:1].expand(200, -1, -1, -1)) < 15
    assert coverage(real, torch.full((10, 3, 16, 16), 1.0)) == 0


def test_coverage_is_the_share_within_reach_of_the_kth_neighbour() -> None:
    real = torch.tensor([0.0, 0.1, 0.3, 0.9]).view(4, 1, 1, 1)
    # reaches for k = 2: 0.3, 0.2, 0.3, 0.8
    made = torch.tensor([-0.25, 0.62]).view(2, 1, 1, 1)
    assert coverage(real, made, k=2) == 50  # 0.0 by the first, 0.9 by the second
    assert coverage(real, made, k=9) == 100  # the furthest: 0.9, 0.8, 0.6, 0.9
    with pytest.raises(ValueError, match="two real images"):
        coverage(real[:1], made)


def test_variety_is_that_of_samples_beside_that_of_real_images() -> None:
    real = torch.tensor([-0.5, 0.5]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    samples = torch.tensor([[0.0, 0.2], [0.0, 0.4]]).view(2, 2, 1, 1, 1).expand(2, 2, 3, 4, 4)
    assert variety(samples, real) == pytest.approx(30)
    assert variety(samples[:, :1], real) == 0
    assert variety(samples, real[:1].expand(5, -1, -1, -1)) == 0


def test_answers_that_are_random_images_vary_as_these_do() -> None:
    real = random(50, 3, 8, 8)
    assert variety(random(30, 4, 3, 8, 8, seed=1), real) == pytest.approx(100, abs=3)
    assert variety(real[:, None].expand(-1, 4, -1, -1, -1), real) == 0
