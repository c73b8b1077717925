"""How well a number that needs no pairs tells good checkpoints from bad ones, where pairs are known and hidden.

    python benchmarks/unpaired_choice.py --root DATA

Trains methods without pairs on sets with hidden truth, 32 px, and after every so many steps takes, of the validation
part, the score by which training chooses a checkpoint and its parts, and the truth: LPIPS of translations with drawn
codes to their counterparts, and recall through them. For each run: Spearman's rank correlation over its checkpoints of
each number with the truth (1 is perfect), and LPIPS of the chosen, the best and the last checkpoint.
Writes benchmarks/results/unpaired-choice.json; runs that stand there are left out, unless their length differs.
"""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import tyro
from scipy.stats import rankdata

from machine import facts
from unbraid.core.config import PACKAGED
from unbraid.core.files import read_json, write_json
from unbraid.core.method import Method
from unbraid.core.types import other
from unbraid.data.loading import load
from unbraid.data.parts import Data, PairedPart
from unbraid.evaluation.measures.through_translation import ThroughTranslation
from unbraid.evaluation.measures.unpaired import UnpairedScore
from unbraid.evaluation.networks import PerceptualNetworks
from unbraid.evaluation.subject import Subject
from unbraid.model.trained import Trained
from unpaired_trials import BATCH, SETS, MethodName, Trial, trained

RESULTS = Path(__file__).parent / "results" / "unpaired-choice.json"


@dataclass(frozen=True)
class Arguments:
    """See above."""

    root: Path
    sets: tuple[str, ...] = ("relit",)
    methods: tuple[MethodName, ...] = ("cyclegan", "cut", "munit")
    seeds: tuple[int, ...] = (0,)
    steps: int = 1200
    every: int = 100
    table: bool = False
    """Train nothing: print the table of what was measured."""


def measured(method: Method[Any], data: Data, networks: PerceptualNetworks, step: int) -> dict[str, float]:
    """The truth and what is to agree with it, of one checkpoint."""
    part = data.val
    assert isinstance(part, PairedPart)
    subject = Subject(Trained(method, None, "", step), data, part, networks=networks, limit=200)
    found = UnpairedScore().compute(subject).get("unpaired", {})
    through = ThroughTranslation().compute(subject).get("recall_through_translation", {})["pair"]
    lpips = []
    for source in subject.sources:
        rows = part.rows[:200]
        true = part.domain(other(source))[0].read(rows, 0)
        lpips.append(float(networks.looks({"": subject.translated(source, rows)}, true)[""]["lpips"].mean()))
    ways = [way for way in found.values() if isinstance(way, dict)]
    parts = {name: mean(way[name] for way in ways) for name in ("likeness", "content")}
    recall = mean(way["1"] for way in through.values())
    return {"step": step, "lpips": mean(lpips), "recall": recall, "score": found["score"], **parts}


def checkpoints(trial: Trial, data: Data, networks: PerceptualNetworks, every: int) -> list[dict[str, float]]:
    """Trains a method; returns what is measured after every so many steps."""
    method, curve = trial.build(data), list[dict[str, float]]()

    def watch(step: int) -> None:
        curve.append(measured(method, data, networks, step))

    trained(method, data, trial.steps, BATCH, trial.seed, every, watch)
    return curve


def correlation(one: list[float], other_one: list[float]) -> float:
    """Spearman's rank correlation; 0 if one of both is constant."""
    a, b = (rankdata(values) - (len(values) + 1) / 2 for values in (one, other_one))
    scale = float((a @ a * (b @ b)) ** 0.5)
    return float(a @ b) / scale if scale else 0.0


def agreement(curve: list[dict[str, float]]) -> dict[str, float]:
    """Rank correlations with the truth, and LPIPS of the chosen, the best and the last checkpoint."""
    near = [-row["lpips"] for row in curve]
    table = {
        f"{name}, {truth}": correlation([row[name] for row in curve], values)
        for name in ("score", "likeness", "content")
        for truth, values in (("lpips", near), ("recall", [row["recall"] for row in curve]))
    }
    chosen = max(curve, key=lambda row: (row["score"], row["step"]))
    table |= {"chosen": chosen["lpips"], "best": -max(near), "last": curve[-1]["lpips"]}
    return {name: round(value, 3) for name, value in table.items()}


def main(arguments: Arguments) -> None:
    """Trains what is missing, then prints the table."""
    document: dict[str, Any] = read_json(RESULTS) if RESULTS.exists() else {"runs": {}}
    if not arguments.table:
        networks = PerceptualNetworks.find(PACKAGED)
        for name in arguments.sets:
            data = load(replace(SETS[name], root=arguments.root))
            for method, seed in product(arguments.methods, arguments.seeds):
                key = f"{name}, {method}, seed {seed}, {arguments.steps} steps"
                if key in document["runs"]:
                    continue
                trial = Trial(name, method, "instance", "instance", 32, seed, arguments.steps)
                curve = checkpoints(trial, data, networks, arguments.every)
                document["runs"][key] = {"curve": curve, "agreement": agreement(curve)}
                document["machine"] = facts()
                write_json(RESULTS, document)
    for key, run in document["runs"].items():
        print(key, agreement(run["curve"]))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
