"""Recipes of XGAN."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from unbraid.core.config import RunConfig, TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.methods.xgan import XGANConfig
from unbraid.recipes.recipe import Recipe

EMOJI = DataConfig(set="emoji", styles=("google", "openmoji"), size=(32, 32), augment=("flip", "shift"))
"""Two coloured styles that draw the same things."""
EMOJI_STEPS = 4000
"""Of XGAN and of CycleGAN on them."""

MNIST = DataConfig(set="mnist-cdcb")
FACES = DataConfig(set="cuhk-avataaars", size=(64, 64), augment=("flip", "shift"))


def small(data: DataConfig, steps: int, **changes: Any) -> Callable[[], RunConfig[XGANConfig]]:
    """XGAN with the paper's networks, pairs hidden if there are any."""

    def make() -> RunConfig[XGANConfig]:
        train = TrainConfig(steps=steps, batch=32, average=0.999, evaluate_every=500, distance="cosine")
        return RunConfig(XGANConfig(**changes), data, train)

    return make


def paper(data: DataConfig) -> Callable[[], RunConfig[XGANConfig]]:
    """XGAN at the paper's 64 px. It gives neither batch nor length; this is long enough for curves to be flat. The
    running average of weights that is kept is ours; training doesn't see it."""

    def make() -> RunConfig[XGANConfig]:
        train = TrainConfig(steps=200_000, batch=32, average=0.999, evaluate_every=5000, distance="cosine")
        return RunConfig(XGANConfig(), replace(data, size=(64, 64)), train)

    return make


ABLATIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("full", "the full method, without teacher", {}),
    (
        "teacher",
        "with VGG16 as teacher of the first style",
        {"teacher": "vgg16", "embedding": 512},
    ),
    ("reconstruction-and-domain", "neither semantic consistency nor GAN", {"semantic": 0.0, "gan": 0.0}),
    ("no-semantic", "no semantic consistency", {"semantic": 0.0}),
    ("middle", "only the embedding's layer shared", {"sharing": "middle"}),
    ("no-gan", "no discriminator", {"gan": 0.0}),
)
"""The ablations of XGAN's section 5 and appendix 7.4: name, what it is, what changes."""

RECIPES: dict[str, Recipe] = {
    "xgan-emoji": Recipe(
        "xgan",
        "two coloured styles of emoji, 32 px",
        small(EMOJI, EMOJI_STEPS),
    ),
    "xgan-mnist-cdcb": Recipe(
        "xgan",
        "MNIST-CDCB without pairs, 32 px",
        small(MNIST, 2500),
        shows="label",
    ),
    "xgan-cuhk-avataaars": Recipe(
        "xgan",
        "photos and cartoons of faces, 64 px",
        small(FACES, 800),
        note="no pairs to measure by",
    ),
    "xgan-emoji-paper": Recipe("xgan", "two styles of emoji at the paper's 64 px", paper(EMOJI)),
    "xgan-mnist-cdcb-paper": Recipe("xgan", "MNIST-CDCB at the paper's 64 px, enlarged from 32", paper(MNIST)),
    "xgan-cuhk-avataaars-paper": Recipe("xgan", "photos and cartoons of faces at the paper's 64 px", paper(FACES)),
    **{
        f"xgan-emoji-{name}": Recipe("xgan", f"section 5: {about}, 32 px", small(EMOJI, 600, **changes))
        for name, about, changes in ABLATIONS
    },
}
