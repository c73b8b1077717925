import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from helpers import IMAGES
from unbraid.core.types import UserError
from unbraid.methods.iiae import IIAE
from unbraid.model.trained import Trained
from unbraid.search.identity import Identity, fingerprint
from unbraid.search.indexing import merge
from unbraid.search.store import Item, Store, item_id

IDENTITY = Identity("0" * 64, "iiae", "cosine", {"a": (3, 2), "b": (3, 2)})


def items(*names: str, time: int = 1) -> list[Item]:
    return [Item(f"/photos/{name}", 10, time, {"kind": name[0]}) for name in names]


def codes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 5)).astype(np.float32)


def live(store: Store) -> dict[str, np.ndarray]:
    return {item.path: code.copy() for item, code in store.everything("a")}


def test_what_is_acknowledged_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        store.append("a", items("x", "y"), codes(2))
        store.append("a", items("z"), codes(1, 1))
    store = Store.reading(tmp_path / "index")
    found = live(store)
    np.testing.assert_array_equal(found["/photos/x"], codes(2)[0])
    np.testing.assert_array_equal(found["/photos/z"], codes(1, 1)[0])
    assert store.known("a", ["/photos/y", "/photos/none"]) == {"/photos/y": items("y")[0]}
    assert (store.count("a"), store.count("b")) == (3, 0)
    store.close()


def test_a_changed_image_replaces_itself(tmp_path: Path) -> None:
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        store.append("a", items("x", "y"), codes(2))
        store.append("a", items("x", time=2), codes(1, 1))
        assert store.count("a") == 2
        np.testing.assert_array_equal(live(store)["/photos/x"], codes(1, 1)[0])


def test_codes_that_nobody_acknowledged_are_cut_off(tmp_path: Path) -> None:
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        store.append("a", items("x"), codes(1))
        path = store.codes_path("a")
    with path.open("ab") as file:  # killed between codes and transaction
        file.write(b"1" * 33)
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        assert path.stat().st_size == 20
        store.append("a", items("y"), codes(1, 1))
        np.testing.assert_array_equal(live(store)["/photos/y"], codes(1, 1)[0])


def cut(path: Path, size: int) -> None:
    os.truncate(path, size)


def zeroed(path: Path, size: int) -> None:
    whole = path.stat().st_size
    os.truncate(path, size)
    os.truncate(path, whole)


def flipped(path: Path, size: int) -> None:
    data = bytearray(path.read_bytes())
    for at in range(size + 3, len(data), 20):  # a bit in each row behind
        data[at] ^= 1
    path.write_bytes(data)


def gone(path: Path, size: int) -> None:
    path.unlink()


@pytest.mark.parametrize(("damage", "left"), [(cut, 2), (zeroed, 2), (flipped, 2), (gone, 0)])
@pytest.mark.parametrize("earlier", [False, True])
def test_images_whose_codes_are_damaged_have_none(
    damage: Callable[[Path, int], None], left: int, earlier: bool, tmp_path: Path
) -> None:
    """earlier: the index is of a version that kept no checksums, by which flipped bits are told."""
    if earlier and damage is flipped:
        return
    names = ("u", "v", "x", "y")
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        store.append("a", items(*names), codes(4))
        path = store.codes_path("a")
    if earlier:
        with sqlite3.connect(tmp_path / "index" / "records.sqlite") as records:
            records.execute("ALTER TABLE items DROP COLUMN checksum")
        records.close()
    damage(path, 45 if damage is cut else 40)
    for expected in ([4 - left], []):
        with Store.writing(tmp_path / "index", IDENTITY) as store:
            found = live(store)
            assert list(store.damaged.values()) == expected
            assert (store.count("a"), store.lacking("a")) == (left, 4 - left)
            for at, name in enumerate(names[:left]):
                np.testing.assert_array_equal(found[f"/photos/{name}"], codes(4)[at])
            assert [item.size for item in store.known("a", [f"/photos/{n}" for n in names]).values()].count(
                -1
            ) == 4 - left
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        store.append("a", items("x"), codes(1, 5))  # encoded again
        np.testing.assert_array_equal(live(store)["/photos/x"], codes(1, 5)[0])
        assert store.lacking("a") == 3 - left


