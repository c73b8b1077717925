import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unbraid.core.data_config import DataConfig
from unbraid.core.types import VectorSpec
from unbraid.data.equal import Pairing, differ, equal_items, first_of_each
from unbraid.data.items import Chosen
from unbraid.data.loading import load
from unbraid.data.parts import PairedPart
from unbraid.data.sources.arrays import ArrayVectors

Paint = Callable[..., None]


def vectors(array: np.ndarray) -> ArrayVectors:
    return ArrayVectors(array.astype(np.float32), VectorSpec(array.shape[1]))


def test_the_first_of_each_key_is_numbered_in_order() -> None:
    first, number = first_of_each([7, 5, 7, 1, 5])
    assert first.tolist() == [0, 1, 3]
    assert number.tolist() == [0, 1, 0, 2, 1]


@pytest.mark.parametrize("order", ["C", "F"])
def test_items_are_equal_if_all_their_values_are(order: str) -> None:
    array = np.random.default_rng(0).normal(size=(6, 1000))
    array[3], array[4], array[5] = array[0], array[0], array[1]
    array[4, 0] += 1  # far from the middle, which is looked at first
    items = vectors(np.asarray(array, order=order))  # type: ignore[call-overload]
    assert equal_items(items, np.arange(6)).tolist() == [0, 1, 2, 0, 3, 1]
    assert equal_items(Chosen(items, np.array([5, 1, 0, 0])), np.arange(4)).tolist() == [0, 0, 1, 1]
    assert differ(items, np.array([0, 0, 1]), np.array([3, 4, 1])).tolist() == [False, True, False]


def test_a_pairing_knows_items_pairs_and_what_is_connected() -> None:
    a, b = np.eye(3)[[0, 0, 1, 2]], np.eye(4)[[0, 1, 1, 3]]
    part = PairedPart(vectors(a), vectors(b), np.arange(4), list("wxyz"))
    pairing = Pairing.of(part)
    assert [pairing.first[domain].tolist() for domain in ("a", "b")] == [[0, 2, 3], [0, 1, 3]]
    assert pairing.pairs.tolist() == [[0, 0], [0, 1], [1, 1], [2, 2]]
    assert pairing.repeated
    things = pairing.things()
    assert len(set(things[:3])) == 1
    assert things[3] != things[0]
    assert pairing.hits(np.arange(4), "a", np.arange(3)).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert pairing.hits(np.arange(4), "b", np.array([1])).tolist() == [[1, 1, 0]]


def test_equal_files_in_several_parts_are_said(tmp_path: Path, paint: Paint) -> None:
    names = [f"{i:02d}.png" for i in range(20)]
    paint(tmp_path / "a", names)
    paint(tmp_path / "b", names)
    config = DataConfig(a=tmp_path / "a", b=tmp_path / "b", test=0.2)
    data = load(config)
    assert "equal" not in data.remark
    held, trained = (part.names[int(part.rows[0])] for part in (data.test, data.train))  # type: ignore[union-attr]
    shutil.copy(tmp_path / "b" / f"{trained}.png", tmp_path / "b" / f"{held}.png")
    said = "1 of 4 test items of b are equal to items of training or validation"
    assert said in load(config).remark
    assert said in load(DataConfig(a=tmp_path / "a", b=tmp_path / "b", test=0.2, unpaired=True)).remark
    chooses = data.val.names[int(data.val.rows[0])]  # type: ignore[union-attr]
    shutil.copy(tmp_path / "a" / f"{trained}.png", tmp_path / "a" / f"{chooses}.png")
    said += ", value for value; 1 of 2 validation items of a are equal to items of training, value for value"
    assert said in load(config).remark


def test_equal_rows_of_arrays_and_images_of_classes_are_said(tmp_path: Path, paint: Paint) -> None:
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    np.savez(tmp_path / "x.npz", a=np.tile(x, (2, 1)), b=np.tile(x, (2, 1)))
    assert "test items of a and " in load(DataConfig(arrays=tmp_path / "x.npz", test=0.3)).remark
    paint(tmp_path / "classes", [f"{'ab'[i % 2]}/{i:02d}.png" for i in range(20)])
    for path in list((tmp_path / "classes").rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy {path.name}"))
    remark = load(DataConfig(classes=tmp_path / "classes", test=0.3)).remark
    assert "of 12 test items are equal to items of training or validation" in remark
