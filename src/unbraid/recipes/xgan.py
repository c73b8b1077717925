"""Recipes of XGAN: pairs hidden if there are any; `-paper` and ablations have the paper's networks."""

from dataclasses import replace
from typing import Any

from unbraid.core.config import TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.core.recipe import Recipe
from unbraid.core.types import DataSpec, ImageSpec
from unbraid.methods.xgan import XGANConfig, small_config

EMOJI = DataConfig(set="emoji", styles=("google", "openmoji"), size=(32, 32), augment=("flip", "shift"))
"""Two coloured styles that draw the same things."""
MNIST = DataConfig(set="mnist-cdcb")
FACES = DataConfig(set="cuhk-avataaars", size=(64, 64), augment=("flip", "shift"))
SMALL_32, SMALL_64 = (small_config(DataSpec(ImageSpec(size, size), ImageSpec(size, size))) for size in (32, 64))
TRAIN = TrainConfig(steps=4000, batch=32, average=0.999, evaluate_every=500, distance="cosine")
LONG = replace(TRAIN, steps=200_000, evaluate_every=5000)
"""The paper gives neither batch nor length; this is long enough for curves to be flat. The running average of weights
that is kept is ours; training doesn't see it."""

XGAN_EMOJI = Recipe(
    SMALL_32,
    EMOJI,
    replace(TRAIN, batch=16),
    name="xgan-emoji",
    about="two coloured styles of emoji, 32 px",
)
XGAN_MNIST_CDCB = Recipe(
    SMALL_32,
    MNIST,
    replace(TRAIN, steps=12_000, batch=16, evaluate_every=1000),
    name="xgan-mnist-cdcb",
    about="MNIST-CDCB without pairs, 32 px",
    shows="label",
)
XGAN_CUHK_AVATAAARS = Recipe(
    SMALL_64,
    FACES,
    replace(TRAIN, steps=800),
    name="xgan-cuhk-avataaars",
    about="photos and cartoons of faces, 64 px",
    note="no pairs to measure by",
)
XGAN_EMOJI_PAPER = Recipe(
    XGANConfig(),
    replace(EMOJI, size=(64, 64)),
    LONG,
    name="xgan-emoji-paper",
    about="two styles of emoji at the paper's 64 px",
)
XGAN_MNIST_CDCB_PAPER = Recipe(
    XGANConfig(),
    replace(MNIST, size=(64, 64)),
    LONG,
    name="xgan-mnist-cdcb-paper",
    about="MNIST-CDCB at the paper's 64 px, enlarged from 32",
)
XGAN_CUHK_AVATAAARS_PAPER = Recipe(
    XGANConfig(),
    FACES,
    LONG,
    name="xgan-cuhk-avataaars-paper",
    about="photos and cartoons of faces at the paper's 64 px",
)
ABLATED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("full", "the full method, without teacher", {}),
    ("teacher", "with VGG16 as teacher of the first style", {"teacher": "vgg16", "embedding": 512}),
    ("reconstruction-and-domain", "neither semantic consistency nor GAN", {"semantic": 0.0, "gan": 0.0}),
    ("no-semantic", "no semantic consistency", {"semantic": 0.0}),
    ("middle", "only the embedding's layer shared", {"sharing": "middle"}),
    ("no-gan", "no discriminator", {"gan": 0.0}),
)
"""What is changed in each: its name, what it is, the settings."""
XGAN_ABLATIONS = tuple(
    Recipe(
        XGANConfig(**changes),
        EMOJI,
        replace(TRAIN, steps=600),
        name=f"xgan-emoji-{name}",
        about=f"section 5: {about}, 32 px",
    )
    for name, about, changes in ABLATED
)
"""The ablations of section 5 and appendix 7.4."""
