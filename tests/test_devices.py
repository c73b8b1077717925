"""No helper tensor is made on the processor by default: on a GPU it would not be where the networks are."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from helpers import SMALL_CDDN, SMALL_LORD, VECTORS, Repeated, random_batch
from unbraid.core.method import Clock, Disentangler, Method, Translator
from unbraid.core.types import DataSpec, ImageSpec
from unbraid.methods import METHODS
from unbraid.methods.iiae import IIAEConfig
from unbraid.methods.lord import LORD
from unbraid.nn.tables import RowAdam, code_table
from unbraid.training.loop import train_step

CONFIGS = {
    "cddn": SMALL_CDDN,
    "iiae": IIAEConfig(widths=(8,), decoder_widths=(8,), map_size=4, shared=4),
    "lord": SMALL_LORD,
}
LABELLED = DataSpec(ImageSpec(32, 32), ImageSpec(32, 32), items=8, classes=(4,))
LARGER = DataSpec(ImageSpec(32, 32), ImageSpec(32, 32))


class NamedDevices(TorchFunctionMode):
    """Refuses tensors made without a device. Those drawn by a generator are on its own, single numbers mix with
    every device."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, found = kwargs or {}, func(*args, **(kwargs or {}))
        if func in _device_constructors() and not kwargs.keys() & {"device", "generator"}:
            assert not isinstance(found, torch.Tensor) or found.ndim == 0, f"{func} makes a tensor without a device"
        return found


def built(name: str, spec: DataSpec) -> Method[Any]:
    kind = METHODS[name]
    return kind(spec, CONFIGS.get(name, kind.config_type()))


@pytest.mark.parametrize("name", METHODS)
def test_steps_and_answers_name_the_device_of_their_tensors(name: str) -> None:
    spec = LABELLED if name == "lord" else LARGER
    method = built(name, spec)
    batch = random_batch(spec, 2, needs=method.needs)
    for stage in method.stages():
        optimisers = method.optimisers(stage.name)
        with NamedDevices():
            for step in range(2):
                train_step(method, optimisers, Repeated(batch), Clock(step, 0.5, stage.name))
            for optimiser in optimisers.values():
                if isinstance(optimiser, RowAdam):
                    optimiser.finish()
    x = batch.x if hasattr(batch, "x") else batch.a  # pyright: ignore[reportAttributeAccessIssue]
    with NamedDevices(), torch.no_grad():
        method.eval()
        if isinstance(method, Translator) and not isinstance(method, LORD):
            method.translate(x, "a", "b")
        if isinstance(method, Disentangler):
            method.decode(method.encode(x, "a"), "b")


@pytest.mark.parametrize("name", ["iiae", "uncooperative", "cddn"])
def test_so_do_those_on_vectors(name: str) -> None:
    method = built(name, VECTORS)
    batch = random_batch(VECTORS, 4, needs=method.needs)
    with NamedDevices():
        train_step(method, method.optimisers(method.stages()[0].name), Repeated(batch), Clock(0, 0.5))


def test_a_row_wise_adam_keeps_what_it_indexes_where_the_table_is() -> None:
    table = code_table(5, 2).to("meta")
    state = RowAdam([table], lr=0.1).state[table.weight]
    assert {name: value.device.type for name, value in state.items() if value.ndim} == {
        "rates": "meta",
        "last": "meta",
        "first": "meta",
        "second": "meta",
    }


def test_unnamed_devices_are_found() -> None:
    with pytest.raises(AssertionError, match="without a device"), NamedDevices():
        torch.zeros(3)
    with NamedDevices():
        torch.zeros(3, device="cpu")
