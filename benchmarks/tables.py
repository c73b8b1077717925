"""What tables of codes cost: a step's time, memory, and how long a checkpoint holds training up, by number of images.

    python benchmarks/tables.py

Three measurements at 1,000 to 1,000,000 training images with codes of 128 values:

- table: looking 64 rows up, backward, a step of `RowAdam`; beside it the same with a dense gradient and dense Adam
  (torch's fused one, the fastest). Rows are drawn at random.
- LORD: a whole step of its first stage with small networks, 32 px, batches of 64, pixels as loss, random images.
- checkpoint: how long `Run.save_position` holds training up, a step of training while a state is being written, and
  how long writing takes.

Sizes take turns in one process. Writes benchmarks/results/lord-tables.json.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
import tyro
from torch import nn
from torch.optim import Adam, Optimizer

from machine import facts, interleaved, summary, table
from unbraid.core.config import RunConfig
from unbraid.core.files import write_json
from unbraid.core.method import Clock
from unbraid.core.types import DataSpec, ImageSpec, Labelled
from unbraid.methods.lord import LORD, LORDConfig
from unbraid.model.run import Run
from unbraid.model.saved import Position
from unbraid.nn.tables import FORGOTTEN, RowAdam, code_table
from unbraid.training.loop import train_step

SIZES = (1_000, 10_000, 100_000, 1_000_000)
SMALL = LORDConfig(width=32, last_width=16, encoder_widths=(16, 32, 32), loss="pixels")
CODE, BATCH, PIXELS, CLASSES = SMALL.content, 64, 32, 100
DENSE_COPIES = 6
"""Tables' worth of memory that dense Adam needs: weights, gradient, two moments, and some air."""
WARM = FORGOTTEN + 8
"""Steps before measuring: by then rows have missed as many steps as they will, or as many as matter."""
RESULTS = Path(__file__).parent / "results" / "lord-tables.json"


class Batches(Iterator[Labelled]):
    """Random images, drawn once, with rows drawn anew each time, without repeats."""

    def __init__(self, items: int) -> None:
        self.items = items
        self.x = (torch.rand(BATCH, 3, PIXELS, PIXELS) * 2 - 1).to(memory_format=torch.channels_last)

    def __next__(self) -> Labelled:
        return Labelled(self.x, torch.randint(CLASSES, (BATCH, 1)), rows(self.items))


def rows(items: int) -> torch.Tensor:
    """(BATCH,) different rows of so many."""
    drawn = torch.randint(items, (4 * BATCH,)).unique()
    return drawn[torch.randperm(len(drawn))[:BATCH]]


def table_step(table: nn.Embedding, optimiser: Optimizer) -> Callable[[], object]:
    """Look up, backward, step."""

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        table(rows(table.num_embeddings)).square().sum().backward()
        optimiser.step()

    return step


def row_wise(items: int) -> Callable[[], object]:
    """The step of a table with RowAdam."""
    table = code_table(items, CODE)
    return table_step(table, RowAdam([table], 1e-3, (0.5, 0.999)))


def dense(items: int) -> Callable[[], object]:
    """The step of a table with dense Adam."""
    table = nn.Embedding(items, CODE)
    return table_step(table, Adam(table.parameters(), 1e-3, (0.5, 0.999), fused=True))


def lord(items: int) -> tuple[LORD, dict[str, Optimizer], Callable[[], object]]:
    """A small LORD whose table of content codes has been in use for WARM steps, its optimisers, and a step of the first
    stage."""
    spec = DataSpec(ImageSpec(PIXELS, PIXELS), ImageSpec(PIXELS, PIXELS), items=items, classes=(CLASSES,))
    model = LORD(spec, SMALL).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimisers, batches = model.optimisers("codes"), Batches(items)
    step = table_step(model.content_codes, optimisers["codes"])
    for _ in range(WARM):
        step()
    return model, optimisers, lambda: train_step(model, optimisers, batches, Clock(0, 0.0, "codes"))


