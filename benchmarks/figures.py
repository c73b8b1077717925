"""Writes the figure that each recipe shows, and its paper's, into the package, from benchmarks/results.

    python benchmarks/figures.py

A recipe's figures come from the result of its name, the papers' from papers.json.
`unbraid recipes` prints what this writes.
"""

from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

from unbraid.core.files import read_json, write_json
from unbraid.core.recipe import Shows
from unbraid.recipes import RECIPES
from unbraid.recipes.figures import FIGURES, Figure

RESULTS = Path(__file__).parent / "results"


def both_ways(table: dict[str, Any], *path: str) -> list[float]:
    """Returns the values at a path below "a->b" and below "b->a"."""
    values: list[Any] = [table[way] for way in ("a->b", "b->a") if way in table]
    for key in path:
        values = [value[key] for value in values]
    return values


def in_words(values: list[float], digits: int) -> str:
    """Returns values with so many digits, those below 1 without the nought."""
    return " / ".join(
        f"{value:.{digits}f}".removeprefix("0" if abs(value) < 1 and digits > 2 else "") for value in values
    )


def analogies(metrics: dict[str, Any]) -> str:
    """Returns the distances of analogies to what they should be."""
    return in_words([metrics["analogy"][domain]["made"]["distance"] for domain in "ab"], 1)


WORDS: dict[Shows, Callable[[dict[str, Any]], str]] = {
    "recall": lambda m: in_words(both_ways(m["recall"]["shared"], "1"), 2),
    "label": lambda m: "by label " + in_words(both_ways(m["recall_label"]["shared"], "1"), 2),
    "analogy": lambda m: "analogy " + analogies(m),
    "nearest view": lambda m: "LPIPS " + in_words(both_ways(m["nearest_view"], "sample", "lpips"), 3),
    "transfer": lambda m: "LPIPS " + in_words([m["content_transfer"]["transfer"]["lpips"]], 3),
    "translation": lambda m: "LPIPS " + in_words(both_ways(m["translation"], "sample", "lpips"), 3),
    "hidden pair": lambda m: "LPIPS " + in_words(both_ways(m["hidden_pair"], "translation", "lpips"), 3),
    "guided": lambda m: "guided, LPIPS " + in_words(both_ways(m["translation"], "guided", "lpips"), 3),
}
"""What is shown, from the metrics of one run."""


def of_seeds(runs: dict[str, dict[str, Any]], name: str) -> Figure | None:
    """Returns a synthetic experiment's correlations over its seeds."""
    found = [run for key, run in runs.items() if key.removeprefix(f"{name}-").isdigit()]
    if not found:
        return None
    values = [abs(run["residual"]) for run in found]
    spread = f"{len(found)} seeds, {in_words([min(values)], 3)} to {in_words([max(values)], 3)}"
    return Figure(f"correlation {in_words([mean(values)], 3)}; {spread}", found[0]["steps"])


def figure_of(name: str, shows: Shows) -> Figure | None:
    """Returns what was measured for a recipe, or None."""
    if shows == "correlation":
        return of_seeds(read_json(RESULTS / "synthetic.json")["runs"], name)
    if shows == "zero-shot":
        known = read_json(RESULTS / "sketchy.json").get(name)
        if known is None:
            return None
        value = known["mean of the seeded splits"]["shared, whitened: map"]["mean"]
        return Figure(f"mAP {in_words([value], 3)}", None)
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return None
    record = read_json(path)
    try:
        return Figure(WORDS[shows](record["metrics"]), record["steps"])
    except KeyError:  # the run was measured without pairs, or before this measure was there
        return None


def figures() -> dict[str, Figure]:
    """Returns the figures of all recipes that have some."""
    found = {name: figure_of(name, recipe.shows) for name, recipe in RECIPES.items()}
    return {name: figure for name, figure in found.items() if figure}


def main() -> None:
    """Writes them."""
    measured = {name: figure._asdict() for name, figure in figures().items()}
    write_json(FIGURES, {"measured": measured, "papers": read_json(RESULTS / "papers.json")})
    print(f"{FIGURES} written")


if __name__ == "__main__":
    main()
