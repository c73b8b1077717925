"""How hard adversaries pull at what uncooperative re-entanglement makes, beside how hard reconstruction holds it.

    python benchmarks/pull.py --root DATA runs/uncooperative-cuhk [more runs]

Of a run's last weights, on some training images: the length of the gradient of 1/2 (A(c') - 1)^2 at c', and of
lambda_v mean |v'' - v| there; the same at v'. Where the first is much the shorter, what is made stays where the other
network can read it, whatever the adversary says of it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor
from torch.nn.functional import l1_loss

from unbraid.data import load
from unbraid.data.parts import side
from unbraid.methods.uncooperative import Uncooperative, UncooperativeConfig
from unbraid.run import Run

ITEMS = 16


@dataclass(frozen=True)
class Arguments:
    """See above."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    root: Path | None = None


def length(loss: Tensor, at: Tensor) -> float:
    """Of the loss's gradient there."""
    (gradient,) = torch.autograd.grad(loss, at, retain_graph=True)
    return gradient.norm().item()


def pulls(folder: Path, root: Path | None) -> dict[str, tuple[float, float]]:
    """For c' and v': lengths of the adversary's gradient and of reconstruction's."""
    run = Run.existing(folder)
    config, state = run.config, run.load_state()
    assert isinstance(config.method, UncooperativeConfig)
    assert state is not None
    data = load(replace(config.data, root=root or config.data.root))
    method = Uncooperative(data.spec, config.method)
    method.load_state_dict(state["method"])
    method.eval()
    items = {domain: side(data.train, domain) for domain in (method.rich, method.poor)}
    v, c = (items.read(rows[:ITEMS], 0) for items, rows in items.values())
    made, r = method.disentangler(v)
    shown = method.entangler(c, r)
    again = {
        "c'": (made, method.poor, config.method.again_rich * l1_loss(method.entangler(made, r), v)),
        "v'": (shown, method.rich, config.method.again_poor * l1_loss(method.disentangler(shown)[0], c)),
    }
    return {
        name: (
            length(0.5 * config.method.adversarial * (method.adversaries[domain](x) - 1).square().mean(), x),
            length(loss, x),
        )
        for name, (x, domain, loss) in again.items()
    }


def main(arguments: Arguments) -> None:
    """A line for each run."""
    for folder in arguments.runs:
        found = pulls(folder, arguments.root)
        text = ", ".join(f"{name}: {pull / hold:.2f} ({pull:.1e} / {hold:.1e})" for name, (pull, hold) in found.items())
        print(f"{folder.name}: {text}")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
