"""Feature vectors in place of images: a network's, computed once and kept; a head, and the network, tuned on training
classes.

Legend: n items, d size of a feature vector, c classes.
"""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from unbraid.core.checksums import read_tensors, write_tensors
from unbraid.core.config import PACKAGED
from unbraid.core.console import Console, Progress
from unbraid.core.data_config import DataConfig, FeatureName
from unbraid.core.files import parse_json
from unbraid.core.kept import cached_array
from unbraid.core.short import Short
from unbraid.core.types import DataSpec, Domain, ImageSpec, UserError, VectorSpec
from unbraid.data.cache import CachedImages
from unbraid.data.classes import Classmates
from unbraid.data.items import Chosen, Items, Rows
from unbraid.data.parts import Data, Part
from unbraid.data.sources.arrays import ArrayImages
from unbraid.nn.pretrained import teacher
from unbraid.nn.pretrained.teacher import feature_size

VERSION = 1
"""Counted up when the same images would give other features."""
BATCH = 64
HIDDEN, SIZE = 512, 256
"""Of a head: its hidden layer, and what it gives."""
STEPS, TUNED, RATE = 400, 200, 1e-3
"""Steps that a head is tuned for, items of each domain in a step, and AdamW's rate at the beginning."""
NETWORK_STEPS, NETWORK_TUNED, NETWORK_RATE = 60, 24, 1e-4
"""The same when the network is tuned behind it, and the head goes on at this rate too."""
NETWORK = "network."
"""What the names of a tuned network's weights begin with in a file."""
SHARPNESS = 8.0
"""What cosines between items and classes are multiplied by."""


@dataclass(frozen=True)
class Vectors(Short):
    """Vectors in an array, perhaps on disk. array: (n, d) float32. raw: those of the network before it was tuned."""

    array: np.ndarray
    raw: np.ndarray | None = None

    @property
    def spec(self) -> VectorSpec:
        """Returns the spec of an item."""
        return VectorSpec(self.array.shape[1])

    def __len__(self) -> int:
        return len(self.array)

    def read(self, rows: Rows, draw: int) -> Float[Tensor, "n d"]:
        """Returns items as (len(rows), *spec.shape), the same for every draw."""
        return torch.from_numpy(np.array(self.array[rows], np.float32))


class Head(nn.Module):
    """Two layers on frozen features, (n, d) -> (n, SIZE) of length 16, which is 1 for each value on average."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(size, HIDDEN),
            nn.BatchNorm1d(HIDDEN),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(HIDDEN, SIZE),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns (n, SIZE) float32."""
        return normalize(self.layers(x).float(), dim=1) * SIZE**0.5


@dataclass(frozen=True)
class Headed(Short):
    """Vectors put through a head."""

    items: Items
    head: Head

    @property
    def spec(self) -> VectorSpec:
        """Returns the spec of an item."""
        return VectorSpec(SIZE)

    def __len__(self) -> int:
        return len(self.items)

    def read(self, rows: Rows, draw: int) -> Float[Tensor, "n d"]:
        """Returns items as (len(rows), SIZE)."""
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            return self.head(self.items.read(rows, draw))


@dataclass(frozen=True)
class Tuned(Short):
    """A head tuned on training classes, and the network's weights by name, if these were tuned too."""

    head: Head
    network: dict[str, Tensor] | None = None


def extracted(data: Data, name: FeatureName, network: dict[str, Tensor] | None = None) -> Data:
    """Replaces stored images of both domains by features of the network `name`, perhaps with tuned weights.

    Features are computed once for each set of pixels, in float32, and kept in the cache folder. See `load_features`.
    Raises UserError if the network's weights are missing, or items are no stored images.
    """
    computed: dict[int, Items] = {}

    def vectors(items: Items) -> Items:
        if id(items) not in computed:
            raw = _features(items, name, None)
            computed[id(items)] = Vectors(_features(items, name, network), raw) if network else Vectors(raw)
        return computed[id(items)]

    size = VectorSpec(feature_size(name))
    return replace(_with_items(data, vectors, size), images=data.spec)


def with_head(data: Data, config: DataConfig, run: Path | None, dry: bool = False) -> tuple[Data, Tuned | None]:
    """Replaces items by their tuned features, and returns what was tuned: loads the head from the run, or tunes it.

    Args:
        data: As loaded.
        config: Says by `tuned` and `tuned_network` what is wanted; without them the data stay as they are.
        run: Its folder.
        dry: Leave the head untrained.
    """
    if not config.tuned:
        return data, None
    tuned = load_features(run)[1] if run else None
    if not config.tuned_network:
        tuned = tuned or Tuned(tune(data.train, config.seed, 0 if dry else STEPS))
        return headed(data, tuned.head), tuned
    assert config.features is not None
    if tuned is None:
        frozen = extracted(data, config.features)
        if dry:
            tuned = Tuned(tune(frozen.train, config.seed, 0))
            return headed(frozen, tuned.head), tuned
        tuned = tune_network(data.train, frozen.train, config.features, config.seed, (STEPS, NETWORK_STEPS))
    return headed(extracted(data, config.features, tuned.network), tuned.head), tuned


