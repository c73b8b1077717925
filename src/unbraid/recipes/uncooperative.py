"""Recipes of uncooperative re-entanglement and its cooperative baseline."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from unbraid.core.config import TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.core.recipe import Recipe
from unbraid.core.types import DataSpec, ImageSpec
from unbraid.methods.uncooperative import SMALL_IMAGES, UncooperativeConfig
from unbraid.nn.patch import r1_weight, small_settings

PX_32, PX_64 = (DataSpec(ImageSpec(size, size), ImageSpec(size, size)) for size in (32, 64))
SMALL = replace(SMALL_IMAGES, informative="a", **small_settings(PX_64))
"""Fewer channels than the paper's 64, every layer in place; settings from trials at 32 px."""
LEAST_SQUARES_32, LEAST_SQUARES_64 = (
    {**small_settings(spec), "gan_loss": "least-squares", "r1": 10 * r1_weight(spec)} for spec in (PX_32, PX_64)
)
"""The paper's loss, with which relit cars and faces were measured: their domains are near."""
TRAIN = TrainConfig(steps=6500, batch=4, average=0.999, evaluate_every=1000)
PAPER = TrainConfig(steps=300_000, batch=4, average=0.999, evaluate_every=10_000)
"""The paper's training: section 4 says that it takes up to so many steps. The running average of weights that is kept
is ours; training doesn't see it."""
RELIT = DataConfig(set="relit", size=(64, 64))
"""The renders have 64 px and keep them in the paper's setting too: enlarged they would show no more, and convolutions
take any size."""
RELIT_32 = DataConfig(set="relit", size=(32, 32))
TRAIN_32 = TrainConfig(steps=4000, batch=8, average=0.999, evaluate_every=1000)
"""35 minutes for CycleGAN and 42 for uncooperative re-entanglement, each on one core of a busy machine."""
FACADES = DataConfig(set="facades", size=(64, 64), augment=("flip", "shift"))

