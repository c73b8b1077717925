import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torchvision.models import alexnet

from networks import installed, waves
from unbraid.core.config import PerceptualConfig
from unbraid.core.types import UserError
from unbraid.evaluation.metrics.images import (
    Lpips,
    features,
    find_heads,
    frechet_distance,
    kernel_distance,
    known_features,
    psnr,
    rms_distance,
    ssim,
)
from unbraid.nn.pretrained.perceptual import CONVOLUTIONS, Vgg16, find_weights


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def lpips(tmp_path_factory: pytest.TempPathFactory) -> Lpips:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNBRAID_CACHE", str(tmp_path_factory.mktemp("weights")))
        return Lpips(find_weights("alexnet", PerceptualConfig()))


def test_psnr_is_the_formula() -> None:
    a = torch.zeros(3, 1, 4, 4)
    b = torch.tensor([0.2, 0.02, 0.0]).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    assert psnr(a, b).tolist() == pytest.approx([20.0, 40.0, float("inf")], rel=1e-5)


def test_rms_distance_is_in_percent_of_the_range() -> None:
    a = -torch.ones(3, 2, 4, 4)
    b = a.clone()
    b[1, 0] = 1.0  # half of the values are off by the whole range
    b[2] = 1.0
    assert rms_distance(a, b).tolist() == pytest.approx([0.0, 100 * 0.5**0.5, 100.0])


def test_ssim_is_the_papers() -> None:
    a, b = random(3, 2, 24, 20), random(3, 2, 24, 20, seed=1)
    b = (b + a) / 2

    def blurred(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, 1.5, radius=5, axes=(2, 3))[:, :, 5:-5, 5:-5]

    x, y = (((value + 1) / 2).double().numpy() for value in (a, b))
    mean_x, mean_y = blurred(x), blurred(y)
    covariance = blurred(x * y) - mean_x * mean_y
    spread = blurred(x * x) - mean_x**2 + blurred(y * y) - mean_y**2
    value = (2 * mean_x * mean_y + 0.01**2) * (2 * covariance + 0.03**2)
    value = value / ((mean_x**2 + mean_y**2 + 0.01**2) * (spread + 0.03**2))
    torch.testing.assert_close(ssim(a, b).double(), torch.from_numpy(value.mean((1, 2, 3))), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(32, 48), (6, 9)])
def test_ssim_of_equal_images_is_one(size: tuple[int, int]) -> None:
    torch.testing.assert_close(ssim(random(2, 3, *size), random(2, 3, *size)), torch.ones(2))


REFERENCE = {
    (8, 1, 1): (0.9841595, 0.002000949, 0.0),
    (8, 1, 8): (0.7665192, 0.01783859, 0.2062728),
    (8, 3, 1): (0.9875039, 0.002250126, 0.0),
    (8, 3, 8): (0.7752322, 0.01443376, 0.1572074),
    (32, 1, 1): (0.7746227, 0.004125191, 0.0),
    (32, 1, 8): (-0.002264443, 0.03456437, 0.2169313),
    (32, 3, 1): (0.7939617, 0.01306442, 0.0),
    (32, 3, 8): (-0.002307324, 0.06940269, 0.2435831),
    (64, 1, 1): (0.3214075, 0.01258175, 0.0),
    (64, 1, 8): (-0.03938434, 0.09727047, 0.3669091),
    (64, 3, 1): (0.3271628, 0.02490979, 0.0),
    (64, 3, 8): (-0.04022418, 0.1351092, 0.3925474),
    (256, 1, 1): (0.003060424, 0.08125218, 0.0),
    (256, 1, 8): (-0.01133095, 0.1777256, 0.43273),
    (256, 3, 1): (0.004530571, 0.09576872, 0.0),
    (256, 3, 8): (-0.01140936, 0.2087823, 0.4395256),
}
"""SSIM by pytorch-msssim 1.0.0, LPIPS and LPIPS among images by lpips 0.1.4, by side, channels and count of waves. The
first SSIM is its formula in float64: nearly flat images cost float32 a digit."""


@pytest.mark.parametrize("shape", REFERENCE)
def test_ssim_is_that_of_pytorch_msssim(shape: tuple[int, int, int]) -> None:
    side, channels, count = shape
    a, b = waves(count, channels, side), waves(count, channels, side, 1.1)
    assert ssim(a, b).mean().item() == pytest.approx(REFERENCE[shape][0], abs=1e-6)


def test_ssim_is_that_of_torchmetrics_without_its_borders() -> None:
    library = pytest.importorskip("torchmetrics.functional.image").structural_similarity_index_measure
    a, b = waves(2, 3, 24), waves(2, 3, 24, 1.1)
    _, everywhere = library((a + 1) / 2, (b + 1) / 2, data_range=1.0, reduction="none", return_full_image=True)
    torch.testing.assert_close(ssim(a, b), everywhere[..., 5:-5, 5:-5].flatten(1).mean(1), rtol=0, atol=1e-5)


