"""How fast the first stage of LORD trains at the paper's size, beside a plain program for the same step.

    python benchmarks/lord_speed.py

64 px, batches of 64, the paper's networks, VGG16's features as loss, 15,648 content codes and 163 class codes (the
training part of Cars3D). Data is random and already in memory. What is measured, in turns, in one process:

- plain: PyTorch as it comes, in fp32. VGG16 is torchvision's, its weights left trainable, so that their gradients are
  computed; the features of the target are recorded too; nearest upsampling and a 3x3 convolution; AdaIN by
  `instance_norm`; dense tables of codes with dense Adam over all rows.
- unbraid, fp32: the library's step without bf16.
- unbraid: the library's step as it trains, in bf16 if the processor has it.
- unbraid, kept targets: the same when the features of training images are kept in memory (--method.target-gigabytes).

Before it starts, plain and library are given the same weights, and their losses must agree. Writes
benchmarks/results/lord-speed.json.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam
from torchvision.models import vgg16

from machine import facts, interleaved, summary, table
from unbraid.core.config import TrainConfig
from unbraid.core.device import choose_precision
from unbraid.core.files import write_json
from unbraid.core.method import Clock
from unbraid.core.types import DataSpec, ImageSpec, Labelled
from unbraid.methods.lord import BETAS, LORD, UPSAMPLINGS, Extractor, LORDConfig
from unbraid.nn.blocks import SLOPE, UpConv
from unbraid.nn.pretrained.perceptual import MEAN, STD, find_weights
from unbraid.training.loop import train_step

SIZE = 64
TAPS = (3, 8, 13, 22, 30)
"""relu1_2, relu2_2, relu3_2, relu4_3 and pool5 in torchvision's `features`."""
KEPT = 256
"""Images whose features are kept in the measurement: as many as memory bandwidth needs to be felt."""
RESULT = Path(__file__).parent / "results" / "lord-speed.json"


class PlainGenerator(nn.Module):
    """The generator of appendix A.1, layer by layer."""

    def __init__(self, config: LORDConfig) -> None:
        super().__init__()
        width, (first, second) = config.width, config.dense
        self.width, self.side = width, SIZE // 2**UPSAMPLINGS
        self.dense = nn.ModuleList(
            [
                nn.Linear(config.content, first),
                nn.Linear(first, second),
                nn.Linear(second, width * self.side**2),
            ]
        )
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(UPSAMPLINGS))
        self.styles = nn.ModuleList(nn.Linear(config.class_code, 2 * width) for _ in range(UPSAMPLINGS))
        self.last = nn.Conv2d(width, config.last_width, 5, padding=2)
        self.image = nn.Conv2d(config.last_width, 3, 7, padding=3)

    def forward(self, content: Tensor, class_code: Tensor) -> Tensor:
        """(n, 3, SIZE, SIZE) in [0, 1]."""
        x = content
        for layer in self.dense:
            x = functional.leaky_relu(layer(x), SLOPE)
        x = x.view(-1, self.width, self.side, self.side)
        for convolution, style in zip(self.convolutions, self.styles, strict=True):
            x = functional.leaky_relu(convolution(functional.interpolate(x, scale_factor=2)), SLOPE)
            scale, shift = style(class_code)[:, :, None, None].chunk(2, 1)
            x = functional.instance_norm(x) * scale + shift
        return torch.sigmoid(self.image(functional.leaky_relu(self.last(x), SLOPE)))


class Plain(nn.Module):
    """The step of eq. 6, written down plainly."""

    mean: Tensor
    std: Tensor

    def __init__(self, items: int, classes: int, config: LORDConfig, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.config = config
        self.generator = PlainGenerator(config)
        self.content = nn.Embedding(items, config.content)
        self.classes = nn.Embedding(classes, config.class_code)
        for codes in (self.content, self.classes):
            nn.init.uniform_(codes.weight, -0.05, 0.05)
        self.vgg = vgg16(weights=None, init_weights=False).features
        self.vgg.load_state_dict({name.removeprefix("features."): value for name, value in weights.items()})
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))
        codes = [*self.content.parameters(), *self.classes.parameters()]
        self.optimiser = Adam(
            [
                {"params": self.generator.parameters(), "lr": config.rate},
                {"params": codes, "lr": config.code_rate},
            ],
            betas=BETAS,
        )

    def features(self, x: Tensor) -> list[Tensor]:
        """VGG16's maps of images in [0, 1]."""
        x = (x - self.mean) / self.std
        maps: list[Tensor] = []
        for place, layer in enumerate(cast(nn.Sequential, self.vgg)):
            x = layer(x)
            if place in TAPS:
                maps.append(x)
        return maps

    def reconstruction(self, content: Tensor, class_code: Tensor, x: Tensor) -> Tensor:
        """The loss between what the codes make and x, images in [0, 1]."""
        made = self.features(self.generator(content, class_code))
        terms = [functional.l1_loss(one, other) for one, other in zip(made, self.features(x), strict=True)]
        return self.config.scale * torch.stack(terms).sum()

    def step(self, batch: Labelled) -> float:
        """One step; the loss."""
        content = self.content(batch.index)
        noise = self.config.noise * torch.randn_like(content)
        reconstruction = self.reconstruction(content + noise, self.classes(batch.label[:, 0]), (batch.x + 1) / 2)
        loss = reconstruction + self.config.decay * content.square().sum(1).mean()
        self.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.item()


class Kept(Extractor):
    """Keeps the features of KEPT images and takes them for those of all: the time is the same, the memory isn't."""

    def targets(self, x: Tensor, index: Tensor | None) -> list[Tensor]:
        """As the library's, all known after KEPT / batch first calls."""
        return super().targets(x, None if index is None else index % self.items)

    def fill(self, x: Tensor) -> None:
        """Computes all of them from images x."""
        for at in torch.arange(self.items).split(len(x)):
            super().targets(x[: len(at)], at)


