"""What can be read out of codes: a classifier, or a regression, is fitted to some and tried on others.

Codes that shall be free of something are probed for it: accuracy near chance says that this probe found nothing, not
that nothing is there. It says even that only if the same reader finds what is there for certain: its positive control.
Legend: n items, d size of a code.
"""

import warnings
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from unbraid.core.files import Json

Kind = Literal["linear", "mlp"]
"""linear: logistic or ridge regression. mlp: one hidden layer of 256."""
LIMIT = 10_000
"""Codes that are fitted to, and tried on, at most; of more, as many are drawn by the seed."""
HIDDEN = 256
EPOCHS = 100
"""Passes of the mlp over the data at most; it stops when codes kept back from it are read no better for 10."""
ITERATIONS = 300
"""Of the logistic regression, at most."""
PLANTED = 4.0
"""Spread of what is planted in each dimension, where the codes have 1: 16 of 17 parts of the variance, so that even a
single number's control can be high."""
SURE = 0.95
"""Share of the way from chance to all that a control must come, for a probe of a label to say anything."""
SURE_R2 = 0.9
"""R^2 that the control of a regression must reach."""

Split = Shaped[Tensor, " n"] | Shaped[np.ndarray, " n"] | tuple[Any, Any]
"""Which items the probe is tried on: one truth value for each, or two arrays of positions (fitted to, tried on)."""


@dataclass(frozen=True)
class ProbeResult:
    """Accuracy with which a label was read out of held-out codes.

    accuracy, chance and control: percent. chance is that of the best guess without codes: the share of the most
    frequent class among the held-out items, or 1 / classes if that is more.
    """

    accuracy: float
    chance: float
    control: float
    """Accuracy of the same reader on codes that hold the label: these with the label planted in them, or others."""
    classes: int
    train: int
    """Codes it was fitted to."""
    test: int
    """Codes it was tried on."""
    left_out: int
    """Items beyond LIMIT, in neither."""
    parameters: int
    kind: Kind
    conclusive: bool = field(init=False)
    """Whether accuracy says anything of the codes: it, or the control, is `SURE` of the way from chance to all."""

    def __post_init__(self) -> None:
        reached = max(self.accuracy, self.control) - self.chance
        object.__setattr__(self, "conclusive", reached >= SURE * (100 - self.chance))

    def beside(self, other: "ProbeResult") -> "ProbeResult":
        """Returns the same with another code of the same items as control, if that code tells more than this one and
        less than the control."""
        return replace(self, control=min(self.control, other.accuracy)) if other.accuracy > self.accuracy else self


