"""What an image shows, by a reader that was fitted to real images, and whether that is what it should show.

Legend: n images, c channels, h height, w width, d size of a feature vector.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam
from torch.optim.lr_scheduler import OneCycleLR

from unbraid.data.items import Rows
from unbraid.evaluation.metrics.probes import fitted

FEWEST = 2
"""Images of a value, at least, for a reader to know it."""
MANY = 1000
"""Images of each value from which a network is trained to read it, instead of a classifier of features."""
STEPS, BATCH, RATE = 600, 64, 2e-3
"""Training of that network: Adam's steps, images in each, highest learning rate."""


class AttributeReader:
    """Tells an attribute, such as a category, from features of images: logistic regression on standardised features.

    features: (n, d). values: (n,) from 0; negative ones are left out, and so are those with fewer images than FEWEST.
    Raises ValueError if fewer than two values are left.
    """

    def __init__(self, features: Float[Tensor, "n d"], values: Int[np.ndarray, " n"]) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        counts = np.bincount(values[values >= 0]) if (values >= 0).any() else np.zeros(0, np.int64)
        self.known = np.flatnonzero(counts >= FEWEST)
        """Values it can tell."""
        if len(self.known) < 2:
            raise ValueError(f"a reader needs two values with {FEWEST} images each; found {len(self.known)}")
        rows = np.isin(values, self.known)
        self.count = int(rows.sum())
        """Images it was fitted to."""
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
        self._model = fitted(model, features.cpu().numpy()[rows], values[rows])

    def read(self, features: Float[Tensor, "n d"]) -> Int[np.ndarray, " n"]:
        """Returns the value that each image shows: (n,)."""
        return self._model.predict(features.cpu().numpy())


def many_of_each(values: Int[np.ndarray, " n"]) -> bool:
    """Returns whether there are two values, and MANY images of each, for `ImageReader`."""
    _, counts = np.unique(values[values >= 0], return_counts=True)
    return len(counts) >= 2 and int(counts.min()) >= MANY


class ImageReader:
    """Tells an attribute from images: a network of three convolutions, trained on images of the target domain.

    A classifier of features goes by edges that real images alone have, such as the rims of pasted digits, and took
    smooth translations for something else.

    Args:
        read: Returns the images of rows, (n, c, h, w).
        rows: Of the images to train on.
        values: What each of these shows, (n,) from 0; negative ones are left out.
        seed: Of weights and batches.
    """

    def __init__(self, read: Callable[[Rows], Tensor], rows: Rows, values: Int[np.ndarray, " n"], seed: int) -> None:
        rows, values = rows[values >= 0], values[values >= 0]
        self.known, values = np.unique(values, return_inverse=True)
        """Values it can tell."""
        self.count = len(rows)
        """Images it was trained on."""
        first = read(rows[:1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._network = _classifier(first.shape[1], len(self.known)).to(first.device)
        optimiser = Adam(self._network.parameters(), lr=RATE)
        schedule, draw = OneCycleLR(optimiser, RATE, STEPS), np.random.default_rng(seed)
        for _ in range(STEPS):
            at = draw.integers(len(rows), size=BATCH)
            wanted = torch.from_numpy(values[at]).to(first.device)
            with torch.enable_grad():
                loss = cross_entropy(self._network(read(rows[at])), wanted)
                optimiser.zero_grad()
                loss.backward()
            optimiser.step()
            schedule.step()

    @torch.no_grad()
    def read(self, images: Float[Tensor, "n c h w"]) -> Int[np.ndarray, " n"]:
        """Returns the value that each image shows: (n,)."""
        return self.known[torch.cat([self._network(part).argmax(1) for part in images.split(BATCH)]).cpu().numpy()]


def _classifier(channels: int, values: int) -> nn.Sequential:
    """Builds a network (n, channels, h, w) -> (n, values)."""
    widths = [channels, 32, 64, 128]
    convs = [nn.Sequential(nn.Conv2d(i, o, 5, 2, 2), nn.ReLU(inplace=True)) for i, o in pairwise(widths)]
    return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * widths[-1], values))


def chance(found: Int[np.ndarray, " n"], wanted: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Returns what `agreement` would give on average if each image were compared with what another one should show, any
    other with equal chance. The same keys. Raises ValueError for fewer than two images."""
    if len(wanted) < 2:
        raise ValueError("there are too few images to compare each with another")
    right, each = 0.0, []
    for value in np.unique(wanted):
        own = np.equal(wanted, value)
        present = np.equal(found, value)
        hits = own.sum() * present.sum() - (own & present).sum()  # pairs of an image and what another one shows
        right += hits
        each.append(hits / (own.sum() * (len(wanted) - 1)))
    right /= len(wanted) * (len(wanted) - 1)
    return {"accuracy": round(100 * float(right), 3), "balanced": round(100 * float(np.mean(each)), 3)}


def agreement(found: Int[np.ndarray, " n"], wanted: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Returns the percentage of images that show what they should, and its mean over values, so that rare ones count
    as much.

    {"accuracy": .., "balanced": ..}. Raises ValueError for no images.
    """
    if not len(wanted):
        raise ValueError("there are no images to compare")
    right = np.equal(found, wanted)
    each = [right[np.equal(wanted, value)].mean() for value in np.unique(wanted)]
    return {"accuracy": round(100 * float(right.mean()), 3), "balanced": round(100 * float(np.mean(each)), 3)}
