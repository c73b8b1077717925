"""Unbraid: what two kinds of images of the same things share, what each has alone, and how to move between them."""

import importlib
from typing import TYPE_CHECKING, Any

from unbraid.core.version import __version__

__all__ = [
    "DataConfig",
    "RunConfig",
    "TrainConfig",
    "Trained",
    "UserError",
    "__version__",
    "data",
    "evaluate",
    "load",
    "methods",
    "read_config",
    "recipes",
    "search_index",
    "train",
]

if TYPE_CHECKING:
    from unbraid import data, methods, recipes
    from unbraid.core.config import RunConfig, TrainConfig
    from unbraid.core.data_config import DataConfig
    from unbraid.core.types import UserError
    from unbraid.model.trained import Trained, load
    from unbraid.recipes.config_file import read_config
    from unbraid.search.query import search_index
    from unbraid.training.experiment import evaluate, train

_PLACES = {
    "DataConfig": "unbraid.core.data_config",
    "RunConfig": "unbraid.core.config",
    "TrainConfig": "unbraid.core.config",
    "Trained": "unbraid.model.trained",
    "UserError": "unbraid.core.types",
    "evaluate": "unbraid.training.experiment",
    "load": "unbraid.model.trained",
    "read_config": "unbraid.recipes.config_file",
    "search_index": "unbraid.search.query",
    "train": "unbraid.training.experiment",
}
_ROOMS = ("data", "methods", "recipes")


def __getattr__(name: str) -> Any:
    # torch takes a second to import, so `unbraid --help` must not need it
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"unbraid.{name}")
    raise AttributeError(f"module 'unbraid' has no attribute {name!r}")
