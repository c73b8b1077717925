"""Recipes of LORD."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from unbraid.core.config import RunConfig, TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.methods.lord import LORDConfig
from unbraid.recipes.recipe import AT_PAPER_SIZE, Recipe

SMALL = LORDConfig(
    width=64,
    last_width=32,
    encoder_widths=(32, 64, 128, 128, 128),
    window=32,
    rate=1e-3,
    code_rate=4e-2,
    cosine=True,
    first_share=0.65,
)
"""LORD at 64 px: a quarter of the paper's channels, features compared in windows, higher rates."""


VARIANT_STEPS = 1000
"""Steps of each variant of table 3."""


def cars3d() -> RunConfig[LORDConfig]:
    """LORD on 163 cars, 20 others to test, at 64 px. A quarter of their views trains, 24 of each car, so that a run of
    this length comes back to each content code often enough."""
    return RunConfig(SMALL, DataConfig(set="cars3d", val=0.75), TrainConfig(steps=3600, batch=32, evaluate_every=600))


def cars3d_paper() -> RunConfig[LORDConfig]:
    """LORD on cars with networks, rates and length of full size: 200 epochs for the codes, as many for the encoders, of
    14,866 images and 232 steps each."""
    return RunConfig(
        LORDConfig(), DataConfig(set="cars3d", val=0.05), TrainConfig(steps=400 * 232, batch=64, evaluate_every=2000)
    )


def cars3d_variant(**changes: Any) -> Callable[[], RunConfig[LORDConfig]]:
    """A variant of table 3: the recipe on cars with fewer views and steps."""

    def make() -> RunConfig[LORDConfig]:
        config = cars3d()
        return RunConfig(
            replace(config.method, **changes),
            replace(config.data, val=0.875),
            replace(config.train, steps=VARIANT_STEPS, evaluate_every=VARIANT_STEPS),
        )

    return make


def emoji(styles: int) -> Callable[[], RunConfig[LORDConfig]]:
    """Two styles of emoji at 32 px, line art and colour, pairs hidden: two classes, or each divided into styles."""

    def make() -> RunConfig[LORDConfig]:
        data = DataConfig(
            set="emoji", styles=("openmoji-black", "google"), size=(32, 32), unpaired=True, styles_per_class=styles
        )
        return RunConfig(replace(SMALL, window=None), data, TrainConfig(steps=1200, batch=32, evaluate_every=600))

    return make


def avataaars() -> RunConfig[LORDConfig]:
    """Cartoon faces by what is on the head, 32 px: hair and hats are the class, the face is content."""
    return RunConfig(
        replace(SMALL, window=None),
        DataConfig(set="avataaars", size=(32, 32), balanced=True),
        TrainConfig(steps=1400, batch=32, evaluate_every=700),
    )


def avataaars_attributes() -> RunConfig[LORDConfig]:
    """Cartoon faces with four attributes, 32 px: what is left, hair and expression among it, is content."""
    config = avataaars()
    labels = ("skinColor", "clothesColor", "accessories", "facialHair")
    return replace(config, data=replace(config.data, labels=labels, balanced=False))


VARIANTS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("full", "the full method", ".078", {}),
    ("amortised-kl", "amortised, KL", ".094", {"inference": "amortised", "regularisation": "kl"}),
    ("amortised", "amortised, noise", ".082", {"inference": "amortised"}),
    (
        "semi-amortised-kl",
        "content amortised, KL",
        ".095",
        {"inference": "semi-amortised", "regularisation": "kl"},
    ),
    ("semi-amortised", "content amortised, noise", ".079", {"inference": "semi-amortised"}),
    ("no-second-stage", "codes of new images are optimised", ".175", {"second_stage": False}),
    ("no-regularisation", "neither noise nor penalty", ".095", {"regularisation": "none"}),
)
"""The variants of LORD's table 3: name, what it is, the paper's LPIPS, what changes."""

RECIPES: dict[str, Recipe] = {
    "lord-cars3d": Recipe("lord", "163 cars, transfer on 20 others, 64 px", cars3d, "LPIPS .078", "transfer"),
    "lord-emoji-styles": Recipe(
        "lord",
        "line art and colour emoji, unpaired, 20 styles each, 32 px",
        emoji(20),
        shows="guided",
    ),
    "lord-emoji-two-classes": Recipe("lord", "the same without styles: two classes", emoji(1), shows="guided"),
    "lord-avataaars": Recipe("lord", "cartoon faces by hair and hats, 32 px", avataaars),
    "lord-avataaars-attributes": Recipe(
        "lord", "cartoon faces by skin, clothes, glasses and beard, 32 px", avataaars_attributes
    ),
    "lord-cars3d-paper": Recipe("lord", AT_PAPER_SIZE, cars3d_paper, "LPIPS .078"),
    **{
        f"lord-cars3d-{name}": Recipe(
            "lord", f"table 3: {about}, 64 px", cars3d_variant(**changes), f"LPIPS {theirs}", "transfer"
        )
        for name, about, theirs, changes in VARIANTS
    },
}
