"""Recipes of CdDN."""

from dataclasses import replace
from typing import Any

from unbraid.core.config import TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.core.recipe import Recipe
from unbraid.methods import cddn
from unbraid.methods.cddn import CdDNConfig
from unbraid.recipes.iiae import IIAE_SKETCHY

PAPER: dict[str, Any] = {"shared_norm": "channel", "latent": 100.0}
"""What the paper's text says and the defaults don't."""
PROGRAM: dict[str, Any] = {
    **PAPER,
    "separate_optimisers": True,
    "dropout": (0.5, 0.5, 0.0, 0.0),
    "critic_widths": (64, 128, 256, 512),
    "critic_chunk": 4096,
    "latent_discriminator": False,
    "relu_on_code": True,
}
"""The authors' program at 256 px, which made the paper's figures."""
DIGITS = CdDNConfig(
    widths=(32, 64),
    decoder_widths=(128, 64),
    dropout=(0.0, 0.0),
    map_size=4,
    shared=32,
    shared_norm="channel",
    critic_widths=(32, 64, 128),
    shared_alignment=10.0,
    latent=10.0,
    rate=1e-3,
    decay=True,
)
"""CdDN for digits at 32 px: three halvings, a 4x4 shared map. Codes are held together ten times less than in the paper:
by its weights, shared codes of all digits were alike here after 800 steps."""
CONTRASTIVE: dict[str, Any] = {"shared_norm": "value", "contrastive": 10.0, "shared_alignment": 100.0}
"""Shared codes that can't be the same for all images, and so bear the paper's weight on being alike in both domains."""
IMAGES = replace(cddn.SMALL_IMAGES, **CONTRASTIVE)
"""CdDN's default for small images, the weight of the contrastive term as is good for photographs."""
QUIET: dict[str, Any] = {"gan": 0.1, "exclusive_gan": 0.01, "latent_gan": 0.1, "latent": 1.0}
"""Less of the critics and of what reads the noise again, beside what holds codes together: better for retrieval."""
EMOJI = DataConfig(set="emoji", styles=("openmoji-black", "google"))
"""Line art and colour."""
AVERAGED = TrainConfig(steps=9000, batch=16, evaluate_every=1000, average=0.999)
"""Images at 64 px or below."""
PROGRAM_TRAIN = TrainConfig(steps=94_000, evaluate_every=5000, average=0.999, distance="euclidean")
"""The authors' program: batches of 8, its epochs of its own sets. The running average of weights that is kept is ours;
training doesn't see it."""

CDDN_MNIST_CDCB = Recipe(
    replace(DIGITS, **{**CONTRASTIVE, "contrastive": 1.0}),  # a place of a digit doesn't show as many different things
    DataConfig(set="mnist-cdcb"),
    TrainConfig(steps=8000, batch=16, evaluate_every=1000, average=0.999, distance="euclidean"),
    name="cddn-mnist-cdcb",
    about="MNIST-CDCB, 32 px",
)
CDDN_MAPS = Recipe(
    replace(IMAGES, initial="torch", **QUIET),
    DataConfig(set="maps", size=(64, 64), augment=("turn", "shift")),
    replace(AVERAGED, steps=10_000),
    name="cddn-maps",
    about="aerial photos and maps, 64 px",
)
CDDN_FACADES = Recipe(
    IMAGES,
    DataConfig(set="facades", size=(64, 64), augment=("flip", "shift")),
    AVERAGED,
    name="cddn-facades",
    about="facades and labels, 64 px",
    note="other split",
)
CDDN_CARS = Recipe(
    replace(IMAGES, shared_norm="channel", contrastive=0.0, shared_alignment=10.0),
    DataConfig(set="car-sides"),
    replace(AVERAGED, steps=7000),
    name="cddn-cars",
    about="front or rear and profile of cars, 64 px",
    shows="nearest view",
)
CDDN_EMOJI = Recipe(
    replace(IMAGES, contrastive=1.0),
    EMOJI,
    replace(AVERAGED, steps=6000),
    name="cddn-emoji",
    about="two styles of emoji, line art and colour, 64 px",
    shows="nearest view",
)
CDDN_SKETCHY = Recipe(
    CdDNConfig(
        shared=64,
        shared_norm="channel",
        critic_widths=(256, 128),
        shared_alignment=10.0,
        latent=10.0,
        rate=1e-3,
        decay=True,
    ),
    IIAE_SKETCHY.data,
    IIAE_SKETCHY.train,
    name="cddn-sketchy",
    about="photos and sketches of unseen classes, features",
    shows="zero-shot",
)
"""Features, pairs and length are those of IIAE_SKETCHY."""
CDDN_MNIST_CDCB_PAPER = Recipe(
    CdDNConfig(**PROGRAM),
    DataConfig(set="mnist-cdcb", size=(256, 256)),
    PROGRAM_TRAIN,  # 15 epochs of 50,000 pairs are 93,750 steps
    name="cddn-mnist-cdcb-paper",
    about="MNIST-CDCB at the paper's 256 px, enlarged from 32",
)
CDDN_MAPS_PAPER = Recipe(
    CdDNConfig(**PROGRAM),
    DataConfig(set="maps", size=(256, 256)),
    replace(PROGRAM_TRAIN, steps=27_400),  # 200 epochs of 1,096 pairs
    name="cddn-maps-paper",
    about="maps at the paper's 256 px",
)
CDDN_FACADES_PAPER = Recipe(
    CdDNConfig(**PROGRAM),
    DataConfig(set="facades", size=(256, 256)),
    replace(PROGRAM_TRAIN, steps=10_000),  # 200 epochs of the paper's 400 pairs; ours has 906
    name="cddn-facades-paper",
    about="facades at the paper's 256 px",
)
CDDN_CARS_PAPER = Recipe(
    CdDNConfig(**PROGRAM),
    DataConfig(set="car-sides", size=(256, 256)),
    replace(PROGRAM_TRAIN, steps=90_000),  # 900 epochs of the paper's 796 pairs are 89,550
    name="cddn-cars-paper",
    about="cars at the paper's 256 px, enlarged from 64",
)
CDDN_EMOJI_PAPER = Recipe(
    CdDNConfig(**PROGRAM),
    replace(EMOJI, size=(64, 64)),
    replace(PROGRAM_TRAIN, steps=73_000),  # 200 epochs
    name="cddn-emoji-paper",
    about="line art and colour emoji with the paper's widths and weights, 64 px",
)
ABLATED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("full", "the full method", {}),
    ("no-autoencoder", "no cross-domain autoencoders", {"autoencoder": "none"}),
    ("ordinary-autoencoder", "ordinary autoencoders", {"autoencoder": "ordinary"}),
    ("no-reversal", "no exclusive decoders behind a reversed gradient", {"reversal": False}),
    ("no-noise", "no noise on codes", {"noise": 0.0}),
    ("no-alike", "shared codes are not pulled together", {"shared_alignment": 0.0}),
    ("no-latent", "no latent reconstruction", {"latent": 0.0}),
)
"""What is changed in each: its name, what it is, the settings."""
CDDN_ABLATIONS = tuple(
    Recipe(
        replace(DIGITS, **changes),  # the paper's method, without CONTRASTIVE
        CDDN_MNIST_CDCB.data,
        replace(CDDN_MNIST_CDCB.train, steps=1000, evaluate_every=500),
        name=f"cddn-mnist-cdcb-{name}",
        about=f"table 3: {about}, 32 px",
        shows="analogy",
    )
    for name, about, changes in ABLATED
)
"""The ablations of table 3 on MNIST-CDCB, 1,000 steps each."""
