"""Against a real `milvus-lite server` process, which is started here."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from helpers import write_png
from indexes import write_run
from unbraid.commands.cli import main
from unbraid.core.types import UserError
from unbraid.data.images import read_image
from unbraid.model.trained import Trained
from unbraid.search.milvus import Address
from unbraid.search.query import open_index, search_index

COMMAND = Path(sys.executable).parent / "milvus-lite"
served = pytest.mark.skipif(not COMMAND.exists(), reason="needs pip install 'unbraid[milvus]' milvus-lite")
pytestmark = pytest.mark.filterwarnings("ignore")  # of pymilvus and grpc


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Server:
    """A server that can be stopped and started again with the same data."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(COMMAND), "server", "--data-dir", str(self.folder), "--host", "127.0.0.1"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(300):
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        pytest.fail("milvus-lite server did not start")

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def place(self, collection: str) -> str:
        return f"milvus://127.0.0.1:{self.port}/{collection}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("milvus"))
    made.start()
    yield made
    made.stop()


@served
def test_the_same_commands_find_the_same(
    server: Server, run: Path, model: Trained, photos: Path, sketches: Path, tmp_path: Path
) -> None:
    place = server.place("same")
    table = tmp_path / "table.csv"
    words = ("new", "it's \\ old")
    table.write_text("file,age\n" + "".join(f"{i:02d}.png,{words[i % 2]}\n" for i in range(10)))
    for to in (place, str(tmp_path / "index")):
        assert main(["index", str(run), str(photos), "--domain", "a", "--to", to, "--metadata", str(table)]) == 0
        assert main(["index", str(run), str(sketches), "--domain", "b", "--to", to]) == 0
    x = torch.stack([read_image(file, model.image_spec("b")) for file in sorted(sketches.glob("*.png"))])
    opened = open_index(place)
    assert [opened.holds(file) for file in (photos / "03.png", sketches / "00.png", tmp_path / "none")] == [
        True,
        True,
        False,
    ]
    opened.close()
    for by, among, where in (
        ("shared", None, {}),
        ("shared", "a", {"age": "new"}),
        ("shared", "a", {"age": words[1]}),
        ("exclusive", None, {}),
    ):
        answers = [search_index(model, to, x, 5, "b", by, among, where) for to in (place, tmp_path / "index")]  # type: ignore[arg-type]
        for mine, theirs in zip(*answers, strict=True):
            assert [hit.path for hit in mine] == [hit.path for hit in theirs]
            assert [hit.metadata for hit in mine] == [hit.metadata for hit in theirs]
            assert [hit.distance for hit in mine] == pytest.approx([hit.distance for hit in theirs], abs=1e-2)


@served
def test_changes_reach_the_server(
    server: Server, run: Path, model: Trained, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = server.place("changes")
    command = ["index", str(run), str(photos), "--domain", "a", "--to", place]
    assert main(command) == 0
    gone = read_image(photos / "00.png", model.image_spec("a"))
    (photos / "00.png").unlink()
    write_png(photos / "01.png", 77)
    capsys.readouterr()
    assert main(command) == 0
    assert "1 images sent and 1 removed" in capsys.readouterr().out
    found = search_index(
        model, place, torch.stack([gone, read_image(photos / "01.png", model.image_spec("a"))]), 20, "a"
    )
    assert [len(row) for row in found] == [11, 11]
    assert found[1][0].path.name == "01.png"
    assert found[1][0].distance < 1e-2
    assert all(hit.path.name != "00.png" for hit in found[0])


@served
def test_what_a_dead_server_missed_is_sent_later(
    run: Path,
    model: Trained,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server(tmp_path / "data")
    place = server.place("later")
    command = ["index", str(run), str(photos), "--domain", "a", "--to", place]
    began = time.monotonic()
    assert main(command) == 2
    assert time.monotonic() - began < 10
    said = capsys.readouterr().err
    assert "doesn't answer" in said
    assert "Codes of 12 images" in said
    assert main(["search", str(run), place, str(photos / "00.png"), "--domain", "a"]) == 2
    server.start()
    try:
        monkeypatch.setattr("unbraid.search.indexing.read_image", lambda *_: pytest.fail("it was embedded again"))
        assert main(command) == 0
        x = read_image(photos / "03.png", model.image_spec("a"))[None]
        assert search_index(model, place, x, 12, "a")[0][0].path.name == "03.png"
        assert main(command) == 0
        assert len(search_index(model, place, x, 30, "a")[0]) == 12
    finally:
        server.stop()


@served
def test_a_server_that_lost_everything_gets_it_again(run: Path, model: Trained, photos: Path, server: Server) -> None:
    from unbraid.search.milvus import connect

    place = server.place("lost")
    command = ["index", str(run), str(photos), "--domain", "a", "--to", place]
    assert main(command) == 0
    client = connect(Address.parse(place))
    client.drop_collection("lost_a")
    client.close()
    assert main(command) == 0
    assert len(search_index(model, place, read_image(photos / "03.png", model.image_spec("a"))[None], 30, "a")[0]) == 12


@served
def test_another_model_is_refused(
    server: Server,
    run: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = server.place("model")
    assert main(["index", str(run), str(photos), "--domain", "a", "--to", place]) == 0
    other = write_run(tmp_path / "other", seed=1)
    monkeypatch.setenv("UNBRAID_CACHE", str(tmp_path / "another machine"))
    for command in (
        ["index", str(other), str(photos), "--domain", "a", "--to", place],
        ["search", str(other), place, str(photos / "00.png"), "--domain", "a"],
    ):
        assert main(command) == 2
        assert "another model" in capsys.readouterr().err
    assert main(["search", str(run), server.place("none"), str(photos / "00.png"), "--domain", "a"]) == 2
    assert "There is no index" in capsys.readouterr().err


def test_a_server_that_is_mute_is_given_up(run: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pymilvus", reason="needs pip install 'unbraid[milvus]'")
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        place = f"milvus://127.0.0.1:{mute.getsockname()[1]}/mute"
        began = time.monotonic()
        assert main(["search", str(run), place, str(photos / "00.png"), "--domain", "a"]) == 2
    assert time.monotonic() - began < 10
    assert "doesn't answer" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["milvus://host/x", "milvus://host:19530", "milvus://host:19530/a-b", "milvus://:1/x"])
def test_an_address_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match="milvus://HOST:PORT/COLLECTION"):
        Address.parse(text)


def test_credentials_are_not_shown() -> None:
    address = Address.parse("milvus://me:secret@host:19530/photos")
    assert address.token == "me:secret"
    assert "secret" not in str(address)
