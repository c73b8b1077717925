"""Tensors to pictures: grids with labels, strips, GIFs. Drawing never changes training: it has its own randomness."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, UInt8, UInt16
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from unbraid.core.files import write_atomically
from unbraid.core.method import AnyMethod, Latent, Translator
from unbraid.core.types import DOMAINS, Codes, other
from unbraid.data.parts import LabelledPart, Part
from unbraid.model.codes import coder, device_of, evaluating, read

Picture = UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"]
GAP = 2
SMALLEST = 64
"""Images of fewer pixels are drawn larger, by a whole factor."""
FONT = 13
"""Size of labels, unless they are too long for their column."""
GREY = "#777777"
"""Labels that can be read on light and on dark ground."""
MILLISECONDS = 80
"""How long a GIF shows each frame."""
TRANSFERRED = 5
"""Rows and columns of `transfer_grid`."""
ITEMS, SAMPLES = 6, 3
"""Items of each domain in `sample_grid`, and translations of each."""


def quantised(x: Float[Tensor, "_ h w"], deep: bool = False) -> Picture:
    """Converts an image in [-1, 1] to (h, w, 1 or 3) uint8, or uint16; of 2 channels the first shows, of more than 3
    the first three."""
    x = x[: 3 if len(x) >= 3 else 1].float().clamp(-1, 1).add(1).mul(32767.5 if deep else 127.5).round()
    return np.ascontiguousarray(x.permute(1, 2, 0).cpu().numpy().astype(np.uint16 if deep else np.uint8))


def as_picture(values: Picture) -> Image.Image:
    """Returns a picture of Pillow's, of 8 bits."""
    if values.dtype == np.uint16:
        values = ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    return Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)


def to_picture(x: Float[Tensor, "_ h w"]) -> Image.Image:
    """Converts an image in [-1, 1] to a picture of Pillow's. See `quantised`."""
    return as_picture(quantised(x))


