"""A run that starts from another run's weights."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from unbraid.core.method import Method, present_names
from unbraid.core.types import UserError
from unbraid.model.run import read_model, read_state

MOST = 20
"""Tensors that are named in a line, at most."""


def start_from(path: Path, name: str, method: Method[Any]) -> list[str]:
    """Loads another run's best weights, and the last ones of what only training needs if its state.pt is there.

    The method takes every tensor whose name and shape fit. Returns lines for the user about it. See `Run`.
    Raises UserError if there is no model, it is of another method, or nothing of it fits.
    """
    saved, tensors = read_model(path)
    if saved.method != name:
        raise UserError(f"--init {path} is a model of {saved.method}; {name} can start from one of {name} only")
    weights = present_names({n[7:]: value for n, value in tensors.items() if n.startswith("method.")}, method.renamed)
    if state := read_state(path):
        last = present_names(state["method"], method.renamed)
        weights = {n: last[n] for n in _of_training(method) if n in last} | weights
    own = method.state_dict()
    fitting = {n: value for n, value in weights.items() if n in own and own[n].shape == value.shape}
    if not fitting:
        raise UserError(f"--init {path}: no tensor of its model fits this one. Give the settings that it has")
    method.load_state_dict(fitting, strict=False)
    left = [f"{n} {_shape(own[n])}{_unlike(weights.get(n))}" for n in own if n not in fitting]
    unknown = [f"{n} {_shape(value)}" for n, value in weights.items() if n not in own]
    lines = [f"Starts from {path}, step {saved.step}: {len(fitting)} of {len(own)} tensors; optimisers start anew"]
    lines += [f"Left as they start: {_some(left)}"] if left else []
    return lines + ([f"Not used, for this model has none such: {_some(unknown)}"] if unknown else [])


def _of_training(method: Method[Any]) -> list[str]:
    """Returns names of state that only training needs: of networks, which fit other data too, not of codes and stored
    items."""
    networks = tuple(
        f"{name}."
        for name, child in method.named_children()
        if any(True for _ in child.parameters()) and not any(isinstance(each, nn.Embedding) for each in child.modules())
    )
    return [name for name in method.state_dict() if name.startswith(method.training_only) and name.startswith(networks)]


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "1"


def _unlike(value: Tensor | None) -> str:
    return "" if value is None else f" ({_shape(value)} there)"


def _some(names: list[str]) -> str:
    """Returns the first names, and how many more there are."""
    return ", ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")
