"""Recipes of XGAN."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from unbraid.config import RunConfig, TrainConfig
from unbraid.data.config import DataConfig
from unbraid.methods.xgan import XGANConfig
from unbraid.recipes.recipe import AT_PAPER_SIZE, Recipe

EMOJI = DataConfig(set="emoji", styles=("google", "openmoji"), size=(32, 32), augment=("flip", "shift"))
"""Two coloured styles that draw the same things."""

MNIST = DataConfig(set="mnist-cdcb")
FACES = DataConfig(set="cuhk-avataaars", size=(64, 64), augment=("flip", "shift"))


def timed(data: DataConfig, minutes: float, **changes: Any) -> Callable[[], RunConfig[XGANConfig]]:
    """XGAN with the paper's networks, pairs hidden if there are any."""

    def make() -> RunConfig[XGANConfig]:
        train = TrainConfig(minutes=minutes, batch=32, evaluate_every=1000, distance="cosine")
        return RunConfig(XGANConfig(**changes), data, train)

    return make


def paper(data: DataConfig) -> Callable[[], RunConfig[XGANConfig]]:
    """XGAN at the paper's 64 px. It gives neither batch nor length; this is long enough for curves to be flat."""

    def make() -> RunConfig[XGANConfig]:
        train = TrainConfig(steps=200_000, batch=32, evaluate_every=5000, distance="cosine")
        return RunConfig(XGANConfig(), replace(data, size=(64, 64)), train)

    return make


ABLATIONS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("full", "the full method, without teacher", "18.6 / 18.9", {}),
    ("teacher", "with VGG16 as teacher of the first style", "18.6 / 15.8", {"teacher": "vgg16", "embedding": 512}),
    ("reconstruction-and-domain", "neither semantic consistency nor GAN", "19.4 / 17.8", {"semantic": 0.0, "gan": 0.0}),
    ("no-semantic", "no semantic consistency", "21.9 / 17.8", {"semantic": 0.0}),
    ("middle", "only the embedding's layer shared", "15.8 / 15.3", {"sharing": "middle"}),
    ("no-gan", "no discriminator", "19.9 / 18.9", {"gan": 0.0}),
)
"""The ablations of XGAN's section 5 and appendix 7.4: name, what it is, our recall@1 after 600 steps, what changes."""

RECIPES: dict[str, Recipe] = {
    "xgan-emoji": Recipe(
        "xgan",
        "two coloured styles of emoji, 32 px, 45 minutes",
        timed(EMOJI, 45),
        "-",
        "20.5 / 19.1, hidden pair, LPIPS .128 (one core, fp32)",
    ),
    "xgan-mnist-cdcb": Recipe(
        "xgan",
        "MNIST-CDCB without pairs, 32 px, 30 minutes",
        timed(MNIST, 30),
        ours="15.8 / 14.9, by label 85.5 / 90.4 (one core, fp32)",
    ),
    "xgan-cuhk-avataaars": Recipe(
        "xgan",
        "photos and cartoons of faces, 64 px, 30 minutes",
        timed(FACES, 30),
        ours="no pairs to measure by; blurred heads (15 minutes)",
    ),
    "xgan-emoji-paper": Recipe("xgan", AT_PAPER_SIZE, paper(EMOJI)),
    "xgan-mnist-cdcb-paper": Recipe("xgan", AT_PAPER_SIZE, paper(MNIST)),
    "xgan-cuhk-avataaars-paper": Recipe("xgan", AT_PAPER_SIZE, paper(FACES)),
    **{
        f"xgan-emoji-{name}": Recipe(
            "xgan", f"section 5: {about}, 10 minutes", timed(EMOJI, 10, **changes), "-", f"{ours} (600 steps)"
        )
        for name, about, ours, changes in ABLATIONS
    },
}
