"""What an image shows, by a reader that was fitted to real images, and whether that is what it should show.

Legend: n images, d size of a feature vector.
"""

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from unbraid.evaluation.metrics.probes import fitted

FEWEST = 2
"""Images of a value, at least, for a reader to know it."""


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
