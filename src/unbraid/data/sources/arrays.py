"""Images or vectors that are numpy arrays already: an .npz file, or a folder of .npy files.

.npy files are memory-mapped, so they may be larger than memory; the arrays of an .npz file are read whole.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unbraid.core.data_config import DataConfig
from unbraid.core.short import Short
from unbraid.core.types import DOMAINS, DataSpec, Domain, ImageSpec, UserError, VectorSpec
from unbraid.data.cache import form
from unbraid.data.classes import class_pairs
from unbraid.data.images import fit, middle
from unbraid.data.items import Items, Rows
from unbraid.data.labelled import labelled_data
from unbraid.data.npz import read_arrays
from unbraid.data.parts import Data
from unbraid.data.splits import divide

SAMPLE = 64
"""How many items are looked at to find the range of their values."""


@dataclass(frozen=True)
class ArrayImages(Short):
    """Images (n, h, w) or (n, h, w, c), brought to [-1, 1] by values / half - shift and to the spec's size."""

    array: np.ndarray
    spec: ImageSpec
    half: float
    shift: float

    def __len__(self) -> int:
        return len(self.array)

    def read(self, rows: Rows, draw: int) -> Float[Tensor, "n c h w"]:
        """Returns (len(rows), *spec.shape) in [-1, 1]; the same for every draw."""
        height, width = middle(self.array.shape[1], self.array.shape[2], self.spec)
        values = torch.from_numpy(np.asarray(self.array[rows])[:, height, width].astype(np.float32))
        values = values[:, None] if values.ndim == 3 else values.permute(0, 3, 1, 2)
        return fit(values.contiguous().div_(self.half).sub_(self.shift), self.spec).clamp(-1, 1)


@dataclass(frozen=True)
class ArrayVectors(Short):
    """Feature vectors (n, d), as they are."""

    array: np.ndarray
    spec: VectorSpec

    def __len__(self) -> int:
        return len(self.array)

    def read(self, rows: Rows, draw: int) -> Float[Tensor, "n d"]:
        """Returns items as (len(rows), *spec.shape), the same for every draw."""
        return torch.from_numpy(np.asarray(self.array[rows]).astype(np.float32))


def load_arrays(config: DataConfig, like: DataSpec | None = None) -> Data:
    """Loads arrays a and b (and label): pairs, or unpaired with --data.unpaired. Arrays x and label (and content):
    classes or, with a label (n, k), attributes.

    like: what images of each domain are fitted to, in place of --data.size and --data.channels.
    Raises UserError that lists what is there if arrays are missing, don't fit together, or hold other values than
    images (uint8, uint16, floats in [0, 1] or [-1, 1]) or vectors (floats).
    """
    assert config.arrays is not None
    arrays = read_arrays(config.arrays, "--data.arrays")
    return from_arrays(config, config.arrays.stem, arrays, str(config.arrays), like)


def from_arrays(
    config: DataConfig, name: str, arrays: dict[str, np.ndarray], where: str, like: DataSpec | None = None
) -> Data:
    """Makes data of arrays that were read. where: their origin, for messages. See `load_arrays`."""
    if {"a", "b"} <= set(arrays):
        return _two(config, name, arrays, where, like)
    if {"x", "label"} <= set(arrays):
        x, remark = array_items(arrays["x"], "x", _fitting(config, like, "a"))
        label, names = arrays["label"], [str(i) for i in range(len(x))]
        _check_labels(label, "label", len(x), "x", dimensions=(1, 2))
        columns = {"label": label} if label.ndim == 1 else {f"label {j}": label[:, j] for j in range(label.shape[1])}
        content = _content(arrays["content"], len(x)) if "content" in arrays else None
        return labelled_data(config, name, x, names, columns, remark=remark, content=content)
    found = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays.items()) or "no arrays"
    raise UserError(f"{where} holds {found}; needed are a and b, for pairs, or x and label, for classes")


