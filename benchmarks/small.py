"""Writes pictures of the documentation in few bytes, as WebP; tests/test_docs.py limits all together."""

from pathlib import Path

from PIL import Image

COLOURS = 96
"""Colours of a screenshot."""
QUALITY = 55
"""Of any other picture, as WebP counts."""


def save(picture: Image.Image, path: Path) -> None:
    """Writes a picture."""
    picture.convert("RGB").save(path, quality=QUALITY, method=6)


def save_screenshot(picture: Image.Image, path: Path) -> None:
    """Writes a picture of text and flat areas: in few colours, and without loss, which is the smaller way."""
    few = picture.convert("RGB").quantize(COLOURS, method=Image.Quantize.MEDIANCUT)
    few.convert("RGB").save(path, lossless=True, quality=100, method=6)
