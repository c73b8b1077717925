"""Takes what is worth publishing out of finished, evaluated runs.

    python benchmarks/collect.py runs/iiae-maps [more runs]

For each run it writes benchmarks/results/RUN.json: the command, the protocol, the figures, the curve on the validation
part, the time. Of the pictures that `evaluate` drew it takes those that a page shows, as docs/pictures/RUN-NAME.webp;
RUN-watched.webp is drawn from the log. Then it writes the tables of the pages of results and the figures of `unbraid
recipes` anew, from all results.
"""

import re
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from PIL import Image

import figures
import pages
import small
from unbraid.core.config import LOCATIONS, flatten, to_json
from unbraid.core.files import read_json, write_json
from unbraid.model.log import read_log
from unbraid.recipes import RECIPES

PICTURES = pages.DOCS / "pictures"


def command(config: dict[str, Any]) -> str:
    """The command that repeats the run: its recipe and what was changed in it."""
    recipe = config["recipe"]
    asked, usual = flatten(config["config"]), flatten(to_json(RECIPES[recipe].config))
    changed = {key: value for key, value in asked.items() if key in usual and usual[key] != value}
    words = ["unbraid", "train", recipe, "--run", f"runs/{recipe}"]
    words += ["--data.root", "DATA"] * (asked["data.root"] is not None)
    for key, value in changed.items():
        section, name = key.replace("_", "-").rsplit(".", 1)
        if isinstance(value, bool):
            words.append(f"--{section}.{'' if value else 'no-'}{name}")
        elif key not in LOCATIONS:
            words += [f"--{key.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return " ".join(words)


def collect(run: Path) -> dict[str, Any]:
    """The record of one run."""
    config, metrics = read_json(run / "config.json"), read_json(run / "metrics.json")
    rows = read_log(run / "log.jsonl")
    ended = {row["stage"]: row["seconds"] for row in rows}  # the last of each stage
    steps = {row["stage"]: row["step"] for row in rows}
    curve = [
        {
            "minutes": round((row["seconds"] + sum(s for stage, s in ended.items() if stage < row["stage"])) / 60, 2),
            "step": row["step"] + sum(s for stage, s in steps.items() if stage < row["stage"]),
            **row["validation"],
        }
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


def draw_diagnostics(run: Path, path: Path) -> None:
    """Draws diagnostics over the minutes of training, and coverage and variety of samples."""
    rows = read_log(run / "log.jsonl")
    diagnostics = [(row["seconds"] / 60, row["diagnostics"]) for row in rows if "diagnostics" in row]
    held_out = [(row["seconds"] / 60, row["validation"]) for row in rows if "validation" in row]
    if not diagnostics:
        return
    figure, panels = pyplot.subplots(2, 2, figsize=(9, 5.6), layout="constrained")
    shown = {
        "critics' distances": (diagnostics, "distance"),
        "critics' slopes": (diagnostics, "slope"),
        "gradient norms": (diagnostics, "gradient norm"),
        "samples on the validation part, %": (held_out, ("coverage", "variety")),
    }
    for axes, (title, (points, part)) in zip(panels.flat, shown.items(), strict=True):
        parts = (part,) if isinstance(part, str) else part
        for name in [name for name in points[-1][1] if any(one in name for one in parts)]:
            known = [(minutes, values[name]) for minutes, values in points if name in values]
            axes.plot(*zip(*known, strict=True), label=name.replace("_", " "), linewidth=0.8)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("minutes of training", fontsize=8)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def shown() -> set[str]:
    """Returns the names of the pictures that pages show."""
    texts = [page.read_text() for page in (pages.README, *pages.DOCS.rglob("*.md"))]
    return {name for text in texts for name in re.findall(r"pictures/([\w-]+)\.webp", text)}


def take_pictures(run: Path) -> None:
    """Writes those pictures of a run that pages show."""
    for name in shown():
        rest = name.removeprefix(f"{run.name}-")
        if rest == name:
            continue
        if rest == "watched":
            draw_diagnostics(run, PICTURES / f"{name}.webp")
        elif (drawn := run / "pictures" / f"{rest}.png").exists():
            small.save(Image.open(drawn), PICTURES / f"{name}.webp")


def main(runs: list[str]) -> None:
    """Collects each run."""
    for folder in runs:
        run = Path(folder)
        record = collect(run)
        write_json(figures.RESULTS / f"{run.name}.json", record)
        take_pictures(run)
        print(f"{run.name}: {record['command']}")
    pages.main()
    figures.main()


if __name__ == "__main__":
    main(sys.argv[1:])
