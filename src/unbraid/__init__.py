"""Unbraid: what two kinds of images of the same things share, what each has alone, and how to move between them."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Trained", "UserError", "load"]

if TYPE_CHECKING:
    from unbraid.apply import Trained, load
    from unbraid.types import UserError


def __getattr__(name: str) -> Any:
    # torch takes a second to import, so `unbraid --help` must not need it
    if name in ("load", "Trained"):
        from unbraid import apply

        return getattr(apply, name)
    if name == "UserError":
        from unbraid.types import UserError

        return UserError
    raise AttributeError(name)
