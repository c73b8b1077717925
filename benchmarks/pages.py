"""Writes the tables of the pages of results, and the README's table of methods, from benchmarks/results.

    python benchmarks/pages.py

Each table stands between two marks in its page, `<!-- NAME -->` and `<!-- end of NAME -->`.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import figures
from figures import RESULTS, analogies, both_ways, in_words
from unbraid.core.files import read_json
from unbraid.evaluation.metrics.probes import SURE
from unbraid.recipes import RECIPES
from unbraid.recipes.recipe import Figure

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"

Column = tuple[str, Callable[[dict[str, Any]], str]]
"""A title, and a figure in words from metrics; a KeyError where it was not measured."""


def recall(code: str, table: str = "recall") -> Callable[[dict[str, Any]], str]:
    """Returns a column's figure: recall at 1 of a code, both ways."""
    return lambda m: in_words(both_ways(m[table][code], "1"), 2)


def euclidean(m: dict[str, Any]) -> str:
    """Returns recall at 1 of shared codes by Euclidean distance."""
    main = m["protocol"]["distance"] == "euclidean"
    return recall("shared", table="recall" if main else "recall_euclidean")(m)


def gallery(m: dict[str, Any]) -> str:
    """Returns the number of items that are searched, for each direction where they differ."""
    items = m["protocol"]["gallery"]
    return " / ".join(map(str, items.values())) if isinstance(items, dict) else str(items)


def copied(m: dict[str, Any]) -> str:
    """Returns the distances of analogies, and those of copying the query."""
    copies = in_words([m["analogy"][domain]["copy"]["distance"] for domain in m["analogy"]], 1)
    return f"{analogies(m)} ({copies})"


def lpips(table: str, row: str) -> Callable[[dict[str, Any]], str]:
    """Returns a column's figure: LPIPS of a row of translations, both ways."""
    return lambda m: in_words(both_ways(m[table], row, "lpips"), 3)


def hidden(m: dict[str, Any]) -> str:
    """Returns LPIPS of translations to their hidden counterparts, and that of other items."""
    return f"{lpips('hidden_pair', 'translation')(m)} ({lpips('hidden_pair', 'random')(m)})"


def transfer(row: str) -> Callable[[dict[str, Any]], str]:
    """Returns a column's figure: LPIPS of content transfer."""
    return lambda m: in_words([m["content_transfer"][row]["lpips"]], 3)


def decoding(row: str) -> Callable[[dict[str, Any]], str]:
    """Returns a column's figure: LPIPS of what the way back from b makes."""
    return lambda m: in_words([m["cheat"]["a->b"]["decoding"][row]["lpips"]], 3)


def leaked(m: dict[str, Any]) -> str:
    """Returns how well a linear reader tells the class of unseen classes from content codes, with chance and control.

    A figure whose control is too low for it to say anything is "-". Runs of before controls were planted have the
    better of both codes as control.
    """
    table = m["probes"]["test part"]
    found = table["class from content"]["linear"]
    both = [table[f"class from {code}"]["linear"]["accuracy"] for code in ("content", "class")]
    control = found.get("control", max(both))
    says = max(found["accuracy"], control) - found["chance"] >= SURE * (100 - found["chance"])
    return f"{found['accuracy']:.1f} ({found['chance']:.1f}; {control:.1f})" if says else "-"


def attribute(m: dict[str, Any]) -> str:
    """Returns how often a reader finds each attribute of an input in its translation to b, and in real images."""
    shown = m["attributes"]["a->b"]
    read, real = (
        ", ".join(f"{values[what]['accuracy']:.1f}" for values in shown.values()) for what in ("translations", "real")
    )
    return f"{read} ({real})"


def domain_told(m: dict[str, Any]) -> str:
    """Returns how often fresh probes tell the domain of a shared code."""
    return in_words([m["domain_probe"][kind] for kind in ("linear", "mlp")], 1)


RECALL: Column = ("recall@1, %", recall("shared"))
EUCLIDEAN: Column = ("Euclidean", euclidean)
LABEL: Column = ("by label", recall("shared", table="recall_label"))
VIEW: Column = ("nearest view, LPIPS", lpips("nearest_view", "sample"))
HIDDEN: Column = ("hidden pair, LPIPS (another item)", hidden)

PAGES: dict[str, tuple[tuple[str, ...], tuple[Column, ...]]] = {
    "iiae": (
        ("iiae",),
        (
            ("gallery", gallery),
            RECALL,
            EUCLIDEAN,
            ("exclusive", recall("exclusive")),
            LABEL,
            VIEW,
        ),
    ),
    "cddn": (
        ("cddn",),
        (RECALL, EUCLIDEAN, LABEL, ("analogy (copying)", copied), VIEW),
    ),
    "lord": (
        ("lord",),
        (
            ("transfer, LPIPS", transfer("transfer")),
            ("class image", transfer("class image")),
            ("class from content, % (chance; control)", leaked),
            ("guided, LPIPS", lpips("translation", "guided")),
            ("another image", lpips("translation", "random")),
        ),
    ),
    "xgan": (
        ("xgan",),
        (
            RECALL,
            LABEL,
            ("attributes in b, % (real)", attribute),
            HIDDEN,
            ("domain from code, %", domain_told),
        ),
    ),
    "unpaired": (
        ("uncooperative", "cyclegan"),
        (
            HIDDEN,
            ("way back: matched", decoding("matched")),
            ("mismatched", decoding("mismatched")),
            ("another image", decoding("others")),
        ),
    ),
}
"""For each page, the methods whose runs its table has, and the figures that are shown of each."""

