import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unbraid.core.data_config import DataConfig, SetName
from unbraid.core.types import ImageSpec, UserError
from unbraid.data.equal import Pairing
from unbraid.data.items import Recombining
from unbraid.data.loading import load
from unbraid.data.parts import Data, LabelledPart, PairedPart, UnpairedPart
from unbraid.data.sources.sets import skin_tone

Paint = Callable[..., None]


def numbers(part: PairedPart) -> tuple[np.ndarray, np.ndarray]:
    """The first value, 0 to 255, of every image of a and of b."""
    batch = part.batch(np.arange(len(part)), 0)
    a, b = (((side[:, 0, 0, 0] + 1) * 127.5).round().numpy().astype(int) for side in (batch.a, batch.b))
    return a, b


def paired_parts(data: Data) -> tuple[PairedPart, PairedPart, PairedPart]:
    parts = data.train, data.val, data.test
    assert isinstance(parts[0], PairedPart)
    assert isinstance(parts[1], PairedPart)
    assert isinstance(parts[2], PairedPart)
    return parts  # type: ignore[return-value]


def labelled_parts(data: Data) -> tuple[LabelledPart, LabelledPart, LabelledPart]:
    parts = data.train, data.val, data.test
    assert isinstance(parts[0], LabelledPart)
    assert isinstance(parts[1], LabelledPart)
    assert isinstance(parts[2], LabelledPart)
    return parts  # type: ignore[return-value]


def names(part: PairedPart | LabelledPart) -> list[str]:
    return [part.names[int(row)] for row in part.rows]


@pytest.mark.parametrize(
    "name",
    [
        "maps",
        "facades",
        "cars",
        "car-sides",
        "cars3d",
        "relit",
        "sketchy",
        "cuhk",
        "cuhk-avataaars",
        "emoji",
        "avataaars",
    ],
)
def test_missing_sets_say_what_was_expected_where(tmp_path: Path, name: SetName) -> None:
    with pytest.raises(UserError, match=rf"The set {name} needs --data\.root"):
        load(DataConfig(set=name))
    with pytest.raises(UserError, match=r"--data\.root .* holds no folder [a-z0-9]+/; expected there: "):
        load(DataConfig(set=name, root=tmp_path))


def test_maps_keep_their_own_test_part(tmp_path: Path) -> None:
    for i in range(14):
        path = tmp_path / "maps" / ("train" if i < 10 else "val") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        halves = [np.full((4, 4, 3), i, np.uint8), np.full((4, 4, 3), 100 + i, np.uint8)]
        Image.fromarray(np.concatenate(halves, axis=1)).save(path)
    data = load(DataConfig(set="maps", root=tmp_path, val=0.2))
    train, val, test = paired_parts(data)
    assert (len(train), len(val), len(test)) == (8, 2, 4)
    for part in (train, val, test):
        a, b = numbers(part)
        assert np.array_equal(b, a + 100)
    assert numbers(test)[0].tolist() == [10, 11, 12, 13]
    assert "WebP" in data.remark
    assert load(DataConfig(set="maps", root=tmp_path, size=(2, 2))).spec.a == ImageSpec(2, 2, 3)


def test_facades_pair_photo_and_label_of_one_folder(tmp_path: Path, paint: Paint) -> None:
    keys = [*(f"train/{i}" for i in range(8)), "test_dev/8", "test_dev/9"]
    paint(tmp_path / "facades", [f"{key}.jpg" for key in keys])
    paint(tmp_path / "facades", [f"{key}.png" for key in keys], mode="P")
    paint(tmp_path / "facades", ["train/alone.jpg"])
    data = load(DataConfig(set="facades", root=tmp_path))
    train, val, test = paired_parts(data)
    assert (len(train), len(val), names(test)) == (7, 1, ["test_dev/8", "test_dev/9"])
    assert "stand-in" in data.remark


