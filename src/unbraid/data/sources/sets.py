"""Known data sets under `--data.root`, each in the layout described at its loader.

None of them ships with the package. Each loader sets `Data.remark`, which belongs beside every result.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unbraid.core.data_config import DataConfig
from unbraid.core.files import read_json
from unbraid.core.types import UserError
from unbraid.data.cache import CachedImages, cached
from unbraid.data.faces import without_background
from unbraid.data.items import Chosen, Items, Views
from unbraid.data.labelled import labelled_data, unseen_classes
from unbraid.data.listing import list_images
from unbraid.data.npz import read_arrays
from unbraid.data.parts import Data
from unbraid.data.sources.arrays import array_items
from unbraid.data.sources.folders import pair_by_class
from unbraid.data.splits import Split, divide, held_out, linked

AZIMUTHS, ELEVATIONS = 24, 4
"""Columns and rows of a Cars3D sheet: azimuths and elevations; column 0 is the frontal view."""
ELEVATION_STEP, AZIMUTH_STEP = 6.0, 15.0
"""Degrees."""
ENDS, SIDES = (0, 12), (6, 18)
"""Columns of a sheet: a car's front and rear, and its two profiles."""
TEST_CARS, VAL_CARS = 7, 10
TEST_CARS3D = 20
EMOJI_STYLES = {
    "google": "google.webp",
    "twitter": "twitter.webp",
    "openmoji": "openmoji_color.webp",
    "openmoji-black": "openmoji_black.webp",
}
EMOJI_GRID = (57, 64)
CARTOONS = "drawn from parts, seeds a0..a2999"
"""What to say with avataaars."""
TONES = ("1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF")
"""Code points of the five skin tones."""
_SAME = {*TONES, "FE0F"}
"""Code points that don't make another emoji: skin tones, and the wish for a coloured picture."""


@dataclass(frozen=True)
class Emoji:
    """An entry of emoji/labels.json."""

    name: str
    unified: str
    category: str


def load_maps(config: DataConfig) -> Data:
    """Loads maps/train and maps/val: aerial photo (a) beside map (b). Test is val; validation is held out of train."""
    folder = _folder(config, "maps", "train and val, folders of images with an aerial photo beside its map")
    names = list_images(folder).names
    images = cached(folder, names, config.size, config.channels, (1, 2), config.strict)
    kept = images.readable
    test = np.array([names[i].startswith("val/") for i in kept])
    a, b = Chosen(images, 2 * kept), Chosen(images, 2 * kept + 1)
    split = _with_test(test, config)
    return Data.of_pairs("maps", a, b, [names[i] for i in kept], split, "lossy WebP, 256 px", images.skipped)


def load_facades(config: DataConfig) -> Data:
    """Loads facades/train and facades/test_dev: photo x.jpg (a) and label image x.png (b). Test is test_dev."""
    folder = _folder(config, "facades", "train and test_dev, folders with a photo x.jpg and a label image x.png each")
    names = list_images(folder).names
    labelled = {name[:-4] for name in names if name.endswith(".png")}
    keys = [name[:-4] for name in names if name.endswith(".jpg") and name[:-4] in labelled]
    if not keys:
        raise UserError(f"{folder} holds no photo x.jpg with a label image x.png of the same name")
    photos = cached(folder, [f"{key}.jpg" for key in keys], config.size, config.channels, strict=config.strict)
    labels = cached(folder, [f"{key}.png" for key in keys], config.size, config.channels, strict=config.strict)
    kept = np.intersect1d(photos.readable, labels.readable)
    split = _with_test(np.array([keys[i].startswith("test_dev/") for i in kept]), config)
    remark = "a stand-in: not CMP's official 400/100/106 split, 5 labels instead of 12"
    skipped = photos.skipped + labels.skipped
    return Data.of_pairs(
        "facades", Chosen(photos, kept), Chosen(labels, kept), [keys[i] for i in kept], split, remark, skipped
    )


def load_cars(config: DataConfig) -> Data:
    """Loads Cars3D as IIAE pairs it: frontal view (a) with the 23 others of its elevation (b), 92 pairs a car.

    Test is 7 cars, validation 10, drawn by the seed. Labels number the cars.
    """
    images, cars = car_sheets(config)
    elevations, azimuths = np.arange(ELEVATIONS), np.arange(1, AZIMUTHS)
    car, elevation, azimuth = (grid.ravel() for grid in np.meshgrid(cars, elevations, azimuths, indexing="ij"))
    frontal = (car * ELEVATIONS + elevation) * AZIMUTHS
    names = [view_name(*view) for view in zip(car.tolist(), elevation.tolist(), azimuth.tolist(), strict=True)]
    split = divide_cars(car, cars, config)
    return Data.of_pairs(
        "cars",
        Chosen(images, frontal),
        Views(images, frontal + azimuth, AZIMUTHS),
        names,
        split,
        "64 px",
        images.skipped,
        labels=car,
    )