@pytest.mark.parametrize("damage", [cut, zeroed, flipped, gone])
def test_damaged_codes_are_not_taken_over(damage: Callable[[Path, int], None], tmp_path: Path) -> None:
    with Store.writing(tmp_path / "part", IDENTITY) as store:
        store.append("a", items("u", "v", "x", "y"), codes(4))
        path = store.codes_path("a")
    damage(path, 40)
    with Store.writing(tmp_path / "whole", IDENTITY) as whole, pytest.raises(UserError, match="codes-a-0 is damaged"):
        merge(whole, [tmp_path / "part"])


def test_an_index_of_an_earlier_version_gets_checksums(tmp_path: Path) -> None:
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        store.append("a", items("x", "y"), codes(2))
        path = store.codes_path("a")
    with sqlite3.connect(tmp_path / "index" / "records.sqlite") as records:
        records.execute("ALTER TABLE items DROP COLUMN checksum")
    records.close()
    store = Store.reading(tmp_path / "index")
    assert len(live(store)) == 2
    store.close()
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        assert len(live(store)) == 2
    flipped(path, 20)
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        assert store.damaged == {"a": 1}


def test_a_process_killed_before_there_was_an_index_is_no_obstacle(tmp_path: Path) -> None:
    for left in ((), (".lock",), (".index.json.123.tmp",), (".lock", ".index.json.123.tmp")):
        folder = tmp_path / f"left{len(left)}{left[:1]}"
        folder.mkdir()
        for name in left:
            (folder / name).write_text('{"format"')
        with Store.writing(folder, IDENTITY) as store:
            store.append("a", items("x"), codes(1))
        assert not list(folder.glob(".*.tmp"))
        assert Store.reading(folder).count("a") == 1
    (tmp_path / "mine").mkdir()
    for name in (".notes.1.tmp", ".index.json.tmp.mine"):
        (tmp_path / "mine" / name).write_text("mine")
        with pytest.raises(UserError, match="not an index"), Store.writing(tmp_path / "mine", IDENTITY):
            pass
        (tmp_path / "mine" / name).unlink()


def test_a_second_starter_at_the_first_moment_hears_of_the_first(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / ".lock")
    lock.acquire()
    (tmp_path / ".index.json.123.tmp").write_text("{")
    with pytest.raises(UserError, match="Another process writes"), Store.writing(tmp_path, IDENTITY):
        pass
    lock.release()


