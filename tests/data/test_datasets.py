"""Data sets of a program's own: torch's, lists, what Hugging Face's look like."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder

from unbraid.core.data_config import DataConfig
from unbraid.core.types import DataSpec, ImageSpec, Labelled, Paired, Unpaired, UserError, VectorSpec
from unbraid.data import Datasets, from_datasets
from unbraid.data.loading import load, needs
from unbraid.data.parts import Data, LabelledPart, PairedPart, UnpairedPart


def pixels(count: int, seed: int, shape: tuple[int, ...] = (3, 16, 16)) -> torch.Tensor:
    return torch.randint(256, (count, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def pictures(count: int, seed: int, size: int = 16) -> list[Image.Image]:
    return [Image.fromarray(x.numpy()) for x in pixels(count, seed, (size, size, 3))]


def read(given: Datasets, **config: Any) -> Data:
    return load(DataConfig(from_python=given.kind, **config), given)


def test_torch_pairs_are_divided_and_read() -> None:
    a, b = pixels(30, 0), pixels(30, 1, (1, 16, 16))
    data = read(from_datasets(pairs=TensorDataset(a, b)))
    assert isinstance(data.train, PairedPart)
    assert data.spec == DataSpec(ImageSpec(16, 16), ImageSpec(16, 16, 1))
    assert (len(data.train), len(data.val), len(data.test)) == (24, 3, 3)
    batch = data.train.batch(np.arange(24), 1)
    rows = torch.from_numpy(data.train.rows)
    assert torch.allclose(batch.a, a[rows] / 127.5 - 1, atol=1e-6)
    assert torch.allclose(batch.b, b[rows] / 127.5 - 1, atol=1e-6)


def test_dictionaries_of_pictures_are_fitted() -> None:
    """As Hugging Face's data sets give them; grey and colour, of several sizes."""
    rows = [
        {"id": i, "photo": image.convert("L") if i % 2 else image, "sketch": other.convert("L")}
        for i, (image, other) in enumerate(zip(pictures(10, 0, 20), pictures(5, 1) + pictures(5, 2, 24), strict=True))
    ]
    data = read(from_datasets(pairs=rows, columns=("photo", "sketch")), size=(8, 12), channels=3)
    assert data.spec == DataSpec(ImageSpec(8, 12), ImageSpec(8, 12))
    found = data.test.batch(np.arange(len(data.test)), 0).a
    assert found.min() >= -1
    assert found.max() <= 1


def test_a_third_value_is_the_pairs_class() -> None:
    rows = [(*pair, i % 2) for i, pair in enumerate(zip(pixels(10, 0), pixels(10, 1), strict=True))]
    data = read(from_datasets(pairs=rows), balanced=True)
    assert isinstance(data.train, PairedPart)
    assert data.train.labels is not None
    assert data.train.labels.tolist() == [0, 1] * 5


def test_pairs_can_be_hidden_in_training() -> None:
    data = read(from_datasets(pairs=TensorDataset(pixels(12, 0), pixels(12, 1))), unpaired=True)
    assert isinstance(data.train, UnpairedPart)
    assert isinstance(data.test, PairedPart)


def test_two_data_sets_are_unpaired_domains() -> None:
    """Items, or tuples that begin with one, such as torchvision's of image and class."""
    a, b = [(image, 7) for image in pictures(12, 0)], Subset(TensorDataset(pixels(20, 1)), range(2, 20))
    data = read(from_datasets(a=a, b=b))
    assert isinstance(data.train, UnpairedPart)
    assert (len(data.train.a), len(data.train.b)) == (12, 18)
    assert needs(data, Unpaired, "x") is data
    with pytest.raises(UserError, match="x needs pairs"):
        needs(data, Paired, "x")


def test_pairs_are_drawn_within_classes() -> None:
    a, b = ([(x, f"class {i % 6}") for i, x in enumerate(pixels(24, seed))] for seed in (0, 1))
    data = read(from_datasets(a=a, b=b), by_class=True)
    assert needs(data, Paired, "x").spec == data.spec


