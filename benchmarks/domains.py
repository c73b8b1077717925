"""Draws the accuracy of XGAN's classifier of domains, over the steps of finished runs.

    python benchmarks/domains.py runs/xgan-emoji runs/xgan-emoji-domain-20

Writes docs/pictures/xgan-domains.webp and prints each run's figure at the end.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from unbraid.evaluation.measures.leakage import DOMAIN_ACCURACY
from unbraid.model.log import read_log

OUT = Path(__file__).parent.parent / "docs" / "pictures" / "xgan-domains.webp"


def main(runs: list[str]) -> None:
    """One line for each run."""
    figure, axes = pyplot.subplots(figsize=(7, 3.4), layout="constrained")
    for folder in map(Path, runs):
        rows = [row for row in read_log(folder / "log.jsonl") if DOMAIN_ACCURACY in row.get("diagnostics", {})]
        accuracies = [row["diagnostics"][DOMAIN_ACCURACY] for row in rows]
        axes.plot([row["step"] for row in rows], accuracies, label=folder.name, linewidth=1)
        print(f"{folder.name}: {accuracies[-1]:.1f} % at step {rows[-1]['step']}, {max(accuracies):.1f} % at most")
    axes.axhline(50, color="0.6", linewidth=0.8, linestyle="--")
    axes.set_xlabel("steps of training")
    axes.set_ylabel("accuracy of the classifier of domains, %")
    axes.set_ylim(0, 102)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(OUT, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1:])
