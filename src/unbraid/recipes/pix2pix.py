"""Recipes of pix2pix, on the paired sets of IIAE's; both ways."""

from dataclasses import replace

from unbraid.core.config import TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.core.recipe import Recipe
from unbraid.methods.pix2pix import SMALL_IMAGES, Pix2PixConfig
from unbraid.recipes.iiae import IIAE_EMOJI, IIAE_FACADES, IIAE_MAPS

TRAIN = TrainConfig(steps=4000, batch=4, average=0.999, evaluate_every=500)
"""The running average of weights that is kept is ours, and training doesn't see it."""

PIX2PIX_MAPS, PIX2PIX_FACADES, PIX2PIX_EMOJI = (
    Recipe(
        SMALL_IMAGES,
        recipe.data,
        TRAIN,
        name=recipe.name.replace("iiae", "pix2pix"),
        about=recipe.about,
        shows="translation",
        note=recipe.note,
    )
    for recipe in (IIAE_MAPS, IIAE_FACADES, IIAE_EMOJI)
)
PIX2PIX_MAPS_PAPER = Recipe(
    Pix2PixConfig(),
    DataConfig(set="maps", augment=("turn", "shift")),
    replace(TRAIN, steps=219_200, batch=1, evaluate_every=10_000),  # 200 epochs of 1,096 pairs
    name="pix2pix-maps-paper",
    about="aerial photos and maps at the paper's 256 px",
    shows="translation",
)
PIX2PIX_FACADES_PAPER = replace(
    PIX2PIX_MAPS_PAPER,
    data=DataConfig(set="facades", augment=("flip", "shift")),
    train=replace(PIX2PIX_MAPS_PAPER.train, steps=80_000),  # 200 epochs of 400 pairs
    name="pix2pix-facades-paper",
    about="facades and labels at the paper's 256 px",
    note="other split",
)
