import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unbraid.core.types import UserError
from unbraid.search import index
from unbraid.search.identity import Identity
from unbraid.search.index import Searcher, Vectors, build, exact_neighbours, make
from unbraid.search.store import Item, Store

IDENTITY = Identity("0" * 64, "iiae", "cosine", {"a": (8, 2), "b": (8, 2)})


def fill(folder: Path, count: int, domain: str = "a", seed: int = 0) -> np.ndarray:
    """A store of random codes; image i has the path /i."""
    codes = np.random.default_rng(seed).standard_normal((count, 10)).astype(np.float32)
    with Store.writing(folder, IDENTITY) as store:
        store.append(domain, [Item(f"/{i}", 1, 1, {"third": str(i % 3)}) for i in range(count)], codes)  # type: ignore[arg-type]
        build(store, target=0.9, exact=1000)
    return codes


def names(folder: Path, ids: np.ndarray) -> list[list[int]]:
    store = Store.reading(folder)
    known = store.lookup(np.unique(ids[ids >= 0]).tolist())
    store.close()
    return [[int(known[i][0][1:]) if i in known else -1 for i in row] for row in ids.tolist()]


def test_the_exact_index_finds_the_nearest(tmp_path: Path) -> None:
    codes = fill(tmp_path / "index", 300)
    searcher = Searcher(tmp_path / "index")
    for part, where in (("shared", slice(0, 8)), ("exclusive", slice(8, 10))):
        distances, ids = searcher.search("a", part, codes[:5, where], 4)  # type: ignore[arg-type]
        table = ((codes[:5, None, where] - codes[None, :, where]) ** 2).sum(-1)
        assert names(tmp_path / "index", ids) == np.argsort(table, 1)[:, :4].tolist()
        np.testing.assert_allclose(distances, np.sort(table, 1)[:, :4], atol=1e-4)
        assert searcher.about("a", part).recall is None  # type: ignore[arg-type,union-attr]


def test_above_the_limit_lists_find_the_wanted_share(tmp_path: Path) -> None:
    codes = fill(tmp_path / "index", 3000)
    searcher = Searcher(tmp_path / "index")
    about = searcher.about("a", "shared")
    assert about is not None
    assert about.recall is not None
    assert about.recall >= 0.9
    assert 0 < about.looked_at < about.lists
    queries = np.random.default_rng(5).standard_normal((200, 8)).astype(np.float32)
    table = ((queries[:, None] - codes[None, :, :8]) ** 2).sum(-1)
    found = names(tmp_path / "index", searcher.search("a", "shared", queries, 10)[1])
    shares = [
        len(set(row) & set(true)) / 10 for row, true in zip(found, np.argsort(table, 1)[:, :10].tolist(), strict=True)
    ]
    assert np.mean(shares) > 0.8
    assert "lists" in str(about)


@pytest.mark.parametrize("count", [300, 3000])
def test_only_some_may_be_found(tmp_path: Path, count: int) -> None:
    codes = fill(tmp_path / "index", count)
    store = Store.reading(tmp_path / "index")
    chosen = store.matching("a", {"third": "1"})
    searcher = Searcher(tmp_path / "index")
    ids = searcher.search("a", "shared", codes[:20, :8], 5, chosen)[1]
    assert {name % 3 for row in names(tmp_path / "index", ids) for name in row} == {1}
    few = searcher.search("a", "shared", codes[:2, :8], 5, chosen[:2])
    assert (few[1][:, 2:] == -1).all()
    assert np.isinf(few[0][:, 2:]).all()
    assert set(few[1][0, :2]) == set(chosen[:2])
    nothing = searcher.search("a", "shared", codes[:2, :8], 5, np.array([7], np.int64))
    assert (nothing[1] == -1).all()
    store.close()


def test_more_than_there_are_leaves_places_empty(tmp_path: Path) -> None:
    codes = fill(tmp_path / "index", 3)
    distances, ids = Searcher(tmp_path / "index").search("a", "shared", codes[:1, :8], 5)
    assert (ids[0, 3:] == -1).all()
    assert np.isfinite(distances[0, :3]).all()


