"""What does not fit is said, and freed memory is kept, where that can be had."""

import ctypes
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from helpers import IMAGES
from test_methods import CASES, Case
from unbraid.core import memory
from unbraid.core.memory import build_method, format_bytes, keep_freed_memory, out_of_memory_message
from unbraid.core.types import UserError
from unbraid.methods import METHODS
from unbraid.methods.iiae import IIAE, IIAEConfig

PAGES = """
import resource
import torch
from unbraid.core.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
given_back = faults()
kept = keep_freed_memory()
for _ in range(3):  # while the heap grows to what is needed
    faults()
print(given_back, kept, faults())
"""


def test_memory_that_was_freed_is_taken_again() -> None:
    done = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True)
    given_back, kept, after = done.stdout.split()
    if kept == "False":
        pytest.skip("not glibc")
    assert int(after) < int(given_back) / 10


def test_a_system_without_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: Any) -> Any:
        return object()

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert not keep_freed_memory()


@pytest.mark.parametrize(("width", "message"), [(10**7, "take .* of memory, where .* available"), (10**30, "counted")])
def test_networks_that_do_not_fit_are_said_and_not_built(width: int, message: str) -> None:
    config = IIAEConfig(widths=(width,), decoder_widths=(width,), map_size=4)
    with pytest.raises(UserError, match=message):
        build_method(IIAE, IMAGES, config)


def test_building_draws_the_same_weights_as_ever() -> None:
    config, weights = IIAEConfig(widths=(8,), decoder_widths=(8,), map_size=4, shared=4), []
    for build in (build_method, lambda kind, *rest: kind(*rest)):
        torch.manual_seed(0)
        weights.append(build(IIAE, IMAGES, config).state_dict())
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)


def test_want_of_memory_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**60)
    assert "not enough memory (4,611,686.0 TB)" in str(out_of_memory_message(found.value))
    assert "not enough memory" in str(out_of_memory_message(MemoryError()))
    assert out_of_memory_message(RuntimeError("a bug")) is None


@pytest.mark.parametrize(("size", "text"), [(1500, "1.5 kB"), (2.5e9, "2.5 GB"), (1e30, "1e+18 TB")])
def test_sizes_in_words(size: float, text: str) -> None:
    assert format_bytes(size) == text


def test_only_commands_change_how_memory_is_freed() -> None:
    source = Path(memory.__file__).parents[1]
    users = {path.relative_to(source).parts[0] for path in source.rglob("*.py") if "keep_freed" in path.read_text()}
    assert users == {"core", "commands"}


class Drawn(TorchDispatchMode):
    """Gathers the devices on which random numbers are drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.devices: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._overloadpacket.__name__ in ("normal_", "uniform_"):
            self.devices.add(args[0].device.type)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("case", [CASES[name] for name in ("cddn", "iiae-spatial", "lord", "xgan", "cyclegan")])
def test_networks_are_counted_without_drawing_weights_for_which_torch_imports_its_compiler(case: Case) -> None:
    with Drawn() as drawn:
        build_method(METHODS[case.method], case.spec, case.config)
    assert drawn.devices == {"cpu"}
