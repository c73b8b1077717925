"""Small data and runs that many tests need."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.optim import Optimizer

from unbraid.core.method import Clock, Method, Update
from unbraid.core.types import DataSpec, ImageSpec, Labelled, Paired, Spec, Unpaired, VectorSpec
from unbraid.data.items import Rows
from unbraid.data.parts import Data, LabelledPart, PairedPart, Part, label_domains
from unbraid.evaluation.measure import Measure
from unbraid.evaluation.subject import Subject
from unbraid.methods.cddn import CdDNConfig
from unbraid.methods.lord import LORDConfig
from unbraid.model.trained import Trained


class Stored:
    """Items held in a tensor."""

    def __init__(self, x: Tensor, spec: Spec) -> None:
        self.x, self._spec = x, spec

    @property
    def spec(self) -> Spec:
        return self._spec

    def __len__(self) -> int:
        return len(self.x)

    def read(self, rows: Rows, draw: int) -> Tensor:
        return self.x[torch.from_numpy(np.asarray(rows))]


def random_items(spec: Spec, count: int, seed: int) -> Stored:
    return Stored(torch.rand(count, *spec.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1, spec)


def paired_data(spec: DataSpec, count: int = 24) -> Data:
    """Random pairs: a third each for training, validation and test."""
    a, b = random_items(spec.a, count, 1), random_items(spec.b, count, 2)
    third = count // 3
    rows = [np.arange(i * third, (i + 1) * third) for i in range(3)]
    names = [str(i) for i in range(count)]
    labels = np.arange(count) % 4
    train, val, test = (PairedPart(a, b, r, names, labels) for r in rows)
    return Data("random", spec, train, val, test)


def labelled_random(spec: DataSpec, count: int = 24) -> Data:
    """Random items with random labels, of known content: a third each for training, validation and test."""
    x = random_items(spec.a, count, 1)
    third = count // 3
    labels = np.stack([np.arange(count) % classes for classes in spec.classes], 1)
    names = [str(i) for i in range(count)]
    rows = [np.arange(i * third, (i + 1) * third) for i in range(3)]
    train, val, test = (LabelledPart(x, r, labels, names, content=np.arange(count) // 4 % 2) for r in rows)
    return Data("random", replace(spec, items=third), train, val, test)


def random_data(spec: DataSpec, needs: type = Paired) -> Data:
    """Random data of the kind that the spec speaks of; without labels, with the pairs hidden in training if wanted."""
    if not spec.classes:
        data = paired_data(spec)
        assert isinstance(data.train, PairedPart)
        return replace(data, train=data.train.unpaired()) if needs is Unpaired else data
    if not spec.domains:
        return labelled_random(spec)
    data = paired_data(spec, 12)
    assert isinstance(data.train, PairedPart)
    return replace(data, train=label_domains(data.train))


class Untrained(Method[Any]):
    """Never learns anything. For methods whose codes are known."""

    needs = Paired

    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        return {}

    def updates(self, batches: Iterator[Any], clock: Clock) -> Iterator[Update]:
        yield {}


class Repeated(Iterator[Any]):
    """The same batch for ever."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __next__(self) -> Any:
        return self.batch


def random_batch(spec: DataSpec, count: int = 4, seed: int = 0, needs: type = Paired) -> Paired | Unpaired | Labelled:
    if spec.classes:
        random = torch.Generator().manual_seed(seed)
        labels = [torch.randint(classes, (count,), generator=random) for classes in spec.classes]
        return Labelled(random_items(spec.a, count, seed).x, torch.stack(labels, 1), torch.arange(count))
    a, b = random_items(spec.a, count, seed).x, random_items(spec.b, count, seed + 1).x
    return Unpaired(a, b) if needs is Unpaired else Paired(a, b, torch.arange(count))


def smooth_batch(spec: DataSpec, count: int = 4, needs: type = Paired) -> Paired | Unpaired | Labelled:
    """Items a small network can learn by heart: images of one colour each, or, unpaired, of a few soft patches, for
    instance norm takes a single colour away."""
    batch = random_batch(spec, count, needs=needs)
    if isinstance(batch, Labelled):
        return replace(batch, x=batch.x[..., :1, :1].expand(batch.x.shape).contiguous())
    if isinstance(spec.a, VectorSpec):
        return batch
    if isinstance(batch, Unpaired):
        soft = [interpolate(x[..., :4, :4], x.shape[2:], mode="bilinear") for x in (batch.a, batch.b)]
        return Unpaired(*soft)
    means = [x[..., :1, :1].expand(x.shape).contiguous() for x in (batch.a, batch.b)]
    return Paired(means[0], means[1], batch.index)


SMALL_LORD = LORDConfig(
    content=8,
    class_code=12,
    dense=(16, 16),
    width=8,
    last_width=8,
    encoder_widths=(8, 8, 8),
    encoder_dense=16,
    loss="pixels",
)
"""LORD's smallest, without VGG16."""
SMALL_CDDN = CdDNConfig(
    widths=(8, 8),
    decoder_widths=(8, 8),
    map_size=4,
    shared=6,
    shared_norm="channel",  # a batch of one image can be trained on
    dropout=(0.0, 0.0),
    critic_widths=(8, 8),
    latent_discriminator_widths=(8,),
)
"""CdDN's smallest."""
IMAGES = DataSpec(ImageSpec(16, 16), ImageSpec(16, 16))
VECTORS = DataSpec(VectorSpec(12), VectorSpec(9))


def write_pairs(root: Path, count: int = 30) -> Path:
    """Folders photo and sketch of `root`, paired by name."""
    for i in range(count):
        write_png(root / "photo" / f"{i:02d}.png", i)
        write_png(root / "sketch" / f"{i:02d}.png", 100 + i)
    return root


def write_png(path: Path, seed: int, size: tuple[int, int] = (16, 16)) -> Path:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(256, size=(*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def subject_of(model: Trained, part: Part, data: Data | None = None, **settings: Any) -> Subject:
    """A model and a part to measure it on."""
    return Subject(model, data or Data("test", model.spec, part, part, part), part, **settings)


def measured(
    measure: Measure[Any], model: Trained, part: Part, data: Data | None = None, **settings: Any
) -> dict[str, Any]:
    """The entries of metrics.json; none where the measure doesn't apply."""
    subject = subject_of(model, part, data, **settings)
    return {} if measure.applies(subject) else dict(measure.compute(subject))