def enlarged(picture: Image.Image) -> Image.Image:
    """Enlarges a picture by a whole factor to at least SMALLEST pixels wide and high, pixels kept sharp."""
    factor = max(1, -(-SMALLEST // min(picture.size)))
    return picture.convert("RGB").resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def grid(
    rows: Iterable[Sequence[Tensor | Image.Image | None]],
    columns: Sequence[str] = (),
    row_names: Sequence[str] = (),
    clear: bool = False,
) -> Image.Image:
    """Draws a labelled grid on white.

    Args:
        rows: of pictures, or images (c, h, w) in [-1, 1]; None leaves a place empty.
        columns: names of the columns.
        row_names: names of the rows.
        clear: on nothing, with names in grey, to be shown on any ground.
    """
    cells = [
        [None if x is None else enlarged(x if isinstance(x, Image.Image) else to_picture(x)) for x in row]
        for row in rows
    ]
    sizes = [cell.size for row in cells for cell in row if cell]
    width, height = max(s[0] for s in sizes), max(s[1] for s in sizes)
    font = ImageFont.load_default(FONT)
    left = 8 + max((int(font.getlength(name)) for name in row_names), default=-8 + GAP)
    top = 20 if any(columns) else GAP
    count = max(len(row) for row in cells)
    mode, ground, ink = ("RGBA", (255, 255, 255, 0), GREY) if clear else ("RGB", "white", "black")
    sheet = Image.new(mode, (left + count * (width + GAP), top + len(cells) * (height + GAP)), ground)
    draw = ImageDraw.Draw(sheet)
    for i, name in enumerate(columns):
        small = _fitting(name, width + GAP)
        draw.text((left + i * (width + GAP) + width / 2, top / 2), name, ink, small, "mm")
    for j, row in enumerate(cells):
        y = top + j * (height + GAP)
        if j < len(row_names):
            draw.text((4, y + height / 2), row_names[j], ink, font, "lm")
        for i, cell in enumerate(row):
            if cell:
                sheet.paste(
                    cell, (left + i * (width + GAP) + (width - cell.width) // 2, y + (height - cell.height) // 2)
                )
    return sheet


def save_picture(picture: Image.Image, path: Path, comment: str = "") -> None:
    """Saves a picture as PNG with a comment, atomically. Raises UserError if it can't. See `write_atomically`."""
    about = PngInfo()
    if comment:
        about.add_text("comment", comment)
    write_atomically(path, lambda file: picture.save(file, "PNG", pnginfo=about))


def _fitting(text: str, width: float) -> Any:
    """Returns a font small enough for the text to stand above a picture of this width."""
    fonts = (ImageFont.load_default(size) for size in range(FONT, 1, -1))
    return next((font for font in fonts if font.getlength(text) <= width), ImageFont.load_default(1))


def save_gif(frames: Sequence[Tensor], path: Path, comment: str = "") -> None:
    """Saves a GIF of frames (c, h, w) in [-1, 1] that plays forwards and backwards. See `save_picture`."""
    pictures = [enlarged(to_picture(x)) for x in frames]
    pictures += pictures[-2:0:-1]
    rest = pictures[1:]
    more: dict[str, Any] = {"duration": MILLISECONDS, "loop": 0, "comment": comment.encode()}
    write_atomically(path, lambda file: pictures[0].save(file, "GIF", save_all=True, append_images=rest, **more))


def transfer_grid(method: AnyMethod, part: LabelledPart, seed: int, found: bool = False) -> Image.Image:
    """Draws content transfer: the class of the image before a row with the content of the image over a column.

    found: whether to take the codes that training found for the part's items. See `sample_grid`.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(part))
    _, first = np.unique(part.labels[part.rows[order], 0], return_index=True)
    at = order[random.permutation(first)[: 2 * TRANSFERRED]]  # of different classes
    if len(at) < 2 * TRANSFERRED:  # few classes
        at = np.concatenate([at, order[~np.isin(order, at)]])[: 2 * TRANSFERRED]
    half = len(at) // 2
    device = device_of(method)
    x = part.x.read(part.rows[at], 0)
    with evaluating(method):
        if found:
            label = torch.from_numpy(part.label(at)).to(device)
            codes = cast(Latent, method).training_codes(label, torch.from_numpy(at).to(device))
            if codes.shared.shape[1] == 0:
                codes = Codes(coder(method).encode(x.to(device), "a").shared, codes.exclusive)
        else:
            codes = coder(method).encode(x.to(device), "a")
        rows: list[list[Tensor | None]] = [[None, *x[half:]]]
        for i in range(half):
            exclusive = codes.exclusive[i : i + 1].expand(len(at) - half, -1)
            rows.append([x[i], *coder(method).decode(Codes(codes.shared[half:], exclusive), "a")])
    return grid(rows, ["class", "content"], clear=True)


def sample_grid(method: AnyMethod, part: Part, seed: int) -> Image.Image:
    """Draws items of both domains: reconstruction, samples in the other domain, a guided translation, and the item that
    guides it, which is the true counterpart, or without pairs some item.

    A method without codes shows the item, its translation, and the true counterpart if it trains on pairs; else that
    translated back, if it goes both ways. Vectors give an empty sheet.

    Args:
        method: any.
        part: to take items from.
        seed: of the prior.
    """
    if not method.spec.of_images:
        return Image.new("RGBA", (8, 8))
    if method.as_disentangler() is None:
        return _translations(method, part)
    generator = torch.Generator().manual_seed(seed)
    device = device_of(method)
    rows: list[list[Tensor]] = []
    with evaluating(method):
        for src in DOMAINS:
            dst = other(src)
            x, y = (read(part, domain, ITEMS).to(device) for domain in (src, dst))
            least = min(len(x), len(y))  # without pairs there may be more of one
            x, y = x[:least], y[:least]
            codes, theirs = coder(method).encode(x, src), coder(method).encode(y, dst)
            own = coder(method).decode(codes, src)
            styles = [coder(method).prior(len(x), dst, generator).to(device) for _ in range(SAMPLES)]
            generated = [coder(method).decode(Codes(codes.shared, style), dst) for style in styles]
            guided = coder(method).decode(Codes(codes.shared, theirs.exclusive), dst)
            rows += [[x[i], own[i], *(m[i] for m in generated), guided[i], y[i]] for i in range(len(x))]
    guide = "true" if part.pairs() is not None else "by"
    return grid(
        rows, ["input", "reconstruction", *(f"sample {i + 1}" for i in range(SAMPLES)), "guided", guide], clear=True
    )


def _translations(method: AnyMethod, part: Part) -> Image.Image:
    device, translate = device_of(method), cast(Translator, method).translate
    paired = part.pairs() is not None and not method.needs.hides_pairs
    rows: list[list[Tensor]] = []
    with evaluating(method):
        for src in method.sources():
            dst = other(src)
            x = read(part, src, ITEMS).to(device)
            images = [x, translate(x, src, dst)]
            if paired:
                images.append(read(part, dst, ITEMS).to(device))
            elif dst in method.sources():
                images.append(translate(images[1], dst, src))
            rows += [[*row] for row in zip(*images, strict=True)]
    return grid(rows, ["input", "there", "true" if paired else "back"][: len(rows[0])], clear=True)
