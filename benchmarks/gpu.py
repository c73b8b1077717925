"""How fast recipes at their papers' sizes train on a GPU, and what the GPU does meanwhile.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --compile  # each row again with compiled networks, which takes minutes more
    python benchmarks/gpu.py --cpu      # tiny images, two steps: does the script run?

Data are random and in memory, weights of VGG16 too; XGAN has no teacher. Each row trains as `unbraid train` does, with
batches read ahead and losses looked at later. Launches, kernel time and operations are those of one step; busy is
kernel time by the time of a step; the share is that of a large matrix product in bf16, measured in the same run. LORD's
first stage stands beside `lord_speed.py`'s plain program in fp32. Takes less than eight minutes on one card; writes
benchmarks/results/gpu.json.
"""

import contextlib
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import vgg16

from lord_speed import Plain
from machine import facts, table
from unbraid.core.compiling import compile_networks, compiled_step, uncompiled
from unbraid.core.config import TrainConfig
from unbraid.core.device import choose_precision
from unbraid.core.files import write_json
from unbraid.core.method import Clock, Method
from unbraid.core.types import DataSpec, ImageSpec, Labelled
from unbraid.data.batches import Batches
from unbraid.data.items import Rows
from unbraid.data.parts import LabelledPart, PairedPart, Part
from unbraid.methods import METHODS, method_name
from unbraid.methods.lord import LORD, Extractor
from unbraid.methods.xgan import XGANConfig
from unbraid.recipes import RECIPES
from unbraid.training.batches import DeviceBatches
from unbraid.training.loop import checks_later
from unbraid.training.step import Checks, train_step

RESULT = Path(__file__).parent / "results" / "gpu.json"
ITEMS, CODES, CLASSES = 256, 15_648, 163
"""Images in memory; codes and classes of LORD, as in Cars3D's training part."""


@dataclass(frozen=True)
class Row:
    """A recipe, the size of its images, its batches, and the steps a second that are wanted of them."""

    recipe: str
    size: int
    batches: tuple[int, ...]
    wanted: tuple[float, ...]


ROWS = (
    Row("iiae-maps-paper", 256, (8, 64), (110, 94)),
    Row("cddn-maps-paper", 256, (8, 64), (26, 0)),
    Row("uncooperative-maps-paper", 256, (4, 32), (30, 0)),
    Row("cyclegan-maps-paper", 256, (1, 8), (30, 0)),
    Row("xgan-emoji-paper", 64, (32, 256), (100, 0)),
    Row("demo", 32, (64, 512), (200, 0)),
    Row("lord-cars3d-paper", 64, (64,), (0,)),
)


@dataclass(frozen=True)
class Stored:
    """Random images in memory."""

    x: Tensor
    spec: ImageSpec

    def __len__(self) -> int:
        return len(self.x)

    def read(self, rows: Rows, draw: int) -> Tensor:
        """Returns images, (n, c, h, w)."""
        return self.x[torch.from_numpy(rows)]


def part(kind: type[Method[Any]], spec: ImageSpec) -> Part:
    """Random data of the kind that a method needs."""
    one, other = (Stored(torch.rand(ITEMS, *spec.shape) * 2 - 1, spec) for _ in range(2))
    rows, names = np.arange(ITEMS), [str(i) for i in range(ITEMS)]
    if kind.needs is Labelled:
        return LabelledPart(one, rows, np.arange(ITEMS)[:, None] % CLASSES, names)
    found = PairedPart(one, other, rows, names).offer(kind.needs)
    assert found is not None
    return found


def random_vgg16() -> dict[str, Tensor]:
    """Random weights of VGG16's convolutions, under torchvision's names."""
    return {f"features.{name}": value for name, value in vgg16(weights=None).features.state_dict().items()}


def trainer(row: Row, batch: int, device: torch.device, compiled: bool = False) -> Callable[[], object]:
    """Builds a method, and compiles its networks if asked to; returns its step."""
    config: Any = RECIPES[row.recipe].method
    if isinstance(config, XGANConfig):
        config = replace(config, teacher=None)
    kind, image = METHODS[method_name(config)], ImageSpec(row.size, row.size)
    spec = DataSpec(image, image)
    if kind is LORD:
        spec = replace(spec, items=CODES, classes=(CLASSES,))
    method = kind(spec, config)
    if isinstance(method, LORD):
        method._extractor = Extractor(random_vgg16(), CODES, 0.0)
    method.to(device, memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]
    if compiled:
        print(compile_networks(method, device), flush=True)
    stage = method.stages()[0].name
    optimisers = method.optimisers(stage)
    gpu = device.type == "cuda"
    batches = DeviceBatches(Batches(part(kind, image), batch, 0), device, ahead=gpu)
    checks = Checks(device=device, later=checks_later(device, optimisers))
    precision = choose_precision(TrainConfig(device=device.type))
    steps = iter(range(10**9))

    def step() -> None:
        number = next(steps)
        clock, autocast = Clock(number, 0.1, stage), precision.autocast()
        with compiled_step(device) if compiled else contextlib.nullcontext():
            losses = train_step(method, optimisers, batches, clock, autocast, checks=checks)
            checks.put(number, losses)
        list(checks.take(wait=number % 50 == 49))

    return step


