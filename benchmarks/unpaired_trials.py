"""Which norm and which discriminator: methods without pairs at equal steps.

    python benchmarks/unpaired_trials.py --root DATA

Trains each method on relit cars and on MNIST-CDCB, both without pairs, 32 px, with each norm of the translators, each
norm of the discriminators and each size of the residual, by several seeds, and measures hidden pairs of the validation
part. MUNIT and DTN have norms of their own; only re-entanglement has a residual. Writes
benchmarks/results/unpaired-trials.json; what stands there is left out, so the same command goes on where it was
stopped. With `--pictures FOLDER`, draws each run's translations.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor

from machine import facts
from unbraid.core.config import PACKAGED, TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.core.device import choose_precision
from unbraid.core.files import read_json, write_json
from unbraid.core.memory import keep_freed_memory
from unbraid.core.method import Clock, Disentangler, Method
from unbraid.core.types import other
from unbraid.data.batches import Batches
from unbraid.data.items import Recombining, derangement
from unbraid.data.loading import load
from unbraid.data.parts import Data
from unbraid.evaluation.measures.steganography import Cycle, two_sides
from unbraid.evaluation.metrics.images import rms_distance
from unbraid.evaluation.metrics.retrieval import first_hits, recall_at
from unbraid.evaluation.networks import PerceptualNetworks
from unbraid.methods.cut import CUT, CUTConfig
from unbraid.methods.cyclegan import CycleGAN, CycleGANConfig
from unbraid.methods.dtn import DTN, DTNConfig
from unbraid.methods.munit import MUNIT, MUNITConfig
from unbraid.methods.uncooperative import Uncooperative, UncooperativeConfig
from unbraid.model.drawing import save_picture
from unbraid.model.trained import Trained
from unbraid.nn.patch import DiscriminatorNorm
from unbraid.nn.residual import Norm
from unbraid.training.batches import DeviceBatches
from unbraid.training.loop import step_seed, train_step

RESULTS = Path(__file__).parent / "results" / "unpaired-trials.json"
SETS: dict[str, DataConfig] = {
    "relit": DataConfig(set="relit", size=(32, 32)),
    "mnist-cdcb": DataConfig(set="mnist-cdcb", unpaired=True),
}
MethodName = Literal["cyclegan", "uncooperative", "cooperative", "cut", "munit", "dtn"]
OWN_NORMS = ("munit", "dtn")
NO_RESIDUAL = ("cyclegan", "cut", *OWN_NORMS)
WIDTH, BLOCKS, BATCH, RATE = 8, 2, 4, 1e-3
LAST = 50
"""Steps at the end over which losses are averaged."""
MEASURED = 150
"""Held-out pairs."""
SHOWN = 8


@dataclass(frozen=True)
class Arguments:
    """See above."""

    root: Path
    sets: tuple[str, ...] = tuple(SETS)
    methods: tuple[MethodName, ...] = get_args(MethodName)
    norms: tuple[Norm, ...] = get_args(Norm)
    discriminators: tuple[DiscriminatorNorm, ...] = ("instance", "spectral+instance")
    residuals: tuple[int, ...] = (4 * WIDTH,)
    """Channels of each map of the residual; 32 are the paper's, for networks of this width."""
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 300
    pictures: Path | None = None


@dataclass(frozen=True)
class Trial:
    """One run."""

    set: str
    method: MethodName
    norm: Norm
    discriminator: DiscriminatorNorm
    residual: int
    seed: int
    steps: int

    def build(self, data: Data) -> Method[Any]:
        """The method, with weights drawn by the seed."""
        torch.manual_seed(self.seed)
        if self.method == "munit":
            small = {"width": WIDTH, "blocks": BLOCKS, "hidden": 64, "discriminator_width": WIDTH}
            return MUNIT(data.spec, MUNITConfig(**small, rate=RATE))
        if self.method == "dtn":
            return DTN(data.spec, DTNConfig(widths=(64, 32, 16), discriminator_widths=(16, 32, 32)))
        sizes: dict[str, Any] = {
            "width": WIDTH,
            "blocks": BLOCKS,
            "discriminator_width": WIDTH,
            "norm": self.norm,
            "discriminator_norm": self.discriminator,
            "rate": RATE,
        }
        if self.method == "cyclegan":
            return CycleGAN(data.spec, CycleGANConfig(**sizes))
        if self.method == "cut":
            return CUT(data.spec, CUTConfig(**sizes, towards="both", head=64))
        few = None if self.residual == 4 * WIDTH else self.residual
        config = UncooperativeConfig(
            **sizes,
            informative="a",
            cooperative=self.method == "cooperative",
            residual_channels=few,
            discriminator_rate=RATE,
        )
        return Uncooperative(data.spec, config)


def trials(arguments: Arguments) -> Iterator[Trial]:
    """All of them, each once."""
    a = arguments
    for seed, name, method, norm, discriminator, residual in product(
        a.seeds, a.sets, a.methods, a.norms, a.discriminators, a.residuals
    ):
        if method in NO_RESIDUAL and residual != a.residuals[0]:
            continue
        if method in OWN_NORMS and (norm, discriminator) != (a.norms[0], a.discriminators[0]):
            continue
        yield Trial(name, method, norm, discriminator, 0 if method in NO_RESIDUAL else residual, seed, a.steps)


