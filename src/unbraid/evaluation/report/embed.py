"""Pictures and curves in a form that one HTML page holds."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from unbraid.core.names import in_figure
from unbraid.core.types import DOMAINS, Domain, other
from unbraid.model.drawing import to_picture

LARGEST = 256
"""Pixels a side at most; larger pictures are made smaller."""
LOSSLESS = 48
"""Pixels a side up to which pictures are kept exactly, and drawn with sharp pixels."""
QUALITY = 88
MOST_POINTS = 200
"""Points of a curve at most."""
WIDTH, HEIGHT, LEFT, BOTTOM = 320, 130, 44, 18
"""Size of a chart, and what its axes take of it."""


@dataclass(frozen=True)
class Picture:
    """A picture in the page.

    url: the file itself. alt: what it shows. caption: what stands below it. mark: "right", "wrong" or "". sharp:
    whether its pixels are drawn as squares.
    """

    url: str
    alt: str
    caption: str = ""
    mark: str = ""
    sharp: bool = False


def picture(x: Tensor, alt: str, caption: str = "", mark: str = "") -> Picture:
    """Returns an image as a picture of the page.

    Args:
        x: (c, h, w) in [-1, 1].
        alt: What it shows, for those who can't see it.
        caption: What stands below it.
        mark: "right" or "wrong" for what was found.
    """
    drawn = to_picture(x)
    drawn.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    small, file = max(drawn.size) <= LOSSLESS, io.BytesIO()
    drawn.save(file, "WEBP", lossless=small, quality=QUALITY)
    url = f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
    return Picture(url, alt, caption, mark, small)


@dataclass(frozen=True)
class Line:
    """A curve of a chart. points: as SVG's polyline takes them. last: its last value."""

    name: str
    points: str
    last: str


@dataclass(frozen=True)
class Chart:
    """A small chart: its lines, and the ends of its axes."""

    title: str
    lines: tuple[Line, ...]
    low: str
    high: str
    first: int
    final: int


def charts(curves: Mapping[str, Sequence[tuple[float, float]]], names: Mapping[Domain, str]) -> list[Chart]:
    """Returns a chart for each name; curves that differ by their direction alone share one.

    curves: (step, value) by name. Values that aren't finite are left out, and charts of a single step.
    names: what the domains are called.
    """
    finite = {name: [point for point in points if math.isfinite(point[1])] for name, points in curves.items()}
    grouped = by_title({name: points for name, points in finite.items() if points}, names, "recall@1, %")
    drawn = [_chart(title, lines) for title, lines in grouped.items()]
    return [chart for chart in drawn if chart.first < chart.final]


def by_title(
    curves: Mapping[str, Sequence[tuple[float, float]]], names: Mapping[Domain, str], bare: str
) -> dict[str, dict[str, Sequence[tuple[float, float]]]]:
    """Returns curves by the title of their chart and the name of their line, with the domains' names: those that differ
    by their direction alone share a chart. bare: the title of those called by their direction alone. See `charts`."""
    grouped: dict[str, dict[str, Sequence[tuple[float, float]]]] = {}
    for name, points in curves.items():
        title, line = name, ""
        for source in DOMAINS:
            if name.endswith(way := f"{source}->{other(source)}"):
                title = name.removesuffix(way).strip() or bare
                line = f"{names[source]} → {names[other(source)]}"
        grouped.setdefault(in_figure(title, [names[domain] for domain in DOMAINS]), {})[line] = points
    return grouped


def _chart(title: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> Chart:
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    across, up = (right - left) or 1.0, (high - low) or 1.0

    def at(point: tuple[float, float]) -> str:
        x = LEFT + (point[0] - left) / across * (WIDTH - LEFT - 6)
        y = HEIGHT - BOTTOM - (point[1] - low) / up * (HEIGHT - BOTTOM - 8)
        return f"{x:.1f},{y:.1f}"

    drawn = []
    for name, points in lines.items():
        thinned = [*points[:: max(1, len(points) // MOST_POINTS)], points[-1]]
        drawn.append(Line(name, " ".join(map(at, thinned)), _short(points[-1][1])))
    return Chart(title, tuple(drawn), _short(low), _short(high), int(left), int(right))


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def series(rows: Sequence[Mapping[str, Any]], kind: str) -> dict[str, list[tuple[float, float]]]:
    """Returns the curves that a log holds, (step, value) by name; steps count on through a run's stages.

    Args:
        rows: As `read_log` gives them.
        kind: "validation", "losses" or "diagnostics".
    """
    ends: dict[int, int] = {}
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        ends[row["stage"]] = max(ends.get(row["stage"], 0), row["step"])
        step = row["step"] + sum(end for stage, end in ends.items() if stage < row["stage"])
        for name, value in row.get(kind, {}).items():
            curves.setdefault(name, []).append((step, value))
    return curves
