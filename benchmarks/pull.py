"""How hard discriminators pull at what is made: what each norm of theirs can learn, and in uncooperative runs.

    python benchmarks/pull.py --root DATA
    python benchmarks/pull.py --root DATA --set relit --batch 1 --seeds 0
    python benchmarks/pull.py --root DATA runs/uncooperative-cuhk [more runs]

Without a run: discriminators of patches, one for each norm, learn for `--steps` steps to tell images of 64 px, photos
of faces or relit cars, from the same images with 30 % of their contrast, which stay as they are. Prints, over the
seeds, the loss at the end (.25 says that nothing is told apart) and the pull: the length of the gradient of
1/2 (A(x) - 1)^2 at those images. Writes benchmarks/results/discriminators.json.

Of a run's last weights, on some training images: the length of the gradient of 1/2 (A(c') - 1)^2 at c', and of
lambda_v mean |v'' - v| there; the same at v'. Where the first is much the shorter, what is made stays where the other
network can read it, whatever the discriminator says of it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Annotated, Literal, get_args

import torch
import tyro
from torch import Tensor
from torch.nn.functional import l1_loss
from torch.optim import Adam

from machine import facts, table
from unbraid.core.data_config import DataConfig
from unbraid.core.files import read_json, write_json
from unbraid.core.types import ImageSpec
from unbraid.data.loading import load
from unbraid.methods.uncooperative import Uncooperative, UncooperativeConfig
from unbraid.model.codes import evenly_spaced
from unbraid.model.run import Run
from unbraid.nn.functional import least_squares
from unbraid.nn.patch import DiscriminatorNorm, PatchDiscriminator, discriminator_loss, patch_halvings

ITEMS = 16
IMAGES = 200
CONTRAST = 0.3
WIDTH, RATE = 32, 2e-4
"""The recipes' discriminators."""
LAST = 20
"""Steps at the end over which the loss is averaged."""
RESULTS = Path(__file__).parent / "results" / "discriminators.json"


@dataclass(frozen=True)
class Arguments:
    """See above."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    root: Path | None = None
    set: Literal["cuhk", "relit"] = "cuhk"
    batch: int = 8
    steps: int = 200
    seeds: tuple[int, ...] = (0, 1, 2)


def length(loss: Tensor, at: Tensor) -> float:
    """Of the loss's gradient there."""
    (gradient,) = torch.autograd.grad(loss, at, retain_graph=True)
    return gradient.norm().item()


def pulls(folder: Path, root: Path | None) -> dict[str, tuple[float, float]]:
    """For c' and v': lengths of the discriminator's gradient and of reconstruction's."""
    run = Run.existing(folder)
    config, state = run.config, run.load_state()
    assert isinstance(config.method, UncooperativeConfig)
    assert state is not None
    data = load(replace(config.data, root=root or config.data.root))
    method = Uncooperative(data.spec, config.method)
    method.load_state_dict(state["method"])
    method.eval()
    items = {domain: data.train.domain(domain) for domain in (method.informative, method.plain)}
    v, c = (items.read(rows[:ITEMS], 0) for items, rows in items.values())
    made, r = method.disentangler(v)
    shown = method.entangler(c, r)
    again = {
        "c'": (made, method.plain, config.method.cycle_informative * l1_loss(method.entangler(made, r), v)),
        "v'": (shown, method.informative, config.method.cycle_plain * l1_loss(method.disentangler(shown)[0], c)),
    }
    return {
        name: (
            length(0.5 * config.method.adversarial * (method.discriminators[domain](x) - 1).square().mean(), x),
            length(loss, x),
        )
        for name, (x, domain, loss) in again.items()
    }


def learned(norm: DiscriminatorNorm, images: Tensor, batch: int, steps: int, seed: int) -> tuple[float, float]:
    """The loss at the end, and the pull at pale images."""
    torch.manual_seed(seed)
    _, channels, height, width = images.shape
    discriminator = PatchDiscriminator(channels, WIDTH, patch_halvings(ImageSpec(height, width, channels)), norm)
    optimiser = Adam(discriminator.parameters(), lr=RATE, betas=UncooperativeConfig().betas)
    average = images.mean((1, 2, 3), keepdim=True)
    pale, losses = average + CONTRAST * (images - average), []
    for _ in range(steps):
        real, made = (x[torch.randint(len(x), (batch,))] for x in (images, pale))
        loss = discriminator_loss(discriminator, real, made)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    x = pale[:ITEMS].clone().requires_grad_()
    return mean(losses[-LAST:]), length(0.5 * least_squares(discriminator.eval()(x), 1.0), x)


def discriminators(arguments: Arguments) -> None:
    """Prints and writes a row for each norm."""
    data = load(DataConfig(set=arguments.set, root=arguments.root, size=(64, 64)))
    items, rows = data.train.domain("a")
    images = items.read(evenly_spaced(rows, IMAGES), 0).contiguous(memory_format=torch.channels_last)
    found = {}
    for norm in get_args(DiscriminatorNorm):
        runs = [learned(norm, images, arguments.batch, arguments.steps, seed) for seed in arguments.seeds]
        losses, pull = zip(*runs, strict=True)
        found[norm] = {"loss": [float(f"{x:.2g}") for x in losses], "pull": [float(f"{x:.2g}") for x in pull]}
    settings = {"batch": arguments.batch, "steps": arguments.steps, "seeds": arguments.seeds, "contrast": CONTRAST}
    document = read_json(RESULTS) if RESULTS.exists() else {}
    write_json(RESULTS, {**document, arguments.set: {**settings, "norms": found, "machine": facts()}})
    cells = [
        [norm, *(", ".join(f"{x:.2g}" for x in row[name]) for name in ("loss", "pull"))] for norm, row in found.items()
    ]
    print(table(["norm", "loss at the end", "pull"], cells))


def main(arguments: Arguments) -> None:
    """A line for each run."""
    if not arguments.runs:
        discriminators(arguments)
    for folder in arguments.runs:
        found = pulls(folder, arguments.root)
        text = ", ".join(f"{name}: {pull / hold:.2f} ({pull:.1e} / {hold:.1e})" for name, (pull, hold) in found.items())
        print(f"{folder.name}: {text}")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
