"""Puts parts of four pictures of the documentation side by side, for the README.

    python benchmarks/readme_picture.py

Writes docs/pictures/readme.webp from pictures beside it, whose tiles are 64 px wide and 66 px apart.
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import small

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
STEP, HEAD, ROWS, GAP = 66, 20, 5, 28
PARTS = (
    ("iiae-faces-translate-b-to-a", "Sketch, model's photo, true photo", (0, 1, 6), (0, 1, 2, 3, 4)),
    ("uncooperative-cuhk-translate-a-to-b", "Without pairs: sketch, true one", (0, 1, 2), (0, 1, 2, 3, 4)),
    ("iiae-mnist-cdcb-analogy-a", "Row's shape, column's colour", (0, 1, 3, 4), (0, 1, 2, 3, 4)),
    ("lord-cars3d-transfer-training-classes", "A training car in a column's view", (0, 1, 2, 4), (0, 1, 2, 3, 4)),
)
"""Picture, caption, the columns and rows of tiles that are taken."""


def part(name: str, columns: tuple[int, ...], rows: tuple[int, ...]) -> Image.Image:
    """Returns some tiles of a picture."""
    picture = Image.open(PICTURES / f"{name}.webp").convert("RGB")
    made = Image.new("RGB", (STEP * len(columns), STEP * len(rows)), "white")
    for x, column in enumerate(columns):
        for y, row in enumerate(rows):
            box = (STEP * column, HEAD + STEP * row, STEP * column + STEP, HEAD + STEP * row + STEP)
            made.paste(picture.crop(box), (STEP * x, STEP * y))
    return made


def main() -> None:
    """Writes the picture."""
    parts = [(part(name, columns, rows), caption) for name, caption, columns, rows in PARTS]
    width = sum(picture.width for picture, _ in parts) + GAP * (len(parts) - 1)
    made = Image.new("RGB", (width, HEAD + STEP * ROWS), "white")
    draw, left = ImageDraw.Draw(made), 0
    for picture, caption in parts:
        draw.text((left, 2), caption, "black", font=ImageFont.load_default(13))
        made.paste(picture, (left, HEAD))
        left += picture.width + GAP
    small.save(made, PICTURES / "readme.webp")


if __name__ == "__main__":
    main()
