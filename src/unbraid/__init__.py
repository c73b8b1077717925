"""Unbraid: what two kinds of images of the same things share, what each has alone, and how to move between them."""

import importlib
from typing import TYPE_CHECKING, Any

from unbraid.core.version import __version__

__all__ = ["Trained", "UserError", "__version__", "load", "search_index"]

if TYPE_CHECKING:
    from unbraid.core.types import UserError
    from unbraid.model.trained import Trained, load
    from unbraid.search.query import search_index

_PLACES = {
    "Trained": "unbraid.model.trained",
    "UserError": "unbraid.core.types",
    "load": "unbraid.model.trained",
    "search_index": "unbraid.search.query",
}


def __getattr__(name: str) -> Any:
    # torch takes a second to import, so `unbraid --help` must not need it
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'unbraid' has no attribute {name!r}")
