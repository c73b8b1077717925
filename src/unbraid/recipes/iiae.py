"""Recipes of IIAE."""

from dataclasses import replace

from unbraid.core.config import TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.core.recipe import Recipe
from unbraid.methods import iiae
from unbraid.methods.iiae import IIAEConfig

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
SMALL_IMAGES = replace(iiae.SMALL_IMAGES, perceptual_weight=0.0)
"""IIAE's default for small images, as these recipes were measured: without a perceptual loss."""
CARS = IIAEConfig(
    code="flat",
    widths=(16, 32, 64, 128),
    decoder_widths=(256, 128, 64, 32),
    map_size=4,
    reconstruction=5000.0,
    anneal=100.0,
    rate=1e-3,
    decay=True,
)
"""IIAE for cars at 64 px: the same car, nothing in the same place."""
SKETCHY_VECTORS = IIAEConfig(
    shared=64, exclusive=64, beta=0.5, lam=2.0, reconstruction=10.0, squared=True, anneal=2000.0
)
"""IIAE for feature vectors: the paper's networks and weights for Sketchy, 64 values in each code."""
SKETCHY = DataConfig(set="sketchy", by_class=True, balanced=True)
"""Every photo and every sketch of Sketchy, pairs drawn within a class, 25 classes to test on."""
PAPER = TrainConfig(steps=1_012_000, evaluate_every=5000, distance="euclidean")
"""The published program's training: batches of 8, up to 1,012,000 steps, Euclidean distance; for cars these are the
paper's 500 epochs of 16,192 pairs. The best checkpoint on a held-out part of the training images is kept."""

DEMO = Recipe(
    DIGITS,
    DataConfig(set="digits"),
    TrainConfig(steps=1600, batch=64, evaluate_every=400, distance="cosine"),
    name="demo",
    about="digits that ship with the package, 32 px",
)
IIAE_MNIST_CDCB = Recipe(
    DIGITS,
    DataConfig(set="mnist-cdcb"),
    TrainConfig(steps=8000, batch=64, evaluate_every=2000, distance="cosine"),
    name="iiae-mnist-cdcb",
    about="MNIST-CDCB, 32 px",
)
IIAE_MAPS = Recipe(
    SMALL_IMAGES,
    DataConfig(set="maps", size=(64, 64), augment=("turn", "shift")),
    TrainConfig(steps=10_000, batch=16, evaluate_every=1000),
    name="iiae-maps",
    about="aerial photos and maps, 64 px",
)
IIAE_FACADES = Recipe(
    replace(SMALL_IMAGES, beta=0.001, lam=1000.0, reconstruction=5000.0),
    DataConfig(set="facades", size=(64, 64), augment=("flip", "shift")),
    TrainConfig(steps=9000, batch=16, evaluate_every=1000),
    name="iiae-facades",
    about="facades and labels, 64 px",
    note="other split",
)
IIAE_CARS = Recipe(
    CARS,
    DataConfig(set="cars"),
    TrainConfig(steps=9000, batch=32, evaluate_every=1000),
    name="iiae-cars",
    about="front and other views of cars, 64 px",
)
IIAE_CAR_SIDES = Recipe(
    CARS,
    DataConfig(set="car-sides"),
    TrainConfig(steps=7000, batch=16, evaluate_every=1000),
    name="iiae-car-sides",
    about="front or rear and profile of cars, 64 px",
    shows="nearest view",
)
"""Pairs, steps and batch are those of CDDN_CARS."""
IIAE_SKETCHY = Recipe(
    replace(SKETCHY_VECTORS, reconstruction=300.0, rate=1e-3, decay=True),
    replace(SKETCHY, features="efficientnet-lite0", tuned=True),
    TrainConfig(steps=400, batch=90, evaluate_every=100, precision="fp32"),
    name="iiae-sketchy",
    about="photos and sketches of unseen classes, features",
    shows="zero-shot",
    note="25 a class, not comparable",
)
"""Features with a head tuned on the training classes; one pair of each class in a step."""
IIAE_EMOJI = Recipe(
    replace(SMALL_IMAGES, reconstruction=5000.0),
    DataConfig(set="emoji", styles=("openmoji-black", "google")),
    TrainConfig(steps=6000, batch=16, evaluate_every=1000),
    name="iiae-emoji",
    about="line art and colour emoji, 64 px",
    shows="nearest view",
)
IIAE_SKETCHY_PAPER = Recipe(
    SKETCHY_VECTORS,
    replace(SKETCHY, features="vgg16"),
    TrainConfig(steps=6000, batch=100, evaluate_every=500, precision="fp32", distance="cosine"),
    name="iiae-sketchy-paper",
    about="photos and sketches with the paper's weights, VGG16",
)
"""The features are frozen, the paper's were tuned on the training classes. Length and batch, one pair of each training
class, are the published program's."""
IIAE_MNIST_CDCB_PAPER = Recipe(
    IIAEConfig(beta=0.2, lam=5.0, reconstruction=1000.0),
    DataConfig(set="mnist-cdcb", size=(256, 256)),
    PAPER,
    name="iiae-mnist-cdcb-paper",
    about="MNIST-CDCB at the paper's 256 px, enlarged from 32",
)
IIAE_MAPS_PAPER = Recipe(
    IIAEConfig(beta=0.02, lam=50.0, reconstruction=20_000.0),
    DataConfig(set="maps"),
    replace(PAPER, evaluate_every=1370),
    name="iiae-maps-paper",
    about="maps at the paper's 256 px",
)
"""The published program looks at checkpoints from 400 epochs (54,800 steps) on, at every 137th step; here it is every
1,370th from the beginning on."""
IIAE_FACADES_PAPER = Recipe(
    IIAEConfig(beta=0.001, lam=1000.0, reconstruction=1000.0),
    DataConfig(set="facades"),
    replace(PAPER, evaluate_every=1000),
    name="iiae-facades-paper",
    about="facades at the paper's 256 px",
)
"""The published program looks at checkpoints from 300 epochs on, at every 100th step; here it is every 1,000th from the
beginning on."""
IIAE_CARS_PAPER = Recipe(
    IIAEConfig(code="flat", reconstruction=1000.0, anneal=100.0),
    DataConfig(set="cars", size=(256, 256)),
    PAPER,
    name="iiae-cars-paper",
    about="cars at the paper's 256 px, enlarged from 64",
)
