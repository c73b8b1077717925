"""`unbraid start` on folders that no recipe knows: pairs, class folders, and two sets without pairs.

    python benchmarks/start_runs.py --root DATA --out OUT --minutes 10

Writes the folders into OUT, runs `unbraid start` on each as a user would, and keeps command, seconds, exit status and
what it said in benchmarks/results/start-runs.json. The reports are OUT/RUN/report.html. Draws the first translations of
the sets without pairs into docs/pictures/start.webp.

- emoji: Twemoji and the black line art of OpenMoji, paired by name.
- facades: photos of some buildings and drawings of others, turned on their sides, no pairs.
- thermal: photos of students in false colours by brightness, and photos of other students.
- photos: ten classes of Sketchy's photos, a folder each.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image

import small
from machine import facts, table
from unbraid.core.files import read_json, write_json

RESULTS = Path(__file__).parent / "results" / "start-runs.json"
PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "start.webp"
TILE, COLUMNS = 64, 64
GAP, TOP, APART, ROWS = 2, 20, 12, 4
"""Pixels between images of a run's sheets, above them, and between the ways here; images of a way."""
WAYS = (
    ("thermal", "camera-to-thermal"),
    ("thermal", "thermal-to-camera"),
    ("facades", "drawings-to-photos"),
    ("facades", "photos-to-drawings"),
)
CLASSES = 10
Picture = tuple[str, Image.Image]
"""Folder and name, and the image."""


@dataclass(frozen=True)
class Arguments:
    """See above."""

    root: Path
    out: Path
    minutes: float = 10
    only: tuple[str, ...] = ("emoji", "thermal", "facades", "photos")


def emoji(root: Path) -> Iterator[Picture]:
    """Paired tiles of two styles; of those whose lines are equal, skin tones say, the first alone."""
    sheets = {
        folder: Image.open(root / "emoji" / f"{style}.webp").convert("RGB")
        for folder, style in (("lines", "openmoji_black"), ("colour", "twitter"))
    }
    seen: set[bytes] = set()
    for number in range(len(json.loads((root / "emoji" / "labels.json").read_text()))):
        top, left = TILE * (number // COLUMNS), TILE * (number % COLUMNS)
        tiles = {folder: sheet.crop((left, top, left + TILE, top + TILE)) for folder, sheet in sheets.items()}
        if (lines := tiles["lines"].tobytes()) not in seen:
            seen.add(lines)
            yield from ((f"{folder}/{number:04d}.png", tile) for folder, tile in tiles.items())


def thermal(root: Path) -> Iterator[Picture]:
    """One half of the students in false colours, the other as they are."""
    with np.load(root / "cuhk" / "cuhk_student_128x160.npz") as arrays:
        photos = arrays["photo"]
    steps = np.linspace(0, 1, 256)
    colours = np.stack([np.clip(c, 0, 1) for c in (1.5 * steps, 2 * steps - 0.8, np.abs(2 * steps - 0.7))], 1)
    for number, pixels in enumerate(photos):
        image = Image.fromarray(pixels).crop((0, 16, 128, 144)).resize((96, 96), Image.Resampling.LANCZOS)
        if number % 2:
            yield f"camera/{number:03d}.png", image
        else:
            grey = np.asarray(image.convert("L"))
            yield f"thermal/{number:03d}.png", Image.fromarray((255 * colours[grey]).round().astype(np.uint8))


def facades(root: Path) -> Iterator[Picture]:
    """Photos of some buildings, drawings of others."""
    for number, path in enumerate(sorted((root / "facades" / "train").glob("*.jpg"))):
        file, folder = (path, "photos") if number % 2 else (path.with_suffix(".png"), "drawings")
        image = Image.open(file).convert("RGB").resize((96, 96), Image.Resampling.BOX)
        yield f"{folder}/{path.stem}.png", image.transpose(Image.Transpose.ROTATE_90)


def photos(root: Path) -> Iterator[Picture]:
    """Photos of some classes."""
    for folder in sorted((root / "sketchy" / "photo").iterdir())[:CLASSES]:
        for path in sorted(folder.glob("*.jp*g")):
            yield f"{folder.name}/{path.stem}.png", Image.open(path).convert("RGB")


SETS = {"emoji": emoji, "thermal": thermal, "facades": facades, "photos": photos}


def written(name: str, arguments: Arguments) -> list[str]:
    """Writes a set's folders, if they aren't there, and returns the words that name them."""
    parent = arguments.out / name
    if not parent.exists():
        for place, image in SETS[name](arguments.root):
            (parent / place).parent.mkdir(parents=True, exist_ok=True)
            image.save(parent / place)
    folders = sorted(path.name for path in parent.iterdir())
    return [name] if name == "photos" else [f"{name}/{folder}" for folder in folders]


def draw(out: Path) -> None:
    """Draws images and their translations, way beside way."""
    step = TILE + GAP
    picture = Image.new("RGB", (len(WAYS) * (2 * step + APART) - APART, ROWS * step - GAP), "white")
    for number, (name, way) in enumerate(WAYS):
        sheet = Image.open(out / f"run-{name}" / "pictures" / f"translate-{way}.png").convert("RGB")
        taken = sheet.crop((GAP, TOP, GAP + 2 * step, TOP + ROWS * step))
        picture.paste(taken, (number * (2 * step + APART), 0))
    small.save(picture, PICTURE)


def main(arguments: Arguments) -> None:
    """Runs what is asked for, and prints what came out."""
    document: dict[str, Any] = read_json(RESULTS) if RESULTS.exists() else {}
    for name in arguments.only:
        words = [*written(name, arguments), "--minutes", f"{arguments.minutes:g}", "--run", f"run-{name}"]
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "unbraid", "start", *words], cwd=arguments.out, text=True, capture_output=True
        )
        (arguments.out / f"{name}.txt").write_text(done.stdout + done.stderr)
        document[name] = {
            "command": f"unbraid start {' '.join(words)}",
            "seconds": round(time.monotonic() - began),
            "status": done.returncode,
            "said": [line for line in done.stdout.splitlines() if line],
            "machine": facts(),
        }
        write_json(RESULTS, document)
    draw(arguments.out)
    rows = [[name, record["command"], record["seconds"], record["status"]] for name, record in document.items()]
    print(table(["", "command", "seconds", "status"], rows))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
