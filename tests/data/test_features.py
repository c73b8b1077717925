from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from classes import write_classes
from helpers import write_png
from unbraid.core.config import PACKAGED
from unbraid.core.data_config import DataConfig
from unbraid.core.types import UserError, VectorSpec
from unbraid.data import features
from unbraid.data.features import (
    Extractor,
    Head,
    Tuned,
    headed,
    load_features,
    save_extractor,
    tune,
    tune_network,
    unheaded,
    with_head,
)
from unbraid.data.loading import load
from unbraid.data.parts import PairedPart, UnpairedPart
from unbraid.evaluation.measures.zero_shot import both_ways, by_angle
from unbraid.nn.pretrained import teacher
from unbraid.nn.pretrained.perceptual import CONVOLUTIONS


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Stands for a network of 1280 features, and counts images."""
    seen: list[int] = []

    def network(x: Tensor) -> Tensor:
        seen.append(len(x))
        return x.flatten(1)[:, :1280].repeat(1, 1280)[:, :1280]

    monkeypatch.setattr(teacher, "named_teacher", lambda *_: network)
    return seen


@pytest.fixture
def folders(tmp_path: Path) -> DataConfig:
    for i in range(36):
        write_png(tmp_path / "photo" / f"c{i % 6}" / f"{i}.png", i)
        write_png(tmp_path / "sketch" / f"c{i % 6}" / f"{i}.png", 100 + i)
    a, b = tmp_path / "photo", tmp_path / "sketch"
    return DataConfig(a=a, b=b, by_class=True, features="efficientnet-lite0")


def test_features_stand_for_images_and_are_computed_once(folders: DataConfig, counted: list[int]) -> None:
    data = load(folders)
    assert data.spec.a == data.spec.b == VectorSpec(1280)
    assert data.images is not None
    assert str(data.images.a) == "16x16 images of 3 channels"
    assert sum(counted) == 72
    again = load(folders)
    assert sum(counted) == 72
    assert isinstance(data.test, UnpairedPart)
    assert isinstance(again.test, UnpairedPart)
    rows = data.test.rows_b
    assert torch.equal(data.test.b.read(rows, 0), again.test.b.read(rows, 0))
    write_png(folders.a / "c0" / "new.png", 999)  # type: ignore[operator]
    load(folders)
    assert sum(counted) == 72 + 37


def test_pairs_of_images_can_be_features_too(folders: DataConfig, counted: list[int]) -> None:
    data = load(replace(folders, by_class=False))
    assert isinstance(data.train, PairedPart)
    assert data.train.batch(np.arange(4), 1).a.shape == (4, 1280)


def test_a_tuned_head_brings_unseen_classes_together(tmp_path: Path) -> None:
    path = write_classes(tmp_path / "classes.npz", classes=40, size=24, noise=2.0)
    data = load(DataConfig(arrays=path, by_class=True, test=0.3))
    head = tune(data.train, 0, 40)
    made = headed(data, head)
    assert made.spec.a == VectorSpec(features.SIZE)
    assert isinstance(made.test, UnpairedPart)
    given = unheaded(made.test.a).read(made.test.rows_a, 0), unheaded(made.test.b).read(made.test.rows_b, 0)
    assert given[0].shape[1] == 24
    tuned = made.test.a.read(made.test.rows_a, 0), made.test.b.read(made.test.rows_b, 0)
    before, after = (both_ways(by_angle(pair), made.test)["b->a"]["map"] for pair in (given, tuned))
    assert after > before + 0.05
    torch.testing.assert_close(tuned[0].square().mean(1), torch.ones(len(tuned[0])))


def test_tuning_is_repeatable_and_leaves_other_randomness_alone(tmp_path: Path) -> None:
    data = load(DataConfig(arrays=write_classes(tmp_path / "c.npz"), by_class=True))
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    heads = [tune(data.train, 0, 3) for _ in range(2)]
    assert torch.equal(torch.rand(1), expected)
    x = torch.randn(2, 12)
    other = tune(data.train, 1, 3)
    with torch.no_grad():
        assert torch.equal(heads[0](x), heads[1](x))
        assert not torch.equal(heads[0](x), other(x))


def test_what_a_run_keeps_makes_the_same_vectors(folders: DataConfig, counted: list[int], tmp_path: Path) -> None:
    data = load(folders)
    assert data.images is not None
    head = Head(1280).eval()
    save_extractor(tmp_path / "run", "efficientnet-lite0", data.images, Tuned(head))
    extractor, same = load_features(tmp_path / "run")
    assert isinstance(extractor, Extractor)
    assert same is not None
    x = torch.rand(2, *extractor.images["a"].shape)
    with torch.no_grad():
        assert torch.equal(extractor(x), head(teacher.named_teacher("efficientnet-lite0")(x)))  # type: ignore[call-arg]
    save_extractor(tmp_path / "plain", "efficientnet-lite0", data.images, None)
    plain, none = load_features(tmp_path / "plain")
    assert plain is not None
    assert plain.tuned is none is None
    assert load_features(tmp_path / "elsewhere") == (None, None)
    (tmp_path / "plain" / "features.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"features\.safetensors is damaged"):
        load_features(tmp_path / "plain")


@pytest.mark.parametrize(
    "about",
    [
        *("", "[]", "null", '{"name": "vgg16"}', '{"name": "vgg16", "images": [[1, 2]]}', "[" * 100_000),
        *(
            '{"name": "no-network", "images": []}',
            '{"name": "vgg16", "images": [[1, 2, 3]]}',
            '{"name": 1, "images": 2}',
        ),
    ],
)
@pytest.mark.parametrize("tensor", ["none", "layers.1.weight", "x"])
def test_a_damaged_extractor_is_one_error(tmp_path: Path, about: str, tensor: str) -> None:
    save_file({tensor: torch.zeros(1)}, tmp_path / "features.safetensors", {"unbraid": about})
    with pytest.raises(UserError, match=r"features\.safetensors is damaged"):
        load_features(tmp_path)


class Tiny(teacher.Network):
    """Stands for a network of 1280 features, with weights to tune, and counts images."""

    seen = 0

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layer = nn.Linear(3 * 16 * 16, 1280).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        Tiny.seen += len(x)
        return self.layer(x.flatten(1))

    def weights(self) -> dict[str, Tensor]:
        return dict(self.layer.named_parameters())


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher, "named_teacher", lambda *_: Tiny())
    monkeypatch.setattr(features, "STEPS", 3)
    monkeypatch.setattr(features, "NETWORK_STEPS", 2)


@pytest.mark.usefixtures("tiny")
def test_a_tuned_network_is_kept_in_the_run_and_its_vectors_with_it(
    folders: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "STEPS", 10)
    monkeypatch.setattr(features, "NETWORK_STEPS", 3)
    config = replace(folders, tuned=True, tuned_network=True)
    images = load(config)
    assert str(images.spec.a) == "16x16 images of 3 channels"
    data, tuned = with_head(images, config, None)
    assert tuned is not None
    assert tuned.network is not None
    assert data.spec.a == data.spec.b == VectorSpec(features.SIZE)
    before = Tiny().weights()
    assert all(not torch.equal(before[name], tensor) for name, tensor in tuned.network.items())
    assert data.images is not None
    save_extractor(tmp_path, "efficientnet-lite0", data.images, tuned)
    extractor, _ = load_features(tmp_path)
    assert extractor is not None
    assert extractor.state().keys() >= {"extractor.network.weight", "extractor.network.bias"}
    assert isinstance(images.test, UnpairedPart)
    assert isinstance(data.test, UnpairedPart)
    rows = data.test.rows_b
    given = images.test.b.read(rows, 0)
    made = data.test.b.read(rows, 0)
    torch.testing.assert_close(extractor(given), made)
    with pytest.raises(UserError, match="not those of efficientnet-lite0"):
        Extractor("efficientnet-lite0", extractor.images, replace(tuned, network={"weight": torch.zeros(1)}))(given)
    # what the network said before is still known, and a run's own weights are taken, not tuned anew
    torch.testing.assert_close(unheaded(data.test.b).read(rows, 0), Tiny()(given))
    seen = Tiny.seen
    again, _ = with_head(load(config), config, tmp_path)
    assert Tiny.seen == seen
    assert isinstance(again.test, UnpairedPart)
    assert torch.equal(again.test.b.read(rows, 0), made)


@pytest.mark.usefixtures("tiny")
def test_a_tuned_network_tells_training_classes_that_a_head_alone_does_not(folders: DataConfig) -> None:
    images, vectors = load(replace(folders, tuned=True, tuned_network=True)), load(folders)
    apart = []
    for steps in ((2, 0), (2, 40)):
        tuned = tune_network(images.train, vectors.train, "efficientnet-lite0", 0, steps)
        made = headed(features.extracted(images, "efficientnet-lite0", tuned.network), tuned.head).train
        assert isinstance(made, PairedPart)
        assert made.labels is not None
        batch, labels = made.batch(np.arange(len(made)), 1), made.labels[made.rows]
        alike = batch.a @ batch.b.T / features.SIZE
        same = torch.from_numpy(labels[:, None] == labels)
        apart.append(float(alike[same].mean() - alike[~same].mean()))
    assert apart[1] > apart[0] + 0.2


def test_what_a_network_needs_to_be_tuned(folders: DataConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Give --data\.features"):
        load(replace(folders, tuned=True, tuned_network=True, features=None))
    arrays = write_classes(tmp_path / "c.npz")
    with pytest.raises(UserError, match="needs images and the network's name"):
        load(DataConfig(arrays=arrays, by_class=True, tuned=True, tuned_network=True))


@pytest.mark.parametrize("name", ["vgg16", "efficientnet-lite0"])
def test_weights_of_named_networks_learn(name: str) -> None:
    if name == "vgg16":
        shapes = dict.fromkeys(CONVOLUTIONS["vgg16"], (4, 4, 3, 3)) | {0: (4, 3, 3, 3)}
        made = {f"features.{layer}.weight": torch.randn(shape) / 6 for layer, shape in shapes.items()}
        network: teacher.Network = teacher.Vgg16Features(made | {f"features.{n}.bias": torch.zeros(4) for n in shapes})
    else:
        package = pytest.importorskip("efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is not installed")
        network = teacher.EfficientNetFeatures(package.EfficientNet.from_name("efficientnet-lite0"))
    weights = network.weights()
    for tensor in weights.values():
        tensor.requires_grad_(True)
    network(torch.rand(2, 3, 32, 32)).square().sum().backward()
    assert sum(tensor.grad is not None for tensor in weights.values()) >= 20


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_a_network_of_timm_is_read_from_its_file(architecture: str, folders: DataConfig, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model(architecture, pretrained=False).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    name = f"timm/{architecture}@{tmp_path / 'weights.safetensors'}"
    data = load(replace(folders, features=name))
    assert data.spec.a == VectorSpec(network.num_features)
    items, rows = data.train.domain("a")
    assert items.read(rows[:2], 0).isfinite().all()
    found = teacher.named_teacher(name, PACKAGED)
    about = timm.data.resolve_model_data_config(network)
    grey = (0.5 - torch.tensor(about["mean"])) / torch.tensor(about["std"])
    with torch.no_grad():
        expected = network.forward_head(
            network.forward_features(grey.view(1, 3, 1, 1).expand(1, *about["input_size"])), pre_logits=True
        )
    torch.testing.assert_close(found(torch.zeros(1, 3, 20, 30)), expected, atol=1e-4, rtol=1e-4)
    assert sum(p.requires_grad for p in found.parameters()) == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm/test_resnet", "are not in timm's cache, and nothing is downloaded unasked"),
        ("timm/nothing", "timm has no network nothing"),
        ("timm/test_resnet@nowhere.safetensors", "there is no file"),
        ("resnet", "There is no network 'resnet'; there are: vgg16, efficientnet-lite0 and timm/NAME"),
    ],
)
def test_networks_that_are_not_there_are_said(
    name: str, words: str, folders: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    with pytest.raises(UserError, match=words):
        load(replace(folders, features=name))


@pytest.mark.parametrize("content", ["other network", "part", "object", "text", "nothing", "list"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_without_all_weights_of_the_network_is_refused(
    content: str, suffix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model("test_resnet", pretrained=False)
    weights = network.state_dict()
    path = tmp_path / f"weights{suffix}"
    if content == "text" or (content in ("object", "list") and suffix == ".safetensors"):
        path.write_text("no weights")
    elif content == "nothing":
        path.touch()
    elif content in ("object", "list"):
        torch.save(network if content == "object" else [1, 2], path)
    else:
        chosen = {key: weights[key] for key in list(weights)[len(weights) // 2 :]}
        found = timm.create_model("test_vit", pretrained=False).state_dict() if content == "other network" else chosen
        save_file(found, path) if suffix == ".safetensors" else torch.save(found, path)
    with pytest.raises(UserError, match="weights can't be loaded") as caught:
        teacher.named_teacher(f"timm/test_resnet@{path}", PACKAGED, "--data.features")
    assert "\n" not in str(caught.value)
    assert "weights_only=False" not in str(caught.value)
    assert not [record for record in caplog.records if record.name.startswith("timm")]