UNCOOPERATIVE_SYNTHETIC = Recipe(
    UncooperativeConfig(informative="a"),
    DataConfig(set="synthetic"),
    TrainConfig(steps=60_000, batch=128, evaluate_every=2000, precision="fp32"),
    name="uncooperative-synthetic",
    about="two known factors, vectors",
    shows="correlation",
)
"""Two independent normal factors: networks, batch and length are the paper's."""
COOPERATIVE_SYNTHETIC = replace(
    UNCOOPERATIVE_SYNTHETIC,
    method=UncooperativeConfig(informative="a", cooperative=True),
    name="cooperative-synthetic",
    about="two known factors, both networks learn in both cycles",
)
UNCOOPERATIVE_SYNTHETIC_IDENTIFIABLE = Recipe(
    UncooperativeConfig(
        informative="a",
        linear=True,
        discriminator_norm="none",
        cycle_informative=0.1,
        cycle_plain=0.1,
        cycle_residual=0.1,
        r1=0.3,
        rate=3e-3,
        discriminator_rate=1e-2,
    ),
    DataConfig(set="synthetic-identifiable"),
    TrainConfig(steps=30_000, batch=128, evaluate_every=1500, precision="fp32"),
    name="uncooperative-synthetic-identifiable",
    about="uniform and two-mode factor, linear networks",
    shows="correlation",
)
"""A uniform and a two-mode factor, and linear networks, for which only the true split has the right distributions.

Weights and rates are those that found it with the most seeds in trials, for both rules: reconstruction weighs little,
since its absolute differences hold networks that agree where they are, and discriminators are held flat at real items
(R1), so that the game comes to rest."""
COOPERATIVE_SYNTHETIC_IDENTIFIABLE = replace(
    UNCOOPERATIVE_SYNTHETIC_IDENTIFIABLE,
    method=replace(UNCOOPERATIVE_SYNTHETIC_IDENTIFIABLE.method, cooperative=True),
    name="cooperative-synthetic-identifiable",
    about="uniform and two-mode factor, both networks learn in both cycles",
)
UNCOOPERATIVE_CUHK = Recipe(
    replace(SMALL, **LEAST_SQUARES_64),
    DataConfig(set="cuhk", size=(64, 64), augment=("flip", "shift")),
    replace(TRAIN, steps=5000),
    name="uncooperative-cuhk",
    about="photos and sketches of faces, 64 px",
    shows="hidden pair",
)
UNCOOPERATIVE_RELIT = Recipe(
    replace(SMALL, **LEAST_SQUARES_64),
    RELIT,
    TRAIN,
    name="uncooperative-relit",
    about="relit and plain cars, 64 px",
    shows="hidden pair",
)
COOPERATIVE_RELIT = replace(
    UNCOOPERATIVE_RELIT,
    method=replace(UNCOOPERATIVE_RELIT.method, cooperative=True),
    name="cooperative-relit",
    about="relit and plain cars, both networks learn in both cycles",
)
UNCOOPERATIVE_RELIT_32 = replace(
    UNCOOPERATIVE_RELIT,
    method=replace(SMALL, **LEAST_SQUARES_32),
    data=RELIT_32,
    train=TRAIN_32,
    name="uncooperative-relit-32",
    about="relit and plain cars, 32 px",
)
COOPERATIVE_RELIT_32 = replace(
    UNCOOPERATIVE_RELIT_32,
    method=replace(UNCOOPERATIVE_RELIT_32.method, cooperative=True),
    name="cooperative-relit-32",
    about="relit cars, 32 px, both networks learn in both cycles",
)
UNCOOPERATIVE_MAPS = Recipe(
    SMALL,
    DataConfig(set="maps", size=(64, 64), augment=("turn", "shift")),
    TRAIN,
    name="uncooperative-maps",
    about="aerial photos and maps, 64 px",
    shows="hidden pair",
)
UNCOOPERATIVE_FACADES = replace(
    UNCOOPERATIVE_MAPS,
    data=FACADES,
    name="uncooperative-facades",
    about="facades and labels without pairs, 64 px",
)
COOPERATIVE_CUHK, COOPERATIVE_MAPS, COOPERATIVE_FACADES = (
    replace(
        recipe,
        method=replace(recipe.method, cooperative=True),
        name=f"co{recipe.name.removeprefix('unco')}",
        about=f"{recipe.about.removesuffix(', 64 px')}, both networks learn in both cycles",
    )
    for recipe in (UNCOOPERATIVE_CUHK, UNCOOPERATIVE_MAPS, UNCOOPERATIVE_FACADES)
)
UNCOOPERATIVE_CUHK_PAPER = Recipe(
    UncooperativeConfig(),
    DataConfig(set="cuhk", size=(256, 256)),
    PAPER,
    name="uncooperative-cuhk-paper",
    about="faces at the paper's 256 px, enlarged from 160 x 128",
)
"""The images are cut square."""
UNCOOPERATIVE_RELIT_PAPER = Recipe(
    UncooperativeConfig(),
    RELIT,
    PAPER,
    name="uncooperative-relit-paper",
    about="relit cars, the paper's networks at the renders' 64 px",
)
COOPERATIVE_RELIT_PAPER = replace(
    UNCOOPERATIVE_RELIT_PAPER,
    method=UncooperativeConfig(cooperative=True),
    name="cooperative-relit-paper",
    about="relit cars, the paper's networks, which learn in both cycles",
)
UNCOOPERATIVE_MAPS_PAPER = Recipe(
    UncooperativeConfig(),
    DataConfig(set="maps"),
    PAPER,
    name="uncooperative-maps-paper",
    about="maps at the paper's 256 px",
)


def beside(name: str, method: Any) -> Iterator[Recipe[Any]]:
    """Yields recipes of another method beside those at 32 and 64 px: on the same data, with as many steps."""
    for recipe in (
        UNCOOPERATIVE_RELIT_32,
        UNCOOPERATIVE_RELIT,
        UNCOOPERATIVE_MAPS,
        UNCOOPERATIVE_CUHK,
        UNCOOPERATIVE_FACADES,
    ):
        own = f"{name}-{recipe.name.removeprefix('uncooperative-')}"
        yield Recipe(method, recipe.data, recipe.train, name=own, about=recipe.about, shows="hidden pair")