def headed(data: Data, head: Head) -> Data:
    """Puts every vector of the data through a head."""
    return _with_items(data, lambda items: Headed(items, head.eval()), VectorSpec(SIZE))


def unheaded(items: Items) -> Items:
    """Returns the items as they were before anything was tuned."""

    def before(inner: Items) -> Items:
        inner = inner.items if isinstance(inner, Headed) else inner
        return Vectors(inner.raw) if isinstance(inner, Vectors) and inner.raw is not None else inner

    return _deep(items, before)


def _with_items(data: Data, change: Callable[[Items], Items], spec: VectorSpec) -> Data:
    def part(one: Part) -> Part:
        return one.with_items(lambda items: _deep(items, change))

    train, val, test = (part(one) for one in (data.train, data.val, data.test))
    return replace(data, train=train, val=val, test=test, spec=replace(data.spec, a=spec, b=spec))


def _deep(items: Items, change: Callable[[Items], Items]) -> Items:
    """Changes the innermost items: those that others are selected from."""
    if isinstance(items, (Chosen, Classmates)):
        return replace(items, items=_deep(items.items, change))
    return change(items)


def _features(items: Items, name: FeatureName, network: dict[str, Tensor] | None) -> np.ndarray:
    """Returns features, (n, d) float32, from the cache or computed now. network: its tuned weights."""
    if not isinstance(items, (CachedImages, ArrayImages)):
        what = items.spec if isinstance(items.spec, VectorSpec) else "images that are drawn anew in each pass"
        raise UserError(f"--data.features {name} is for stored images; these are {what}: leave it out")
    of_file = Path(name.partition("@")[2])
    weights = sha256(of_file.read_bytes()).hexdigest() if of_file.is_file() else ""  # may be others the next time
    digest = sha256(
        json.dumps([VERSION, f"{name}{weights}", items.array.shape, str(items.array.dtype), str(items.spec)]).encode()
    )
    for start in range(0, len(items), 1024):
        digest.update(np.ascontiguousarray(items.array[start : start + 1024]).tobytes())
    for _, tensor in sorted((network or {}).items()):
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return cached_array(f"{_safe(name)}-{digest.hexdigest()[:24]}", lambda: _computed(items, name, network))


def _safe(name: str) -> str:
    """Returns a network's name as a part of a file's: without the folder of its weights."""
    return re.sub(r"[^\w.-]", "-", name.partition("@")[0])


def _network(name: FeatureName, weights: dict[str, Tensor] | None) -> Any:
    """Returns the frozen network, with tuned weights if given. Raises UserError for those of another one."""
    network = teacher.named_teacher(name, PACKAGED, "--data.features")
    if weights:
        own = network.weights()
        if {key: tensor.shape for key, tensor in own.items()} != {key: t.shape for key, t in weights.items()}:
            raise UserError(
                f"The tuned weights in features.safetensors are not those of {name}, as it is installed here"
            )
        for key, tensor in own.items():
            tensor.data.copy_(weights[key])
    return network


def _computed(items: Items, name: FeatureName, weights: dict[str, Tensor] | None) -> np.ndarray:
    network = _network(name, weights)
    found: list[Tensor] = []
    with torch.no_grad(), Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{name} of {len(items)} images", total=len(items))
        for start in range(0, len(items), BATCH):
            found.append(network(items.read(np.arange(start, min(start + BATCH, len(items))), 0)))
            bar.update(task, completed=start + BATCH)
    return torch.cat(found).numpy()


def tune(part: Part, seed: int, steps: int) -> Head:
    """Tunes a head to classify a training part of vectors, both domains at once.

    Both domains go through the same layers and are compared with the same c class vectors by cosine: softmax of
    SHARPNESS times the cosines, cross entropy. So items of one class come together whichever domain they are of, and
    what only one domain shows counts less. Validation and test classes take no part.

    Args:
        part: training pairs of vectors, drawn within classes.
        seed: of the weights and batches.
        steps: of AdamW.
    """
    return _Tuner(part, seed).tune_head(steps)


def tune_network(images: Part, vectors: Part, name: FeatureName, seed: int, steps: tuple[int, int]) -> Tuned:
    """Tunes a head on `vectors`, then head and network on the `images` that these are features of. See `tune`.

    All of the network's weights move; its batch-norm keeps its statistics. steps: of the head alone, and of both.
    """
    tuner = _Tuner(vectors, seed)
    tuner.tune_head(steps[0])
    network = _network(name, None)
    weights: dict[str, Tensor] = network.weights()
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"tuning {name} on {len(tuner.present)} classes", total=steps[1])
        for tensor in weights.values():
            tensor.requires_grad_(True)
        tuner.run(images, network, list(weights.values()), steps[1], lambda: bar.advance(task))
    return Tuned(tuner.head.eval(), {key: tensor.detach().clone() for key, tensor in weights.items()})