def test_only_what_changed_is_built_again(tmp_path: Path) -> None:
    fill(tmp_path / "index", 50)
    fill(tmp_path / "index", 40, "b", 1)
    folder = tmp_path / "index"
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.faiss")}
    with Store.writing(folder, IDENTITY) as store:
        store.remove("b", ["/3"])
        build(store, target=0.9, exact=1000)
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.faiss")}
    assert {name for name in before if before[name] == after.get(name)} == {"a-shared-1.faiss", "a-exclusive-1.faiss"}
    assert set(after) == {"a-shared-1.faiss", "a-exclusive-1.faiss", "b-shared-2.faiss", "b-exclusive-2.faiss"}
    assert Searcher(folder).search("b", "shared", np.zeros((1, 8), np.float32), 40)[1].min() == -1


def test_a_build_that_was_cut_short_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = fill(tmp_path / "index", 50)
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        store.remove("a", ["/0"])
        monkeypatch.setattr(index, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build(store)
    ids = Searcher(tmp_path / "index").search("a", "shared", codes[:1, :8], 2)[1]
    assert names(tmp_path / "index", ids)[0][0] == -1  # it is there, and removed from the records


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "zeroed": lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
    "garbled": lambda data: b"x" * len(data),
    "a bit flipped": lambda data: data[:-7] + bytes([data[-7] ^ 4]) + data[-6:],
}


@pytest.mark.parametrize(
    ("name", "count"), [("a-shared-1.faiss", 300), ("a-exclusive-1.faiss", 1100), ("ids-a-1.npy", 300)]
)
@pytest.mark.parametrize("how", ["missing", *DAMAGES])
def test_a_damaged_file_is_refused_and_made_again(tmp_path: Path, how: str, name: str, count: int) -> None:
    codes = fill(tmp_path / "index", count)
    file = tmp_path / "index" / name
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes(DAMAGES[how](file.read_bytes()))
    with pytest.raises(UserError, match="half written or damaged"):
        Searcher(tmp_path / "index")
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        build(store, target=0.9, exact=1000)
    ids = Searcher(tmp_path / "index").search("a", "shared", codes[:2, :8], 1)[1]
    assert names(tmp_path / "index", ids) == [[0], [1]]


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", "3", '{"c": {}}', '{"a": {}}', '{"a": []}', "[" * 100_000,
        '{"a": {"changes": 1, "target": 0.9, "exact": 1000, "parts": {"shared": 3}}}',
        '{"a": {"changes": 1, "target": 0.9, "exact": 1000, "parts": {"both": {"file": "x", "count": 1}}}}',
        '{"a": {"changes": "1", "target": 0.9, "exact": 1000, "parts": {}}}',
        '{"a": {"changes": ' + "9" * 5000 + ', "target": 0.9, "exact": 1000, "parts": {}}}',
    ],
)  # fmt: skip
def test_a_table_of_files_of_another_shape_is_said_and_made_again(tmp_path: Path, text: str) -> None:
    codes = fill(tmp_path / "index", 20)
    (tmp_path / "index" / "built.json").write_text(text)
    with pytest.raises(UserError, match=r"built\.json is damaged.*`unbraid index` again"):
        Searcher(tmp_path / "index")
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        build(store)
    assert len(Searcher(tmp_path / "index").search("a", "shared", codes[:1, :8], 3)[1][0]) == 3


@pytest.mark.parametrize(
    "array",
    [np.zeros(20), np.zeros((20, 1), np.int64), np.zeros(19, np.int64), np.zeros((), np.int64), np.array(["x"] * 20)],
)
def test_ids_of_another_shape_are_said(tmp_path: Path, array: np.ndarray) -> None:
    fill(tmp_path / "index", 20)
    np.save(tmp_path / "index" / "ids-a-1.npy", array)
    table = json.loads((tmp_path / "index" / "built.json").read_text())
    table["a"]["ids"] = None  # as an earlier version writes it
    (tmp_path / "index" / "built.json").write_text(json.dumps(table))
    with pytest.raises(UserError, match="half written or damaged"):
        Searcher(tmp_path / "index")


def test_an_index_of_an_earlier_version_is_searched(tmp_path: Path) -> None:
    codes = fill(tmp_path / "index", 20)
    table = json.loads((tmp_path / "index" / "built.json").read_text())
    for kept in (table["a"]["parts"]["shared"], table["a"]["parts"]["exclusive"]):
        del kept["checksum"], kept["length"]
    del table["a"]["ids"], table["a"]["ids_length"]
    (tmp_path / "index" / "built.json").write_text(json.dumps(table))
    assert names(tmp_path / "index", Searcher(tmp_path / "index").search("a", "shared", codes[:1, :8], 1)[1]) == [[0]]
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        build(store, target=0.9, exact=1000)
    table = json.loads((tmp_path / "index" / "built.json").read_text())["a"]
    assert table["ids_length"] == (tmp_path / "index" / f"ids-a-{table['changes']}.npy").stat().st_size


