"""Memory: the amount available, checks before allocation, and reuse of freed memory."""

import contextlib
import copy
import ctypes
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from unbraid.core.files import Json
from unbraid.core.types import DataSpec, UserError

Module = TypeVar("Module", bound=nn.Module)
CGROUP = Path("/sys/fs/cgroup")

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""Parameters of mallopt, as numbered in glibc's malloc.h."""
LARGE, USUAL = 2**20, 2**25
"""Bytes of blocks that go back to the system at once when they are freed: while images are decoded, and otherwise, to
which glibc itself rises."""
_state = {"kept": False, "decoding": 0}
_changing = threading.Lock()


def keep_freed_memory() -> bool:
    """Lets this process keep the memory that it frees for what it needs next; True where that can be had (glibc).

    By default large blocks go back to the system, which has to clear them, page by page, when they are asked for again.
    A training step frees and takes the same blocks over and over. The process then stays as large as its largest step.
    Source: mallopt(3).
    """
    with _changing:
        _state["kept"] = True
        return _set(MMAP_MAX, 0) and _set(TRIM_THRESHOLD, -1)


@contextlib.contextmanager
def returning_blocks() -> Iterator[None]:
    """Lets the memory of large blocks go back to the system as soon as they are freed, while the block runs (glibc).

    Each thread else keeps what it has freed: six that decode photos in turn would hold the memory of six.
    """
    with _changing:
        _state["decoding"] += 1
        if _state["decoding"] == 1 and not _state["kept"]:
            _set(MMAP_THRESHOLD, LARGE)
    try:
        yield
    finally:
        with _changing:
            _state["decoding"] -= 1
            if not (_state["decoding"] or _state["kept"]):
                _set(MMAP_THRESHOLD, USUAL)
                _set(TRIM_THRESHOLD, 2 * USUAL)


def _set(parameter: int, value: int) -> bool:
    """Sets a parameter of the system's malloc; True where it has it."""
    try:
        return bool(ctypes.CDLL(None).mallopt(parameter, value))
    except (OSError, AttributeError, TypeError):  # no such library, no such function, Windows
        return False


def available_memory(device: torch.device | None = None) -> float:
    """Returns the number of bytes available on a device, or infinity where the system doesn't report it."""
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = float("inf")
    with contextlib.suppress(OSError, StopIteration):  # no Linux
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024.0 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    with contextlib.suppress(OSError, ValueError, StopIteration):  # in no container, or in one without a limit
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        lines = (CGROUP / "memory.stat").read_text().splitlines()
        cached = int(next(line for line in lines if line.startswith("file ")).split()[1])
        free = min(free, limit - used + cached)
    return free


def require_memory(amount: float, what: str, remedy: str, device: torch.device | None = None) -> None:
    """Raises UserError if less memory is available than something needs.

    Args:
        amount: Bytes needed.
        what: Begins the message: "Training these networks takes".
        remedy: Ends the message: how to need less.
        device: Device; the processor by default.
    """
    available = available_memory(device)
    if amount > available:
        raise UserError(
            f"{what} {format_bytes(amount)} of memory, where {format_bytes(available)} are available. {remedy}"
        )


def saved_bytes(method: Any, batches: Any, clock: Any, autocast: contextlib.AbstractContextManager[Any]) -> int:
    """Returns the bytes of activations that one step keeps for its gradients, for the largest of its updates.

    Runs the step on a copy without updating it, and leaves the random numbers of training unchanged. See `train_step`.
    """
    device = next(method.parameters()).device
    most, kept = 0, dict[int, int]()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        played = copy.deepcopy(method).train()
        own = {each.untyped_storage().data_ptr() for each in (*played.parameters(), *played.buffers())}

        def pack(saved: torch.Tensor) -> torch.Tensor:
            storage = saved.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return saved

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved), autocast:
            for _ in played.updates(batches, clock):
                most = max(most, sum(kept.values()))
                kept.clear()
    return most


def format_bytes(size: float) -> str:
    """Formats a number of bytes, such as "1.5 GB"."""
    for unit, bytes_ in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= bytes_:
            return f"{size / bytes_:,.1f} {unit}" if size < 1e21 else f"{size / bytes_:.0e} {unit}"
    return f"{size / 1e3:,.1f} kB"


class _Undrawn(TorchFunctionMode):
    """Leaves out the drawing of initial weights: on the meta device torch imports its compiler for it, in 1.5 s."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Json | None = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init" or func.__name__ in ("normal_", "uniform_"):
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def build_method(
    kind: Callable[[Any, Any], Module], spec: DataSpec, config: Any, copies: int = 1, device: torch.device | None = None
) -> Module:
    """Builds a method after checking that its networks fit into memory. Raises UserError if not.

    Args:
        kind: Class of the method.
        spec: Of its data.
        config: Its configuration.
        copies: Of the weights to allow for; training adds gradients and two moments.
        device: The processor by default.
    """
    remedy = "Give smaller networks (--method...) or images (--data.size)"
    try:
        with torch.device("meta"), _Undrawn():
            size = sum(each.numel() * each.element_size() for each in kind(spec, config).state_dict().values())
    except (RuntimeError, TypeError, OverflowError, MemoryError) as error:
        if "overflow" not in str(error).lower() and not isinstance(error, MemoryError):
            raise
        raise UserError(f"The networks are larger than can be counted. {remedy}") from error
    require_memory(
        copies * size, "Training these networks takes" if copies > 1 else "These networks take", remedy, device
    )
    return kind(spec, config)


def out_of_memory_message(error: BaseException) -> str | None:
    """Returns a message for the user if an error is due to a lack of memory, else None."""
    text = str(error)
    if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "can't allocate memory" not in text:
        return None
    asked = re.search(r"allocate (\d+) bytes", text)
    what = format_bytes(int(asked[1])) if asked else (text.splitlines() or ["more"])[0]
    return (
        f"There is not enough memory ({what}). Give a smaller --train.batch, --data.size or network, or fewer images; "
        "what was written before is kept"
    )
