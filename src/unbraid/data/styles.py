"""Styles: each class divided by looks before training, so that two unpaired domains become many classes.

LORD's preliminary step [1, appendix A.8, algorithm 1]: k-means within each class on first-layer features of VGG16 [2].

[1] A. Gabbay, Y. Hoshen: Demystifying Inter-Class Disentanglement. ICLR 2020.
[2] Y. Li, N. Wang, J. Liu, X. Hou: Demystifying Neural Style Transfer. IJCAI 2017.

Legend: n images, c channels, h height, w width, d size of a feature vector.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from unbraid.core.config import PerceptualConfig
from unbraid.core.data_config import DataConfig
from unbraid.core.types import UserError
from unbraid.data.parts import LabelledPart

if TYPE_CHECKING:
    from unbraid.nn.pretrained.perceptual import Vgg16

BATCH = 100
STARTS = 4
"""K-means begins so many times, and the closest clusters are kept."""

Features = Callable[[Tensor], Tensor]
"""(n, c, h, w) images in [-1, 1] -> (n, d)."""


@dataclass(frozen=True)
class Styles:
    """The division of classes into styles: their number in each class, their features, and a seed."""

    count: int
    features: Features
    seed: int


def wanted_styles(config: DataConfig, perceptual: PerceptualConfig | None = None) -> Styles | None:
    """Returns the styles that --data.styles-per-class asks for, or None.

    VGG16's weights are found when the first features are computed: UserError then, if there are none, or for items that
    aren't images of 1 or 3 channels.
    """
    if config.styles_per_class == 1:
        return None

    @cache
    def network() -> "Vgg16":
        from unbraid.nn.pretrained.perceptual import Vgg16, find_weights

        return Vgg16(find_weights("vgg16", perceptual or PerceptualConfig()))

    def features(x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise UserError(
                f"--data.styles-per-class {config.styles_per_class}: VGG16 sees images of 1 or 3 channels, and these "
                f"items are {tuple(x.shape[1:])}. Give --data.channels, or leave it out"
            )
        return network().style(x)

    return Styles(config.styles_per_class, features, config.seed)


def cluster_styles(part: LabelledPart, count: int, features: Features, seed: int) -> LabelledPart:
    """Divides each class of a part into styles by k-means; the styles are its classes from then on.

    Styles are numbered class by class: those of class 0, those of class 1, and so on. Items of other parts get -1.

    Args:
        part: with one label.
        count: styles in each class; fewer where a class has fewer distinct features.
        features: of images.
        seed: of k-means.

    Raises:
        UserError: if there are several labels.
    """
    if part.labels.shape[1] > 1:
        raise UserError(
            f"--data.styles-per-class {count} divides classes, and these data have {part.labels.shape[1]} labels for "
            "each image: choose one with --data.labels, or leave it out"
        )
    own = part.labels[part.rows, 0]
    styles = np.empty_like(own)
    class_names: list[str] = []
    with _one_thread():
        found = _features(part, features)
        for label in np.unique(own):
            clusters = _clusters(found[own == label], count, seed)
            styles[own == label] = clusters + len(class_names)
            name = part.class_names[label] if len(part.class_names) else label
            class_names += [f"{name}, style {number}" for number in range(clusters.max() + 1)]
    labels = np.full_like(part.labels, -1)
    labels[part.rows, 0] = styles
    return replace(part, labels=labels, values=(tuple(class_names),), label_names=("style",))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limits sums to one order, so that a run that goes on elsewhere finds the clusters it began with: the code of a
    style would be another's otherwise."""
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def _features(part: LabelledPart, features: Features) -> np.ndarray:
    """Returns features of the part's items as they are stored, (n, d) float64."""
    batches = np.split(part.rows, range(BATCH, len(part), BATCH))
    return torch.cat([features(part.x.read(rows, 0)).cpu().double() for rows in batches]).numpy()


def _clusters(features: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Returns the cluster of each item, (n,), none of them empty. features: (n, d)."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    count = min(count, len(np.unique(features, axis=0)))
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # features that differ by rounding only
        found = KMeans(count, n_init=STARTS, random_state=seed).fit_predict(features)  # pyright: ignore[reportArgumentType]
    return np.unique(found, return_inverse=True)[1].astype(np.int64)
