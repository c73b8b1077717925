"""How much of a flat image's colour comes through a translator, by its norm.

    python benchmarks/colour.py --root DATA

Translators learn to give images back as they are, relit cars and flat images of random colours, half of each, 32 px.
Prints the root mean square distance (of 100) of what they make from held-out cars and from other flat images, over the
seeds, and writes benchmarks/results/colour.json.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import torch
import tyro
from torch.nn.functional import l1_loss
from torch.optim import Adam

from machine import facts, table
from unbraid.core.data_config import DataConfig
from unbraid.core.files import write_json
from unbraid.core.types import ImageSpec
from unbraid.data.batches import Batches
from unbraid.data.loading import load
from unbraid.evaluation.metrics.images import rms_distance
from unbraid.nn.blocks import draw_normal
from unbraid.nn.residual import Norm, ResidualTranslator

SIZE, WIDTH, BLOCKS, BATCH, RATE, FLAT = 32, 8, 2, 4, 1e-3, 100
RESULTS = Path(__file__).parent / "results" / "colour.json"


@dataclass(frozen=True)
class Arguments:
    """See above."""

    root: Path
    steps: int = 500
    seeds: tuple[int, ...] = (0, 1, 2)


def main(arguments: Arguments) -> None:
    """Prints and writes a row for each norm."""
    data = load(replace(DataConfig(set="relit", size=(SIZE, SIZE)), root=arguments.root))
    items, rows = data.val.domain("a")
    cars = items.read(rows[:FLAT], 0)
    colours = torch.rand(FLAT, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    flat = colours[:, :, None, None].expand(-1, -1, SIZE, SIZE).contiguous()
    found: dict[str, dict[str, list[float]]] = {}
    for norm in get_args(Norm):
        found[norm] = {"cars": [], "flat images": []}
        for seed in arguments.seeds:
            torch.manual_seed(seed)
            translator = ResidualTranslator(ImageSpec(SIZE, SIZE), 3, WIDTH, BLOCKS, norm=norm).apply(draw_normal)
            translator.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            optimiser, batches = (
                Adam(translator.parameters(), lr=RATE, betas=(0.5, 0.999)),
                Batches(data.train, BATCH // 2, seed),
            )
            for _ in range(arguments.steps):
                plain = (torch.rand(BATCH // 2, 3, 1, 1) * 2 - 1).expand(-1, -1, SIZE, SIZE)
                x = torch.cat([next(batches).a, plain]).to(memory_format=torch.channels_last)
                optimiser.zero_grad()
                l1_loss(translator(x), x).backward()
                optimiser.step()
            with torch.no_grad():
                for name, images in {"cars": cars, "flat images": flat}.items():
                    found[norm][name].append(round(float(rms_distance(translator(images), images).mean()), 2))
    write_json(RESULTS, {"steps": arguments.steps, "seeds": arguments.seeds, "distance": found, "machine": facts()})
    heads = ["cars", "flat images"]
    print(
        table(
            ["norm", *heads],
            [[norm, *(", ".join(map(str, row[name])) for name in heads)] for norm, row in found.items()],
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments))
