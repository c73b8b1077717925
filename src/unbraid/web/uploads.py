"""Images that somebody sends: nothing of them is believed until it has been looked at.

The page hands over what a client says of its file. Only files that the server itself has received, which lie in its
upload folder, are opened, and only as images of the formats that `unbraid.data.images` reads, whatever they are called.
"""

from collections.abc import Mapping
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from unbraid.core.types import ImageSpec, UserError
from unbraid.data.fit import Fit
from unbraid.data.images import ImageError, read_header, read_image

MOST_BYTES = 20_000_000
"""Of one file."""
MOST_PIXELS = 30_000_000
"""Of one image. Reading takes `unbraid.data.images.BYTES_A_PIXEL` of memory for each, 720 MB."""


def read_upload(sent: object, spec: ImageSpec, folder: Path) -> tuple[Float[Tensor, "1 c h w"], str]:
    """Returns an uploaded image as a model sees it, in [-1, 1], and what the user should know about it, perhaps
    nothing.

    The file stays, for the browser may be about to show it; the page deletes old ones.

    Args:
        sent: What the client says, a mapping with `path`.
        spec: Of the model's images.
        folder: Where the server keeps uploads.

    Raises:
        UserError: It is no image of a known kind within the limits; no place on this machine is named.
    """
    return _read(_received(sent, folder), spec)


def readable(sent: object, folder: Path) -> bool:
    """Returns whether a model could see what was uploaded. See `read_upload`."""
    try:
        _read(_received(sent, folder), ImageSpec(1, 1))
    except UserError:
        return False
    return True


def _received(sent: object, folder: Path) -> Path:
    """Returns the file in the upload folder. Raises UserError for any other path."""
    name = sent.get("path") if isinstance(sent, Mapping) else None
    if isinstance(name, str) and name and "\0" not in name:
        # what links and dots lead to must lie in the folder itself
        path = Path(name).resolve()
        if path.is_relative_to(folder.resolve()) and path.is_file():
            return path
    raise UserError("This is no picture that was uploaded here. Upload it again")


def _read(path: Path, spec: ImageSpec) -> tuple[Tensor, str]:
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise UserError(f"The file has {size / 1e6:.0f} MB; at most {MOST_BYTES // 1_000_000} MB are taken")
    try:
        header = read_header(path)
        if header.height * header.width > MOST_PIXELS:
            raise UserError(
                f"The image has {header.width} x {header.height} pixels; at most {MOST_PIXELS // 1_000_000} "
                "megapixels are taken. Make it smaller first"
            )
        x = read_image(path, spec)[None]
    except ImageError as error:
        raise UserError(f"The image can't be read: {error.reason}") from error
    notes = []
    with path.open("rb") as file:
        animated = file.read(4) == b"GIF8"
    if animated:
        notes.append("of a GIF the first picture is taken")
    if header.height < spec.height / 2 or header.width < spec.width / 2:
        notes.append(
            f"the image has {header.width} x {header.height} pixels, fewer than the model sees "
            f"({spec.width} x {spec.height}): it was enlarged"
        )
    fit = Fit(spec)
    fit.add("it", header.height, header.width)
    if fit.cut:
        notes.append(str(fit))
    if header.channels != spec.channels:
        notes.append("grey was repeated for three colours" if header.channels == 1 else "colours became grey")
    return x, "; ".join(notes)
