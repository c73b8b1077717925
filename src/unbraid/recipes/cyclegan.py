"""Recipes of CycleGAN, the unpaired baseline: each beside one of another method, as long and as wide."""

from unbraid.config import RunConfig, TrainConfig
from unbraid.data.config import DataConfig
from unbraid.methods.cyclegan import CycleGANConfig
from unbraid.recipes import uncooperative
from unbraid.recipes.recipe import AT_PAPER_SIZE, Recipe
from unbraid.recipes.xgan import EMOJI

SMALL = CycleGANConfig(width=24, adversary_width=32)
"""CycleGAN at 64 px, as wide."""


def relit() -> RunConfig[CycleGANConfig]:
    """Relit and plain cars at 64 px, unpaired, for as long as uncooperative-relit."""
    config = uncooperative.relit(False)()
    return RunConfig(SMALL, config.data, config.train)


def relit_paper() -> RunConfig[CycleGANConfig]:
    """Relit and plain cars with the paper's networks, weights and length."""
    return paper(DataConfig(set="relit", size=(256, 256)))


def maps() -> RunConfig[CycleGANConfig]:
    """Aerial photos and maps at 64 px, pairs hidden, for as long as uncooperative-maps."""
    config = uncooperative.maps()
    return RunConfig(SMALL, config.data, config.train)


def maps_paper() -> RunConfig[CycleGANConfig]:
    """Aerial photos and maps with the paper's networks, weights and length."""
    return paper(DataConfig(set="maps"))


def emoji() -> RunConfig[CycleGANConfig]:
    """The same two styles as xgan-emoji, pairs hidden, for as long."""
    return RunConfig(SMALL, EMOJI, TrainConfig(minutes=45, batch=4, evaluate_every=1000))


def paper(data: DataConfig) -> RunConfig[CycleGANConfig]:
    """The paper's training: 200 passes, one image at a time."""
    return RunConfig(CycleGANConfig(), data, TrainConfig(epochs=200, batch=1, evaluate_every=10_000))


RECIPES: dict[str, Recipe] = {
    "cyclegan-relit": Recipe(
        "cyclegan",
        "relit and plain cars, 64 px, 40 minutes",
        relit,
        "-",
        "hidden pair, LPIPS .280 (nearest upsampling, one core)",
    ),
    "cyclegan-maps": Recipe(
        "cyclegan",
        "aerial photos and maps, 64 px, 40 minutes",
        maps,
        "-",
        "hidden pair, LPIPS .412 (another map .413; one core)",
    ),
    "cyclegan-relit-paper": Recipe("cyclegan", AT_PAPER_SIZE, relit_paper),
    "cyclegan-maps-paper": Recipe("cyclegan", AT_PAPER_SIZE, maps_paper),
    "cyclegan-emoji": Recipe(
        "cyclegan",
        "the same two styles of emoji, 32 px, 45 minutes",
        emoji,
        "-",
        "hidden pair, LPIPS .128 (20 minutes, one core)",
    ),
}
