"""One place chooses the device, for every command; and no helper tensor is made on the processor by default: on a GPU
it would not be where the networks are."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from helpers import IMAGES, SMALL_CDDN, SMALL_LORD, VECTORS, Repeated, random_batch
from indexes import SMALL
from unbraid.commands.cli import COMMANDS, main
from unbraid.commands.folder import Device
from unbraid.core.device import choose_device, precision_on
from unbraid.core.method import Clock, Disentangler, Method, Translator
from unbraid.core.types import DataSpec, ImageSpec, UserError
from unbraid.methods import METHODS
from unbraid.methods.cut import CUTConfig
from unbraid.methods.dtn import DTNConfig
from unbraid.methods.iiae import IIAE, IIAEConfig
from unbraid.methods.lord import LORD
from unbraid.methods.munit import MUNITConfig
from unbraid.methods.pix2pix import Pix2PixConfig
from unbraid.model.trained import Trained
from unbraid.nn.tables import RowAdam, code_table
from unbraid.training.loop import train_step

CONFIGS = {
    "cddn": SMALL_CDDN,
    "iiae": IIAEConfig(widths=(8,), decoder_widths=(8,), map_size=4, shared=4),
    "lord": SMALL_LORD,
    "cut": CUTConfig(width=8, blocks=1, discriminator_width=8),
    "munit": MUNITConfig(width=8, blocks=1, hidden=8, discriminator_width=8),
    "pix2pix": Pix2PixConfig(width=4, discriminator_width=4),
    "dtn": DTNConfig(teacher="random", widths=(8,), discriminator_widths=(8, 8)),
}
LABELLED = DataSpec(ImageSpec(32, 32), ImageSpec(32, 32), items=8, classes=(4,))
LARGER = DataSpec(ImageSpec(32, 32), ImageSpec(32, 32))


class NamedDevices(TorchFunctionMode):
    """Refuses tensors made without a device; single numbers mix with every device."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, found = kwargs or {}, func(*args, **(kwargs or {}))
        if func in _device_constructors() and "device" not in kwargs:
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
            method.prior(2, "b", torch.Generator("cpu"))


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


COMPUTING = [name for name in COMMANDS if name not in ("recipes", "start", "train", "export", "push", "cache")]


@pytest.mark.parametrize("name", COMPUTING)
def test_every_command_that_computes_takes_the_same_device(name: str) -> None:
    function = getattr(import_module(f"unbraid.commands.{COMMANDS[name]}"), name)
    parameter = inspect.signature(function).parameters["device"]
    assert parameter.annotation == Device
    assert parameter.default == "auto"


@pytest.mark.parametrize(
    ("name", "gpus", "found"),
    [
        ("auto", 0, "cpu"),
        ("auto", 2, "cuda"),
        ("cpu", 2, "cpu"),
        ("cuda", 1, "cuda"),
        ("cuda:1", 2, "cuda:1"),
        ("cuda", 0, "--device cuda: torch sees no GPU here"),
        ("cuda:0", 0, "torch sees no GPU here"),
        ("cuda:1", 1, "--device cuda:1: torch sees cuda:0 here"),
        ("cuda:7", 4, "torch sees cuda:0 to cuda:3 here"),
        ("mps", 0, "--device mps: torch sees no GPU of Apple's"),
        ("gpu", 1, "--device gpu: there are auto, cpu, cuda"),
        ("cuda:", 1, "--device cuda:: there are"),
    ],
)
def test_a_device_is_one_that_is_there(name: str, gpus: int, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    if " " in found:
        with pytest.raises(UserError, match=found):
            choose_device(name)
    else:
        assert str(choose_device(name)) == found


def test_train_takes_the_flag_too(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--device", "--train.device"):
        assert main(["train", "demo", flag, "cuda:99", "--dry-run"]) == 2
        assert "--train.device cuda:99: torch sees" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_answers_round_only_if_asked(name: str) -> None:
    torch.manual_seed(0)
    method, x = IIAE(IMAGES, SMALL).eval(), torch.rand(2, 3, 16, 16) * 2 - 1
    exact = Trained(method, None, "iiae", 0).translate(x, "a", "b")
    rounded = Trained(method, None, "iiae", 0, None, precision_on(torch.device("cpu"), name)).translate(x, "a", "b")
    assert exact.dtype == rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, atol=0.1, rtol=0.1)
