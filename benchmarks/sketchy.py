"""Zero-shot retrieval on the Sketchy subset: five seeded splits, and the published one of 21 classes.

    python benchmarks/sketchy.py --root DATA --runs FOLDER [--recipes iiae-sketchy "iiae-sketchy --data.no-tuned" ...]

DATA is the folder that holds the sets. Each recipe is trained on each split (of data and training alike) with the
command that stands in the result, evaluated on the classes that it never saw, and kept in FOLDER. Writes
benchmarks/results/sketchy.json, and, of the first recipe's first split, a contact sheet of what `unbraid search` finds
for sketches, right and wrong marked, docs/pictures/sketchy-search.webp.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch

import small
from machine import facts, table
from unbraid.commands.cli import main as unbraid
from unbraid.core.files import read_json, write_json
from unbraid.core.types import ImageSpec
from unbraid.data.images import read_image
from unbraid.model.trained import load
from unbraid.search.query import search_index
from unbraid.search.sheet import contact_sheet

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "sketchy.json"
PUBLISHED = [
    "bat",
    "cabin",
    "cow",
    "dolphin",
    "door",
    "giraffe",
    "helicopter",
    "mouse",
    "pear",
    "raccoon",
    "rhinoceros",
    "saw",
    "scissors",
    "seagull",
    "skyscraper",
    "songbird",
    "sword",
    "tree",
    "wheelchair",
    "windmill",
    "window",
]
"""The unseen classes of Yelamarthi et al. 2018 ("A zero-shot framework for sketch based image retrieval"), none of
which is a class of ImageNet."""
SHOWN, HITS = 8, 8
"""Sketches in the picture, and photos for each."""


def trained(recipe: str, split: str, root: Path, folder: Path) -> tuple[str, dict[str, Any]]:
    """Command and metrics of one run, made if it isn't there yet."""
    name, *flags = recipe.split()
    run = folder / "-".join([name, *(flag.rsplit(".", 1)[-1] for flag in flags), split])
    seeds = ["--data.seed", split, "--train.seed", split]
    changes = [*flags, *(["--data.test-classes", *PUBLISHED] if split == "published" else seeds)]
    command = ["train", name, "--run", str(run), "--data.root", str(root), *changes]
    if not (run / "metrics.json").exists():
        assert unbraid(command) == 0
        assert unbraid(["evaluate", str(run), "--limit", "100"]) == 0
    shown = " ".join(["unbraid", "train", name, "--run", f"runs/{run.name}", "--data.root", "DATA", *changes])
    return shown, read_json(run / "metrics.json")


def row(metrics: dict[str, Any]) -> dict[str, float]:
    """The figures of a run, sketches -> photos."""
    found = metrics["zero_shot"]
    table: dict[str, float] = {}
    rows = {f"shared, {name}": ways for name, ways in found["shared"].items()}
    rows |= {name: found[name] for name in ("binary", "exclusive") if name in found}
    rows |= {f"features as trained on, {name}": ways for name, ways in found["features"].items()}
    rows |= {f"raw features, {name}": ways for name, ways in found["before the head"].items()}
    for name, ways in rows.items():
        for figure in ("map", "p_at_100"):
            table[f"{name}: {figure}"] = ways["b->a"][figure]
        table[f"{name}: recall@1"] = ways["b->a"]["recall"]["1"]
    return table


def sheet(run: Path, root: Path, place: Path) -> dict[str, Any]:
    """`unbraid index` of the unseen classes' photos, `search` with sketches: the share of right ones among the first
    ten, and a picture of some."""
    held_out = read_json(run / "parts.json")["test"]
    photos = [name for name in held_out if (root / "sketchy" / "photo" / name).exists()]
    sketches = [name for name in held_out if (root / "sketchy" / "sketch" / name).exists()]
    folder = place / "photos"
    for name in photos:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if not (folder / name).exists():
            (folder / name).symlink_to(root / "sketchy" / "photo" / name)
    to = place / "index"
    assert unbraid(["index", str(run), str(folder), "--domain", "a", "--to", str(to)]) == 0
    model = load(run)
    spec = model.image_spec("b")
    # a sketch of each of some classes, the first by name: not chosen by how it went
    classes = sorted({name.split("/")[0] for name in sketches})
    some = [next(name for name in sketches if name.startswith(f"{label}/")) for label in classes]
    x = torch.stack([read_image(root / "sketchy" / "sketch" / name, spec) for name in sketches])
    found = search_index(model, to, x, 10)
    right = [
        [hit.path.parent.name == name.split("/")[0] for hit in hits] for name, hits in zip(sketches, found, strict=True)
    ]
    shown = ImageSpec(64, 64, 3)
    at = [sketches.index(name) for name in some[:: max(1, len(some) // SHOWN)][:SHOWN]]
    picture = contact_sheet(
        [read_image(root / "sketchy" / "sketch" / sketches[i], shown) for i in at],
        [[read_image(hit.path, shown) for hit in found[i][:HITS]] for i in at],
        [[hit.path.parent.name for hit in found[i][:HITS]] for i in at],
        [right[i][:HITS] for i in at],
        [sketches[i].split("/")[0] for i in at],
    )
    small.save(picture, HERE.parent / "docs" / "pictures" / "sketchy-search.webp")
    hits = torch.tensor(right).float()
    return {
        "queries": len(sketches),
        "gallery": len(photos),
        "right among the first ten, %": round(100 * float(hits.mean()), 2),
        "right in the first place, %": round(100 * float(hits[:, 0].mean()), 2),
    }


def main() -> None:
    """Trains what isn't there, gathers, draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument(
        "--recipes", nargs="+", default=["iiae-sketchy", "cddn-sketchy", "iiae-sketchy --data.no-tuned"]
    )
    parser.add_argument("--splits", type=int, default=5)
    arguments = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for recipe in arguments.recipes:
        runs: dict[str, Any] = {}
        for split in [*map(str, range(arguments.splits)), "published"]:
            command, metrics = trained(recipe, split, arguments.root.absolute(), arguments.runs)
            runs[split] = {"command": command, "protocol": metrics["protocol"], "figures": row(metrics)}
            seen = runs[split]["figures"]
            print(recipe, split, {name: value for name, value in seen.items() if name.endswith("map")}, flush=True)
        seeded = [runs[str(split)]["figures"] for split in range(arguments.splits)]
        summary = {
            name: {
                "mean": round(statistics.mean(some[name] for some in seeded), 4),
                "deviation": round(statistics.stdev(some[name] for some in seeded), 4) if len(seeded) > 1 else 0.0,
            }
            for name in seeded[0]
        }
        results[recipe] = {"machine": facts(), "mean of the seeded splits": summary, "runs": runs}
        write_json(RESULTS, results)
        rows = [[name, f"{v['mean']:.4f}", f"{v['deviation']:.4f}"] for name, v in summary.items()]
        print(table([recipe, "mean", "deviation"], rows), flush=True)
    first = arguments.recipes[0]
    if first == "iiae-sketchy":
        results["search"] = sheet(arguments.runs / f"{first}-0", arguments.root.absolute(), arguments.runs / "search")
        write_json(RESULTS, results)
        print(results["search"])


if __name__ == "__main__":
    main()
