"""Recipes of IIAE."""

from dataclasses import replace

from unbraid.core.config import RunConfig, TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.methods import iiae
from unbraid.methods.iiae import IIAEConfig
from unbraid.recipes.recipe import Recipe

DIGITS = IIAEConfig(
    widths=(32, 64),
    decoder_widths=(128, 64),
    map_size=4,
    shared=16,
    beta=0.2,
    lam=5.0,
    reconstruction=1000.0,
    anneal=1000.0,
    dropout=(0.0,),
    rate=1e-3,
    decay=True,
)
"""IIAE for digits at 32 px: three halvings, a 4x4 shared map."""


def demo() -> RunConfig[IIAEConfig]:
    """IIAE on the digits that ship with the package."""
    return RunConfig(
        DIGITS, DataConfig(set="digits"), TrainConfig(steps=1600, batch=64, evaluate_every=400, distance="cosine")
    )


def mnist_cdcb() -> RunConfig[IIAEConfig]:
    """All of MNIST, coloured, at 32 px; as many steps as cddn-mnist-cdcb."""
    return RunConfig(
        DIGITS, DataConfig(set="mnist-cdcb"), TrainConfig(steps=8000, batch=64, evaluate_every=2000, distance="cosine")
    )


def mnist_cdcb_paper() -> RunConfig[IIAEConfig]:
    """All of MNIST with the paper's weights, enlarged to the 256 px that its networks are for."""
    return paper(IIAEConfig(beta=0.2, lam=5.0, reconstruction=1000.0), DataConfig(set="mnist-cdcb", size=(256, 256)))


SMALL_IMAGES = replace(iiae.SMALL_IMAGES, perceptual_weight=0.0)
"""IIAE's default for small images, as these recipes were measured: without a perceptual loss."""


def maps() -> RunConfig[IIAEConfig]:
    """Aerial photos and maps at 64 px; as many steps as cddn-maps."""
    return RunConfig(
        SMALL_IMAGES,
        DataConfig(set="maps", size=(64, 64), augment=("turn", "shift")),
        TrainConfig(steps=10_000, batch=16, evaluate_every=1000),
    )


def maps_paper() -> RunConfig[IIAEConfig]:
    """Aerial photos and maps at the paper's size, with its weights.

    The published program looks at checkpoints from 400 epochs (54,800 steps) on, at every 137th step; here it is every
    1,370th from the beginning on.
    """
    return paper(IIAEConfig(beta=0.02, lam=50.0, reconstruction=20_000.0), DataConfig(set="maps"), evaluate_every=1370)


def facades() -> RunConfig[IIAEConfig]:
    """Facades and their labels at 64 px; as many steps as cddn-facades."""
    return RunConfig(
        replace(SMALL_IMAGES, beta=0.001, lam=1000.0, reconstruction=5000.0),
        DataConfig(set="facades", size=(64, 64), augment=("flip", "shift")),
        TrainConfig(steps=9000, batch=16, evaluate_every=1000),
    )


def facades_paper() -> RunConfig[IIAEConfig]:
    """Facades and their labels at the paper's size, with its weights.

    The published program looks at checkpoints from 300 epochs on, at every 100th step; here it is every 1,000th from
    the beginning on.
    """
    return paper(
        IIAEConfig(beta=0.001, lam=1000.0, reconstruction=1000.0), DataConfig(set="facades"), evaluate_every=1000
    )


def cars() -> RunConfig[IIAEConfig]:
    """Front views of cars and their other views at 64 px: the same car, nothing in the same place."""
    method = IIAEConfig(
        code="flat",
        widths=(16, 32, 64, 128),
        decoder_widths=(256, 128, 64, 32),
        map_size=4,
        reconstruction=5000.0,
        anneal=100.0,
        rate=1e-3,
        decay=True,
    )
    return RunConfig(method, DataConfig(set="cars"), TrainConfig(steps=9000, batch=32, evaluate_every=1000))


def cars_paper() -> RunConfig[IIAEConfig]:
    """Front views of cars and their other views with the paper's weights, enlarged to the 256 px that its networks are
    for. The paper's 500 epochs of 16,192 pairs are 1,012,000 steps."""
    method = IIAEConfig(code="flat", reconstruction=1000.0, anneal=100.0)
    return paper(method, DataConfig(set="cars", size=(256, 256)))


