"""A new user's hour: two folders of photos and sketches, and the commands of the README, one after the other; then the
exported model by the lines of docs/export.md, and the page in the browser.

    python benchmarks/newcomer.py --root DATA --minutes 10
    python benchmarks/newcomer.py --wheel lowest --minutes 0.2   # drawn images; from a wheel, in its own environment
    python benchmarks/newcomer.py --wheel newest --minutes 0.2 --python python3.13 --torch torch torchvision

Prints each command with its time and exit status, and keeps them in OUT/newcomer.json with the pictures that it made.
Exit status 1 if a command failed.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from urllib.request import urlopen

import numpy as np
import tyro
from PIL import Image

from environment import ROOT, prepare_environment
from machine import facts

TEN = 10
"""Images that are translated, and searched for."""
PICTURES = {".png", ".gif", ".webp", ".html"}


@dataclass(frozen=True)
class Arguments:
    """See above."""

    root: Path | None = None
    """Folder of the known data sets, for CUHK's photos and sketches. Default: drawn squares."""
    out: Path = Path("newcomer")
    """New folder for everything."""
    minutes: float = 10
    """How long to train, each of two times."""
    wheel: Literal["lowest", "newest"] | None = None
    """Versions of an environment of its own. Default: the environment that runs this."""
    environment: Path | None = None
    """That environment; one that is there is used, with its torch. Default: OUT/venv."""
    python: str = sys.executable
    """Interpreter that it is made of."""
    torch: tuple[str, ...] = ()
    """Requirements of torch and torchvision in it. Default: those of constraints.txt."""


@dataclass(frozen=True)
class Done:
    """A command that was run: its words, seconds, exit status, the pictures it made, and the end of what it said."""

    command: str
    seconds: float
    status: int
    pictures: list[str]
    said: str


def drawn() -> dict[str, np.ndarray]:
    """Draws pairs of squares, the same place in each pair, other colours."""
    sides = {name: np.empty((60, 64, 64, 3), np.uint8) for name in ("photos", "sketches")}
    for number in range(60):
        random = np.random.default_rng(number)
        top, left = random.integers(0, 44, 2)
        for images in sides.values():
            images[number] = random.integers(0, 100, 3)
            images[number, top : top + 20, left : left + 20] = random.integers(150, 256, 3)
    return sides


def write_folders(root: Path | None, out: Path) -> None:
    """Writes pairs as photos and sketches of 64 x 64 px, with equal names, and ten of each apart."""
    if root is None:
        sides = drawn()
    else:
        with np.load(root / "cuhk" / "cuhk_student_128x160.npz") as arrays:
            sides = {"photos": arrays["photo"], "sketches": arrays["sketch"]}
    for name, images in sides.items():
        for number, pixels in enumerate(images):
            folder = out / (name if number >= TEN else f"ten-{name}")
            folder.mkdir(parents=True, exist_ok=True)
            height, width = pixels.shape[:2]
            top = (height - width) // 2
            square = Image.fromarray(pixels[top : top + width])
            square.resize((64, 64), Image.Resampling.LANCZOS).save(folder / f"{number:03d}.png")


def commands(minutes: float, there: list[str]) -> list[list[str]]:
    """Returns the hour's commands; `there` are those that `unbraid` has."""
    run = ["--run", "runs/own"]
    train = ["--data.size", "64", "64", "--train.minutes", f"{minutes:g}", "--train.evaluate-every", "200"]
    found = [
        ["train", "iiae", "--data.a", "photos", "--data.b", "sketches", *run, *train],
        ["evaluate", "runs/own"],
        ["translate", "runs/own", "ten-photos", "--source", "a", "--samples", "3", "--out", "answers"],
        ["index", "runs/own", "sketches", "ten-sketches", "--domain", "b", "--to", "sketches.index"],
        ["search", "runs/own", "sketches.index", "ten-photos", "--k", "5", "--out", "found.png"],
        ["export", "runs/own", "--to", "onnx", "--out", "exported"],
        ["export", "runs/own", "--to", "torch", "--out", "programs", "--only", "translate"],
        ["report", "runs/own"],
        ["start", "photos", "sketches", "--minutes", f"{minutes:g}", "--run", "runs/start"],
    ]
    return [words for words in found if words[0] in there]


