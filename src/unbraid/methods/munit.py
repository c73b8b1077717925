"""MUNIT [1]: translation between two unpaired domains by a content code that they share and a style code of each.

An image is taken apart into a content code, a map, and a style code, a few numbers with a normal prior. Its decoder
makes it again; the decoder of the other domain, given a drawn style, translates it. Both codes should come back from a
translation, which should pass the discriminators of its domain.

[1] X. Huang, M.-Y. Liu, S. Belongie, J. Kautz: Multimodal Unsupervised Image-to-Image Translation. ECCV 2018.

Legend: n items, c channels, h height, w width, d size of a style code, k channels of a content code, 4 * width. x_1,
x_2 are items of domains a and b, (c_1, s_1) and (c_2, s_2) their codes; E, G, D are encoders, decoders, discriminators.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, l1_loss, relu
from torch.optim import Adam, Optimizer

from unbraid.core.bounds import Positive, Size, Weight
from unbraid.core.method import SMALL_NOTE, Clock, Method, Terms, Update, small_images
from unbraid.core.types import DOMAINS, Codes, DataSpec, Domain, ImageSpec, Unpaired, other
from unbraid.nn.blocks import FitSize, UpConv, down, draw_normal
from unbraid.nn.functional import adain, least_squares
from unbraid.nn.residual import HALVINGS, both_images, check_same_shape, detach_blank, halvings, residual_blocks

BETAS = (0.5, 0.999)


@dataclass(frozen=True)
class MUNITConfig:
    """Settings of MUNIT. Defaults are the paper's, except for the deviations in docs/methods/munit.md."""

    width: Size = 64
    """Channels of maps at full size; those at a quarter of the size, and content codes, have four times as many."""
    blocks: Size = 4
    """Number of residual blocks of each content encoder, and of each decoder."""
    style: Size = 8
    """Size of a style code."""
    hidden: Size = 256
    """Size of both hidden layers of the network from style codes to the parameters of AdaIN."""
    discriminator_width: Size = 64
    """Channels of the discriminators' first map."""
    scales: Size = 3
    """Number of sizes at which discriminators see an image, each half of the one before."""
    reconstruction: Weight = 10.0
    """lambda_x of eq. 5: weight of eq. 1."""
    content: Weight = 1.0
    """lambda_c of eq. 5: weight of eq. 2."""
    styles: Weight = 1.0
    """lambda_s of eq. 5: weight of eq. 3."""
    adversarial: Weight = 1.0
    """Weight of eq. 4."""
    cycle: Weight = 0.0
    """Weight of the style-augmented cycle consistency (section 4): an item translated with a drawn style, and back with
    its own, should be itself. The program uses 10 for some sets."""
    rate: Positive = 1e-4
    """Adam's learning rate."""
    decay: Weight = 1e-4
    """Weight decay."""
    halved: Size = 100_000
    """Number of steps after which the learning rates are halved, again and again."""


SMALL_IMAGES = MUNITConfig(width=24, blocks=3, hidden=128, discriminator_width=32, rate=5e-4)
"""For images of up to 128 px."""


class StyleEncoder(nn.Module):
    """E^s: convolutions without norm, global average pooling, a fully connected layer: (n, c, h, w) -> (n, d)."""

    def __init__(self, spec: ImageSpec, config: MUNITConfig) -> None:
        super().__init__()
        count = min(4, int(math.log2(min(spec.height, spec.width))) - 1)
        widths = [config.width * min(4, 2**number) for number in range(count + 1)]
        layers: list[nn.Module] = [nn.Conv2d(spec.channels, config.width, 7, 1, 3, padding_mode="reflect"), nn.ReLU()]
        for channels, width in pairwise(widths):
            layers += [nn.Conv2d(channels, width, 4, 2, 1, padding_mode="reflect"), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers)
        self.last = nn.Linear(widths[-1], config.style)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Returns style codes, float32."""
        return self.last(self.body(x).mean((2, 3))).float()


class StyledBlock(nn.Module):
    """Residual block whose norms are AdaIN, with scale and shift from the style code.

    Shape: (n, k, h, w), (n, 4 * k) -> (n, k, h, w).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=False) for _ in range(2)
        )

    def forward(self, x: Float[Tensor, "n k h w"], parameters: Float[Tensor, "n _"]) -> Float[Tensor, "n k h w"]:
        """Applies the block."""
        shift, scale, second_shift, second_scale = parameters.chunk(4, 1)
        inner = relu(adain(self.convs[0](x), scale, shift))
        return x + adain(self.convs[1](inner), second_scale, second_shift)