def memory(items: int) -> dict[str, float]:
    """Megabytes of a table, and of it with RowAdam's state after WARM steps."""
    table = code_table(items, CODE)
    optimiser = RowAdam([table], 1e-3)
    step = table_step(table, optimiser)
    for _ in range(WARM):
        step()
    own = table.weight.numel() * table.weight.element_size()
    state = sum(value.numel() * value.element_size() for value in optimiser.state[table.weight].values())
    return {
        "table_mb": round(own / 1e6, 3),
        "with_state_mb": round((own + state) / 1e6, 3),
        "times_the_table": round((own + state) / own, 3),
    }


def checkpoint(items: int, repeats: int) -> dict[str, Any]:
    """Medians, in milliseconds: a step, the call that saves, a step while the state is being written, writing it all.

    A state too small to be written beside training is written in the call.
    """
    model, optimisers, step = lord(items)
    found: dict[str, list[float]] = {"step": [], "call": [], "step_while_writing": [], "writing": []}
    megabytes = 0.0

    def timed(name: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        found[name].append(1000 * (time.perf_counter() - began))

    with TemporaryDirectory() as folder:
        run = Run(Path(folder, "run"), "lord", RunConfig(SMALL))

        def save(wait: bool) -> None:
            run.save_position(model, optimisers, Position(), None, wait=wait)

        for _ in range(repeats):
            for _ in range(10):
                timed("step", step)
            timed("call", lambda: save(wait=False))
            for _ in range(10):
                timed("step_while_writing", step)
            save(wait=True)  # so that nothing is being written
            timed("writing", lambda: save(wait=True))
            megabytes = (run.path / "state.pt").stat().st_size / 1e6
    return {"state_mb": round(megabytes, 2), **{name: round(median(times), 2) for name, times in found.items()}}


def available() -> float:
    """Bytes of memory that can be had."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return 1024 * next(float(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


def by_size(
    make: Callable[[int], Callable[[], object]], sizes: tuple[int, ...], rounds: int, steps: int, warm: int = WARM
) -> dict[str, dict[str, float]]:
    """Time of a step at each size, and how many times longer than at the smallest."""
    times = interleaved({str(size): make(size) for size in sizes}, rounds, steps, warm)
    base = times[str(sizes[0])]
    return {
        size: {
            **{key: value for key, value in summary(seconds, base).items() if key.endswith("_ms")},
            "times_the_smallest": round(median(seconds) / median(base), 3),
        }
        for size, seconds in times.items()
    }


def main(sizes: tuple[int, ...] = SIZES, rounds: int = 7, steps: int = 20, out: Path = RESULTS) -> None:
    """Measures, prints a table, writes the result.

    Args:
        sizes: Numbers of training images, the smallest first.
        rounds: Turns that each size gets.
        steps: Steps in a turn; dense Adam and LORD take a quarter of them.
        out: JSON file.
    """
    torch.manual_seed(0)
    few = max(1, steps // 4)
    room = tuple(size for size in sizes if DENSE_COPIES * 4 * CODE * size < available() / 2)
    record: dict[str, Any] = {
        "machine": facts(),
        "setting": {"code": CODE, "batch": BATCH, "pixels": PIXELS, "rounds": rounds, "steps": steps, "warm": WARM},
        "table": by_size(row_wise, sizes, rounds, steps),
        "dense": by_size(dense, room, rounds, few, warm=3),
        "lord": by_size(lambda size: lord(size)[2], sizes, rounds, few, warm=2),
        "memory": {str(size): memory(size) for size in sizes},
        "checkpoint": {str(size): checkpoint(size, 3) for size in sizes},
    }
    lines: list[list[Any]] = []
    for size in map(str, sizes):
        of_dense = record["dense"].get(size, {"median_ms": "-", "times_the_smallest": "-"})
        saved = record["checkpoint"][size]
        lines.append([f"{int(size):,}"])
        for figures in (record["table"][size], record["lord"][size], of_dense):
            lines[-1] += [figures["median_ms"], figures["times_the_smallest"]]
        lines[-1] += [record["memory"][size]["times_the_table"], saved["state_mb"], saved["call"], saved["writing"]]
    head = ["images", "table, ms", "ratio", "LORD, ms", "ratio", "dense Adam, ms", "ratio"]
    print(table([*head, "memory / table", "state, MB", "stall, ms", "writing, ms"], lines))
    write_json(out, record)


if __name__ == "__main__":
    tyro.cli(main)
