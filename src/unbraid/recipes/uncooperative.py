"""Recipes of uncooperative re-entanglement and its cooperative baseline."""

from collections.abc import Callable
from dataclasses import replace

from unbraid.core.config import RunConfig, TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.methods.uncooperative import UncooperativeConfig
from unbraid.recipes.recipe import Recipe


def synthetic(cooperative: bool) -> Callable[[], RunConfig[UncooperativeConfig]]:
    """Two independent normal factors: networks, batch and length are the paper's."""

    def make() -> RunConfig[UncooperativeConfig]:
        return RunConfig(
            UncooperativeConfig(informative="a", cooperative=cooperative),
            DataConfig(set="synthetic"),
            TrainConfig(steps=60_000, batch=128, evaluate_every=2000, precision="fp32"),
        )

    return make


def synthetic_identifiable(cooperative: bool) -> Callable[[], RunConfig[UncooperativeConfig]]:
    """A uniform and a two-mode factor, and linear networks, for which only the true split has the right distributions.

    Weights and rates are those that found it with the most seeds in trials, for both rules: reconstruction weighs
    little, since its absolute differences hold networks that agree where they are, and discriminators are held flat at
    real items (R1), so that the game comes to rest.
    """

    def make() -> RunConfig[UncooperativeConfig]:
        return RunConfig(
            UncooperativeConfig(
                informative="a",
                cooperative=cooperative,
                linear=True,
                discriminator_norm="none",
                cycle_informative=0.1,
                cycle_plain=0.1,
                cycle_residual=0.1,
                r1=0.3,
                rate=3e-3,
                discriminator_rate=1e-2,
            ),
            DataConfig(set="synthetic-identifiable"),
            TrainConfig(steps=30_000, batch=128, evaluate_every=1500, precision="fp32"),
        )

    return make


SMALL = UncooperativeConfig(informative="a", width=24, discriminator_width=32, discriminator_norm="instance")
"""Uncooperative re-entanglement at 64 px: fewer channels than the paper's 64, every layer in place. Discriminators
without spectral norm learn faster, and did better in trials at 32 px."""
TRAIN = TrainConfig(steps=6500, batch=4, average=0.999, evaluate_every=1000)
PAPER_STEPS = 300_000
"""Section 4: training takes up to so many."""


def cuhk() -> RunConfig[UncooperativeConfig]:
    """Photos of faces (informative) and their sketches at 64 px, pairs hidden."""
    return RunConfig(
        SMALL,
        DataConfig(set="cuhk", size=(64, 64), augment=("flip", "shift")),
        replace(TRAIN, steps=5000),
    )


def cuhk_paper() -> RunConfig[UncooperativeConfig]:
    """Photos of faces and their sketches with the paper's networks, weights and length. They have 160 x 128 pixels, and
    are cut square and enlarged to 256 px."""
    return paper(DataConfig(set="cuhk", size=(256, 256)))


def relit(cooperative: bool) -> Callable[[], RunConfig[UncooperativeConfig]]:
    """Cars under lights, with shadows and backgrounds (informative), and plain cars at 64 px, unpaired."""

    def make() -> RunConfig[UncooperativeConfig]:
        return RunConfig(
            replace(SMALL, cooperative=cooperative),
            DataConfig(set="relit", size=(64, 64)),
            TRAIN,
        )

    return make


def relit_paper(cooperative: bool) -> Callable[[], RunConfig[UncooperativeConfig]]:
    """Relit and plain cars with the paper's networks, weights and length. The renders have 64 px and keep them:
    enlarged they would show no more, and convolutions take any size."""

    def make() -> RunConfig[UncooperativeConfig]:
        config = paper(DataConfig(set="relit", size=(64, 64)))
        return replace(config, method=replace(config.method, cooperative=cooperative))

    return make


def maps() -> RunConfig[UncooperativeConfig]:
    """Aerial photos (informative) and maps at 64 px, pairs hidden."""
    return RunConfig(
        SMALL,
        DataConfig(set="maps", size=(64, 64), augment=("turn", "shift")),
        TRAIN,
    )


def maps_paper() -> RunConfig[UncooperativeConfig]:
    """Aerial photos and maps with the paper's networks, weights and length."""
    return paper(DataConfig(set="maps"))


def paper(data: DataConfig) -> RunConfig[UncooperativeConfig]:
    """The paper's training: 300,000 steps, batches of 4. The running average of weights that is kept is ours; training
    doesn't see it."""
    train = TrainConfig(steps=PAPER_STEPS, batch=4, average=0.999, evaluate_every=10_000)
    return RunConfig(UncooperativeConfig(), data, train)


RECIPES: dict[str, Recipe] = {
    "uncooperative-synthetic": Recipe(
        "uncooperative",
        "two known factors, vectors",
        synthetic(False),
        "correlation .998",
        "correlation",
    ),
    "cooperative-synthetic": Recipe(
        "uncooperative",
        "the same, both networks learn in both cycles",
        synthetic(True),
        "correlation .695",
        "correlation",
    ),
    "uncooperative-synthetic-identifiable": Recipe(
        "uncooperative",
        "uniform and two-mode factor, linear networks",
        synthetic_identifiable(False),
        shows="correlation",
    ),
    "cooperative-synthetic-identifiable": Recipe(
        "uncooperative",
        "the same, both networks learn in both cycles",
        synthetic_identifiable(True),
        shows="correlation",
    ),
    "uncooperative-cuhk": Recipe(
        "uncooperative",
        "photos and sketches of faces, 64 px",
        cuhk,
        shows="hidden pair",
    ),
    "uncooperative-relit": Recipe(
        "uncooperative",
        "relit and plain cars, 64 px",
        relit(False),
        shows="hidden pair",
    ),
    "cooperative-relit": Recipe(
        "uncooperative",
        "the same, both networks learn in both cycles",
        relit(True),
        shows="hidden pair",
    ),
    "uncooperative-maps": Recipe(
        "uncooperative",
        "aerial photos and maps, 64 px",
        maps,
        shows="hidden pair",
    ),
    "uncooperative-cuhk-paper": Recipe(
        "uncooperative", "faces at the paper's 256 px, enlarged from 160 x 128", cuhk_paper
    ),
    "uncooperative-relit-paper": Recipe(
        "uncooperative", "relit cars, the paper's networks at the renders' 64 px", relit_paper(False)
    ),
    "cooperative-relit-paper": Recipe(
        "uncooperative", "the same, both networks learn in both cycles", relit_paper(True)
    ),
    "uncooperative-maps-paper": Recipe("uncooperative", "maps at the paper's 256 px", maps_paper),
}
