"""Data sets of a program's own: torch's, Hugging Face's, or anything else with a length that gives items by number.

Each item is read once, brought to the wanted size and kept in an array on disk, in the cache folder, as long as the
program uses it. So items are the same in every pass, whatever the data set does when it is asked.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Subset

from unbraid.core.cache import cache_folder, make_private, writing_cache
from unbraid.core.console import Console, Progress
from unbraid.core.data_config import DataConfig, Kind
from unbraid.core.types import DOMAINS, DataSpec, ImageSpec, UserError
from unbraid.data.cache import Form, form
from unbraid.data.images import fit, fitted, from_picture
from unbraid.data.parts import Data
from unbraid.data.sources.arrays import from_arrays

ITEM = ("image", "img", "x")
LABEL = ("label", "labels", "y")
"""What columns are called where nothing else is said."""
KINDS: Mapping[tuple[str, ...], Kind] = {("pairs",): "pairs", ("a", "b"): "a and b", ("labelled",): "labelled"}
"""What data sets of these names are together."""
MOST_COLUMNS: Mapping[Kind, int] = {"pairs": 3, "a and b": 2, "labelled": 2}
"""How many columns can be named."""
TRIED = 16
"""Items that are read twice, to see whether a data set draws: a flip leaves each of them as it was half of the time."""
CHANNELS = (1, 2, 3, 4)
"""Counts by which the channels' place is told."""


@dataclass(frozen=True)
class Datasets:
    """Data sets as `from_datasets` takes them. sets: one or two, by what they are called in messages. parts: those of
    validation and test, "val" and "test", if they are given apart."""

    kind: Kind
    sets: Mapping[str, Any] = field(repr=False)
    columns: tuple[str, ...] = ()
    parts: Mapping[str, "Datasets"] = field(default_factory=dict, repr=False)


def from_datasets(
    pairs: Any = None,
    *,
    a: Any = None,
    b: Any = None,
    labelled: Any = None,
    columns: Sequence[str] = (),
    val: Any = None,
    test: Any = None,
) -> Datasets:
    """Data for `unbraid.train` and `unbraid.evaluate` from data sets of a program's own.

    A data set has a length and gives items by number, as torch's, Hugging Face's and plain lists do. What it gives is a
    tuple, or a dictionary. Images are Pillow's, arrays or tensors, uint8 or floats in [0, 1] or [-1, 1]; vectors are
    arrays or tensors of floats. `DataConfig` says how they are fitted and divided.

    Args:
        pairs: Gives (item of a, item of b), or a third value, the pair's class; or a dictionary with a, b and perhaps
            label.
        a: Gives items of domain a, which don't belong to those of b: items, tuples that begin with one, or dictionaries
            with image. With `DataConfig(by_class=True)` also the item's class.
        b: The same for domain b.
        labelled: Gives (item, label) or a dictionary with image and label; a label is a number, a word, or several of
            one kind.
        columns: What a dictionary's entries are called, in this order, if otherwise; of a and b apart, the item's in a
            and in b.
        val: What validation takes, in the form of the rest: a data set of pairs or labelled, or a tuple of one for a
            and one for b. None divides the rest.
        test: What `evaluate` takes, in the same form; nothing of it trains.

    Raises:
        UserError: It is not one of pairs, a with b, labelled, or can't be read by number.
    """
    given = {"pairs": pairs, "a": a, "b": b, "labelled": labelled}
    sets = {name: one for name, one in given.items() if one is not None}
    kind = KINDS.get(tuple(sets))
    if kind is None:
        found = " and ".join(sets) or "none"
        raise UserError(f"Data sets are given as pairs=, as a= and b=, or as labelled=; given: {found}")
    _check_sets(sets)
    if len(columns) > MOST_COLUMNS[kind]:
        raise UserError(
            f"columns: {', '.join(columns)} are {len(columns)}; {kind} take {MOST_COLUMNS[kind]} at most. Several "
            "labels are one column that holds them all"
        )
    apart = {name: part for name, part in (("val", val), ("test", test)) if part is not None}
    parts = {name: from_datasets(**_sets_of(kind, name, part), columns=columns) for name, part in apart.items()}
    return Datasets(kind, sets, tuple(columns), parts)


def _sets_of(kind: Kind, name: str, part: Any) -> dict[str, Any]:
    """Returns the data sets of a part that is given apart, as arguments of `from_datasets`."""
    if kind != "a and b":
        return {kind: part}
    if not (isinstance(part, tuple) and len(part) == 2):
        raise UserError(f"{name}: a tuple is needed, a data set for a and one for b; found {type(part).__name__}")
    return {"a": part[0], "b": part[1]}


def _check_sets(sets: Mapping[str, Any]) -> None:
    """Raises UserError unless each is one data set that gives items by number."""
    for name, one in sets.items():
        if isinstance(one, Mapping):
            some = ", ".join(str(key) for key in list(one)[:5])
            raise UserError(f"{name}: one data set is needed; found {type(one).__name__} of {some}: give one of these")
        if not (hasattr(one, "__len__") and hasattr(one, "__getitem__")):
            raise UserError(
                f"{name}: {type(one).__name__} has no length or gives no items by number; a data set that does is "
                "needed, such as a subclass of torch.utils.data.Dataset with __len__ and __getitem__, or a list"
            )
        if not len(one):
            raise UserError(f"{name}: the data set is empty")


