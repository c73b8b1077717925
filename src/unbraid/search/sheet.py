"""A contact sheet: a row for each query, with what was found for it."""

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from unbraid.model.drawing import enlarged, to_picture

GAP, TEXT, FRAME = 4, 14, 3
RIGHT, WRONG = "#2a9d4a", "#d1382c"


def contact_sheet(
    queries: Sequence[Tensor | None],
    found: Sequence[Sequence[Tensor | None]],
    captions: Sequence[Sequence[str]],
    right: Sequence[Sequence[bool]] | None = None,
    names: Sequence[str] = (),
) -> Image.Image:
    """Draws the query at the left of each row, then what was found, nearest first, a caption below each.

    Args:
        queries: (c, h, w) each in [-1, 1], of any sizes; None for a file that is gone.
        found: The same for what was found.
        captions: Of what was found.
        right: Frames what is right in green and what is wrong in red.
        names: Captions of the queries.
    """
    cells = [[_square(query), *(_square(x) for x in row)] for query, row in zip(queries, found, strict=True)]
    side = max(cell.width for row in cells for cell in row) + 2 * FRAME
    width, height = side + GAP, side + TEXT + GAP
    columns = max(len(row) for row in cells)
    sheet = Image.new("RGB", (columns * width + 3 * GAP, len(cells) * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for j, row in enumerate(cells):
        for i, cell in enumerate(row):
            x, y = i * width + (2 * GAP if i else 0), j * height
            if i and right is not None:
                colour = RIGHT if right[j][i - 1] else WRONG
                draw.rectangle((x, y, x + side - 1, y + side - 1), colour)
            sheet.paste(cell, (x + (side - cell.width) // 2, y + (side - cell.height) // 2))
            text = captions[j][i - 1] if i else (names[j] if j < len(names) else "")
            while text and font.getlength(text) > side:
                text = text[:-1]
            draw.text((x + side / 2, y + side + TEXT / 2), text, "black", font, "mm")
    return sheet


def _square(x: Tensor | None) -> Image.Image:
    """On white, as wide as high."""
    picture = enlarged(to_picture(torch.ones(3, 64, 64) if x is None else x))
    side = max(picture.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square
