"""What the page shows: sheets of pictures with words under them, curves and maps as SVG.

Sheets are Pillow pictures whose `info` holds the parameters, which end up in the PNG's text chunks. SVG takes its
colours from the page, so that it is readable in light and dark.
"""

import base64
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from unbraid.core.version import __version__
from unbraid.model.drawing import to_picture

CELL = 176
"""Pixels of a picture on a sheet, at least; larger ones keep their size up to LARGEST."""
LARGEST = 384
GAP = 8
LINE = 24
TILE = 48
"""Pixels a side of an item on a map."""
COLOURS = ("#2f6fde", "#d9662c", "#1f9d63", "#b0459e", "#8a7400", "#0f8fa8", "#c4314b", "#6d6d6d")
"""Told apart on light and on dark ground; labels beyond the eighth begin anew."""
GOOD, ALIKE = "#1f9d63", "#2f6fde"
Span = tuple[float, float]
FIGURE = re.compile(r'<figcaption>(.*?)</figcaption><svg viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>(.*?)</svg>', re.DOTALL)
"""What `curves` and `scatter` make: caption, width, height, drawing."""
TAG = re.compile("<[^>]*>")


@dataclass(frozen=True)
class Cell:
    """A picture on a sheet, (c, h, w) in [-1, 1], words under it, and the colour of a frame around it."""

    x: Tensor | None
    words: str = ""
    frame: str = ""


