"""Whether two known factors are told apart, over seeds: Harley et al. 2019, figure 4, by both rules.

    python benchmarks/synthetic.py

Trains each recipe with ten seeds by the `unbraid` command, `--processes` runs at a time with one thread each, in
`--runs`/RECIPE-SEED. Then it measures the last model on the test part, which is the same for all seeds. The same
command goes on where it was stopped: runs that the result file holds are left out.

Writes benchmarks/results/synthetic.json and docs/pictures/synthetic.webp. The curves are those of the validation part.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
import tyro
from matplotlib import pyplot

import unbraid
from machine import facts, table
from unbraid.core.files import read_json, write_json
from unbraid.data.loading import load
from unbraid.evaluation.measures.residual import correlations
from unbraid.evaluation.subject import Subject
from unbraid.model.log import LOG_EVERY, read_log
from unbraid.model.run import Run

RECIPES = (
    "uncooperative-synthetic",
    "cooperative-synthetic",
    "uncooperative-synthetic-identifiable",
    "cooperative-synthetic-identifiable",
)
SEEDS = 10
OBJECTIVE = ("cycle_informative", "cycle_plain", "cycle_residual", "generator_informative", "generator_plain")
"""Terms of eq. 3, which disentangler and entangler minimise."""
COLOURS = {"uncooperative": "tab:blue", "cooperative": "tab:orange"}
RESULTS = Path(__file__).parent / "results" / "synthetic.json"
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "synthetic.webp"


def trained(recipe: str, seed: int, path: Path) -> dict[str, Any]:
    """Trains one run, by one thread: its record."""
    words = ["train", recipe, "--run", str(path), "--train.seed", str(seed)]
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "unbraid", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    minutes = round((time.monotonic() - began) / 60, 2)
    command = f"unbraid train {recipe} --run runs/{recipe}-{seed} --train.seed {seed}"
    return {"command": command, "minutes": minutes, **collected(path)}


def collected(path: Path) -> dict[str, Any]:
    """What a finished run's folder says. The losses at the end are means of the last thousand steps."""
    rows = read_log(path / "log.jsonl")
    last = rows[-1]
    losses = [row["losses"] for row in rows if "losses" in row][-1000 // LOG_EVERY :]
    return {
        **measured(path),
        "steps": last["step"],
        "steps_per_second": round(last["step"] / last["seconds"], 1),
        "losses": {name: round(float(np.mean([row[name] for row in losses])), 4) for name in losses[-1]},
        "curve": curve(rows),
    }


def measured(path: Path) -> dict[str, float]:
    """Correlations on the test part."""
    data = load(Run.existing(path).config.data)
    found = correlations(Subject(unbraid.load(path), data, data.test))
    return {name: round(value, 4) for name, value in found.items()}


def curve(rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """At each measurement: correlations on the validation part, and the mean objective since the one before."""
    points: list[dict[str, float]] = []
    sums: list[float] = []
    for row in rows:
        if "losses" in row:
            sums.append(sum(row["losses"][name] for name in OBJECTIVE))
        if "validation" in row:
            found = {name: round(row["validation"][f"{name}, %"] / 100, 4) for name in ("residual", "content", "leak")}
            points.append({"step": row["step"], **found, "objective": round(float(np.mean(sums)), 4)})
            sums = []
    return points


def spread(values: list[float]) -> dict[str, float]:
    """Least, quartiles and most, and how many of the seeds are above .95."""
    points = np.quantile(values, (0, 0.25, 0.5, 0.75, 1))
    names = ("least", "quarter", "median", "three quarters", "most")
    figures = {name: round(float(point), 3) for name, point in zip(names, points, strict=True)}
    return {**figures, "above .95": sum(value > 0.95 for value in values), "seeds": len(values)}


def summary(runs: dict[str, Any]) -> dict[str, Any]:
    """For each recipe the spread of the correlations, medians of losses at the end and of the speed, minutes in all."""
    found: dict[str, Any] = {}
    for recipe in RECIPES:
        rows = [record for name, record in runs.items() if name.rpartition("-")[0] == recipe]
        if rows:
            found[recipe] = {name: spread([row[name] for row in rows]) for name in ("residual", "content", "leak")}
            found[recipe]["losses"] = {
                name: round(float(np.median([row["losses"][name] for row in rows])), 4) for name in rows[0]["losses"]
            }
            found[recipe]["steps_per_second"] = round(float(np.median([row["steps_per_second"] for row in rows])), 1)
            found[recipe]["minutes"] = round(sum(row["minutes"] for row in rows), 1)
    return found


def draw(runs: dict[str, Any], path: Path) -> None:
    """A row for each kind of data: the seeds as dots, objective and correlation over the steps (median and range)."""
    figure, axes = pyplot.subplots(2, 3, figsize=(11, 6.4), layout="constrained", width_ratios=(1, 1.5, 1.5))
    for line, ending in zip(axes, ("synthetic", "synthetic-identifiable"), strict=True):
        for place, (rule, colour) in enumerate(COLOURS.items()):
            rows = [record for name, record in runs.items() if name.rpartition("-")[0] == f"{rule}-{ending}"]
            if not rows:
                continue
            sideways = place + np.linspace(-0.2, 0.2, len(rows))
            line[0].scatter(sideways, sorted(row["residual"] for row in rows), s=18, color=colour)
            steps = [point["step"] / 1000 for point in rows[0]["curve"]]
            for axis, what in ((line[1], "objective"), (line[2], "residual")):
                values = np.array([[point[what] for point in row["curve"]] for row in rows])
                axis.plot(steps, np.median(values, 0), color=colour, label=f"{rule}, median of {len(rows)}")
                axis.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
        line[0].set_xticks(range(len(COLOURS)), list(COLOURS))
        line[0].set_xlim(-0.5, len(COLOURS) - 0.5)
        line[0].set_ylabel(f"{ending}\ncorrelation, each seed, test part")
        line[1].set_ylabel("objective, eq. 3")
        line[1].set_yscale("log")
        line[2].set_ylabel("correlation, validation part")
        for axis in (line[0], line[2]):
            axis.set_ylim(0, 1.02)
        for axis in line[1:]:
            axis.set_xlabel("thousand steps")
        for axis in line:
            axis.grid(alpha=0.3)
        if line[2].lines:
            line[2].legend(loc="lower right")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(
    recipes: tuple[str, ...] = RECIPES,
    seeds: int = SEEDS,
    processes: int = 2,
    runs: Path = Path("runs"),
    out: Path = RESULTS,
    picture: Path = PICTURE,
) -> None:
    """Trains what is missing, measures, writes, draws."""
    mpl.use("Agg")
    torch.set_num_threads(1)
    results: dict[str, Any] = read_json(out) if out.exists() else {"runs": {}}
    results |= {**facts(), "processes": processes}
    for name, record in results["runs"].items():
        if (runs / name).exists():
            record |= collected(runs / name)
    with ThreadPoolExecutor(processes) as pool:
        names = [(recipe, seed) for recipe in recipes for seed in range(seeds)]
        missing = [(recipe, seed) for recipe, seed in names if f"{recipe}-{seed}" not in results["runs"]]
        tasks = {
            pool.submit(trained, recipe, seed, runs / f"{recipe}-{seed}"): f"{recipe}-{seed}"
            for recipe, seed in missing
        }
        for task in as_completed(tasks):
            name, record = tasks[task], task.result()
            results["runs"][name] = record
            results["summary"] = summary(results["runs"])
            write_json(out, results)
            figures = ", ".join(f"{what} {record[what]:.3f}" for what in ("residual", "content", "leak"))
            print(f"{name}: {figures}, {record['steps_per_second']:.0f} steps a second", flush=True)
    results["summary"] = summary(results["runs"])
    write_json(out, results)
    head = ["recipe", *(next(iter(results["summary"].values()))["residual"]), "steps/s"]
    lines = [
        [recipe, *found["residual"].values(), found["steps_per_second"]] for recipe, found in results["summary"].items()
    ]
    print(table(head, lines))
    draw(results["runs"], picture)


if __name__ == "__main__":
    tyro.cli(main)
