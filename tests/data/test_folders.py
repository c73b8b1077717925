import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unbraid.core.data_config import DataConfig
from unbraid.core.types import ImageSpec, UserError
from unbraid.data.images import SUFFIXES
from unbraid.data.listing import list_images
from unbraid.data.loading import load
from unbraid.data.parts import Data, LabelledPart, PairedPart, UnpairedPart

Paint = Callable[..., None]
NAMES = [f"{i:02d}.png" for i in range(10)]


def pair_numbers(data: Data) -> dict[str, tuple[int, int]]:
    """For each pair by name: which image of a, and which of b, by the colour that tells it."""
    numbers = {}
    for part in data.parts().values():
        assert isinstance(part, PairedPart)
        batch = part.batch(np.arange(len(part)), 0)
        for row, a, b in zip(part.rows, batch.a, batch.b, strict=True):
            numbers[part.names[row]] = tuple(round(float(x[0, 0, 0]) * 127.5 + 127.5) for x in (a, b))
    return numbers


def two(tmp_path: Path, **rest) -> Data:
    return load(DataConfig(a=tmp_path / "photos", b=tmp_path / "labels", **rest))


def test_listing_is_recursive_sorted_and_ignores_others(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path, ["b.png", "a/c.JPG", "a/b/x.webp", ".hidden/x.png", ".x.png"])
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".DS_Store").write_text("")
    listing = list_images(tmp_path)
    assert listing.names == ["a/b/x.webp", "a/c.JPG", "b.png"]
    assert listing.remark == f"1 files in {tmp_path} are no images"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x.TAR.GZ", "read uncompressed: unpack them"),
        ("x.tgz", "read uncompressed: unpack them"),
        pytest.param("x.HEIC", "pip install", marks=pytest.mark.skipif(".heic" in SUFFIXES, reason="it is there")),
    ],
)
def test_files_that_could_be_images_are_told_from_others(tmp_path: Path, paint: Paint, name: str, said: str) -> None:
    (tmp_path / name).write_text("")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(UserError, match=said if path == tmp_path or "HEIC" not in name else "is a file"):
            list_images(path, tars=True)
    paint(tmp_path, ["x.png"])
    assert f"1 files in {tmp_path} are no images (" in list_images(tmp_path).remark
    assert said in list_images(tmp_path).remark


@pytest.mark.parametrize(
    "name",
    [
        *("@eaDir/x.png/SYNOFILE_THUMB_M.jpg", "__MACOSX/._x.png", "__MACOSX/x.png", ".thumbnails/x.png", "._x.png"),
        *("#recycle/x.png", "in/@eaDir/x.jpg", "$RECYCLE.BIN/x.png", ".DS_Store", "Thumbs.db", "in/Desktop.ini"),
    ],
)
def test_what_systems_put_beside_images_is_no_data(tmp_path: Path, paint: Paint, name: str) -> None:
    paint(tmp_path, ["in/x.png", "in/y.png"])
    if name.endswith(("g", "G")):
        paint(tmp_path, [name])
    else:
        (tmp_path / name).write_text("")
    listing = list_images(tmp_path)
    assert (listing.names, listing.others, listing.remark) == (["in/x.png", "in/y.png"], [], "")


def test_links_show_no_image_twice(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path, ["a.png", "in/b.png"])
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "in")
    assert len(list_images(tmp_path).names) == 2


