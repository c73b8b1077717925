"""What each setting for small images without pairs is worth: one change back to the paper's at a time.

    python benchmarks/unpaired_changes.py --root DATA [--sets relit --methods cyclegan --seeds 0 1 --changes "no mask"]

Trains on relit cars, whose domains are near, on photos and maps, which lie far apart, and on emoji, 32 px, batch 8,
with `SMALL_IMAGES` of each method and with one of its settings put back, at equal steps, and measures hidden pairs of
the validation part. Writes benchmarks/results/unpaired-changes.json; what stands
there is left out, so the same command goes on where it was stopped. Then writes the means over the seeds into
docs/notes/unpaired-networks.md, between the marks.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
import tyro

import pages
from machine import facts
from unbraid.core.config import PACKAGED
from unbraid.core.data_config import DataConfig
from unbraid.core.files import read_json, write_json
from unbraid.core.types import DataSpec, ImageSpec
from unbraid.data.loading import load
from unbraid.evaluation.networks import PerceptualNetworks
from unbraid.methods import METHODS
from unbraid.nn.patch import r1_weight
from unbraid.recipes.xgan import EMOJI
from unpaired_trials import SETS, measured, trained

RESULTS = Path(__file__).parent / "results" / "unpaired-changes.json"
BATCH = 8
SPEC = DataSpec(ImageSpec(32, 32), ImageSpec(32, 32))
ALL = {
    "relit": SETS["relit"],
    "maps": DataConfig(set="maps", unpaired=True, size=(32, 32)),
    "emoji": replace(EMOJI, unpaired=True),
}
LIGHT = {"cyclegan": {"cycle": 1.0}, "uncooperative": {"cycle_informative": 1.0, "cycle_plain": 3.0}}
"""Weights of cycles that least squares took."""
CYCLES = {"cyclegan": {"cycle": 10.0}, "uncooperative": {"cycle_informative": 10.0, "cycle_plain": 10.0}}


@dataclass(frozen=True)
class Arguments:
    """See above."""

    root: Path
    sets: tuple[str, ...] = tuple(ALL)
    methods: tuple[str, ...] = ("cyclegan", "uncooperative", "dtn")
    changes: tuple[str, ...] = ()
    """All, if none is given."""
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 250
    pictures: Path | None = None


def changes(method: str, spec: DataSpec) -> dict[str, dict[str, Any]]:
    """Returns the changes by name."""
    if method == "dtn":
        one: dict[str, dict[str, Any]] = {
            "features as f gives them": {"normalise": False},
            "discriminators: instance norm": {"discriminator_norm": "instance"},
            "no R1": {"r1": 0.0},
            "transposed convolutions": {"upsampling": "transposed"},
        }
        return {"as they are": {}, "all of these": {n: v for change in one.values() for n, v in change.items()}, **one}
    least_squares = {"gan_loss": "least-squares", "r1": 10 * r1_weight(spec), **LIGHT[method]}
    one = {
        "least squares, R1 tenfold": least_squares,
        "no mask": {"mask": False},
        "cycles weigh 10": CYCLES[method],
        "discriminators: instance norm": {"discriminator_norm": "instance"},
        "momentum .5": {"betas": (0.5, 0.999)},
        "no R1": {"r1": 0.0},
        "translators: instance norm": {"norm": "instance"},
        "patches of 16 px": {"discriminator_patch": 16},
        "transposed convolutions": {"upsampling": "transposed"},
    }
    together = {name: value for change in one.values() for name, value in change.items()}
    return {"as they are": {}, "all of these": together, **one}


def runs(arguments: Arguments) -> Iterator[dict[str, Any]]:
    """Yields what tells the runs apart."""
    for seed, name, method in product(arguments.seeds, arguments.sets, arguments.methods):
        if (method == "dtn") != (name == "emoji"):  # DTN is for what need not look alike place by place
            continue
        for change in arguments.changes or changes(method, SPEC):
            yield {"set": name, "method": method, "change": change, "seed": seed, "steps": arguments.steps}


def main(arguments: Arguments) -> None:
    """Trains what is missing, and writes the table."""
    document: dict[str, Any] = read_json(RESULTS) if RESULTS.exists() else {"runs": []}
    networks = PerceptualNetworks.find(PACKAGED)
    sets = {name: load(replace(ALL[name], root=arguments.root)) for name in arguments.sets}
    for run in runs(arguments):
        if any(run.items() <= done.items() for done in document["runs"]):
            continue
        kind, data = METHODS[run["method"]], sets[run["set"]]
        config = replace(kind.default_config(data.spec)[0], **changes(run["method"], data.spec)[run["change"]])
        torch.manual_seed(run["seed"])
        method, began = kind(data.spec, config), time.process_time()
        trained(method, data, run["steps"], BATCH, run["seed"], precision="auto")
        seconds = time.process_time() - began
        name = "-".join(map(str, run.values())).replace(" ", "_") + ".png"
        found = measured(method, data, networks, arguments.pictures / name if arguments.pictures else None)
        document["runs"].append({**run, "figures": found, "processor seconds": round(seconds)})
        document["machine"] = facts()
        write_json(RESULTS, document)
        print(run, f"{seconds:.0f} s", found, flush=True)
    pages.main()


if __name__ == "__main__":
    main(tyro.cli(Arguments))