LARGE = """
import sys
from pathlib import Path
import numpy as np
from unbraid.core.types import UserError
from unbraid.search import index
index.CHECKED = 0  # as if all files were larger
try:
    searcher = index.Searcher(Path(sys.argv[1]))
    searcher.search("a", "shared", np.load(sys.argv[2]), 5)
except UserError as error:
    sys.exit(str(error))
"""


def test_large_files_that_point_nowhere_are_said(tmp_path: Path) -> None:
    """In a process of its own, which a read behind the end of a mapped file would kill."""
    codes = fill(tmp_path / "index", 3000)
    np.save(tmp_path / "queries.npy", codes[:, :8])
    file = tmp_path / "index" / "a-shared-1.faiss"
    data = bytearray(file.read_bytes())
    data[-8:] = (1 << 40).to_bytes(8, "little")  # an inverted list ends with its items' positions
    file.write_bytes(data)
    found = subprocess.run(
        [sys.executable, "-c", LARGE, tmp_path / "index", tmp_path / "queries.npy"], capture_output=True, text=True
    )
    assert found.returncode == 1
    assert f"{file} is damaged" in found.stderr
    assert found.stderr.count("\n") == 1


def test_large_files_that_were_cut_off_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "index", 300)
    monkeypatch.setattr(index, "CHECKED", 0)  # as if all files were larger
    file = tmp_path / "index" / "a-shared-1.faiss"
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    with pytest.raises(UserError, match=rf"{file.name} has {len(data) - 1} bytes instead of {len(data)}"):
        Searcher(tmp_path / "index")


def test_an_index_can_be_opened_while_it_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the moment: before each file is looked at, the index is made anew."""
    codes = fill(tmp_path / "index", 20)
    checksum, left = index.checksum_of, [3]

    def rebuilt(path: Path) -> int:
        if left[0]:
            left[0] -= 1
            monkeypatch.setattr(index, "checksum_of", checksum)
            with Store.writing(tmp_path / "index", IDENTITY) as store:
                store.remove("a", [f"/{19 - left[0]}"])
                build(store, target=0.9, exact=1000 if left[0] % 2 else 10)
            monkeypatch.setattr(index, "checksum_of", rebuilt)
        return checksum(path)

    monkeypatch.setattr(index, "checksum_of", rebuilt)
    ids = Searcher(tmp_path / "index").search("a", "shared", codes[:2, :8], 1)[1]
    assert left == [0]
    assert names(tmp_path / "index", ids) == [[0], [1]]


def test_what_is_searched_keeps_its_name_when_only_the_manner_changes(tmp_path: Path) -> None:
    fill(tmp_path / "index", 300)
    before = json.loads((tmp_path / "index" / "built.json").read_text())["a"]["parts"]["shared"]["file"]
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        after = build(store, target=0.9, exact=100)["a"]["shared"].file
    assert before != after


def test_an_index_that_was_never_built_is_refused(tmp_path: Path) -> None:
    with Store.writing(tmp_path / "index", IDENTITY) as store:
        store.append("a", [Item("/x", 1, 1, {})], np.zeros((1, 10), np.float32))
    with pytest.raises(UserError, match="nothing is built yet"):
        Searcher(tmp_path / "index")
    (tmp_path / "index" / "built.json").write_text("{")
    with pytest.raises(UserError, match=r"built\.json is damaged"):
        Searcher(tmp_path / "index")


def test_exact_neighbours_are_found_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.random.default_rng(0).standard_normal((100, 4)).astype(np.float32)
    vectors = Vectors(codes, np.arange(99, -1, -1), slice(0, 4))
    monkeypatch.setattr(index, "CHUNK", 7)
    distances, at = exact_neighbours(codes[:3], vectors, 5)
    table = ((codes[:3, None] - codes[::-1][None]) ** 2).sum(-1)
    assert at.tolist() == np.argsort(table, 1)[:, :5].tolist()
    np.testing.assert_allclose(distances, np.sort(table, 1)[:, :5], atol=1e-4)
    assert make(vectors, "x")[1].count == 100
