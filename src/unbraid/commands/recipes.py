"""`unbraid recipes`."""

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table


def recipes() -> None:
    """Lists the recipes: what each shows, the paper's figure and ours."""
    from unbraid.recipes import RECIPES
    from unbraid.recipes.recipe import AT_PAPER_SIZE

    paper = [name for name in RECIPES if name.endswith("-paper")]
    listed = {name: recipe for name, recipe in RECIPES.items() if name not in paper}
    table = Table(box=None, pad_edge=False)
    table.add_column("recipe", width=max(map(len, listed)))
    table.add_column("paper", overflow="fold")
    table.add_column("ours", overflow="fold")
    for name, recipe in listed.items():
        table.add_row(Group(name, Padding(recipe.about, (0, 0, 0, 2))), recipe.paper, recipe.ours)
    console = Console()
    console.print(table)
    console.print("\nFigures are recall@1 by pair on the test part, %, a->b / b->a, unless they say otherwise.")
    console.print(f"\nAt {AT_PAPER_SIZE}: {', '.join(paper)}.", highlight=False)
