"""The pretrained networks that images are compared by."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unbraid.core.config import PACKAGED, PerceptualConfig
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
from unbraid.nn.pretrained.perceptual import SMALLEST, Vgg16, find_weights

FEWEST = 8
"""Items that a distance of sets, or a correlation, needs at least."""


@dataclass(frozen=True)
class PerceptualNetworks:
    """LPIPS and VGG16, as far as their weights are there.

    lpips: None without weights. vgg: None without weights. remark: says what is not measured then, and why.
    """

    lpips: Lpips | None
    vgg: Vgg16 | None
    remark: str = ""

    @classmethod
    def find(cls, config: PerceptualConfig) -> "PerceptualNetworks":
        """Loads the networks that `config` names. Raises UserError if a file or a download that was asked for fails."""
        try:
            lpips = Lpips(find_weights("alexnet", config, "--perceptual"))
            return cls(lpips, Vgg16(find_weights("vgg16", config, "--perceptual")))
        except UserError as error:
            if config != PACKAGED:
                raise
            return cls(None, None, f"LPIPS, Fréchet and kernel distances are not measured. {error}")

    def pairs(self, generated: Tensor, true: Tensor) -> dict[str, float]:
        """Returns the mean LPIPS, PSNR and SSIM of images and their targets."""
        return {name: mean(values) for name, values in self.each(generated, true).items()}

    def each(self, generated: Tensor, true: Tensor) -> dict[str, Tensor]:
        """Returns LPIPS, PSNR and SSIM of each image and its target: (n,) each."""
        return {**self.looks(generated, true), "psnr": psnr(generated, true), "ssim": ssim(generated, true)}

    def looks(self, generated: Tensor, true: Tensor) -> dict[str, Tensor]:
        """Returns LPIPS of each image to its target, (n,); empty without weights, or for other than grey and colour."""
        if self.lpips is None or generated.shape[1] not in (1, 3):
            return {}
        return {"lpips": self.lpips(generated, true)}

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
        return {"frechet": frechet_distance(x, y), "kernel": kernel_distance(x, y)}


NO_NETWORKS = PerceptualNetworks(None, None)


def mean(values: Tensor) -> float:
    """Returns the figure that is given for so many images: their mean, infinite PSNR counted as 100."""
    return round(float(values.clamp(max=100).mean()), 4)
