"""Translation networks at full resolution: two layers of stride 2, residual blocks, two layers of upsampling.

The architecture is that of Johnson, Alahi and Fei-Fei 2016 as CycleGAN (Zhu et al. 2017, appendix 7.2) uses it:
instance norm, reflection padding. Convolutions before an instance norm have no bias, which the norm would remove.

Shape legend: n images, c channels, h height, w width; `width` is the number of channels at full size; maps at a quarter
of the size have 4 * width.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unbraid.core.types import DataSpec, Domain, ImageSpec, UserError, VectorSpec
from unbraid.nn.blocks import FitSize, InstanceNorm, Upsampling, doubling, group_norm

HALVINGS = 2
BLANK = 1e-8
"""Variance below which a channel counts as constant. At 64 px one pixel off by one of 256 grey levels gives more."""
UNCHANGED = 0.003
"""Mean difference, in a range from -1 to 1, below which an image counts as unchanged: less than a grey level of 256."""
SMALLEST = 8
"""Smallest height and width of images: a map of one place has no variance to normalise by."""
GROUP = 8
"""Channels per group of group norm."""

Norm = Literal["instance", "group"]
"""Normalisation of maps. instance: each channel by itself, as in CycleGAN, which removes what is constant over an
image, such as the colour of a uniform one. group: GROUP channels together (Wu and He 2018), which keeps it."""


class GroupNorm(nn.Module):
    """Group normalisation without scale and shift, with GROUP channels per group, or one group if indivisible."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Normalises the groups of each image."""
        channels = x.shape[1]
        return group_norm(x, channels // GROUP if channels % GROUP == 0 else 1)


NORMS: dict[Norm, type[nn.Module]] = {"instance": InstanceNorm, "group": GroupNorm}


def _padded_conv(channels: int, width: int, kernel: int, stride: int, norm: Norm) -> nn.Conv2d:
    """Builds a convolution with reflection padding that precedes a norm; before instance norm it has no bias."""
    bias = norm != "instance"
    return nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=bias, padding_mode="reflect")


def _conv_norm(channels: int, width: int, kernel: int, stride: int = 1, norm: Norm = "instance") -> nn.Sequential:
    """Builds a convolution with reflection padding, a norm and ReLU, (n, channels, h, w) -> (n, width, h/s, w/s)."""
    conv = _padded_conv(channels, width, kernel, stride, norm)
    return nn.Sequential(conv, NORMS[norm](), nn.ReLU(inplace=True))


def halvings(channels: int, width: int, norm: Norm = "instance") -> nn.Sequential:
    """Builds the first layers: a 7x7 convolution and two 3x3 convolutions of stride 2.

    Shape: (n, channels, h, w) -> (n, 4 * width, h/4, w/4).

    Args:
        channels: Channels of the input.
        width: Channels at full size.
        norm: Normalisation.
    """
    return nn.Sequential(
        _conv_norm(channels, width, 7, 1, norm),
        _conv_norm(width, 2 * width, 3, 2, norm),
        _conv_norm(2 * width, 4 * width, 3, 2, norm),
    )


def doublings(
    channels: int, width: int, out: int, upsampling: Upsampling = "transposed", norm: Norm = "instance"
) -> nn.Sequential:
    """Builds the last layers: two of upsampling and a 7x7 convolution, (n, channels, h, w) -> (n, out, 4h, 4w).

    See `halvings`.
    """

    def double(channels: int, width: int) -> nn.Sequential:
        up = doubling(channels, width, upsampling, kernel=3, bias=norm != "instance")
        return nn.Sequential(up, NORMS[norm](), nn.ReLU(inplace=True))

    last = nn.Conv2d(width, out, 7, padding=3, padding_mode="reflect")
    return nn.Sequential(double(channels, 2 * width), double(2 * width, width), last)


def detach_blank(result: Tensor, x: Float[Tensor, "n c h w"], norm: Norm = "instance") -> Tensor:
    """Detaches those results whose images or maps are constant in all channels, or zero before group norm.

    Their results are constant too, and each norm would scale their gradient up to 300 times: one such image among
    thousands ended a run with NaNs.

    Args:
        made: Results of x, (n, ...).
        x: Images or maps, (n, c, h, w).
        norm: Normalisation of the network that computed them.

    Returns:
        The results, of which some have no gradient.
    """
    places = x.detach().flatten(2)
    power = places.var(2, correction=0) if norm == "instance" else places.square().mean(2)
    blank = power.amax(1) < BLANK
    return torch.where(blank[:, None, None, None], result.detach(), result)


def with_channels(x: Float[Tensor, "n _ h w"], channels: int) -> Float[Tensor, "n {channels} h w"]:
    """Returns images with as many channels: themselves, or their mean over channels in each."""
    return x if x.shape[1] == channels else x.mean(1, keepdim=True).expand(-1, channels, -1, -1)


def drawn(result: Float[Tensor, "n _ h w"], x: Float[Tensor, "n _ h w"], mask: bool) -> Float[Tensor, "n _ h w"]:
    """Returns the image that a network draws of x: tanh of its result, (n, c, h, w).

    With a mask, (n, c + 1, h, w) -> (n, c, h, w): m x + (1 - m) tanh(result), where m, the sigmoid of the last channel,
    is the share of x that stays (Pumarola et al. 2018, eq. 1; there between a face and one with another expression).

    Args:
        result: What the last convolution gives.
        x: The network's input; with other channels than the result, its mean over channels.
        mask: Whether the last channel is a mask.
    """
    if not mask:
        return torch.tanh(result)
    new, share = torch.tanh(result[:, :-1]), torch.sigmoid(result[:, -1:])
    return share * with_channels(x.float(), new.shape[1]) + (1 - share) * new