def test_names_that_are_not_utf_8_are_left_out_and_counted(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path, ["a.png"])
    os.rename(os.fsencode(tmp_path / "a.png"), os.fsencode(tmp_path) + b"/f\xfc.png")
    paint(tmp_path, ["b.png"])
    listing = list_images(tmp_path)
    assert listing.names == ["b.png"]
    assert "1 files" in listing.remark
    assert "not UTF-8" in listing.remark


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no folder .*none"):
        list_images(tmp_path / "none")
    with pytest.raises(UserError, match="it is empty"):
        list_images(tmp_path)
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(UserError, match=r"1 other files.*\.png"):
        list_images(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        list_images(tmp_path / "x.txt")


def test_pairs_by_name_may_differ_in_size_kind_and_ending(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "photos", [f"x/{name}" for name in NAMES], 8, 12)
    paint(tmp_path / "labels", [f"x/{name[:-4]}.bmp" for name in NAMES], 6, 6, mode="L")
    data = two(tmp_path)
    assert (data.spec.a, data.spec.b) == (ImageSpec(8, 12, 3), ImageSpec(6, 6, 1))
    assert (len(data.train), len(data.val), len(data.test)) == (8, 1, 1)
    assert set(pair_numbers(data)) == {f"x/{i:02d}" for i in range(10)}
    assert [a for a, _ in pair_numbers(data).values()] == [int(name[2:]) for name in pair_numbers(data)]
    assert data.remark == (  # as grey
        "1 of 1 test items of labels are equal to items of training or validation, value for value; "
        "1 of 1 validation items of labels are equal to items of training, value for value"
    )


def test_pairs_fall_back_to_the_last_part_of_the_name(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "photos", [f"one/{name}" for name in NAMES])
    paint(tmp_path / "labels", NAMES[::-1])
    numbers = pair_numbers(two(tmp_path))
    assert numbers["one/00"] == (0, 9)
    assert len(numbers) == 10


def test_partly_matching_names_are_used_and_counted(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "photos", NAMES)
    paint(tmp_path / "labels", [*NAMES[:7], "other.png"])
    (tmp_path / "labels" / "readme.md").write_text("")
    data = two(tmp_path)
    assert len(pair_numbers(data)) == 7
    assert "7 pairs; without partner: 3 of" in data.remark
    assert "photos" in data.remark
    assert "1 files in" in data.remark


def test_names_without_match_say_counts_and_flags(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "photos", NAMES)
    paint(tmp_path / "labels", ["x.png", "y.png"])
    with pytest.raises(UserError, match=r"photos has 10 images, .*labels 2, and no names in common.*--data\.pairs"):
        two(tmp_path)


def test_too_few_names_that_match_say_how_many(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "photos", NAMES)
    paint(tmp_path / "labels", [NAMES[3], "y.png"])
    with pytest.raises(UserError, match=r"labels 2, and only 1 of the names in common.*--data\.pairs"):
        two(tmp_path)


def test_a_name_that_stands_for_two_files(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "photos", [*NAMES, "00.bmp"])
    paint(tmp_path / "labels", NAMES)
    with pytest.raises(UserError, match=r"photos has 00\.bmp and 00\.png"):
        two(tmp_path)


@pytest.mark.parametrize("header", ["", "A, b\n", "\ufeffa,b\n"])
def test_pairs_by_csv(tmp_path: Path, paint: Paint, header: str) -> None:
    paint(tmp_path / "photos", NAMES)
    paint(tmp_path / "labels", [f"l{name}" for name in NAMES])
    lines = [f"{name},l{NAMES[(i + 1) % 10]}" for i, name in enumerate(NAMES)]
    (tmp_path / "pairs.csv").write_text(header + "\n\n".join(lines), encoding="utf-8")
    numbers = pair_numbers(two(tmp_path, pairs=tmp_path / "pairs.csv"))
    assert numbers == {f"{NAMES[i]} | l{NAMES[(i + 1) % 10]}": (i, (i + 1) % 10) for i in range(10)}


def test_rows_that_name_a_pair_again_are_said_and_left_out(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "photos", NAMES)
    paint(tmp_path / "labels", NAMES)
    (tmp_path / "pairs.csv").write_text("\n".join(f"{name},./{name}" for name in NAMES + NAMES[:4]))
    data = two(tmp_path, pairs=tmp_path / "pairs.csv")
    assert sum(len(part) for part in data.parts().values()) == 10
    assert data.remark == "4 rows of pairs.csv name a pair again and are left out"


@pytest.mark.parametrize("rows", [[(a, "00.png") for a in NAMES], [(a, b) for a in NAMES[:2] for b in NAMES]])
def test_pairs_that_are_all_connected_cannot_be_divided(
    tmp_path: Path, paint: Paint, rows: list[tuple[str, str]]
) -> None:
    paint(tmp_path / "photos", NAMES)
    paint(tmp_path / "labels", NAMES)
    (tmp_path / "pairs.csv").write_text("\n".join(map(",".join, rows)))
    with pytest.raises(UserError, match=rf"its {len(rows)} pairs are connected to 1 groups.*add pairs"):
        two(tmp_path, pairs=tmp_path / "pairs.csv")


COMPOSED, APART = "caf\u00e9.png", "cafe\u0301.png"


def test_names_that_differ_in_case_or_composition_meet(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "photos", ["x/A.png", f"x/{COMPOSED}", "x/1.png", "x/2.png"])
    paint(tmp_path / "labels", ["X/a.JPG", f"x/{APART}", "x/1.png", "x/2.png"])
    data = two(tmp_path)
    assert data.remark == ""
    assert set(pair_numbers(data)) == {"x/A", f"x/{COMPOSED[:-4]}", "x/1", "x/2"}
    rows = [("X/a.PNG", "x/A.jpg"), (f"x/{APART}", f"x/{COMPOSED}"), ("x/1.png", "x/1.png")]
    (tmp_path / "pairs.csv").write_text("\n".join(map(",".join, rows)), encoding="utf-8")
    assert set(pair_numbers(two(tmp_path, pairs=tmp_path / "pairs.csv"))) == {
        *("x/A.png | X/a.JPG", f"x/{COMPOSED} | x/{APART}", "x/1.png | x/1.png"),
    }


def test_a_name_that_is_there_as_written_comes_first(tmp_path: Path, paint: Paint) -> None:
    names = ["a.png", "A.png", COMPOSED, APART, "1.png"]
    paint(tmp_path / "photos", names)
    paint(tmp_path / "labels", names)
    assert all(a == b for a, b in pair_numbers(two(tmp_path)).values())
    (tmp_path / "labels" / "a.png").unlink()
    (tmp_path / "photos" / "A.png").rename(tmp_path / "photos" / "B.png")
    (tmp_path / "photos" / "b.png").write_bytes((tmp_path / "photos" / "B.png").read_bytes())
    (tmp_path / "labels" / "A.png").rename(tmp_path / "labels" / "B.PNG")
    assert len(pair_numbers(two(tmp_path))) == 4  # B meets B as written; b has no partner


def test_pairs_that_share_an_image_stay_in_one_part(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "photos", NAMES)
    paint(tmp_path / "labels", NAMES)
    rows = [f"{a},{b}" for i, a in enumerate(NAMES) for b in (NAMES[i], NAMES[i - i % 2])]
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    data = two(tmp_path, pairs=tmp_path / "pairs.csv", test=0.3)
    seen = []
    for part in data.parts().values():
        assert isinstance(part, PairedPart)
        seen.append({side for row in part.rows for side in part.names[int(row)].split(" | ")})
    assert sum(len(images) for images in seen) == len(set.union(*seen))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("00.png,00.png\n01.png,none.png\n", r"row 2: there is no image none\.png in .*labels"),
        ("a,b\n00.png\n", "row 2 has 1 columns"),
        ("00.png,00.png,3\n", "row 1 has 3 columns"),
        ("a,b\n", "names no pairs"),
        (None, "can't be read: .*No such file"),
    ],
)
def test_bad_csv(tmp_path: Path, paint: Paint, contents: str | None, message: str) -> None:
    paint(tmp_path / "photos", NAMES)
    paint(tmp_path / "labels", NAMES)
    if contents is not None:
        (tmp_path / "pairs.csv").write_text(contents)
    with pytest.raises(UserError, match=message) as caught:
        two(tmp_path, pairs=tmp_path / "pairs.csv")
    assert "pairs.csv" in str(caught.value)


