"""Recipes of CUT, both ways: each beside one of another method, with as many steps."""

from dataclasses import replace

from unbraid.core.config import TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.core.recipe import Recipe
from unbraid.methods.cut import SMALL_IMAGES, CUTConfig
from unbraid.recipes.uncooperative import beside

CUT_RELIT_32, CUT_RELIT, CUT_MAPS, CUT_CUHK, CUT_FACADES = beside("cut", replace(SMALL_IMAGES, towards="both"))
CUT_MAPS_PAPER = Recipe(
    CUTConfig(),
    DataConfig(set="maps"),
    TrainConfig(steps=438_400, batch=1, average=0.999, evaluate_every=10_000),  # 400 epochs of 1,096 pairs
    name="cut-maps-paper",
    about="photos to maps at the paper's 256 px",
    shows="hidden pair",
)
"""The running average of weights that is kept is ours, and training doesn't see it."""