@installed
@pytest.mark.parametrize("shape", REFERENCE)
def test_lpips_is_that_of_the_authors_package(lpips: Lpips, shape: tuple[int, int, int]) -> None:
    side, channels, count = shape
    a, b = waves(count, channels, side), waves(count, channels, side, 1.1)
    found = (lpips(a, b).mean().item(), lpips.among(a[None]).mean().item())
    assert found == pytest.approx(REFERENCE[shape][1:], rel=1e-5, abs=1e-6)


@installed
def test_lpips_has_constants_that_no_model_file_holds(lpips: Lpips) -> None:
    assert not list(lpips.parameters())
    assert not lpips.state_dict()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not hold the weights of LPIPS"),
        ({"lin0.model.1.weight": torch.zeros(1, 64, 1, 1)}, "does not hold the weights of LPIPS"),
        ({f"lin{n}.model.1.weight": torch.zeros(1, 3, 1, 1) for n in range(5)}, "holds weights for other channels"),
    ],
)
def test_a_damaged_file_of_heads_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: dict[str, Tensor] | None, message: str
) -> None:
    folder = tmp_path / "torchmetrics" / "functional" / "image" / "lpips_models"
    folder.mkdir(parents=True)
    (tmp_path / "torchmetrics" / "__init__.py").write_text("raise AssertionError('imported')")
    if content is None:
        (folder / "alex.pth").write_bytes(b"no weights")
    else:
        torch.save(content, folder / "alex.pth")
    spec = importlib.util.spec_from_file_location(
        "torchmetrics",
        tmp_path / "torchmetrics" / "__init__.py",
        submodule_search_locations=[str(tmp_path / "torchmetrics")],
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(UserError, match=rf"{message}.*pip install --force-reinstall --no-deps torchmetrics"):
        find_heads()


def test_lpips_says_which_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install torchmetrics"):
        find_heads()


@installed
def test_lpips_is_the_papers_formula(lpips: Lpips) -> None:
    """With torchvision's AlexNet, layer by layer."""
    weights = find_weights("alexnet", PerceptualConfig())
    network = alexnet(weights=None).features
    network.load_state_dict({name.removeprefix("features."): value for name, value in weights.items()})
    heads = find_heads()
    a, b = random(3, 3, 64, 80), random(3, 3, 64, 80, seed=1)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    # the authors' program rounds ImageNet's mean and spread
    x, y = (((value + 1) / 2 - mean.view(3, 1, 1)) / std.view(3, 1, 1) for value in (a, b))
    wanted = torch.zeros(3)
    with torch.no_grad():
        for index, layer in enumerate(network.children()):
            x, y = layer(x), layer(y)
            if index in (1, 4, 7, 9, 11):
                head = heads[(1, 4, 7, 9, 11).index(index)]
                unit_x, unit_y = (value / value.norm(dim=1, keepdim=True) for value in (x, y))
                wanted += ((unit_x - unit_y).square() * head).sum(1).mean((1, 2))
    torch.testing.assert_close(lpips(a, b), wanted, rtol=5e-3, atol=0)


@installed
def test_lpips_orders_images_by_how_near_they_look(lpips: Lpips) -> None:
    a = random(2, 3, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert lpips(a, a).tolist() == [0, 0]
    near, far = lpips(a, a + 0.02), lpips(a, a.flip(3))
    assert (near > 0).all()
    assert (near < far).all()
    torch.testing.assert_close(lpips(a, a + 0.02), lpips(a + 0.02, a))


@installed
@pytest.mark.parametrize("shape", [(5, 3, 48, 40), (4, 1, 12, 20)])
def test_lpips_among_images_is_that_of_their_pairs(lpips: Lpips, shape: tuple[int, ...]) -> None:
    groups = random(2, *shape)
    wanted = torch.stack([torch.stack([lpips(x, one.expand_as(x)) for one in x[:, None]]) for x in groups])
    torch.testing.assert_close(lpips.among(groups), wanted, rtol=1e-4, atol=1e-6)


@installed
def test_lpips_of_several_sets_to_one_target_is_that_of_each(lpips: Lpips) -> None:
    one, two, true = (random(5, 3, 36, 40, seed=seed) for seed in range(3))
    wanted = [lpips(one, true), lpips(two, true)]
    torch.testing.assert_close(lpips.from_one([one, two], true), wanted, rtol=0, atol=0)


@installed
def test_lpips_takes_grey_and_small_images(lpips: Lpips) -> None:
    a, b = random(2, 1, 12, 20), random(2, 1, 12, 20, seed=1)
    torch.testing.assert_close(lpips(a, b), lpips(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1)))


@installed
def test_building_lpips_leaves_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    Lpips(find_weights("alexnet", PerceptualConfig()))
    assert torch.equal(torch.get_rng_state(), before)


@installed
@pytest.mark.skipif(
    "UNBRAID_LPIPS_IMAGES" not in os.environ,
    reason="needs ex_ref.png, ex_p0.png and ex_p1.png of the LPIPS project in the folder UNBRAID_LPIPS_IMAGES",
)
def test_lpips_gives_the_published_distances(lpips: Lpips) -> None:
    folder = Path(os.environ["UNBRAID_LPIPS_IMAGES"])

    def image(name: str) -> Tensor:
        pixels = torch.from_numpy(np.array(Image.open(folder / name).convert("RGB"))).permute(2, 0, 1)
        return pixels[None] / 127.5 - 1

    reference = image("ex_ref.png")
    assert lpips(reference, image("ex_p0.png")).item() == pytest.approx(0.722, abs=1e-3)
    assert lpips(reference, image("ex_p1.png")).item() == pytest.approx(0.138, abs=1e-3)


def some_vgg() -> Vgg16:
    generator = torch.Generator().manual_seed(0)
    weights = {
        f"features.{layer}.{part}": 0.02 * torch.randn(shape, generator=generator)
        for layer, (out, channels, size) in CONVOLUTIONS["vgg16"].items()
        for part, shape in (("weight", (out, channels, size, size)), ("bias", (out,)))
    }
    return Vgg16(weights)


def test_features_are_means_of_relu4_3() -> None:
    vgg, images = some_vgg(), random(65, 1, 32, 32)
    found = features(vgg, images)
    assert found.shape == (65, 512)
    torch.testing.assert_close(found[-1:], vgg(images[-1:])[3].mean((2, 3)))
    assert len(vgg(images[-1:], 4)) == 4
    assert len(vgg(images[-1:])) == 5


def test_features_of_real_images_are_computed_once_for_each_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNBRAID_CACHE", str(tmp_path))
    vgg, images = some_vgg(), random(9, 1, 32, 32)
    wanted = features(vgg, images)
    assert torch.equal(known_features(vgg, images), wanted)
    with monkeypatch.context() as patch:
        patch.setattr("unbraid.evaluation.metrics.images.features", lambda *_: pytest.fail("computed again"))
        assert torch.equal(known_features(vgg, images), wanted)
        with pytest.raises(pytest.fail.Exception):
            known_features(vgg, images.flip(0))
    vgg.get_buffer("bias0").add_(1)
    assert torch.equal(known_features(vgg, images), features(vgg, images))
    assert len(list((tmp_path / "features").glob("*.npy"))) == 2


def test_features_do_not_need_a_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("UNBRAID_CACHE", str(tmp_path / "file" / "cache"))
    vgg, images = some_vgg(), random(2, 1, 32, 32)
    assert torch.equal(known_features(vgg, images), features(vgg, images))


def test_frechet_distance_is_the_formula() -> None:
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = x[:150].flip(0) @ random(6, 6).double() + 0.3
    a, b = x.T.cov(), y.T.cov()
    cross = np.real(np.trace(np.asarray(sqrtm((a @ b).numpy()))))
    wanted = (x.mean(0) - y.mean(0)).square().sum() + a.trace() + b.trace() - 2 * cross
    assert frechet_distance(x, y) == pytest.approx(wanted.item(), rel=1e-9)
    assert frechet_distance(y, x) == pytest.approx(wanted.item(), rel=1e-9)


def test_frechet_distance_of_a_set_to_itself_is_nought_and_grows_with_a_shift() -> None:
    x = torch.randn(20, 50, generator=torch.Generator().manual_seed(0))  # fewer items than dimensions
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-4)
    assert frechet_distance(x, x + 0.5) == pytest.approx(50 * 0.25, rel=1e-4)