def test_a_csv_that_is_no_text(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "photos", NAMES)
    paint(tmp_path / "labels", NAMES)
    with pytest.raises(UserError, match="can't be read"):
        two(tmp_path, pairs=tmp_path / "photos" / "00.png")


def test_a_bad_image_drops_its_pair(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "photos", NAMES)
    paint(tmp_path / "labels", NAMES)
    (tmp_path / "photos" / "03.png").write_bytes(b"")
    (tmp_path / "labels" / "07.png").write_text("no image")
    data = two(tmp_path)
    numbers = pair_numbers(data)
    assert set(numbers) == {name[:-4] for name in NAMES} - {"03", "07"}
    assert all(a == b == int(name) for name, (a, b) in numbers.items())
    assert [line.split(": ")[0] for line in data.skipped] == [
        str(tmp_path / "photos" / "03.png"),
        str(tmp_path / "labels" / "07.png"),
    ]
    with pytest.raises(UserError, match=r"03\.png: the file is empty"):
        two(tmp_path, strict=True)


def test_unpaired_folders(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "photos", NAMES)
    paint(tmp_path / "labels", NAMES[:5])
    (tmp_path / "labels" / "02.png").write_bytes(b"")
    data = two(tmp_path, unpaired=True)
    seen_a, seen_b = [], []
    for part in data.parts().values():
        assert isinstance(part, UnpairedPart)
        seen_a += [part.names_a[row] for row in part.rows_a]
        seen_b += [part.names_b[row] for row in part.rows_b]
    assert sorted(seen_a) == NAMES
    assert sorted(seen_b) == ["00.png", "01.png", "03.png", "04.png"]
    assert len(data.skipped) == 1


