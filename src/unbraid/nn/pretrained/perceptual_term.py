"""LORD's perceptual loss as a term of other methods, beside their own reconstruction: `perceptual_weight`."""

from dataclasses import replace
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from unbraid.core.config import PerceptualConfig
from unbraid.core.types import DataSpec, ImageSpec, UserError
from unbraid.nn.pretrained.perceptual import SMALLEST, FrozenVgg16, find_weights, perceptual_loss

Config = TypeVar("Config")


class PerceptualTerm:
    """The perceptual loss of a method. It is no module: VGG16 is neither trained nor saved.

    Args:
        weight: The term's weight; 0 if the method has none.
        sources: Where VGG16's weights are.
    """

    def __init__(self, weight: float, sources: PerceptualConfig) -> None:
        self._weight, self._sources = weight, sources
        self._vgg: FrozenVgg16 | None = None

    def prepare(self) -> None:
        """Loads the weights of VGG16 if they are needed. Raises UserError if there are none."""
        if self._weight and self._vgg is None:
            self._vgg = FrozenVgg16(find_weights("vgg16", self._sources))

    def __call__(self, generated: Float[Tensor, "n c h w"], true: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
        """Computes the loss of images, whose gradient reaches `generated` only. Needs `prepare`."""
        assert self._vgg is not None
        vgg = self._vgg.on(true.device)
        with torch.no_grad():
            wanted = vgg(true)
        return perceptual_loss(vgg, generated, wanted)


def check_perceptual(spec: DataSpec, weight: float) -> None:
    """Raises UserError if a perceptual loss has this weight, other than 0, and VGG16 can't process these data."""
    if weight and (reason := _unseen(spec)):
        raise UserError(f"--method.perceptual-weight {weight:g}: {reason}")


def perceptual_if_possible(spec: DataSpec, config: Config) -> tuple[Config, list[str]]:
    """Returns a method's settings, a dataclass with `perceptual_weight` and `perceptual`, without the loss where these
    data or the machine can't have it, which the lines say."""
    settings: Any = config
    reason = _unseen(spec)
    if reason is None:
        try:
            find_weights("vgg16", settings.perceptual)
            return config, []
        except UserError as error:
            reason = str(error)
    return replace(settings, perceptual_weight=0.0), [f"Images will be softer, without a perceptual loss: {reason}"]


def _unseen(spec: DataSpec) -> str | None:
    """Returns why VGG16 can't process these data, or None."""
    for own in (spec.a, spec.b):
        if not isinstance(own, ImageSpec) or own.channels not in (1, 3) or min(own.height, own.width) < SMALLEST:
            return f"VGG16 takes grey or colour images of at least {SMALLEST} x {SMALLEST}; found {own}"
    return None
