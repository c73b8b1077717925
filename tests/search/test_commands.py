"""`unbraid index` and `unbraid search` as a user calls them."""

import csv
import io
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import IMAGES, write_png
from indexes import SMALL, write_run
from unbraid.commands.cli import main
from unbraid.core.types import UserError
from unbraid.data.images import read_image
from unbraid.evaluation.metrics.retrieval import recall
from unbraid.model.drawing import save_picture
from unbraid.model.outputs import MARK
from unbraid.model.trained import Trained, load
from unbraid.search.index import Searcher
from unbraid.search.indexing import Shard
from unbraid.search.query import search_index
from unbraid.search.store import Store


def index(run: Path, *arguments: object) -> int:
    return main(["index", str(run), *map(str, arguments)])


def search(run: Path, place: object, *arguments: object) -> int:
    return main(["search", str(run), str(place), *map(str, arguments)])


def paths(place: Path, domain: str = "a") -> list[str]:
    store = Store.reading(place)
    found = [item.path for item, _ in store.everything(domain)]  # type: ignore[arg-type]
    store.close()
    assert len(found) == len(set(found))
    assert len(Searcher(place)._ids[domain]) == len(found)  # type: ignore[index]
    return sorted(found)


def codes_of(place: Path) -> dict[str, np.ndarray]:
    store = Store.reading(place)
    found = {item.path: code.copy() for item, code in store.everything("a")}
    store.close()
    return found


def listed(folder: Path) -> list[str]:
    return sorted(str(path.resolve()) for path in folder.rglob("*.png"))


@pytest.fixture
def place(tmp_path: Path, run: Path, photos: Path) -> Path:
    assert index(run, photos, "--domain", "a", "--to", tmp_path / "index") == 0
    return tmp_path / "index"


