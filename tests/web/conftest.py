"""Runs of a few steps, and the explorer over them, served from a thread."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers import write_pairs, write_png
from unbraid.commands.cli import main
from unbraid.web.runs import Runs

pytest.importorskip("gradio", reason="gradio is not installed: pip install 'unbraid[web]'")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the runs pairs (IIAE), faces (LORD, labelled images of one kind) and plain (CycleGAN, no codes)."""
    root = tmp_path_factory.mktemp("explorer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNBRAID_CACHE", str(root / "cache"))
        pairs = write_pairs(root / "pairs-data")
        sides = ["--data.a", str(pairs / "photo"), "--data.b", str(pairs / "sketch")]
        narrow = [
            "--method.widths",
            "8",
            "--method.decoder-widths",
            "8",
            "--method.map-size",
            "4",
            "--method.shared",
            "4",
            "--data.test",
            "0.4",
        ]
        few = ["--train.steps", "4", "--train.evaluate-every", "2", "--train.batch", "4"]
        assert main(["train", "iiae", *sides, "--run", str(root / "pairs"), *few, *narrow]) == 0
        assert main(["evaluate", str(root / "pairs"), "--limit", "12"]) == 0
        index = ["index", str(root / "pairs"), str(pairs / "sketch"), "--domain", "b", "--to", str(root / "index")]
        assert main(index) == 0
        plain = ["--method.width", "8", "--method.blocks", "1"]
        assert main(["train", "cyclegan", *sides, "--run", str(root / "plain"), *few, *plain]) == 0
        for i in range(36):
            write_png(root / "classes" / "xyz"[i % 3] / f"{i:02d}.png", i, (32, 32))
        small = [
            *("--method.content", "8", "--method.class-code", "8", "--method.dense", "16", "16", "--method.width", "8"),
            *("--method.last-width", "8", "--method.encoder-widths", "8", "8", "8", "--method.encoder-dense", "16"),
            *("--method.loss", "pixels"),
        ]
        faces = ["train", "lord", "--data.classes", str(root / "classes"), "--run", str(root / "faces")]
        assert main([*faces, *few, *small]) == 0
        yield root


@pytest.fixture(scope="session")
def runs(folder: Path) -> Runs:
    """The runs, as the page sees them."""
    places = [folder / "pairs", folder / "faces", folder / "plain"]
    return Runs(places, indexes=[str(folder / "index")])


@dataclass(frozen=True)
class Served:
    """A running explorer: its address, and the only folder it may write to."""

    address: str
    folder: Path


@contextmanager
def serving(runs: Runs, temporary: Path) -> Iterator[Served]:
    """The explorer over some runs, at a free port, while the block runs."""
    import uvicorn

    from unbraid.commands.explore import _socket
    from unbraid.web.app import application

    served = application(runs, temporary)
    listening = _socket("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(served, log_level="error", ws="none", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}/", temporary)
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="session")
def served(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The explorer over all runs."""
    with serving(runs, tmp_path_factory.mktemp("temporary")) as started:
        yield started