def trained(
    method: Method[Any],
    data: Data,
    steps: int,
    batch: int,
    seed: int,
    every: int = 0,
    watch: Callable[[int], None] = lambda step: None,
    precision: Literal["auto", "fp32"] = "fp32",
) -> dict[str, float]:
    """Trains for so many steps, and watches after every so many; returns the mean losses of the last."""
    keep_freed_memory()
    chosen = choose_precision(TrainConfig(precision=precision))
    method.prepare()
    method.to(chosen.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimisers = method.optimisers("train")
    rates = {name: optimiser.param_groups[0]["lr"] for name, optimiser in optimisers.items()}
    batches = DeviceBatches(Batches(data.train, batch, seed), chosen.device)
    sums: dict[str, float] = {}
    for step in range(steps):
        clock = Clock(step, step / steps)
        torch.manual_seed(step_seed(seed, 0, step))
        for name, optimiser in optimisers.items():
            optimiser.param_groups[0]["lr"] = rates[name] * method.rate_factor("train", clock)
        losses = train_step(method, optimisers, batches, clock, chosen.autocast())
        if every and (step + 1) % every == 0:
            watch(step + 1)
        if step >= steps - LAST:
            sums = {name: sums.get(name, 0.0) + float(loss) / LAST for name, loss in losses.items()}
    method.eval()
    return {name: round(value, 4) for name, value in sums.items()}


def measured(method: Method[Any], data: Data, networks: PerceptualNetworks, pictures: Path | None) -> dict[str, float]:
    """Hidden pairs both ways: LPIPS and distance of a translation, which gets the counterpart's residual, from the
    counterpart, beside those of another item; and how often the counterpart is the nearest, in percent.

    With codes: another item's translation with the own residual, beside the residual's owner, beside the item that was
    translated, and, where it is known, beside the truth.
    """
    model, found, rows = Trained(method, None, "", 0), {}, []
    for source in method.sources():
        way = f"{source}->{other(source)}"
        cycle = Cycle(model, source)
        items, at, targets, target_at = two_sides(data.val, source, MEASURED)
        x, y = items.read(at, 0), targets.read(target_at, 0)
        own, style, partners = cycle.exclusive(x, source), cycle.exclusive(y, other(source)), derangement(len(x))
        made = cycle.there(x, style)
        for name, one in {"translation": made, "another": y[partners]}.items():
            found |= {f"{way} {name} {what}": value for what, value in far(one, y, networks).items()}
        near = torch.cdist(made.flatten(1), y.flatten(1))
        found[f"{way} recall"] = recall_at(first_hits(near, torch.eye(len(x), dtype=torch.bool)))["1"]
        rows += [x, made, y, *([cycle.back(made, own)] if len(method.sources()) > 1 else [])]
        if own is not None and own.shape[1]:
            mixed = cycle.back(made[partners], own)
            beside = {"residual's owner": x, "translated item": x[partners]}
            if isinstance(items, Recombining):
                beside["truth"] = items.recombined(at[partners], at)
            found |= {f"mixed, {name}": far(mixed, true, networks)["lpips"] for name, true in beside.items()}
            rows.append(mixed)
    if pictures:
        save(rows, pictures)
    return {name: round(value, 4) for name, value in found.items()}


def far(made: Tensor, true: Tensor, networks: PerceptualNetworks) -> dict[str, float]:
    """Mean LPIPS and root mean square distance."""
    looks = {name: float(each.mean()) for name, each in networks.looks({"": made}, true)[""].items()}
    return {"distance": float(rms_distance(made, true).mean()), **looks}


def save(rows: list[Tensor], path: Path) -> None:
    """A row of pictures for each: source, translation, counterpart, the way back, mixed; then from the other domain."""
    places = np.linspace(0, len(rows[0]) - 1, SHOWN).astype(int)
    shown = [row[places].expand(-1, 3, -1, -1) for row in rows]
    grid = torch.cat([torch.cat([*row], 2) for row in shown], 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_picture(Image.fromarray(((grid.permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).byte().numpy()), path)


def key(record: dict[str, Any]) -> tuple[Any, ...]:
    """What makes a run another one."""
    return tuple(record[name] for name in ("set", "method", "norm", "discriminator", "residual", "seed", "steps"))


def main(arguments: Arguments) -> None:
    """Trains what is missing."""
    document: dict[str, Any] = read_json(RESULTS) if RESULTS.exists() else {"runs": []}
    done = {key(record) for record in document["runs"]}
    networks = PerceptualNetworks.find(PACKAGED)
    loaded: dict[str, Data] = {}
    for trial in trials(arguments):
        if key(vars(trial)) in done:
            continue
        if trial.set not in loaded:
            loaded[trial.set] = load(replace(SETS[trial.set], root=arguments.root))
        data, began = loaded[trial.set], time.monotonic()
        method = trial.build(data)
        losses = trained(method, data, trial.steps, BATCH, trial.seed)
        seconds = time.monotonic() - began
        name = "-".join(map(str, key(vars(trial))[:6])) + ".png"
        figures = measured(method, data, networks, arguments.pictures / name if arguments.pictures else None)
        codes = (
            {"residual values": method.prior(1, "a", torch.Generator()).shape[1]}
            if isinstance(method, Disentangler)
            else {}
        )
        document["runs"].append(
            {**vars(trial), **codes, "figures": figures, "losses": losses, "seconds": round(seconds, 1)}
        )
        document["machine"] = facts()
        write_json(RESULTS, document)
        print(trial, f"{seconds:.0f} s", figures, losses, flush=True)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
