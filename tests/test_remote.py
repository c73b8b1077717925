"""Models are published with what they need and no more, and fetched only by an address that was given."""

import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from helpers import IMAGES, random_items, write_png
from hub import TOKEN, Hub, serving
from indexes import write_run
from unbraid.commands.cli import main
from unbraid.core.checksums import read_tensors, write_tensors
from unbraid.core.types import UserError
from unbraid.model import remote
from unbraid.model.remote import digest, fetched, is_address, publish
from unbraid.model.trained import load


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a card, and settings that name a folder of the user's."""
    folder = write_run(tmp_path_factory.mktemp("runs") / "run")
    config = json.loads((folder / "config.json").read_text())
    config["config"]["data"]["root"] = "/home/somebody/secret/data"
    (folder / "config.json").write_text(json.dumps(config))
    text = f'# Card\n\n![cheat](pictures/cheat.png)\n\nmodel = unbraid.load("{folder}")\n\n'
    text += "    unbraid translate 'somewhere else/run' IMAGE... --source a --target b --out answers\n\n"
    text += json.dumps(config["config"]["data"], indent=1) + "\n"
    (folder / "README.md").write_text(text)
    (folder / "parts.json").write_text('{"train": 1, "val": ["my holiday.png"], "test": []}')
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass

    def send_head(self) -> Any:
        """Says that cut.zip is longer than what comes."""
        head = super().send_head()
        if head is None or "cut" not in self.path:
            return head
        with head:
            return BytesIO(head.read(2000))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the URL that it is served at on this machine."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine, as huggingface_hub sees it."""
    pytest.importorskip("huggingface_hub")
    constants = import_module("huggingface_hub.constants")
    with serving() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def same(one: Path | str, other: Path | str) -> bool:
    x = random_items(IMAGES.a, 2, 0).x
    return torch.equal(load(one).translate(x, "a", "b"), load(other).translate(x, "a", "b"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # huggingface_hub's own, as it uploads
def test_the_hub_takes_a_model_and_gives_it_again(
    run: Path, tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repos["me/faces"] = {"0" * 40: {"features.safetensors": b"of an earlier model", "LICENSE": b"mine"}}
    assert main(["push", str(run), "hf://me/faces"]) == 0
    assert "Published: hf://me/faces" in capsys.readouterr().out
    found = hub.commit("me/faces", "main")
    assert found is not None
    sha, held = found
    assert held.keys() == {"model.safetensors", "config.json", "README.md", "LICENSE"}
    assert b"somebody" not in held["config.json"]
    card = held["README.md"].decode()
    assert card.startswith("---\nlibrary_name: unbraid")
    assert 'unbraid.load("hf://me/faces")' in card
    assert str(run) not in card
    assert "    unbraid translate hf://me/faces IMAGE... --source a" in card
    assert '"root": "data"' in card
    assert "somebody" not in card
    assert "pictures/" not in card
    assert same("hf://me/faces", run)
    assert same(f"hf://me/faces@{sha}", run)
    assert sorted(hub.fetched) == ["README.md", "config.json", "model.safetensors"]
    image = str(write_png(tmp_path / "x.png", 1))
    assert main(["translate", "hf://me/faces", image, "--out", str(tmp_path / "out")]) == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # huggingface_hub's own, as it uploads
def test_what_the_hub_does_not_give_is_told(run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos["me/data"] = {"0" * 40: {"data.csv": b"x"}}
    for address, words in (
        ("hf://me/nothing", "can't be fetched: RepositoryNotFoundError: 401 .*authenticated"),
        ("hf://me/data@v2", "can't be fetched: RevisionNotFoundError: 404"),
        ("hf://me/data", r"is no model of unbraid: it has no model\.safetensors"),
    ):
        with pytest.raises(UserError, match=words):
            fetched(address)
    publish(run, "hf://me/faces")
    before = fetched("hf://me/faces")
    hub.down = True
    assert fetched("hf://me/faces") == before  # what was fetched works without the hub
    with pytest.raises(UserError, match=r"hf://me/other can't be fetched: .*503"):
        fetched("hf://me/other")
    hub.down = False
    del hub.repos["me/faces"]
    with pytest.raises(UserError, match="RepositoryNotFoundError"):
        fetched("hf://me/faces")
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(UserError, match=r"hf://me/mine can't be written: .*no rights"):
        publish(run, "hf://me/mine")


def test_a_zip_file_is_used_by_its_url_and_hash(
    run: Path, tmp_path: Path, served: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, url = served
    assert main(["push", str(run), str(folder / "m.zip")]) == 0
    found = capsys.readouterr().out.split("#sha256=")[1].strip()
    assert found == digest(folder / "m.zip")
    address = f"{url}/m.zip#sha256={found}"
    assert same(address, run)
    (folder / "m.zip").write_bytes(b"gone")
    assert same(Path(address), run)  # it is kept; a path has one slash less
    shutil.copyfile(run / "model.safetensors", folder / "m.safetensors")
    assert same(f"{url}/m.safetensors#sha256={digest(folder / 'm.safetensors')}", run)
    assert main(["translate", f"{url}/m.zip", "x.png", "--out", str(tmp_path / "out")]) == 2
    assert "put #sha256= and the file's SHA-256" in capsys.readouterr().err
    assert main(["evaluate", address]) == 2
    assert "evaluate needs folders of this machine, where data are known too, not http" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("translate ftp://host/m.zip x.png --out answers", "ftp://host/m.zip: only hf://user/name and"),
        ("translate run x.png --out=s3://bucket/answers", "s3://bucket/answers: only hf://"),
        ("train iiae --data.a ftp://host/a --data.b b", "train needs folders of this machine, .* not ftp://host/a"),
        ("start https://host/a.zip b", "start needs folders of this machine, .* not https://host/a.zip"),
    ],
)
def test_other_addresses_are_refused_in_words(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_a_name_with_spaces_and_umlauts_is_an_address_too(run: Path, served: tuple[Path, str]) -> None:
    folder, url = served
    address = publish(run, str(folder / "schöne faces.zip"))
    assert " " not in address
    assert same(address.replace("https://HOST", url), run)
    shutil.copyfile(run / "model.safetensors", folder / "schöne faces.safetensors")
    assert same(f"{url}/schöne faces.safetensors#sha256={digest(run / 'model.safetensors')}", run)


def test_what_is_not_what_the_hash_says_is_refused(
    run: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = served
    publish(run, str(folder / "m.zip"))
    with pytest.raises(UserError, match="is another file than its #sha256 says"):
        fetched(f"{url}/m.zip#sha256={'0' * 64}")
    with pytest.raises(UserError, match=r"none\.zip can't be fetched: "):
        fetched(f"{url}/none.zip#sha256={'0' * 64}")
    shutil.copyfile(folder / "m.zip", folder / "cut.zip")
    with pytest.raises(UserError, match=r"cut\.zip was cut off after 2,000 of [\d,]+ bytes: try again"):
        fetched(f"{url}/cut.zip#sha256={digest(folder / 'm.zip')}")
    for mark in ("", "#sha256=abc", "#md5=" + "0" * 32):
        with pytest.raises(UserError, match="put #sha256= and the file's SHA-256, of 64 digits, behind it"):
            fetched(f"{url}/m.zip{mark}")
    with zipfile.ZipFile(folder / "evil.zip", "w") as archive:
        archive.writestr("../../model.safetensors", b"x")
    with pytest.raises(UserError, match="is no model of unbraid"):
        fetched(f"{url}/evil.zip#sha256={digest(folder / 'evil.zip')}")
    monkeypatch.setattr(remote, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match="no model of unbraid should have"):
        fetched(f"{url}/m.zip#sha256={digest(folder / 'm.zip')}")
    assert not list((folder.parent / "cache").rglob("model.safetensors"))


def test_the_same_model_has_the_same_hash(run: Path, tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        publish(run, str(tmp_path / name))
    assert digest(tmp_path / "one.zip") == digest(tmp_path / "two.zip")
    assert digest(tmp_path / "one.zip") == hashlib.sha256((tmp_path / "one.zip").read_bytes()).hexdigest()


def test_the_folder_of_a_networks_file_is_not_published(run: Path, tmp_path: Path) -> None:
    own = shutil.copytree(run, tmp_path / "own")
    name = "timm/vit@/home/somebody/secret/vit.safetensors"
    write_tensors(own / "features.safetensors", {"none": torch.zeros(1)}, json.dumps({"name": name, "images": []}))
    text, tensors = read_tensors(own / "model.safetensors")
    about = json.loads(text) | {"teacher": name}
    write_tensors(own / "model.safetensors", {**tensors}, json.dumps(about))
    (own / "metrics.json").write_text(json.dumps({"protocol": {"features": name}}))
    (own / "README.md").write_text(f'- features: {name}\n\n{{"features": "{name}"}}\n')
    publish(own, str(tmp_path / "out"))
    published = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert len(published) == 5
    assert not any(b"somebody" in held for held in published.values())
    assert all(b"timm/vit@vit.safetensors" in held for name, held in published.items() if name != "config.json")
    weights = read_tensors(tmp_path / "out" / "model.safetensors")[1]
    assert all(torch.equal(weights[name], value) for name, value in tensors.items())


def test_a_folder_is_published_to_once(run: Path, tmp_path: Path) -> None:
    assert publish(run, str(tmp_path / "model")) == str(tmp_path / "model")
    assert same(tmp_path / "model", run)
    for to, words in (
        (str(tmp_path / "model"), "is not an empty folder"),
        ("s3://bucket/x", "give hf://user/name, a .zip file or a folder"),
        ("hf:/a/b/c", "give hf://user/name, a .zip file or a folder"),
    ):
        with pytest.raises(UserError, match=words):
            publish(run, to)
    with pytest.raises(UserError, match="holds no model"):
        publish(tmp_path, str(tmp_path / "new"))


def test_a_full_disk_leaves_no_half_of_a_model(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        if target.parent == tmp_path / "out":
            raise OSError(28, "No space left on device")
        copy(source, target)

    copy = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(UserError, match="the disk is full"):
        publish(run, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_addresses_are_told_from_folders() -> None:
    for text in ("hf://me/x", "hf://me/x@v1", "https://host/x.zip#sha256=" + "0" * 64, "https:/host/x.zip"):
        assert is_address(text)
    for text in ("runs/demo", "/tmp/hf/x", "hf:/me", "milvus://host:1/x"):
        assert not is_address(text)


def test_the_zoo_packs_the_best_of_each_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [write_run(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))]
    for run, figure in zip(runs, (0.3, 0.2), strict=True):
        translation = {"a->b": {"sample": {"lpips": figure}}}
        (run / "metrics.json").write_text(json.dumps({"translation": translation}))
        (run / "README.md").write_text("# Card\n")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    zoo = import_module("zoo")
    out = tmp_path / "release"
    monkeypatch.setattr("sys.argv", ["zoo.py", "--out", str(out), *map(str, runs)])
    assert zoo.main() == 0
    assert (out / "SHA256SUMS").read_text() == f"{digest(out / 'demo.zip')}  demo.zip\n"
    assert f"demo.zip: {runs[1]}" in capsys.readouterr().out
    with pytest.raises(UserError, match="none of the runs is the demo or has images of 7 px"):
        zoo.chosen([], 7)
    (runs[0] / "README.md").unlink()
    assert zoo.main() == 2
    assert "has no card: unbraid evaluate" in capsys.readouterr().err
