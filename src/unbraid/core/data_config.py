"""What a user says about the data. Free of torch, so that the command line can read it quickly."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Augmentation = Literal["flip", "turn", "shift"]
"""flip: left-right; turn: quarter turns and flips of square images; shift: up to an eighth of the size."""

FeatureName = Literal["vgg16", "efficientnet-lite0"]
"""Networks trained on ImageNet, whose features can stand for images."""

SetName = Literal[
    "digits",
    "mnist-cdcb",
    "maps",
    "facades",
    "cars",
    "car-sides",
    "cars3d",
    "relit",
    "sketchy",
    "cuhk",
    "cuhk-avataaars",
    "emoji",
    "avataaars",
    "synthetic",
    "synthetic-identifiable",
]
"""digits: 5,000 real digits that ship with the package; synthetic and synthetic-identifiable: vectors drawn on the fly;
the others lie under `--data.root`. cars pairs the frontal view of each car with its other views, car-sides its front
and rear with its profiles, cars3d has all views labelled by car, relit shows them in a scene of ours and plain.
cuhk-avataaars has photos of faces on white and cartoon faces, which are no pairs."""


@dataclass(frozen=True)
class DataConfig:
    """Which images, how large, and how they are divided.

    Give one source: set, a and b, side-by-side, classes, csv or arrays.
    """

    set: SetName | None = None
    """A known data set; all but `digits` and the synthetic ones need --data.root."""
    root: Path | None = None
    """Folder that holds the known data sets."""
    a: Path | None = None
    """Folder with the images of domain a."""
    b: Path | None = None
    """Folder with the images of domain b."""
    pairs: Path | None = None
    """CSV file that says which file of --data.a belongs to which of --data.b: two columns, with or without the header
    a,b."""
    unpaired: bool = False
    """The images of --data.a and --data.b don't belong together, whatever their names are. With other sources: training
    doesn't see which belong together."""
    side_by_side: Path | None = None
    """Folder of images whose left half is a and whose right half is b."""
    classes: Path | None = None
    """Folder with one folder of images for each class."""
    csv: Path | None = None
    """CSV file of labels, beside or above its images: a header, the column `file`, a column for each label, and perhaps
    `part` (train, val or test) and `content`."""
    labels: tuple[str, ...] = ()
    """The columns of --data.csv, or attributes of the set avataaars, to use; one is a class, several are attributes.
    Default: all columns; top."""
    arrays: Path | None = None
    """.npz file with the arrays a and b, (n, h, w), (n, h, w, c) or (n, d), and perhaps `label` (n,), or with x and
    label, (n,) or (n, k), and perhaps `content` (n,); or a folder with such arrays as a.npy, b.npy and so on."""
    size: tuple[int, int] | None = None
    """Height and width to bring the images to: scaled to cover, middle kept. Default: the size they have."""
    channels: int | None = None
    """1 for grey, 3 for colour. Default: what the images have; transparency is laid on white."""
    styles: tuple[str, str] = ("google", "twitter")
    """The two styles of the emoji set: google, twitter, openmoji, openmoji-black."""
    val: float = 0.1
    """Share of the training images held out to choose the best checkpoint."""
    test: float = 0.1
    """Share of the images held out for `evaluate`, where the set has no test part of its own."""
    split: Literal["image", "class"] | None = None
    """How labelled images are divided. image: each class is in training; class: training never sees the classes of
    test, a share --data.test of all. Default: as the set is divided of its own, else image."""
    balanced: bool = False
    """Draw classes equally often instead of images."""
    by_class: bool = False
    """Pairs are any two items of one class, drawn anew in each pass, and training never sees the classes of validation
    and test: --data.a and --data.b with a folder for each class, the set sketchy, or --data.arrays with label_a and
    label_b."""
    test_classes: tuple[str, ...] = ()
    """With --data.by-class: the classes to test on, instead of a share drawn by the seed."""
    features: FeatureName | None = None
    """Take a network's features for the images, computed once and kept: vgg16 (512 values), efficientnet-lite0 (1280).
    """
    tuned: bool = False
    """With --data.by-class, of features or vectors: train a head on the training classes, and take its 256 values."""
    tuned_network: bool = False
    """With --data.tuned: then train the network of --data.features together with the head, some minutes."""
    styles_per_class: int = 1
    """Divide each class into so many styles, by k-means on first-layer features of VGG16, and take styles as classes
    (labelled data and two unpaired domains)."""
    augment: tuple[Augmentation, ...] = ()
    """Random moves of training images, alike for both sides of a pair: flip (left-right), turn (quarter turns and
    flips), shift (up to an eighth)."""
    strict: bool = False
    """Stop at the first image that can't be read, instead of leaving it out and listing it."""
    seed: int = 0
    """Seed of the division into parts and of everything drawn at random in the data."""
