"""What numbers of a configuration may be, said by their types and checked in one place."""

import math
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, get_args, get_type_hints

from unbraid.core.types import UserError


@dataclass(frozen=True)
class Bounds:
    """A number, or each entry of a tuple, is at least `least`, more than `above` and less than `below`."""

    least: float = -math.inf
    above: float = -math.inf
    below: float = math.inf

    def admit(self, value: float) -> bool:
        """Whether the value lies within; what is not finite never does."""
        return math.isfinite(value) and self.least <= value < self.below and value > self.above

    def __str__(self) -> str:
        lower = f"at least {self.least:g}" if self.least > -math.inf else f"more than {self.above:g}"
        return lower + (f" and less than {self.below:g}" if self.below < math.inf else "")


Size = Annotated[int, Bounds(least=1)]
"""Of a code, a layer, a map."""
Count = Annotated[int, Bounds(least=0)]
"""Of things there may be none of."""
Sizes = Annotated[tuple[int, ...], Bounds(least=1)]
"""Of several layers, one at least."""
Weight = Annotated[float, Bounds(least=0)]
"""Of a term, a deviation, a number of steps to wait; 0 leaves it out."""
Positive = Annotated[float, Bounds(above=0)]
"""A rate, a scale."""
Share = Annotated[float, Bounds(least=0, below=1)]
"""Of a whole that is never all of it: dropout, the beginning of a run."""
Shares = Annotated[tuple[float, ...], Bounds(least=0, below=1)]
"""Of several layers."""


def check_bounds(config: Any) -> None:
    """UserError that names the flag, if a number of a method's configuration is none that its type allows. What is no
    dataclass, such as None for a method without choices, has none."""
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


def _bounds(hint: Any) -> Bounds | None:
    """Those in a type, or in one of the types that it is made of."""
    found = [extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Bounds)]
    for part in get_args(hint):
        found += [bounds for bounds in [_bounds(part)] if bounds is not None]
    return found[0] if found else None