def car_sides() -> RunConfig[IIAEConfig]:
    """Front or rear and profile of cars at 64 px, as CdDN pairs them; steps and batch are those of cddn-cars."""
    config = cars()
    return replace(config, data=DataConfig(set="car-sides"), train=replace(config.train, steps=7000, batch=16))


def emoji() -> RunConfig[IIAEConfig]:
    """Two styles of emoji at 64 px, line art and colour; as many steps as cddn-emoji."""
    return RunConfig(
        replace(SMALL_IMAGES, reconstruction=5000.0),
        DataConfig(set="emoji", styles=("openmoji-black", "google")),
        TrainConfig(steps=6000, batch=16, evaluate_every=1000),
    )


SKETCHY_VECTORS = IIAEConfig(
    shared=64, exclusive=64, beta=0.5, lam=2.0, reconstruction=10.0, squared=True, anneal=2000.0
)
"""IIAE for feature vectors: the paper's networks and weights for Sketchy, 64 values in each code."""

SKETCHY = DataConfig(set="sketchy", by_class=True, balanced=True)
"""Every photo and every sketch of Sketchy, pairs drawn within a class, 25 classes to test on."""


def sketchy() -> RunConfig[IIAEConfig]:
    """Photos and sketches as features with a head tuned on the training classes; one pair of each class in a step."""
    return RunConfig(
        replace(SKETCHY_VECTORS, reconstruction=300.0, rate=1e-3, decay=True),
        replace(SKETCHY, features="efficientnet-lite0", tuned=True),
        TrainConfig(steps=400, batch=90, evaluate_every=100, precision="fp32"),
    )


def sketchy_paper() -> RunConfig[IIAEConfig]:
    """The paper's networks and weights on features of VGG16; these are frozen, the paper's were tuned on the training
    classes. Length and batch, one pair of each training class, are the published program's."""
    return RunConfig(
        SKETCHY_VECTORS,
        replace(SKETCHY, features="vgg16"),
        TrainConfig(steps=6000, batch=100, evaluate_every=500, precision="fp32", distance="cosine"),
    )


def paper(method: IIAEConfig, data: DataConfig, evaluate_every: int = 5000) -> RunConfig[IIAEConfig]:
    """The published program's training: batches of 8, up to 1,012,000 steps, Euclidean distance. The best checkpoint on
    a held-out part of the training images is kept."""
    return RunConfig(method, data, TrainConfig(steps=1_012_000, evaluate_every=evaluate_every, distance="euclidean"))


RECIPES: dict[str, Recipe] = {
    "demo": Recipe("iiae", "digits that ship with the package, 32 px", demo),
    "iiae-mnist-cdcb": Recipe("iiae", "MNIST-CDCB, 32 px", mnist_cdcb, "99.7 / 99.7"),
    "iiae-maps": Recipe("iiae", "aerial photos and maps, 64 px", maps, "96.6 / 97.3"),
    "iiae-facades": Recipe("iiae", "facades and labels, 64 px", facades, "96.2 / 99.1", note="other split"),
    "iiae-cars": Recipe("iiae", "front and other views of cars, 64 px", cars),
    "iiae-car-sides": Recipe(
        "iiae",
        "front or rear and profile of cars, 64 px",
        car_sides,
        shows="nearest view",
    ),
    "iiae-sketchy": Recipe(
        "iiae",
        "photos and sketches of unseen classes, features",
        sketchy,
        "mAP .573",
        "zero-shot",
        "25 a class, not comparable",
    ),
    "iiae-emoji": Recipe(
        "iiae",
        "line art and colour emoji, 64 px",
        emoji,
        shows="nearest view",
    ),
    "iiae-sketchy-paper": Recipe("iiae", "the same with the paper's weights, VGG16", sketchy_paper, "mAP .573"),
    "iiae-mnist-cdcb-paper": Recipe(
        "iiae", "MNIST-CDCB at the paper's 256 px, enlarged from 32", mnist_cdcb_paper, "99.7 / 99.7"
    ),
    "iiae-maps-paper": Recipe("iiae", "maps at the paper's 256 px", maps_paper, "96.6 / 97.3"),
    "iiae-facades-paper": Recipe("iiae", "facades at the paper's 256 px", facades_paper, "96.2 / 99.1"),
    "iiae-cars-paper": Recipe("iiae", "cars at the paper's 256 px, enlarged from 64", cars_paper),
}
