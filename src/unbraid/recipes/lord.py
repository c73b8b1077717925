"""Recipes of LORD."""

from dataclasses import replace
from typing import Any

from unbraid.core.config import TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.core.recipe import Recipe
from unbraid.methods.lord import LORDConfig

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
TINY = replace(SMALL, window=None)
"""The same at 32 px, where a window would be the whole image."""
EMOJI = DataConfig(set="emoji", styles=("openmoji-black", "google"), size=(32, 32), unpaired=True)
"""Two styles at 32 px, line art and colour, pairs hidden."""
AVATAAARS = DataConfig(set="avataaars", size=(32, 32))

LORD_CARS3D = Recipe(
    SMALL,
    DataConfig(set="cars3d", val=0.75),
    TrainConfig(steps=3600, batch=32, evaluate_every=600),
    name="lord-cars3d",
    about="163 cars, transfer on 20 others, 64 px",
    shows="transfer",
)
"""A quarter of the cars' views trains, 24 of each car, so that a run of this length comes back to each content code
often enough."""
LORD_EMOJI_STYLES = Recipe(
    TINY,
    replace(EMOJI, styles_per_class=20),
    TrainConfig(steps=1200, batch=32, evaluate_every=600),
    name="lord-emoji-styles",
    about="line art and colour emoji, unpaired, 20 styles each, 32 px",
    shows="guided",
)
LORD_EMOJI_TWO_CLASSES = Recipe(
    TINY,
    EMOJI,
    LORD_EMOJI_STYLES.train,
    name="lord-emoji-two-classes",
    about="line art and colour emoji, unpaired, as two classes, 32 px",
    shows="guided",
)
LORD_AVATAAARS = Recipe(
    TINY,
    replace(AVATAAARS, balanced=True),
    TrainConfig(steps=1400, batch=32, evaluate_every=700),
    name="lord-avataaars",
    about="cartoon faces by hair and hats, 32 px",
)
"""What is on the head is the class, the face is content."""
LORD_AVATAAARS_ATTRIBUTES = Recipe(
    TINY,
    replace(AVATAAARS, labels=("skinColor", "clothesColor", "accessories", "facialHair")),
    LORD_AVATAAARS.train,
    name="lord-avataaars-attributes",
    about="cartoon faces by skin, clothes, glasses and beard, 32 px",
)
"""What is left, hair and expression among it, is content."""
LORD_CARS3D_PAPER = Recipe(
    LORDConfig(),
    DataConfig(set="cars3d", val=0.05),
    TrainConfig(steps=400 * 232, batch=64, evaluate_every=2000),
    name="lord-cars3d-paper",
    about="cars with the paper's networks and length",
)
"""200 epochs for the codes, as many for the encoders, of 14,866 images and 232 steps each."""
VARIED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("full", "the full method", {}),
    ("amortised-kl", "amortised, KL", {"inference": "amortised", "regularisation": "kl"}),
    ("amortised", "amortised, noise", {"inference": "amortised"}),
    (
        "semi-amortised-kl",
        "content amortised, KL",
        {"inference": "semi-amortised", "regularisation": "kl"},
    ),
    ("semi-amortised", "content amortised, noise", {"inference": "semi-amortised"}),
    ("no-second-stage", "codes of new images are optimised", {"second_stage": False}),
    ("no-regularisation", "neither noise nor penalty", {"regularisation": "none"}),
)
"""What is changed in each: its name, what it is, the settings."""
LORD_VARIANTS = tuple(
    Recipe(
        replace(SMALL, **changes),
        replace(LORD_CARS3D.data, val=0.875),
        replace(LORD_CARS3D.train, steps=1000, evaluate_every=1000),
        name=f"lord-cars3d-{name}",
        about=f"table 3: {about}, 64 px",
        shows="transfer",
    )
    for name, about, changes in VARIED
)
"""The variants of table 3, on cars with fewer views and steps."""
