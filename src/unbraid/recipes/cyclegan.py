"""Recipes of CycleGAN, the unpaired baseline: each beside one of another method, with as many steps."""

from unbraid.core.config import RunConfig, TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.methods.cyclegan import CycleGANConfig
from unbraid.recipes import uncooperative
from unbraid.recipes.recipe import Recipe
from unbraid.recipes.xgan import EMOJI, EMOJI_STEPS

SMALL = CycleGANConfig(width=24, discriminator_width=32)
"""CycleGAN at 64 px, as wide."""


def relit() -> RunConfig[CycleGANConfig]:
    """Relit and plain cars at 64 px, unpaired; steps and batch are those of uncooperative-relit."""
    config = uncooperative.relit(False)()
    return RunConfig(SMALL, config.data, config.train)


def relit_paper() -> RunConfig[CycleGANConfig]:
    """Relit and plain cars with the paper's networks and weights, as many steps as uncooperative-relit-paper. The
    renders have 64 px and keep them: enlarged they would show no more, and convolutions take any size."""
    return paper(DataConfig(set="relit", size=(64, 64)), uncooperative.PAPER_STEPS)


def maps() -> RunConfig[CycleGANConfig]:
    """Aerial photos and maps at 64 px, pairs hidden; steps and batch are those of uncooperative-maps."""
    config = uncooperative.maps()
    return RunConfig(SMALL, config.data, config.train)


def maps_paper() -> RunConfig[CycleGANConfig]:
    """Aerial photos and maps with the paper's networks, weights and length, 200 epochs of 1,096 pairs."""
    return paper(DataConfig(set="maps"), 219_200)


def emoji() -> RunConfig[CycleGANConfig]:
    """The same two styles as xgan-emoji, pairs hidden, for as many steps."""
    return RunConfig(SMALL, EMOJI, TrainConfig(steps=EMOJI_STEPS, batch=4, average=0.999, evaluate_every=1000))


def paper(data: DataConfig, steps: int) -> RunConfig[CycleGANConfig]:
    """The paper's training, one image at a time. The running average of weights that is kept is ours; training doesn't
    see it."""
    train = TrainConfig(steps=steps, batch=1, average=0.999, evaluate_every=10_000)
    return RunConfig(CycleGANConfig(), data, train)


RECIPES: dict[str, Recipe] = {
    "cyclegan-relit": Recipe(
        "cyclegan",
        "relit and plain cars, 64 px",
        relit,
        shows="hidden pair",
    ),
    "cyclegan-maps": Recipe(
        "cyclegan",
        "aerial photos and maps, 64 px",
        maps,
        shows="hidden pair",
    ),
    "cyclegan-relit-paper": Recipe("cyclegan", "relit cars, the paper's networks at the renders' 64 px", relit_paper),
    "cyclegan-maps-paper": Recipe("cyclegan", "maps at the paper's 256 px", maps_paper),
    "cyclegan-emoji": Recipe(
        "cyclegan",
        "the same two styles of emoji, 32 px",
        emoji,
        shows="hidden pair",
    ),
}