def test_records_of_a_process_killed_in_a_transaction_can_be_read(tmp_path: Path) -> None:
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        store.append("a", items("x"), codes(1))
    program = (
        "import os, sqlite3, sys\n"
        "records = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "records.execute('PRAGMA cache_size = 1')\n"
        "records.execute('BEGIN IMMEDIATE')\n"
        "for i in range(500): records.execute(\"INSERT INTO gone VALUES (?, 'a')\", (i,))\n"
        "records.execute(\"UPDATE items SET path = '/lost'\")\n"
        "for i in range(500): records.execute(\"INSERT INTO gone VALUES (?, 'a')\", (i,))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "index" / "records.sqlite")], check=False)
    assert (tmp_path / "index" / "records.sqlite-journal").stat().st_size
    store = Store.reading(tmp_path / "index")
    assert list(live(store)) == ["/photos/x"]
    assert store.gone("a", 10) == []
    store.close()


def test_a_file_is_known_by_any_of_its_names(tmp_path: Path) -> None:
    photo = tmp_path / "x.png"
    photo.write_bytes(b"photo")
    (tmp_path / "link").symlink_to(photo)
    os.link(photo, tmp_path / "hard")
    (tmp_path / "alike").write_bytes(b"photo")
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        store.append("b", [Item(str(photo), 5, 1, {})], codes(1))
        for name, known in (("x.png", True), ("link", True), ("hard", True), ("alike", False), ("none", False)):
            assert store.holds(tmp_path / name) == known
        photo.write_bytes(b"changed since")
        assert store.holds(photo)


@pytest.mark.parametrize("damage", [cut, zeroed, flipped, gone])
def test_records_that_are_not_as_they_were_left_are_said(damage: Callable[[Path, int], None], tmp_path: Path) -> None:
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        store.append("a", items("x", "y"), codes(2))
    damage(tmp_path / "index" / "records.sqlite", 9000)
    with pytest.raises(UserError, match=r"records\.sqlite is damaged"):
        Store.reading(tmp_path / "index")
    with pytest.raises(UserError, match=r"records\.sqlite is damaged"), Store.writing(tmp_path / "index", IDENTITY):
        pass


@pytest.mark.parametrize("text", ["", "{}", '{"changes": 3, "checksum": 4, "own": 5}', None])
def test_records_are_read_without_a_seal_too(text: str | None, tmp_path: Path) -> None:
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        store.append("a", items("x"), codes(1))
    seal = tmp_path / "index" / "records.json"
    seal.unlink() if text is None else seal.write_text(text)
    assert Store.reading(tmp_path / "index").count("a") == 1
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        assert Store.reading(tmp_path / "index").count("a") == 1
        store.append("a", items("y"), codes(1))
        assert Store.reading(tmp_path / "index").count("a") == 2  # it is being changed


BAD_RECORDS = {
    "no tables": ["DROP TABLE items", "DROP TABLE state"],
    "another column": ["ALTER TABLE items RENAME COLUMN path TO place"],
    "path of bytes": ["UPDATE items SET path = x'00ff'"],
    "a number in words": ["UPDATE items SET size = 'large'"],
    "no number": ["UPDATE items SET time = 1e300"],
    "row far off": ["UPDATE items SET row = 9e15"],
    "row below": ["UPDATE items SET row = -7"],
    "metadata no json": ["UPDATE items SET metadata = '{'"],
    "metadata a list": ["UPDATE items SET metadata = '[]'"],
    "metadata of numbers": ["UPDATE items SET metadata = '{\"kind\": 1}'"],
    "metadata nested": ["UPDATE items SET metadata = '" + "[" * 50_000 + "'"],
    "no state": ["DELETE FROM state"],
    "state in words": ["UPDATE state SET file = 'x', changes = 'y'"],
    "id in words": ["UPDATE state SET changes = NULL"],
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_records_of_another_shape_are_said_or_mended(name: str, tmp_path: Path) -> None:
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        store.append("a", items("x"), codes(1))
    with sqlite3.connect(tmp_path / "index" / "records.sqlite") as records:
        for statement in BAD_RECORDS[name]:
            with contextlib.suppress(sqlite3.IntegrityError):  # the schema forbids it already
                records.execute(statement)
    records.close()

    def everything(store: Store) -> None:
        numbers = store.rows("a")[0].tolist()
        store.lookup(numbers)
        store.known("a", ["/photos/x"])
        list(store.paths_under("a", Path("/photos")))
        list(store.everything("a"))
        store.fields()
        store.matching("a", {"kind": "x"})
        store.unsent("a", 9)
        store.waiting("a")
        store.changes("a")

    with contextlib.suppress(UserError):
        everything(Store.reading(tmp_path / "index"))
    with contextlib.suppress(UserError), Store.writing(tmp_path / "index", IDENTITY) as store:
        everything(store)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "1"},
        {"format": 10**30},
        {"model": 3},
        {"distance": "far"},
        {"sizes": []},
        {"sizes": {"a": [1, 2]}},
        {"sizes": {"a": [1, 2], "b": [-1, 2]}},
        {"sizes": {"a": [1, 2], "b": [10**30, 2]}},
        {"sizes": {"a": [1, 2], "b": [1]}},
        {"sizes": {"a": [1, 2], "c": [1, 2]}},
    ],
)
def test_an_identity_of_another_shape_is_said(change: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps({**IDENTITY.to_json(), **change}))
    with pytest.raises(UserError, match=r"damaged|has format"):
        Store.reading(tmp_path)


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "[" * 100_000, '{"format": ' + "9" * 5000 + "}"])
def test_an_identity_that_is_none_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(UserError, match="damaged"):
        Store.reading(tmp_path)