def noted(command: str, run: Callable[[], tuple[int, str]], place: Path) -> Done:
    """Runs something in the folder `place`, and says how it went. run: returns an exit status and what was said."""
    before = pictures(place)
    began = time.monotonic()
    status, said = run()
    seconds = round(time.monotonic() - began, 1)
    made = sorted(str(path.relative_to(place)) for path, at in pictures(place).items() if before.get(path) != at)
    done = Done(command, seconds, status, made, said[-2000 if status else -300 :].replace(f"{place}/", ""))
    print(f"{seconds:8.1f} s  status {status}  {len(made):3} pictures  {command}", flush=True)
    if status:
        print(done.said, file=sys.stderr)
    return done


def ran(words: list[str | Path], place: Path) -> tuple[int, str]:
    """Runs a program in a folder; returns its exit status and what it said."""
    done = subprocess.run(words, cwd=place, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def without_unbraid(python: Path, place: Path) -> tuple[int, str]:
    """Runs the lines of docs/export.md on one of the ten photos."""
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL)
    shutil.copyfile(place / "ten-photos" / "000.png", place / "photo.png")
    return ran([python, "-c", lines], place)


def page(unbraid: Path, place: Path) -> tuple[int, str]:
    """Starts the page on the run, asks for it once, and stops it."""
    words = [unbraid, "explore", "runs/own", "--index", "sketches.index"]
    with subprocess.Popen(words, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as program:
        assert program.stdout is not None
        said = program.stdout.readline()
        if found := re.search(r"http://\S+", said):
            with urlopen(found[0], timeout=60) as answer:
                said += f"{answer.status}, {len(answer.read()):,} bytes\n"
        program.send_signal(signal.SIGINT)
        said += program.communicate(timeout=60)[0]
    return program.returncode if found else 1, said


def pictures(place: Path) -> dict[Path, float]:
    """Returns the pictures and pages below a folder, with the time of their last change."""
    return {path: path.stat().st_mtime for path in place.rglob("*") if path.suffix in PICTURES}


def main(asked: Arguments) -> int:
    """Runs the hour; returns the exit status."""
    place = asked.out.resolve()
    place.mkdir(parents=True)
    write_folders(asked.root, place)
    python = Path(sys.executable)
    if asked.wheel:
        home = (asked.environment or place / "venv").resolve()
        python = prepare_environment(home, place / "wheels", asked.wheel, asked.python, asked.torch)
    unbraid = python.with_name("unbraid")
    said = subprocess.run([unbraid, "--help"], capture_output=True, text=True, check=True).stdout
    there = [line.split()[0] for line in said.splitlines() if line.startswith("  ")]
    results = [noted("python -m pip check", lambda: ran([python, "-m", "pip", "check"], place), place)]
    results += [
        noted(" ".join(["unbraid", *words]), lambda words=words: ran([unbraid, *words], place), place)
        for words in commands(asked.minutes, there)
    ]
    results.append(noted("python: the lines of docs/export.md", lambda: without_unbraid(python, place), place))
    results.append(noted("unbraid explore runs/own --index sketches.index", lambda: page(unbraid, place), place))
    frozen = ran([python, "-m", "pip", "freeze"], place)[1].splitlines()
    table = {
        "machine": facts(),
        "minutes": asked.minutes,
        "commands": [asdict(done) for done in results],
        "versions": [line for line in frozen if "/" not in line],  # none that lies on this machine
    }
    (place / "newcomer.json").write_text(json.dumps(table, indent=1) + "\n")
    failed = [done.command for done in results if done.status]
    print(f"{len(results)} commands, {len(failed)} failed{': ' if failed else ''}{'; '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Arguments)))
