"""What kills, damaged inputs and hostile requests do to runs, indexes and the page: nothing may be lost.

    python benchmarks/campaign.py [--minutes 20] [--seed 0] [--damages 2000] [--only kills damage requests]

Kills: `train`, `index`, `evaluate` and `translate` are killed at random moments and started again; a trained run must
be the one that was never stopped, bit for bit. Damaged inputs: a file of every format that is read is changed (bits,
cuts, zeros, other contents, JSON of other shapes) and read, in this process; anything but a result or a UserError is a
traceback, more than 20 s a hang. Requests: random methods, paths, headers and bodies at the page. All is drawn from the
seed, on small data made here. Writes benchmarks/results/campaign.json.
"""

import argparse
import asyncio
import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from PIL import Image

import unbraid
from machine import facts
from unbraid.commands.cli import main
from unbraid.core.types import UserError
from unbraid.model.log import Log, read_log
from unbraid.model.run import Run
from unbraid.model.saved import Position

RESULTS = Path(__file__).parent / "results" / "campaign.json"
HANG = 20
"""Seconds after which reading a file, or answering a request, counts as a hang."""
LEAST = 3
"""How often each command is killed at least."""
NETWORK = ["--method.widths", "8", "--method.decoder-widths", "8", "--method.map-size", "4", "--method.shared", "4"]
TRAIN = [*NETWORK, "--train.batch", "8", "--train.checkpoint-seconds", "0", "--train.precision", "fp32"]
TEXTS = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"0",
    b'"x"',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"1" * 5000,
    b"\xff\xfe\x00",
    b"\x00" * 4096,
    b"NaN",
    b"file,label\nx",
]


class Hang(BaseException):
    """Something took longer than HANG."""


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Raises Hang inside when the time is up."""

    def ring(signum: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def images(folder: Path, count: int, seed: int) -> Path:
    """Writes random images of 16 x 16 px."""
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = np.random.default_rng((seed, i)).integers(256, size=(16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return folder


def quiet(*arguments: object) -> int:
    """Runs a command in this process, without its output; its exit status."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            return main([str(each) for each in arguments])
        except SystemExit as left:  # of the command line's parser
            return int(left.code or 0)


