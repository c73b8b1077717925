"""What to expect after so many minutes of training: a picture and a table for docs/training.md.

    python benchmarks/expect.py RUN [RUN ...]

Takes runs of recipes, in which training has drawn samples of the validation part. For each a row: an image, its
translation after a quarter, half, three quarters and all of the drawn steps, and its true counterpart, if a method has
one; for LORD an image's class with another's content. Minutes are steps times the seconds of a step on two cores that
`unbraid recipes` counts with. Writes docs/pictures/expect.webp, and prints the table.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from PIL import Image, ImageDraw, ImageFont

import small
from machine import table
from unbraid.core.files import read_json

ROOT = Path(__file__).parent.parent
SECONDS = ROOT / "src" / "unbraid" / "recipes" / "seconds.json"
CELL, GAP, TOP, LEFT = 64, 2, 20, 150
"""Pixels of an image in a sheet of samples, between images, of the labels above, and of names here."""
MOMENTS = 4
TRANSFER, BACK, PLAIN = "transfer", "back", "plain"
"""Kinds of sheets other than `sample_grid`'s, by method."""
KINDS = {"lord": TRANSFER, "cyclegan": BACK, "cut": BACK, "dtn": BACK, "pix2pix": PLAIN}
PLACES = {
    "": ((0, 0), (2, 0), (6, 0)),
    TRANSFER: ((0, 2), (3, 2), None),
    BACK: ((0, 0), (1, 0), None),
    PLAIN: ((0, 0), (1, 0), (2, 0)),
}
"""Column and row of an image, of its translation, and of its true counterpart."""


@dataclass(frozen=True)
class Arguments:
    """See above."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    row: int = 0
    """Which image, from the first that the sheets show."""


def cell(sheet: Image.Image, place: tuple[int, int] | None) -> Image.Image | None:
    """Returns the image at this column and row of a sheet."""
    if place is None:
        return None
    left, top = GAP + place[0] * (CELL + GAP), TOP + place[1] * (CELL + GAP)
    return sheet.crop((left, top, left + CELL, top + CELL))


def moments(run: Path) -> list[Path]:
    """Returns the sheets of the last stage after equal parts of its steps."""
    sheets = sorted((run / "samples").glob("*.png"))
    sheets = [sheet for sheet in sheets if sheet.name[0] == sheets[-1].name[0]]
    return [sheets[round((i + 1) * len(sheets) / MOMENTS) - 1] for i in range(MOMENTS)]


def main(arguments: Arguments) -> None:
    """Draws, writes and prints."""
    seconds = read_json(SECONDS)["cpu"]["seconds"]
    height, width = TOP + len(arguments.runs) * (CELL + GAP), LEFT + (MOMENTS + 2) * (CELL + GAP)
    picture = Image.new("RGB", (width, height), "white")
    draw, font, rows = ImageDraw.Draw(picture), ImageFont.load_default(12), []
    for i, name in enumerate(("input", "1/4", "1/2", "3/4", "all", "true")):
        draw.text((LEFT + i * (CELL + GAP) + CELL / 2, TOP / 2), name, "black", font, "mm")
    for j, run in enumerate(arguments.runs):
        config = read_json(run / "config.json")
        recipe, kind = config.get("recipe") or run.name, KINDS.get(config["config"]["method_name"], "")
        sheets = moments(run)
        places = [p and (p[0], p[1] + arguments.row) for p in PLACES[kind]]
        opened = [Image.open(sheet).convert("RGB") for sheet in sheets]
        cells = [
            cell(opened[-1], places[0]),
            *(cell(sheet, places[1]) for sheet in opened),
            cell(opened[-1], places[2]),
        ]
        y = TOP + j * (CELL + GAP)
        draw.text((4, y + CELL / 2), recipe, "black", font, "lm")
        for i, one in enumerate(cells):
            if one:
                picture.paste(one, (LEFT + i * (CELL + GAP), y))
        steps = [int(sheet.stem.split("-")[1]) for sheet in sheets]
        minutes = [f"{step * seconds[recipe] / 60:.0f}" for step in steps]
        rows.append([f"`{recipe}`", f"{steps[-1]:,}", ", ".join(minutes)])
    small.save(picture, ROOT / "docs" / "pictures" / "expect.webp")
    print(table(["recipe", "steps", "minutes"], rows))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
