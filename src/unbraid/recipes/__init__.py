"""Complete runs by name: values, a file for each method; `RECIPES` has them by the names of the command line.

A recipe's length is a number of steps, equal for all that are compared. One without `-paper` fits two cores: it shrinks
sizes and lengths, and what else it changes stands on the method's docs page. Figures stand in docs/results/ and
benchmarks/results/.

One with `-paper` has the paper's networks, weights and length. Images are enlarged to 256 px where the paper did so
with images as small (digits, cars); renders and emoji of our own choice keep their 64 px.
"""

from typing import Any

from unbraid.core.recipe import Recipe as Recipe
from unbraid.recipes import cddn, cut, cyclegan, dtn, iiae, lord, munit, pix2pix, uncooperative, xgan
from unbraid.recipes.cddn import (
    CDDN_ABLATIONS,
    CDDN_CARS,
    CDDN_CARS_PAPER,
    CDDN_EMOJI,
    CDDN_EMOJI_PAPER,
    CDDN_FACADES,
    CDDN_FACADES_PAPER,
    CDDN_MAPS,
    CDDN_MAPS_PAPER,
    CDDN_MNIST_CDCB,
    CDDN_MNIST_CDCB_PAPER,
    CDDN_SKETCHY,
)
from unbraid.recipes.cut import (
    CUT_CUHK,
    CUT_FACADES,
    CUT_MAPS,
    CUT_MAPS_PAPER,
    CUT_RELIT,
    CUT_RELIT_32,
)
from unbraid.recipes.cyclegan import (
    CYCLEGAN_CUHK,
    CYCLEGAN_EMOJI,
    CYCLEGAN_FACADES,
    CYCLEGAN_MAPS,
    CYCLEGAN_MAPS_PAPER,
    CYCLEGAN_RELIT,
    CYCLEGAN_RELIT_32,
    CYCLEGAN_RELIT_PAPER,
)
from unbraid.recipes.dtn import (
    DTN_EMOJI,
    DTN_EMOJI_PAPER,
    DTN_MNIST_CDCB,
    DTN_MNIST_CDCB_PAPER,
)
from unbraid.recipes.iiae import (
    DEMO,
    IIAE_CAR_SIDES,
    IIAE_CARS,
    IIAE_CARS_PAPER,
    IIAE_EMOJI,
    IIAE_FACADES,
    IIAE_FACADES_PAPER,
    IIAE_MAPS,
    IIAE_MAPS_PAPER,
    IIAE_MNIST_CDCB,
    IIAE_MNIST_CDCB_PAPER,
    IIAE_SKETCHY,
    IIAE_SKETCHY_PAPER,
)
from unbraid.recipes.lord import (
    LORD_AVATAAARS,
    LORD_AVATAAARS_ATTRIBUTES,
    LORD_CARS3D,
    LORD_CARS3D_PAPER,
    LORD_EMOJI_STYLES,
    LORD_EMOJI_TWO_CLASSES,
    LORD_VARIANTS,
)
from unbraid.recipes.munit import (
    MUNIT_CUHK,
    MUNIT_FACADES,
    MUNIT_MAPS,
    MUNIT_MAPS_PAPER,
    MUNIT_RELIT,
    MUNIT_RELIT_32,
)
from unbraid.recipes.pix2pix import (
    PIX2PIX_EMOJI,
    PIX2PIX_FACADES,
    PIX2PIX_FACADES_PAPER,
    PIX2PIX_MAPS,
    PIX2PIX_MAPS_PAPER,
)
from unbraid.recipes.uncooperative import (
    COOPERATIVE_CUHK,
    COOPERATIVE_FACADES,
    COOPERATIVE_MAPS,
    COOPERATIVE_RELIT,
    COOPERATIVE_RELIT_32,
    COOPERATIVE_RELIT_PAPER,
    COOPERATIVE_SYNTHETIC,
    COOPERATIVE_SYNTHETIC_IDENTIFIABLE,
    UNCOOPERATIVE_CUHK,
    UNCOOPERATIVE_CUHK_PAPER,
    UNCOOPERATIVE_FACADES,
    UNCOOPERATIVE_MAPS,
    UNCOOPERATIVE_MAPS_PAPER,
    UNCOOPERATIVE_RELIT,
    UNCOOPERATIVE_RELIT_32,
    UNCOOPERATIVE_RELIT_PAPER,
    UNCOOPERATIVE_SYNTHETIC,
    UNCOOPERATIVE_SYNTHETIC_IDENTIFIABLE,
)
from unbraid.recipes.xgan import (
    XGAN_ABLATIONS,
    XGAN_CUHK_AVATAAARS,
    XGAN_CUHK_AVATAAARS_PAPER,
    XGAN_EMOJI,
    XGAN_EMOJI_PAPER,
    XGAN_MNIST_CDCB,
    XGAN_MNIST_CDCB_PAPER,
)

RECIPES: dict[str, Recipe[Any]] = {
    recipe.name: recipe
    for module in (iiae, cddn, lord, uncooperative, cyclegan, cut, munit, xgan, dtn, pix2pix)
    for value in vars(module).values()
    for recipe in (value if isinstance(value, tuple) else (value,))
    if isinstance(recipe, Recipe)
}
