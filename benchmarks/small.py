"""Writes pictures of the documentation in few bytes; tests/test_docs.py limits all together."""

from pathlib import Path

from PIL import Image

COLOURS = 96
"""Colours of a screenshot."""
QUALITY = 80
"""Of any other picture, as WebP counts."""


def save(picture: Image.Image, path: Path) -> None:
    """Writes a picture, as WebP or, in few colours, as PNG."""
    picture = picture.convert("RGB")
    if path.suffix == ".png":
        picture.quantize(COLOURS, method=Image.Quantize.MEDIANCUT).save(path, optimize=True)
    else:
        picture.save(path, quality=QUALITY, method=6)
