"""Recipes of CdDN."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from unbraid.core.config import RunConfig, TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.methods import cddn
from unbraid.methods.cddn import CdDNConfig
from unbraid.recipes import iiae
from unbraid.recipes.recipe import Recipe

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
by its weights, shared codes of all digits were alike here after 800 steps (recall@1 3 %)."""

SPREAD: dict[str, Any] = {"shared_norm": "value", "contrastive": 10.0, "shared_alignment": 100.0}
"""Shared codes that can't be the same for all images, and so bear the paper's weight on being alike in both domains."""


def mnist_cdcb() -> RunConfig[CdDNConfig]:
    """All of MNIST, coloured, at 32 px."""
    return RunConfig(
        replace(DIGITS, **{**SPREAD, "contrastive": 1.0}),  # a place of a digit doesn't show as many different things
        DataConfig(set="mnist-cdcb"),
        TrainConfig(steps=8000, batch=16, evaluate_every=1000, average=0.999, distance="euclidean"),
    )


IMAGES = replace(cddn.SMALL_IMAGES, **SPREAD)
"""CdDN's default for small images, the weight of the contrastive term as is good for photographs."""


QUIET: dict[str, Any] = {"gan": 0.1, "exclusive_gan": 0.01, "latent_gan": 0.1, "latent": 1.0}
"""Less of the critics and of what reads the noise again, beside what holds codes together: better for retrieval."""


def images(data: DataConfig, steps: int, **changes: Any) -> Callable[[], RunConfig[CdDNConfig]]:
    """CdDN at 64 px or below, by what is said of the data."""

    def make() -> RunConfig[CdDNConfig]:
        train = TrainConfig(steps=steps, batch=16, evaluate_every=1000, average=0.999)
        return RunConfig(replace(IMAGES, **changes), data, train)

    return make


def ablation(**changes: Any) -> Callable[[], RunConfig[CdDNConfig]]:
    """An ablation of table 3 on MNIST-CDCB, 1,000 steps: of the paper's method, without `SPREAD`."""

    def make() -> RunConfig[CdDNConfig]:
        config = mnist_cdcb()
        return replace(
            config, method=replace(DIGITS, **changes), train=replace(config.train, steps=1000, evaluate_every=500)
        )

    return make


def paper(data: DataConfig, steps: int, size: int = 256) -> Callable[[], RunConfig[CdDNConfig]]:
    """The authors' program (`PROGRAM`), batches of 8. The paper brings all images to 256 px, smaller ones too. `steps`:
    its epochs of its own sets. The running average of weights that is kept is ours; training doesn't see it."""

    def make() -> RunConfig[CdDNConfig]:
        return RunConfig(
            CdDNConfig(**PROGRAM),
            replace(data, size=(size, size)),
            TrainConfig(steps=steps, evaluate_every=5000, average=0.999, distance="euclidean"),
        )

    return make


def sketchy() -> RunConfig[CdDNConfig]:
    """As iiae-sketchy: the same features, pairs and length."""
    config = iiae.sketchy()
    method = CdDNConfig(
        shared=64,
        shared_norm="channel",
        critic_widths=(256, 128),
        shared_alignment=10.0,
        latent=10.0,
        rate=1e-3,
        decay=True,
    )
    return RunConfig(method, config.data, config.train)


ABLATIONS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("full", "the full method", "13.0 / 10.2", {}),
    ("no-autoencoder", "no cross-domain autoencoders", "35.1 / 15.0", {"autoencoder": "none"}),
    ("ordinary-autoencoder", "ordinary autoencoders", "40.0 / 16.8", {"autoencoder": "ordinary"}),
    (
        "no-reversal",
        "no exclusive decoders behind a reversed gradient",
        "11.4 / 11.5",
        {"reversal": False},
    ),
    ("no-noise", "no noise on codes", "13.0 / 11.9", {"noise": 0.0}),
    ("no-alike", "shared codes are not pulled together", "16.6 / 12.4", {"shared_alignment": 0.0}),
    ("no-latent", "no latent reconstruction", "18.9 / 12.9", {"latent": 0.0}),
)
"""The ablations of table 3: name, what it is, the paper's analogy distances (CB / CD), what changes."""

RECIPES: dict[str, Recipe] = {
    "cddn-mnist-cdcb": Recipe("cddn", "MNIST-CDCB, 32 px", mnist_cdcb, "99.6 / 99.6"),
    "cddn-maps": Recipe(
        "cddn",
        "aerial photos and maps, 64 px",
        images(DataConfig(set="maps", size=(64, 64), augment=("turn", "shift")), 10_000, initial="torch", **QUIET),
        "91.4 / 96.9",
    ),
    "cddn-facades": Recipe(
        "cddn",
        "facades and labels, 64 px",
        images(DataConfig(set="facades", size=(64, 64), augment=("flip", "shift")), 9000),
        "84.9 / 89.6",
        note="other split",
    ),
    "cddn-cars": Recipe(
        "cddn",
        "front or rear and profile of cars, 64 px",
        images(DataConfig(set="car-sides"), 7000, shared_norm="channel", contrastive=0.0, shared_alignment=10.0),
        "LPIPS .083 / .047 at 256 px",
        "nearest view",
    ),
    "cddn-emoji": Recipe(
        "cddn",
        "two styles of emoji, line art and colour, 64 px",
        images(DataConfig(set="emoji", styles=("openmoji-black", "google")), 6000, contrastive=1.0),
        "-",
        shows="nearest view",
    ),
    "cddn-sketchy": Recipe("cddn", "photos and sketches of unseen classes, features", sketchy, shows="zero-shot"),
    "cddn-mnist-cdcb-paper": Recipe(
        "cddn",
        "MNIST-CDCB at the paper's 256 px, enlarged from 32",
        paper(DataConfig(set="mnist-cdcb"), 94_000),  # 15 epochs of 50,000 pairs are 93,750
        "99.6 / 99.6",
    ),
    "cddn-maps-paper": Recipe(
        "cddn",
        "maps at the paper's 256 px",
        paper(DataConfig(set="maps"), 27_400),  # 200 epochs of 1,096 pairs
        "91.4 / 96.9",
    ),
    "cddn-facades-paper": Recipe(
        "cddn",
        "facades at the paper's 256 px",
        paper(DataConfig(set="facades"), 10_000),  # 200 epochs of the paper's 400 pairs; ours has 906
        "84.9 / 89.6",
    ),
    "cddn-cars-paper": Recipe(
        "cddn",
        "cars at the paper's 256 px, enlarged from 64",
        paper(DataConfig(set="car-sides"), 90_000),  # 900 epochs of the paper's 796 pairs are 89,550
        "LPIPS .083 / .047",
    ),
    "cddn-emoji-paper": Recipe(
        "cddn",
        "the same emoji with the paper's widths and weights, 64 px",
        paper(DataConfig(set="emoji", styles=("openmoji-black", "google")), 73_000, size=64),  # 200 epochs
    ),
    **{
        f"cddn-mnist-cdcb-{name}": Recipe(
            "cddn",
            f"table 3: {about}, 32 px",
            ablation(**changes),
            f"analogy {theirs}",
            "analogy",
        )
        for name, about, theirs, changes in ABLATIONS
    },
}
