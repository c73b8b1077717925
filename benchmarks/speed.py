"""How fast a training step of IIAE is, bf16 against fp32, in one run, and where its time goes.

    python benchmarks/speed.py

Two sizes: the paper's networks at 256 px with batches of 8, and the demo's at 32 px with batches of 64. Data is random
and already in memory. Beside the step stand this processor's own limits: a matrix product, and a convolution's forward
and backward pass alone. Writes benchmarks/results/speed.json.
"""

import contextlib
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from unbraid.core.files import write_json
from unbraid.core.method import Clock
from unbraid.core.types import DataSpec, ImageSpec, Paired
from unbraid.methods.iiae import IIAE, IIAEConfig
from unbraid.recipes.iiae import DIGITS
from unbraid.training.loop import train_step

KINDS = {
    "convolution": ("convolution",),
    "matrix product": ("aten::mm", "aten::addmm", "aten::bmm"),
    "normalisation": ("batch_norm",),
    "activation": ("leaky_relu", "threshold", "relu", "clamp_min", "tanh", "dropout"),
    "copies and casts": ("copy_", "contiguous", "aten::cat", "clone", "fill_", "zero_"),
    "optimiser": ("Optimizer", "foreach", "lerp", "addcmul", "addcdiv"),
}


class Same(Iterator[Any]):
    """The same batch for ever."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __next__(self) -> Any:
        return self.batch


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The median time of one call, after two that don't count."""
    times = []
    for number in range(repeats + 2):
        began = time.perf_counter()
        work()
        if number >= 2:
            times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


def limits(dtype: torch.dtype) -> dict[str, float]:
    """TFLOP/s of a large matrix product and of a 3x3 convolution's forward and backward."""
    x, y = torch.randn(2048, 2048, dtype=dtype), torch.randn(2048, 2048, dtype=dtype)
    layer = nn.Conv2d(128, 128, 3, padding=1, bias=False).to(dtype=dtype, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    images = torch.randn(8, 128, 64, 64, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    return {
        "matrix product": 2 * 2048**3 / seconds(lambda: x @ y, 10) / 1e12,
        "convolution": 6 * 8 * 64 * 64 * 128 * 128 * 9 / seconds(lambda: layer(images).sum().backward(), 10) / 1e12,
    }


def shares(step: Callable[[], object]) -> dict[str, float]:
    """Share of the step's time by kind of work."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
        step()
    spent = dict.fromkeys([*KINDS, "the rest"], 0.0)
    for event in profiler.key_averages():
        kind = next((kind for kind, parts in KINDS.items() if any(part in event.key for part in parts)), "the rest")
        spent[kind] += event.self_cpu_time_total
    total = sum(spent.values())
    return {kind: round(value / total, 3) for kind, value in spent.items()}


def measure(name: str, config: IIAEConfig, size: int, batch: int, repeats: int, threads: int) -> dict[str, Any]:
    """Pairs a second in both precisions, the share of the limit, the shares of the work."""
    torch.manual_seed(0)
    spec = DataSpec(ImageSpec(size, size), ImageSpec(size, size))
    model = IIAE(spec, config).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    pairs = [(torch.rand(batch, 3, size, size) * 2 - 1).to(memory_format=torch.channels_last) for _ in range(2)]
    batches = Same(Paired(pairs[0], pairs[1], torch.arange(batch)))
    optimisers = model.optimisers("train")
    with FlopCounterMode(display=False) as counter:
        train_step(model, optimisers, batches, Clock(0, 0.0))
    record: dict[str, Any] = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "gflop_per_pair": counter.get_total_flops() / batch / 1e9,
        "threads": threads,
    }
    for precision in ("fp32", "bf16"):

        def step(precision: str = precision) -> None:
            context = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
            train_step(model, optimisers, batches, Clock(0, 0.0), context)

        spent = seconds(step, repeats)
        limit = limits(torch.bfloat16 if precision == "bf16" else torch.float32)
        rate = counter.get_total_flops() / spent / 1e12
        record[precision] = {
            "pairs_per_second": round(batch / spent, 2),
            "milliseconds": round(1000 * spent, 1),
            "tflops": round(rate, 3),
            "limit_tflops": {kind: round(value, 3) for kind, value in limit.items()},
            "share_of_convolution_limit": round(rate / limit["convolution"], 3),
            "shares": shares(step),
        }
    record["peak_memory_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    print(name, record, flush=True)
    return record


def main() -> None:
    """Measures the size named on the command line, or both, each in this process."""
    threads = torch.get_num_threads()
    path = Path(__file__).parent / "results" / "speed.json"
    results: dict[str, Any] = {"torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}
    asked = sys.argv[1:] or ["demo", "paper"]
    if "demo" in asked:
        results["demo, 32 px, batch 64"] = measure("demo", DIGITS, 32, 64, 20, threads)
    if "paper" in asked:
        results["paper, 256 px, batch 8"] = measure("paper", IIAEConfig(), 256, 8, 4, threads)
    write_json(path, results)


if __name__ == "__main__":
    main()
