"""Recipes of IIAE."""

from dataclasses import replace

from unbraid.config import RunConfig, TrainConfig
from unbraid.data.config import DataConfig
from unbraid.methods import iiae
from unbraid.methods.iiae import IIAEConfig
from unbraid.recipes.recipe import AT_PAPER_SIZE, Recipe

DIGITS = IIAEConfig(
    widths=(32, 64),
    decoder_widths=(128, 64),
    map_size=4,
    shared=16,
    beta=0.2,
    lam=5.0,
    likelihood=1000.0,
    anneal=1000.0,
    dropout=(0.0,),
    rate=1e-3,
    decay=True,
)
"""IIAE for digits at 32 px: three halvings, a 4x4 shared map."""


def demo() -> RunConfig[IIAEConfig]:
    """IIAE on the digits that ship with the package, in minutes."""
    return RunConfig(
        DIGITS, DataConfig(set="digits"), TrainConfig(minutes=3, batch=64, evaluate_every=500, distance="cosine")
    )


def mnist_cdcb() -> RunConfig[IIAEConfig]:
    """All of MNIST, coloured, at 32 px."""
    return RunConfig(
        DIGITS, DataConfig(set="mnist-cdcb"), TrainConfig(minutes=38, batch=64, evaluate_every=2000, distance="cosine")
    )


def mnist_cdcb_paper() -> RunConfig[IIAEConfig]:
    """All of MNIST at the paper's size, with its weights and length."""
    return paper(
        IIAEConfig(beta=0.2, lam=5.0, likelihood=1000.0), DataConfig(set="mnist-cdcb", size=(256, 256)), steps=1_012_000
    )


SMALL_IMAGES = replace(iiae.SMALL_IMAGES, perceptual_weight=0.0)
"""IIAE's default for small images, as these recipes were measured: without a perceptual loss."""


def maps() -> RunConfig[IIAEConfig]:
    """Aerial photos and maps at 64 px."""
    return RunConfig(
        SMALL_IMAGES,
        DataConfig(set="maps", size=(64, 64), augment=("turn", "shift")),
        TrainConfig(minutes=50, batch=16, evaluate_every=1000),
    )


def maps_paper() -> RunConfig[IIAEConfig]:
    """Aerial photos and maps at the paper's size, with its weights and length."""
    return paper(IIAEConfig(beta=0.02, lam=50.0, likelihood=20_000.0), DataConfig(set="maps"), epochs=400)


def facades() -> RunConfig[IIAEConfig]:
    """Facades and their labels at 64 px."""
    return RunConfig(
        replace(SMALL_IMAGES, beta=0.001, lam=1000.0, likelihood=5000.0),
        DataConfig(set="facades", size=(64, 64), augment=("flip", "shift")),
        TrainConfig(minutes=15, batch=16, evaluate_every=1000),
    )


def facades_paper() -> RunConfig[IIAEConfig]:
    """Facades and their labels at the paper's size, with its weights and length."""
    return paper(IIAEConfig(beta=0.001, lam=1000.0, likelihood=1000.0), DataConfig(set="facades"), epochs=300)


def cars() -> RunConfig[IIAEConfig]:
    """Front views of cars and their other views at 64 px: the same car, nothing in the same place."""
    method = IIAEConfig(
        code="flat",
        widths=(16, 32, 64, 128),
        decoder_widths=(256, 128, 64, 32),
        map_size=4,
        likelihood=5000.0,
        anneal=100.0,
        rate=1e-3,
        decay=True,
    )
    return RunConfig(method, DataConfig(set="cars"), TrainConfig(minutes=22, batch=32, evaluate_every=1000))


def cars_paper() -> RunConfig[IIAEConfig]:
    """Front views of cars and their other views at the paper's size, with its weights and length."""
    method = IIAEConfig(code="flat", likelihood=1000.0, anneal=100.0)
    return paper(method, DataConfig(set="cars", size=(256, 256)), epochs=500)


def car_sides() -> RunConfig[IIAEConfig]:
    """Front or rear and profile of cars at 64 px, as CdDN pairs them."""
    config = cars()
    return replace(config, data=DataConfig(set="car-sides"), train=replace(config.train, minutes=30))