def test_kernel_distance_is_the_unbiased_sum_over_pairs() -> None:
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    y = torch.randn(20, 4, generator=torch.Generator().manual_seed(1)) + 0.5

    def kernel(u: Tensor, v: Tensor) -> float:
        return (u @ v / 4 + 1).item() ** 3

    own_x = np.mean([kernel(x[i], x[j]) for i in range(30) for j in range(30) if i != j])
    own_y = np.mean([kernel(y[i], y[j]) for i in range(20) for j in range(20) if i != j])
    both = np.mean([kernel(u, v) for u in x for v in y])
    assert kernel_distance(x, y) == pytest.approx(own_x + own_y - 2 * both, rel=1e-4)


def test_kernel_distance_is_nought_on_average_for_sets_of_one_kind() -> None:
    x = torch.randn(40, 100, 8, generator=torch.Generator().manual_seed(0))
    values = [kernel_distance(x[i], x[i + 1]) for i in range(0, 40, 2)]
    assert min(values) < 0 < max(values)
    assert abs(np.mean(values)) < 0.1 * kernel_distance(x[0], x[1] + 0.5)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_one_vector_is_too_few(distance: object) -> None:
    assert callable(distance)
    with pytest.raises(ValueError, match="not 1 and 3"):
        distance(torch.zeros(1, 2), torch.zeros(3, 2))
