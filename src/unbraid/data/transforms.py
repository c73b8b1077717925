"""Transforms of torchvision by name, as a user writes them: RandomResizedCrop(scale=(.8, 1)).

A name and literal arguments; nothing is evaluated. What a transform draws comes from a generator of the item's own, so
that it is the same for both sides of a pair and in a run that goes on.
"""

import ast
import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from unbraid.core.suggest import did_you_mean
from unbraid.core.types import UserError

DRAWS = {
    *("rand", "randn", "randint", "randperm", "normal", "multinomial", "bernoulli", "rand_like", "randn_like"),
    *("uniform_", "normal_", "bernoulli_", "random_", "exponential_"),
}
"""Functions of torch that take a generator."""
TRIED = 4
"""Draws that a transform is tried on."""
Transform = Callable[[Tensor], Tensor]


class _Drawing(TorchFunctionMode):
    """Lets torch draw from one generator inside the block, in this thread alone."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(func, "__name__", "") in DRAWS and kwargs.get("generator") is None:
            kwargs["generator"] = self.generator
        return func(*args, **kwargs)


def transformed(x: Float[Tensor, "c h w"], text: str, seed: int) -> Float[Tensor, "c h w"]:
    """Returns an image, transformed as `text` says by what `seed` draws. See `check_transform`."""
    return _applied(text, x, seed).clamp(-1, 1)


def check_transform(text: str, shape: tuple[int, int, int]) -> None:
    """Raises UserError, which says what is wrong, unless this is a transform of torchvision for images of a shape, as
    far as a few draws show; `transformed` raises it for later ones.

    It must leave size, channels and range as they are, and draw from torch alone.
    """
    where = f"--data.transforms {text}"
    generator = torch.Generator().manual_seed(0)
    state = torch.random.get_rng_state()
    for seed in range(TRIED):
        x = torch.rand(shape, generator=generator) * 2 - 1
        with torch.random.fork_rng(devices=[]):
            one, two = (_applied(text, x, seed) for _ in range(2))
            drew = not torch.equal(state, torch.random.get_rng_state())
        if not torch.equal(one, two) or drew:
            raise UserError(f"{where} draws in a way that can't be repeated, so a run could not go on: leave it out")
        if float(one.abs().max()) > 1.02:
            raise UserError(f"{where} takes values out of the images' range; they are scaled already: leave it out")


def _applied(text: str, x: Float[Tensor, "c h w"], seed: int) -> Float[Tensor, "c h w"]:
    """Returns the image, transformed. Raises UserError if that fails, or changes its shape or kind."""
    where, shape = f"--data.transforms {text}", tuple(x.shape)
    built = _built(text, *shape[1:])
    try:
        with _Drawing(torch.Generator().manual_seed(seed)):
            y = built((x + 1) / 2)
    except Exception as error:  # torchvision raises many kinds
        raise UserError(f"{where} can't take images of shape {shape}: {error}") from error
    if not isinstance(y, Tensor) or y.shape != x.shape or y.dtype != x.dtype:
        found = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise UserError(f"{where} makes {found} of an image of shape {shape}: shape and kind must stay as they are")
    return y * 2 - 1


@lru_cache(64)
def _built(text: str, height: int, width: int) -> Transform:
    """Returns the transform; one that needs a size gets that of the images."""
    from torchvision.transforms import v2

    where = f"--data.transforms {text}"
    name, positional, named = _parsed(text, where)
    kinds = {
        key: value for key, value in vars(v2).items() if inspect.isclass(value) and issubclass(value, v2.Transform)
    }
    if name not in kinds:
        raise UserError(f"{where}: torchvision.transforms.v2 has no {name}.{did_you_mean(name, kinds)}")
    parameters = list(inspect.signature(kinds[name]).parameters.values())
    given = {parameter.name for parameter in parameters[: len(positional)]} | set(named)
    needed = [one.name for one in parameters if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    if "size" in needed and "size" not in given:
        named["size"] = (height, width)
    try:
        return kinds[name](*positional, **named)
    except Exception as error:  # torchvision raises many kinds
        raise UserError(f"{where}: {error}") from error


def _parsed(text: str, where: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Returns name and arguments, which are literals."""
    form = "give a name, or a name with plain values in brackets, such as RandomRotation(10) or ColorJitter(hue=.1)"
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
        if not isinstance(call.func, ast.Name) or any(one.arg is None for one in call.keywords):
            raise ValueError
        positional = [ast.literal_eval(value) for value in call.args]
        return call.func.id, positional, {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise UserError(f"{where}: {form}") from error


def item_seed(seed: int, draw: int, row: int) -> int:
    """Returns a seed of an item's own. See `augment`."""
    return int(np.random.default_rng((seed, draw, row, 3)).integers(2**62))
