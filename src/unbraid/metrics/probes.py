"""What can be read out of codes: a classifier, or a regression, is fitted to some and tried on others.

Codes that shall be free of something are probed for it: accuracy near chance says that this probe found nothing, not
that nothing is there. Legend: n items, d size of a code.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Shaped
from torch import Tensor

Kind = Literal["linear", "mlp"]
"""linear: logistic or ridge regression. mlp: one hidden layer of 256."""
LIMIT = 10_000
"""Codes that are fitted to, and tried on, at most; of more, as many are drawn by the seed."""
HIDDEN = 256
EPOCHS = 100
"""Passes of the mlp over the data at most; it stops when codes kept back from it are read no better for 10."""
ITERATIONS = 300
"""Of the logistic regression, at most."""

Split = Shaped[Tensor, " n"] | Shaped[np.ndarray, " n"] | tuple[Any, Any]
"""Which items the probe is tried on: one truth value for each, or two arrays of positions (fitted to, tried on)."""


@dataclass(frozen=True)
class ProbeResult:
    """How well a label was read out of held-out codes.

    accuracy and chance: percent. chance is that of the best guess without codes: the share of the most frequent class
    among the held-out items, or 1 / classes if that is more.
    """

    accuracy: float
    chance: float
    classes: int
    train: int
    """Codes it was fitted to."""
    test: int
    """Codes it was tried on."""
    left_out: int
    """Items beyond LIMIT, in neither."""
    parameters: int
    kind: Kind


@dataclass(frozen=True)
class RegressionResult:
    """How well a number was read out of held-out codes.

    r2: share of its variance that is explained. 1: all; 0: no better than the mean of the held-out items; worse: below.
    """

    r2: float
    train: int
    test: int
    left_out: int
    parameters: int
    kind: Kind


def probe(
    codes: Float[Tensor, "n ..."],
    labels: Int[Tensor, " n"],
    held_out: Split,
    kind: Kind = "linear",
    seed: int = 0,
) -> ProbeResult:
    """Fits a classifier of `labels` to the codes that are not held out and tries it on those that are.

    A class that is held out altogether is one that the probe gets wrong.
    Raises ValueError if there is nothing to fit to or to try on, or fewer than two classes to fit to.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    x, y, split = _prepared(codes, labels, held_out, seed)
    classes = len(np.unique(y[np.concatenate(split[:2])]))
    y_train, y_test = y[split[0]], y[split[1]]
    present, counts = np.unique(y_train, return_counts=True)
    if len(present) < 2:
        raise ValueError(f"a probe needs two classes to fit to, and {len(y_train)} items have one")
    if kind == "linear":
        model: Any = LogisticRegression(max_iter=ITERATIONS)
    else:
        # every class must be among the codes kept back, which stop it in time
        share = max(0.1, 1.5 * len(present) / len(y_train))
        can_stop = counts.min() >= 2 and share <= 0.5
        model = MLPClassifier(**_hidden(seed), early_stopping=can_stop, validation_fraction=share if can_stop else 0.1)
    _fit(model, x[split[0]], y_train)
    guess = np.unique(y_test, return_counts=True)[1].max() / len(y_test)
    return ProbeResult(
        accuracy=_percent((model.predict(x[split[1]]) == y_test).mean()),
        chance=_percent(max(guess, 1 / classes)),
        classes=classes,
        train=len(split[0]),
        test=len(split[1]),
        left_out=split[2],
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
    """Fits a regression of `factors` on the codes that are not held out and tries it on those that are.

    Raises ValueError if there are fewer than two items to fit to or to try on, or the factor is the same in all of
    either.
    """
    from sklearn.linear_model import Ridge
    from sklearn.neural_network import MLPRegressor

    x, y, split = _prepared(codes, factors, held_out, seed)
    y_train, y_test = (y[rows].astype(np.float64) for rows in split[:2])
    if min(y_train.std(), y_test.std()) == 0:
        raise ValueError("a factor that does not vary can't be regressed on")
    mean, spread = y_train.mean(), y_train.std()
    model: Any = Ridge(alpha=1.0)
    if kind == "mlp":
        model = MLPRegressor(**_hidden(seed), early_stopping=len(y_train) >= 20)
    _fit(model, x[split[0]], ((y_train - mean) / spread).astype(np.float32))
    guess = model.predict(x[split[1]]) * spread + mean
    return RegressionResult(
        r2=round(float(1 - np.square(guess - y_test).mean() / y_test.var()), 4),
        train=len(split[0]),
        test=len(split[1]),
        left_out=split[2],
        parameters=_parameters(model),
        kind=kind,
    )


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
    mean, spread = x[train].mean(0), x[train].std(0)
    spread[spread == 0] = 1
    return (x - mean) / spread, y, (train, test, total - len(train) - len(test))


def _hidden(seed: int) -> dict[str, Any]:
    return {"hidden_layer_sizes": (HIDDEN,), "max_iter": EPOCHS, "n_iter_no_change": 10, "random_state": seed}


def _fit(model: Any, x: np.ndarray, y: np.ndarray) -> None:
    # it warns of limits, which are ours and said, and of many classes
    with warnings.catch_warnings(action="ignore"):
        model.fit(x, y)


def _parameters(model: Any) -> int:
    """Weights and biases that were fitted."""
    weights = model.coefs_ + model.intercepts_ if hasattr(model, "coefs_") else [model.coef_, model.intercept_]
    return sum(np.size(part) for part in weights)


def _percent(share: float) -> float:
    return round(100 * float(share), 3)
