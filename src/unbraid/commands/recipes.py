"""`unbraid recipes`."""

from rich.console import Console
from rich.table import Table


def recipes() -> None:
    """Lists the recipes: what each shows, the paper's figure and ours."""
    from unbraid.recipes import RECIPES
    from unbraid.recipes.recipe import AT_PAPER_SIZE

    table = Table(box=None, pad_edge=False)
    for column in ("recipe", "what", "paper", "ours"):
        table.add_column(column, overflow="fold", no_wrap=column == "recipe")
    paper = [name for name in RECIPES if name.endswith("-paper")]
    for name, recipe in RECIPES.items():
        if name not in paper:
            table.add_row(name, recipe.about, recipe.paper, recipe.ours)
    console = Console()
    console.print(table)
    console.print("\nFigures are recall@1 by pair on the test part, %, a->b / b->a, unless they say otherwise.")
    console.print(f"\nAt {AT_PAPER_SIZE}: {', '.join(paper)}.", highlight=False)
