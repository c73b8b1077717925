"""Networks compiled for training by `torch.compile`, in place: weights and their names stay what they are.

Each network is compiled by itself, so that a method's step stays ordinary code, with what must not be compiled between
its networks: tables of codes, histories, losses, optimisers.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from unbraid.core.types import UserError

FLAG = "--train.compile"
VARIANTS = 128
"""Compiled forms of all networks together: sizes, with statistics of batch-norm fixed or not. torch has one list of
them, and after 8 would compile no more."""


def networks(method: nn.Module) -> Iterator[nn.Module]:
    """Yields the networks below a method: the outermost modules that are called, have weights, and hold no tables."""
    for child in method.children():
        tables = any(isinstance(each, nn.Embedding) for each in child.modules())
        if type(child).forward is nn.Module.forward or tables:
            yield from networks(child)
        elif any(True for _ in child.parameters()):
            yield child


def compile_networks(method: nn.Module, device: torch.device, backend: str = "inductor") -> str:
    """Compiles a method's networks when they are called first: on a GPU as CUDA graphs.

    Args:
        method: The method, whose networks are on the device.
        device: The device.
        backend: What compiles them, by torch's name for it.

    Returns:
        What is to be said: how many networks, or why none.
    """
    options: dict[str, Any] = {}
    if backend == "inductor":  # random numbers are those of the same step uncompiled
        options = {"options": {"fallback_random": True, "triton.cudagraphs": device.type == "cuda"}}
    try:
        from torch._dynamo import config
        from torch._functorch import config as gradients

        config.cache_size_limit = max(config.cache_size_limit, VARIANTS)
        gradients.donated_buffer = False  # a graph of losses may be differentiated for several players
        torch.compile(_tried, dynamic=False, backend=backend, **options)(torch.ones(2, device=device))
    except Exception as error:  # torch raises many kinds for what it misses
        return f"{FLAG}: torch can't compile here, and trains as without it ({_reason(error)})"
    found = list(networks(method))
    for network in found:
        network.compile(dynamic=False, backend=backend, **options)
    return f"{FLAG}: {len(found)} networks are compiled in the first steps, which takes up to some minutes"


def _tried(x: Tensor) -> Tensor:
    return x.sin() + 1


def _reason(error: Exception) -> str:
    """Returns the first line of an error's text that isn't torch's "backend=... raised:"."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line and not line.endswith("raised:")), type(error).__name__)


def uncompiled() -> contextlib.AbstractContextManager[object]:
    """Returns a context in which networks compute uncompiled.

    It is for other sizes than those of training, and for a loss that contains a gradient of a network, which compiled
    networks can't differentiate.
    """
    loaded = "torch._dynamo" in sys.modules  # loading it takes seconds, and without it nothing is compiled
    return torch.compiler.set_stance("force_eager") if loaded else contextlib.nullcontext()


@contextlib.contextmanager
def compiled_step(device: torch.device) -> Iterator[None]:
    """Surrounds a training step of compiled networks. Raises UserError if one of them can't be compiled.

    What CUDA graphs compute keeps its memory until the next step.
    """
    if device.type == "cuda":
        torch.compiler.cudagraph_mark_step_begin()
    try:
        yield
    except Exception as error:
        from torch._dynamo.exc import TorchDynamoException

        if isinstance(error, TorchDynamoException) or "does not currently support double backward" in str(error):
            raise UserError(
                f"{FLAG}: a network can't be compiled ({_reason(error)}). The same command without it goes on"
            ) from error
        raise