@pytest.fixture
def cars(tmp_path: Path) -> Path:
    """24 sheets of 2x2 tiles: red tells the car, green the elevation, blue the azimuth."""
    for car in range(24):
        sheet = np.zeros((4, 2, 24, 2, 3), np.uint8)
        sheet[..., 0] = car
        sheet[..., 1] = np.arange(4)[:, None, None, None]
        sheet[..., 2] = np.arange(24)[None, None, :, None]
        (tmp_path / "cars3d").mkdir(exist_ok=True)
        Image.fromarray(sheet.reshape(8, 48, 3)).save(tmp_path / "cars3d" / f"car_{car:03d}.png")
    return tmp_path


def test_cars_pair_the_frontal_view_with_the_23_others(cars: Path) -> None:
    data = load(DataConfig(set="cars", root=cars))
    assert isinstance(data.test, PairedPart)
    assert {domain: len(first) for domain, first in Pairing.of(data.test).first.items()} == {"a": 28, "b": 644}
    seen: list[set[int]] = []
    for part, count in zip(paired_parts(data), (7, 10, 7), strict=True):
        assert len(part) == count * 92
        batch = part.batch(np.arange(len(part)), 0)
        a, b = (((side[:, :, 0, 0] + 1) * 127.5).round().int().numpy() for side in (batch.a, batch.b))
        assert (a[:, 2] == 0).all()
        assert np.array_equal(a[:, :2], b[:, :2])
        assert set(b[:, 2]) == set(range(1, 24))
        labels = part.label(np.arange(len(part)))
        assert labels is not None
        assert np.array_equal(a[:, 0], labels)
        frontal = a[:, :2].reshape(-1, 23, 2)  # 23 neighbouring rows show one frontal view
        assert (frontal == frontal[:, :1]).all()
        seen.append(set(a[:, 0].tolist()))
    assert sum(len(cars) for cars in seen) == len(set.union(*seen)) == 24


