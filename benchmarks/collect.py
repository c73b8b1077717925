"""Takes what is worth publishing out of finished, evaluated runs.

    python benchmarks/collect.py runs/iiae-maps [more runs]

For each run it writes benchmarks/results/RUN.json: the command, the protocol, the figures, the curve on the validation
part, the time; and docs/pictures/RUN-curve.png, with the pictures that `evaluate` drew beside it.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from unbraid.config import flat, to_json
from unbraid.files import read_json, write_json
from unbraid.log import read_log
from unbraid.recipes import RECIPES

HERE = Path(__file__).parent
PICTURES = HERE.parent / "docs" / "pictures"
PLACES = ("data.root", "data.a", "data.b", "data.pairs", "data.side_by_side", "data.classes", "data.arrays")
"""Settings that say where things lie on one machine."""


def command(config: dict[str, Any]) -> str:
    """The command that repeats the run: its recipe and what was changed in it."""
    recipe = config["recipe"]
    asked, usual = flat(config["config"]), flat(to_json(RECIPES[recipe].make()))
    changed = {key: value for key, value in asked.items() if key in usual and usual[key] != value}
    words = ["unbraid", "train", recipe, "--run", f"runs/{recipe}"]
    words += ["--data.root", "DATA"] * (asked["data.root"] is not None)
    for key, value in changed.items():
        if key not in PLACES:
            words += [f"--{key.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return " ".join(words)


def collect(run: Path) -> dict[str, Any]:
    """The record of one run."""
    config, metrics = read_json(run / "config.json"), read_json(run / "metrics.json")
    rows = read_log(run / "log.jsonl")
    curve = [
        {"minutes": round(row["seconds"] / 60, 2), "step": row["step"], **row["validation"]}
        for row in rows
        if "validation" in row
    ]
    return {
        "command": command(config),
        "device": next(row["event"].split(", ", 1)[1] for row in rows if "event" in row),
        "minutes": curve[-1]["minutes"],
        "steps": curve[-1]["step"],
        "metrics": metrics,
        "curve": curve,
    }


def draw(record: dict[str, Any], path: Path) -> None:
    """Held-out recall@1 over the minutes of training."""
    figure, axes = pyplot.subplots(figsize=(6, 3.2), layout="constrained")
    for way in ("a->b", "b->a"):
        axes.plot([p["minutes"] for p in record["curve"]], [p[way] for p in record["curve"]], marker=".", label=way)
    axes.set_xlabel("minutes of training")
    axes.set_ylabel("recall@1, validation part, %")
    axes.set_ylim(0, 101)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(runs: list[str]) -> None:
    """Collects each run."""
    for name in runs:
        run = Path(name)
        record = collect(run)
        write_json(HERE / "results" / f"{run.name}.json", record)
        PICTURES.mkdir(parents=True, exist_ok=True)
        draw(record, PICTURES / f"{run.name}-curve.png")
        for picture in (run / "pictures").glob("*.png"):
            shutil.copy(picture, PICTURES / f"{run.name}-{picture.name}")
        recall = record["metrics"]["recall"]["shared"]
        print(f"{run.name}: {json.dumps({way: value['1'] for way, value in recall.items()})}; {record['command']}")


if __name__ == "__main__":
    main(sys.argv[1:])
