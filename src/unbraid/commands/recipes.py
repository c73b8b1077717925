"""`unbraid recipes`."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.table import Table

from unbraid.core.console import Console
from unbraid.recipes.recipe import Figure, Recipe, read_figures, read_seconds

NAMES = 37
"""Width of the longest name, and of what is said of a recipe."""


def recipes() -> None:
    """Lists the recipes: what each shows, how long it is and takes, the paper's figure and ours."""
    from unbraid.recipes import RECIPES

    console, seconds, figures = Console(), read_seconds(), read_figures()
    if not console.is_terminal:
        console = Console(width=100)
    paper = {name: recipe for name, recipe in RECIPES.items() if name.endswith("-paper")}
    console.print(listed({name: recipe for name, recipe in RECIPES.items() if name not in paper}, seconds, figures))
    console.print("\nWith the paper's networks, weights and length:\n")
    console.print(listed(paper, seconds, figures))
    cpu, gpu = seconds["cpu"]["machine"], seconds["gpu"]["machine"]
    console.print(
        "\nFigures are recall@1 by pair on the test part, %, a->b / b->a, unless they say otherwise, and of another "
        "number of steps where they say so. Times are of training alone, by some steps on "
        f"{cpu['processor']}, {cores(cpu)}, and {gpu['processor']}; -: not measured.",
        highlight=False,
    )


def listed(recipes: Mapping[str, Recipe], seconds: Mapping[str, Any], figures: Mapping[str, Figure]) -> Table:
    """Returns a table of recipes.

    Args:
        recipes: by name.
        seconds: of a step, by device, as `read_seconds` has them.
        figures: what was measured, by name.

    Returns:
        The table, 100 columns wide if there is room.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("recipe", width=NAMES)
    table.add_column("steps", justify="right")
    table.add_column(cores(seconds["cpu"]["machine"]), justify="right", no_wrap=True)
    table.add_column("GPU", justify="right", no_wrap=True)
    table.add_column("recall@1, or as said", overflow="fold")
    for name, recipe in recipes.items():
        steps = recipe.make().train.steps
        times = [duration(steps, seconds[device]["seconds"].get(name)) for device in ("cpu", "gpu")]
        paper = "" if recipe.paper == "-" else f"paper {recipe.paper}\n"
        ours = measured(figures.get(name), steps, recipe.note)
        about = Padding(recipe.about, (0, 0, 0, 2))
        table.add_row(Group(name, about), f"{steps:,}" if steps else "-", *times, f"{paper}{ours}")
    return table


def measured(figure: Figure | None, steps: int | None, note: str) -> str:
    """Returns what was measured in words, with the run's number of steps where it is not the recipe's."""
    if figure is None:
        return f"not measured{note and f' ({note})'}"
    said = [f"{figure.steps:,} steps"] if figure.steps not in (None, steps) else []
    said += [note] if note else []
    return f"ours {figure.words} ({'; '.join(said)})" if said else f"ours {figure.words}"


def cores(machine: Mapping[str, Any]) -> str:
    """Returns how many cores computed, in words."""
    count = machine.get("threads", 0)
    return f"{count} core{'s' * (count != 1)}"


def duration(steps: int | None, seconds: float | None) -> str:
    """Returns how long so many steps of so many seconds take, rounded to what one would plan with."""
    if steps is None or seconds is None:
        return "-"
    minutes = steps * seconds / 60
    if minutes < 90:
        return f"{max(1, minutes):.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 48 * 60 else f"{minutes / 60 / 24:.0f} days"
