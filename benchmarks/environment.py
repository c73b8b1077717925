"""What a user gets: a wheel in an environment of its own, with the lowest versions that pyproject.toml allows, and a
short run of the commands on drawn images.

    python benchmarks/wheel.py --out OUT                                     # lowest versions, torch aside
    python benchmarks/wheel.py --out OUT --newest --python python3.13 --torch torch torchvision

torch and torchvision are large, so they are chosen apart. Exit status 1 if a command failed.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from newcomer import ROOT, noted, ran

EXTRAS = ("search", "onnx")
GPU = ("torch==", "torchvision==", "nvidia-", "cuda-", "triton")
"""Packages that stay as torch's own installation left them."""
PAIRS, SIDE = 24, 32
RUN = "run"
COMMANDS = (
    f"train iiae --data.a a --data.b b --method.perceptual-weight 0 --train.steps 20 --run {RUN}",
    f"evaluate {RUN} --limit 8",
    f"translate {RUN} a --source a --out answers",
    f"index {RUN} b --domain b --to b.index",
    f"search {RUN} b.index a/00.png --out found.png",
    f"export {RUN} --to torch --out torch --only translate",
    f"export {RUN} --to onnx --out onnx --only translate",
    f"report {RUN}",
)


@dataclass(frozen=True)
class Arguments:
    """See above."""

    out: Path
    """New folder for everything."""
    python: str = sys.executable
    """Interpreter that the environment is made of."""
    newest: bool = False
    """The newest versions that pip finds, in place of the lowest."""
    torch: tuple[str, ...] = ()
    """Requirements of torch and torchvision. Default: those of constraints.txt."""
    there: bool = False
    """The environment OUT/venv is there already, and has torch."""


def environment(asked: Arguments, place: Path) -> Path:
    """Installs a wheel into an environment of its own; returns its interpreter."""
    python = place / "venv" / "bin" / "python"
    pinned = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch")]
    torch = asked.torch or tuple(line for line in pinned if line.split("==")[0] in ("torch", "torchvision"))
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    if not asked.there:
        subprocess.run([asked.python, "-m", "venv", place / "venv"], check=True)
        subprocess.run([*pip, "install", *torch], check=True)
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", place, ROOT], check=True)
    (wheel,) = place.glob("unbraid-*.whl")
    wanted = f"{wheel}[{','.join(EXTRAS)}]"
    if asked.newest:
        subprocess.run([*pip, "install", wanted], check=True)
        return python
    subprocess.run([*pip, "install", "uv"], check=True)
    frozen = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout.splitlines()
    kept, lowest, uv = place / "kept.txt", place / "lowest.txt", [python.with_name("uv"), "pip"]
    kept.write_text(
        "".join(f"{line.split('+')[0]}\n" for line in frozen if line.startswith(("torch==", "torchvision==")))
    )
    words = ["compile", "--quiet", "--resolution", "lowest-direct", "--python", python, "--constraint", kept]
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    subprocess.run([*uv, *words, *extras, "--output-file", lowest, ROOT / "pyproject.toml"], check=True)
    others = [line for line in lowest.read_text().splitlines() if not line.startswith(GPU)]  # what torch asks for
    lowest.write_text("\n".join(others) + "\n")
    install = [*uv, "install", "--quiet", "--python", python, "--no-deps"]
    subprocess.run([*install, "--requirement", lowest], check=True)
    subprocess.run([*install, wheel], check=True)
    return python


def draw(place: Path) -> None:
    """Draws pairs of squares: the same place in each pair, other colours."""
    for number in range(PAIRS):
        random = np.random.default_rng(number)
        top, left = random.integers(0, SIDE - 10, 2)
        for folder in "ab":
            pixels = np.full((SIDE, SIDE, 3), random.integers(0, 100, 3), np.uint8)
            pixels[top : top + 10, left : left + 10] = random.integers(150, 256, 3)
            (place / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(place / folder / f"{number:02d}.png")


def main(asked: Arguments) -> int:
    """Runs the commands; returns the exit status."""
    place = asked.out.resolve()
    place.mkdir(parents=True, exist_ok=asked.there)
    python = environment(asked, place)
    draw(place)
    done = [
        noted(f"unbraid {words}", lambda words=words: ran([python, "-m", "unbraid", *words.split()], place), place)
        for words in COMMANDS
    ]
    failed = [each.command for each in done if each.status]
    print(f"{len(done)} commands, {len(failed)} failed{': ' if failed else ''}{'; '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Arguments)))