@dataclass(frozen=True)
class RegressionResult:
    """Accuracy with which a number was read out of held-out codes.

    r2: share of its variance that is explained. 1: all; 0: no better than the mean of the held-out items; worse: below.
    """

    r2: float
    control: float
    """R^2 of the same reader on codes that hold the number: these with the number planted in them, or others."""
    train: int
    test: int
    left_out: int
    parameters: int
    kind: Kind
    conclusive: bool = field(init=False)
    """Whether r2 says anything of the codes: it, or the control, is `SURE_R2` at least."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "conclusive", max(self.r2, self.control) >= SURE_R2)

    def beside(self, other: "RegressionResult") -> "RegressionResult":
        """Returns the same as `ProbeResult.beside`."""
        return replace(self, control=min(self.control, other.r2)) if other.r2 > self.r2 else self


def probe(
    codes: Float[Tensor, "n ..."],
    labels: Int[Tensor, " n"],
    held_out: Split,
    kind: Kind = "linear",
    seed: int = 0,
) -> ProbeResult:
    """Fits a classifier of `labels` to the codes that are not held out and tries it on those that are.

    Its control: another one, of the same codes with the label planted in them; codes in which it finds the label need
    none and are their own. A class that is held out altogether is one that both get wrong.

    Args:
        codes: (n, ...), each is flattened.
        labels: (n,).
        held_out: items the probe is tried on.
        kind: the reader.
        seed: of its initial weights and of what is drawn.

    Raises:
        ValueError: there is nothing to fit to or to try on, or fewer than two classes to fit to.
    """
    x, y, (train, test, left_out) = _prepared(codes, labels, held_out, seed)
    classes = len(np.unique(y[np.concatenate([train, test])]))
    if len(np.unique(y[train])) < 2:
        raise ValueError(f"a probe needs two classes to fit to, and {len(train)} items have one")

    def accuracy(x: np.ndarray) -> tuple[float, Any]:
        model = _classifier(x[train], y[train], kind, seed)
        return _percent((model.predict(x[test]) == y[test]).mean()), model

    found, model = accuracy(x)
    guess = np.unique(y[test], return_counts=True)[1].max() / len(test)
    chance = _percent(max(guess, 1 / classes))
    sure = found - chance >= SURE * (100 - chance)
    return ProbeResult(
        accuracy=found,
        chance=chance,
        control=found if sure else accuracy(_plant(x, y[:, None] == np.unique(y), seed))[0],
        classes=classes,
        train=len(train),
        test=len(test),
        left_out=left_out,
        parameters=_parameters(model),
        kind=kind,
    )


def regress(
    codes: Float[Tensor, "n ..."],
    factors: Float[Tensor, " n"],
    held_out: Split,
    kind: Kind = "linear",
    seed: int = 0,
) -> RegressionResult:
    """Fits a regression of `factors` on the codes that are not held out and tries it on those that are. See `probe`.

    Raises ValueError for fewer than two items to fit to or to try on, or a factor that is the same in all of either.
    """
    x, y, (train, test, left_out) = _prepared(codes, factors, held_out, seed)
    y = y.astype(np.float64)
    if min(y[train].std(), y[test].std()) == 0:
        raise ValueError("a factor that does not vary can't be regressed on")
    y = (y - y[train].mean()) / y[train].std()

    def explained(x: np.ndarray) -> tuple[float, Any]:
        model = _regression(x[train], y[train], kind, seed)
        error = np.square(model.predict(x[test]) - y[test]).mean()
        return round(float(1 - error / y[test].var()), 4), model

    found, model = explained(x)
    return RegressionResult(
        r2=found,
        control=found if found >= SURE_R2 else explained(_plant(x, y[:, None], seed))[0],
        train=len(train),
        test=len(test),
        left_out=left_out,
        parameters=_parameters(model),
        kind=kind,
    )


def _classifier(x: np.ndarray, y: np.ndarray, kind: Kind, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    if kind == "linear":
        return fitted(LogisticRegression(max_iter=ITERATIONS), x, y)
    # every class must be among the codes kept back, which stop it in time
    counts = np.unique(y, return_counts=True)[1]
    share = max(0.1, 1.5 * len(counts) / len(y))
    can_stop = counts.min() >= 2 and share <= 0.5
    stop = {"early_stopping": can_stop, "validation_fraction": share if can_stop else 0.1}
    return fitted(MLPClassifier(**_hidden(seed), **stop), x, y)


def _regression(x: np.ndarray, y: np.ndarray, kind: Kind, seed: int) -> Any:
    from sklearn.linear_model import Ridge
    from sklearn.neural_network import MLPRegressor

    model: Any = Ridge(alpha=1.0)
    if kind == "mlp":
        model = MLPRegressor(**_hidden(seed), early_stopping=len(y) >= 20)
    return fitted(model, x, y.astype(np.float32))


def _plant(x: np.ndarray, wanted: np.ndarray, seed: int) -> np.ndarray:
    """Codes (n, d), and in each dimension a random sum of what is wanted (n, k), of spread PLANTED."""
    weights = np.random.default_rng(seed).standard_normal((wanted.shape[1], x.shape[1]), np.float32)
    added = wanted.astype(np.float32) @ weights
    deviation = added.std(0)
    deviation[deviation == 0] = 1
    return x + PLANTED * (added - added.mean(0)) / deviation


def _prepared(
    codes: Tensor, wanted: Tensor, held_out: Split, seed: int
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray, int]]:
    """Codes with mean 0 and spread 1 over those to fit to, what is wanted, and (fit, try, how many left out)."""
    x, y = codes.detach().flatten(1).float().cpu().numpy(), wanted.detach().cpu().numpy()
    if isinstance(held_out, tuple):
        train, test = (np.asarray(rows, dtype=np.int64) for rows in held_out)
    else:
        mask = np.asarray(held_out, dtype=bool)
        train, test = np.flatnonzero(~mask), np.flatnonzero(mask)
    if not len(train) or not len(test):
        raise ValueError(f"a probe needs items to fit to and to be tried on, not {len(train)} and {len(test)}")
    random = np.random.default_rng(seed)
    total = len(train) + len(test)
    train, test = (random.permutation(rows)[:LIMIT] for rows in (train, test))
    mean, deviation = x[train].mean(0), x[train].std(0)
    deviation[deviation == 0] = 1
    return (x - mean) / deviation, y, (train, test, total - len(train) - len(test))


def _hidden(seed: int) -> Json:
    return {"hidden_layer_sizes": (HIDDEN,), "max_iter": EPOCHS, "n_iter_no_change": 10, "random_state": seed}


def fitted(model: Any, x: np.ndarray, y: np.ndarray) -> Any:
    """Fits one of scikit-learn's models by one thread: its matrices are small, so that several wait for each other most
    of the time, and they add up in another order.

    Args:
        model: The model.
        x: What it reads, (n, d).
        y: What it shall find, (n,).

    Returns:
        The model.
    """
    from threadpoolctl import threadpool_limits

    # it warns of limits, which are ours and said, and of many classes
    with warnings.catch_warnings(action="ignore"), threadpool_limits(1, "blas"):
        return model.fit(x, y)


def _parameters(model: Any) -> int:
    """Weights and biases that were fitted."""
    weights = model.coefs_ + model.intercepts_ if hasattr(model, "coefs_") else [model.coef_, model.intercept_]
    return sum(np.size(part) for part in weights)


def _percent(share: float) -> float:
    return round(100 * float(share), 3)