def array_items(array: np.ndarray, name: str, config: DataConfig) -> tuple[Items, str]:
    """Makes items of an array.

    Args:
        array: images (n, h, w) or (n, h, w, c), or vectors (n, d).
        name: of the array, for messages.
        config: whose size and channels count.

    Returns:
        The items, and a remark on how their values were taken.

    Raises:
        UserError: if the array holds neither images nor vectors.
    """
    what = f"The array {name}, {array.dtype} {array.shape},"
    if not array.size:
        raise UserError(f"{what} is empty")
    if array.dtype.kind == "f" and array.ndim == 2:
        if config.size or config.channels:
            raise UserError(f"{what} holds vectors; --data.size and --data.channels are for images")
        _range(array, what)
        return ArrayVectors(array, VectorSpec(array.shape[1])), ""
    if array.ndim not in (3, 4):
        raise UserError(f"{what} is neither images (n, h, w) or (n, h, w, c) nor float vectors (n, d)")
    height, width = array.shape[1:3]
    channels = array.shape[3] if array.ndim == 4 else 1
    if array.ndim == 4 and height <= 4 and channels > 8:
        raise UserError(f"{what} seems to have its channels first; images are (n, h, w, c)")
    wanted = config.channels or channels
    if wanted != channels and {wanted, channels} != {1, 3}:
        raise UserError(f"{what} has {channels} channels, which can't become --data.channels {wanted}")
    spec = ImageSpec(*(config.size or (height, width)), wanted)
    if array.dtype in (np.uint8, np.uint16):
        half = 127.5 if array.dtype == np.uint8 else 32767.5
        return ArrayImages(array, spec, half, 1.0), ""
    if array.dtype.kind != "f":
        raise UserError(f"{what} must be uint8, uint16 or floats to be images")
    low, high = _range(array, what)
    if low < -1 or high > 1:
        raise UserError(f"{what} has values from {low:.3g} to {high:.3g}; float images lie in [0, 1] or [-1, 1]")
    if low < 0:
        return ArrayImages(array, spec, 1.0, 0.0), f"{name}: values taken as lying in [-1, 1]"
    return ArrayImages(array, spec, 0.5, 1.0), f"{name}: values taken as lying in [0, 1]"


def _fitting(config: DataConfig, like: DataSpec | None, domain: Domain) -> DataConfig:
    """Returns the settings that fit images to a domain of `like`."""
    size, channels = form(config, like, domain)
    return replace(config, size=size, channels=channels)


def _two(config: DataConfig, called: str, arrays: dict[str, np.ndarray], where: str, like: DataSpec | None) -> Data:
    (a, remark_a), (b, remark_b) = (array_items(arrays[name], name, _fitting(config, like, name)) for name in DOMAINS)
    remarks = [remark for remark in (remark_a, remark_b) if remark]
    names = [[str(i) for i in range(len(side))] for side in (a, b)]
    if config.by_class:
        if missing := [name for name in ("label_a", "label_b") if name not in arrays]:
            raise UserError(f"--data.by-class: {where} has no array {' and '.join(missing)}, the items' classes")
        for side, items in (("a", a), ("b", b)):
            _check_labels(arrays[f"label_{side}"], f"label_{side}", len(items), side)
        classes = [[str(label) for label in arrays[name]] for name in ("label_a", "label_b")]
        return class_pairs(config, called, (a, b), classes, names, remark="; ".join(remarks))
    if config.unpaired:
        splits = [divide(side, config.val, config.test, config.seed) for side in names]
        if "label" in arrays:
            remarks.append("label is not used: items without pairs have none")
        return Data.of_two_domains(called, (a, b), names, splits, "; ".join(remarks))
    if len(a) != len(b):
        raise UserError(
            f"{where}: a has {len(a)} items, b {len(b)}; pairs need as many of both. "
            "Give --data.unpaired for a method that needs no pairs"
        )
    labels = _labels(arrays["label"], len(a), "a") if "label" in arrays else None
    split = divide(names[0], config.val, config.test, config.seed)
    return Data.of_pairs(called, a, b, names[0], split, "; ".join(remarks), labels=labels)


def _labels(label: np.ndarray, count: int, of: str) -> np.ndarray:
    """Returns classes, (n,) int64, numbered from 0 in the order of their values."""
    _check_labels(label, "label", count, of)
    return np.unique(label, return_inverse=True)[1].astype(np.int64)


def _content(content: np.ndarray, count: int) -> np.ndarray:
    """(n,) int64 numbers of what the items show apart from their class; -1, unknown, where the array is below 0."""
    _check_labels(content, "content", count, "x")
    numbers = np.unique(content, return_inverse=True)[1].astype(np.int64)
    if content.dtype.kind == "i":
        numbers[content < 0] = -1
    return numbers


def _check_labels(label: np.ndarray, name: str, count: int, of: str, dimensions: tuple[int, ...] = (1,)) -> None:
    if label.ndim not in dimensions or label.dtype.kind not in "biuU" or 0 in label.shape[1:]:
        shapes = " or ".join(("(n,)", "(n, k)")[: len(dimensions)])
        raise UserError(f"The array {name} is {label.dtype} {label.shape}; it must be whole numbers or words, {shapes}")
    if len(label) != count:
        raise UserError(f"The array {name} has {len(label)} entries, {of} has {count} items: they must be as many")


def _range(array: np.ndarray, what: str) -> tuple[float, float]:
    """Returns the least and the greatest value of an evenly spaced sample of the array."""
    sample = np.asarray(array[np.unique(np.linspace(0, len(array) - 1, SAMPLE).astype(np.int64))])
    if not np.isfinite(sample).all():
        raise UserError(f"{what} holds NaN or infinite values")
    return float(sample.min()), float(sample.max())
