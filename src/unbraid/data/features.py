"""Feature vectors in place of images: a network's, computed once and kept, and a head tuned on training classes.

Legend: n items, d size of a feature vector, c classes.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Float
from rich.console import Console
from rich.progress import Progress
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from unbraid.config import PACKAGED
from unbraid.data.arrays import ArrayImages
from unbraid.data.cache import CachedImages, cache_folder, mapped
from unbraid.data.classes import Classmates
from unbraid.data.config import FeatureName
from unbraid.data.parts import Chosen, Data, Items, LabelledPart, PairedPart, Part, Rows, UnpairedPart
from unbraid.files import write_atomically
from unbraid.types import DataSpec, Domain, ImageSpec, UserError, VectorSpec

VERSION = 1
"""Counted up when the same images would give other features."""
BATCH = 64
HIDDEN, SIZE = 512, 256
"""Of a head: its hidden layer, and what it gives."""
STEPS, TUNED, RATE = 400, 200, 1e-3
"""Steps that a head is tuned for, items of each domain in a step, and AdamW's rate at the beginning."""
SHARPNESS = 8.0
"""What cosines between items and classes are multiplied by."""


@dataclass(frozen=True)
class Vectors:
    """Vectors that lie in an array, perhaps on disk. array: (n, d) float32."""

    array: np.ndarray

    @property
    def spec(self) -> VectorSpec:
        """Their size."""
        return VectorSpec(self.array.shape[1])

    def __len__(self) -> int:
        return len(self.array)

    def read(self, rows: Rows, draw: int) -> Float[Tensor, "n d"]:
        """(len(rows), d); the same for every draw."""
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
        """(n, SIZE) float32."""
        return normalize(self.layers(x).float(), dim=1) * SIZE**0.5


@dataclass(frozen=True)
class Headed:
    """Vectors behind a head."""

    items: Items
    head: Head

    @property
    def spec(self) -> VectorSpec:
        """Their size."""
        return VectorSpec(SIZE)

    def __len__(self) -> int:
        return len(self.items)

    def read(self, rows: Rows, draw: int) -> Float[Tensor, "n d"]:
        """(len(rows), SIZE)."""
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            return self.head(self.items.read(rows, draw))


def extracted(data: Data, name: FeatureName) -> Data:
    """The same data with a network's features for images, in both domains.

    They are computed once for each set of pixels, in float32, and kept in the cache folder.
    Raises UserError if the network's weights are missing, or items are no stored images.
    """
    from unbraid.nn.teacher import NAMED

    made: dict[int, Items] = {}

    def vectors(items: Items) -> Items:
        if id(items) not in made:
            made[id(items)] = Vectors(_features(items, name))
        return made[id(items)]

    size = VectorSpec(NAMED[name])
    return replace(_with_items(data, vectors, size), images=data.spec)


def with_head(data: Data, tuned: bool, seed: int, run: Path | None, dry: bool = False) -> tuple[Data, Head | None]:
    """The data behind the head that lies in the run, or behind one that is tuned now, and that head; with neither
    wanted, the data as they are. dry: a head that learned nothing will do."""
    if not tuned:
        return data, None
    head = load_features(run)[1] if run else None
    head = head or tune(data.train, seed, 0 if dry else STEPS)
    return headed(data, head), head


def headed(data: Data, head: Head) -> Data:
    """The same data, every vector behind the head."""
    return _with_items(data, lambda items: Headed(items, head.eval()), VectorSpec(SIZE))


def unheaded(items: Items) -> Items:
    """The items as they were before `headed`."""
    return _deep(items, lambda inner: inner.items if isinstance(inner, Headed) else inner)


def _with_items(data: Data, change: Callable[[Items], Items], spec: VectorSpec) -> Data:
    def part(one: Part) -> Part:
        if isinstance(one, LabelledPart):
            return replace(one, x=_deep(one.x, change))
        assert isinstance(one, (PairedPart, UnpairedPart))
        return replace(one, a=_deep(one.a, change), b=_deep(one.b, change))

    train, val, test = (part(one) for one in (data.train, data.val, data.test))
    return replace(data, train=train, val=val, test=test, spec=replace(data.spec, a=spec, b=spec))


def _deep(items: Items, change: Callable[[Items], Items]) -> Items:
    """With the innermost items changed: those that others are chosen from."""
    if isinstance(items, (Chosen, Classmates)):
        return replace(items, items=_deep(items.items, change))
    return change(items)


