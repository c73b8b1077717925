"""What XGAN's discriminator needs to learn: real and translated items in one batch, a rate of its own, or both.

    python benchmarks/xgan_trials.py --root DATA

Trains XGAN on two styles of emoji without pairs, 32 px, in each of four ways, by several seeds, and measures hidden
pairs of the validation part. Writes benchmarks/results/xgan-trials.json; what stands there is left out.
"""

import time
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import torch
import tyro

from machine import facts, table
from unbraid.core.config import PACKAGED
from unbraid.core.files import read_json, write_json
from unbraid.data.loading import load
from unbraid.evaluation.metrics.retrieval import recall
from unbraid.evaluation.networks import PerceptualNetworks
from unbraid.methods.xgan import XGAN, XGANConfig
from unbraid.model.codes import encode_domains
from unbraid.recipes.xgan import EMOJI
from unpaired_trials import measured, trained

RESULTS = Path(__file__).parent / "results" / "xgan-trials.json"
BatchKind = Literal["apart", "together"]


@dataclass(frozen=True)
class Arguments:
    """See above."""

    root: Path
    batches: tuple[BatchKind, ...] = ("apart", "together")
    rates: tuple[float, ...] = (1e-4, 2e-4)
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 300
    batch: int = 32
    pictures: Path | None = None


def main(arguments: Arguments) -> None:
    """Trains what is missing, then prints means over the seeds."""
    document: dict[str, Any] = read_json(RESULTS) if RESULTS.exists() else {"runs": []}
    names = ("discriminator_batch", "discriminator_rate", "seed", "steps", "batch")
    done = {tuple(record[name] for name in names) for record in document["runs"]}
    networks, data = PerceptualNetworks.find(PACKAGED), load(replace(EMOJI, root=arguments.root))
    for seed, kind, rate in product(arguments.seeds, arguments.batches, arguments.rates):
        key = (kind, rate, seed, arguments.steps, arguments.batch)
        if key in done:
            continue
        began = time.monotonic()
        torch.manual_seed(seed)
        method = XGAN(data.spec, XGANConfig(discriminator_batch=kind, discriminator_rate=rate))
        losses = trained(method, data, arguments.steps, arguments.batch, seed)
        picture = arguments.pictures / f"xgan-{kind}-{rate:g}-{seed}.png" if arguments.pictures else None
        figures = measured(method, data, networks, picture)
        a, b = encode_domains(method, data.val)
        figures |= {f"{way} codes' recall": values["1"] for way, values in recall(a.shared, b.shared).items()}
        record: dict[str, Any] = dict(zip(names, key, strict=True))
        seconds = round(time.monotonic() - began, 1)
        document["runs"].append({**record, "figures": figures, "losses": losses, "seconds": seconds})
        document["machine"] = facts()
        write_json(RESULTS, document)
        print(record, figures, losses, seconds, flush=True)
    rows = []
    for kind, rate in product(arguments.batches, arguments.rates):
        runs = [
            run for run in document["runs"] if (run["discriminator_batch"], run["discriminator_rate"]) == (kind, rate)
        ]
        cells = [
            [run["losses"]["discriminator_b"] for run in runs],
            *([run["figures"][f"{way} codes' recall"] for run in runs] for way in ("a->b", "b->a")),
            *([run["figures"][f"{way} translation lpips"] for run in runs] for way in ("a->b", "b->a")),
        ]
        means = [f"{mean(values):.3g} ({', '.join(f'{x:.3g}' for x in values)})" for values in cells]
        rows.append([f"{kind}, {rate:g}", *means])
    print(table(["", "discriminator's loss", "recall a->b", "b->a", "LPIPS a->b", "b->a"], rows))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
