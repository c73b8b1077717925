"""Packs models to begin with: of the runs given, the demo's and the best of each method on images of one size.

    python benchmarks/zoo.py --out release RUN...

Each becomes OUT/NAME.zip (weights, card, figures, settings), and OUT/SHA256SUMS lists their hashes, as `sha256sum
--check` reads them; a model is used as https://HOST/NAME.zip#sha256=HASH. The best of a method is the run whose mean
LPIPS from true counterparts is smallest, or, where no pairs are known, whose translations have the smallest Fréchet
distance; runs that weren't measured are refused.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unbraid.core.files import write_atomically
from unbraid.core.types import ImageSpec, UserError
from unbraid.model.remote import digest, publish
from unbraid.model.run import Run
from unbraid.model.trained import Trained, load

MOST_BYTES = 30_000_000
"""Of a model, at most: the zoo is to be fetched in a moment."""
FIGURES = (("sample", "lpips"), ("sample set", "frechet"))
"""Of translations, by which runs are compared: the first that all of a method's have; smaller is better."""


def mean_figure(metrics: dict[str, Any], group: str, name: str) -> float | None:
    """Returns the mean of a figure over both ways of translation, or content transfer's; None if there is none."""
    ways = [way.get(group, {}).get(name) for way in metrics.get("translation", {}).values()]
    if not ways:
        ways = [metrics.get("content_transfer", {}).get("transfer", {}).get(name)]
    return None if not ways or None in ways else sum(ways) / len(ways)


def best(runs: Sequence[Path]) -> Path:
    """Returns the best of a method's runs. Raises UserError if they can't be compared."""
    if len(runs) == 1:
        return runs[0]
    measured = {run: Run.existing(run).metrics() for run in runs}
    for group, name in FIGURES:
        means = {run: mean_figure(metrics, group, name) for run, metrics in measured.items()}
        if None not in means.values():
            return min(runs, key=lambda run: means[run] or 0.0)
    raise UserError(f"{', '.join(map(str, runs))} have no figure in common to choose by: give one of them")


def chosen(runs: Sequence[Path], size: int) -> dict[str, Path]:
    """Returns what is packed, by name: the demo, and the best of each method whose images have this size."""
    found: dict[str, list[Path]] = {}
    for run in runs:
        model: Trained = load(run, "cpu")
        spec = model.spec.a
        if not (run / "README.md").exists():
            raise UserError(f"{run} has no card: unbraid evaluate {run}")
        if Run.existing(run).config.data.set == "digits":
            found.setdefault("demo", []).append(run)
        elif isinstance(spec, ImageSpec) and max(spec.height, spec.width) == size:
            found.setdefault(f"{model.name}-{size}", []).append(run)
        else:
            print(f"left out: {run}, of {spec}", file=sys.stderr)
    if not found:
        raise UserError(f"none of the runs is the demo or has images of {size} px: give their --size")
    return {name: best(some) for name, some in found.items()}


def main() -> int:
    """Packs, and prints what."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", required=True, type=Path, help="a new folder")
    parser.add_argument("--size", default=64, type=int, help="height and width of the images of other models")
    arguments = parser.parse_args()
    lines = []
    try:
        for name, run in sorted(chosen(arguments.runs, arguments.size).items()):
            file = arguments.out / f"{name}.zip"
            publish(run, str(file))
            if file.stat().st_size > MOST_BYTES:
                raise UserError(f"{run}: {file.stat().st_size / 1e6:.0f} MB, more than {MOST_BYTES / 1e6:.0f}")
            lines.append(f"{digest(file)}  {file.name}\n")
            print(f"{file}: {run}, {file.stat().st_size / 1e6:.1f} MB")
        write_atomically(arguments.out / "SHA256SUMS", lambda path: path.write_text("".join(lines)))
    except UserError as error:
        print(f"zoo: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
