"""Named functions that return a complete run, one for each experiment.

A recipe without `-paper` fits two cores; it shrinks sizes, never the algorithm. Its figures are measured by the
commands in benchmarks/ and stand in docs/benchmarks.md with command, split, seed and date.
"""

from unbraid.recipes import cddn, cyclegan, iiae, lord, uncooperative, xgan
from unbraid.recipes.recipe import Recipe as Recipe

RECIPES: dict[str, Recipe] = (
    iiae.RECIPES | cddn.RECIPES | lord.RECIPES | uncooperative.RECIPES | cyclegan.RECIPES | xgan.RECIPES
)
