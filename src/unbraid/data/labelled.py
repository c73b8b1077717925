"""Labelled data: how labels are numbered, and the division into parts that they allow.

Legend: n items, k labels; `labels` are (n, k) int64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from unbraid.core.data_config import DataConfig
from unbraid.core.types import DataSpec, UserError
from unbraid.data.items import Items, Rows
from unbraid.data.parts import Data, LabelledPart
from unbraid.data.splits import ELSEWHERE, Split, shuffled


def labelled_data(
    config: DataConfig,
    name: str,
    x: Items,
    names: Sequence[str],
    columns: Mapping[str, np.ndarray],
    own: Split | None = None,
    remark: str = "",
    skipped: tuple[str, ...] = (),
    content: np.ndarray | None = None,
    factors: Mapping[str, np.ndarray] | None = None,
) -> Data:
    """Numbers the labels and divides the items.

    Labels are numbered in the order of their values, those that training sees first.

    Args:
        config: whose shares, seed and --data.split count.
        name: of the data.
        x: the items.
        names: of the items.
        columns: k of (n,) words or whole numbers, by name.
        own: the division of the set's own, of which validation or test may be empty: it is drawn from training then;
            without one, --data.split says how to divide.
        remark: on the data.
        skipped: files that could not be read.
        content: (n,) int64, see `LabelledPart`.
        factors: (n,) float64 each, see `LabelledPart`.

    Raises:
        UserError: if a class has a single image, a part stays empty, or the division isn't what --data.split asks.
    """
    found = [np.unique(column, return_inverse=True) for column in columns.values()]
    values, labels = [value for value, _ in found], np.stack([number for _, number in found], axis=1).astype(np.int64)
    whole = config.val == config.test == ELSEWHERE
    if len(columns) == 1 and not whole:
        _check_single(name, labels[:, 0], values[0])
    elif len(columns) > 1 and config.split == "class":
        raise UserError(
            f"--data.split class needs one label for each image; {name} has {len(columns)}: {', '.join(columns)}. "
            "Give one, or leave --data.split out"
        )
    if own is not None and not whole:
        split = _filled(config, name, own, labels, names)
        _check_own(config, name, split, labels, values, list(columns))
    else:
        split = _drawn(config, name, labels, names, values[0])
    for j, column in enumerate(columns):
        trained = np.unique(labels[split.train, j])
        if len(trained) < 2 and not whole:
            raise UserError(
                f"{name}: all training images have the same {column}, {values[j][trained[0]]}. "
                "There is nothing to tell apart: add images of another, or choose another label"
            )
        values[j], labels[:, j] = _trained_first(values[j], labels[:, j], trained)
    called = tuple(tuple(map(str, some)) for some in values)
    given = labels, names, content, factors or {}, called, tuple(columns)
    parts = [LabelledPart(x, rows, *given) for rows in split]
    return Data(name, DataSpec(x.spec, x.spec), *parts, remark=remark, skipped=skipped)


def _drawn(config: DataConfig, name: str, labels: np.ndarray, names: Sequence[str], values: np.ndarray) -> Split:
    """Returns a division as `config` asks for it."""
    if config.val == config.test == ELSEWHERE:
        return Split(np.arange(len(names)), np.arange(0), np.arange(0))
    if config.split == "class" and config.test != ELSEWHERE:
        return _by_class(config, name, labels, names, values)
    return _by_image(config, name, labels, names)


def _trained_first(values: np.ndarray, labels: np.ndarray, trained: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns values and their numbers (n,) anew, with those that training sees first."""
    order = np.concatenate([trained, np.setdiff1d(np.arange(len(values)), trained)])
    return values[order], np.argsort(order)[labels]


def unseen_classes(config: DataConfig, name: str, labels: np.ndarray, names: Sequence[str], test: np.ndarray) -> Split:
    """Divides items so that test has all items of some classes, and validation a share of the others.

    Args:
        config: whose seed and share of validation count.
        name: of the data, for messages.
        labels: (n, k) int64.
        names: of the items.
        test: (n,) bool, items of the test classes.
    """
    rest = np.flatnonzero(~test)
    order = _shuffled_rows(rest, names, config.seed)
    val = _spared(order[::-1], labels, _share(config.val, len(rest)))
    _check_parts(name, {"validation": val} if config.val != ELSEWHERE else {}, len(rest))
    return Split(np.setdiff1d(rest, val), val, np.flatnonzero(test))


def _by_image(config: DataConfig, name: str, labels: np.ndarray, names: Sequence[str]) -> Split:
    """Divides items by the hash of their names; each value of each label stays in training too."""
    order = _shuffled_rows(np.arange(len(names)), names, config.seed)
    test = _spared(order, labels, _share(config.test, len(order)))
    rest = order[~np.isin(order, test)]
    val = _spared(rest[::-1], labels, _share(config.val, len(order)))
    shares = {"test": (test, config.test), "validation": (val, config.val)}
    _check_parts(name, {part: rows for part, (rows, share) in shares.items() if share != ELSEWHERE}, len(order))
    return Split(np.setdiff1d(rest, val), val, test)


