"""Parts that come from elsewhere: put beside those of other data, with labels numbered alike."""

from dataclasses import replace

import numpy as np

from unbraid.core.types import UserError
from unbraid.data.parts import Data, LabelledPart


def with_part(data: Data, name: str, other: Data) -> Data:
    """Returns the data with another part.

    Args:
        data: whose part is replaced.
        name: of the part, "val" or "test".
        other: all that trains in these data becomes the part.

    Raises:
        UserError: if items are of another kind, or have other labels.
    """
    part, train = other.train, data.train
    own, known = part.labelled(), train.labelled()
    if (own is None) != (known is None):
        raise UserError(
            f"{other.name}, for {name}, has {part.describe()}, and {data.name} has {train.describe()}: give both in "
            "one form"
        )
    if other.spec.a != data.spec.a or other.spec.b != data.spec.b:
        raise UserError(
            f"{other.name}, for {name}, has {other.spec.a} and {other.spec.b}; {data.name} has "
            f"{data.spec.a} and {data.spec.b}"
        )
    if own is not None and known is not None:
        part, values = _numbered(own, known, other.name)
        named = {key: one for key, some in data.parts().items() if (one := some.labelled()) is not None}
        data = replace(data, **{key: replace(one, values=values) for key, one in named.items()})
    remark = "; ".join(dict.fromkeys(filter(None, (data.remark, other.remark))))
    return replace(data, **{name: part}, remark=remark, skipped=data.skipped + other.skipped)


def _numbered(part: LabelledPart, train: LabelledPart, name: str) -> tuple[LabelledPart, tuple[tuple[str, ...], ...]]:
    """Returns a part whose labels have the numbers of `train`, values that this one lacks behind them, and all names.

    Raises UserError unless both have the same labels.
    """
    names = tuple(part.label_names), tuple(train.label_names)
    if names[0] != names[1] and (len(names[0]), len(names[1])) != (1, 1):
        raise UserError(f"{name} has the labels {', '.join(names[0])}; needed are {', '.join(names[1])}")
    values: list[tuple[str, ...]] = []
    labels = part.labels.copy()
    for j, (known, own) in enumerate(zip(train.values, part.values, strict=True)):
        joined = tuple(dict.fromkeys([*known, *own]))
        number = {value: i for i, value in enumerate(joined)}
        labels[:, j] = np.array([number[value] for value in own], np.int64)[part.labels[:, j]]
        values.append(joined)
    return replace(part, labels=labels, values=tuple(values), label_names=train.label_names), tuple(values)
