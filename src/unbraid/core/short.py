"""Short texts of objects that hold much, for consoles and notebooks."""

from collections.abc import Mapping, Set
from dataclasses import fields
from reprlib import Repr
from typing import Any

import numpy as np
from torch import Tensor, nn

LONGEST = 280
"""Characters of an object's text."""
LISTED = 3
"""Entries that are written out; of more, their number is."""
_values = Repr()
_values.maxstring, _values.maxother = 60, 100


def short(value: object) -> str:
    """Returns a value as Python writes it; of arrays and networks their size, of long lists their number of entries."""
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim:
        return f"<{'x'.join(map(str, value.shape))} {str(value.dtype).removeprefix('torch.')}>"
    if isinstance(value, (list, tuple, Set, Mapping)) and len(value) > LISTED:
        return f"<{len(value):,} entries>"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {short(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        left, right = "[]" if isinstance(value, list) else ("(", ",)" if len(value) == 1 else ")")
        return left + ", ".join(map(short, value)) + right
    return f"<{type(value).__name__}>" if isinstance(value, nn.Module) else _values.repr(value)


class Short:
    """Base of dataclasses that hold arrays, tensors, or what there is of each item: their text is short."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__repr__ = cls.__repr__  # in the class itself, where `dataclass` leaves it

    def __repr__(self) -> str:
        text = f"{type(self).__name__}({self._content()})"
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]}...)"

    def _content(self) -> str:
        """Returns what stands in the brackets."""
        spec = getattr(self, "spec", None)
        if spec is not None and hasattr(self, "__len__"):
            return f"{len(self):,} {spec}"  # pyright: ignore[reportArgumentType]
        names = (field.name for field in fields(self) if field.repr)  # pyright: ignore[reportArgumentType]
        return ", ".join(f"{name}={short(getattr(self, name))}" for name in names)