def change(generated: Float[Tensor, "n c h w"], x: Float[Tensor, "n _ h w"]) -> Float[Tensor, ""]:
    """Returns the mean absolute difference of images to those that they were generated from, without gradient."""
    return (generated.detach() - with_channels(x, generated.shape[1])).abs().mean()


def warn_unchanged(diagnostics: Mapping[str, float], lower: str) -> list[str]:
    """Returns a warning for each domain whose generated images are the network's inputs: with a mask that keeps
    everything, a network has no gradient left.

    Args:
        diagnostics: With `change` as "change to DOMAIN".
        lower: The flag of the weight that is too high.
    """
    return [
        f"images generated for domain {name[-1]} are their inputs, unchanged: what keeps them outweighs the "
        f"discriminator. In another run folder, lower {lower}, or add --method.no-mask"
        for name, value in diagnostics.items()
        if name.startswith("change to ") and value < UNCHANGED
    ]


class ResidualBlock(nn.Module):
    """Residual block: x + norm(conv(relu(norm(conv(x))))) with 3x3 convolutions.

    Shape: (n, width, h, w) -> (n, width, h, w).
    """

    def __init__(self, width: int, norm: Norm = "instance") -> None:
        super().__init__()
        last = _padded_conv(width, width, 3, 1, norm)
        self.body = nn.Sequential(_conv_norm(width, width, 3, 1, norm), last, NORMS[norm]())

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Applies the block."""
        return x + self.body(x)


def residual_blocks(width: int, count: int, norm: Norm = "instance") -> nn.Sequential:
    """Builds a sequence of `count` residual blocks. See `halvings`."""
    return nn.Sequential(*[ResidualBlock(width, norm) for _ in range(count)])


class ResidualTranslator(nn.Module):
    """CycleGAN's generator: images to images of the same size, which is at least SMALLEST.

    Args:
        spec: Specification of the input images.
        channels: Channels of the output.
        width: Channels of maps at full size.
        blocks: Number of residual blocks.
        upsampling: Kind of upsampling.
        norm: Normalisation.
        mask: Whether the network predicts beside an image which places of the input it keeps; see `drawn`.
    """

    def __init__(
        self,
        spec: ImageSpec,
        channels: int,
        width: int,
        blocks: int,
        upsampling: Upsampling = "transposed",
        norm: Norm = "instance",
        mask: bool = False,
    ) -> None:
        super().__init__()
        self.mask = mask
        self.size = FitSize(spec.height, spec.width, HALVINGS)
        self.norm: Norm = norm
        self.body = nn.Sequential(
            halvings(spec.channels, width, norm),
            residual_blocks(4 * width, blocks, norm),
            doublings(4 * width, width, channels + mask, upsampling, norm),
        )

    def forward(self, x: Float[Tensor, "n _ h w"]) -> Float[Tensor, "n _ h w"]:
        """Translates images, (n, spec.channels, h, w) -> (n, channels, h, w) in [-1, 1], float32."""
        result = detach_blank(self.body(self.size.pad(x)), x, self.norm)
        return drawn(self.size.crop(result.float()), x, self.mask)


class VectorTranslator(nn.Module):
    """Fully connected counterpart for vectors, with one hidden layer and ReLU.

    Args:
        size: Size of the input.
        hidden: Size of the hidden layer; 0 makes the network linear.
        out: Size of the output.
    """

    def __init__(self, size: int, hidden: int, out: int) -> None:
        super().__init__()
        self.first = nn.Linear(size, hidden) if hidden else None
        self.last = nn.Linear(hidden or size, out)

    def forward(self, x: Float[Tensor, "n _"]) -> Float[Tensor, "n _"]:
        """Translates vectors, (n, size) -> (n, out), float32."""
        return self.last(x if self.first is None else torch.relu(self.first(x))).float()


def both_images(name: str, spec: DataSpec) -> dict[Domain, ImageSpec]:
    """Returns the specification of each domain. Raises UserError unless both are images of one size."""
    a, b = spec.a, spec.b
    if not (isinstance(a, ImageSpec) and isinstance(b, ImageSpec)):
        raise UserError(f"{name} works on images; found {a} and {b}")
    if (a.height, a.width) != (b.height, b.width):
        raise UserError(f"{name} needs images of one size in both domains; found {a} and {b}. Give --data.size H W")
    return {"a": a, "b": b}


def check_same_shape(name: str, spec: DataSpec) -> None:
    """Checks that both domains are vectors, or images of one size, at least SMALLEST. Raises UserError."""
    a, b = spec.a, spec.b
    if isinstance(a, VectorSpec) and isinstance(b, VectorSpec):
        return
    if isinstance(a, VectorSpec) != isinstance(b, VectorSpec):
        raise UserError(f"{name} needs two domains of one kind; found {a} and {b}")
    a = both_images(name, spec)["a"]
    if min(a.height, a.width) < SMALLEST:
        raise UserError(f"{name} needs images of at least {SMALLEST} x {SMALLEST}; found {a}. Give --data.size H W")