def check_same(plain: Plain, model: LORD, batch: Labelled) -> None:
    """Gives the plain generator the library's weights and compares the losses: they are the same function."""
    mine, theirs = plain.generator, model.generator
    linears = [layer for layer in theirs.dense if isinstance(layer, nn.Linear)]
    pairs: list[tuple[nn.Module, nn.Module]] = [*zip(mine.dense, linears, strict=True)]
    pairs += [
        *zip(mine.convolutions, theirs.ups, strict=True),
        (mine.last, theirs.last[0]),
        (mine.image, theirs.last[2]),
    ]
    with torch.no_grad():
        for one, other in pairs:
            assert isinstance(one, (nn.Linear, nn.Conv2d))
            assert isinstance(other, (nn.Linear, nn.Conv2d, UpConv))
            one.weight.copy_(other.weight)
            cast(Tensor, one.bias).copy_(cast(Tensor, other.bias))
        weights, biases = theirs.styles.weight.chunk(UPSAMPLINGS), theirs.styles.bias.chunk(UPSAMPLINGS)
        for style, weight, bias in zip(mine.styles, weights, biases, strict=True):
            assert isinstance(style, nn.Linear)
            style.weight.copy_(weight)
            style.bias.copy_(bias)
        content, class_code = torch.randn(len(batch.x), model.config.content), model._class_rows(batch.label)
        expected = plain.reconstruction(content, class_code, (batch.x + 1) / 2)
        found = model._difference(model.generator(content, class_code), batch.x, None)
    assert torch.isclose(found, expected, rtol=1e-3), f"the losses differ: {found:.5f} and {expected:.5f}"


class Batches(Iterator[Labelled]):
    """Batches of the same images, whose rows in the tables are drawn anew each time, without repeats."""

    def __init__(self, x: Tensor, items: int, classes: int) -> None:
        self.x, self.items, self.classes = x, items, classes

    def __next__(self) -> Labelled:
        n = len(self.x)
        return Labelled(self.x, torch.randint(self.classes, (n, 1)), torch.randperm(self.items)[:n])


def ours(
    config: LORDConfig, spec: DataSpec, batches: Batches, extractor: Extractor, context: AbstractContextManager[Any]
) -> tuple[LORD, Callable[[], object]]:
    """The library's model and its step."""
    model = LORD(spec, config).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    model._extractor = extractor
    optimisers = model.optimisers("codes")
    return model, lambda: train_step(model, optimisers, batches, Clock(0, 0.0, "codes"), context)


def main(
    images: int = 64,
    rounds: int = 7,
    steps: int = 2,
    codes: int = 15_648,
    classes: int = 163,
    out: Path = RESULT,
) -> None:
    """Measures, prints a table, writes the result.

    Args:
        images: Images in a batch.
        rounds: Turns that each gets.
        steps: Steps in a turn.
        codes: Training images, each with a content code.
        classes: Classes, each with a class code.
        out: JSON file.
    """
    torch.manual_seed(0)
    config = LORDConfig()
    weights = find_weights("vgg16", config.perceptual)
    spec = DataSpec(ImageSpec(SIZE, SIZE), ImageSpec(SIZE, SIZE), items=codes, classes=(classes,))
    plain_batches = Batches(torch.rand(images, 3, SIZE, SIZE) * 2 - 1, codes, classes)
    batches = Batches(plain_batches.x.to(memory_format=torch.channels_last), codes, classes)
    precision = choose_precision(TrainConfig(device="cpu"))

    plain = Plain(codes, classes, config, weights)
    exact, fp32_step = ours(config, spec, batches, Extractor(weights, 0, 0.0), nullcontext())
    check_same(plain, exact, next(batches))
    _, step = ours(config, spec, batches, Extractor(weights, 0, 0.0), precision.autocast())
    kept = Kept(weights, max(KEPT, images), 1e6)
    with precision.autocast():
        kept.fill(batches.x)
    _, kept_step = ours(config, spec, batches, kept, precision.autocast())

    name = f"unbraid, {'bf16' if precision.dtype == torch.bfloat16 else 'fp32'}"
    works: dict[str, Callable[[], object]] = {
        "plain, fp32": lambda: plain.step(next(plain_batches)),
        "unbraid, fp32": fp32_step,
        name: step,
        f"{name}, kept targets": kept_step,
    }
    began = time.perf_counter()
    times = interleaved(works, rounds, steps)
    figures = {key: summary(seconds, times["plain, fp32"], images) for key, seconds in times.items()}
    bytes_each = sum(m[0].numel() * m.element_size() for m in kept._kept)
    rows = [
        [key, f["best_per_second"], f["median_per_second"], f["median_ms"], f["ratio"]] for key, f in figures.items()
    ]
    print(table(["step", "images/s, best", "median", "ms, median", "times plain"], rows))
    print(f"Targets of all {codes} images, kept: {bytes_each * codes / 1e9:.1f} GB")
    about = {"size": SIZE, "batch": images, "codes": codes, "classes": classes, "rounds": rounds, "steps": steps}
    record = {
        "machine": facts(),
        "setting": about,
        "kept_targets_gb": round(bytes_each * codes / 1e9, 2),
        "minutes": round((time.perf_counter() - began) / 60, 1),
        "steps": figures,
        "seconds": {key: [round(value, 4) for value in seconds] for key, seconds in times.items()},
    }
    write_json(out, record)


if __name__ == "__main__":
    tyro.cli(main)
