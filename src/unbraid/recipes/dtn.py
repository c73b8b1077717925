"""Recipes of DTN, the baseline of XGAN: the same data and steps."""

from dataclasses import replace

from unbraid.core.recipe import Recipe
from unbraid.core.types import DataSpec, ImageSpec
from unbraid.methods.dtn import DTNConfig, small_config
from unbraid.recipes.xgan import (
    XGAN_EMOJI,
    XGAN_EMOJI_PAPER,
    XGAN_MNIST_CDCB,
    XGAN_MNIST_CDCB_PAPER,
)

SMALL_32 = small_config(DataSpec(ImageSpec(32, 32), ImageSpec(32, 32)))
DTN_EMOJI, DTN_MNIST_CDCB, DTN_EMOJI_PAPER, DTN_MNIST_CDCB_PAPER = (
    Recipe(
        DTNConfig() if recipe.name.endswith("paper") else SMALL_32,
        recipe.data,
        replace(recipe.train, distance="whitened"),  # there are no codes
        name=recipe.name.replace("xgan", "dtn"),
        about=f"{recipe.about}, from a to b",
        shows="hidden pair",
    )
    for recipe in (XGAN_EMOJI, XGAN_MNIST_CDCB, XGAN_EMOJI_PAPER, XGAN_MNIST_CDCB_PAPER)
)