class Place:
    """Small data, a run and an index of it, in a temporary folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.run, self.index = root, root / "run", root / "index"
        self.a, self.b = images(root / "a", 30, 1), images(root / "b", 30, 2)
        self.sides = ["--data.a", str(self.a), "--data.b", str(self.b)]
        self.train = ["train", "iiae", *self.sides, *TRAIN, "--train.steps", "60", "--train.evaluate-every", "20"]
        assert quiet(*self.train, "--run", self.run) == 0
        assert quiet("evaluate", self.run, "--limit", 8) == 0
        assert quiet(*self.indexing(self.index)) == 0

    def indexing(self, to: Path) -> list[str]:
        """The command that makes an index."""
        return ["index", str(self.run), str(self.a), "--domain", "a", "--to", str(to)]


def kills(place: Place, random_: random.Random, until: float) -> dict[str, Any]:
    """Kills the commands in turn; what was lost, or did not go on, is listed."""
    table: dict[str, Any] = {}
    for name, command, check in (
        ("train", [*place.train, "--run", str(place.root / "killed")], lambda: same_run(place)),
        ("index", place.indexing(place.root / "killed-index"), lambda: searched(place)),
        ("evaluate", ["evaluate", str(place.run), "--limit", "8"], lambda: Run.existing(place.run).metrics() != {}),
        ("translate", ["translate", str(place.run), str(place.a), "--out", str(place.root / "out")], lambda: True),
    ):
        whole, began = run(command, None), time.monotonic()
        lasts = max(time.monotonic() - began, 4.0) if whole == 0 else 4.0
        forget(place, name)
        count, failed = 0, []
        end = time.monotonic() + (until - time.monotonic()) / (4 - len(table))
        for tried in range(50):
            if tried >= LEAST and time.monotonic() > end:
                break
            killed = run(command, random_.uniform(0.05, lasts))
            count += killed == -signal.SIGKILL
            if killed == 0:
                forget(place, name)
            elif killed != -signal.SIGKILL:
                failed.append(f"refused with status {killed}")
        if run(command, None) != 0 or not check():
            failed.append("did not go on, or ended elsewhere")
        table[name] = {"kills": count, "lost": failed}
    return table


def forget(place: Place, name: str) -> None:
    """Lets a command that was done begin anew."""
    for done in {"train": ["killed"], "index": ["killed-index"], "translate": ["out"]}.get(name, []):
        shutil.rmtree(place.root / done, ignore_errors=True)


def run(command: list[str], kill_after: float | None) -> int:
    """A command's exit status, or that of its kill."""
    process = subprocess.Popen(
        [sys.executable, "-m", "unbraid", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        return process.wait(kill_after or 600)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def same_run(place: Place) -> bool:
    """Whether the run that was killed is the one that was not."""
    states = [Run.existing(place.root / name).load_state() for name in ("run", "killed")]
    first, second = ((state or {})["method"] for state in states)
    models = [(place.root / name / "model.safetensors").read_bytes() for name in ("run", "killed")]
    return all(torch.equal(value, second[name]) for name, value in first.items()) and models[0] == models[1]


def searched(place: Place) -> bool:
    """Whether an index finds what it was made of."""
    return quiet("search", place.run, place.root / "killed-index", place.a / "00.png", "--domain", "a") == 0


def formats(place: Place) -> dict[str, tuple[Path, Callable[[], object]]]:
    """Every kind of file that is read: one of it, and what reads it. Each lies where it may be damaged."""
    root, own = place.root / "damaged", place.root / "damaged" / "run"
    shutil.copytree(place.run, own)
    shutil.copytree(place.index, root / "index")
    table: dict[str, tuple[Path, Callable[[], object]]] = {
        "config.json": (own / "config.json", lambda: Run.existing(own)),
        "parts.json": (own / "parts.json", lambda: quiet(*place.train, "--run", own)),
        "state.pt": (own / "state.pt", lambda: quiet(*place.train, "--run", own)),
        "log.jsonl": (
            own / "log.jsonl",
            lambda: (Log(own, quiet=True).resume(Position(0, 60)), read_log(own / "log.jsonl")),
        ),
        "metrics.json": (own / "metrics.json", lambda: Run.existing(own).metrics()),
        "model.safetensors": (own / "model.safetensors", lambda: unbraid.load(own)),
    }
    asked = ("search", place.run, root / "index", place.a / "01.png", "--domain", "a")
    for file in sorted((root / "index").iterdir()):
        if file.is_file() and not file.name.startswith("."):
            table[f"index: {file.name}"] = (file, lambda: quiet(*asked))
            if file.name in ("index.json", "built.json", "records.sqlite") or file.name.startswith("codes"):
                update = ["index", place.run, place.a, "--domain", "a", "--to", root / "index"]
                table[f"index anew: {file.name}"] = (file, lambda update=update: quiet(*update))
    picture = Image.open(place.a / "00.png")
    for kind in ("png", "jpg", "bmp", "gif", "tiff", "webp", "ppm"):
        file = root / f"picture.{kind}"
        picture.save(file)
        show = ("translate", place.run, file, "--out", root / "shown")
        table[f"image: {kind}"] = (file, lambda show=show: quiet(*show))
    pixels = np.random.default_rng(0).integers(256, size=(30, 16, 16, 3), dtype=np.uint8)
    np.savez(root / "two.npz", a=pixels, b=pixels)
    (root / "arrays").mkdir()
    for name in "ab":
        np.save(root / "arrays" / f"{name}.npy", pixels)
    names = sorted(file.name for file in place.a.iterdir())
    (root / "pairs.csv").write_text("a,b\n" + "".join(f"{name},{name}\n" for name in names))
    (place.a / "labels.csv").write_text("file,kind\n" + "".join(f"{n},{i % 3}\n" for i, n in enumerate(names)))
    (root / "meta.csv").write_text("file,kind\n" + "".join(f"{n},{i % 3}\n" for i, n in enumerate(names)))
    dry = ("train", "iiae", "--dry-run")
    table["npz"] = (root / "two.npz", lambda: quiet(*dry, "--data.arrays", root / "two.npz"))
    table["npy"] = (root / "arrays" / "a.npy", lambda: quiet(*dry, "--data.arrays", root / "arrays"))
    table["pairs.csv"] = (root / "pairs.csv", lambda: quiet(*dry, *place.sides, "--data.pairs", root / "pairs.csv"))
    labelled = ("train", "lord", "--dry-run", "--data.csv", place.a / "labels.csv", "--method.loss", "pixels")
    table["labels.csv"] = (place.a / "labels.csv", lambda: quiet(*labelled))
    more = ("index", place.run, place.a, "--domain", "a", "--to", root / "other", "--metadata", root / "meta.csv")
    table["metadata.csv"] = (root / "meta.csv", lambda: quiet(*more))
    return table


def damaged(data: bytes, random_: random.Random) -> bytes:
    """Other bytes in place of these."""
    changed, size = bytearray(data), len(data)
    kind = random_.randrange(7)
    if kind == 0 or not size:
        return random_.choice(TEXTS)
    at = random_.randrange(size)
    if kind == 1:
        changed[at] ^= 1 << random_.randrange(8)
    elif kind == 2:
        for _ in range(20):
            changed[random_.randrange(size)] = random_.randrange(256)
    elif kind == 3:
        return bytes(data[:at])
    elif kind == 4:
        changed[at:] = bytes(size - at)
    elif kind == 5:
        changed[at:at] = random_.randbytes(random_.randrange(1, 60))
    else:  # another value, in what is text
        numbers = (b"-1", b"9" * 30, b"null", b"[]", b"{}", b"1e999", b'"\xff"', b"NaN", b"0")
        places = [i for i, value in enumerate(data) if 48 <= value <= 57] or [at]
        where = random_.choice(places)
        changed[where : where + 1] = random_.choice(numbers)
    return bytes(changed)


def damage(place: Place, random_: random.Random, count: int, until: float) -> dict[str, Any]:
    """Damages files in turn, and reads them."""
    table, outcomes, faults = formats(place), Counter[str](), Counter[str]()
    by_format: dict[str, Counter[str]] = {name: Counter() for name in table}
    whole = {name: read() for name, (_, read) in table.items()}
    refused = [name for name, found in whole.items() if found == 2]
    assert not refused, f"what is whole is refused: {refused}"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        if time.monotonic() > until:
            break
        name = list(table)[number % len(table)]
        path, read = table[name]
        folder = path.parent if path.parent.name in ("index", "run") else None
        kept = {file: file.read_bytes() for file in (folder.iterdir() if folder else [path]) if file.is_file()}
        path.write_bytes(damaged(kept[path], random_))
        try:
            with watched():
                found = read()
            outcome = "refused" if found == 2 else "read"
        except UserError:
            outcome = "refused"
        except Hang:
            outcome = "hang"
        except BaseException as error:
            outcome = "traceback"
            frame = traceback.extract_tb(error.__traceback__)[-1]
            faults[f"{name}: {type(error).__name__} in {Path(frame.filename).name}, {frame.name}"] += 1
        outcomes[outcome] += 1
        by_format[name][outcome] += 1
        for file in set(folder.iterdir() if folder else ()) - kept.keys():
            if file.is_file():
                file.unlink()
        for file, data in kept.items():
            file.write_bytes(data)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "inputs": sum(outcomes.values()),
        **{name: outcomes[name] for name in ("read", "refused", "traceback", "hang")},
        "memory grew by, MB": round(grown / 1024),
        "formats": {name: dict(each) for name, each in by_format.items()},
        "faults": dict(faults.most_common()),
    }


PATHS = ("/", "/config", "/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/file=", "/gradio_api/call/search")
ENDINGS = ("", "/../../etc/passwd", "%2e%2e/", "/etc/passwd", "http://x/", "\x00", "é" * 300, "/" * 200, "?a=b&" * 99)
HEADERS = (
    ("origin", "http://evil.example"),
    ("origin", "http://127.0.0.1:7860"),
    ("content-length", "9" * 20),
    ("content-type", "multipart/form-data"),
)


def requests(place: Place, random_: random.Random, count: int, until: float) -> dict[str, Any]:
    """Sends requests that no browser would send. What it answers is counted by status."""
    from unbraid.web.app import application
    from unbraid.web.runs import Runs

    folder = place.root / "uploads"
    folder.mkdir()
    app, statuses, faults = application(Runs([place.run]), folder), Counter[str](), Counter[str]()
    secret = b"root:" + Path("/etc/passwd").read_bytes()[5:40]
    leaked = hangs = 0

    async def ask() -> None:
        nonlocal leaked
        body = random_.choice([*TEXTS, b'{"data": [1e999], "fn_index": 3}', b'{"path": "/etc/passwd"}'])
        chunks, sent = [body], list[Any]()
        host = random_.choice((*[b"127.0.0.1:7860"] * 9, b"localhost", b"evil.example", b""))
        headers = [(b"host", host)]
        headers += [(n.encode(), v.encode()) for n, v in random_.sample(HEADERS, random_.randrange(3))]
        path = random_.choice(PATHS) + random_.choice(ENDINGS)
        scope = {
            "type": "http",
            "http_version": "1.1",
            "scheme": "http",
            "method": random_.choice(("GET", "POST", "PUT", "DELETE", "OPTIONS", "X" * 50)),
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": random_.choice([b"", b"view=codes&token=x", random_.randbytes(20)]),
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 7860),
        }

        async def receive() -> dict[str, Any]:
            if not chunks:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": chunks.pop(), "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)
        statuses[str(sent[0]["status"]) if sent else "no answer"] += 1
        leaked += any(secret in message.get("body", b"") for message in sent)

    for _ in range(count):
        if time.monotonic() > until:
            break
        try:
            with watched():
                asyncio.run(ask())
        except Hang:
            hangs += 1
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            faults[f"{type(error).__name__} in {Path(frame.filename).name}, {frame.name}"] += 1
    return {
        "requests": sum(statuses.values()) + sum(faults.values()) + hangs,
        "statuses": dict(statuses),
        "files of others read": leaked,
        "hang": hangs,
        "faults": dict(faults),
    }


def campaign() -> None:
    """Parses the arguments, plays the parts, prints and writes what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--damages", type=int, default=2000)
    parser.add_argument("--requests", type=int, default=800)
    parser.add_argument("--only", nargs="+", default=["damage", "requests", "kills"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    until = time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory() as root:
        os.environ["UNBRAID_CACHE"] = str(Path(root) / "cache")
        place, found = Place(Path(root)), {**facts(), "seed": given.seed, "minutes": given.minutes}
        for left, part in reversed(list(enumerate(reversed(given.only), 1))):
            share, random_ = (until - time.monotonic()) / left, random.Random(f"{given.seed} {part}")
            end = time.monotonic() + share
            if part == "damage":
                found[part] = damage(place, random_, given.damages, end)
            elif part == "requests":
                found[part] = requests(place, random_, given.requests, end)
            else:
                found[part] = kills(place, random_, end)
    print(json.dumps(found, indent=2))
    given.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    campaign()