def emoji() -> RunConfig[IIAEConfig]:
    """Two styles of emoji at 64 px, line art and colour."""
    return RunConfig(
        replace(SMALL_IMAGES, likelihood=5000.0),
        DataConfig(set="emoji", styles=("openmoji-black", "google")),
        TrainConfig(minutes=30, batch=16, evaluate_every=1000),
    )


SKETCHY_VECTORS = IIAEConfig(shared=64, exclusive=64, beta=0.5, lam=2.0, likelihood=10.0, squared=True, anneal=2000.0)
"""IIAE for feature vectors: the paper's networks and weights for Sketchy, 64 values in each code."""

SKETCHY = DataConfig(set="sketchy", by_class=True, balanced=True)
"""Every photo and every sketch of Sketchy, pairs drawn within a class, 25 classes to test on."""


def sketchy() -> RunConfig[IIAEConfig]:
    """Photos and sketches as features with a head tuned on the training classes; one pair of each class in a step."""
    return RunConfig(
        replace(SKETCHY_VECTORS, likelihood=300.0, rate=1e-3, decay=True),
        replace(SKETCHY, features="efficientnet-lite0", tuned=True),
        TrainConfig(steps=400, batch=90, evaluate_every=100, precision="fp32"),
    )


def sketchy_paper() -> RunConfig[IIAEConfig]:
    """The paper's networks, weights and length, about 10 passes over Sketchy Extended, on frozen features of VGG16."""
    return RunConfig(
        SKETCHY_VECTORS,
        replace(SKETCHY, features="vgg16"),
        TrainConfig(steps=7500, batch=100, evaluate_every=500, precision="fp32", distance="cosine"),
    )


def paper(
    method: IIAEConfig, data: DataConfig, steps: int | None = None, epochs: float | None = None
) -> RunConfig[IIAEConfig]:
    """The paper's training: batches of 8, Euclidean distance."""
    return RunConfig(method, data, TrainConfig(steps=steps, epochs=epochs, evaluate_every=5000, distance="euclidean"))


RECIPES: dict[str, Recipe] = {
    "demo": Recipe("iiae", "digits that ship with the package, 32 px, 3 minutes", demo, "-", "99.93 / 99.43"),
    "iiae-mnist-cdcb": Recipe("iiae", "MNIST-CDCB, 32 px, 38 minutes", mnist_cdcb, "99.7 / 99.7", "99.96 / 99.71"),
    "iiae-maps": Recipe("iiae", "aerial photos and maps, 64 px, 50 minutes", maps, "96.6 / 97.3", "97.27 / 96.45"),
    "iiae-facades": Recipe(
        "iiae", "facades and labels, 64 px, 15 minutes", facades, "96.2 / 99.1", "100.0 / 100.0 (other split)"
    ),
    "iiae-cars": Recipe("iiae", "front and other views of cars, 64 px, 22 minutes", cars, "-", "96.43 / 91.30"),
    "iiae-car-sides": Recipe(
        "iiae",
        "front or rear and profile of cars, 64 px, 30 minutes",
        car_sides,
        "-",
        "LPIPS .233 / .155 (one core)",
    ),
    "iiae-sketchy": Recipe(
        "iiae",
        "photos and sketches of unseen classes, features, a minute",
        sketchy,
        "mAP .573",
        "mAP .310 (25 a class, not comparable), raw features .135",
    ),
    "iiae-sketchy-paper": Recipe("iiae", "the same with the paper's weights and length", sketchy_paper, "mAP .573"),
    "iiae-emoji": Recipe(
        "iiae",
        "line art and colour emoji, 64 px, 30 minutes",
        emoji,
        "-",
        "LPIPS .460 / .499 (one core)",
    ),
    "iiae-mnist-cdcb-paper": Recipe("iiae", AT_PAPER_SIZE, mnist_cdcb_paper, "99.7 / 99.7"),
    "iiae-maps-paper": Recipe("iiae", AT_PAPER_SIZE, maps_paper, "96.6 / 97.3"),
    "iiae-facades-paper": Recipe("iiae", AT_PAPER_SIZE, facades_paper, "96.2 / 99.1"),
    "iiae-cars-paper": Recipe("iiae", AT_PAPER_SIZE, cars_paper),
}
