"""Writes the generated tables of README and docs, and the rows of pictures of results, from benchmarks/results.

    python benchmarks/pages.py

What is written stands between two marks in its page, `<!-- NAME -->` and `<!-- end of NAME -->`.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import figures
from figures import RESULTS, analogies, both_ways, in_words
from unbraid.core.files import read_json
from unbraid.evaluation.metrics.probes import SURE
from unbraid.methods import method_name
from unbraid.recipes import RECIPES
from unbraid.recipes.figures import Figure, read_papers

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAPERS = read_papers()

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
    """Returns how well a linear reader predicts the class of unseen items from content codes, with chance and control.

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


def domain_predicted(m: dict[str, Any]) -> str:
    """Returns how often fresh probes predict the domain of a shared code."""
    return in_words([m["domain_probe"][kind] for kind in ("linear", "mlp")], 1)


RECALL: Column = ("recall@1, %", recall("shared"))
EUCLIDEAN: Column = ("Euclidean", euclidean)
LABEL: Column = ("by label", recall("shared", table="recall_label"))
VIEW: Column = ("nearest view, LPIPS", lpips("nearest_view", "sample"))
HIDDEN: Column = ("hidden pair, LPIPS (another item)", hidden)

CORRELATION: Column = ("correlation of the residual", str)
"""Of recipes whose figure is a correlation: there is no run of one seed to show."""

PAGES: dict[str, tuple[Column, ...]] = {
    "iiae": (
        ("gallery", gallery),
        RECALL,
        EUCLIDEAN,
        ("exclusive", recall("exclusive")),
        LABEL,
        VIEW,
    ),
    "cddn": (RECALL, EUCLIDEAN, LABEL, ("analogy (copying)", copied), VIEW),
    "lord": (
        ("transfer, LPIPS", transfer("transfer")),
        ("class image", transfer("class image")),
        ("class from content, % (chance; control)", leaked),
        ("guided, LPIPS", lpips("translation", "guided")),
        ("another image", lpips("translation", "random")),
    ),
    "xgan": (
        RECALL,
        LABEL,
        ("attributes in b, % (real)", attribute),
        HIDDEN,
        ("domain from code, %", domain_predicted),
    ),
    "uncooperative": (
        HIDDEN,
        ("way back: matched", decoding("matched")),
        ("mismatched", decoding("mismatched")),
        ("another image", decoding("others")),
        ("recombined", decoding("composition")),
        CORRELATION,
    ),
    "cyclegan": (HIDDEN, ("way back", decoding("matched")), ("another image", decoding("others"))),
}
"""For each method, the figures that the table of its page shows."""

PICTURES: dict[str, dict[str, str]] = {
    "iiae": {
        "maps shown as aerial photos": "iiae-maps-translate-b-to-a",
        "labels shown as facades": "iiae-facades-translate-b-to-a",
        "front views shown from other sides": "iiae-cars-translate-a-to-b",
        "shape of the row, colour of the column": "iiae-mnist-cdcb-analogy-a",
    },
    "cddn": {
        "maps shown as aerial photos": "cddn-maps-translate-b-to-a",
        "labels shown as facades, nearest upsampling": "cddn-facades-nearest-translate-b-to-a",
        "line art shown in colour": "cddn-emoji-translate-a-to-b",
        "shape of the row, colour of the column": "cddn-mnist-cdcb-analogy-b",
    },
    "lord": {
        "unseen cars before the rows, content of others over the columns": "lord-cars3d-transfer",
        "faces, each in all colours of skin": "lord-avataaars-attributes-swap-skinColor",
        "line art in several styles of coloured emoji": "lord-emoji-styles-translate-a-to-b",
    },
    "xgan": {
        "emoji, a to b": "xgan-emoji-translate-a-to-b",
        "digits, a to b": "xgan-mnist-cdcb-translate-a-to-b",
        "digits, b to a": "xgan-mnist-cdcb-translate-b-to-a",
        "photos shown as cartoons": "xgan-cuhk-avataaars-translate-a-to-b",
    },
    "uncooperative": {
        "photos shown as sketches": "uncooperative-cuhk-translate-a-to-b",
        "sketches shown as photos": "uncooperative-cuhk-translate-b-to-a",
        "relit cars, a to b": "uncooperative-relit-32-translate-a-to-b",
        "the row's car in the column's scene": "uncooperative-relit-32-analogy-a",
        "two known factors, each seed": "synthetic",
    },
    "cyclegan": {
        "relit cars, a to b": "cyclegan-relit-32-translate-a-to-b",
        "photos shown as maps": "cyclegan-maps-translate-a-to-b",
        "maps shown as photos": "cyclegan-maps-translate-b-to-a",
    },
}
"""For each method, the row of pictures of its page: caption and name. All of them are of test images."""

NOTED = ("xgan-*-apart*.json", "xgan-*-statistics-*.json", "lord-cars3d-?0.json")
"""Results of trials, which notes and the text of a page discuss, and no table shows."""

