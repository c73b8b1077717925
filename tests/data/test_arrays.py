from pathlib import Path

import numpy as np
import pytest
import torch

from unbraid.core.data_config import DataConfig
from unbraid.core.types import ImageSpec, UserError, VectorSpec
from unbraid.data.loading import load
from unbraid.data.parts import LabelledPart, PairedPart, UnpairedPart
from unbraid.data.sources.arrays import array_items

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 6, 8, 3), dtype=np.uint8)
VECTORS = RNG.normal(size=(12, 7))
CONFIG = DataConfig()


def save(tmp_path: Path, folder: bool, **arrays: np.ndarray) -> Path:
    if not folder:
        np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
        return tmp_path / "x.npz"
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    return tmp_path


@pytest.mark.parametrize("folder", [True, False])
def test_pairs_of_images_and_vectors_with_labels(tmp_path: Path, folder: bool) -> None:
    label = np.array([5, 9, 9] * 4)
    data = load(DataConfig(arrays=save(tmp_path, folder, a=IMAGES, b=VECTORS, label=label)))
    assert data.spec.a == ImageSpec(6, 8, 3)
    assert data.spec.b == VectorSpec(7)
    part = data.train
    assert isinstance(part, PairedPart)
    batch = part.batch(np.arange(len(part)), 0)
    expected = torch.from_numpy(IMAGES[part.rows]).permute(0, 3, 1, 2) / 127.5 - 1
    assert torch.allclose(batch.a, expected, atol=1e-6)
    assert torch.allclose(batch.b, torch.from_numpy(VECTORS[part.rows]).float())
    labels = part.label(np.arange(len(part)))
    assert labels is not None
    assert labels.tolist() == [int(i % 3 > 0) for i in part.rows]


def test_npy_files_are_mapped_not_read(tmp_path: Path) -> None:
    data = load(DataConfig(arrays=save(tmp_path, True, a=IMAGES, b=IMAGES)))
    assert isinstance(data.train, PairedPart)
    assert isinstance(getattr(data.train.a, "array", None), np.memmap)


def test_classes_may_be_words(tmp_path: Path) -> None:
    label = np.array(["cat", "ant", "bee"] * 4)
    data = load(DataConfig(arrays=save(tmp_path, False, x=IMAGES, label=label)))
    assert isinstance(data.train, LabelledPart)
    assert data.train.labels.tolist() == [[2], [0], [1]] * 4
    assert data.train.class_names == ("ant", "bee", "cat")


def test_labels_of_two_dimensions_are_attributes(tmp_path: Path) -> None:
    label = np.array([[0, 5], [1, 5], [1, 9]] * 4)
    data = load(DataConfig(arrays=save(tmp_path, True, x=IMAGES, label=label)))
    assert isinstance(data.train, LabelledPart)
    assert data.train.labels.tolist() == [[0, 0], [1, 0], [1, 1]] * 4
    assert data.train.class_names == ()
    assert data.train.content is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [(np.array([7, 3, -1] * 4), [2, 1, -1]), (np.array(["up", "down", "left"] * 4), [2, 0, 1])],
)
def test_content_may_be_known(tmp_path: Path, content: np.ndarray, expected: list[int]) -> None:
    label = np.arange(12) % 2
    data = load(DataConfig(arrays=save(tmp_path, False, x=IMAGES, label=label, content=content)))
    assert isinstance(data.train, LabelledPart)
    assert data.train.content is not None
    assert data.train.content.tolist() == expected * 4
    with pytest.raises(UserError, match="content has 5 entries, x has 12"):
        load(DataConfig(arrays=save(tmp_path, False, x=IMAGES, label=label, content=content[:5])))


def test_unpaired_arrays_of_different_length(tmp_path: Path) -> None:
    path = save(tmp_path, False, a=IMAGES, b=IMAGES[:7], label=np.zeros(12, int))
    with pytest.raises(UserError, match=r"a has 12 items, b 7.*--data\.unpaired"):
        load(DataConfig(arrays=path))
    data = load(DataConfig(arrays=path, unpaired=True))
    assert isinstance(data.train, UnpairedPart)
    assert len(data.train.rows_b) == 5
    assert "label is not used" in data.remark


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_channels(channels: int) -> None:
    items, _ = array_items(RNG.integers(0, 256, (4, 6, 8, channels), dtype=np.uint8), "a", CONFIG)
    assert items.spec == ImageSpec(6, 8, channels)
    assert items.read(np.array([3, 0]), 0).shape == (2, channels, 6, 8)


