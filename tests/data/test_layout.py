"""Parts that are kept apart: in folders, in a column, in data sets of a program's own."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from unbraid.core.data_config import DataConfig
from unbraid.core.types import UserError
from unbraid.data import from_datasets
from unbraid.data.loading import load
from unbraid.data.parts import Data, LabelledPart, PairedPart, UnpairedPart

Paint = Callable[..., None]


def names(data: Data) -> tuple[list[str], list[str], list[str]]:
    return data.train.item_names(), data.val.item_names(), data.test.item_names()


def numbered(first: int, count: int, folder: str = "") -> list[str]:
    return [f"{folder}{i}.png" for i in range(first, first + count)]


@pytest.mark.parametrize("written", ["{part}{side}", "{part}_{side}", "{part}/{side}", "{side}/{part}"])
def test_two_domains_with_folders_for_each_part(tmp_path: Path, paint: Paint, written: str) -> None:
    for (part, first, count), side in itertools.product((("train", 0, 9), ("test", 20, 4)), "AB"):
        paint(tmp_path / written.format(part=part, side=side), numbered(first, count))
    data = load(DataConfig(folder=tmp_path))
    train, val, test = names(data)
    assert isinstance(data.test, PairedPart)
    assert sorted(train + val, key=int) == [str(i) for i in range(9)]
    assert len(val) == 1
    assert test == ["20", "21", "22", "23"]


def test_without_pairs_each_part_stays_apart(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "trainA", numbered(0, 8))
    paint(tmp_path / "trainB", numbered(100, 7))
    for part, first in (("val", 200), ("test", 300)):
        paint(tmp_path / f"{part}A", numbered(first, 3))
        paint(tmp_path / f"{part}B", numbered(first + 50, 2))
    data = load(DataConfig(folder=tmp_path, unpaired=True))
    assert isinstance(data.test, UnpairedPart)
    assert [data.train.counted(), data.val.counted(), data.test.counted()] == ["8 + 7", "3 + 2", "3 + 2"]
    assert names(data)[2] == [*numbered(300, 3), *numbered(350, 2)]


def test_folders_of_a_part_beside_those_of_training(tmp_path: Path, paint: Paint) -> None:
    """Other sizes are fitted, grey becomes colour, and images that train too are said."""
    for side in "ab":
        paint(tmp_path / side, numbered(0, 6))
        paint(tmp_path / f"test {side}", ["0.png"])
    paint(tmp_path / "test b", ["0.png"], 16, 16, "L")
    config = DataConfig(a=tmp_path / "a", b=tmp_path / "b", test_a=tmp_path / "test a", test_b=tmp_path / "test b")
    data = load(config)
    assert data.test.domain("b")[0].spec == data.spec.b
    assert data.remark == "1 of 1 test items of a are equal to items of training or validation, value for value"
    with pytest.raises(UserError, match=r"--data\.test-b is missing"):
        load(replace(config, test_b=None))
    with pytest.raises(UserError, match="which are missing"):
        load(replace(config, a=None, b=None, classes=tmp_path))
    with pytest.raises(UserError, match="a third column, with the header a,b,part"):
        load(replace(config, pairs=tmp_path / "pairs.csv"))


def test_two_halves_in_folders_for_each_part(tmp_path: Path, paint: Paint) -> None:
    for part, first, count in (("train", 0, 5), ("val", 10, 2), ("test", 20, 3)):
        paint(tmp_path / part, numbered(first, count), 8, 16)
    data = load(DataConfig(folder=tmp_path))
    assert [len(part) for part in names(data)] == [5, 2, 3]
    assert names(data)[2] == ["20", "21", "22"]
    assert "are mixed; --data.folder keeps them apart" in load(DataConfig(side_by_side=tmp_path)).remark
    same = DataConfig(a=tmp_path / "train", b=tmp_path / "train" / ".." / "train")
    for config in (same, replace(same, unpaired=True)):
        assert "--data.a and --data.b are the same folder" in load(config).remark


@pytest.mark.parametrize("written", ["{part}/{word}", "{word}/{part}"])
def test_classes_with_parts_above_or_below(tmp_path: Path, paint: Paint, written: str) -> None:
    for part, words, count in (("train", "cat dog", 4), ("test", "ape cat dog", 1)):
        for word in words.split():
            if written.startswith("{word}") and word == "ape":
                continue
            paint(tmp_path / written.format(part=part, word=word), numbered(0, count))
    data = load(DataConfig(folder=tmp_path))
    train, val, test = (part for part in data.parts().values() if isinstance(part, LabelledPart))
    assert (len(train), len(val)) == (7, 1)
    words = [test.class_names[label] for label in test.labels[test.rows, 0]]
    assert words == (["ape", "cat", "dog"] if written.startswith("{part}") else ["cat", "dog"])
    assert list(train.class_names[:2]) == ["cat", "dog"]
    assert set(test.labels[test.rows, 0]) >= {0, 1}


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ("trainA testA testB", "train has trainA and no b"),
        ("trainA trainB testA", "test has testA and no b"),
        ("trainA trainB train_A", "are called alike"),
        ("photos labels", "holds labels, photos; needed are trainA trainB"),
    ],
)
def test_folders_in_no_usual_layout(tmp_path: Path, paint: Paint, folders: str, words: str) -> None:
    for name in folders.split():
        paint(tmp_path / name, numbered(0, 3))
    with pytest.raises(UserError, match=words):
        load(DataConfig(folder=tmp_path))
    with pytest.raises(UserError, match="is not there"):
        load(DataConfig(folder=tmp_path / "none"))


def test_a_column_of_the_pairs_says_the_part(tmp_path: Path, paint: Paint) -> None:
    for side in "ab":
        paint(tmp_path / side, numbered(0, 8))
    config = DataConfig(a=tmp_path / "a", b=tmp_path / "b", pairs=tmp_path / "pairs.csv")
    lines = [f"{i}.png,{7 - i}.png,{'test' if i < 3 else 'train'}" for i in range(8)]

    def write(*rows: str) -> None:
        (tmp_path / "pairs.csv").write_text("\n".join(["A,B,Part", *rows]))

    write(*lines)
    data = load(config)
    assert [len(part) for part in names(data)] == [4, 1, 3]
    assert names(data)[2] == [f"{i}.png | {7 - i}.png" for i in range(3)]
    write(*lines, "4.png,3.png,val")
    with pytest.raises(UserError, match="row 10: part is val, and it was train"):
        load(config)
    write(*lines[:3], "3.png,4.png,dev")
    with pytest.raises(UserError, match=r"row 5: part is 'dev'; it must be train, val or test"):
        load(config)
    write(*lines[:3])
    with pytest.raises(UserError, match=r"No item is in the part train, .*: 0 are in val, 3 in test"):
        load(config)
    write("0.png,1.png")
    with pytest.raises(UserError, match="three are needed"):
        load(config)


def test_a_column_part_without_val_draws_it(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path, numbered(0, 8))
    rows = [f"{i}.png,{'xy'[i % 2]},{'test' if i > 5 else 'train'}" for i in range(8)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,class,part", *rows]))
    assert [len(part) for part in names(load(DataConfig(csv=tmp_path / "labels.csv")))] == [5, 1, 2]


def images(count: int, seed: int, size: int = 8) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_data_sets_with_a_test_part() -> None:
    pairs, test = TensorDataset(images(9, 0), images(9, 1)), TensorDataset(images(4, 2, 16), images(4, 3, 16))
    data = load(DataConfig(from_python="pairs"), from_datasets(pairs, test=test))
    other = load(DataConfig(from_python="pairs"), from_datasets(pairs, test=pairs))
    assert [len(part) for part in data.parts().values()] == [8, 1, 4]
    assert data.name != other.name
    assert "9 of 9 test items" in other.remark
    two = from_datasets(a=list(images(5, 0)), b=list(images(6, 1)), test=(list(images(2, 2)), list(images(3, 3))))
    assert load(DataConfig(from_python="a and b"), two).test.counted() == "2 + 3"
    rows = [(image, "cat" if i % 2 else "dog") for i, image in enumerate(np.asarray(images(8, 0)))]
    data = load(DataConfig(from_python="labelled"), from_datasets(labelled=rows, test=rows[:2], val=rows[2:4]))
    assert [len(part) for part in data.parts().values()] == [8, 2, 2]
    with pytest.raises(UserError, match="a tuple is needed"):
        from_datasets(a=list(images(5, 0)), b=list(images(6, 1)), test=list(images(2, 2)))


@pytest.mark.parametrize(
    ("folders", "named", "names"),
    [
        ("photos maps", None, ("photos", "maps")),
        ("trainA trainB", None, ("a", "b")),
        ("a b", None, ("a", "b")),
        ("x photos", None, ("a", "b")),
        ("a b", ("street", "plan"), ("street", "plan")),
        ("photos maps", ("maps", "Maps"), "two different words"),
        ("photos maps", ("b", "a"), "a stays a"),
    ],
)
def test_what_domains_are_called(
    tmp_path: Path, paint: Paint, folders: str, named: tuple[str, str] | None, names: tuple[str, str] | str
) -> None:
    a, b = (tmp_path / name for name in folders.split())
    for place in (a, b):
        paint(place, numbered(0, 4))
    config = DataConfig(a=a, b=b, names=named)
    if isinstance(names, str):
        with pytest.raises(UserError, match=names):
            load(config)
    else:
        assert load(config).spec.names == names
