"""Recipes of DTN, the baseline of XGAN: the same data and steps."""

from dataclasses import replace

from unbraid.core.recipe import Recipe
from unbraid.methods.dtn import DTNConfig
from unbraid.recipes.xgan import (
    XGAN_EMOJI,
    XGAN_EMOJI_PAPER,
    XGAN_MNIST_CDCB,
    XGAN_MNIST_CDCB_PAPER,
)

DTN_EMOJI, DTN_MNIST_CDCB, DTN_EMOJI_PAPER, DTN_MNIST_CDCB_PAPER = (
    Recipe(
        DTNConfig(),
        recipe.data,
        replace(recipe.train, distance="whitened"),  # there are no codes
        name=recipe.name.replace("xgan", "dtn"),
        about=f"{recipe.about}, from a to b",
        shows="hidden pair",
    )
    for recipe in (XGAN_EMOJI, XGAN_MNIST_CDCB, XGAN_EMOJI_PAPER, XGAN_MNIST_CDCB_PAPER)
)
