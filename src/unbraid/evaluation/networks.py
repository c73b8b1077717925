"""The pretrained networks that images are compared by."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

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
from unbraid.nn.pretrained.inception import BATCH, Inception
from unbraid.nn.pretrained.perceptual import SMALLEST, Vgg16, find_weights
from unbraid.nn.pretrained.teacher import Network, named_teacher

FEWEST = 8
"""Items that a distance of sets, or a correlation, needs at least."""
Images = Mapping[str, Tensor]
"""Images by name, (n, c, h, w) each."""


@dataclass(frozen=True)
class NamedNetwork(Short):
    """A pretrained network whose features sets of images are compared by, and its name."""

    name: str
    network: Network

    @classmethod
    def find(cls, name: str | None, config: PerceptualConfig) -> "NamedNetwork | None":
        """Returns the network of a name, see `named_teacher`, None for None; of a file the name is kept alone."""
        if name is None:
            return None
        known, at, file = name.partition("@")
        return cls(f"{known}{at}{Path(file).name}", named_teacher(name, config, "--features"))

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Returns features of images (n, c, h, w) in [-1, 1], (n, d), a few at a time."""
        return torch.cat([self.network(some) for some in images.split(BATCH)])


@dataclass(frozen=True)
class PerceptualNetworks(Short):
    """LPIPS and VGG16, as far as their weights are there.

    lpips: None without weights. vgg: None without weights. remark: says what is not measured then, and why.
    inception, features_of: None unless they were asked for.
    """

    lpips: Lpips | None
    vgg: Vgg16 | None
    remark: str = ""
    inception: Inception | None = None
    features_of: NamedNetwork | None = None

    @classmethod
    def find(
        cls, config: PerceptualConfig, inception: str | None = None, named: str | None = None
    ) -> "PerceptualNetworks":
        """Loads the networks that images are compared by.

        Args:
            config: Where the weights of AlexNet and VGG16 are.
            inception: File of Inception's, see `Inception.find`; None for no Inception.
            named: Name of another network, see `named_teacher`; None for none.

        Raises:
            UserError: A file or a download that was asked for fails.
        """
        if inception is not None or named is not None:
            asked = Inception.find(inception) if inception is not None else None
            return replace(cls.find(config), inception=asked, features_of=NamedNetwork.find(named, config))
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
        named = self.features_of and replace(self.features_of, network=self.features_of.network.to(device))
        return replace(self, lpips=lpips, vgg=vgg, inception=inception, features_of=named)

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
