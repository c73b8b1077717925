"""Named functions that return a complete run, one for each experiment.

A recipe without `-paper` fits two cores; it shrinks sizes, never the algorithm. Its figures are measured by the
commands in benchmarks/ and stand in docs/benchmarks.md with command, split, seed and date.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unbraid.config import RunConfig, TrainConfig
from unbraid.data.config import DataConfig
from unbraid.methods.iiae import IIAEConfig


@dataclass(frozen=True)
class Recipe:
    """A named run: what it shows, the paper's figure for it, and ours."""

    method: str
    about: str
    make: Callable[[], RunConfig[Any]]
    paper: str = "-"
    ours: str = "not measured"


DIGITS = IIAEConfig(
    widths=(32, 64),
    decoder_widths=(128, 64),
    map_size=4,
    shared=16,
    beta=0.2,
    lam=5.0,
    likelihood=1000.0,
    anneal=1000.0,
    dropout=0.0,
    rate=1e-3,
    decay=True,
)
"""IIAE for digits at 32 px: three halvings, a 4x4 shared map."""


def demo() -> RunConfig[IIAEConfig]:
    """IIAE on the digits that ship with the package, in minutes."""
    return RunConfig(DIGITS, DataConfig(set="digits"), TrainConfig(minutes=3, batch=64, evaluate_every=500))


def iiae_mnist_cdcb() -> RunConfig[IIAEConfig]:
    """All of MNIST, coloured, at 32 px."""
    return RunConfig(DIGITS, DataConfig(set="mnist-cdcb"), TrainConfig(minutes=25, batch=64, evaluate_every=2000))


def iiae_maps() -> RunConfig[IIAEConfig]:
    """Aerial photos and maps at 64 px."""
    return RunConfig(
        method=IIAEConfig(shared=32, beta=0.02, lam=50.0, likelihood=20000.0, anneal=1000.0, rate=1e-3, decay=True),
        data=DataConfig(set="maps", size=(64, 64), augment=("turn", "shift")),
        train=TrainConfig(minutes=35, batch=32, evaluate_every=500),
    )


RECIPES: dict[str, Recipe] = {
    "demo": Recipe("iiae", "digits that ship with the package, 4 minutes", demo),
    "iiae-mnist-cdcb": Recipe("iiae", "MNIST-CDCB, 32 px", iiae_mnist_cdcb, "99.7 / 99.7"),
    "iiae-maps": Recipe("iiae", "aerial photos and maps, 64 px", iiae_maps, "96.6 / 97.3"),
}