def load_car_sides(config: DataConfig) -> Data:
    """Loads Cars3D as CdDN pairs it: front or rear view (a) with either profile (b), 16 pairs a car, at one elevation.

    The same cars are held out as in `cars`. Labels number the cars.
    """
    images, cars = car_sheets(config)
    grids = np.meshgrid(cars, np.arange(ELEVATIONS), ENDS, SIDES, indexing="ij")
    car, elevation, end, side = (grid.ravel() for grid in grids)
    first = (car * ELEVATIONS + elevation) * AZIMUTHS
    views = zip(car.tolist(), elevation.tolist(), end.tolist(), side.tolist(), strict=True)
    names = [f"{view_name(*view)} with {side * AZIMUTH_STEP:g}" for *view, side in views]
    return Data.of_pairs(
        "car-sides",
        Views(images, first + end, AZIMUTHS),
        Views(images, first + side, AZIMUTHS),
        names,
        divide_cars(car, cars, config),
        "64 px",
        images.skipped,
        labels=car,
    )


def load_cars3d(config: DataConfig) -> Data:
    """Loads every view of Cars3D, 96 of each car, labelled by car. Test is 20 cars that training never sees, drawn by
    the seed, unless --data.split is image.

    Content is the view, 24 * elevation + azimuth in steps; the factors are both angles in degrees.
    """
    images, cars = car_sheets(config)
    _enough(config, len(cars), TEST_CARS3D + 2, "cars")
    views = ELEVATIONS * AZIMUTHS
    car, view = np.repeat(cars, views), np.tile(np.arange(views), len(cars))
    elevation, azimuth = view // AZIMUTHS, view % AZIMUTHS
    names = [view_name(*one) for one in zip(car.tolist(), elevation.tolist(), azimuth.tolist(), strict=True)]
    own = None
    if config.split != "image":
        _, test = held_out(cars, TEST_CARS3D, config.seed)
        own = unseen_classes(config, "cars3d", car[:, None], names, np.isin(car, test))
    return labelled_data(
        config,
        "cars3d",
        Chosen(images, car * views + view),
        names,
        {"car": car},
        own,
        "64 px",
        images.skipped,
        view,
        # an angle has no beginning: what can be regressed on is where it points
        {
            "elevation": elevation * ELEVATION_STEP,
            "azimuth cosine": np.cos(np.radians(azimuth * AZIMUTH_STEP)),
            "azimuth sine": np.sin(np.radians(azimuth * AZIMUTH_STEP)),
        },
    )


