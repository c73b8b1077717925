"""How far images are from each other, one by one and as sets.

Legend: n and m images, c channels, h height, w width, d size of a feature vector. Images have values in [-1, 1].
"""

import importlib.util
import json
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from unbraid.core.kept import cached_array
from unbraid.core.types import UserError
from unbraid.nn.pretrained.perceptual import CONVOLUTIONS, Vgg16

BATCH = 64
"""Images that go through a network at a time."""
FEATURES = "VGG16 relu4_3, mean over places"
"""What `features` gives. It goes with every Fréchet or kernel distance, which mean nothing without it."""

ALEXNET = {0: (4, 2, False), 3: (1, 2, True), 6: (1, 1, True), 8: (1, 1, False), 10: (1, 1, False)}
"""AlexNet's convolutions by their place in torchvision's `features`: stride, padding, whether pooling comes before."""

VERSION = 1
"""Counted up when the same images would give other features."""


def psnr(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Returns the peak signal-to-noise ratio of each pair in decibels, over all channels: 10 log10(4 / mean squared
    difference).

    Infinite for equal images.
    """
    return 10 * (4 / (a.float() - b.float()).square().flatten(1).mean(1)).log10()


def rms_distance(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Returns 100 times the root mean square difference of each pair, values taken to [0, 1]: 0 for equal images, at
    most 100.

    What Gonzalez-Garcia et al. 2018 (table 3) call Euclidean distance x 10^-2 is read so.
    """
    return 50 * (a.float() - b.float()).square().flatten(1).mean(1).sqrt()


def ssim(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Returns the structural similarity of each pair, 1 for equal images: the mean over channels and places.

    Wang, Bovik, Sheikh and Simoncelli 2004, with their Gaussian window of 11 x 11 and a standard deviation of 1.5, at
    the places where all of it lies in the image. Images smaller than 11 get a smaller window.
    """
    side = min(11, *a.shape[2:])
    window = side - 1 + side % 2  # odd
    # brightness is compared as a ratio, so nought must be black: values are taken to [0, 1]
    pairs = zip(((a.float() + 1) / 2).split(BATCH), ((b.float() + 1) / 2).split(BATCH), strict=True)
    return torch.cat([_ssim(x, y, window) for x, y in pairs])


def _ssim(x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"], window: int) -> Float[Tensor, " n"]:
    """Equation 13 at every place, for images in [0, 1], with K1 = .01 and K2 = .03."""
    down, across = (_window_means(window, length, x.device) for length in x.shape[2:])

    def local(values: Tensor) -> Tensor:
        """Returns the mean around each place under the window (eq. 14)."""
        return down @ (values @ across.T)

    mean_x, mean_y = local(x), local(y)
    variance_x = local(x * x) - mean_x.square()
    variance_y = local(y * y) - mean_y.square()
    covariance = local(x * y) - mean_x * mean_y
    brightness = (2 * mean_x * mean_y + 0.01**2) / (mean_x.square() + mean_y.square() + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (variance_x + variance_y + 0.03**2)
    return (brightness * structure).flatten(1).mean(1)


def _window_means(window: int, length: int, device: torch.device) -> Float[Tensor, "places length"]:
    """Returns the matrix that takes a line to its means under a Gaussian window at each place.

    Up to 512 pixels a side, products with it are several times as fast as convolutions of one channel.
    """
    places = torch.arange(window, dtype=torch.float32, device=device) - window // 2
    gaussian = (-places.square() / (2 * 1.5**2)).exp()
    means = torch.zeros(length - window + 1, length, device=device)
    # row i begins i places after row 0: as one line, the diagonals are length + 1 apart
    means.as_strided((len(means), window), (length + 1, 1)).copy_(gaussian / gaussian.sum())
    return means


class Lpips(nn.Module):
    """LPIPS 0.1 on AlexNet (Zhang, Isola, Efros, Shechtman and Wang 2018).

    The weights of its channels, which the authors fitted to what people see, come from a file in the package
    torchmetrics. Everything is constant: no parameters, and nothing in `state_dict`.

    Args:
        weights: AlexNet's convolutions, from `find_weights`.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        for layer in CONVOLUTIONS["alexnet"]:
            for part in ("weight", "bias"):
                value = weights[f"features.{layer}.{part}"].detach().float()
                layout = torch.channels_last if value.ndim == 4 else torch.preserve_format
                value = value.to(memory_format=layout, copy=True)
                self.register_buffer(f"{part}{layer}", value, persistent=False)
        for number, head in enumerate(find_heads()):
            self.register_buffer(f"head{number}", head, persistent=False)
        # ImageNet's mean and standard deviation for images in [-1, 1], as the authors' program rounds them
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1), persistent=False)

    @torch.no_grad()
    def forward(self, a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """Returns the distance of each pair, 0 for equal images, float32. Grey is taken for three equal channels.

        Images smaller than 32 are enlarged until the smaller side has 32, for AlexNet sees nothing smaller.
        """
        return self.from_one([a], b)[0]

    @torch.no_grad()
    def from_one(
        self, generated: Sequence[Float[Tensor, "n c h w"]], true: Float[Tensor, "n c h w"]
    ) -> list[Float[Tensor, " n"]]:
        """Returns what `forward` does of several sets of images with the same targets, which the network sees once."""
        found: list[list[Tensor]] = [[] for _ in generated]
        with torch.autocast(true.device.type, enabled=False):
            size = BATCH * max(1, 64 * 64 // (true.shape[2] * true.shape[3]))  # each call arranges the weights anew
            for wanted, *some in zip(*(x.split(size) for x in (true, *generated)), strict=True):
                maps = self._maps(wanted)
                for each, x in zip(found, some, strict=True):
                    each.append(self._distances(self._maps(x), maps))
        return [torch.cat(each) for each in found]

    @torch.no_grad()
    def among(self, groups: Float[Tensor, "g n c h w"]) -> Float[Tensor, "g n n"]:
        """Returns the distances of all pairs in groups of a few images, each of which the network sees once."""
        count = groups.shape[1]
        with torch.autocast(groups.device.type, enabled=False):
            return torch.cat([self._among(some) for some in groups.split(max(1, BATCH // max(1, count)))])

    def _among(self, groups: Tensor) -> Tensor:
        total = torch.zeros(len(groups), groups.shape[1], groups.shape[1], device=groups.device)
        for number, unit in enumerate(self._maps(groups.flatten(0, 1))):
            # weighted squares of differences are squared distances of vectors weighted by the root
            weighted = (unit * self.get_buffer(f"head{number}").sqrt()).unflatten(0, groups.shape[:2])
            total += torch.cdist(weighted.flatten(2), weighted.flatten(2)).square() / weighted[0, 0, 0].numel()
        return total

    def _maps(self, x: Tensor) -> list[Tensor]:
        """AlexNet's maps after each of its five convolutions, a unit vector at each place."""
        x, maps = (_fitted(x) - self.shift) / self.scale, list[Tensor]()
        for layer, (stride, padding, pooled) in ALEXNET.items():
            x = functional.max_pool2d(x, 3, 2) if pooled else x
            kernel, bias = self.get_buffer(f"weight{layer}"), self.get_buffer(f"bias{layer}")
            x = functional.relu(functional.conv2d(x, kernel, bias, stride, padding))
            maps.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return maps

    def _distances(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Equation 1: differences of the unit vectors, squared, weighted by channel, averaged over places."""
        found = [
            ((x - y).square() * self.get_buffer(f"head{number}")).sum(1).mean((1, 2))
            for number, (x, y) in enumerate(zip(a, b, strict=True))
        ]
        return torch.stack(found).sum(0)


def find_heads() -> list[Float[Tensor, "_ 1 1"]]:
    """Returns the weights that LPIPS 0.1 gives the channels of AlexNet's five maps, from the package torchmetrics.

    Raises:
        UserError: the package or its file is missing or has other tensors.
    """
    advice = "Install it again: pip install --force-reinstall --no-deps torchmetrics"
    spec = importlib.util.find_spec("torchmetrics")  # found, not imported: that would take a second
    if spec is None or not spec.submodule_search_locations:
        raise UserError("LPIPS needs the package torchmetrics: pip install torchmetrics")
    path = Path(spec.submodule_search_locations[0], "functional", "image", "lpips_models", "alex.pth")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        heads = [found[f"lin{number}.model.1.weight"].float()[0] for number in range(len(ALEXNET))]
    except Exception as error:  # torch raises many kinds for a file that holds something else
        raise UserError(f"{path} does not hold the weights of LPIPS ({type(error).__name__}). {advice}") from error
    channels = [out for out, _, _ in CONVOLUTIONS["alexnet"].values()]
    if [tuple(head.shape) for head in heads] != [(count, 1, 1) for count in channels]:
        raise UserError(f"{path} holds weights for other channels than AlexNet's {channels}. {advice}")
    return heads


def _fitted(x: Tensor) -> Tensor:
    """Colour, and large enough."""
    x = x.float().expand(-1, 3, -1, -1)
    if (side := min(x.shape[2:])) < 32:
        size = [round(length * 32 / side) for length in x.shape[2:]]
        x = functional.interpolate(x, size, mode="bilinear", antialias=True)
    return x


@torch.no_grad()
def features(vgg: Vgg16, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 512"]:
    """Returns the features that sets of images are compared by, see FEATURES, (n, 512) float32.

    images: at least 32 pixels a side; they keep their size.
    """
    return torch.cat([vgg(some, 4)[3].float().mean((2, 3)) for some in images.split(BATCH)])


def known_features(vgg: Vgg16, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 512"]:
    """Returns `features` of images that will be seen again, kept in the cache folder."""
    digest = _digest(vgg, tuple(images.shape), tuple(buffer._version for buffer in vgg.buffers())).copy()
    for some in images.split(BATCH):
        digest.update(some.cpu().contiguous().numpy().data)
    try:
        kept = cached_array(f"vgg16-{digest.hexdigest()[:24]}", lambda: features(vgg, images).cpu().numpy())
    except UserError:  # nothing can be written there, and nothing needs to be
        return features(vgg, images)
    return torch.from_numpy(kept.copy()).to(images.device)


@lru_cache(maxsize=4)
def _digest(vgg: Vgg16, shape: tuple[int, ...], versions: tuple[int, ...]) -> Any:
    """Returns the beginning of a digest of images of this shape and the network, whose buffers have these versions."""
    digest = sha256(json.dumps([VERSION, FEATURES, shape]).encode())
    for buffer in vgg.buffers():
        digest.update(buffer.cpu().contiguous().numpy().data)
    return digest


def frechet_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> float:
    """Returns the squared Fréchet distance of the normals fitted to two sets of feature vectors; 0 for equal sets.

    |mean_x - mean_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)) (Heusel et al. 2017, eq. 6), in float64. It is too large for
    small sets: compare figures of equal n and m only, both well above d. Raises ValueError for fewer than two vectors.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"a Fréchet distance needs two vectors on each side, not {len(x)} and {len(y)}")
    x, y = x.double(), y.double()
    a, b = x.T.cov().view(x.shape[1], -1), y.T.cov().view(y.shape[1], -1)
    values, vectors = torch.linalg.eigh(a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # C_x C_y has the eigenvalues of the symmetric R C_y R, R being the root of C_x
    cross = torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()
    distance = (x.mean(0) - y.mean(0)).square().sum() + a.trace() + b.trace() - 2 * cross
    return max(0.0, distance.item())


def kernel_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> float:
    """Returns squared maximum mean discrepancy under the kernel (u.v / d + 1)^3, unbiased, so it may fall below 0;
    float64.

    Bińkowski, Sutherland, Arbel and Gretton 2018 (their KID, on other features); over the sets as they are, where
    other programs average over subsets. Raises ValueError for fewer than two vectors.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"a kernel distance needs two vectors on each side, not {len(x)} and {len(y)}")
    x, y = x.double(), y.double()
    n, m = len(x), len(y)
    own_x = (_kernel_sum(x, x) - _kernel(x.square().sum(1), x.shape[1]).sum()) / (n * (n - 1))
    own_y = (_kernel_sum(y, y) - _kernel(y.square().sum(1), y.shape[1]).sum()) / (m * (m - 1))
    return (own_x + own_y - 2 * _kernel_sum(x, y) / (n * m)).item()


def _kernel(products: Tensor, d: int) -> Tensor:
    return (products / d + 1) ** 3


def _kernel_sum(x: Tensor, y: Tensor) -> Tensor:
    """Over all pairs, a block at a time."""
    return torch.stack([_kernel(some @ y.T, x.shape[1]).sum() for some in x.split(1024)]).sum()