def test_a_file_of_codes_with_few_images_is_written_anew(tmp_path: Path) -> None:
    names = [f"{i:04d}" for i in range(2000)]
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        store.append("a", items(*names), codes(2000))
        before = {path: code for path, code in live(store).items() if path >= "/photos/1900"}
        store.remove("a", [f"/photos/{name}" for name in names[:1900]])
        store.compact("a")
        assert store.codes_path("a").stat().st_size == 100 * 20
        after = live(store)
    assert before.keys() == after.keys()
    assert all((before[path] == after[path]).all() for path in before)
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        assert live(store).keys() == after.keys()
    assert len(list((tmp_path / "index").glob("codes-a-*"))) == 1


def test_paths_below_a_folder_are_not_those_beside_it(tmp_path: Path) -> None:
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        store.append("a", [Item(path, 1, 1, {}) for path in ("/one/x", "/one/sub/y", "/one2/z")], codes(3))
        assert sorted(store.paths_under("a", Path("/one"))) == ["/one/sub/y", "/one/x"]


def test_metadata_chooses_images(tmp_path: Path) -> None:
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        store.append("a", items("xa", "xb", "ya"), codes(3))
        assert store.fields() == ["kind"]
        assert set(store.matching("a", {"kind": "x"})) == {item_id("a", f"/photos/{name}") for name in ("xa", "xb")}
        store.describe("a", {"/photos/xa": {"kind": "y", "odd name": "1"}})
        assert len(store.matching("a", {"kind": "x"})) == 1
        assert len(store.matching("a", {"odd name": "1", "kind": "y"})) == 1


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with (
        Store.writing(tmp_path / "index", IDENTITY),
        pytest.raises(UserError, match="Another process writes"),
        Store.writing(tmp_path / "index", IDENTITY),
    ):
        pass


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "1" * 64}, "another model"),
        ({"sizes": {"a": (4, 2), "b": (3, 2)}}, "other sizes"),
        ({"distance": "euclidean"}, "by cosine distance"),
    ],
)
def test_codes_of_another_model_are_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        store.append("a", items("x"), codes(1))
    other = Identity(**{**vars(IDENTITY), **change})
    with pytest.raises(UserError, match=words), Store.writing(tmp_path / "index", other):
        pass
    assert Store.reading(tmp_path / "index").count("a") == 1


def test_a_folder_that_is_no_index_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not an index"), Store.writing(tmp_path, IDENTITY):
        pass
    assert os.listdir(tmp_path) == ["mine.txt"]
    with pytest.raises(UserError, match="not an index"):
        Store.reading(tmp_path)
    with pytest.raises(UserError, match="There is no index"):
        Store.reading(tmp_path / "none")


@pytest.mark.parametrize("name", ["index.json", "records.sqlite"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        store.append("a", items("x"), codes(1))
    (tmp_path / "index" / name).write_bytes(b"what is this" * 100)
    with pytest.raises(UserError, match=f"{name} is damaged"):
        Store.reading(tmp_path / "index")


def test_the_identity_is_of_the_weights_and_the_geometry(model: Trained) -> None:
    same = IIAE(IMAGES, model.method.config)
    same.load_state_dict(model.method.state_dict())
    assert fingerprint(same, model.space) == fingerprint(model.method, model.space)
    assert fingerprint(same, None) != fingerprint(model.method, model.space)
    next(same.parameters()).data[0] += 1e-3
    assert fingerprint(same, model.space) != fingerprint(model.method, model.space)