def test_an_image_finds_itself(
    place: Path, run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert paths(place) == listed(photos)
    capsys.readouterr()
    assert search(run, place, photos / "03.png", "--domain", "a", "--k", 3, "--out", tmp_path / "sheet.png") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[1].split()[1:] == ["1", "0.0000", "a", str(photos / "03.png")]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 4 * 64
    assert search(run, place, photos / "03.png", "--domain", "a", "--k", 3, "--exclude-self") == 0
    assert str(photos / "03.png") not in capsys.readouterr().out.split("#")[1].split("\n", 1)[1].split()[1:]


def test_a_sheet_never_replaces_an_image(
    place: Path,
    run: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ours = photos / "ours.png"
    save_picture(Image.new("RGB", (16, 16)), ours, MARK)
    assert index(run, photos, "--domain", "a", "--to", place) == 0
    monkeypatch.setattr("unbraid.commands.search.query", lambda *_: pytest.fail("it was searched first"))
    monkeypatch.chdir(tmp_path)
    query = write_png(tmp_path / "q.png", 50)
    (tmp_path / "link.png").symlink_to(photos / "02.png")
    os.link(ours, tmp_path / "hard.png")
    write_png(tmp_path / "mine" / "z.png", 51)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    capsys.readouterr()
    for out, words in {
        query: "among the images that were given",
        "./q.png": "among the images that were given",
        photos / "02.png": "choose another --out",
        ours: "is an image of",
        "photos/../photos/ours.png": "is an image of",
        "hard.png": "is an image of",
        "link.png": "choose another --out",
        "mine/z.png": "has not made it",
        "q.jpg": "ends in .png",
        "mine": "ends in .png",
    }.items():
        assert search(run, place, query, "--domain", "b", "--out", out) == 2
        assert words in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == before


def test_the_index_finds_what_evaluate_finds(place: Path, model: Trained, photos: Path, tmp_path: Path) -> None:
    files = sorted(photos.rglob("*.png"))
    queries = [write_png(tmp_path / "maps" / file.name, 50 + i) for i, file in enumerate(files)]
    a, b = (torch.stack([read_image(file, model.image_spec("a")) for file in some]) for some in (files, queries))
    codes = model.encode(a, "a").shared, model.encode(b, "b").shared
    expected = recall(*codes, None, "whitened", model.space)["b->a"]
    found = search_index(model, place, b, k=10)
    for k in (1, 5, 10):
        hits = [file in [hit.path for hit in row[:k]] for row, file in zip(found, files, strict=True)]
        assert 100 * np.mean(hits) == pytest.approx(expected[str(k)], abs=1e-2)


def test_only_what_changed_is_embedded(
    place: Path, run: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert index(run, photos, "--domain", "a", "--to", place) == 0
    assert "12 as they were" in capsys.readouterr().out
    (photos / "00.png").unlink()
    write_png(photos / "01.png", 77)
    write_png(photos / "new.png", 78)
    assert index(run, photos, "--domain", "a", "--to", place) == 0
    assert "1 new, 1 changed, 1 removed, 10 as they were" in capsys.readouterr().out
    assert paths(place) == listed(photos)
    search(run, place, photos / "01.png", "--domain", "a", "--k", 1)
    assert "0.0000" in capsys.readouterr().out


def test_codes_that_were_cut_off_are_made_again(
    place: Path, run: Path, photos: Path, sketches: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = codes_of(place)
    os.truncate(place / "codes-a-0", (place / "codes-a-0").stat().st_size // 2)
    assert index(run, sketches, "--domain", "a", "--to", place) == 0  # other images of the domain
    said = capsys.readouterr()
    assert "codes-a-0 is damaged: codes of 6 images are lost" in said.err
    assert "6 images of domain a can't be found" in said.err
    assert index(run, photos, "--domain", "a", "--to", place) == 0
    said = capsys.readouterr()
    assert "6 changed, 6 as they were" in said.out
    assert "lost" not in said.err
    after = codes_of(place)
    assert sorted(after) == sorted([*listed(photos), *listed(sketches)])
    for path, code in before.items():
        np.testing.assert_allclose(after[path], code, atol=1e-5)


def test_a_folder_that_has_gone_can_be_forgotten(
    place: Path, run: Path, photos: Path, sketches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert index(run, sketches, "--domain", "b", "--to", place) == 0
    sketches.rename(tmp_path / "elsewhere")
    assert search(run, place, photos / "00.png", "--domain", "a", "--k", 18) == 0
    lines = capsys.readouterr().out.splitlines()[-18:]
    assert sum(line.rstrip().endswith("(gone)") for line in lines) == 6
    assert all((str(sketches) in line) == line.rstrip().endswith("(gone)") for line in lines)
    assert index(run, sketches, "--domain", "b", "--to", place) == 2
    assert f"--forget {sketches}" in capsys.readouterr().err
    assert index(run, "--forget", sketches, photos / "00.png", "--to", place) == 0
    assert "7 removed" in capsys.readouterr().out
    assert paths(place) == [path for path in listed(photos) if not path.endswith("00.png")]
    assert search(run, place, photos / "01.png", "--target-domain", "b") == 2
    assert index(run, "--forget", sketches, "--to", place) == 2
    assert "no image of" in capsys.readouterr().err
    assert index(run, "--forget", photos, "--to", tmp_path / "none") == 2
    assert not (tmp_path / "none").exists()
    assert index(run, "--forget", photos, "--to", place) == 0
    assert search(run, place, photos / "01.png") == 2
    assert "holds no images" in capsys.readouterr().err


def test_a_users_text_is_printed_as_it_is(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "[old]" / "[bold red]"
    names = ["cat [copy].png", ":cat:.png", "[/b].png", "two\nlines.png", "\x1b[31m.png"]
    for i, name in enumerate(names):
        write_png(photos / name, i)
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "[/u]", 'a "b"'], *([name, "[/b] :dog:", "\x07"] for name in names[:3])])
    assert index(run, photos, "--domain", "a", "--to", tmp_path / "i", "--metadata", tmp_path / "table.csv") == 0
    capsys.readouterr()
    query = photos / names[0]
    assert search(run, tmp_path / "i", query, "--domain", "a", "--out", tmp_path / "found.png") == 0
    out = capsys.readouterr().out
    for text in (*names[:3], "two\\nlines.png", "\\x1b[31m.png", "[/u]", "[/b] :dog:", "\\x07", str(photos)):
        assert text in out
    assert "\x1b" not in out
    assert search(run, tmp_path / "i", query, "--domain", "a", "--where", "[/u]=[/b] :dog:", 'a "b"=\x07') == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_text_that_the_terminal_cant_show_is_escaped(
    encoding: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = write_png(tmp_path / "猫" / "é.png", 1)
    assert index(run, query.parent, "--domain", "a", "--to", tmp_path / "index") == 0
    command = ["search", str(run), str(tmp_path / "index"), str(query), "--domain", "a"]
    answers = ["translate", str(run), str(query), "--out", str(tmp_path / "猫2")]
    for words in (command, answers):
        terminal = {name: io.TextIOWrapper(io.BytesIO(), encoding) for name in ("stdout", "stderr")}
        with monkeypatch.context() as patch:
            for name, stream in terminal.items():
                patch.setattr(sys, name, stream)
            assert main(words) == 0
        out, errors = (stream.detach().getvalue() for stream in terminal.values())  # type: ignore[attr-defined]
        assert errors == b""
        assert ("\\u732b" if encoding != "utf-8" else "猫") in out.decode(encoding)


def test_what_cant_be_read_is_named_and_left_out(
    place: Path, run: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "bad.png").write_bytes(b"no image")
    (photos / "02.png").write_bytes(b"")  # it was one
    capsys.readouterr()
    assert index(run, photos, "--domain", "a", "--to", place) == 0
    said = capsys.readouterr()
    assert "2 can't be read" in said.out
    assert f"{photos / 'bad.png'}: not an image" in said.err
    assert paths(place) == [path for path in listed(photos) if Path(path).name not in ("bad.png", "02.png")]


def test_decoded_images_are_kept_and_used(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert index(run, photos, "--domain", "a", "--to", tmp_path / "one", "--cache") == 0
    monkeypatch.setattr("unbraid.search.indexing.read_image", lambda *_: pytest.fail("it was decoded again"))
    (photos / "note.txt").write_text("not an image")
    assert index(run, photos, "--domain", "a", "--to", tmp_path / "two") == 0
    one, two = (codes_of(tmp_path / name) for name in ("one", "two"))
    assert all((one[path] == two[path]).all() for path in one)


def test_both_domains_can_be_in_one_index(
    place: Path, run: Path, sketches: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert index(run, sketches, "--domain", "b", "--to", place) == 0
    capsys.readouterr()
    assert search(run, place, sketches / "00.png") == 2
    assert "--domain a or b" in capsys.readouterr().err
    assert search(run, place, sketches / "00.png", "--domain", "b", "--k", 18) == 0
    assert {line.split()[-2] for line in capsys.readouterr().out.splitlines()[1:]} == {"a", "b"}
    assert search(run, place, sketches / "00.png", "--domain", "b", "--target-domain", "a", "--k", 18) == 0
    assert {line.split()[-2] for line in capsys.readouterr().out.splitlines()[1:]} == {"a"}
    assert search(run, place, sketches / "00.png", "--domain", "b", "--code", "exclusive", "--k", 18) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == 6
    assert lines[0].split()[2:4] == ["0.0000", "b"]


def test_style_is_compared_with_its_own_kind(place: Path, run: Path, photos: Path, model: Trained) -> None:
    x = read_image(photos / "03.png", model.image_spec("a"))[None]
    assert search_index(model, place, x, 1, code="exclusive")[0][0].path.name == "03.png"
    with pytest.raises(UserError, match="no images of domain b"):
        search_index(model, place, x, 1, domain="b", code="exclusive")


def test_errors_call_the_domains_by_their_names(
    place: Path, photos: Path, sketches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = write_run(tmp_path / "named", spec=replace(IMAGES, names=("photos", "pencil sketches")))
    assert search(named, place, photos, "--domain", "pencil sketches", "--code", "exclusive") == 2
    words = "no images of pencil sketches; it has photos, and exclusive codes of pencil sketches are compared"
    assert words in " ".join(capsys.readouterr().err.split())
    assert index(named, sketches, "--domain", "b", "--to", place) == 0
    assert search(named, place, photos) == 2
    assert "--domain photos or 'pencil sketches'" in " ".join(capsys.readouterr().err.split())


def test_metadata_can_be_searched_by(
    place: Path, run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    rows = [f"{i:02d}.png,{'old' if i % 2 else 'new'}" for i in range(6)]
    table.write_text("\n".join(["file,age", *rows, "inner/10.png,old", "none.png,old"]))
    assert index(run, photos, "--domain", "a", "--to", place, "--metadata", table) == 0
    assert "1 rows of" in capsys.readouterr().out
    assert search(run, place, photos / "00.png", "--domain", "a", "--where", "age=old", "--k", 9) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-1] == "age"
    found = {Path(line.split()[-2]).name for line in lines[1:]}
    assert found == {"01.png", "03.png", "05.png", "10.png"}
    assert index(run, photos, "--domain", "a", "--to", place) == 0  # it stays
    assert search(run, place, photos / "00.png", "--domain", "a", "--where", "colour=red") == 2
    assert "it has: age" in capsys.readouterr().err
    assert search(run, place, photos / "00.png", "--domain", "a", "--where", "age") == 2
    assert search(run, place, photos / "00.png", "--domain", "a", "--where", "age=lost") == 0
    assert "nothing found" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["name,age\n1,2\n", "file\nx\n", ""])
def test_a_table_that_is_none_is_refused(
    run: Path, photos: Path, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "table.csv").write_text(text)
    arguments = ("--domain", "a", "--to", tmp_path / "index", "--metadata", tmp_path / "table.csv")
    assert index(run, photos, *arguments) == 2
    assert "--metadata" in capsys.readouterr().err
    assert not (tmp_path / "index").exists()


def test_parts_merge(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "index"
    assert index(run, photos, "--domain", "a", "--to", to, "--shard", "1/2") == 0
    assert "--merge" in capsys.readouterr().out
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert index(run, photos, "--domain", "a", "--to", to) == 0
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    parts = [tmp_path / f"index-part-{n}-of-2" for n in (1, 2)]
    assert sorted([*paths(parts[0]), *paths(parts[1])]) == listed(photos)
    assert all(paths(part) for part in parts)
    assert index(run, "--merge", *parts, "--to", to) == 0
    assert paths(to) == listed(photos)
    assert index(run, photos, "--domain", "a", "--to", tmp_path / "whole") == 0
    merged, whole = (codes_of(tmp_path / name) for name in ("index", "whole"))
    assert merged.keys() == whole.keys()
    for path, code in merged.items():
        np.testing.assert_allclose(code, whole[path], atol=1e-5)
    # what a part has lost, the whole loses at the next merging
    gone = Path(paths(parts[0])[0])
    gone.unlink()
    assert index(run, photos, "--domain", "a", "--to", to, "--shard", "1/2") == 0
    capsys.readouterr()
    assert index(run, "--merge", *parts, "--to", to) == 0
    assert "1 removed, 11 as they were" in capsys.readouterr().out
    assert paths(to) == listed(photos)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="k/n"):
        Shard.parse(text, {})


def test_shards_share_everything() -> None:
    names = [f"/photos/{i}" for i in range(1000)]
    parts = [[name for name in names if name in Shard(k, 3)] for k in (1, 2, 3)]
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert min(map(len, parts)) > 250


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--domain", "a"), "Which images"),
        (("PHOTOS",), "Which domain"),
        (("PHOTOS", "--domain", "a", "--batch", "0"), "--batch 0"),
        (("PHOTOS", "--domain", "a", "--recall", "2"), "--recall 2"),
        (("PHOTOS", "--domain", "a", "--shard", "2"), "k/n"),
        (("NONE", "--domain", "a"), "There is no folder"),
        (("EMPTY", "--domain", "a"), "No images"),
        (("--merge", "NONE"), "There is no index"),
    ],
)
def test_bad_input_gets_one_line(
    run: Path, photos: Path, tmp_path: Path, arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    known = {"PHOTOS": photos, "NONE": tmp_path / "none", "EMPTY": tmp_path / "empty"}
    assert index(run, *(known.get(word, word) for word in arguments), "--to", tmp_path / "index") == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_folder_that_vanished_takes_nothing_with_it(
    place: Path, run: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = paths(place)
    photos.rename(photos.with_name("elsewhere"))
    assert index(run, photos, "--domain", "a", "--to", place) == 2
    assert "There is no folder" in capsys.readouterr().err
    assert paths(place) == before


def test_another_model_is_refused(
    place: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    other = write_run(tmp_path / "other", seed=1)
    larger = write_run(tmp_path / "larger", config=replace(SMALL, shared=5))
    for run, words in ((other, "another model"), (larger, "other sizes")):
        assert search(run, place, photos / "00.png", "--domain", "a") == 2
        assert words in capsys.readouterr().err
        assert index(run, photos, "--domain", "a", "--to", place) == 2
        assert words in capsys.readouterr().err


def test_queries_that_cant_be_read(
    place: Path, run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"none")
    assert search(run, place, bad, "--domain", "a") == 2
    assert "bad.png: not an image" in capsys.readouterr().err
    assert search(run, place, bad, photos / "00.png", "--domain", "a") == 0
    said = capsys.readouterr()
    assert "left out" in said.err
    assert "00.png" in said.out
    assert search(run, place, tmp_path / "none.png", "--domain", "a") == 2
    assert search(run, place, photos / "00.png", "--domain", "a", "--k", "0") == 2
    assert search(run, tmp_path / "none", photos / "00.png") == 2
    assert "There is no index" in capsys.readouterr().err


def test_another_distance_is_refused(place: Path, run: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert index(run, photos, "--domain", "a", "--to", place, "--distance", "cosine") == 2
    assert "by whitened distance" in capsys.readouterr().err


def test_a_killed_process_loses_nothing_and_doubles_nothing(run: Path, tmp_path: Path) -> None:
    photos, place = tmp_path / "photos", tmp_path / "index"
    for i in range(150):
        write_png(photos / f"{i:03d}.png", i)
    program = (
        "import sys, time\n"
        "from unbraid.search import indexing, store\n"
        "indexing.ACKNOWLEDGED = 5\n"
        "append = store.Store.append\n"
        "def slow(self, *rest):\n"
        "    append(self, *rest); print(self.count('a'), flush=True); time.sleep(0.02)\n"
        "store.Store.append = slow\n"
        "from unbraid.commands.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = ["index", str(run), str(photos), "--domain", "a", "--to", str(place), "--batch", "5"]
    process = subprocess.Popen([sys.executable, "-c", program, *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = 0
    for line in process.stdout:
        acknowledged = int(line)
        if acknowledged >= 60:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    store = Store.reading(place)
    there = [item.path for item, _ in store.everything("a")]
    store.close()
    assert acknowledged <= len(set(there)) == len(there) < 150
    assert main(command) == 0
    assert paths(place) == listed(photos)


def test_a_model_of_vectors_has_no_images(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from helpers import VECTORS
    from unbraid.core.config import RunConfig, TrainConfig
    from unbraid.core.data_config import DataConfig
    from unbraid.methods.iiae import IIAE, IIAEConfig
    from unbraid.model.run import Run

    config = IIAEConfig(vector_widths=(8, 8))
    run = Run.open(tmp_path / "run", "iiae", RunConfig(config, DataConfig(set="digits"), TrainConfig(steps=1)))
    run.save_model(IIAE(VECTORS, config), None, 1)
    assert index(run.path, photos, "--domain", "a", "--to", tmp_path / "index") == 2
    assert "works on vectors of your own" in capsys.readouterr().err


def test_loading_is_not_needed_to_search_from_python(place: Path, run: Path, photos: Path) -> None:
    model = load(run)
    x = torch.stack([read_image(photos / f"{i:02d}.png", model.image_spec("a")) for i in range(5)])
    found = search_index(model, place, x, 2, domain="a", exclude=[photos / f"{i:02d}.png" for i in range(5)])
    assert all(len(row) == 2 for row in found)
    assert all(hit.path != photos / f"{i:02d}.png" for i, row in enumerate(found) for hit in row)


def test_without_faiss_it_says_what_to_install_before_anything_is_embedded(
    place: Path, run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    new = tmp_path / "new"
    assert main(["index", str(run), str(photos), "--domain", "a", "--to", str(new)]) == 2
    assert main(["search", str(run), str(place), str(photos)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors == ["unbraid: error: An index in a folder needs faiss: pip install 'unbraid[search]'"] * 2
    assert not new.exists()


def test_what_is_cut_off_is_said_once(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        write_png(tmp_path / "photos" / f"{number}.png", number, (16, 32 if number < 5 else 16))
    for place, kept in (("plain", []), ("kept", ["--cache"]), ("again", [])):
        assert index(run, tmp_path / "photos", "--domain", "a", "--to", tmp_path / place, *kept) == 0
        err = capsys.readouterr().err
        assert "5 of 12 images have another shape than" in err, place
        assert "50 % of" in err


def test_nothing_is_said_of_images_that_are_in_the_index(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_png(tmp_path / "photos" / "0.png", 0, (16, 32))
    for said in (True, False):
        assert index(run, tmp_path / "photos", "--domain", "a", "--to", tmp_path / "index") == 0
        assert ("another shape" in capsys.readouterr().err) == said


def test_flags_of_earlier_versions_go_on_working_and_say_so(
    place: Path, run: Path, sketches: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert search(run, place, sketches / "00.png", "--domain", "b", "--by=shared", "--among", "a", "--k", 1) == 0
    printed = capsys.readouterr()
    assert "--by is now --code;" in printed.err
    assert "--among is now --target-domain;" in printed.err
    assert "00.png" in printed.out
