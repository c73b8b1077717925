"""What each setting of XGAN's defaults for small images does: each put back to the paper's; and the weight of R1.

    python benchmarks/xgan_changes.py --root DATA --runs RUNS

Trains `xgan-mnist-cdcb` for 600 steps in each way, by one seed, and measures the test part; and for 1,000 steps with
each weight of R1, of which it takes what training logs of the validation part. Runs that are in RUNS are not trained
again. Writes benchmarks/results/xgan-changes.json.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from machine import facts, table
from unbraid.core.files import read_json, write_json
from unbraid.model.log import read_log

RESULTS = Path(__file__).parent / "results" / "xgan-changes.json"
TRAIN = "xgan-mnist-cdcb --train.steps 600 --train.average 0.99"
CHANGES = {
    "discriminators: batch-norm": "--method.discriminator-norm batch",
    "transposed convolutions": "--method.upsampling transposed",
    "no R1": "--method.r1 0",
    "GAN .01": "--method.gan 0.01",
    "GAN towards b": "--method.gan-towards b",
    "rate 1e-4": "--method.discriminator-rate 1e-4",
}
STRONG = "--method.r1 30"
"""The weight of R1 that was the default when these were trained."""
VARIANTS = {
    "as they are": STRONG,
    "paper's": " ".join(CHANGES.values()),
    **{name: flags if "r1" in flags else f"{STRONG} {flags}" for name, flags in CHANGES.items()},
}


WEIGHTS = (30.0, 3.0, 0.3)
"""Of R1."""
WEIGHING = "xgan-mnist-cdcb --train.steps 1000 --train.evaluate-every 500"


@dataclass(frozen=True)
class Arguments:
    """See above."""

    root: Path
    runs: Path


def measured(run: Path, flags: str, root: Path) -> dict[str, dict[str, float]]:
    """Returns the figures of each way, of a run that is trained if it isn't there."""
    data, program = ["--data.root", str(root)], [sys.executable, "-m", "unbraid"]
    if not (run / "metrics.json").exists():
        subprocess.run([*program, "train", *TRAIN.split(), *flags.split(), "--run", str(run), *data], check=True)
        only = ["--only", "retrieval,semantics,translation"]
        subprocess.run([*program, "evaluate", str(run), *only, *data], check=True)
    metrics = read_json(run / "metrics.json")
    return {
        way: {
            "digit read, %": metrics["attributes"][way]["label"]["translations"]["accuracy"],
            "lpips": metrics["translation"][way]["guided"]["lpips"],
            "recall by label": metrics["recall_label"]["shared"][way]["1"],
        }
        for way in ("a->b", "b->a")
    }


def validated(run: Path, flags: str, root: Path) -> dict[str, float]:
    """Returns the last figures of the validation part, of a run that is trained if it isn't there."""
    if not (run / "model.safetensors").exists():
        words = [*WEIGHING.split(), *flags.split(), "--run", str(run), "--data.root", str(root)]
        subprocess.run([sys.executable, "-m", "unbraid", "train", *words], check=True)
    return next(row["validation"] for row in reversed(read_log(run / "log.jsonl")) if "validation" in row)


def main(arguments: Arguments) -> None:
    """Trains what is missing, writes and prints."""
    document: dict[str, Any] = {"machine": facts(), "weights of R1": {}, "runs": {}}
    for weight in WEIGHTS:
        flags = f"--method.r1 {weight:g}"
        figures = validated(arguments.runs / f"xgan-r1-{weight:g}", flags, arguments.root)
        document["weights of R1"][f"{weight:g}"] = {"command": f"unbraid train {WEIGHING} {flags}", **figures}
    for number, (name, flags) in enumerate(VARIANTS.items()):
        figures = measured(arguments.runs / f"xgan-{number}", flags, arguments.root)
        document["runs"][name] = {"command": f"unbraid train {TRAIN} {flags}".strip(), **figures}
        write_json(RESULTS, document)
    runs = document["runs"].items()
    rows = [[name, *(f"{run[way][key]:.3g}" for key in run["a->b"] for way in ("a->b", "b->a"))] for name, run in runs]
    ways = [f"{key} {way}" for key in ("read", "LPIPS", "by label") for way in ("a->b", "b->a")]
    print(table(["", *ways], rows))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