def load_datasets(config: DataConfig, given: Datasets | None, like: DataSpec | None = None) -> Data:
    """Reads, fits and divides data sets from Python. The data's name holds a hash of all items. See `load_arrays`.

    Raises UserError if none were given, they are of another kind than at first, or their items don't fit.
    """
    if given is None or given.kind != config.from_python:
        call = {"pairs": "pairs=...", "a and b": "a=..., b=...", "labelled": "labelled=..."}[str(config.from_python)]
        raise UserError(
            f"These data came from a Python program, which must give them again: "
            f"data=unbraid.data.from_datasets({call}) in unbraid.train and unbraid.evaluate. "
            "The command line and the explorer can't read them"
        )
    if given.kind == "a and b":
        arrays: dict[str, np.ndarray] = {}
        for number, name in enumerate(DOMAINS):
            columns = [given.columns[number : number + 1] or ITEM, LABEL][: 1 + config.by_class]
            item, *label = _read([form(config, like, name)], name, given.sets[name], columns, len(columns))
            arrays |= {name: item} | ({f"label_{name}": label[0]} if label else {})
    elif given.kind == "pairs":
        columns = [given.columns[i : i + 1] or names for i, names in enumerate((("a",), ("b",), LABEL))]
        forms = [form(config, like, domain) for domain in DOMAINS]
        arrays = dict(zip(("a", "b", "label"), _read(forms, "pairs", given.sets["pairs"], columns, 2), strict=False))
    else:
        columns = [given.columns[i : i + 1] or names for i, names in enumerate((ITEM, LABEL))]
        x, label = _read([form(config, like, "a")], "labelled", given.sets["labelled"], columns, 2)
        arrays = {"x": x, "label": _in_words(given, label)}
    name = f"{given.kind} from Python ({_digest(arrays)[:8]})"
    return from_arrays(replace(config, unpaired=given.kind == "a and b"), name, arrays, "The data set", like)


def _read(
    forms: Sequence[Form], name: str, source: Any, columns: Sequence[Sequence[str]], needed: int
) -> list[np.ndarray]:
    """Returns the columns of a data set, each as one array; labels last, which are not fitted.

    forms: what images are brought to, for each column of them.
    columns: how each may be called. needed: how many there must be; what is beyond is read if it is there.
    """
    images = len(forms)
    first = _values(_item(source, name, 0), name, 0, columns, needed)
    kept = [_Kept(one, f"{name}, {'ab'[i]}" if images > 1 else name, len(source)) for i, one in enumerate(forms)]
    for i in range(min(TRIED, len(source))):
        twice = [_values(_item(source, name, i), name, i, columns, needed) for _ in range(2)]
        for value, other, one in zip(*twice, kept, strict=False):
            if not np.array_equal(one.array(value, i), one.array(other, i), equal_nan=True):
                raise UserError(
                    f"{one.name}: item {i} is another one each time it is read. Leave random changes out of the data "
                    "set; DataConfig(augment=...) moves images at random"
                )
    labels: list[Any] = []
    with Progress(console=Console(stderr=True), transient=True, disable=len(source) < 1000) as bar:
        for i in bar.track(range(len(source)), description=f"reading {name}"):
            values = _values(_item(source, name, i), name, i, columns, needed)
            if len(values) != len(first):
                raise UserError(f"{name}: item {i} has {len(values)} values, item 0 {len(first)}")
            for one, value in zip(kept, values, strict=False):
                one.put(i, value)
            labels += [_plain(value) for value in values[images:]]
    found = [one.stored for one in kept]
    if len(first) > images:
        found.append(_labels(labels, name))
    return found


def _item(source: Any, name: str, i: int) -> Any:
    """Returns item i of a data set. Raises UserError if it lies in a file that can't be read."""
    try:
        return source[i]
    except OSError as error:  # Pillow's too, of a damaged image
        raise UserError(f"{name}: item {i} can't be read: {error}") from error


def _values(item: Any, name: str, i: int, columns: Sequence[Sequence[str]], needed: int) -> list[Any]:
    """Returns the values of an item that are used. Raises UserError, with what was found, if some are missing."""
    if isinstance(item, Mapping):
        keys = [next((key for key in names if key in item), None) for names in columns]
        if len(columns) == 1 and keys == [None] and len(item) == 1:
            keys = list(item)
        for key, names in zip(keys[:needed], columns, strict=False):
            if key is None:
                raise UserError(
                    f"{name}: item {i} has no {' or '.join(names)}; it has: {', '.join(map(str, item))}. "
                    "Name them in order, from_datasets(..., columns=(...))"
                )
        return [item[key] for key in keys if key is not None]
    if isinstance(item, (tuple, list)) and len(item) >= needed:
        return list(item[: len(columns)])
    if needed == 1 and not isinstance(item, (tuple, list)):
        return [item]
    found = f"{type(item).__name__} of {len(item)}" if isinstance(item, (tuple, list)) else type(item).__name__
    raise UserError(f"{name}: item {i} is {found}; a tuple of {needed} values, or a dictionary, is needed")


