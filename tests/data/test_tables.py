from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unbraid.core.data_config import DataConfig
from unbraid.core.types import UserError
from unbraid.data.loading import load
from unbraid.data.parts import Data, LabelledPart

Paint = Callable[..., None]
FILES = [f"images/{i:02d}.png" for i in range(12)]


@pytest.fixture
def images(tmp_path: Path, paint: Paint) -> Path:
    paint(tmp_path, FILES)
    return tmp_path


def loaded(folder: Path, lines: list[str], **rest) -> Data:
    (folder / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return load(DataConfig(csv=folder / "labels.csv", **rest))


def by_name(data: Data) -> dict[str, list[int]]:
    """The labels of each image, which must be the image its name says."""
    found = {}
    for part in data.parts().values():
        assert isinstance(part, LabelledPart)
        batch = part.batch(np.arange(len(part)), 0)
        for row, x, label in zip(part.rows, batch.x, batch.label, strict=True):
            assert FILES[round(float(x[0, 0, 0]) * 127.5 + 127.5)] == part.names[row]
            found[part.names[row]] = label.tolist()
    return found


def test_one_column_is_a_class(images: Path) -> None:
    lines = [f"./{file} , {['dog', 'cat'][i % 2]}" for i, file in enumerate(FILES)]
    data = loaded(images, ["\ufefffile,kind", *lines[::-1], ""])
    assert by_name(data) == {file: [1 - i % 2] for i, file in enumerate(FILES)}
    assert isinstance(data.train, LabelledPart)
    assert data.train.class_names == ("cat", "dog")
    assert data.train.content is None
    assert data.remark == ""


def test_several_columns_are_attributes_and_may_be_chosen(images: Path) -> None:
    lines = ["file,hat,age,tone", *(f"{file},{i % 2},{9 + i % 3},{i / 8}" for i, file in enumerate(FILES))]
    data = loaded(images, lines, labels=("age", "hat"))
    assert by_name(data) == {file: [i % 3, i % 2] for i, file in enumerate(FILES)}  # 9, 10, 11 are numbers
    with pytest.raises(UserError, match=r"column tone has numbers that are not whole, such as 0\.125.*--data\.labels"):
        loaded(images, lines)


def test_numbers_are_put_in_order_and_words_may_look_like_them(images: Path) -> None:
    values = ["10", "9.0", "9"]
    data = loaded(images, ["file,class", *(f"{file},{values[i % 3]}" for i, file in enumerate(FILES))])
    assert isinstance(data.train, LabelledPart)
    assert data.train.class_names == ("9", "10")
    data = loaded(images, ["file,class", *(f"{file},{['0.5', 'x'][i % 2]}" for i, file in enumerate(FILES))])
    assert isinstance(data.train, LabelledPart)
    assert data.train.class_names == ("0.5", "x")


def test_numbers_that_are_written_differently_are_classes_of_their_own(images: Path) -> None:
    for values in (["007", "001", "7", "01"], ["+7", "07", "7", "-7"], ["9" * 5000, "1" * 1001, "9", "09"]):
        data = loaded(images, ["file,class", *(f"{file},{values[i % 4]}" for i, file in enumerate(FILES))])
        assert isinstance(data.train, LabelledPart)
        assert sorted(data.train.class_names) == sorted(values)
        for file, (label,) in by_name(data).items():
            assert data.train.class_names[label] == values[FILES.index(file) % 4]
    lines = ["file,class,content", *(f"{file},{i % 2},{'0' * (i % 3)}1" for i, file in enumerate(FILES))]
    data = loaded(images, lines)
    assert isinstance(data.train, LabelledPart)
    assert data.train.content is not None
    assert len(set(data.train.content.tolist())) == 3


def test_columns_may_stand_in_any_order_and_words_are_composed(images: Path) -> None:
    words = ["caf\u00e9", "cafe\u0301", "tea"]
    lines = [
        "Class,FILE,Part",
        *(f"{words[i % 3]},{file},{['train', 'val', 'test'][i // 4]}" for i, file in enumerate(FILES)),
    ]
    data = loaded(images, lines)
    assert isinstance(data.train, LabelledPart)
    assert data.train.class_names == ("caf\u00e9", "tea")
    assert data.train.label_names == ("Class",)


def test_parts_and_content_of_its_own(images: Path) -> None:
    parts = ["train"] * 6 + ["val"] * 2 + ["test"] * 4
    views = ["up", "", "down"] * 4
    lines = [f"{file},{parts[i]},{'ab'[i % 2]},{views[i]}" for i, file in enumerate(FILES)]
    data = loaded(images, ["file,part,class,content", *lines])
    assert [part.item_names() for part in data.parts().values()] == [FILES[:6], FILES[6:8], FILES[8:]]
    assert isinstance(data.train, LabelledPart)
    assert data.train.content is not None
    assert data.train.content.tolist() == [1, -1, 0] * 4
    with pytest.raises(UserError, match="2 classes of test are also in training, a with 2 test and 3 training images"):
        loaded(images, ["file,part,class,content", *lines], split="class")


def test_images_in_no_row_are_left_out_and_counted(images: Path) -> None:
    data = loaded(images, ["file,class", *(f"{file},{i % 2}" for i, file in enumerate(FILES[:9]))])
    assert set(by_name(data)) == set(FILES[:9])
    assert data.remark.startswith("3 images of ")
    assert data.remark.endswith(" are in no row of labels.csv")


def test_images_that_cannot_be_read_lose_their_row(images: Path) -> None:
    (images / FILES[4]).write_bytes(b"")
    data = loaded(images, ["file,class", *(f"{file},{i % 2}" for i, file in enumerate(FILES))])
    assert set(by_name(data)) == set(FILES) - {FILES[4]}
    assert len(data.skipped) == 1


GOOD = [f"{file},{'ab'[i % 2]}" for i, file in enumerate(FILES)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "is empty"),
        (["file,class"], "a header and no rows"),
        (GOOD, "needs a header with a column file, as in file,class; it begins with images/00.png,a"),
        (["file,class,class", *GOOD], "several columns class"),
        (["file,,class", *GOOD], "column 2 has no name in the header"),
        (["file,part", *GOOD], "no column for a label, only file, part"),
        (["file,class", GOOD[0], f"{FILES[1]},a,b"], "row 3 has 3 values; the header has 2"),
        (["file,class", *GOOD[:3], f"{FILES[4]},"], "row 5 has no class"),
        (
            ["file,class", *GOOD[:3], "", "images/x.png,a"],
            r"row 6: there is no image images/x\.png .*label with no image",
        ),
        (["file,class", GOOD[0], "../x.png,a"], r"row 3: there is no image \.\./x\.png"),
        (["file,class", *GOOD[:3], GOOD[1]], r"row 5 names images/01\.png again, as row 3 did"),
        (
            ["file,class,part", f"{GOOD[0]},train", f"{GOOD[1]},valid"],
            "row 3: part is 'valid'; it must be train, val or",
        ),
        (["file,class,part", f"{GOOD[0]},"], "row 2 has no part"),
        (["file,class,content", *(f"{line},0.5" for line in GOOD)], "column content has numbers that are not whole"),
    ],
)
def test_bad_tables(images: Path, lines: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        loaded(images, lines)
    assert "labels.csv" in str(caught.value)


def test_columns_that_are_not_there(images: Path) -> None:
    for name in ("colour", "file", "content"):
        with pytest.raises(UserError, match=rf"--data\.labels: .*labels\.csv has no label {name}; there are class$"):
            loaded(images, ["file,class", *GOOD], labels=(name,))


def test_files_that_are_no_table(images: Path) -> None:
    for name in ("none.csv", FILES[0]):
        with pytest.raises(UserError, match=r"--data\.csv .* can't be read"):
            load(DataConfig(csv=images / name))