def test_grey_images_need_no_channel_axis() -> None:
    items, _ = array_items(IMAGES[..., 0], "a", CONFIG)
    assert items.read(np.array([1]), 0).shape == (1, 1, 6, 8)


def test_16_bits() -> None:
    values = np.array([0, 65535], np.uint16).reshape(1, 1, 2).repeat(4, 0)
    items, _ = array_items(values, "a", CONFIG)
    assert items.read(np.array([0]), 0).flatten().tolist() == [-1, 1]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floats_are_taken_by_their_range_and_it_is_said(kind: type) -> None:
    values = np.linspace(0, 1, 4 * 6 * 8).reshape(4, 6, 8).astype(kind)
    items, remark = array_items(values, "a", CONFIG)
    assert "[0, 1]" in remark
    assert items.read(np.arange(4), 0).aminmax() == (-1, 1)
    items, remark = array_items(values * 2 - 1, "a", CONFIG)
    assert "[-1, 1]" in remark
    assert items.read(np.arange(4), 0).aminmax() == (-1, 1)


def test_images_are_brought_to_size_and_channels() -> None:
    items, _ = array_items(IMAGES, "a", DataConfig(size=(4, 4), channels=1))
    images = items.read(np.arange(12), 0)
    assert images.shape == (12, 1, 4, 4)
    assert images.min() >= -1
    assert images.max() <= 1


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 4, 4), np.float32) + 200, "values from 200 to 200"),
        (np.full((5, 4, 4), np.nan, np.float32), "NaN"),
        (np.full((5, 4), np.inf), "infinite"),
        (np.zeros((5, 4, 4), np.int64), "must be uint8, uint16 or floats"),
        (np.zeros((5, 4), np.int64), "neither images"),
        (np.zeros(5), "neither images"),
        (np.zeros((0, 4, 4)), "empty"),
        (np.zeros((5, 3, 32, 32), np.uint8), "channels first"),
    ],
)
def test_unusable_arrays(array: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        array_items(array, "a", CONFIG)
    assert str(array.shape) in str(caught.value)


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(UserError, match="for images"):
        array_items(VECTORS, "a", DataConfig(size=(4, 4)))
    with pytest.raises(UserError, match="has 5 channels"):
        array_items(np.zeros((3, 4, 4, 5), np.uint8), "a", DataConfig(channels=3))


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (np.zeros(9, int), "9 entries, a has 12 items"),
        (np.zeros(12), "whole numbers or words"),
        (np.zeros((12, 2), int), "whole numbers or words"),
    ],
)
def test_unusable_labels(tmp_path: Path, label: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(DataConfig(arrays=save(tmp_path, False, a=IMAGES, b=IMAGES, label=label)))


def test_unusable_attributes(tmp_path: Path) -> None:
    for label in (np.zeros((12, 2)), np.zeros((12, 0), int), np.zeros((12, 2, 2), int)):
        with pytest.raises(UserError, match=r"whole numbers or words, \(n,\) or \(n, k\)"):
            load(DataConfig(arrays=save(tmp_path, False, x=IMAGES, label=label)))


def test_missing_keys_list_what_is_there(tmp_path: Path) -> None:
    path = save(tmp_path, False, x_train=IMAGES, y_train=np.zeros(12, np.uint8))
    with pytest.raises(UserError, match=r"x_train uint8 \(12, 6, 8, 3\), y_train uint8 \(12,\); needed are a and b"):
        load(DataConfig(arrays=path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no arrays"):
        load(DataConfig(arrays=tmp_path / "empty"))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file or folder"):
        load(DataConfig(arrays=tmp_path / "none.npz"))
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(UserError, match="can't be read"):
        load(DataConfig(arrays=tmp_path / "text.npz"))
    whole = save(tmp_path, False, a=IMAGES, b=IMAGES).read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[:600])
    with pytest.raises(UserError, match="can't be read"):
        load(DataConfig(arrays=tmp_path / "half.npz"))
    np.save(tmp_path / "one.npy", IMAGES)
    with pytest.raises(UserError, match="single array"):
        load(DataConfig(arrays=tmp_path / "one.npy"))


@pytest.mark.parametrize("folder", [True, False])
def test_pickled_arrays_are_never_unpickled(tmp_path: Path, folder: bool) -> None:
    objects = np.array([{"code": 1}] * 12, dtype=object)
    with pytest.raises(UserError, match="can't be read as"):
        load(DataConfig(arrays=save(tmp_path, folder, a=objects, b=objects)))