METHODS = (
    ("iiae", "IIAE, Hwang et al. 2020", "pairs", "iiae-mnist-cdcb"),
    ("cddn", "CdDN, Gonzalez-Garcia et al. 2018", "pairs", "cddn-mnist-cdcb"),
    ("pix2pix", "pix2pix, Isola et al. 2017", "pairs", "pix2pix-facades"),
    ("xgan", "XGAN, Royer et al. 2017", "two unpaired folders", "xgan-mnist-cdcb"),
    ("uncooperative", "Harley et al. 2019", "two unpaired folders", "uncooperative-relit-32"),
    ("cyclegan", "CycleGAN, Zhu et al. 2017", "two unpaired folders", "cyclegan-relit-32"),
    ("cut", "CUT, Park et al. 2020", "two unpaired folders", "cut-relit-32"),
    ("munit", "MUNIT, Huang et al. 2018", "two unpaired folders", "munit-relit-32"),
    ("dtn", "DTN, Taigman et al. 2017", "two unpaired folders", "dtn-emoji"),
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


def runs_of(method: str) -> list[dict[str, Any]]:
    """Returns the records of a method's runs, but for trials, in the recipes' order."""
    noted = {path for pattern in NOTED for path in RESULTS.glob(pattern)}
    records = [read_json(path) for path in sorted(RESULTS.glob("*.json")) if path not in noted]
    records = [record for record in records if {"command", "metrics", "steps"} <= set(record)]
    records = [record for record in records if named(record)[0] in RECIPES]
    names = list(RECIPES)
    records.sort(key=lambda record: (names.index(named(record)[0]), named(record)[1], -record["steps"]))
    return [record for record in records if method_name(RECIPES[named(record)[0]].method) == method]


def cell(column: Column, metrics: dict[str, Any]) -> str:
    """Returns a figure, or "-" where it was not measured."""
    try:
        return column[1](metrics)
    except KeyError:
        return "-"


def of_runs(method: str, known: dict[str, Figure]) -> str:
    """Returns the table of a page: a row for each run, without rows and columns that are empty.

    A recipe's name stands once, before its runs; those with changed settings have these in its place.
    """
    columns = PAGES[method]
    rows, last = [], ""
    for name, figure in known.items():
        if method_name(RECIPES[name].method) == method and RECIPES[name].shows == "correlation":
            cells = [figure.words.removeprefix("correlation ") if column is CORRELATION else "-" for column in columns]
            rows.append([f"`{name}`", PAPERS.get(name, "-"), *cells, f"{figure.steps or 0:,}", "all"])
    for record in runs_of(method):
        recipe, changes = named(record)
        cells = ["-" if column is CORRELATION else cell(column, record["metrics"]) for column in columns]
        if set(cells) == {"-"}:
            continue
        name = f"`{recipe}`" if recipe != last else "" if changes else "the same"
        name, last = f"{name} `{changes}`".strip() if changes else name, recipe
        paper = "-" if changes else PAPERS.get(recipe, "-")
        rows.append([name, paper, *cells, f"{record['steps']:,}", str(record["metrics"]["protocol"]["seed"])])
    head = ["recipe", "paper", *(title for title, _ in columns), "steps", "seed"]
    kept = [column for column in zip(head, *rows, strict=True) if set(column[1:]) - {"-"}]
    head, *rows = map(list, zip(*kept, strict=True))
    if {row[-1] for row in rows} == {"0"}:
        head, rows = head[:-1], [row[:-1] for row in rows]
    return table(head, rows)


def of_pictures(method: str) -> str:
    """Returns the row of pictures of a page."""
    shown = PICTURES[method]
    return table(list(shown), [[f"![](../pictures/{name}.webp)" for name in shown.values()]])


def of_methods(known: dict[str, Figure]) -> str:
    """Returns the README's table of methods."""
    rows = []
    for method, paper, data, recipe in METHODS:
        words = known[recipe].words if recipe in known else "not measured"
        words = f"recall@1 {words} %" if RECIPES[recipe].shows == "recall" else words
        theirs = PAPERS.get(recipe, "-")
        said = f"`{recipe}`: {words}" + (f"; paper {theirs}" if theirs != "-" else "")
        rows.append([f"[`{method}`](docs/methods/{method}.md)", paper, data, said])
    return table(["method", "paper", "trains on", "on its test part"], rows)


def of_changes() -> str:
    """Returns the table of settings for small images without pairs, each put back to the paper's: LPIPS both ways of
    translations to hidden counterparts, mean over seeds."""
    runs = read_json(RESULTS / "unpaired-changes.json")["runs"]
    columns = list(dict.fromkeys((run["method"], run["set"]) for run in runs))

    def words(change: str, column: tuple[str, str]) -> str:
        found = [run["figures"] for run in runs if (run["change"], run["method"], run["set"]) == (change, *column)]
        names = [f"{way} translation lpips" for way in ("a->b", "b->a")]
        ways = [[each[name] for each in found] for name in names if found and name in found[0]]
        return " / ".join(f"{sum(one) / len(one):.3f}".lstrip("0") for one in ways) or "-"

    changes = dict.fromkeys(run["change"] for run in runs)
    heads = [f"{method}, {name}" for method, name in columns]
    return table(["", *heads], ([change, *(words(change, column) for column in columns)] for change in changes))


def texts() -> dict[tuple[Path, str], str]:
    """Returns the text of each generated table, by page and mark."""
    known = figures.figures()
    made = {}
    for method in PAGES:
        page = DOCS / "results" / f"{method}.md"
        made |= {(page, "runs"): of_runs(method, known), (page, "pictures"): of_pictures(method)}
    made |= {(DOCS / "notes" / "unpaired-networks.md", "changes"): of_changes()}
    return made | {(README, "methods"): of_methods(known)}


def main() -> None:
    """Writes them."""
    for (page, mark), text in texts().items():
        fill(page, mark, text)


if __name__ == "__main__":
    main()
