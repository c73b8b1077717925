"""MNIST-CDCB: real digits, coloured on the fly. Domain a is a white digit on a coloured ground (CB), domain b the
same digit, coloured, on black (CD).

Gonzalez-Garcia et al. 2018 (section 4.1) made the set and published no generator. This colouring was read off 29 of
their own pairs: ground and digit colours look uniform in the RGB cube; the digit is pasted without blending (grey
levels under 100 show the ground), which leaves a dark rim; very dark digits don't occur.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from unbraid.core.data_config import DataConfig
from unbraid.core.short import Short
from unbraid.core.types import ImageSpec, UserError
from unbraid.data.items import Rows
from unbraid.data.npz import read_arrays
from unbraid.data.parts import Data
from unbraid.data.splits import Split, held_out

RIM = 100
"""Grey level (of 255) from which a pixel belongs to the pasted digit."""
DARKEST = 100
"""The brightest channel of a digit's colour is at least this (of 255)."""
REMARK = "the colouring is ours: the authors' generator was never published"


@dataclass(frozen=True)
class ColouredDigits(Short):
    """Digits (n, 28, 28) uint8, centred on 32x32 or scaled to another size, coloured by (seed, row, draw).

    part: "ground" gives white digits on coloured ground, "digit" coloured digits on black.
    Colours of the two never depend on one another. Draw 0 is what evaluation sees.
    """

    digits: np.ndarray
    part: Literal["ground", "digit"]
    spec: ImageSpec
    seed: int

    def __len__(self) -> int:
        return len(self.digits)

    def read(self, rows: Rows, draw: int) -> Tensor:
        """Returns (len(rows), 3, h, w) in [-1, 1]."""
        return self._painted(rows, rows, draw)

    def recombined(self, shared: Rows, exclusive: Rows) -> Tensor:
        """Returns the digits of `shared` in the colours of `exclusive`, (n, 3, h, w) in [-1, 1]."""
        return self._painted(shared, exclusive, 0)

    def _painted(self, rows: Rows, colours: Rows, draw: int) -> Tensor:
        grey = np.pad(self.digits[rows], ((0, 0), (2, 2), (2, 2))).astype(np.float32)
        colour = _colours(self.part, len(self.digits), self.seed, draw)[colours][:, :, None, None]
        x = grey[:, None]
        image = np.where(x >= RIM, x, colour) if self.part == "ground" else x / 255 * colour
        images = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)) / 127.5 - 1
        if images.shape[-2:] != (self.spec.height, self.spec.width):
            size = (self.spec.height, self.spec.width)
            images = torch.nn.functional.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        return images


@lru_cache(maxsize=8)
def _colours(part: str, count: int, seed: int, draw: int) -> np.ndarray:
    """Returns the colours of all digits in one pass over the data, (count, 3) float32."""
    generator = np.random.default_rng((seed, draw, 0 if part == "ground" else 1))
    colours = generator.integers(256, size=(count, 3))
    if part == "digit":
        dark = colours.max(1) < DARKEST
        while dark.any():
            colours[dark] = generator.integers(256, size=(int(dark.sum()), 3))
            dark = colours.max(1) < DARKEST
    return colours.astype(np.float32)


def _data(name: str, x: np.ndarray, y: np.ndarray, config: DataConfig, split: Split) -> Data:
    height, width = config.size or (32, 32)
    spec = ImageSpec(height, width, 3)
    a, b = ColouredDigits(x, "ground", spec, config.seed), ColouredDigits(x, "digit", spec, config.seed)
    names = [f"{i:05d}" for i in range(len(x))]
    return Data.of_pairs(name, a, b, names, split, REMARK, labels=y.astype(np.int64))


def load_digits(config: DataConfig) -> Data:
    """Loads the 5,000 digits of the package: 3,600 train, 400 validation, 1,000 test, divided by the seed."""
    with as_file(files("unbraid.data.sources") / "digits.npz") as path, np.load(path, allow_pickle=False) as arrays:
        x, y = arrays["x"], arrays["y"]
    rest, test = held_out(np.arange(len(x)), 1000, config.seed)
    train, val = held_out(rest, round(config.val * len(rest)), config.seed + 1)
    return _data("digits", x, y, config, Split(train, val, test))


def load_mnist(config: DataConfig) -> Data:
    """Loads all of MNIST: 50,000 train (the first of its training half, as many as the papers use), 10,000 test.

    Validation is 2,000 of the 10,000 training digits that remain.
    """
    path = Path(config.root or ".") / "mnist" / "mnist.npz"
    if config.root is None or not path.is_file():
        raise UserError(f"The set mnist-cdcb needs --data.root, a folder with mnist/mnist.npz; {path} was not found")
    arrays = read_arrays(path, needed=("x_train", "x_test", "y_train", "y_test"))
    for part, count in {"train": 60_000, "test": 10_000}.items():
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if x.dtype != np.uint8 or x.shape != (count, 28, 28) or y.dtype.kind not in "iu" or y.shape != (count,):
            raise UserError(
                f"{path}: x_{part} is {x.dtype} {x.shape} and y_{part} {y.dtype} {y.shape}; needed are "
                f"uint8 ({count}, 28, 28) and whole numbers ({count},)"
            )
    x, y = (np.concatenate([arrays[f"{name}_{part}"] for part in ("train", "test")]) for name in "xy")
    val, _ = held_out(np.arange(50_000, 60_000), 8_000, config.seed)
    return _data("mnist-cdcb", x, y, config, Split(np.arange(50_000), val, np.arange(60_000, 70_000)))
