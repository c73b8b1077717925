"""Configuration of the data. Does not import torch, so that the command line starts quickly."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

Augmentation = Literal["flip", "turn", "shift"]
"""flip: left-right; turn: quarter turns and flips of square images; shift: by up to an eighth of the size."""

FeatureName = Annotated[str, tyro.conf.arg(metavar="vgg16|efficientnet-lite0|timm/NAME[@FILE]")]
"""Pretrained networks whose features can replace images: `nn.pretrained.teacher` says which there are."""

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
"""Known data sets. digits: 5,000 images included in the package; synthetic and synthetic-identifiable: generated
vectors; the others are read from `--data.root`. cars pairs the frontal view of a car with its other views, car-sides
front and rear with the profiles, cars3d has all views labelled by car, relit renders them in a lit scene and plain.
cuhk-avataaars has photos of faces on white and cartoon faces, unpaired."""


Kind = Literal["pairs", "a and b", "labelled"]
"""What data sets of a program's own give: pairs, items of each domain, items with labels."""


@dataclass(frozen=True)
class DataConfig:
    """Data source, image size and split.

    Set one source: set, folder, a and b, side-by-side, classes, csv, shards or arrays.
    """

    set: SetName | None = None
    """Name of a known data set; all but `digits` and the synthetic ones need --data.root."""
    root: Path | None = None
    """Folder that contains the known data sets."""
    folder: Path | None = None
    """Folder with a folder for each part: trainA trainB testA testB; or train and test with folders A and B, with
    images of two halves, or with a folder for each class; or a folder for each class with train and test in it."""
    a: Path | None = None
    """Folder of images of domain a, or of tar files of images, or such a file."""
    b: Path | None = None
    """Folder of images of domain b."""
    val_a: Path | None = None
    """Folder of images of domain a for validation, if they are kept apart from --data.a."""
    val_b: Path | None = None
    """Folder of images of domain b for validation."""
    test_a: Path | None = None
    """Folder of images of domain a for test, if they are kept apart from --data.a."""
    test_b: Path | None = None
    """Folder of images of domain b for test."""
    names: tuple[str, str] | None = None
    """What the domains are called in tables, pictures, the page and flags such as --source. Default: the names of
    their folders, if they are words; else a and b, which work always."""
    pairs: Path | None = None
    """CSV file that pairs files of --data.a with files of --data.b: two columns, with or without the header a,b; with
    the header a,b,part also the part of each pair: train, val or test."""
    unpaired: bool = False
    """Train without pairs: ignore that files of --data.a and --data.b have equal names, or that a data set is
    paired."""
    side_by_side: Path | None = None
    """Folder of images whose left half is a and whose right half is b."""
    classes: Path | None = None
    """Folder with one subfolder of images for each class."""
    csv: Path | None = None
    """CSV file of labels, in or above the folder of its images: a header, a column `file`, a column for each label, and
    optionally `part` (train, val or test) and `content`."""
    labels: tuple[str, ...] = ()
    """Columns of --data.csv, or attributes of the set avataaars, to use as labels: one for classes, several for
    attributes. Default: all columns; top."""
    shards: Path | None = None
    """Folder of tar files, or one, as WebDataset writes them: KEY.a.jpg and KEY.b.png are a pair, KEY.jpg and KEY.cls
    an image and its class. They are read where they lie."""
    arrays: Path | None = None
    """.npz file with arrays a and b, (n, h, w), (n, h, w, c) or (n, d), and optionally `label` (n,); or with x and
    label, (n,) or (n, k), and optionally `content` (n,); or a folder with such arrays as a.npy, b.npy and so on."""
    size: tuple[int, int] | None = None
    """Height and width of the images: they are scaled to cover it and cropped to the centre. Default: their original
    size."""
    channels: int | None = None
    """Number of channels: 1 for grey, 3 for colour. Default: that of the images; transparency becomes white."""
    styles: tuple[str, str] = ("google", "twitter")
    """Two styles of the emoji set: google, twitter, openmoji, openmoji-black."""
    val: float = 0.1
    """Fraction of the training images held out to choose the best checkpoint."""
    test: float = 0.1
    """Fraction of the images held out for `evaluate`, where the data set has no test part."""
    split: Literal["image", "class"] | None = None
    """Split of labelled images. image: every class is in the training part; class: the test part has classes of its
    own, a fraction --data.test of all. Default: that of the data set, else image."""
    balanced: bool = False
    """Sample classes uniformly instead of images."""
    by_class: bool = False
    """Pair any two items of one class, drawn anew in each epoch, and hold out whole classes for validation and test.
    For --data.a and --data.b with a subfolder for each class, the set sketchy, or --data.arrays with label_a and
    label_b."""
    test_classes: tuple[str, ...] = ()
    """Test classes for --data.by-class, instead of a fraction drawn by the seed."""
    features: FeatureName | None = None
    """Replace images by features of a pretrained network, computed once and cached: vgg16 (512 values),
    efficientnet-lite0 (1280), timm/NAME (a network of timm, from its cache) or timm/NAME@FILE."""
    tuned: bool = False
    """Train a projection head on the training classes and use its 256 outputs; with --data.by-class, on features or
    vectors."""
    tuned_network: bool = False
    """Fine-tune the network of --data.features together with the head of --data.tuned, which takes some minutes."""
    styles_per_class: int = 1
    """Number of styles into which each class is clustered, by k-means on first-layer features of VGG16; styles then
    serve as classes (labelled data and two unpaired domains)."""
    augment: tuple[Augmentation, ...] = ()
    """Random augmentations of training images, equal for both images of a pair: flip (left-right), turn (quarter turns
    and flips), shift (by up to an eighth of the size)."""
    transforms: tuple[str, ...] = ()
    """Random transforms of torchvision.transforms.v2 for training images, by name with plain arguments, equal for both
    images of a pair: RandomHorizontalFlip 'RandomResizedCrop(scale=(.8, 1))'. Their order is kept; they follow
    --data.augment."""
    strict: bool = False
    """Stop at the first unreadable image, instead of leaving it out and listing it."""
    from_python: Annotated[Kind | None, tyro.conf.Suppress] = None
    """Set by `unbraid.train` for data sets that a program gave it, which only a program can give again."""
    seed: int = 0
    """Random seed of the split and of all random choices in the data."""

    @property
    def moves(self) -> tuple[str, ...]:
        """Returns all that moves training images at random, as `Batches` takes it."""
        return (*self.augment, *self.transforms)
