"""Recipes of MUNIT: each beside one of another method, with as many steps."""

from unbraid.core.config import TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.core.recipe import Recipe
from unbraid.methods.munit import SMALL_IMAGES, MUNITConfig
from unbraid.recipes.uncooperative import beside

MUNIT_RELIT_32, MUNIT_RELIT, MUNIT_MAPS, MUNIT_CUHK, MUNIT_FACADES = beside("munit", SMALL_IMAGES)
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
