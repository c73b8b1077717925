"""What a run saved, loaded into networks and optimisers of this version; refused where it fits none."""

import copy
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from unbraid.core.files import (
    Json,
)
from unbraid.core.method import AnyMethod, Method, present_names
from unbraid.core.types import UserError


def model_state(method: nn.Module) -> dict[str, Tensor]:
    """Returns the method's weights and statistics, without what only training needs."""
    left_out = method.training_only if isinstance(method, Method) else ()
    return {name: value for name, value in method.state_dict().items() if not name.startswith(left_out)}


def load_weights(method: AnyMethod, weights: Mapping[str, Tensor], file: Path) -> None:
    """Loads weights and statistics, of which those that only training needs may be missing.

    Args:
        method: Takes them.
        weights: By name.
        file: Where they come from.

    Raises:
        UserError: The method's networks are others, with the file's name; nothing is loaded.
    """
    own = method.state_dict()
    needed = {name: value for name, value in own.items() if not name.startswith(method.training_only)}
    unlike = [name for name in {**needed, **weights} if name not in own or name not in weights]
    unlike += [name for name, value in weights.items() if name in own and not _alike(own[name], value)]
    if unlike:
        raise UserError(
            f"{file} doesn't fit this version of unbraid: its networks are those of another one ({len(unlike)} tensors "
            f"are missing, unknown or of another size; the first is {unlike[0]}). Train anew in another run folder, or "
            "use it with the version of unbraid that wrote it"
        )
    method.load_state_dict(weights, strict=False)


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and one.layout == other.layout


def upgrade_state(state: Json, renamed: Mapping[str, str]) -> Json:
    """Returns what state.pt holds with the present names of networks, players and losses for former ones."""
    position, average = state["position"], state["average"]
    return {
        "position": {**position, "sums": present_names(position.get("sums", {}), renamed)},
        "method": present_names(state["method"], renamed),
        "optimisers": present_names(state["optimisers"], renamed),
        "average": average and {**average, "mean": present_names(average["mean"], renamed)},
    }


def load_average(method: AnyMethod, saved: Json | None, file: Path) -> Json | None:
    """Returns the saved average of weights. Raises UserError if it is that of other networks. See `load_weights`."""
    if saved is not None:
        own, mean = model_state(method), saved["mean"]
        if own.keys() != mean.keys() or not all(_alike(own[name], value) for name, value in mean.items()):
            raise UserError(f"{file} doesn't fit this version of unbraid: its average is that of other networks")
    return saved


def load_optimiser(optimiser: Optimizer, saved: Json, file: Path) -> None:
    """Loads what an optimiser saved. See `load_weights`.

    Raises UserError if it is that of other parameters, or of an optimiser with other settings.
    """
    before = [dict(group) for group in optimiser.param_groups]
    try:
        optimiser.load_state_dict(copy.deepcopy(saved))  # it keeps references
        fits = [
            group[name] == value
            for own, group in zip(before, optimiser.param_groups, strict=True)
            for name, value in own.items()
            if name not in ("lr", "params")
        ]
        if isinstance(optimiser, Adam):
            fits += [
                slots[name].shape == (() if name == "step" else parameter.shape)
                for parameter, slots in optimiser.state.items()
                for name in ("step", "exp_avg", "exp_avg_sq")
            ]
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{file} doesn't fit this version of unbraid: an optimiser can't be loaded ({error})"
        ) from error
    if not all(fits):
        raise UserError(
            f"{file} doesn't fit this version of unbraid: an optimiser is that of other networks or settings"
        )