def sheet(rows: Sequence[Sequence[Cell]], about: Mapping[str, str]) -> Image.Image:
    """Returns rows of pictures, each with its words under it. about: goes into the PNG's metadata."""
    pictures = [[None if cell.x is None else _sized(to_picture(cell.x)) for cell in row] for row in rows]
    sizes = [picture.size for row in pictures for picture in row if picture]
    width, height = (max(size[axis] for size in sizes) for axis in (0, 1))
    font = ImageFont.load_default(17)
    lines = [LINE * any(cell.words for cell in row) for row in rows]
    canvas = Image.new(
        "RGB",
        (GAP + max(map(len, rows)) * (width + GAP), GAP + sum(height + GAP + line for line in lines)),
        "white",
    )
    draw = ImageDraw.Draw(canvas)
    top = GAP
    for row, drawn, line in zip(rows, pictures, lines, strict=True):
        for i, (cell, picture) in enumerate(zip(row, drawn, strict=True)):
            left = GAP + i * (width + GAP)
            if picture:
                corner = (left + (width - picture.width) // 2, top + (height - picture.height) // 2)
                if cell.frame:
                    box = (corner[0] - 5, corner[1] - 5, corner[0] + picture.width + 4, corner[1] + picture.height + 4)
                    draw.rectangle(box, fill=cell.frame)
                canvas.paste(picture, corner)
            words = cell.words
            while words and font.getlength(words) > width + GAP:
                words = words[:-1]
            middle = top + height / 2 if picture is None else top + height + 3 + line / 2
            draw.text((left + width / 2, middle), words, "black", font, "mm")
        top += height + GAP + line
    return described(canvas, about)


def described(picture: Image.Image, about: Mapping[str, str]) -> Image.Image:
    """Returns the picture with parameters in its metadata, and none of what it had."""
    picture.info = {"Software": f"unbraid {__version__}", **about}
    return picture


def wrapped(cells: Sequence[Cell], columns: int = 4) -> list[list[Cell]]:
    """Returns cells in rows, few enough to be readable on a phone."""
    return [list(cells[i : i + columns]) for i in range(0, len(cells), columns)]


def thumbnail(x: Tensor, size: int = 96) -> Image.Image:
    """Returns (c, h, w) as a small picture for a gallery."""
    picture = to_picture(x).convert("RGB")
    enlarge = max(1, size // max(picture.size))
    picture = picture.resize((picture.width * enlarge, picture.height * enlarge), Image.Resampling.NEAREST)
    picture.thumbnail((size, size))
    return picture


def _sized(picture: Image.Image) -> Image.Image:
    """Enlarged by a whole factor to CELL, pixels kept sharp; made smaller beyond LARGEST."""
    picture = picture.convert("RGB")
    factor = max(1, -(-CELL // max(picture.size)))
    picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    picture.thumbnail((LARGEST, LARGEST))
    return picture


def curves(title: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Returns a small chart as SVG, with its last values as text. Values that aren't finite are left out.

    lines: points (step, y) by name; more than 300 are thinned.
    """
    kept = {name: [p for p in points if np.isfinite(p).all()] for name, points in lines.items()}
    kept = {name: points[:: max(1, len(points) // 300)] + points[-1:] for name, points in kept.items() if points}
    if not kept:
        return ""
    everything = np.array([p for points in kept.values() for p in points], dtype=np.float64)
    xs, ys = _span(everything[:, 0]), _span(everything[:, 1])
    width, height = 300, 120
    parts = []
    for i, points in enumerate(kept.values()):
        at = " ".join(f"{_at(x, xs, 46, width - 6):.1f},{_at(y, ys, height - 18, 8):.1f}" for x, y in points)
        dash = "" if i == 0 else ' stroke-dasharray="3 5"'
        parts.append(
            f'<polyline points="{at}" fill="none" stroke="{COLOURS[i % 8]}" stroke-width="2"{dash} '
            'stroke-linejoin="round" stroke-linecap="round"/>'
        )
    last = ", ".join(f"{name} {points[-1][1]:.4g}".strip() for name, points in kept.items())
    legend = " ".join(
        f'<span style="color:{COLOURS[i % 8]}">{html.escape(name)} <b>{points[-1][1]:.4g}</b></span>'
        for i, (name, points) in enumerate(kept.items())
    )
    axes = (
        f'<path d="M46 8V{height - 18}H{width - 6}" fill="none" stroke="currentColor" opacity="0.4"/>'
        + _text(42, 16, _axis(ys[1]), "end")
        + _text(42, height - 18, _axis(ys[0]), "end")
        + _text(46, height - 4, f"{xs[0]:.0f}", "start")
        + _text(width - 6, height - 4, f"step {xs[1]:.0f}", "end")
    )
    return (
        f'<figure class="chart"><figcaption>{html.escape(title)} {legend}</figcaption>'
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(title)}, at the end: '
        f'{html.escape(last)}">{axes}{"".join(parts)}</svg></figure>'
    )


def download(name: str, figures: Sequence[str], about: Mapping[str, str]) -> str:
    """Returns a link that saves curves or maps, one below the other, as an SVG file.

    Args:
        name: Of the file.
        figures: Curves or maps.
        about: Parameters for its metadata.
    """
    parts, bottom, widest = [], 0.0, 0.0
    for figure in figures:
        found = FIGURE.search(figure)
        if found:
            caption, width, height, drawn = found.groups()
            widest = max(widest, float(width))
            words = TAG.sub("", caption).strip()
            parts.append(
                f'<text x="4" y="{bottom + 14:g}" font-size="11">{words}</text>'
                f'<svg y="{bottom + LINE:g}" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
                f"{drawn}</svg>"
            )
            bottom += LINE + float(height)
    about_file = html.escape(json.dumps({"Software": f"unbraid {__version__}", **about}))
    text = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {widest:g} {bottom:g}" width="{widest:g}" '
        f'height="{bottom:g}" color="black" font-family="sans-serif"><metadata>{about_file}</metadata>'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>'
    )
    url = f"data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}"
    return f'<p class="link"><a href="{url}" download="{html.escape(name)}.svg">Download as SVG</a></p>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="11" fill="currentColor">{html.escape(words)}</text>'
    )


def _axis(value: float) -> str:
    """Returns a figure in the few letters that there is room for beside an axis."""
    size, unit = next(((size, unit) for size, unit in ((1e6, "M"), (1e3, "k")) if abs(value) >= size), (1, ""))
    return f"{value / size:.3g}{unit}"


def _span(values: np.ndarray) -> Span:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _at(value: float, span: Span, first: float, last: float) -> float:
    return first + (value - span[0]) / (span[1] - span[0]) * (last - first)


@dataclass(frozen=True)
class Tiles:
    """Small pictures on one large one, to show them one by one: a data URL, columns, and the size of a tile."""

    url: str
    columns: int
    rows: int
    size: int


def tiles(images: Sequence[Tensor], columns: int = 40) -> Tiles:
    """Returns items, (c, h, w) each, in [-1, 1], as tiles, so many in a row."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    board = Image.new("RGB", (columns * TILE, rows * TILE), "white")
    for i, x in enumerate(images):
        small = to_picture(x).convert("RGB").resize((TILE, TILE))
        board.paste(small, (i % columns * TILE, i // columns * TILE))
    file = io.BytesIO()
    board.save(file, "WEBP", quality=80)
    return Tiles(f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}", columns, rows, TILE)


def scatter(title: str, at: Float[np.ndarray, "n 2"], groups: Sequence[str], words: Sequence[str]) -> str:
    """Returns a map of points as SVG, coloured by group; each point carries the number of its tile and its words.

    It can be stepped through with the arrow keys once it has the focus.

    Args:
        title: Of the map.
        at: Places.
        groups: By point.
        words: By point.
    """
    xs, ys = _span(at[:, 0]), _span(at[:, 1])
    names = sorted(set(groups), key=lambda name: (len(name), name))
    colour = {name: COLOURS[i % 8] for i, name in enumerate(names)}
    shape = {name: i // 8 % 2 for i, name in enumerate(names)}
    points = []
    for i, ((x, y), group, word) in enumerate(zip(at, groups, words, strict=True)):
        left, top = _at(x, xs, 8, 392), _at(y, ys, 292, 8)
        about = (
            f'class="point" data-tile="{i}" data-words="{html.escape(word)}" fill="{colour[group]}" fill-opacity="0.75"'
        )
        points.append(
            f'<rect x="{left - 3:.1f}" y="{top - 3:.1f}" width="6" height="6" {about}/>'
            if shape[group]
            else f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3.6" {about}/>'
        )
    legend = " ".join(
        f'<span style="color:{colour[n]}">&#{9632 if shape[n] else 9679}; {html.escape(n)}</span>' for n in names[:16]
    )
    more = f" and {len(names) - 16} more" if len(names) > 16 else ""
    return (
        f'<figure class="map"><figcaption>{html.escape(title)} {legend}{more}</figcaption>'
        f'<svg viewBox="0 0 400 300" tabindex="0" role="img" xmlns="http://www.w3.org/2000/svg" aria-label="'
        f"{html.escape(title)}: {len(at)} points in {len(names)} groups. Arrow keys step through them."
        f'"><rect x="0.5" y="0.5" width="399" height="299" fill="none" stroke="currentColor" opacity="0.3"/>'
        f"{''.join(points)}</svg></figure>"
    )