def test_sides_of_cars_pair_both_ends_with_both_profiles(cars: Path) -> None:
    data = load(DataConfig(set="car-sides", root=cars))
    assert isinstance(data.test, PairedPart)
    assert {domain: len(first) for domain, first in Pairing.of(data.test).first.items()} == {"a": 56, "b": 56}
    one_view = paired_parts(load(DataConfig(set="cars", root=cars)))
    for part, count, other in zip(paired_parts(data), (7, 10, 7), one_view, strict=True):
        assert len(part) == count * 16
        batch = part.batch(np.arange(len(part)), 0)
        a, b = (((side[:, :, 0, 0] + 1) * 127.5).round().int().numpy() for side in (batch.a, batch.b))
        assert a[:, 2].reshape(-1, 4).tolist() == [[0, 0, 12, 12]] * (len(part) // 4)
        assert b[:, 2].reshape(-1, 4).tolist() == [[6, 18, 6, 18]] * (len(part) // 4)
        assert np.array_equal(a[:, :2], b[:, :2])
        assert (a[:, :2].reshape(-1, 4, 2) == a[::4, None, :2]).all()
        labels = part.label(np.arange(len(part)))
        assert labels is not None
        assert np.array_equal(a[:, 0], labels)
        assert set(a[:, 0]) == set(numbers(other)[0])  # the same cars are held out
        assert len(set(names(part))) == len(part)


def test_cars_know_what_they_look_like_from_where_another_is_seen(cars: Path) -> None:
    expected: dict[SetName, str] = {"cars": "b", "car-sides": "ab"}
    for name, domains in expected.items():
        test = paired_parts(load(DataConfig(set=name, root=cars)))[2]
        assert isinstance(test.a, Recombining) == ("a" in domains)
        for items in (test.a, test.b)[2 - len(domains) :]:
            assert isinstance(items, Recombining)
            shared, exclusive = test.rows, np.random.default_rng(0).permutation(test.rows)
            made, one, other = (
                ((x[:, :, 0, 0] + 1) * 127.5).round().int().numpy()
                for x in (items.recombined(shared, exclusive), items.read(shared, 0), items.read(exclusive, 0))
            )
            assert np.array_equal(made, np.concatenate([one[:, :2], other[:, 2:]], axis=1))


def test_a_bad_sheet_loses_its_car_alone(cars: Path) -> None:
    (cars / "cars3d" / "car_004.png").write_bytes(b"")
    data = load(DataConfig(set="cars", root=cars))
    parts = paired_parts(data)
    assert sum(len(part) for part in parts) == 23 * 92
    assert not any(4 in numbers(part)[0] for part in parts)
    assert len(data.skipped) == 1


def test_half_a_set_is_refused(cars: Path, paint: Paint) -> None:
    paint(cars / "maps", [f"train/{i}.png" for i in range(5)])
    with pytest.raises(UserError, match=r"The set maps under --data\.root .* has 0 items in its test part; 1 are"):
        load(DataConfig(set="maps", root=cars))
    for i in range(7):
        (cars / "cars3d" / f"car_{i:03d}.png").unlink()
    with pytest.raises(UserError, match="has 17 cars; 18 are the least"):
        load(DataConfig(set="cars", root=cars))
    with pytest.raises(UserError, match="has 17 cars; 22 are the least"):
        load(DataConfig(set="cars3d", root=cars))


def car_of(part: LabelledPart) -> np.ndarray:
    """Car, elevation and azimuth of each image, by its colour. (n, 3)."""
    return ((part.x.read(part.rows, 0)[:, :, 0, 0] + 1) * 127.5).round().int().numpy()


def test_all_views_of_cars_hold_20_cars_out(cars: Path) -> None:
    data = load(DataConfig(set="cars3d", root=cars, val=0.25))
    train, val, test = labelled_parts(data)
    assert (len(train), len(val), len(test)) == (3 * 96, 96, 20 * 96)  # validation is by image
    of = [set(car_of(part)[:, 0].tolist()) for part in (train, val, test)]
    assert of[0] == of[1]
    assert not of[0] & of[2]
    for part, numbers in ((train, range(4)), (val, range(4)), (test, range(4, 24))):
        label = part.label(np.arange(len(part)))
        assert set(label[:, 0].tolist()) == set(numbers)
        assert [part.class_names[i] for i in label[:, 0]] == [str(car) for car in car_of(part)[:, 0]]
    assert data.parts().keys() == {"train", "val", "test"}
    other = labelled_parts(load(DataConfig(set="cars3d", root=cars, seed=1)))[2]
    assert set(car_of(other)[:, 0].tolist()) != of[2]


def test_views_of_cars_know_their_view_and_angles(cars: Path) -> None:
    _, _, test = labelled_parts(load(DataConfig(set="cars3d", root=cars)))
    _, elevation, azimuth = car_of(test).T
    assert test.content is not None
    assert np.array_equal(test.content[test.rows], 24 * elevation + azimuth)
    assert np.array_equal(test.factors["elevation"][test.rows], 6.0 * elevation)
    assert np.allclose(test.factors["azimuth cosine"][test.rows], np.cos(np.radians(15.0 * azimuth)))
    assert np.allclose(test.factors["azimuth sine"][test.rows], np.sin(np.radians(15.0 * azimuth)))
    assert names(test)[25].endswith("elevation 6, azimuth 15")


def test_views_of_cars_divide_by_image_if_asked(cars: Path) -> None:
    train, val, test = labelled_parts(load(DataConfig(set="cars3d", root=cars, split="image")))
    assert (len(train), len(val), len(test)) == (24 * 96 - 460, 230, 230)
    assert set(car_of(train)[:, 0].tolist()) == set(range(24))


def test_sketchy_pairs_each_sketch_with_its_photo_and_holds_out_classes(tmp_path: Path, paint: Paint) -> None:
    photos = [f"{kind}/n{i}_1.jpg" for kind in "abcdefghij" for i in range(2)]
    sketches = [f"{name[:-4]}-{i}.png" for name in photos for i in (1, 2)]
    paint(tmp_path / "sketchy" / "photo", photos)
    paint(tmp_path / "sketchy" / "sketch", [*sketches, "a/n9_1-1.png"], mode="L")  # the last has no photo
    data = load(DataConfig(set="sketchy", root=tmp_path, val=0.2))
    assert (data.spec.a.shape[0], data.spec.b.shape[0]) == (3, 1)
    classes = []
    for part, count in zip(paired_parts(data), (6, 2, 2), strict=True):
        assert len(part) == 4 * count
        labels = part.label(np.arange(len(part)))
        assert labels is not None
        classes.append({name[0] for name in names(part)})
        assert [("abcdefghij")[label] for label in labels] == [name[0] for name in names(part)]
        photo = numbers(part)[0].tolist()
        expected = [photos.index(name.rsplit("-", 1)[0] + ".jpg") for name in names(part)]
        assert max(abs(x - y) for x, y in zip(photo, expected, strict=True)) <= 3  # JPEG
    assert [len(kinds) for kinds in classes] == [6, 2, 2]
    assert len(set.union(*classes)) == 10


def test_cuhk_keeps_its_own_test_part(tmp_path: Path) -> None:
    (tmp_path / "cuhk").mkdir()
    photo = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones((12, 5, 4, 3), np.uint8)
    np.savez(tmp_path / "cuhk" / "cuhk_student_128x160.npz", photo=photo, sketch=photo[..., 0], test=np.arange(12) % 2)
    train, val, test = paired_parts(load(DataConfig(set="cuhk", root=tmp_path, val=0.2)))
    assert (len(train), len(val)) == (5, 1)
    assert numbers(test)[0].tolist() == numbers(test)[1].tolist() == [1, 3, 5, 7, 9, 11]


def test_photos_and_cartoons_are_no_pairs(tmp_path: Path) -> None:
    for name in ("cuhk", "avataaars"):
        (tmp_path / name).mkdir()
    photo = np.full((12, 40, 40, 3), (90, 150, 220), np.uint8)
    photo[:, 10:, 10:30] = (200, 150, 120)
    arrays = {"photo": photo, "sketch": photo[..., 0], "test": np.arange(12) % 2}
    np.savez(tmp_path / "cuhk" / "cuhk_student_128x160.npz", **arrays)
    np.savez(tmp_path / "avataaars" / "avataaars_64.npz", x=np.zeros((20, 40, 40, 3), np.uint8))
    faces = [{"eyes": ["hearts", "happy"][i % 2]} for i in range(20)]
    (tmp_path / "avataaars" / "labels.json").write_text(json.dumps(faces))
    data = load(DataConfig(set="cuhk-avataaars", root=tmp_path, size=(20, 20)))
    assert isinstance(data.test, UnpairedPart)
    assert (len(data.test.rows_a), len(data.test.rows_b)) == (6, 2)
    assert data.test.attributes_a == {}
    assert data.test.attributes_b["eyes"].tolist()[:3] == [1, 0, 1]
    assert data.test.a.read(data.test.rows_a, 0)[:, :, 0, 0].min() == 1  # white behind the head
    assert data.test.a.read(data.test.rows_a, 0)[:, :, 12, 10].max() < 1


def test_skin_tones_of_emoji() -> None:
    assert [skin_tone(code) for code in ("1F44B", "1F44B-1F3FB", "1F91D-1F3FF-200D-1F3FF")] == [0, 1, 5]
    assert skin_tone("1FAF1-1F3FB-200D-1FAF2-1F3FF") == -1


def test_emoji_variants_stay_together(tmp_path: Path) -> None:
    folder = tmp_path / "emoji"
    folder.mkdir()
    about = []
    for i in range(30):
        base, name = f"1F{400 + i}", f"THING {i}"
        for tone in ("", "-FE0F", "-1F3FB", "-1F3FC-200D"):
            about.append({"unified": base + tone, "name": name, "category": "xyz"[i % 3]})
    (folder / "labels.json").write_text(json.dumps(about))
    sheet = np.zeros((57, 64, 3), np.uint8)
    sheet.reshape(-1, 3)[: len(about)] = np.arange(len(about))[:, None]
    Image.fromarray(sheet).save(folder / "google.webp", lossless=True)
    Image.fromarray(255 - sheet).save(folder / "openmoji_black.webp", lossless=True)
    data = load(DataConfig(set="emoji", root=tmp_path, styles=("google", "openmoji-black")))
    bases = []
    for part in paired_parts(data):
        a, b = numbers(part)
        assert np.array_equal(a, 255 - b)
        assert np.array_equal(a, part.rows)
        labels = part.label(np.arange(len(part)))
        assert labels is not None
        assert np.array_equal(labels, (part.rows // 4) % 3)
        bases.append({int(row) // 4 for row in part.rows})
    assert [len(base) for base in bases] == [24, 3, 3]
    assert len(set.union(*bases)) == 30
    with pytest.raises(UserError, match=r"there is no apple; choose two of google, twitter"):
        load(DataConfig(set="emoji", root=tmp_path, styles=("google", "apple")))
    for text in ("[", "{}", "null", "[1]", '[{"unified": 1}]', json.dumps([{**about[0], "name": None}]), "[" * 100_000):
        (folder / "labels.json").write_text(text)
        with pytest.raises(UserError, match=r"labels\.json is damaged"):
            load(DataConfig(set="emoji", root=tmp_path))
    (folder / "labels.json").unlink()
    with pytest.raises(UserError, match=r"labels\.json is missing"):
        load(DataConfig(set="emoji", root=tmp_path))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"photo": np.zeros((9, 4, 4, 3), np.uint8)}, "it has no sketch, test"),
        ({"photo": np.zeros((9, 4, 4), np.uint8)}, r"photo is uint8 \(9, 4, 4\)"),
        ({"sketch": np.zeros((8, 4, 4), np.uint8)}, r"photo has 9 items, sketch is \(8, 4, 4\)"),
        ({"test": np.zeros((9, 2), int)}, r"test \(9, 2\)"),
    ],
)
@pytest.mark.parametrize("name", ["cuhk", "cuhk-avataaars"])
def test_arrays_of_a_set_that_do_not_fit_are_named(
    tmp_path: Path, name: SetName, arrays: dict[str, np.ndarray], message: str
) -> None:
    whole = {
        "photo": np.zeros((9, 4, 4, 3), np.uint8),
        "sketch": np.zeros((9, 4, 4), np.uint8),
        "test": np.zeros(9, int),
    }
    if "no sketch" not in message:
        arrays = {**whole, **arrays}
    (tmp_path / "cuhk").mkdir()
    np.savez(tmp_path / "cuhk" / "cuhk_student_128x160.npz", **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=message):
        load(DataConfig(set=name, root=tmp_path))


def test_avataaars_are_labelled_by_what_is_on_the_head(tmp_path: Path) -> None:
    folder = tmp_path / "avataaars"
    folder.mkdir()
    with pytest.raises(UserError, match=r"there is no file or folder .*avataaars_64\.npz"):
        load(DataConfig(set="avataaars", root=tmp_path))
    np.savez(folder / "avataaars_64.npz", x=np.zeros((20, 4, 4, 3), np.uint8))
    faces = [{"top": ["hat", "bob"][i % 2], "eyes": "abc"[i % 3], "glasses": [None, "red"][i // 10]} for i in range(20)]
    (folder / "labels.json").write_text(json.dumps(faces))
    data = load(DataConfig(set="avataaars", root=tmp_path))
    assert isinstance(data.train, LabelledPart)
    assert data.train.labels.tolist() == [[1], [0]] * 10
    assert data.train.class_names == ("bob", "hat")
    assert data.spec.a == data.spec.b == ImageSpec(4, 4, 3)
    data = load(DataConfig(set="avataaars", root=tmp_path, labels=("eyes", "glasses")))
    assert isinstance(data.train, LabelledPart)
    assert data.train.labels.tolist() == [[i % 3, i // 10] for i in range(20)]
    with pytest.raises(UserError, match="avataaars has no nose; there are top, eyes, glasses"):
        load(DataConfig(set="avataaars", root=tmp_path, labels=("nose",)))
    (folder / "labels.json").write_text(json.dumps(faces[1:]))
    with pytest.raises(UserError, match=r"labels\.json has 19 faces, avataaars_64\.npz 20"):
        load(DataConfig(set="avataaars", root=tmp_path))
    for wrong in ({}, [[1]] * 20, [{"top": ["hat"]}] * 20, None):
        (folder / "labels.json").write_text(json.dumps(wrong))
        with pytest.raises(UserError, match=r"labels\.json is damaged"):
            load(DataConfig(set="avataaars", root=tmp_path))
    (folder / "labels.json").write_text(json.dumps([*faces[:-1], {"top": "hat"}]))
    with pytest.raises(UserError, match="face 19 has other labels than the first"):
        load(DataConfig(set="avataaars", root=tmp_path))