class Faces:
    """What torchvision's data sets look like."""

    classes = ("round", "long", "unused")

    def __len__(self) -> int:
        return 12

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        return Image.fromarray(np.full((8, 8), 20 * i, np.uint8)), i % 2


class Rows(list[dict[str, Any]]):
    """What Hugging Face's data sets look like."""

    features = {"label": SimpleNamespace(names=["round", "long"])}  # noqa: RUF012


@pytest.mark.parametrize(
    "given",
    [Faces(), Rows({"image": x, "label": y} for x, y in (Faces()[i] for i in range(12)))],
    ids=["torchvision", "Hugging Face"],
)
def test_labels_have_the_names_of_their_classes(given: Any) -> None:
    data = needs(read(from_datasets(labelled=given)), Labelled, "x")
    assert isinstance(data.train, LabelledPart)
    assert data.spec.values == (("long", "round"),)
    assert data.spec.a == ImageSpec(8, 8, 1)
    first = data.train.names.index("0")
    assert data.train.class_names[data.train.labels[first, 0]] == "round"


def test_classes_of_torchvision_s_folders_keep_their_names_in_a_subset(tmp_path: Path) -> None:
    for i, image in enumerate(pictures(12, 0)):
        folder = tmp_path / ("cat", "dog", "owl")[i % 3]
        folder.mkdir(exist_ok=True)
        image.save(folder / f"{i}.png")
    data = read(from_datasets(labelled=Subset(ImageFolder(str(tmp_path)), range(8))))
    assert isinstance(data.train, LabelledPart)
    assert data.train.values == (("cat", "dog"),)


def test_an_item_whose_file_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="labelled: item 0 can't be read: cannot identify image file"):
        read(from_datasets(labelled=ImageFolder(str(tmp_path))))


def test_several_labels_are_attributes() -> None:
    rows = [(x, torch.tensor([i % 2, i % 3])) for i, x in enumerate(pixels(24, 0))]
    assert needs(read(from_datasets(labelled=rows)), Labelled, "x").spec.classes == (2, 3)


def test_vectors_stay_as_they_are() -> None:
    x = torch.randn(12, 5)
    data = read(from_datasets(pairs=TensorDataset(x, x[:, :3].double())))
    assert data.spec == DataSpec(VectorSpec(5), VectorSpec(3))
    assert isinstance(data.test, PairedPart)
    assert torch.equal(data.test.a.read(data.test.rows, 0), x[torch.from_numpy(data.test.rows)])


def test_floats_are_taken_by_their_range_also_where_they_are_enlarged() -> None:
    """Bicubic interpolation passes the range of an edge; 0 to 1 must not look like -1 to 1 then."""
    x = torch.zeros(12, 1, 8, 8)
    x[..., 4:] = 1
    data = read(from_datasets(a=list(x), b=list(2 * x - 1)), size=(16, 16))
    assert "a: values taken as lying in [0, 1]" in data.remark
    assert "b: values taken as lying in [-1, 1]" in data.remark
    assert isinstance(data.test, UnpairedPart)
    a, b = data.test.a.read(np.array([0]), 0), data.test.b.read(np.array([0]), 0)
    assert a.min() == b.min() == -1
    assert a.max() == b.max() == 1


@pytest.mark.parametrize("shape", [(3, 16, 20), (16, 20, 3), (16, 20)])
def test_channels_are_found(shape: tuple[int, ...]) -> None:
    data = read(from_datasets(a=pixels(5, 0, shape).numpy(), b=list(pixels(5, 0, shape))))
    assert data.spec.a == data.spec.b == ImageSpec(16, 20, 3 if len(shape) == 3 else 1)


def test_the_name_tells_other_items() -> None:
    a, b = pixels(10, 0), pixels(10, 1)
    changed = b.clone()
    changed[9, 0, 0, 0] += 1
    names = [read(from_datasets(pairs=TensorDataset(a, x))).name for x in (b, b.clone(), changed)]
    assert names[0] == names[1] != names[2]


