"""Shards: tar files as a source, read where they lie."""

import io
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from unbraid.core.data_config import DataConfig
from unbraid.core.types import DataSpec, ImageSpec, UserError
from unbraid.data.archives import members, open_file
from unbraid.data.batches import Batches
from unbraid.data.images import decode, read_header
from unbraid.data.listing import list_images
from unbraid.data.loading import load, load_other
from unbraid.data.parts import LabelledPart, PairedPart, UnpairedPart
from unbraid.data.survey import survey


def picture(value: int, mode: str = "RGB", kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).convert(mode).save(file, kind)
    return file.getvalue()


def pack(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def pairs(start: int, count: int, a: str = "a.png", b: str = "b.png") -> dict[str, bytes]:
    made: dict[str, bytes] = {}
    for i in range(start, start + count):
        made |= {f"{i:04d}.{a}": picture(10 * i), f"{i:04d}.{b}": picture(10 * i + 5, "L"), f"{i:04d}.json": b"{}"}
    return made


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    for i in range(3):
        pack(tmp_path / "shards" / f"{i:03d}.tar", pairs(4 * i, 4))
    return tmp_path / "shards"


def check_pairs(part: PairedPart, gap: int = 5) -> None:
    batch = part.batch(np.arange(len(part)), 0)
    a, b = (x.mean((1, 2, 3)) * 127.5 + 127.5 for x in (batch.a, batch.b))
    assert torch.allclose(b - a, torch.full_like(a, gap), atol=1e-3)


def test_members_of_one_key_are_pairs(shards: Path) -> None:
    data = load(DataConfig(shards=shards))
    assert isinstance(data.train, PairedPart)
    assert data.spec == DataSpec(ImageSpec(8, 8, 3), ImageSpec(8, 8, 1))
    assert (len(data.train), len(data.val), len(data.test)) == (10, 1, 1)
    assert data.train.names[0] == "000.tar/0000"
    check_pairs(data.train)
    assert isinstance(load(DataConfig(shards=shards, unpaired=True)).train, UnpairedPart)


def test_batches_follow_from_seed_and_step(shards: Path) -> None:
    part = load(DataConfig(shards=shards)).train
    run = [batch for _, batch in zip(range(6), Batches(part, 4, 1, ("flip",)), strict=False)]
    resumed = next(Batches(load(DataConfig(shards=shards)).train, 4, 1, ("flip",), step=5))
    assert torch.equal(run[5].a, resumed.a)
    assert torch.equal(run[5].index, resumed.index)


def test_names_say_which_image_is_a(tmp_path: Path) -> None:
    path = pack(tmp_path / "some.tar", pairs(0, 6, "sketch.png", "Photo.png") | {"0000.mask.png": picture(0)})
    data = load(DataConfig(shards=path, names=("sketch", "photo")))
    assert isinstance(data.train, PairedPart)
    check_pairs(data.train)
    with pytest.raises(UserError, match=r"mask \(1\), photo \(6\), sketch \(6\).*--data.names"):
        load(DataConfig(shards=path))


def test_a_class_is_in_cls_or_the_folder(tmp_path: Path) -> None:
    words = {f"{i:02d}.jpg" if i % 4 else f"{i:02d}.png": picture(i, kind="JPEG") for i in range(12)}
    words |= {f"{i:02d}.cls": f"{10 if i % 2 else 9}\n".encode() for i in range(12)}
    data = load(DataConfig(shards=pack(tmp_path / "a.tar", words)))
    assert isinstance(data.train, LabelledPart)
    assert data.train.values == (("9", "10"),)
    assert {data.train.names[i]: int(data.train.labels[i, 0]) for i in (0, 1)} == {"00": 0, "01": 1}
    folders = {f"{'cat' if i % 2 else 'dog'}/{i}.png": picture(i) for i in range(12)}
    data = load(DataConfig(shards=pack(tmp_path / "b.tar", folders)))
    assert isinstance(data.train, LabelledPart)
    assert data.train.values == (("cat", "dog"),)


def test_shards_of_other_parts_do_not_train(tmp_path: Path) -> None:
    pack(tmp_path / "train-0.tar", pairs(0, 6))
    pack(tmp_path / "test-0.tar", pairs(6, 2))
    data = load(DataConfig(shards=tmp_path))
    assert (len(data.train), len(data.val), len(data.test)) == (5, 1, 2)
    assert [name.split("/")[0] for name in data.test.item_names()[:2]] == ["test-0.tar", "test-0.tar"]
    pack(tmp_path / "more.tar", pairs(8, 2))
    with pytest.raises(UserError, match="test-0 is called as a part is, and more is not"):
        load(DataConfig(shards=tmp_path))


def test_two_tar_files_or_folders_of_them_are_two_domains(tmp_path: Path) -> None:
    a = pack(tmp_path / "photos.tar", {f"./{i}.png": picture(9 * i) for i in range(12)} | {"._0.png": b""})
    for i in range(12):
        pack(tmp_path / "maps" / f"{i % 2}.tar", {f"{j}.jpg": picture(9 * j, kind="JPEG") for j in range(i % 2, 12, 2)})
    data = load(DataConfig(a=a, b=tmp_path / "maps"))
    assert isinstance(data.train, PairedPart)
    check_pairs(data.train, 0)
    found = survey([a, tmp_path / "maps"])
    assert (found.kind, found.pairs) == ("pairs", 12)


def test_the_folders_above_and_in_an_archive_have_any_name(tmp_path: Path) -> None:
    shards = tmp_path / "Straße İ.tar" / "Größe"
    for i in range(2):
        pack(shards / f"{i}.TAR", {f"Süß/{name}": content for name, content in pairs(4 * i, 4).items()})
    data = load(DataConfig(shards=shards))
    assert isinstance(data.train, PairedPart)
    assert "0.TAR/Süß/0001" in data.train.names
    check_pairs(data.train)
    shutil.move(shards / "1.TAR", tmp_path / "Straße.tar")
    two = load(DataConfig(a=shards / "0.TAR", b=tmp_path / "Straße.tar", unpaired=True, channels=3))
    assert isinstance(two.train, UnpairedPart)


def test_a_model_is_measured_on_other_shards(shards: Path, tmp_path: Path) -> None:
    other = DataConfig(shards=pack(tmp_path / "other.tar", pairs(14, 3)))
    assert len(load_other(DataConfig(shards=shards), other).test) == 3


def test_tar_files_beside_images_stay_no_images(tmp_path: Path) -> None:
    pack(tmp_path / "copy.tar", {"x.png": picture(0)})
    (tmp_path / "x.png").write_bytes(picture(0))
    listing = list_images(tmp_path, tars=True)
    assert (listing.names, listing.others) == (["x.png"], ["copy.tar"])


def test_images_are_read_as_from_a_folder(tmp_path: Path) -> None:
    """Kinds that are read in ways of their own: PNG and PGM with 16 bits, and what is no image."""
    files: dict[str, bytes] = {"bad.png": b"text"}
    deep = Image.fromarray((np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8))
    for name, kind in (("deep.png", "PNG"), ("deep.pgm", "PPM")):
        deep.save(file := io.BytesIO(), kind)
        files[name] = file.getvalue()
    path = pack(tmp_path / "x.TAR", files)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with open_file(path / name) as file:
            assert file.read() == content
        if name.startswith("deep"):
            assert read_header(path / name) == read_header(tmp_path / name)
            assert torch.equal(decode(path / name), decode(tmp_path / name))
    with pytest.raises(UserError, match="not an image: the file holds text"):
        decode(path / "bad.png")
    with pytest.raises(UserError, match=r"holds no gone.png"):
        decode(path / "gone.png")


def test_what_a_disk_has_no_room_for_is_decoded_when_it_is_read(
    shards: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache_folder: Path
) -> None:
    kept = load(DataConfig(shards=shards)).train
    shutil.rmtree(cache_folder)
    monkeypatch.setattr("unbraid.data.cache.shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    found = load(DataConfig(shards=shards))
    assert "they are decoded anew whenever they are read" in capsys.readouterr().err
    assert not list(cache_folder.glob("*.npy"))
    rows = np.array([3, 0, 3])
    assert torch.equal(found.train.batch(rows, 1).a, kept.batch(rows, 1).a)
    assert torch.equal(found.train.batch(rows, 1, ("flip",), 5).b, kept.batch(rows, 1, ("flip",), 5).b)
    assert found.train.batch(rows[:0], 1).a.shape == (0, 3, 8, 8)


def test_a_changed_archive_is_read_anew(tmp_path: Path) -> None:
    config = DataConfig(shards=pack(tmp_path / "x.tar", pairs(0, 4)))
    before = load(config).train
    pack(tmp_path / "x.tar", pairs(3, 4))
    after = load(config).train
    assert {*before.item_names()} != {*after.item_names()}
    assert isinstance(after, PairedPart)
    check_pairs(after)


def test_what_is_wrong_with_shards_is_told(shards: Path, tmp_path: Path) -> None:
    whole = (shards / "001.tar").read_bytes()
    end = max(start + size for start, size in members(shards / "001.tar").values())
    damaged = bytearray(whole)
    damaged[3 * 1024 : 3 * 1024 + 100] = b"\xff" * 100
    inside = next(start for start, size in members(shards / "001.tar").values() if size > 10) + 5
    cases = {
        "cut": (whole[: inside + 1], "ends within 0004.a.png: it is cut off"),
        "closed": (whole[: -(-end // 512) * 512], "has no end behind its 12 files: it is cut off or damaged there"),
        "damaged": (bytes(damaged), "is cut off or damaged there"),
        "zip": (b"PK" * 600, "can't be read as a tar file, uncompressed"),
        "empty": (b"", "can't be read as a tar file"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / f"{name}.tar").write_bytes(content)
        with pytest.raises(UserError, match=words):
            load(DataConfig(shards=tmp_path / f"{name}.tar"))
    with tarfile.open(tmp_path / "twice.tar", "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("1.a.png"))
    packed = {
        "texts": ({"1.txt": b"x"}, "No images in .*texts.tar: 1 other files"),
        "kinds": ({"1.a.png": b"", "1.a.jpg": b"", "1.b.png": b""}, "have one key and one kind: keep one"),
        "apart": ({"1.a.png": b"", "2.b.png": b"", "3.a.png": b""}, "3 of 3 items lack a or b, 1 among them"),
        "lonely": ({"1.png": picture(0), "2.png": picture(1)}, "2 of 2 images have no class.*KEY.cls"),
        "long": ({"1.png": picture(0), "1.cls": b"x" * 2000}, "1.cls has 2,000 bytes"),
    }
    for name, (files, words) in packed.items():
        with pytest.raises(UserError, match=words):
            load(DataConfig(shards=pack(tmp_path / f"{name}.tar", files)))
    with pytest.raises(UserError, match=r"holds 1.a.png twice"):
        load(DataConfig(shards=tmp_path / "twice.tar"))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").write_bytes(picture(0))
    with pytest.raises(UserError, match="holds images, and no tar files of images"):
        load(DataConfig(shards=tmp_path / "images"))


def test_items_without_partner_are_left_out(tmp_path: Path) -> None:
    config = DataConfig(shards=pack(tmp_path / "x.tar", pairs(0, 6) | {"9.a.png": picture(0)}))
    assert "1 items lack a or b and are left out" in load(config).remark
    with pytest.raises(UserError, match="1 of 7 items lack a or b, 9 among them"):
        load(replace(config, strict=True))


def test_keys_without_an_image_are_said(tmp_path: Path) -> None:
    words = {f"{i:02d}.cls": f"{i % 2}".encode() for i in range(14)}
    shard = pack(tmp_path / "x" / "0.tar", {f"{i:02d}.png": picture(9 * i) for i in range(12)} | words)
    (tmp_path / "x" / "about.json").write_text("{}")
    assert load(DataConfig(shards=tmp_path / "x")).remark == (
        "2 keys, 0.tar/12 among them, have no image and are left out"
    )
    pack(shard, pairs(0, 6) | {"9.json": b"{}", "8.a.png": picture(0)})
    assert load(DataConfig(shards=shard)).remark == (
        "1 items lack a or b and are left out; 1 keys, 9 among them, have no image and are left out"
    )


def test_shards_without_a_training_part_are_told(tmp_path: Path) -> None:
    pack(tmp_path / "val-0.tar", pairs(0, 6))
    pack(tmp_path / "test-0.tar", pairs(6, 2))
    with pytest.raises(UserError, match=r"No item is in the part train.*: 6 are in val, 2 in test"):
        load(DataConfig(shards=tmp_path))
