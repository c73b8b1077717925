"""The methods, by name. A new method needs a file, and a line here.

One of a program's own is put into METHODS by the program: `METHODS["mine"] = Mine`. One of another package is named by
that package's entry points of the group `unbraid.methods`, and imported when it is asked for.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from unbraid.core.method import AnyMethod, Method
from unbraid.core.suggest import did_you_mean
from unbraid.core.types import UserError
from unbraid.methods.cddn import CdDN
from unbraid.methods.cut import CUT
from unbraid.methods.cyclegan import CycleGAN
from unbraid.methods.dtn import DTN
from unbraid.methods.iiae import IIAE
from unbraid.methods.lord import LORD
from unbraid.methods.munit import MUNIT
from unbraid.methods.pix2pix import Pix2Pix
from unbraid.methods.uncooperative import Uncooperative
from unbraid.methods.xgan import XGAN

METHODS: dict[str, type[AnyMethod]] = {
    "cddn": CdDN,
    "cut": CUT,
    "cyclegan": CycleGAN,
    "dtn": DTN,
    "iiae": IIAE,
    "lord": LORD,
    "munit": MUNIT,
    "pix2pix": Pix2Pix,
    "uncooperative": Uncooperative,
    "xgan": XGAN,
}


GROUP = "unbraid.methods"
"""Entry points by which other packages name methods."""


def method_names() -> list[str]:
    """Returns the names of all methods: those of METHODS, and those of other packages."""
    return list(dict.fromkeys([*METHODS, *_others()]))


def method_class(name: str) -> type[AnyMethod]:
    """Returns the method of this name. Raises UserError if there is none, or its package can't be used."""
    if name in METHODS:
        return METHODS[name]
    others = _others()
    if name not in others:
        names = method_names()
        raise UserError(f"There is no method {name!r}; there are: {', '.join(names)}.{did_you_mean(name, names)}")
    point = others[name]
    where = f"The method {name!r} of the package {point.dist.name if point.dist else '?'}, {point.value},"
    try:
        kind = point.load()
    except Exception as error:  # whatever importing it raises
        raise UserError(f"{where} can't be imported: {type(error).__name__}: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise UserError(f"{where} is no subclass of unbraid.core.method.Method")
    return kind


def method_name(config: Any) -> str:
    """Returns the name of the method that a configuration is of. Raises UserError if there is none, or several."""
    kind = type(config)
    names = [name for name, method in METHODS.items() if method.config_type is kind]
    if not names:
        names = [name for name in _others() if name not in METHODS and method_class(name).config_type is kind]
    if not names:
        raise UserError(
            f"{kind.__name__} is the configuration of no method that has a name. Give your method one: "
            'unbraid.methods.METHODS["NAME"] = YourMethod'
        )
    if len(names) > 1:
        raise UserError(
            f"{kind.__name__} is the configuration of several methods: {', '.join(names)}. Give each one of its own; a "
            "subclass of the other will do"
        )
    return names[0]


def _others() -> dict[str, EntryPoint]:
    """Returns the methods of other packages, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}
