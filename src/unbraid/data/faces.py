"""Photos of faces as XGAN's authors prepared them: eyes and mouth at the same places, nothing behind the head.

Landmarks are the middles of the left eye, the right eye (as they stand in the image) and the mouth, in pixels from the
upper left corner; they come from a CSV file or from a detector.

Legend: h height, w width, of images (h, w, 3) uint8.
"""

import importlib
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from unbraid.core.functions import import_function
from unbraid.core.types import UserError
from unbraid.data.csvfile import Files, read_table
from unbraid.data.listing import Listing

Background = Literal["keep", "white", "black"]
"""keep: what is behind the head stays; white, black: it is painted over."""
Face = UInt8[np.ndarray, "h w 3"]
Landmarks = Float[np.ndarray, "3 2"]
"""x and y of left eye, right eye and mouth."""
Detector = Callable[[Face], Landmarks | None]
"""Finds the landmarks of the one face in an image, or None."""

PLACES = np.array([(0.38, 0.46), (0.62, 0.46), (0.5, 0.71)])
"""Where eyes and mouth go, in shares of width and height: the whole head fits, and a little of what is around it."""
COLUMNS = ("left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y", "mouth_x", "mouth_y")
COLOURS, COMMON = 4, 0.1
"""Colours that are looked for at an image's border, and the share of it that each must have."""
ALIKE = 0.09
"""How far a pixel's colour may be from one of them to be background: root mean square, of 1."""
PLAIN = (0.02, 0.9)
"""Shares of an image that may be background. Less or more: it has no plain background."""


