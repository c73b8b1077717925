"""How fast a training step of CdDN is: bf16 against fp32, and what the critics' gradient penalty takes of it.

    python benchmarks/cddn_speed.py [digits] [paper]

Two sizes: the recipe for digits at 32 px with its batches of 16, and the paper's networks at 256 px with batches of 8.
Data is random and in memory. All variants of a step take turns in each round of one run:

- bf16, fp32: the step as it is in training, the penalty in float32 in both;
- autograd's penalty: fp32, the critics' gradient by autograd and a second derivative through it;
- no penalty, in bf16 and fp32: what is left when the penalty costs nothing.

Writes benchmarks/results/cddn-speed.json.
"""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from machine import facts, interleaved, summary, table
from unbraid.core.files import read_json, write_json
from unbraid.core.method import Clock
from unbraid.core.types import DataSpec, ImageSpec, Paired
from unbraid.methods.cddn import CdDN, CdDNConfig
from unbraid.nn.critic import Critic
from unbraid.recipes.cddn import DIGITS
from unbraid.training.loop import train_step

RESULTS = Path(__file__).parent / "results" / "cddn-speed.json"
CASES: dict[str, tuple[CdDNConfig, int, int, int]] = {
    "digits": (DIGITS, 32, 16, 10),
    "paper": (CdDNConfig(), 256, 8, 1),
}
"""Settings, size, batch, steps in a round."""
ROUNDS = {"digits": 7, "paper": 2}


class Same:
    """The same batch for ever."""

    def __init__(self, batch: Paired) -> None:
        self.batch = batch

    def __iter__(self) -> "Same":
        return self

    def __next__(self) -> Paired:
        return self.batch


def by_autograd(critic: Critic, source: Tensor, real: Tensor, made: Tensor) -> Tensor:
    """The slopes as they are usually computed."""
    image = real.lerp(made, torch.rand(len(real), 1, 1, 1)).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(source, image).sum(), image, create_graph=True)
    return gradient.flatten(1).norm(dim=1)


def nothing(critic: Critic, source: Tensor, real: Tensor, made: Tensor) -> Tensor:
    """No slopes at no cost."""
    return torch.ones(len(real))


def works(config: CdDNConfig, size: int, batch: int) -> dict[str, Callable[[], object]]:
    """A step in each variant, all of one model."""
    torch.manual_seed(0)
    spec = DataSpec(ImageSpec(size, size), ImageSpec(size, size))
    model = CdDN(spec, config).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    a, b = ((torch.rand(batch, 3, size, size) * 2 - 1).to(memory_format=torch.channels_last) for _ in range(2))
    batches, optimisers = Same(Paired(a, b, torch.arange(batch))), model.optimisers("train")

    def variant(bf16: bool, slopes: Callable[..., Tensor] | None) -> Callable[[], object]:
        def step() -> None:
            with ExitStack() as stack:
                if slopes:
                    stack.enter_context(patch("unbraid.methods.cddn.interpolated_gradient_norms", slopes))
                precision = torch.autocast("cpu", torch.bfloat16, enabled=bf16)
                train_step(model, optimisers, batches, Clock(0, 0.0), precision)

        return step

    return {
        "fp32, autograd's penalty": variant(False, by_autograd),
        "fp32": variant(False, None),
        "fp32, no penalty": variant(False, nothing),
        "bf16": variant(True, None),
        "bf16, no penalty": variant(True, nothing),
    }


def main() -> None:
    """Measures what is named on the command line, or all."""
    results = read_json(RESULTS) if RESULTS.exists() else {}
    for name in sys.argv[1:] or CASES:
        config, size, batch, steps = CASES[name]
        times = interleaved(works(config, size, batch), ROUNDS[name], steps, warm=1)
        rows = {what: summary(spent, times["fp32"], batch) for what, spent in times.items()}
        for what in ("fp32", "bf16"):
            bare = rows[f"{what}, no penalty"]["median_ms"]
            rows[what]["penalty_share"] = round(1 - bare / rows[what]["median_ms"], 3)
        bare = rows["fp32, no penalty"]["median_ms"]
        plain = rows["fp32, autograd's penalty"]
        plain["penalty_share"] = round(1 - bare / plain["median_ms"], 3)
        results[f"{name}, {size} px, batch {batch}"] = {"machine": facts(), "variants": rows}
        head = ["variant", "pairs/s", "ms", "of fp32", "penalty's share"]
        lines = [
            [what, row["median_per_second"], row["median_ms"], row["ratio"], row.get("penalty_share", "")]
            for what, row in rows.items()
        ]
        print(f"{name}, {size} px, batch {batch}\n{table(head, lines)}", flush=True)
    write_json(RESULTS, results)


if __name__ == "__main__":
    main()
