"""Recipes of CycleGAN, the unpaired baseline: each beside one of another method, with as many steps."""

from dataclasses import replace

from unbraid.core.config import TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.core.recipe import Recipe
from unbraid.methods.cyclegan import SMALL_IMAGES, CycleGANConfig
from unbraid.nn.patch import small_settings
from unbraid.recipes.uncooperative import LEAST_SQUARES_32, PAPER, PX_64, RELIT, beside
from unbraid.recipes.xgan import XGAN_EMOJI

CYCLEGAN_RELIT_32, CYCLEGAN_RELIT, CYCLEGAN_MAPS, CYCLEGAN_CUHK, CYCLEGAN_FACADES = beside(
    "cyclegan", replace(SMALL_IMAGES, **small_settings(PX_64))
)
CYCLEGAN_RELIT_32 = replace(CYCLEGAN_RELIT_32, method=replace(SMALL_IMAGES, **LEAST_SQUARES_32, cycle=1.0))
CYCLEGAN_RELIT_PAPER = Recipe(
    CycleGANConfig(),
    RELIT,
    TrainConfig(steps=PAPER.steps, batch=1, average=0.999, evaluate_every=10_000),
    name="cyclegan-relit-paper",
    about="relit cars, the paper's networks at the renders' 64 px",
)
"""One image at a time, as in the paper. The running average of weights that is kept is ours, and training doesn't see
it."""
CYCLEGAN_MAPS_PAPER = Recipe(
    CycleGANConfig(),
    DataConfig(set="maps"),
    TrainConfig(steps=219_200, batch=1, average=0.999, evaluate_every=10_000),  # 200 epochs of 1,096 pairs
    name="cyclegan-maps-paper",
    about="maps at the paper's 256 px",
)
CYCLEGAN_EMOJI = Recipe(
    CycleGANConfig(width=24, discriminator_width=32),
    XGAN_EMOJI.data,
    TrainConfig(steps=XGAN_EMOJI.train.steps, batch=4, average=0.999, evaluate_every=1000),
    name="cyclegan-emoji",
    about="two coloured styles of emoji, 32 px",
    shows="hidden pair",
)
