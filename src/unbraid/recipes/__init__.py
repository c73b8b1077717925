"""Named functions that return a complete run, one for each experiment.

A recipe's length is a number of steps, equal for all that are compared. One without `-paper` fits two cores: it shrinks
sizes and lengths, and what else it changes stands on the method's docs page. Figures stand in docs/results.md and
benchmarks/results.

One with `-paper` has the paper's networks, weights and length. Images are enlarged to 256 px where the paper did so
with images as small (digits, cars); renders and emoji of our own choice keep their 64 px.
"""

from unbraid.recipes import cddn, cyclegan, iiae, lord, uncooperative, xgan
from unbraid.recipes.recipe import Recipe as Recipe

RECIPES: dict[str, Recipe] = (
    iiae.RECIPES | cddn.RECIPES | lord.RECIPES | uncooperative.RECIPES | cyclegan.RECIPES | xgan.RECIPES
)