class _Kept:
    """Items of one domain in an array, all of one shape and type."""

    def __init__(self, form: Form, name: str, count: int) -> None:
        (self.size, self.channels), self.name, self.count = form, name, count
        self.stored: np.ndarray = np.empty(0)

    def put(self, i: int, value: Any) -> None:
        """Keeps item i. UserError if it is unlike the first."""
        array = self.array(value, i)
        if i == 0:
            self.stored = _on_disk((self.count, *array.shape), array.dtype)
        if array.shape != self.stored.shape[1:]:
            advice = ": give DataConfig(size=(HEIGHT, WIDTH), channels=3)" if array.ndim == 3 else ""
            raise UserError(
                f"{self.name}: item {i} has shape {array.shape}, item 0 {self.stored.shape[1:]}; they must be alike"
                f"{advice}"
            )
        if array.dtype != self.stored.dtype:
            raise UserError(f"{self.name}: item {i} is {array.dtype}, item 0 {self.stored.dtype}; they must be alike")
        self.stored[i] = array

    def array(self, value: Any, i: int) -> np.ndarray:
        """Returns an image (h, w, c) of the wanted size, or a vector (d,)."""
        if isinstance(value, Image.Image):
            pixels = from_picture(value).numpy()
        else:
            tensor = isinstance(value, torch.Tensor)
            pixels = _plain(value)
            if pixels.dtype.kind not in "uif" or pixels.ndim not in (1, 2, 3) or not pixels.size:
                raise UserError(
                    f"{self.name}: item {i} is {type(value).__name__}, {pixels.dtype} {pixels.shape}; an image of "
                    "Pillow's, an array (h, w) or (h, w, c), a tensor (c, h, w), or a vector (d,) is needed"
                )
            if pixels.dtype.kind == "f":
                pixels = pixels.astype(np.float32)
            if pixels.ndim == 1:
                return pixels
            pixels = pixels[None] if pixels.ndim == 2 else _channels_first(pixels, tensor)
        return self._fitted(pixels, i).transpose(1, 2, 0)

    def _fitted(self, pixels: np.ndarray, i: int) -> np.ndarray:
        """(c, h, w) -> the wanted channels, height and width. Types stay."""
        channels, height, width = pixels.shape
        wanted = self.channels or channels
        if wanted != channels and {wanted, channels} != {1, 3}:
            raise UserError(f"{self.name}: item {i} has {channels} channels, which can't become {wanted}")
        spec = ImageSpec(*(self.size or (height, width)), wanted)
        if spec.shape == pixels.shape or pixels.dtype not in (np.uint8, np.uint16, np.float32):
            return pixels
        x = torch.from_numpy(np.ascontiguousarray(pixels))
        if pixels.dtype != np.float32:
            return fitted(x, spec).numpy()
        # bicubic weights are partly negative: edges overshoot the range, by which it is told what values mean
        return fit(x, spec).clamp(x.min(), x.max()).numpy()


def _channels_first(pixels: np.ndarray, first: bool) -> np.ndarray:
    """(c, h, w), of an image whose channels come first or last; `first` where both may be."""
    at_front, at_back = pixels.shape[0] in CHANNELS, pixels.shape[2] in CHANNELS
    return pixels if (first if at_front == at_back else at_front) else pixels.transpose(2, 0, 1)


def _on_disk(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Returns an array that takes no memory, and is gone with the program."""
    folder = cache_folder()
    with writing_cache(folder):
        make_private(folder)
        with tempfile.TemporaryFile(dir=folder) as file:
            return np.memmap(file, dtype, "w+", shape=shape)


def _plain(value: Any) -> np.ndarray:
    """Returns a value as an array, whatever it was."""
    if not isinstance(value, torch.Tensor):
        return np.asarray(value)
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def _labels(labels: list[np.ndarray], name: str) -> np.ndarray:
    """(n,) or (n, k). UserError if they are not alike."""
    if len({label.shape for label in labels}) > 1:
        raise UserError(f"{name}: labels have different shapes; give each item as many")
    return np.stack(labels)


def _in_words(given: Datasets, label: np.ndarray) -> np.ndarray:
    """Labels by the names of their classes, where the data set has some, as torchvision's and Hugging Face's do."""
    source, column = given.sets["labelled"], given.columns[1:2] or LABEL
    while isinstance(source, Subset):
        source = source.dataset
    features = getattr(source, "features", None)
    found = [
        getattr(features[key], "names", None) for key in column if isinstance(features, Mapping) and key in features
    ]
    names = next(iter(found), None) or getattr(source, "classes", None)
    fits = isinstance(names, Sequence) and label.ndim == 1 and label.dtype.kind in "iu" and label.min() >= 0
    if not (fits and names and label.max() < len(names) and len(set(names)) == len(names)):
        return label
    return np.array([str(names[value]) for value in label])


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        for start in range(0, len(array), 1024):
            digest.update(np.ascontiguousarray(array[start : start + 1024]).tobytes())
    return digest.hexdigest()