class Decoder(nn.Module):
    """G: residual blocks with AdaIN, upsampling with layer norm, a last convolution and tanh."""

    def __init__(self, spec: ImageSpec, config: MUNITConfig) -> None:
        super().__init__()
        deep, width = 4 * config.width, config.width
        self.size = FitSize(spec.height, spec.width, HALVINGS)
        self.blocks = nn.ModuleList(StyledBlock(deep) for _ in range(config.blocks))
        self.parameters_of = nn.Sequential(
            nn.Linear(config.style, config.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(config.hidden, 4 * deep * config.blocks),
        )
        self.end = nn.Sequential(
            *(
                nn.Sequential(UpConv(i, o), nn.GroupNorm(1, o), nn.ReLU(inplace=True))  # one group is layer norm
                for i, o in ((deep, 2 * width), (2 * width, width))
            ),
            nn.Conv2d(width, spec.channels, 7, padding=3, padding_mode="reflect"),
        )

    def forward(self, content: Float[Tensor, "n k _ _"], style: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """Returns images in [-1, 1], float32."""
        x = content
        for block, parameters in zip(self.blocks, self.parameters_of(style).chunk(len(self.blocks), 1), strict=True):
            x = block(x, parameters)
        result = detach_blank(self.end(x), content)
        return self.size.crop(torch.tanh(result.float()))


class ScaleDiscriminator(nn.Module):
    """D: convolutions of stride 2 without norm, with leaky ReLU, and a score for each patch, at each scale."""

    def __init__(self, spec: ImageSpec, config: MUNITConfig) -> None:
        super().__init__()
        count = discriminator_halvings(spec, config.scales)
        widths = [spec.channels, *(config.discriminator_width * 2 ** min(i, 3) for i in range(count))]
        self.scales = nn.ModuleList(
            nn.Sequential(
                *(down(i, o, norm=False) for i, o in pairwise(widths)),
                nn.Conv2d(widths[-1], 1, 1),
            )
            for _ in range(config.scales)
        ).apply(draw_normal)

    def forward(self, x: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n 1 _ _"]]:
        """Returns the scores of each scale, the finest first, float32."""
        scores = []
        for network in self.scales:
            scores.append(network(x).float())
            x = avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        return scores


class MUNIT(Method[Unpaired]):
    """MUNIT [1]. Trains on two unpaired domains of images of one size; translates and disentangles.

    The shared code is the content code, (n, k, h/4, w/4), the exclusive code the style code, (n, d).

    Example:
        >>> spec = DataSpec(ImageSpec(16, 16, 3), ImageSpec(16, 16, 1))
        >>> model = MUNIT(spec, MUNITConfig(width=4, hidden=8)).eval()
        >>> codes = model.encode(torch.zeros(2, 3, 16, 16), "a")
        >>> tuple(codes.shared.shape), tuple(codes.exclusive.shape)
        ((2, 16, 4, 4), (2, 8))
    """

    needs = Unpaired
    config_type = MUNITConfig
    config: MUNITConfig
    training_only = ("discriminators",)

    def __init__(self, spec: DataSpec, config: MUNITConfig) -> None:
        super().__init__(spec, config)
        check_same_shape("munit", spec)
        sides = both_images("munit", spec)
        self.size = FitSize(sides["a"].height, sides["a"].width, HALVINGS)
        self.content_encoders, self.style_encoders = nn.ModuleDict(), nn.ModuleDict()
        self.decoders, self.discriminators = nn.ModuleDict(), nn.ModuleDict()
        for domain, side in sides.items():
            self.content_encoders[domain] = nn.Sequential(
                halvings(side.channels, config.width), residual_blocks(4 * config.width, config.blocks)
            )
            self.style_encoders[domain] = StyleEncoder(side, config)
            self.decoders[domain] = Decoder(side, config)
            self.discriminators[domain] = ScaleDiscriminator(side, config)
        for networks in (self.content_encoders, self.style_encoders, self.decoders):
            networks.apply(draw_kaiming)

    @classmethod
    def default_config(cls, spec: DataSpec) -> tuple[MUNITConfig, list[str]]:
        """Returns smaller networks for small images."""
        return (SMALL_IMAGES, [SMALL_NOTE]) if small_images(spec) else (MUNITConfig(), [])

    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        """Returns Adam with rate 1e-4, betas .5, .999 and weight decay 1e-4 for each player (appendix B)."""
        config = self.config
        coders = [self.content_encoders, self.style_encoders, self.decoders]
        players = {"coders": nn.ModuleList(coders), "discriminators": self.discriminators}
        return {
            name: Adam(module.parameters(), config.rate, BETAS, weight_decay=config.decay, fused=True)
            for name, module in players.items()
        }

    def rate_factor(self, stage: str, clock: Clock) -> float:
        """Returns 1/2 to the number of times that `halved` steps have passed (appendix B)."""
        return 0.5 ** (clock.step // self.config.halved)

    def updates(self, batches: Iterator[Unpaired], clock: Clock) -> Iterator[Update]:
        """Performs two turns: encoders and decoders minimise eq. 5, then discriminators maximise it, with least squares
        for eq. 4."""
        c, batch = self.config, next(batches)
        codes = {domain: self.encode(batch[domain], domain) for domain in DOMAINS}
        drawn = {domain: torch.randn_like(codes[domain].exclusive) for domain in DOMAINS}
        translated: dict[Domain, Tensor] = {}
        terms: Terms = {}
        for domain in DOMAINS:
            own, content = codes[domain], codes[other(domain)].shared
            both = torch.cat([own.shared, content]), torch.cat([own.exclusive, drawn[domain]])
            reconstructed, translated[domain] = self.decoders[domain](*both).split([len(own.shared), len(content)])
            terms[f"reconstruction_{domain}"] = c.reconstruction * l1_loss(reconstructed, batch[domain])  # eq. 1
        for domain in DOMAINS:
            found, content = self.encode(translated[domain], domain), codes[other(domain)].shared
            terms[f"content_{domain}"] = c.content * l1_loss(found.shared, content)  # eq. 2
            terms[f"style_{domain}"] = c.styles * l1_loss(found.exclusive, drawn[domain])  # eq. 3
            if c.cycle:
                source = other(domain)
                back = self.decoders[source](found.shared, codes[source].exclusive)
                terms[f"cycle_{source}"] = c.cycle * l1_loss(back, batch[source])  # section 4
            scores = self.discriminators[domain](translated[domain])
            terms[f"generator_{domain}"] = c.adversarial * _least_squares(scores, 1.0)  # eq. 4
        yield {"coders": terms}
        losses: Terms = {}
        for domain in DOMAINS:
            real = self.discriminators[domain](batch[domain])
            generated = self.discriminators[domain](translated[domain].detach())
            losses[f"discriminator_{domain}"] = _least_squares(real, 1.0) + _least_squares(generated, 0.0)
        yield {"discriminators": losses}

    def encode(self, x: Tensor, domain: Domain) -> Codes:
        """Returns content and style codes of items, (n, *spec[domain].shape)."""
        content = detach_blank(self.content_encoders[domain](self.size.pad(x)), x).float()
        return Codes(content, self.style_encoders[domain](x))

    def decode(self, codes: Codes, domain: Domain) -> Tensor:
        """Returns the items of a domain with these codes, (n, *spec[domain].shape)."""
        return self.decoders[domain](codes.shared, codes.exclusive)

    def prior(self, n: int, domain: Domain, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Draws style codes from N(0, I). See `Disentangler.prior`."""
        return torch.randn(n, self.config.style, generator=generator, device=generator.device)

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        """Decodes the content of x with a given or drawn style. See `Translator.translate`."""
        content = detach_blank(self.content_encoders[src](self.size.pad(x)), x).float()
        style = content.new_empty(len(x), self.config.style).normal_() if style is None else style
        return self.decoders[dst](content, style)


def draw_kaiming(module: nn.Module) -> None:
    """Initialises weights as in He et al. 2015, for `nn.Module.apply`; biases are 0."""
    if isinstance(module, (nn.Conv2d, UpConv, nn.Linear)):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def discriminator_halvings(spec: ImageSpec, scales: int) -> int:
    """Returns the number of layers of stride 2: the paper's four, or as many as leave two places at the coarsest
    scale, and one at least."""
    coarsest = min(spec.height, spec.width) / 2 ** (scales - 1)
    return max(1, min(4, int(math.log2(coarsest)) - 1))


def _least_squares(scores: list[Tensor], target: float) -> Float[Tensor, ""]:
    """Returns the sum over scales of the mean of (scores - target)^2."""
    return torch.stack([least_squares(some, target) for some in scores]).sum()
