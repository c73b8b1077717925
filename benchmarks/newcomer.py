"""A new user's hour: two folders of photos and sketches, and the commands of the README, one after the other; then the
exported model by the lines of docs/export.md, and the page in the browser.

    python benchmarks/newcomer.py --root DATA --minutes 10
    python benchmarks/newcomer.py --root DATA --minutes 10 --wheel   # in an environment of its own, from a wheel

Prints each command with its time and exit status, and keeps them in OUT/newcomer.json with the pictures that it made.
Exit status 1 if a command failed.
"""

import argparse
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
from urllib.request import urlopen

import numpy as np
from PIL import Image

from machine import facts

ROOT = Path(__file__).parent.parent
TEN = 10
"""Images that are translated, and searched for."""
PICTURES = {".png", ".gif", ".webp", ".html"}


@dataclass(frozen=True)
class Done:
    """A command that was run: its words, seconds, exit status, the pictures it made, and the end of what it said."""

    command: str
    seconds: float
    status: int
    pictures: list[str]
    said: str


def write_folders(root: Path, out: Path) -> None:
    """Writes the set's pairs as photos and sketches of 64 x 64 px, with equal names, and ten of each apart."""
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
        ["report", "runs/own"],
        ["start", "photos", "sketches", "--minutes", f"{minutes:g}", "--run", "runs/start"],
    ]
    return [words for words in found if words[0] in there]


def own_environment(place: Path) -> Path:
    """Builds a wheel and installs it into an environment of its own; returns its `unbraid`."""
    wheels, python = place / "wheels", place / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", wheels, ROOT], check=True)
    (wheel,) = wheels.glob("unbraid-*.whl")
    subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"{wheel}[search,onnx,web]"], check=True)
    return python.with_name("unbraid")


def noted(command: str, run: Callable[[], tuple[int, str]], place: Path) -> Done:
    """Runs something in the folder `place`, and says how it went. run: returns an exit status and what was said."""
    before = pictures(place)
    began = time.monotonic()
    status, said = run()
    seconds = round(time.monotonic() - began, 1)
    made = sorted(str(path.relative_to(place)) for path, at in pictures(place).items() if before.get(path) != at)
    done = Done(command, seconds, status, made, said[-2000:])
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


def main() -> int:
    """Runs the hour; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--root", type=Path, required=True, help="folder of the known data sets")
    parser.add_argument("--out", type=Path, default=Path("newcomer"), help="new folder for everything")
    parser.add_argument("--minutes", type=float, default=10, help="how long to train, each of two times")
    parser.add_argument("--wheel", action="store_true", help="install a wheel into an environment of its own")
    asked = parser.parse_args()
    place = asked.out.resolve()
    place.mkdir(parents=True)
    write_folders(asked.root, place)
    unbraid = own_environment(place) if asked.wheel else Path(sys.executable).with_name("unbraid")
    said = subprocess.run([unbraid, "--help"], capture_output=True, text=True, check=True).stdout
    there = [line.split()[0] for line in said.splitlines() if line.startswith("  ")]
    results = [
        noted(" ".join(["unbraid", *words]), lambda words=words: ran([unbraid, *words], place), place)
        for words in commands(asked.minutes, there)
    ]
    python = unbraid.with_name("python")
    results.append(noted("python: the lines of docs/export.md", lambda: without_unbraid(python, place), place))
    results.append(noted("unbraid explore runs/own --index sketches.index", lambda: page(unbraid, place), place))
    table = {"machine": facts(), "minutes": asked.minutes, "commands": [asdict(done) for done in results]}
    (place / "newcomer.json").write_text(json.dumps(table, indent=1) + "\n")
    return int(any(done.status for done in results))


if __name__ == "__main__":
    raise SystemExit(main())
