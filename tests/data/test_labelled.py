from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import random_items
from unbraid.core.data_config import DataConfig
from unbraid.core.types import UserError, VectorSpec
from unbraid.data.labelled import labelled_data
from unbraid.data.parts import Data, LabelledPart
from unbraid.data.splits import Split, divide


def made(columns: Mapping[str, np.ndarray], config: DataConfig, own: Split | None = None) -> Data:
    count = len(next(iter(columns.values())))
    return labelled_data(
        config, "set", random_items(VectorSpec(2), count, 0), [str(i) for i in range(count)], columns, own
    )


def one(label: list[object] | np.ndarray, config: DataConfig | None = None, own: Split | None = None) -> Data:
    return made({"class": np.array(label)}, config or DataConfig(), own)


def labels_of(data: Data) -> list[np.ndarray]:
    """(items, k) labels of the three parts."""
    parts = [part for part in data.parts().values() if isinstance(part, LabelledPart)]
    return [part.labels[part.rows] for part in parts]


def rows(*parts: list[int]) -> Split:
    return Split(*(np.array(part, np.int64) for part in parts))


@given(
    classes=st.integers(2, 12),
    each=st.integers(6, 9),
    share=st.floats(0, 0.2),
    seed=st.integers(0, 5),
    k=st.integers(1, 3),
)
def test_by_image_every_value_stays_in_training_and_no_part_is_empty(
    classes: int, each: int, share: float, seed: int, k: int
) -> None:
    count = classes * each
    columns = {f"label {j}": np.random.default_rng(j).permutation(np.arange(count) % classes) for j in range(k)}
    train, val, test = labels_of(made(columns, DataConfig(val=share, test=share, seed=seed)))
    assert len(train) + len(val) + len(test) == count
    assert min(len(val), len(test)) >= 1
    assert all(set(train[:, j].tolist()) == set(range(classes)) for j in range(k))


def test_by_image_divides_as_any_images_if_classes_are_large() -> None:
    data, split = one(np.arange(100) % 2), divide([str(i) for i in range(100)], 0.1, 0.1, 0)
    assert isinstance(data.train, LabelledPart)
    assert isinstance(data.test, LabelledPart)
    assert np.array_equal(data.train.rows, split.train)
    assert np.array_equal(data.test.rows, split.test)


@given(
    classes=st.integers(3, 20),
    each=st.integers(2, 6),
    test=st.floats(0, 0.8),
    val=st.floats(0, 0.19),
    seed=st.integers(0, 5),
)
def test_by_class_training_never_sees_the_classes_of_test(
    classes: int, each: int, test: float, val: float, seed: int
) -> None:
    data = one(np.arange(classes * each) % classes, DataConfig(split="class", val=val, test=test, seed=seed))
    train, held, unseen = (set(part[:, 0].tolist()) for part in labels_of(data))
    assert train == set(range(len(train)))  # training's classes are numbered first
    assert unseen == set(range(len(train), classes))
    assert len(train) >= 2
    assert len(unseen) == min(max(1, round(test * classes)), classes - 2)
    assert held
    assert held <= train


def test_classes_held_out_are_drawn_by_the_seed_and_named() -> None:
    words = np.array([f"c{i:02d}" for i in range(20)] * 3)
    drawn = []
    for seed in (0, 0, 1):
        data = one(words, DataConfig(split="class", seed=seed))
        assert isinstance(data.test, LabelledPart)
        assert sorted(data.test.class_names) == sorted(set(words))
        assert all(data.test.class_names[data.test.labels[row, 0]] == words[row] for row in range(60))
        drawn.append(data.test.class_names[18:])
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_division_of_its_own_is_kept() -> None:
    own = rows([0, 1, 2, 3], [4], [5, 6])
    data = one(["b", "b", "d", "d", "b", "a", "a"], own=own)
    assert [part.ravel().tolist() for part in labels_of(data)] == [[0, 0, 1, 1], [0], [2, 2]]
    assert isinstance(data.train, LabelledPart)
    assert data.train.class_names == ("b", "d", "a")
    assert labels_of(one(["b", "b", "d", "d", "b", "a", "a"], DataConfig(split="class"), own))[2].tolist() == [[2], [2]]


BOTH = rows([0, 1, 2], [3], [4, 5])


@pytest.mark.parametrize(
    ("label", "config", "own", "message"),
    [
        (
            [*"aabbcde" * 1, "f", "f"],
            DataConfig(),
            None,
            "3 of 6 classes have a single image: c, d, e. A class needs 2",
        ),
        ([*"aabcdef"], DataConfig(), None, r"single image: b, c, d and others\..*remove these images, or merge"),
        ([*"aaaa"], DataConfig(), None, "all training images have the same class, a"),
        ([*"aabb"], DataConfig(split="class"), None, "has 2 classes; --data.split class needs 3 at least"),
        ([*"aa"], DataConfig(), None, "of 2 images none can be spared for validation"),
        ([*"ababab"], DataConfig(), rows([], [0, 1, 2, 3], [4, 5]), "there are train 0, val 4, test 2"),
        ([*"aabccb"], DataConfig(), rows([0, 1, 2], [3], [4, 5]), "1 values of class are in validation but not in"),
        ([*"ababab"], DataConfig(split="class"), BOTH, "2 classes of test are also in training, a with 1 test and 2"),
        ([*"ababcc"], DataConfig(split="image"), BOTH, "--data.split image, but 1 values of class are in test and not"),
        ([*"aaabbb"], DataConfig(), rows([0, 1], [2], [3, 4, 5]), "all training images have the same class, a"),
    ],
)
def test_classes_that_cannot_be_used(label: list[object], config: DataConfig, own: Split | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        one(label, config, own)


def test_attributes_cannot_be_divided_by_class() -> None:
    columns = {"hat": np.arange(12) % 2, "hair": np.arange(12) % 3}
    with pytest.raises(UserError, match="needs one label for each image; set has 2: hat, hair"):
        made(columns, DataConfig(split="class"))
    with pytest.raises(UserError, match=r"several labels, but 1 values of hair are in test and not in training: 9"):
        made({"hat": np.arange(6) % 2, "hair": np.array([1, 2, 1, 2, 9, 9])}, DataConfig(), BOTH)


def test_an_attribute_may_have_a_value_of_one_image_which_trains() -> None:
    rare = np.zeros(12, np.int64)
    rare[7] = 1
    train, _, _ = labels_of(made({"hat": np.arange(12) % 2, "rare": rare}, DataConfig(test=0.4, val=0.4)))
    assert 1 in train[:, 1]