def similarity(landmarks: Landmarks, height: int, width: int) -> Float[np.ndarray, "2 3"]:
    """Fits rotation, scaling and shift from places in an aligned image to the photo, by least squares: landmarks come
    from where PLACES are. See `aligned`. Raises ValueError if the landmarks are all one point.
    """
    # in the plane of complex numbers turning and scaling is multiplying
    to = landmarks[:, 0] + 1j * landmarks[:, 1]
    start = PLACES[:, 0] * width + 1j * PLACES[:, 1] * height
    if np.ptp(to.real) == np.ptp(to.imag) == 0:
        raise ValueError("eyes and mouth are at one place")
    middle, goal = start.mean(), to.mean()
    turn = np.vdot(start - middle, to - goal) / np.vdot(start - middle, start - middle).real
    shift = goal - turn * middle
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def aligned(
    photo: Face, landmarks: Landmarks, height: int, width: int, background: Background = "keep"
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Returns the photo with eyes and mouth at PLACES, (height, width, 3).

    Args:
        photo: (h, w, 3).
        landmarks: in the photo.
        height: of the result, in px.
        width: of the result, in px.
        background: colour of what lies outside the photo; keep takes that of the photo's border.

    Raises:
        ValueError: as `similarity` does.
    """
    matrix = similarity(landmarks, height, width)
    fill = np.median(_border(photo), axis=0) if background == "keep" else np.full(3, _level(background))
    # bicubic looks at 4 x 4 pixels only, so a large photo is drawn larger first and then averaged
    finer = max(1, math.ceil(math.hypot(matrix[0, 0], matrix[1, 0])))
    data = (matrix @ np.diag([1 / finer, 1 / finer, 1])).ravel().tolist()
    drawn = Image.fromarray(photo).transform(
        (width * finer, height * finer),
        Image.Transform.AFFINE,
        data,
        Image.Resampling.BICUBIC,
        fillcolor=tuple(fill.astype(int).tolist()),
    )
    return np.asarray(drawn.reduce(finer))


def without_background(photo: Face, background: Literal["white", "black"]) -> tuple[Face, bool]:
    """Paints over all that touches the border and has about one of its colours, and says whether that was a background:
    a photo without a plain one stays as it is."""
    from scipy import ndimage

    near = np.zeros(photo.shape[:2], bool)
    for colour in _border_colours(photo):
        near |= np.sqrt(np.square((photo - colour) / 255).mean(2)) < ALIKE
    regions, _ = cast(tuple[np.ndarray, int], ndimage.label(near))
    behind = near & np.isin(regions, _border(regions))
    if not PLAIN[0] < behind.mean() < PLAIN[1]:
        return photo, False
    behind = ndimage.binary_dilation(behind)  # the edge has some of its colour
    return np.where(behind[..., None], np.uint8(_level(background)), photo), True


def read_landmarks(path: Path, photos: Listing) -> dict[str, Landmarks]:
    """Reads landmarks by the photos' names from a CSV file with the header
    file,left_eye_x,left_eye_y,right_eye_x,right_eye_y,mouth_x,mouth_y, in pixels.

    Raises UserError that names the row if a column or a number is missing, or a file is not there or named twice.
    """
    wanted = f"file,{','.join(COLUMNS)}"
    table = read_table(path, "--landmarks", ("file", *COLUMNS), wanted)
    if missing := [name for name in COLUMNS if name not in table.header]:
        raise UserError(f"--landmarks {path} has no column {', '.join(missing)}; needed: {wanted}")
    files = Files([(photos.folder, photos.names)])
    found: dict[str, Landmarks] = {}
    for number, row in table.rows.items():
        cells, where = dict(zip(table.header, row, strict=True)), f"--landmarks {path}, row {number}"
        try:
            values = np.array([float(cells[name]) for name in COLUMNS]).reshape(3, 2)
        except ValueError:
            raise UserError(f"{where}: six numbers are needed beside the file") from None
        if not np.isfinite(values).all():
            raise UserError(f"{where}: numbers must be finite")
        if (named := files.find(cells["file"], where)) is None:
            raise UserError(f"{where} names {cells['file']}, and there is no such image in {photos.folder}")
        if named[1] in found:
            raise UserError(f"{where} names {cells['file']} again: take one away")
        found[named[1]] = values
    return found


def find_detector(name: str, device: torch.device) -> Detector:
    """Returns `mtcnn`, on a device, or a function given as MODULE:FUNCTION. Raises UserError if it can't be had."""
    if name == "mtcnn":
        return _mtcnn(device)
    if ":" not in name:
        raise UserError(f"--detector {name}: there is mtcnn; one's own is given as MODULE:FUNCTION")
    return import_function(name, "--detector")


def _mtcnn(device: torch.device) -> Detector:
    """Returns MTCNN (Zhang, Zhang, Li and Qiao 2016) by facenet-pytorch, whose wheel holds its weights."""
    try:
        package: Any = importlib.import_module("facenet_pytorch")
    except ImportError as error:
        raise UserError(
            "--detector mtcnn needs a package: pip install --no-deps facenet-pytorch (and requests, if it is missing)"
        ) from error
    network = package.MTCNN(select_largest=True, post_process=False, device=device)

    def detect(photo: Face) -> Landmarks | None:
        _, _, points = network.detect(Image.fromarray(photo), landmarks=True)
        if points is None:
            return None
        eye, other_eye, _, corner, other_corner = np.asarray(points[0], np.float64)
        left, right = sorted((eye, other_eye), key=lambda point: point[0])
        return np.stack([left, right, (corner + other_corner) / 2])

    return detect


def _border(image: np.ndarray) -> np.ndarray:
    """Returns the pixels at the top and sides, but for their lower quarter, where shoulders are: (n, ...)."""
    end = max(1, 3 * len(image) // 4)
    return np.concatenate([image[0], image[:end, 0], image[:end, -1]])


def _border_colours(photo: Face) -> Float[np.ndarray, "k 3"]:
    """Returns the border's colours without exceptions, such as a strand of hair; k is 1 at least."""
    from sklearn.cluster import KMeans

    pixels = _border(photo).astype(np.float64)
    found: Any = KMeans(COLOURS, n_init="auto", random_state=0)
    with warnings.catch_warnings(action="ignore"):  # of a border with fewer colours
        found.fit(pixels)
    counts = np.bincount(found.labels_, minlength=COLOURS)
    return found.cluster_centers_[counts >= COMMON * len(pixels)]


def _level(background: Literal["white", "black"]) -> int:
    return 255 if background == "white" else 0
