from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from classes import write_classes
from helpers import write_png
from unbraid.data import features, load
from unbraid.data.config import DataConfig
from unbraid.data.features import Extractor, Head, headed, load_features, save_extractor, tune, unheaded
from unbraid.data.parts import PairedPart, UnpairedPart
from unbraid.nn import teacher
from unbraid.types import UserError, VectorSpec
from unbraid.zeroshot import both_ways, by_angle


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
    from dataclasses import replace

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
    save_extractor(tmp_path / "run", "efficientnet-lite0", data.images, head)
    extractor, same = load_features(tmp_path / "run")
    assert isinstance(extractor, Extractor)
    assert same is not None
    x = torch.rand(2, *extractor.images["a"].shape)
    with torch.no_grad():
        assert torch.equal(extractor(x), head(teacher.named_teacher("efficientnet-lite0")(x)))  # type: ignore[call-arg]
    save_extractor(tmp_path / "plain", "efficientnet-lite0", data.images, None)
    plain, none = load_features(tmp_path / "plain")
    assert plain is not None
    assert plain.head is none is None
    assert load_features(tmp_path / "elsewhere") == (None, None)
    (tmp_path / "plain" / "features.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"features\.safetensors is damaged"):
        load_features(tmp_path / "plain")
