import os
from pathlib import Path

import numpy as np
import pytest

from helpers import IMAGES
from unbraid.apply import Trained
from unbraid.methods.iiae import IIAE
from unbraid.retrieval.store import Identity, Item, Store, fingerprint, item_id
from unbraid.types import UserError

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