class Random(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.rand(3, 8, 8), torch.zeros(3, 8, 8)


class Flipped:
    """Items that are turned round at times, as by a flip, but not at the first two readings."""

    def __init__(self) -> None:
        self.read = 0

    def __len__(self) -> int:
        return 20

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        self.read += 1
        image = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
        return image[:, :: -1 if self.read % 3 == 0 else 1], i % 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "given: none"),
        ({"pairs": [1], "a": [1]}, "given: pairs and a"),
        ({"a": [1]}, "given: a"),
        ({"pairs": {"train": [1], "test": [1]}}, "pairs: one data set is needed; found dict of train, test"),
        ({"pairs": iter([1])}, "list_iterator has no length"),
        ({"pairs": []}, "the data set is empty"),
        ({"labelled": [1], "columns": ("x", "y", "z")}, "x, y, z are 3; labelled take 2 at most"),
    ],
)
def test_what_is_no_data_set_is_told(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        from_datasets(**given)


IMAGE = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("given", "config", "words"),
    [
        ({"pairs": pixels(5, 0)}, {}, "item 0 is Tensor; a tuple of 2 values, or a dictionary, is needed"),
        ({"pairs": [(IMAGE,)] * 5}, {}, "item 0 is tuple of 1; a tuple of 2 values"),
        ({"pairs": [{"x": IMAGE, "y": IMAGE}] * 5}, {}, r"item 0 has no a; it has: x, y. Name them in order"),
        ({"a": [IMAGE] * 5, "b": [Path("x.png")] * 5}, {}, "b: item 0 is .*Path, object"),
        ({"a": [IMAGE, np.zeros((9, 8, 3), np.uint8)], "b": [IMAGE]}, {}, r"item 1 .*\(9, 8, 3\).* DataConfig\(size="),
        ({"a": [IMAGE, IMAGE.astype(np.float32)], "b": [IMAGE]}, {}, "item 1 is float32, item 0 uint8"),
        ({"a": [IMAGE] * 5, "b": [np.zeros((8, 8, 2), np.uint8)] * 5}, {"channels": 3}, "2 channels, which can't"),
        ({"a": [IMAGE] * 5, "b": [IMAGE.astype(np.int64)] * 5}, {}, "must be uint8, uint16 or floats"),
        ({"a": [np.full((8, 8), 3.0)] * 5, "b": [IMAGE] * 5}, {}, "float images lie in"),
        ({"pairs": Random()}, {}, "item 0 is another one each time it is read. Leave random changes out"),
        ({"labelled": Flipped()}, {}, r"item \d+ is another one each time it is read"),
        ({"labelled": [(IMAGE, [0]), (IMAGE, [0, 1])]}, {}, "labels have different shapes"),
        ({"labelled": [(IMAGE, 0.5), (IMAGE, 1.0)]}, {}, "it must be whole numbers or words"),
        ({"labelled": [(IMAGE, 0)] * 9}, {}, "nothing to tell apart"),
        ({"pairs": [(IMAGE, IMAGE)] * 2}, {}, "2 items are too few"),
        ({"pairs": [(IMAGE, IMAGE)] * 9}, {"by_class": True}, "--data.by-class pairs two domains"),
        ({"pairs": [(IMAGE, IMAGE)] * 9}, {"set": "digits"}, "Give one source of data"),
    ],
)
def test_what_cant_be_used_is_told(given: dict[str, Any], config: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        read(from_datasets(**given), **config)


def test_data_from_python_are_asked_for_again() -> None:
    with pytest.raises(UserError, match=r"from_datasets\(pairs=...\).*The command line and the explorer can't"):
        load(DataConfig(from_python="pairs"))
    with pytest.raises(UserError, match=r"from_datasets\(labelled=...\)"):
        load(DataConfig(from_python="labelled"), from_datasets(pairs=[(IMAGE, IMAGE)]))