def test_missing_other_folder_and_contradictions(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "photos", NAMES)
    with pytest.raises(UserError, match=r"--data\.b is missing"):
        load(DataConfig(a=tmp_path / "photos"))
    with pytest.raises(UserError, match=r"--data\.a is missing"):
        load(DataConfig(b=tmp_path / "photos"))
    with pytest.raises(UserError, match="contradict"):
        load(DataConfig(a=tmp_path / "photos", b=tmp_path / "photos", unpaired=True, pairs=tmp_path / "x.csv"))


def test_side_by_side(tmp_path: Path) -> None:
    for i in range(6):
        left, right = np.full((6, 9, 3), i, np.uint8), np.full((6, 9, 3), 100 + i, np.uint8)
        Image.fromarray(np.concatenate([left, right], axis=1)).save(tmp_path / f"{i}.png")
    data = load(DataConfig(side_by_side=tmp_path))
    assert data.spec.a == data.spec.b == ImageSpec(6, 9, 3)
    assert pair_numbers(data) == {str(i): (i, 100 + i) for i in range(6)}
    small = load(DataConfig(side_by_side=tmp_path, size=(4, 4), channels=1))
    assert small.spec.b == ImageSpec(4, 4, 1)
    assert pair_numbers(small) == {str(i): (i, 100 + i) for i in range(6)}


def test_side_by_side_of_odd_width(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path, ["0.png", "1.png", "2.png"], 8, 8)
    paint(tmp_path, ["odd.png"], 8, 9)
    with pytest.raises(UserError, match=r"odd\.png is 9 pixels wide"):
        load(DataConfig(side_by_side=tmp_path, size=(8, 4)))


def test_class_folders(tmp_path: Path, paint: Paint) -> None:
    names = [f"{kind}/{i}.png" for kind in ("zebra", "ant", "bee") for i in range(4)]
    paint(tmp_path, names)
    (tmp_path / "ant" / "2.png").write_bytes(b"")
    data = load(DataConfig(classes=tmp_path))
    count = 0
    for part in data.parts().values():
        assert isinstance(part, LabelledPart)
        batch = part.batch(np.arange(len(part)), 0)
        count += len(part)
        for row, x, label in zip(part.rows, batch.x, batch.label, strict=True):
            assert part.names[int(row)].split("/")[0] == part.class_names[int(label)]
            assert part.names[row] == names[round(float(x[0, 0, 0]) * 127.5 + 127.5)]
        assert batch.label.dtype == torch.int64
    assert count == 11
    assert len(data.skipped) == 1


def test_class_folders_divided_by_class(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path, [f"{kind}/{i}.png" for kind in "abcdef" for i in range(3)])
    data = load(DataConfig(classes=tmp_path, split="class", test=0.3))
    train, val, test = (part.item_names() for part in data.parts().values())
    assert isinstance(data.train, LabelledPart)
    assert {name[0] for name in val} <= {name[0] for name in train} == set(data.train.class_names[:4])
    assert {name[0] for name in test} == set(data.train.class_names[4:])
    assert (len(train), len(val), len(test)) == (11, 1, 6)


def test_images_outside_the_class_folders(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path, ["ant/0.png", "ant/1.png", "x.png"])
    with pytest.raises(UserError, match=r"1 images lie in .* itself, x\.png among them"):
        load(DataConfig(classes=tmp_path))


def test_too_few_pairs(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "photos", NAMES[:2])
    paint(tmp_path / "labels", NAMES[:2])
    with pytest.raises(UserError, match="2 items are too few"):
        two(tmp_path)