METHODS = (
    ("iiae", "IIAE, Hwang et al. 2020", "pairs", "iiae-mnist-cdcb"),
    ("cddn", "CdDN, Gonzalez-Garcia et al. 2018", "pairs", "cddn-mnist-cdcb"),
    ("xgan", "XGAN, Royer et al. 2017", "two unpaired folders", "xgan-mnist-cdcb"),
    ("uncooperative", "Harley et al. 2019", "two unpaired folders", "uncooperative-synthetic-identifiable"),
    ("cyclegan", "CycleGAN, Zhu et al. 2017", "two unpaired folders", "cyclegan-emoji"),
    ("lord", "LORD, Gabbay and Hoshen 2020", "class labels", "lord-cars3d"),
)
"""The README's table: method, paper, what it trains on, the recipe whose figure is shown."""


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Returns a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def fill(page: Path, mark: str, text: str) -> None:
    """Replaces what stands between the marks of a page."""
    page.write_text(filled(page.read_text(), mark, text))


def filled(page: str, mark: str, text: str) -> str:
    """Returns a page's text with something else between its marks."""
    before, rest = page.split(f"<!-- {mark} -->\n", 1)
    _, after = rest.split(f"<!-- end of {mark} -->", 1)
    return f"{before}<!-- {mark} -->\n{text}\n<!-- end of {mark} -->{after}"


def named(record: dict[str, Any]) -> tuple[str, str]:
    """Returns the recipe of a run, and what of its method or of the images' size was changed, as flags."""
    changes = re.findall(r"--(?:method\.|data\.size)\S*(?: (?!--)\S+)*", record["command"])
    return record["command"].split()[2], " ".join(changes)


def runs_of(methods: tuple[str, ...]) -> list[dict[str, Any]]:
    """Returns the records of all runs of some methods' recipes, in the recipes' order."""
    records = [read_json(path) for path in sorted(RESULTS.glob("*.json"))]
    records = [record for record in records if {"command", "metrics", "steps"} <= set(record)]
    records = [record for record in records if named(record)[0] in RECIPES]
    names = list(RECIPES)
    records.sort(key=lambda record: (names.index(named(record)[0]), named(record)[1], -record["steps"]))
    return [record for record in records if RECIPES[named(record)[0]].method in methods]


def cell(column: Column, metrics: dict[str, Any]) -> str:
    """Returns a figure, or "-" where it was not measured."""
    try:
        return column[1](metrics)
    except KeyError:
        return "-"


def of_runs(methods: tuple[str, ...], columns: tuple[Column, ...]) -> str:
    """Returns the table of a page: a row for each run, without rows and columns that are empty."""
    rows = []
    for record in runs_of(methods):
        recipe, changes = named(record)
        cells = [cell(column, record["metrics"]) for column in columns]
        if set(cells) == {"-"}:
            continue
        name = f"`{recipe}`" + (f" `{changes}`" if changes else "")
        paper = "-" if changes else RECIPES[recipe].paper
        rows.append([name, paper, *cells, f"{record['steps']:,}", str(record["metrics"]["protocol"]["seed"])])
    head = ["recipe", "paper", *(title for title, _ in columns), "steps", "seed"]
    kept = [column for column in zip(head, *rows, strict=True) if set(column[1:]) != {"-"}]
    head, *rows = map(list, zip(*kept, strict=True))
    return table(head, rows)


def summary(known: dict[str, Figure]) -> str:
    """Returns the table of all recipes that have a figure."""
    rows = (
        [
            f"`{name}`",
            RECIPES[name].about,
            RECIPES[name].paper,
            figure.words + (f" ({RECIPES[name].note})" if RECIPES[name].note else ""),
            f"{figure.steps:,}" if figure.steps else "-",
        ]
        for name, figure in known.items()
    )
    return table(["recipe", "data", "paper", "ours", "steps"], rows)


def of_methods(known: dict[str, Figure]) -> str:
    """Returns the README's table of methods."""
    rows = []
    for method, paper, data, recipe in METHODS:
        words = known[recipe].words if recipe in known else "not measured"
        words = f"recall@1 {words} %" if RECIPES[recipe].shows == "recall" else words
        theirs = RECIPES[recipe].paper
        said = f"`{recipe}`: {words}" + (f"; paper {theirs}" if theirs != "-" else "")
        rows.append([f"[`{method}`](docs/methods/{method}.md)", paper, data, said])
    return table(["method", "paper", "trains on", "on its test part"], rows)


def texts() -> dict[tuple[Path, str], str]:
    """Returns the text of each generated table, by page and mark."""
    known = figures.figures()
    made = {(DOCS / "results" / f"{name}.md", "runs"): of_runs(*parts) for name, parts in PAGES.items()}
    return made | {(DOCS / "results.md", "summary"): summary(known), (README, "methods"): of_methods(known)}


def main() -> None:
    """Writes them."""
    for (page, mark), text in texts().items():
        fill(page, mark, text)


if __name__ == "__main__":
    main()
