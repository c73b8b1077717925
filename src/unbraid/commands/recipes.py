"""`unbraid recipes`."""

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

from unbraid.core.data_config import SetName
from unbraid.core.recipe import Recipe
from unbraid.core.types import UserError
from unbraid.recipes.figures import Figure, read_figures, read_papers, read_seconds

WIDTH = 80
"""Columns of the list."""


def recipes(method: str | None = None, set: SetName | None = None, minutes: float | None = None) -> None:
    """Lists the recipes: what each shows, how long it is and takes, the paper's figure and ours.

    Args:
        method: Only recipes of this method.
        set: Only recipes on this data set.
        minutes: Only recipes that train in so many minutes at most on a processor, by the times listed.
    """
    from unbraid.methods import method_class, method_name
    from unbraid.recipes import RECIPES

    if method is not None:
        method_class(method)
    seconds, figures, papers = read_seconds(), read_figures(), read_papers()
    found = [
        recipe
        for name, recipe in RECIPES.items()
        if method in (None, method_name(recipe.method))
        and set in (None, recipe.data.set)
        and (minutes is None or 60 * minutes >= (recipe.train.steps or 0) * seconds["cpu"]["seconds"].get(name, 1e9))
    ]
    if not found:
        raise UserError("There is no such recipe. `unbraid recipes` lists all of them")
    cpu, gpu = seconds["cpu"]["machine"], seconds["gpu"]["machine"]
    print(f"{'recipe':36}{'steps':>12}{cores(cpu):>12}{'GPU':>12}")
    for paper in (False, True):
        some = [recipe for recipe in found if recipe.name.endswith("-paper") == paper]
        if paper and some:
            print("\nWith the paper's networks, weights and length:\n")
        for recipe in some:
            print(*lines(recipe, seconds, figures.get(recipe.name), papers.get(recipe.name, "")), sep="\n")
    note = (
        "Figures are recall@1 by pair on the test part, %, a->b / b->a, unless they say otherwise, and of another "
        "number of steps where they say so. Times are of training alone, by some steps on "
        f"{cpu['processor']}, {cores(cpu)}, and {gpu['processor']}; -: not measured."
    )
    print("", *wrap(note, WIDTH), sep="\n")


def lines(recipe: Recipe[Any], seconds: Mapping[str, Any], figure: Figure | None, paper: str) -> Iterator[str]:
    """Yields the lines about a recipe.

    Args:
        recipe: The recipe.
        seconds: Seconds of a step, by device, as `read_seconds` has them.
        figure: What was measured, if something was.
        paper: The paper's figure in words, empty if it has none.
    """
    steps = recipe.train.steps
    times = [duration(steps, seconds[device]["seconds"].get(recipe.name)) for device in ("cpu", "gpu")]
    yield f"{recipe.name:36}{f'{steps:,}' if steps else '-':>12}{times[0]:>12}{times[1]:>12}"
    figures = f"{paper and f'paper {paper}; '}{measured(figure, steps, recipe.note)}"
    yield from wrap(f"{recipe.about}: {figures}", WIDTH, initial_indent="  ", subsequent_indent="  ")


def measured(figure: Figure | None, steps: int | None, note: str) -> str:
    """Returns what was measured in words, with the run's number of steps where it is not the recipe's. See `lines`."""
    if figure is None:
        return f"not measured{note and f' ({note})'}"
    remarks = [f"{figure.steps:,} steps"] if figure.steps not in (None, steps) else []
    remarks += [note] if note else []
    return f"ours {figure.words} ({'; '.join(remarks)})" if remarks else f"ours {figure.words}"


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
