"""`unbraid align`: a folder of photos of faces, prepared for training."""

from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image

from unbraid.commands.folder import Device, say_left_out
from unbraid.core.device import choose_device
from unbraid.core.types import UserError
from unbraid.data.faces import (
    Background,
    Detector,
    Face,
    Landmarks,
    aligned,
    find_detector,
    read_landmarks,
    without_background,
)
from unbraid.data.images import ImageError, decode
from unbraid.data.listing import list_images
from unbraid.model.drawing import save_picture
from unbraid.model.outputs import MARK, check_folder

LISTED = 10
"""Photos left out that are named, at most."""


def align(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")],
    out: Path,
    landmarks: Path | None = None,
    detector: str | None = None,
    size: tuple[int, int] = (64, 64),
    background: Background = "keep",
    device: Device = "auto",
) -> None:
    """Brings photos of faces to one size with eyes and mouth at the same places: a PNG file for each in OUT.

    Args:
        folder: Photos, in folders of folders if you like; names and folders stay.
        out: Another folder. What lies there stays, but for files that are made anew.
        landmarks: CSV file with the header file,left_eye_x,left_eye_y,right_eye_x,right_eye_y,mouth_x,mouth_y: the
            photo's name below FOLDER, and pixels from its upper left corner; left and right as in the image.
        detector: Finds eyes and mouths instead: mtcnn (the package facenet-pytorch), or MODULE:FUNCTION, a function
            of one's own: image (h, w, 3) uint8 to ((x, y), (x, y), (x, y)), or None if there is no face.
        size: Height and width of what is made.
        background: white or black paints over what is behind the head, where it has few colours.
    """
    if (landmarks is None) == (detector is None):
        raise UserError("Give one of --landmarks, a CSV file, and --detector, mtcnn or MODULE:FUNCTION")
    if min(size) < 1:
        raise UserError(f"--size {size[0]} {size[1]}: height and width are 1 at least")
    listing = list_images(folder)
    stems = [name.rsplit(".", 1)[0] for name in listing.names]
    if twice := sorted({stem for stem in stems if stems.count(stem) > 1}) if len(set(stems)) < len(stems) else []:
        raise UserError(f"{folder} has several photos {twice[0]} that differ in their ending: rename one")
    check_folder(out, (f"{stem}.png" for stem in stems), [folder, *(folder / name for name in listing.names)])
    known = read_landmarks(landmarks, listing) if landmarks else {}
    detect = find_detector(detector, choose_device(device)) if detector else None
    written, cluttered, left_out = 0, 0, []
    for name, stem in zip(listing.names, stems, strict=True):
        try:
            photo = colour(folder / name)
        except ImageError as error:
            left_out.append(f"{name}: {error.reason}")
            continue
        points = known.get(name) if detect is None else _landmarks(detect, photo, str(detector))
        if points is None:
            left_out.append(f"{name}: {'no face was found' if detect else 'it is in no row of ' + str(landmarks)}")
            continue
        if background != "keep":
            photo, plain = without_background(photo, background)
            cluttered += not plain
        try:
            face = aligned(photo, points, *size, background)
        except ValueError as error:
            left_out.append(f"{name}: {error}")
            continue
        save_picture(Image.fromarray(face), out / f"{stem}.png", MARK)
        written += 1
    say_left_out(left_out, LISTED)
    if cluttered:
        print(f"{cluttered} photos have no plain background and keep it")
    if not written:
        raise UserError(f"None of the {len(listing.names)} photos in {folder} could be aligned")
    print(f"Written: {written} faces of {size[0]}x{size[1]} in {out}")


def colour(path: Path) -> Face:
    """Returns (h, w, 3) uint8. Raises ImageError (a UserError) as `decode` does."""
    pixels = decode(path)
    values = pixels.numpy() if pixels.numpy().dtype == np.uint8 else (pixels.numpy() // 257).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(values, (3, *values.shape[1:])).transpose(1, 2, 0))


def _landmarks(detect: Detector, photo: Face, detector: str) -> Landmarks | None:
    """Returns what a detector gives, as landmarks. UserError if it fails, or gives something else."""
    try:
        points = detect(photo)
        if points is None:
            return None
        values = np.asarray(points, dtype=np.float64)
    except UserError:
        raise
    except Exception as error:  # whatever a function of the user's raises, or gives
        raise UserError(f"--detector {detector} fails: {type(error).__name__}: {error}") from error
    if values.shape != (3, 2):
        raise UserError(f"--detector {detector} must give three points (x, y) or None; it gave shape {values.shape}")
    return values