def _filled(config: DataConfig, name: str, own: Split, labels: np.ndarray, names: Sequence[str]) -> Split:
    """Returns a set's own division; validation and test are drawn from training where they are empty."""
    if not len(own.train) or (len(own.val) and len(own.test)):
        return own
    shares = {
        part: ELSEWHERE if len(rows) else share
        for part, rows, share in (("val", own.val, config.val), ("test", own.test, config.test))
    }
    drawn = _by_image(replace(config, **shares), name, labels[own.train], [names[int(row)] for row in own.train])
    train, val, test = (own.train[rows] for rows in drawn)
    return Split(train, np.concatenate([val, own.val]), np.concatenate([test, own.test]))


def _by_class(config: DataConfig, name: str, labels: np.ndarray, names: Sequence[str], classes: np.ndarray) -> Split:
    """Divides classes: test has a share of them, which training never sees."""
    if len(classes) < 3:
        raise UserError(
            f"{name} has {len(classes)} classes; --data.split class needs 3 at least, two to train and one to test. "
            "Add classes, or give --data.split image"
        )
    order = _shuffled_rows(np.arange(len(classes)), list(classes), config.seed)
    test = order[: min(_share(config.test, len(classes)), len(classes) - 2)]
    return unseen_classes(config, name, labels, names, np.isin(labels[:, 0], test))


def _shuffled_rows(rows: Rows, names: Sequence[object], seed: int) -> Rows:
    """Returns the rows in the order of a hash of their names."""
    at = {str(names[row]): row for row in rows}
    return np.array([at[name] for name in shuffled(at, seed)], dtype=np.int64)


def _share(share: float, count: int) -> int:
    return 0 if share == ELSEWHERE else max(1, round(share * count))


def _spared(order: Rows, labels: np.ndarray, count: int) -> Rows:
    """Returns the first `count` rows of `order` that leave every value of every label one of the other rows.

    Fewer, if there are no more. Sorted.
    """
    left = [np.bincount(column) for column in labels[order].T]
    taken: list[int] = []
    for row in order:
        if len(taken) == count:
            break
        if all(counts[value] > 1 for counts, value in zip(left, labels[row], strict=True)):
            taken.append(int(row))
            for counts, value in zip(left, labels[row], strict=True):
                counts[value] -= 1
    return np.array(sorted(taken), dtype=np.int64)


def _check_parts(name: str, parts: Mapping[str, Rows], count: int) -> None:
    for part, rows in parts.items():
        if not len(rows):
            raise UserError(
                f"{name}: of {count} images none can be spared for {part}, since training keeps one of each class. "
                "Add images, or lower the shares --data.val and --data.test"
            )


def _check_single(name: str, label: np.ndarray, classes: np.ndarray) -> None:
    """Raises UserError if a class has a single image. label: (n,), classes: names by number."""
    single = classes[np.bincount(label) == 1]
    if len(single):
        raise UserError(
            f"{name}: {len(single)} of {len(classes)} classes have a single image: {_some(single)}. A class needs 2 at "
            "least, one to train and one to tell content from class: remove these images, or merge their classes"
        )


def _check_own(
    config: DataConfig, name: str, split: Split, labels: np.ndarray, values: Sequence[np.ndarray], columns: list[str]
) -> None:
    """Raises UserError unless a set's own division can be used and is what --data.split asks for."""
    sizes = {"train": len(split.train), "val": len(split.val), "test": len(split.test)}
    if not len(split.train):
        found = ", ".join(f"{part} {size}" for part, size in sizes.items())
        raise UserError(f"{name}: training needs images; there are {found}")
    for j, column in enumerate(columns):
        train, val, test = (np.bincount(labels[rows, j], minlength=len(values[j])) for rows in split)
        if len(bad := np.flatnonzero((val > 0) & (train == 0))):
            raise UserError(
                f"{name}: {len(bad)} values of {column} are in validation but not in training: "
                f"{_some(values[j][bad])}. Validation measures what was trained: move these images to training or test"
            )
        bad = np.flatnonzero((test > 0) & (train == 0))
        if len(bad) and (len(columns) > 1 or config.split == "image"):
            asked = "--data.split image" if config.split else "several labels"
            raise UserError(
                f"{name}: {asked}, but {len(bad)} values of {column} are in test and not in training: "
                f"{_some(values[j][bad])}. Move some of their images to training"
            )
        if config.split == "class" and len(bad := np.flatnonzero((test > 0) & (train > 0))):
            raise UserError(
                f"{name}: --data.split class, but {len(bad)} classes of test are also in training, "
                f"{values[j][bad[0]]} with {test[bad[0]]} test and {train[bad[0]]} training images among them. "
                "Move each class into one of them, or leave --data.split out"
            )


def _some(values: np.ndarray) -> str:
    """Returns up to three of the values in words."""
    return ", ".join(str(value) for value in values[:3]) + (" and others" if len(values) > 3 else "")
