"""Recipes of MUNIT: each beside one of another method, with as many steps."""

from unbraid.core.config import TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.core.recipe import Recipe
from unbraid.methods.munit import SMALL_IMAGES, MUNITConfig
from unbraid.recipes.uncooperative import (
    UNCOOPERATIVE_CUHK,
    UNCOOPERATIVE_FACADES,
    UNCOOPERATIVE_MAPS,
    UNCOOPERATIVE_RELIT,
    UNCOOPERATIVE_RELIT_32,
)

MUNIT_RELIT_32, MUNIT_RELIT, MUNIT_MAPS, MUNIT_CUHK, MUNIT_FACADES = (
    Recipe(
        SMALL_IMAGES,
        recipe.data,
        recipe.train,
        name=f"munit-{recipe.name.removeprefix('uncooperative-')}",
        about=recipe.about,
        shows="hidden pair",
    )
    for recipe in (
        UNCOOPERATIVE_RELIT_32,
        UNCOOPERATIVE_RELIT,
        UNCOOPERATIVE_MAPS,
        UNCOOPERATIVE_CUHK,
        UNCOOPERATIVE_FACADES,
    )
)
MUNIT_MAPS_PAPER = Recipe(
    MUNITConfig(),
    DataConfig(set="maps"),
    TrainConfig(steps=1_000_000, batch=1, average=0.999, evaluate_every=20_000),
    name="munit-maps-paper",
    about="maps at the paper's 256 px",
    shows="hidden pair",
)
"""The length is the published program's. The running average of weights that is kept is ours, and training doesn't see
it."""
