"""How well the number that chooses a checkpoint without pairs agrees with the truth, where pairs are known and hidden.

    python benchmarks/unpaired_choice.py RUN [RUN ...]

Takes runs of methods without pairs, on sets whose validation part has pairs: training logs at each measurement the
score, its parts, and LPIPS of translations to their hidden counterparts. For each run: Spearman's rank correlation
over its checkpoints of each number with that LPIPS (1 is perfect), and LPIPS of the checkpoint that is chosen, of the
best and of the last. With a short `--train.evaluate-every` there are more checkpoints. Writes
benchmarks/results/unpaired-choice.json, in which other runs stay.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import tyro
from scipy.stats import rankdata

from unbraid.core.files import read_json, write_json
from unbraid.evaluation.measures.unpaired import HIDDEN, SCORE
from unbraid.model.log import read_log

RESULTS = Path(__file__).parent / "results" / "unpaired-choice.json"
PARTS = ("likeness", "content")


@dataclass(frozen=True)
class Arguments:
    """See above."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]


def curve(run: Path) -> list[dict[str, float]]:
    """Returns what was logged at each checkpoint: LPIPS, score and its parts, means over ways."""
    found = []
    for row in read_log(run / "log.jsonl"):
        figures = row.get("validation", {})
        ways = {name: [value for key, value in figures.items() if key.startswith(name)] for name in (HIDDEN, *PARTS)}
        if SCORE in figures and ways[HIDDEN]:
            found.append(
                {
                    "step": row["step"],
                    "lpips": round(mean(ways[HIDDEN]), 4),
                    "score": figures[SCORE],
                    **{name: round(mean(ways[name]), 3) for name in PARTS},
                }
            )
    return found


def correlation(one: list[float], other: list[float]) -> float:
    """Returns Spearman's rank correlation; 0 if one of both is constant."""
    a, b = (rankdata(values) - (len(values) + 1) / 2 for values in (one, other))
    scale = float((a @ a * (b @ b)) ** 0.5)
    return float(a @ b) / scale if scale else 0.0


def agreement(rows: list[dict[str, float]]) -> dict[str, float]:
    """Returns rank correlations with the truth, and LPIPS of the chosen, the best and the last checkpoint."""
    near = [-row["lpips"] for row in rows]
    table = {name: round(correlation([row[name] for row in rows], near), 3) for name in ("score", *PARTS)}
    chosen = max(rows, key=lambda row: (row["score"], row["step"]))
    return {**table, "chosen": chosen["lpips"], "best": -max(near), "last": rows[-1]["lpips"]}


def main(arguments: Arguments) -> None:
    """Writes and prints what the runs say."""
    document: dict[str, Any] = read_json(RESULTS) if RESULTS.exists() else {"runs": {}}
    for run in arguments.runs:
        if rows := curve(run):
            config = read_json(run / "config.json", dict[str, Any])
            document["runs"][run.name] = {"recipe": config["recipe"], "agreement": agreement(rows), "curve": rows}
        else:
            print(f"{run}: no checkpoint has both a score and hidden pairs")
    write_json(RESULTS, document)
    for name, run in document["runs"].items():
        print(name, run["agreement"])


if __name__ == "__main__":
    main(tyro.cli(Arguments))
