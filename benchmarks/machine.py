"""What a measurement ran on, and rounds in which everything measured takes its turn."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch

from unbraid.core.device import cpu_bf16
from unbraid.core.memory import keep_freed_memory


def facts() -> dict[str, Any]:
    """Date, versions, processor, cores, threads and bf16 instructions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bf16": cpu_bf16() or "none",
    }


def interleaved(
    works: Mapping[str, Callable[[], object]], rounds: int, steps: int, warm: int = 2
) -> dict[str, list[float]]:
    """Seconds of one call in each round, by name: what else the machine does then falls on all of them alike.

    A round calls each `steps` times; `warm` calls before the first round don't count. Freed memory is kept, as in
    training.
    """
    keep_freed_memory()
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        for _ in range(warm):
            work()
    for _ in range(rounds):
        for name, work in works.items():
            began = time.perf_counter()
            for _ in range(steps):
                work()
            times[name].append((time.perf_counter() - began) / steps)
    return times


def table(head: list[str], rows: list[list[Any]]) -> str:
    """Lines of text; the first column is left, the others right aligned."""
    cells = [head, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )


def summary(seconds: list[float], base: list[float], per: float = 1.0) -> dict[str, float]:
    """Of calls that treat `per` items each: milliseconds, items a second, and how many times faster than `base`."""
    return {
        "best_ms": round(1000 * min(seconds), 3),
        "median_ms": round(1000 * median(seconds), 3),
        "best_per_second": round(per / min(seconds), 2),
        "median_per_second": round(per / median(seconds), 2),
        "ratio": round(median(base) / median(seconds), 3),
    }
