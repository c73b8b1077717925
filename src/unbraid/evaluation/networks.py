"""The pretrained networks that images are compared by."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unbraid.core.config import PACKAGED, PerceptualConfig
from unbraid.core.short import Short
from unbraid.core.types import UserError
from unbraid.evaluation.metrics.images import (
    Lpips,
    features,
    frechet_distance,
    kernel_distance,
    known_features,
    psnr,
    ssim,
)
from unbraid.nn.pretrained.inception import Inception
from unbraid.nn.pretrained.perceptual import SMALLEST, Vgg16, find_weights

FEWEST = 8
"""Items that a distance of sets, or a correlation, needs at least."""
Images = Mapping[str, Tensor]
"""Images by name, (n, c, h, w) each."""


@dataclass(frozen=True)
class PerceptualNetworks(Short):
    """LPIPS and VGG16, as far as their weights are there.

    lpips: None without weights. vgg: None without weights. remark: says what is not measured then, and why.
    inception: None unless it was asked for.
    """

    lpips: Lpips | None
    vgg: Vgg16 | None
    remark: str = ""
    inception: Inception | None = None

    @classmethod
    def find(cls, config: PerceptualConfig, inception: str | None = None) -> "PerceptualNetworks":
        """Loads the networks that `config` names, and Inception from a file, see `Inception.find`, if there is one.

        Raises UserError if a file or a download that was asked for fails.
        """
        if inception is not None:
            return replace(cls.find(config), inception=Inception.find(inception))
        try:
            lpips = Lpips(find_weights("alexnet", config, "--perceptual"))
            return cls(lpips, Vgg16(find_weights("vgg16", config, "--perceptual")))
        except UserError as error:
            if config != PACKAGED:
                raise
            return cls(None, None, f"LPIPS, Fréchet and kernel distances are not measured. {error}")

    def to(self, device: torch.device) -> "PerceptualNetworks":
        """Returns the networks on a device."""
        lpips, vgg, inception = (
            None if network is None else network.to(device) for network in (self.lpips, self.vgg, self.inception)
        )
        return replace(self, lpips=lpips, vgg=vgg, inception=inception)

    def pairs(self, generated: Images, true: Tensor) -> dict[str, dict[str, float]]:
        """Returns the mean LPIPS, PSNR and SSIM of images, by name, to the same targets."""
        table = self.each(generated, true)
        return {name: {what: mean(values) for what, values in found.items()} for name, found in table.items()}

    def each(self, generated: Images, true: Tensor) -> dict[str, dict[str, Tensor]]:
        """Returns LPIPS, PSNR and SSIM of each image to its target, (n,) each, for images by name."""
        looks = self.looks(generated, true)
        return {name: {**looks[name], "psnr": psnr(x, true), "ssim": ssim(x, true)} for name, x in generated.items()}

    def looks(self, generated: Images, true: Tensor) -> dict[str, dict[str, Tensor]]:
        """Returns LPIPS of each image to its target, (n,), for images by name, which all have the same targets.

        Nothing without weights, or for other than grey and colour.
        """
        if self.lpips is None or true.shape[1] not in (1, 3):
            return {name: {} for name in generated}
        found = self.lpips.from_one(list(generated.values()), true)
        return {name: {"lpips": values} for name, values in zip(generated, found, strict=True)}

    def features(self, images: Tensor, real: bool = False) -> Tensor:
        """Returns the features that the protocol names, (n, d); those of real images are kept for the next model.

        (n, 0) without weights, and for images that VGG16 can't take.
        """
        if self.vgg is None or min(images.shape[2:]) < SMALLEST or images.shape[1] not in (1, 3):
            return torch.zeros(len(images), 0, device=images.device)
        return known_features(self.vgg, images) if real else features(self.vgg, images)

    def sets(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """Returns Fréchet and kernel distance of two sets of images by their features, (n, d) and (m, d).

        Empty without features, and for fewer than FEWEST images.
        """
        if min(len(x), len(y)) < FEWEST or not x.shape[1]:
            return {}
        x, y = x.cpu(), y.cpu()  # in float64, which not every device has
        return {"frechet": frechet_distance(x, y), "kernel": kernel_distance(x, y)}


NO_NETWORKS = PerceptualNetworks(None, None)


def mean(values: Tensor) -> float:
    """Returns the figure that is given for so many images: their mean, infinite PSNR counted as 100."""
    return round(float(values.clamp(max=100).mean()), 4)
