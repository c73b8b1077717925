"""Ranges of the numbers in a configuration: declared by types, checked in one place."""

import math
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, get_args, get_type_hints

from unbraid.core.types import UserError


@dataclass(frozen=True)
class Bounds:
    """Range of a number, or of each entry of a tuple: at least `least`, more than `above`, less than `below`."""

    least: float = -math.inf
    above: float = -math.inf
    below: float = math.inf

    def admit(self, value: float) -> bool:
        """Returns whether a value is finite and lies within the range."""
        return math.isfinite(value) and self.least <= value < self.below and value > self.above

    def __str__(self) -> str:
        lower = f"at least {self.least:g}" if self.least > -math.inf else f"more than {self.above:g}"
        return lower + (f" and less than {self.below:g}" if self.below < math.inf else "")


Size = Annotated[int, Bounds(least=1)]
"""Size of a code, a layer or a map."""
Count = Annotated[int, Bounds(least=0)]
"""Number of things, 0 or more."""
Sizes = Annotated[tuple[int, ...], Bounds(least=1)]
"""Sizes of several layers, at least one."""
Weight = Annotated[float, Bounds(least=0)]
"""Weight of a loss term, or a standard deviation; 0 leaves it out."""
Positive = Annotated[float, Bounds(above=0)]
"""Learning rate or scale."""
Share = Annotated[float, Bounds(least=0, below=1)]
"""Fraction below 1: a dropout probability, a part of the run."""
Shares = Annotated[tuple[float, ...], Bounds(least=0, below=1)]
"""Fractions of several layers."""


def check_bounds(config: object) -> None:
    """Checks the numbers of a method's configuration against the ranges that their types declare.

    Accepts None, the configuration of a method without settings. Raises UserError, which names the flag.
    """
    if not is_dataclass(config):
        return
    hints = get_type_hints(type(config), include_extras=True)
    for field in fields(config):
        bounds, value = _bounds(hints[field.name]), getattr(config, field.name)
        if bounds is None or value is None:
            continue
        values = value if isinstance(value, tuple) else (value,)
        if not values or not all(bounds.admit(each) for each in values):
            flag, given = field.name.replace("_", "-"), " ".join(map(str, values)) or "(nothing)"
            each = "one number at least, each " if isinstance(value, tuple) else ""
            raise UserError(f"--method.{flag} {given}: it must be {each}{bounds}")


def _bounds(hint: object) -> Bounds | None:
    """Returns the range that a type, or one of its type arguments, declares."""
    found = [extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Bounds)]
    for part in get_args(hint):
        found += [bounds for bounds in [_bounds(part)] if bounds is not None]
    return found[0] if found else None
