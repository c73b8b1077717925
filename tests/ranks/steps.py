"""Trains small methods on 1, 2 and 4 ranks, in float64, and writes apart.json: how far their weights are apart.

A program of its own: it forks, which a process with threads should not. Arguments: a folder, and names of cases.
"""

import json
import os
import sys
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # which optimisers import, once
import torch.distributed as dist
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers import random_batch
from test_gradients import Comparable
from test_methods import CASES, Case
from unbraid.core.method import Clock
from unbraid.core.ranks import SINGLE, Ranks
from unbraid.nn.tables import RowAdam
from unbraid.training.step import Checks, train_step

WORLD, BATCH, STEPS = 4, 4, 3


class Share:
    """This rank's part of a batch for each step, in float64."""

    def __init__(self, case: Case, ranks: Ranks) -> None:
        self.case, self.rows, self.number = case, ranks.share(BATCH), 0

    def __iter__(self) -> "Share":
        return self

    def __next__(self) -> Any:
        self.number += 1
        batch = random_batch(self.case.spec, BATCH, self.number % 2, self.case.needs)
        rows = {each.name: getattr(batch, each.name)[self.rows] for each in fields(batch)}
        return replace(batch, **{name: x.double() if x.is_floating_point() else x for name, x in rows.items()})


def trained(case: Case, ranks: Ranks) -> dict[str, Tensor]:
    """The state of a method after some steps of each stage, and of its optimisers."""
    method = case.build().double().train()
    state: dict[str, Tensor] = {}
    for stage in method.stages():
        optimisers, batches = method.optimisers(stage.name), Share(case, ranks)
        checks = Checks(ranks)
        for step in range(STEPS):
            torch.manual_seed(step)
            with Comparable(exact=True), ranks.step(BATCH):
                terms = train_step(method, optimisers, batches, Clock(step, 0.1, stage.name), checks=checks)
            ranks.average(list((terms := {**terms, **method.diagnostics}).values()))
            state |= {f"{stage.name} {step} {name}": value for name, value in terms.items()}
            tables = [each for each in optimisers.values() if isinstance(each, RowAdam)]
            if step == 1 and tables:  # the first rank reads rows without the others, as measuring does
                if ranks.first:
                    next(m for m in method.modules() if isinstance(m, nn.Embedding))(torch.tensor([1]))
                for table in tables if ranks.count > 1 else ():
                    table.follow(ranks)
        for table in optimisers.values():
            if isinstance(table, RowAdam):
                table.finish()
    return state | {name: value.clone() for name, value in method.state_dict().items()}


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    pairs = [(one[name].double(), other[name].double()) for name in one if one[name].numel()]
    return max(((x - y).abs() / x.abs().clamp(min=1)).max().item() for x, y in pairs)


def work(rank: int, folder: Path, names: list[str]) -> None:
    torch.set_default_dtype(torch.float64)
    dist.init_process_group("gloo", f"file://{folder}/meet", timedelta(seconds=120), WORLD, rank)
    pair, everyone = dist.new_group([0, 1]), dist.new_group(list(range(WORLD)))
    results: dict[str, Any] = {}
    for number, name in enumerate(names):
        case, result = CASES[name], {}
        single = trained(case, SINGLE) if rank == 0 else {}
        for count, group in ((2, pair), (WORLD, everyone)):
            if rank < count and (count > 2 or number % 3 == 0):
                assert isinstance(group, dist.ProcessGroup)
                ranks = Ranks(rank, count, group, group)
                found = trained(case, ranks)
                first = {key: value.clone() for key, value in found.items()}
                ranks.copy_first([*first.values()])
                ranks.check_same(str(all(torch.equal(found[key], first[key]) for key in found)), name)
                if rank == 0:
                    result[count] = distance(found, single)
        results[name] = result
    if rank == 0:
        (folder / "apart.json").write_text(json.dumps(results))
    dist.barrier()
    dist.destroy_process_group()


def main() -> int:
    folder, *names = sys.argv[1:]
    children = []
    for rank in range(WORLD):
        if (child := os.fork()) == 0:
            work(rank, Path(folder), names or list(CASES))
            sys.stdout.flush()
            os._exit(0)
        children.append(child)
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


if __name__ == "__main__":
    sys.exit(main())
