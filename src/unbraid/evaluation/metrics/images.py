"""How far images are from each other, one by one and as sets.

Legend: n and m images, c channels, h height, w width, d size of a feature vector. Images have values in [-1, 1].
"""

import json
import warnings
from hashlib import sha256
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from unbraid.core.cache import remembered
from unbraid.core.types import UserError
from unbraid.nn.pretrained.perceptual import Vgg16

BATCH = 64
"""Images that go through a network at a time."""
FEATURES = "VGG16 relu4_3, mean over places"
"""What `features` gives. It goes with every Fréchet or kernel distance, which mean nothing without it."""

VERSION = 1
"""Counted up when the same images would give other features."""


def psnr(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Peak signal-to-noise ratio of each pair in decibels, over all channels: 10 log10(4 / mean squared difference).

    Infinite for equal images.
    """
    return 10 * (4 / (a.float() - b.float()).square().flatten(1).mean(1)).log10()


def rms_distance(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """100 times the root mean square difference of each pair, values taken to [0, 1]: 0 for equal images, at most 100.

    What Gonzalez-Garcia et al. 2018 (table 3) call Euclidean distance x 10^-2 is read so.
    """
    return 50 * (a.float() - b.float()).square().flatten(1).mean(1).sqrt()


def ssim(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Structural similarity of each pair, 1 for equal images, mean over channels.

    Wang, Bovik, Sheikh and Simoncelli 2004: a Gaussian window of 11 x 11 with a spread of 1.5, at the places where all
    of it lies in the image. Images smaller than 11 get a smaller window.
    """
    from pytorch_msssim import ssim as library

    def positive(x: Tensor) -> Tensor:
        """To [0, 1]: brightness is compared as a ratio, so nought must be black."""
        return (x.float() + 1) / 2

    side = min(11, *a.shape[2:])
    window = side - 1 + side % 2  # odd
    values = [
        library(positive(x), positive(y), data_range=1.0, size_average=False, win_size=window)
        for x, y in zip(a.split(BATCH), b.split(BATCH), strict=True)
    ]
    return torch.cat(values)


class Lpips(nn.Module):
    """LPIPS v0.1 on AlexNet (Zhang, Isola, Efros, Shechtman and Wang 2018), by the authors' package `lpips`.

    weights: AlexNet's convolutions, from `find_weights`. Loads nothing from anywhere else.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        # lpips calls torchvision in a way that it warns of, and makes random weights before it takes ours
        with warnings.catch_warnings(action="ignore"), torch.random.fork_rng(devices=[]):
            from lpips import LPIPS

            network = LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
        own = {name: value for name, value in network.state_dict().items() if not name.startswith("net.")}
        # net.slice2.3.weight is torchvision's features.3.weight
        layers = [name for name in network.state_dict() if name.startswith("net.")]
        found = {name: weights["features." + name.split(".", 2)[2]] for name in layers}
        network.load_state_dict(own | found)
        self.network = network.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """Distance of each pair, 0 for equal images, float32. Grey is taken for three equal channels.

        Images smaller than 32 are enlarged until the smaller side has 32, for AlexNet sees nothing smaller.
        """
        with torch.autocast(a.device.type, enabled=False):
            pairs = zip(a.split(BATCH), b.split(BATCH), strict=True)
            return torch.cat([self.network(_fitted(x), _fitted(y)).flatten() for x, y in pairs])

    @torch.no_grad()
    def among(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n n"]:
        """Distances of all pairs of a few images, each of which the network sees once."""
        with torch.autocast(images.device.type, enabled=False):
            maps = self.network.net(self.network.scaling_layer(_fitted(images)))
        total, heads = torch.zeros(len(images), len(images)), cast(Any, self.network.lins)
        for number, head in enumerate(heads):
            # weighted squares of differences are squared distances of vectors weighted by the root
            unit = functional.normalize(maps[number], dim=1) * head.model[-1].weight.sqrt()
            total += torch.cdist(unit.flatten(1), unit.flatten(1)).square() / unit[0, 0].numel()
        return total


def _fitted(x: Tensor) -> Tensor:
    """Colour, and large enough."""
    x = x.float().expand(-1, 3, -1, -1)
    if (side := min(x.shape[2:])) < 32:
        size = [round(length * 32 / side) for length in x.shape[2:]]
        x = functional.interpolate(x, size, mode="bilinear", antialias=True)
    return x


@torch.no_grad()
def features(vgg: Vgg16, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 512"]:
    """What sets of images are compared by, see FEATURES; float32. Images keep their size, which must be 32 or more."""
    return torch.cat([vgg(some, 4)[3].float().mean((2, 3)) for some in images.split(BATCH)])


def known_features(vgg: Vgg16, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 512"]:
    """`features` of images that will be seen again, kept in the cache folder."""
    digest = sha256(json.dumps([VERSION, FEATURES, images.shape]).encode())
    for tensor in (*vgg.buffers(), *images.split(BATCH)):
        digest.update(tensor.contiguous().numpy().tobytes())
    try:
        kept = remembered(f"vgg16-{digest.hexdigest()[:24]}", lambda: features(vgg, images).numpy())
    except UserError:  # nothing can be written there, and nothing needs to be
        return features(vgg, images)
    return torch.from_numpy(kept.copy())


def frechet_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> float:
    """Squared Fréchet distance of the normals fitted to two sets of feature vectors; 0 for equal sets.

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
    """Squared maximum mean discrepancy under the kernel (u.v / d + 1)^3, unbiased, so it may fall below 0; float64.

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
