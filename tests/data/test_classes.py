from pathlib import Path

import numpy as np
import pytest
import torch

from classes import write_classes
from helpers import random_items, write_png
from unbraid.core.data_config import DataConfig
from unbraid.core.types import Paired, UserError, VectorSpec
from unbraid.data.batches import Batches
from unbraid.data.classes import Classmates
from unbraid.data.loading import load
from unbraid.data.parts import Data, PairedPart, UnpairedPart


def by_class(path: Path, **changes: object) -> Data:
    return load(DataConfig(arrays=path, by_class=True, test=0.3, val=0.2, **changes))  # type: ignore[arg-type]


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "classes.npz")


def test_no_class_is_in_two_parts(arrays: Path) -> None:
    data = by_class(arrays)
    assert isinstance(data.train, PairedPart)
    assert data.train.labels is not None
    seen = set(data.train.labels[data.train.rows].tolist())
    for part, count in ((data.val, 1), (data.test, 3)):
        assert isinstance(part, UnpairedPart)
        assert part.labels_a is not None
        assert part.labels_b is not None
        own = set(part.labels_a[part.rows_a].tolist())
        assert own == set(part.labels_b[part.rows_b].tolist())
        assert len(own) == count
        assert not own & seen
        seen |= own
        assert (len(part.rows_a), len(part.rows_b)) == (6 * count, 7 * count)
    assert seen == set(range(10))


def test_another_seed_is_another_split(arrays: Path) -> None:
    parts = [by_class(arrays, seed=seed).test for seed in (0, 0, 1)]
    rows = [part.rows_a.tolist() for part in parts if isinstance(part, UnpairedPart)]
    assert rows[0] == rows[1] != rows[2]


def test_pairs_are_of_one_class_and_others_in_each_draw() -> None:
    items = random_items(VectorSpec(3), 40, 0)
    labels, classes = np.arange(40) % 4, np.arange(20) % 4
    mates = Classmates.of(items, labels, classes, seed=1)
    rows = np.arange(20)
    draws = [mates.drawn(rows, draw) for draw in range(30)]
    for drawn in draws:
        assert (labels[drawn] == classes).all()
    assert len({int(drawn[3]) for drawn in draws}) > 7
    np.testing.assert_array_equal(mates.drawn(rows, 5), draws[5])
    np.testing.assert_array_equal(mates.drawn(rows[7:9], 5), draws[5][7:9])  # whoever reads it
    assert torch.equal(mates.read(rows, 5), items.x[draws[5]])


def test_balanced_batches_hold_a_pair_of_each_class(arrays: Path) -> None:
    train = by_class(arrays).train
    assert isinstance(train, PairedPart)
    assert train.labels is not None
    batches: Batches[Paired] = Batches(train, 6, seed=0, balanced=True)
    for _ in range(20):
        batch = next(batches)
        labels = train.labels[train.rows[batch.index.numpy()]]
        assert len(set(labels.tolist())) == 6


def test_the_classes_to_test_on_can_be_named(arrays: Path) -> None:
    data = by_class(arrays, test_classes=("class 03", "class 07"))
    assert isinstance(data.test, UnpairedPart)
    assert data.test.labels_a is not None
    assert set(data.test.labels_a[data.test.rows_a].tolist()) == {3, 7}
    with pytest.raises(UserError, match="no class cow"):
        by_class(arrays, test_classes=("cow",))


def test_folders_of_classes(tmp_path: Path) -> None:
    for i in range(30):
        write_png(tmp_path / "photo" / f"c{i % 6}" / f"{i}.png", i)
        write_png(tmp_path / "sketch" / f"c{i % 5}" / f"{i}.png", i)
    config = DataConfig(a=tmp_path / "photo", b=tmp_path / "sketch", by_class=True)
    data = load(config)
    assert "1 classes are in one domain only" in data.remark
    assert isinstance(data.train, PairedPart)
    assert data.train.batch(np.arange(3), 1).a.shape == (3, 3, 16, 16)
    write_png(tmp_path / "photo" / "loose.png", 1)
    with pytest.raises(UserError, match="one folder for each class"):
        load(config)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"by_class": True, "set": "digits", "arrays": None}, "pairs two domains"),
        ({"by_class": True, "unpaired": True}, "leave --data.pairs"),
        ({"test_classes": ("x",)}, "needs --data.by-class"),
        ({"tuned": True, "unpaired": True}, "give --data.by-class"),
        ({"by_class": True, "features": "vgg16"}, "for stored images"),
    ],
)
def test_what_contradicts_itself_is_refused(arrays: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load(DataConfig(**{"arrays": arrays, "unpaired": False, **changes}))  # type: ignore[arg-type]


def test_arrays_without_classes_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros((9, 3), np.float32), b=np.zeros((9, 3), np.float32))
    with pytest.raises(UserError, match="no array label_a and label_b"):
        by_class(tmp_path / "x.npz")
    few = write_classes(tmp_path / "few.npz", classes=3)
    with pytest.raises(UserError, match="3 classes have items in both"):
        by_class(few)


def test_classes_whose_names_differ_in_case_or_composition_meet(tmp_path: Path) -> None:
    words = [("Caf\u00e9", "cafe\u0301"), ("Tea", "TEA"), ("cat", "cat"), ("Cat", "Cat"), ("dog", "dog")]
    for i in range(20):
        for side, domain in enumerate(("photo", "sketch")):
            write_png(tmp_path / domain / words[i % 5][side] / f"{i}.png", 100 * side + i)
    config = DataConfig(a=tmp_path / "photo", b=tmp_path / "sketch", by_class=True, test_classes=("CAFE\u0301", "tea"))
    data = load(config)
    assert "in one domain only" not in data.remark
    assert isinstance(data.test, UnpairedPart)
    assert {str(data.test.names_a[row]).split("/")[0] for row in data.test.rows_a} == {"Caf\u00e9", "Tea"}
    assert {str(data.test.names_b[row]).split("/")[0] for row in data.test.rows_b} == {"cafe\u0301", "TEA"}
