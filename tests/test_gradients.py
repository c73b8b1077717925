"""The contract for gradients: those of one step are true in every batch size, memory layout, number of threads and
precision. The reference is the same step in float64 with contiguous tensors on one thread."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from helpers import Repeated
from test_methods import Case, each_case
from unbraid.core.method import Clock, Method
from unbraid.training.step import gradients

FP32, BF16 = 1e-3, 0.6
"""Largest relative error of a player's gradient. In bf16 a product has 3 digits, and norms over few values make more of
an error."""


class Comparable(TorchFunctionMode):
    """A step with the same random values whatever the precision and layout, with smooth activations, and, if it is the
    exact one, without rounding to float32.

    Where a relu's input is near nought, rounding decides on which side it falls, and that changes a gradient of a deep
    network by a percent in float32, and by half in bf16: no fault, but it would hide one.
    """

    def __init__(self, exact: bool) -> None:
        super().__init__()
        self.dtype = torch.float64 if exact else torch.float32

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.rand_like, torch.randn_like):
            draw = torch.rand if func is torch.rand_like else torch.randn
            return draw(args[0].shape, dtype=torch.float64).to(self.dtype)
        if func in (torch.rand, torch.randn):
            return func(*args, **{**kwargs, "dtype": torch.float64}).to(self.dtype)
        if func is Tensor.float:
            return args[0].to(self.dtype)
        if func is functional.dropout:
            return same_dropout(*args, **kwargs)
        if func in (functional.relu, torch.relu, functional.leaky_relu):
            return smooth_relu(*args, **kwargs)
        return func(*args, **kwargs)


def same_dropout(x: Tensor, p: float, training: bool, inplace: bool = False) -> Tensor:
    kept = torch.rand(x.shape, dtype=torch.float64) >= p
    return x * kept.to(x.dtype) / (1 - p) if training else x


def smooth_relu(x: Tensor, negative_slope: float = 0.0, inplace: bool = False) -> Tensor:
    return negative_slope * x + (1 - negative_slope) * functional.silu(x)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def player_gradients(
    method: Method[Any], stage: str, batch: Any, exact: bool = False, bf16: bool = False
) -> dict[str, list[Tensor]]:
    """Each player's gradients in each update of one step, before anybody moves."""
    optimisers = method.optimisers(stage)
    found: dict[str, list[Tensor]] = {}
    torch.manual_seed(1)
    with Comparable(exact), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for number, update in enumerate(method.updates(Repeated(batch), Clock(5, 0.1, stage))):
            for players, terms in update.items():
                for player in (players,) if isinstance(players, str) else players:
                    loss = torch.stack([*terms.values()]).sum()
                    move = gradients({player: optimisers[player]}, loss, 0, retain=True)
                    found[f"{player}, update {number}"] = [dense(gradient, weight) for weight, gradient in move]
    return found


def dense(gradient: Tensor | None, weight: Tensor) -> Tensor:
    gradient = torch.zeros_like(weight) if gradient is None else gradient
    return gradient.to_dense().double().flatten().clone()


def converted(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return replace(batch, **{name: change(value) for name, value in vars(batch).items()})


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


VARIANTS = ((1, False, False), (1, True, False), (2, True, False), (1, True, True))
"""Threads, whether channels last, whether bf16."""


@each_case
@pytest.mark.parametrize("count", [1, 4])
def test_gradients_are_those_of_float64(case: Case, count: int) -> None:
    built, batch = case.build(), case.batch(count)
    normalises_vectors = any(isinstance(module, nn.BatchNorm1d) for module in built.modules())
    if count == 1 and normalises_vectors:
        pytest.skip("batch statistics of one vector say nothing; refused by `fit`")
    for stage in [stage.name for stage in built.stages()]:
        exact = converted(batch, lambda x: x.double() if x.is_floating_point() else x)
        true = player_gradients(copy.deepcopy(built).double(), stage, exact, exact=True)
        for many, last, bf16 in VARIANTS:
            method = copy.deepcopy(built)
            if last:
                method.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            with threads(many):
                found = player_gradients(method, stage, converted(batch, channels_last) if last else batch, bf16=bf16)
            for player, wanted in true.items():
                difference = torch.cat(found[player]) - torch.cat(wanted)
                error = difference.norm() / torch.cat(wanted).norm()
                assert error < (BF16 if bf16 else FP32), f"{player}: {error:.2g}, {many} threads, {last=}, {bf16=}"