def synchronise(device: torch.device) -> None:
    """Waits for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(step: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Steps a second, after some that don't count."""
    for _ in range(10 if seconds else 1):
        step()
    synchronise(device)
    began, count = time.perf_counter(), 0
    while not count or time.perf_counter() - began < seconds:
        step()
        count += 1
    synchronise(device)
    return count / (time.perf_counter() - began)


def kernels(step: Callable[[], object], device: torch.device, repeats: int = 3) -> tuple[float, float]:
    """Milliseconds of kernels in a step, and their number."""
    if device.type != "cuda":
        return 0.0, 0.0
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for _ in range(repeats):
            step()
        synchronise(device)
    found = [event for event in profiler.events() or () if event.device_type.name == "CUDA" and is_kernel(event)]
    return sum(event.device_time_total for event in found) / 1000 / repeats, len(found) / repeats


def is_kernel(event: Any) -> bool:
    """Returns whether an event of the GPU is a kernel or a copy, and no range that is named around some."""
    return not (getattr(event, "is_user_annotation", False) or event.name.startswith(("Optimizer.", "ProfilerStep")))


def product_limit(device: torch.device, side: int) -> float:
    """TFLOP/s of a matrix product in bf16."""
    x = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    return 2 * side**3 * rate(lambda: x @ x, device, 0.5 if device.type == "cuda" else 0.0) / 1e12


def measure(
    row: Row, batch: int, device: torch.device, seconds: float, limit: float, compiled: bool
) -> dict[str, float]:
    """Figures of one recipe at one batch."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    step = trainer(row, batch, device, compiled)
    each = rate(step, device, seconds)
    milliseconds, launches = kernels(step, device)
    with FlopCounterMode(display=False) as counter, uncompiled():
        step()
    tflops = counter.get_total_flops() * each / 1e12
    return {
        "steps_per_second": round(each, 2),
        "items_per_second": round(each * batch, 1),
        "kernel_ms": round(milliseconds, 2),
        "launches": round(launches),
        "busy": round(milliseconds * each / 1000, 3),
        "peak_gb": round(torch.cuda.max_memory_allocated(device) / 1e9, 2) if device.type == "cuda" else 0.0,
        "tflops": round(tflops, 2),
        "share_of_product": round(tflops / limit, 4),
    }


def plain_lord(batch: int, size: int, device: torch.device, seconds: float) -> float:
    """Steps a second of the plain program, whose images have 64 px."""
    config: Any = RECIPES["lord-cars3d-paper"].method
    plain = Plain(CODES, CLASSES, config, random_vgg16()).to(device)
    x, label = torch.rand(batch, 3, size, size, device=device), torch.randint(CLASSES, (batch, 1), device=device)
    batches = [Labelled(x, label, torch.randint(CODES, (batch,), device=device)) for _ in range(2)]
    return rate(lambda: plain.step(batches[0]), device, seconds)


def main(
    cpu: bool = False, compile: bool = False, seconds: float = 6.0, only: tuple[str, ...] = (), out: Path = RESULT
) -> None:
    """Measures, prints a table, writes the result.

    Args:
        cpu: Try the script on the processor: small images and batches, two steps each; writes nothing.
        compile: Measure each row with compiled networks too.
        seconds: Time of a measurement.
        only: Recipes; all by default.
        out: JSON file.
    """
    device = torch.device("cpu" if cpu else "cuda")
    torch.manual_seed(0)
    began, seconds = time.perf_counter(), 0.0 if cpu else seconds
    limit = product_limit(device, 256 if cpu else 8192)
    results: dict[str, dict[str, float]] = {}
    for row in ROWS:
        if only and row.recipe not in only:
            continue
        row = replace(row, size=min(row.size, 64), batches=(2,)) if cpu else row
        kinds = itertools.product(zip(row.batches, row.wanted, strict=False), (False, True) if compile else (False,))
        for (batch, wanted), compiled in kinds:
            figures = measure(row, batch, device, seconds, limit, compiled)
            if row.recipe.startswith("lord"):
                plain = plain_lord(batch, row.size, device, seconds)
                figures |= {"times_plain": round(figures["steps_per_second"] / plain, 2)}
            name = f"{row.recipe}, {row.size} px, {batch}{', compiled' * compiled}"
            results[name] = figures | {"wanted_steps_per_second": wanted}
            print(f"{name}: {figures}", flush=True)
    names = ("steps_per_second", "items_per_second", "kernel_ms", "launches", "busy", "peak_gb", "share_of_product")
    print(table(["recipe", *names], [[name, *(f[one] for one in names)] for name, f in results.items()]))
    if not cpu:
        card = {"gpu": torch.cuda.get_device_name(device), "product_tflops": round(limit, 1)}
        minutes = round((time.perf_counter() - began) / 60, 1)
        write_json(out, {"machine": facts() | card, "minutes": minutes, "steps": results})


if __name__ == "__main__":
    tyro.cli(main)