def load_sketchy(config: DataConfig) -> Data:
    """Loads sketchy/photo and sketchy/sketch, a folder for each class: sketch x-3.png (b) and its photo x.jpg (a).

    Zero-shot: test is 25 classes (of 125: a fifth) that training never sees, validation a share of the others. With
    --data.by-class every photo and every sketch is there, and pairs are drawn within a class.
    """
    folder = _folder(config, "sketchy", "photo and sketch, folders with one folder of images for each class")
    photos, sketches = list_images(folder / "photo"), list_images(folder / "sketch")
    remark = "a 25-a-class subset, not Sketchy Extended: mAP is not comparable with the paper's table"
    if config.by_class:
        return pair_by_class(config, "sketchy", photos, sketches, 0.2, remark)
    photo_at = {name.rsplit(".", 1)[0]: i for i, name in enumerate(photos.names)}
    own = np.array([photo_at.get(name.rsplit("-", 1)[0], -1) for name in sketches.names], dtype=np.int64)
    a, b = (
        cached(some.folder, some.names, config.size, config.channels, strict=config.strict)
        for some in (photos, sketches)
    )
    kept = np.flatnonzero(np.isin(own, a.readable) & np.isin(np.arange(len(own)), b.readable))
    names = [sketches.names[i] for i in kept]
    classes, labels = np.unique([name.split("/")[0] for name in names], return_inverse=True)
    _enough(config, len(classes), 3, "classes with pairs")
    rest, test = held_out(np.arange(len(classes)), max(1, len(classes) // 5), config.seed)
    train, val = held_out(rest, max(1, round(config.val * len(rest))), config.seed + 1)
    split = Split(*(np.flatnonzero(np.isin(labels, part)) for part in (train, val, test)))
    return Data.of_pairs(
        "sketchy", Chosen(a, own[kept]), Chosen(b, kept), names, split, remark, a.skipped + b.skipped, labels
    )


def load_cuhk(config: DataConfig) -> Data:
    """Loads cuhk/cuhk_student_128x160.npz: arrays photo (a), sketch (b) and test, 1 for the 100 test people."""
    arrays = _photos(config)
    a, _ = array_items(arrays["photo"], "photo", config)
    b, _ = array_items(arrays["sketch"], "sketch", config)
    names = [f"person {i}" for i in range(len(a))]
    return Data.of_pairs("cuhk", a, b, names, _with_test(arrays["test"] == 1, config), "188 people")


def load_emoji(config: DataConfig) -> Data:
    """Loads emoji/, a sheet of 64 x 64 px tiles for each style; a and b are --data.styles. Labels: the category.
    Attributes: it, and the skin tone, 0 for none, 1 to 5 from light to dark, -1 for people of several.

    Divided by base emoji, so that variants in skin tone stay together.
    """
    folder = _folder(config, "emoji", "labels.json and a sheet for each style, such as google.webp")
    for style in config.styles:
        if style not in EMOJI_STYLES:
            raise UserError(f"--data.styles: there is no {style}; choose two of {', '.join(EMOJI_STYLES)}")
    about: list[Emoji] = _json(folder / "labels.json", list[Emoji])
    sheets = [EMOJI_STYLES[style] for style in config.styles]
    a, b = (cached(folder, [sheet], config.size, config.channels, EMOJI_GRID, config.strict) for sheet in sheets)
    _enough(config, min(len(a), len(b)), len(about), "tiles for its labels.json")
    bases = ["-".join(code for code in emoji.unified.split("-") if code not in _SAME) for emoji in about]
    keys = linked(bases, [emoji.name for emoji in about])
    split = divide(keys, config.val, config.test, config.seed)
    _, labels = np.unique([emoji.category for emoji in about], return_inverse=True)
    rows = np.arange(len(about))
    names = [f"{emoji.name} {emoji.unified}" for emoji in about]
    remark = "split by base emoji, so that no skin-tone variant of a training emoji is in the test half"
    tones = np.array([skin_tone(emoji.unified) for emoji in about])
    attributes = {"category": labels, "skin tone": tones}
    return Data.of_pairs(
        "emoji", Chosen(a, rows), Chosen(b, rows), names, split, remark, labels=labels, attributes=attributes
    )


def load_avataaars(config: DataConfig) -> Data:
    """Loads avataaars/: avataaars_64.npz and labels.json, labelled by --data.labels, default what is on the head."""
    x, faces = _cartoons(config)
    labels = config.labels or ("top",)
    if unknown := [label for label in labels if label not in faces[0]]:
        raise UserError(f"--data.labels: avataaars has no {', '.join(unknown)}; there are {', '.join(faces[0])}")
    columns = {label: np.array([str(face[label]) for face in faces]) for label in labels}
    names = [f"a{i}" for i in range(len(x))]
    return labelled_data(config, "avataaars", x, names, columns, remark=CARTOONS)


def load_cuhk_avataaars(config: DataConfig) -> Data:
    """Loads photos of cuhk/, their background painted white (a), and the cartoons of avataaars/ (b), no pairs.

    Photos are divided as in `cuhk`, cartoons by shares. Attributes of cartoons: their labels.
    """
    arrays = _photos(config)
    photos = np.stack([without_background(photo, "white")[0] for photo in arrays["photo"]])
    a, _ = array_items(photos, "photo", config)
    b, faces = _cartoons(config)
    of_a = _with_test(arrays["test"] == 1, config)
    names_a, names_b = [f"person {i}" for i in range(len(a))], [f"a{i}" for i in range(len(b))]
    of_b = divide(names_b, config.val, config.test, config.seed)
    labels = {
        name: np.unique([str(face[name]) for face in faces], return_inverse=True)[1].astype(np.int64)
        for name in faces[0]
    }
    remark, names = f"188 people; {CARTOONS}", (names_a, names_b)
    return Data.of_two_domains("cuhk-avataaars", (a, b), names, (of_a, of_b), remark, attributes=({}, labels))


def skin_tone(unified: str) -> int:
    """Returns the tone in an emoji's code points: 0 for none, 1 to 5 from light to dark, -1 for several."""
    tones = {code for code in unified.split("-") if code in TONES}
    return -1 if len(tones) > 1 else 1 + TONES.index(tones.pop()) if tones else 0


def car_sheets(config: DataConfig) -> tuple[CachedImages, np.ndarray]:
    """Returns all tiles, and the cars that could be read."""
    folder = _folder(config, "cars3d", f"an image for each car, a sheet of {ELEVATIONS} x {AZIMUTHS} views")
    names = list_images(folder).names
    images = cached(folder, names, config.size, config.channels, (ELEVATIONS, AZIMUTHS), config.strict)
    return images, images.readable


def divide_cars(car: np.ndarray, cars: np.ndarray, config: DataConfig, least: int = 1) -> Split:
    """Divides rows by cars, some of which are held out for test and validation. See `load_cars`.

    car: (n,), the car of each row. least: cars that training needs; raises UserError if there are fewer.
    """
    _enough(config, len(cars), TEST_CARS + VAL_CARS + least, "cars")
    rest, test = held_out(cars, TEST_CARS, config.seed)
    train, val = held_out(rest, VAL_CARS, config.seed + 1)
    return Split(*(np.flatnonzero(np.isin(car, part)) for part in (train, val, test)))


def view_name(car: int, elevation: int, azimuth: int) -> str:
    """Returns the name of a tile, by the numbers of car, elevation and azimuth. See `load_cars`."""
    return f"car {car}, elevation {elevation * ELEVATION_STEP:g}, azimuth {azimuth * AZIMUTH_STEP:g}"


def _cartoons(config: DataConfig) -> tuple[Items, list[dict[str, Any]]]:
    """Returns the faces of avataaars/, and the labels of each."""
    folder = _folder(config, "avataaars", "avataaars_64.npz and labels.json")
    x, _ = array_items(read_arrays(folder / "avataaars_64.npz", needed=("x",))["x"], "x", config)
    faces: list[dict[str, str | int | float | bool | None]] = _json(
        folder / "labels.json", list[dict[str, str | int | float | bool | None]]
    )
    if len(faces) != len(x):
        raise UserError(
            f"{folder}: labels.json has {len(faces)} faces, avataaars_64.npz {len(x)}; they must be as many"
        )
    if odd := next((number for number, face in enumerate(faces) if face.keys() != faces[0].keys()), None):
        raise UserError(f"{folder / 'labels.json'}: face {odd} has other labels than the first")
    return x, faces


def _folder(config: DataConfig, name: str, expected: str) -> Path:
    """Returns the set's folder under the root."""
    if config.root is None:
        raise UserError(f"The set {config.set} needs --data.root, a folder that holds {name}/ with {expected}")
    folder = config.root / name
    if not folder.is_dir():
        raise UserError(f"--data.root {config.root} holds no folder {name}/; expected there: {expected}")
    return folder


def _photos(config: DataConfig) -> dict[str, np.ndarray]:
    """Returns the arrays photo, sketch and test of cuhk/."""
    path = _folder(config, "cuhk", "cuhk_student_128x160.npz") / "cuhk_student_128x160.npz"
    arrays = read_arrays(path, needed=("photo", "sketch", "test"))
    photo, sketch, test = (arrays[name] for name in ("photo", "sketch", "test"))
    if photo.dtype != np.uint8 or photo.ndim != 4 or photo.shape[3] != 3:
        raise UserError(f"{path}: photo is {photo.dtype} {photo.shape}; it must be uint8 (n, h, w, 3)")
    if sketch.ndim < 3 or len(sketch) != len(photo) or test.shape != (len(photo),):
        raise UserError(
            f"{path}: photo has {len(photo)} items, sketch is {sketch.shape}, test {test.shape}: they must be as many"
        )
    return arrays


def _json(path: Path, kind: Any) -> Any:
    """Reads a JSON file of a set, checked against a type. Raises UserError if it is missing or another."""
    if not path.is_file():
        raise UserError(f"{path} is missing: it says what the images show")
    return read_json(path, kind)


def _enough(config: DataConfig, count: int, least: int, what: str) -> None:
    if count < least:
        raise UserError(
            f"The set {config.set} under --data.root {config.root} has {count} {what}; {least} are the least"
        )


def _with_test(test: np.ndarray, config: DataConfig) -> Split:
    """Divides rows of a set that has a test part of its own. test: (n,) bool."""
    rows = np.flatnonzero(~test)
    _enough(config, len(rows), 2, "items outside its test part")
    _enough(config, int(test.sum()), 1, "items in its test part")
    train, val = held_out(rows, max(1, round(config.val * len(rows))), config.seed)
    return Split(train, val, np.flatnonzero(test))
