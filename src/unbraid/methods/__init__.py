"""The methods, by name. A new method needs a file, and a line here."""

from typing import Any

from unbraid.core.method import Method
from unbraid.core.types import UserError
from unbraid.methods.cddn import CdDN
from unbraid.methods.cyclegan import CycleGAN
from unbraid.methods.iiae import IIAE
from unbraid.methods.lord import LORD
from unbraid.methods.uncooperative import Uncooperative
from unbraid.methods.xgan import XGAN

METHODS: dict[str, type[Method[Any]]] = {
    "cddn": CdDN,
    "cyclegan": CycleGAN,
    "iiae": IIAE,
    "lord": LORD,
    "uncooperative": Uncooperative,
    "xgan": XGAN,
}


def method_class(name: str) -> type[Method[Any]]:
    """Returns the class of a method. Raises UserError if there is none of this name."""
    if name not in METHODS:
        raise UserError(f"There is no method {name!r}; there are: {', '.join(METHODS)}")
    return METHODS[name]