class _Tuner:
    """A head, a vector for each class, and their optimisation."""

    def __init__(self, part: Part, seed: int) -> None:
        spec = part.domain("a")[0].spec
        assert isinstance(spec, VectorSpec)
        self.part, self.seed = part, seed
        self.random = np.random.default_rng((seed, 5))
        self.present, self.labels = np.unique(part.classes(), return_inverse=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = Head(spec.size)
            self.classes = nn.Parameter(0.1 * torch.randn(len(self.present), SIZE))

    def tune_head(self, steps: int) -> Head:
        """Returns the head after so many steps on the part's own vectors."""
        self.run(self.part, lambda x: x, [], steps, lambda: None)
        return self.head.eval()

    def run(
        self,
        part: Part,
        network: Callable[[Tensor], Tensor],
        weights: list[Tensor],
        steps: int,
        done: Callable[[], None],
    ) -> None:
        """Optimises the head, and a network before it if its `weights` are given. done: is called after each step."""
        (a, rows), (b, _) = part.domain("a"), part.domain("b")
        assert isinstance(a, Classmates)
        rate, count = (NETWORK_RATE, NETWORK_TUNED) if weights else (RATE, TUNED)
        learning = [*self.head.parameters(), self.classes, *weights]
        optimiser = torch.optim.AdamW(learning, rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        self.head.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            for step in range(1, steps + 1):
                at = self.random.integers(len(rows), size=count)
                # any item of a and any of b of these classes: the draw's number makes it another one each time
                batch = (a.read(rows[at], step), b.read(rows[at], step))
                wanted = torch.from_numpy(self.labels[at])
                scores = [
                    SHARPNESS * normalize(self.head(network(x)), dim=1) @ normalize(self.classes, dim=1).T
                    for x in batch
                ]
                loss = torch.stack([cross_entropy(score, wanted) for score in scores]).sum()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                done()


@dataclass
class Extractor(Short):
    """From images to the vectors that a model was trained on. Kept in the run as features.safetensors.

    name: of the network. images: the specs of its input, by domain. tuned: the head behind it, and its own weights, if
    they were tuned. device: where they are computed; they come back to the processor.
    """

    name: FeatureName
    images: dict[Domain, ImageSpec]
    tuned: Tuned | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _network: Any = None

    def __call__(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Converts images in [-1, 1] to vectors, without gradients."""
        if self._network is None:
            network = _network(self.name, self.tuned.network if self.tuned else None)
            self._network = network.to(self.device) if isinstance(network, nn.Module) else network
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            found = self._network(x.to(self.device))
            return (self.tuned.head.to(self.device)(found) if self.tuned else found).cpu()

    def state(self) -> dict[str, Tensor]:
        """Returns all tuned weights."""
        return {f"extractor.{name}": value for name, value in _state(self.tuned).items()}


def _state(tuned: Tuned | None) -> dict[str, Tensor]:
    if tuned is None:
        return {}
    network = {f"{NETWORK}{name}": value for name, value in (tuned.network or {}).items()}
    return {**tuned.head.state_dict(), **network}


@dataclass(frozen=True)
class _About:
    """The metadata of features.safetensors."""

    name: FeatureName | None
    images: list[tuple[int, int, int]]


def save_extractor(run: Path, name: FeatureName | None, images: DataSpec, tuned: Tuned | None) -> None:
    """Writes features.safetensors into a run: what it takes to compute its vectors.

    Args:
        run: folder of the run.
        name: of the network; None for vectors that were made of no images.
        images: the specs of its input.
        tuned: the head, and the network's weights, if they were tuned.
    """
    specs = [spec for spec in (images.a, images.b) if isinstance(spec, ImageSpec)]
    about = {"name": name, "images": [[spec.height, spec.width, spec.channels] for spec in specs]}
    tensors = {name: value.contiguous() for name, value in _state(tuned).items()} or {"none": torch.zeros(1)}
    write_tensors(run / "features.safetensors", tensors, json.dumps(about))


def load_features(run: Path) -> tuple[Extractor | None, Tuned | None]:
    """Loads a run's extractor, if its vectors were made of images, and what was tuned, if something was.

    Raises UserError if the file is damaged.
    """
    path = run / "features.safetensors"
    if not os.path.exists(path):
        return None, None
    try:
        text, tensors = read_tensors(path)
        about = parse_json(text, str(path), _About)
        tuned = None
        if "none" not in tensors:
            network = {name.removeprefix(NETWORK): t for name, t in tensors.items() if name.startswith(NETWORK)}
            head = Head(tensors["layers.1.weight"].shape[1])
            head.load_state_dict({name: t for name, t in tensors.items() if not name.startswith(NETWORK)})
            tuned = Tuned(head.eval(), network or None)
        if about.name is None:
            return None, tuned
        a, b = (ImageSpec(*shape) for shape in about.images)
        return Extractor(about.name, {"a": a, "b": b}, tuned), tuned
    except (LookupError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is damaged ({str(error).splitlines()[0]})") from error