def _features(items: Items, name: FeatureName) -> np.ndarray:
    """(n, d) float32, from the cache or computed now."""
    if not isinstance(items, (CachedImages, ArrayImages)):
        what = items.spec if isinstance(items.spec, VectorSpec) else "images that are drawn anew in each pass"
        raise UserError(f"--data.features {name} is for stored images; these are {what}: leave it out")
    digest = sha256(json.dumps([VERSION, name, items.array.shape, str(items.array.dtype), str(items.spec)]).encode())
    for start in range(0, len(items), 1024):
        digest.update(np.ascontiguousarray(items.array[start : start + 1024]).tobytes())
    folder = cache_folder() / "features"
    target = folder / f"{name}-{digest.hexdigest()[:24]}.npy"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.exists():
                array = _computed(items, name)
                write_atomically(target, lambda path: _save(path, array))
            return mapped(target)
    except OSError as error:
        raise UserError(
            f"The cache folder {folder} can't be written: {error.strerror or error}. "
            "Make room there, or name another folder in the environment variable UNBRAID_CACHE"
        ) from error


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _computed(items: Items, name: FeatureName) -> np.ndarray:
    from unbraid.nn.teacher import named_teacher

    network = named_teacher(name, PACKAGED, "--data.features")
    found: list[Tensor] = []
    with torch.no_grad(), Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{name} of {len(items)} images", total=len(items))
        for start in range(0, len(items), BATCH):
            found.append(network(items.read(np.arange(start, min(start + BATCH, len(items))), 0)))
            bar.update(task, completed=start + BATCH)
    return torch.cat(found).numpy()


def tune(part: Part, seed: int, steps: int = STEPS) -> Head:
    """A head that tells the classes of a training part apart, in both domains at once.

    Both domains go through the same layers and are compared with the same c class vectors by cosine: softmax of
    SHARPNESS times the cosines, cross entropy. So items of one class come together whichever domain they are of, and
    what only one domain shows counts less. Validation and test classes are never seen.
    """
    assert isinstance(part, PairedPart)
    assert isinstance(part.a, Classmates)
    assert part.labels is not None
    spec = part.a.spec
    assert isinstance(spec, VectorSpec)
    random = np.random.default_rng((seed, 5))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = Head(spec.size).train()
        present, labels = np.unique(part.labels[part.rows], return_inverse=True)
        classes = nn.Parameter(0.1 * torch.randn(len(present), SIZE))
        optimiser = torch.optim.AdamW([*head.parameters(), classes], RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for step in range(1, steps + 1):
            at = random.integers(len(part.rows), size=TUNED)
            # any item of a and any of b of these classes: the draw's number makes it another one each time
            batch = (part.a.read(part.rows[at], step), part.b.read(part.rows[at], step))
            wanted = torch.from_numpy(labels[at])
            scores = [SHARPNESS * normalize(head(x), dim=1) @ normalize(classes, dim=1).T for x in batch]
            loss = torch.stack([cross_entropy(score, wanted) for score in scores]).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return head.eval()


@dataclass
class Extractor:
    """From images to what a model of vectors was trained on. Kept in the run as features.safetensors.

    name: of the network. images: what it is given, for each domain. head: behind it, if one was tuned.
    """

    name: FeatureName
    images: dict[Domain, ImageSpec]
    head: Head | None = None
    _network: Any = None

    def __call__(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Images in [-1, 1] -> vectors, without gradients."""
        from unbraid.nn.teacher import named_teacher

        if self._network is None:
            self._network = named_teacher(self.name, PACKAGED, "--data.features")
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            found = self._network(x)
            return self.head(found) if self.head else found

    def state(self) -> dict[str, Tensor]:
        """The head's weights."""
        return {f"extractor.{name}": value for name, value in self.head.state_dict().items()} if self.head else {}


def save_extractor(run: Path, name: FeatureName | None, images: DataSpec, head: Head | None) -> None:
    """Writes features.safetensors into a run: what it takes to make its vectors again."""
    specs = [spec for spec in (images.a, images.b) if isinstance(spec, ImageSpec)]
    about = {"name": name, "images": [[spec.height, spec.width, spec.channels] for spec in specs]}
    tensors = {"none": torch.zeros(1)} if head is None else head.state_dict()
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    write_atomically(
        run / "features.safetensors", lambda path: save_file(tensors, path, {"unbraid": json.dumps(about)})
    )


def load_features(run: Path) -> tuple[Extractor | None, Head | None]:
    """What `save_extractor` wrote: the extractor, if the vectors were made of images, and the head, if there is one.

    Raises UserError if the file is damaged.
    """
    path = run / "features.safetensors"
    if not os.path.exists(path):
        return None, None
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["unbraid"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        head = None
        if "none" not in tensors:
            head = Head(tensors["layers.1.weight"].shape[1])
            head.load_state_dict(tensors)
            head.eval()
        if about["name"] is None:
            return None, head
        a, b = (ImageSpec(*shape) for shape in about["images"])
        return Extractor(about["name"], {"a": a, "b": b}, head), head
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{path} is damaged ({str(error).splitlines()[0]})") from error
