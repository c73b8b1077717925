"""IIAE: interaction information auto-encoder (Hwang, Kim, Hong and Kim, NeurIPS 2020) [1].

Two paired domains. A variational auto-encoder with three codes: an `exclusive` one for each domain, and a `shared` one,
inferred from the pair by q(z_s|x, y) and from one image by r_x(z_s|x) and r_y(z_s|y). One player with one Adam, and a
second one if discriminators are enabled, which the paper does not have.

Legend: x is the image of domain a, y that of domain b; z_s is (n, c, h, w) if it is a map, (n, d) otherwise; z_x and
z_y are (n, 8). B is `beta`, L is `beta * lam`, k the annealing.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from unbraid.core.bounds import Positive, Share, Shares, Size, Sizes, Weight
from unbraid.core.config import PerceptualConfig
from unbraid.core.files import Json
from unbraid.core.method import SMALL_NOTE, Clock, Method, Terms, Update, small_images
from unbraid.core.types import DOMAINS, Codes, DataSpec, Domain, ImageSpec, Paired, Spec, UserError, VectorSpec
from unbraid.nn.blocks import FitSize, Initial, dense, dense_stack, down, down_stack, draw_normal, halvings, up
from unbraid.nn.functional import bounded_log_variance, kl_normal, reparameterise, tile
from unbraid.nn.patch import LEAST, PatchDiscriminator, discriminator_loss, generator_loss, patch_halvings
from unbraid.nn.pretrained.perceptual_term import PerceptualTerm, check_perceptual, perceptual_if_possible


@dataclass(frozen=True)
class IIAEConfig:
    """Settings of IIAE. Defaults are the paper's networks and its weights for maps."""

    code: Literal["spatial", "flat"] = "spatial"
    """Shared code of images: a map (spatial), or a vector (flat, the paper's networks for cars)."""
    widths: Sizes = (32, 64, 128, 256)
    """Channels of the encoders' convolutions, each of stride 2. Small images use the first of them."""
    decoder_widths: Sizes = (512, 256, 128, 64)
    """Channels of the decoder's transposed convolutions, one for each of `widths`. Small images use the last of
    them."""
    map_size: Size = 8
    """Smallest height or width of a map; the paper's networks reach 8 at 256 px."""
    shared: Size = 128
    """Channels of the shared map, or size of a flat shared code; 64 for vectors in the paper."""
    exclusive: Size = 8
    """Size of an exclusive code; 64 for vectors in the paper."""
    dense_width: Size = 256
    """Size of the encoders' fully connected layer before a flat code, and channels of the convolution before it."""
    vector_widths: Sizes = (512, 256)
    """Sizes of the hidden layers of the encoders of feature vectors. The paper's third layer, of 128, is the output: 64
    means and 64 log-variances."""
    vector_decoder_width: Size = 128
    """Size of the hidden layer of the decoder of feature vectors."""
    dropout: Shares = (0.5, 0.5, 0.0, 0.0)
    """Dropout after each of the decoder's upsampling layers for 256 px, of which small images use the last; 0 for
    layers beyond its entries. With a flat code the layer before them has the dropout of the first."""
    initial: Initial = "normal"
    """Weight initialisation. With PyTorch's, tanh saturates at black where images are mostly white."""
    beta: Weight = 0.02
    """B: weight of the ELBO (eq. 4) against the information terms (eq. 11), and of each KL divergence to a prior."""
    lam: Weight = 50.0
    """The paper's lambda of eqs. 12-13; L = lam * beta is the weight of the information terms."""
    reconstruction: Positive = 20_000.0
    """w: scale of the reconstruction's log-likelihood, w * mean |x - x'|."""
    squared: bool = False
    """Reconstruct with the mean squared error instead of the mean absolute error, as the paper does for vectors."""
    perceptual_weight: Weight = 0.0
    """Weight, relative to |x - x'|, of LORD's perceptual loss in the reconstruction of images. The paper has none:
    0."""
    perceptual_from: Share = 0.0
    """Share of training after which the perceptual loss joins. From the start it keeps images that share little grey,
    and steps without it are much shorter."""
    gan: Weight = 0.0
    """Weight, relative to |x - x'|, of a least-squares adversarial loss with patch discriminators. The paper has none:
    0."""
    discriminator_width: Size = 32
    """Channels of the discriminators' first map."""
    discriminator_rate: Positive = 2e-4
    """Adam's learning rate for the discriminators."""
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)
    """Sources of VGG16's weights."""
    anneal: Positive = 25_000.0
    """T, in steps: KL divergences to priors are weighted by k(t) = 1 - exp(-t/T)."""
    rate: Positive = 2e-4
    """Adam's learning rate."""
    decay: bool = False
    """Anneal the learning rate to 0 by a half cosine. The paper keeps it constant."""
    interaction: bool = True
    """Ablation: without it, the interaction information I(X;Y;Z_s) leaves eq. 12; r_x, r_y only follow q."""
    disentanglement: bool = True
    """Ablation: without it, -I(Z_x;Z_s) - I(Z_y;Z_s) leaves eq. 12. The rest, 2 I(X;Y;Z_s), is bounded by its
    conditional half, eq. 10, only: I(X;Z_s) would need decoders of z_s alone."""


SMALL_IMAGES = IIAEConfig(
    widths=(32, 64, 128, 128),
    decoder_widths=(256, 128, 64, 32),
    shared=32,
    perceptual_weight=0.5,
    perceptual_from=0.5,
    anneal=1000.0,
    rate=1e-3,
    decay=True,
)
"""IIAE at 64 px: three layers of stride 2, an 8x8 shared map, half as wide as the paper's."""


class Gaussian(NamedTuple):
    """Diagonal normal distribution for each item."""

    mean: Tensor
    log_variance: Tensor

    @classmethod
    def of(cls, parameters: Tensor) -> "Gaussian":
        """Splits parameters, (n, 2c, ...), into mean and bounded log-variance, (n, c, ...) each, float32."""
        mean, log_variance = parameters.float().chunk(2, 1)
        return cls(mean, bounded_log_variance(log_variance))

    def sample(self) -> Tensor:
        """Draws one sample for each item, differentiably."""
        return reparameterise(self.mean, self.log_variance)


class ImageNetworks(nn.Module):
    """Encoders and decoder of one domain of images, with a spatial or a flat shared code."""

    def __init__(self, spec: ImageSpec, config: IIAEConfig) -> None:
        super().__init__()
        self.flat = config.code == "flat"
        layers = depth(spec, config)
        unused = len(config.widths) + 1 - layers
        widths, decoder_widths = config.widths[: layers - 1], config.decoder_widths[unused:]
        dropout = [*config.dropout, *[0.0] * len(config.widths)][unused : len(config.widths)]
        self.size = FitSize(spec.height, spec.width, layers)
        height, width = self.size.map_size
        last = widths[-1]
        # q(z_x|x): convolutions, then fully connected from a map of twice the shared map's size
        self.exclusive = nn.Sequential(
            down_stack(spec.channels, widths), nn.Flatten(), nn.Linear(last * 4 * height * width, 2 * config.exclusive)
        )
        self.trunk = down_stack(spec.channels, widths)
        if self.flat:
            self.trunk.append(down(last, config.dense_width)).append(nn.Flatten())
            self.features = config.dense_width * height * width
            entry = decoder_widths[0]
            self.unfold = nn.Sequential(
                nn.Linear(config.shared + config.exclusive, entry * height * width, bias=False),
                nn.BatchNorm1d(entry * height * width),
                nn.Dropout(dropout[0]),
                nn.ReLU(inplace=True),
                nn.Unflatten(1, (entry, height, width)),
            )
        else:
            self.features = last
            self.unfold = nn.Identity()
            entry = config.shared + config.exclusive
        ins = [entry, *decoder_widths[:-1]]
        self.ups = nn.Sequential(*[up(i, o, dropout=d) for i, o, d in zip(ins, decoder_widths, dropout, strict=True)])
        self.to_image = nn.ConvTranspose2d(decoder_widths[-1], spec.channels, 4, 2, 1)

    def pad(self, x: Tensor) -> Tensor:
        """Pads images to the size that the networks work on."""
        return self.size.pad(x)

    def decode(self, shared: Tensor, exclusive: Tensor) -> Tensor:
        """Returns the mean of p(x|z_x, z_s), in [-1, 1]."""
        codes = exclusive if self.flat else tile(exclusive, *self.size.map_size)
        maps = self.unfold(torch.cat([shared, codes], 1))
        return self.size.crop(torch.tanh(self.to_image(self.ups(maps)).float()))


class VectorNetworks(nn.Module):
    """Encoders and decoder of one domain of feature vectors (the paper's networks for Sketchy)."""

    def __init__(self, spec: VectorSpec, config: IIAEConfig) -> None:
        super().__init__()
        self.features = config.vector_widths[0]
        self.exclusive = _dense_head(spec.size, config.vector_widths, config.exclusive)
        self.trunk = dense_stack(spec.size, (self.features,))
        hidden = config.vector_decoder_width
        self.decoder = nn.Sequential(
            nn.Linear(config.shared + config.exclusive, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, spec.size),
        )

    def pad(self, x: Tensor) -> Tensor:
        """Returns vectors unchanged."""
        return x

    def decode(self, shared: Tensor, exclusive: Tensor) -> Tensor:
        """Returns the mean of p(x|z_x, z_s)."""
        return self.decoder(torch.cat([shared, exclusive], 1)).float()


def networks(spec: Spec, config: IIAEConfig) -> ImageNetworks | VectorNetworks:
    """Builds the networks of one domain."""
    return ImageNetworks(spec, config) if isinstance(spec, ImageSpec) else VectorNetworks(spec, config)


class SharedHeads(nn.Module):
    """Output layers of the encoders of the shared code: r_x(z_s|x), r_y(z_s|y), and q(z_s|x, y) on both features."""

    def __init__(
        self, a: ImageNetworks | VectorNetworks, b: ImageNetworks | VectorNetworks, config: IIAEConfig
    ) -> None:
        super().__init__()
        one, other, both = a.features, b.features, a.features + b.features
        if isinstance(a, ImageNetworks) and not a.flat:
            self.r_a, self.r_b, self.q = (_down_head(features, config.shared) for features in (one, other, both))
        else:
            width, *rest = config.vector_widths if isinstance(a, VectorNetworks) else (config.dense_width,) * 2
            self.r_a, self.r_b = (_dense_head(features, rest, config.shared) for features in (one, other))
            self.q = nn.Sequential(dense(both, width), nn.Linear(width, 2 * config.shared))


def _down_head(features: int, shared: int) -> nn.Module:
    """Builds the convolution that outputs a map's mean and log-variance."""
    return nn.Conv2d(features, 2 * shared, 4, 2, 1)


def _dense_head(features: int, widths: Sequence[int], code: int) -> nn.Module:
    """Builds fully connected layers that output a code's mean and log-variance."""
    return nn.Sequential(dense_stack(features, widths), nn.Linear((features, *widths)[-1], 2 * code))


class IIAE(Method[Paired]):
    """Interaction information auto-encoder [1]. Trains on pairs; translates and disentangles.

    Example:
        >>> from unbraid.core.types import DataSpec, ImageSpec
        >>> model = IIAE(DataSpec(ImageSpec(32, 32), ImageSpec(32, 32, 1)), IIAEConfig(shared=16)).eval()
        >>> codes = model.encode(torch.zeros(2, 3, 32, 32), "a")
        >>> tuple(codes.shared.shape), tuple(codes.exclusive.shape)
        ((2, 16, 8, 8), (2, 8))
    """

    needs = Paired
    config_type = IIAEConfig
    config: IIAEConfig
    training_only = ("discriminators",)
    renamed: ClassVar[Mapping[str, str]] = {"likelihood": "reconstruction"}

    def __init__(self, spec: DataSpec, config: IIAEConfig) -> None:
        super().__init__(spec, config)
        _check(spec, config)
        self.a, self.b = networks(spec.a, config), networks(spec.b, config)
        self.heads = SharedHeads(self.a, self.b, config)
        self.discriminators = nn.ModuleDict()
        for domain in DOMAINS if config.gan else ():
            own = spec[domain]
            assert isinstance(own, ImageSpec)
            width, halvings = config.discriminator_width, patch_halvings(own)
            self.discriminators[domain] = PatchDiscriminator(own.channels, width, halvings, "instance")
        self._perceptual = PerceptualTerm(config.perceptual_weight, config.perceptual)
        self.whole_from = config.perceptual_from if config.perceptual_weight else 0.0
        if config.initial == "normal":
            self.apply(draw_normal)

    @classmethod
    def upgrade_config(cls, values: Json) -> Json:
        """Converts a number for `dropout`, of an earlier version, to dropout after the second upsampling layer only.

        In that version the decoder of vectors had the last of the encoders' sizes.
        """
        if not isinstance(values.get("dropout"), (int, float)):
            return values
        return {**values, "dropout": [0.0, values["dropout"]], "vector_decoder_width": values["vector_widths"][-1]}

    @classmethod
    def default_config(cls, spec: DataSpec) -> tuple[IIAEConfig, list[str]]:
        """Returns the paper's settings, or for small images narrower networks, a higher annealed rate and, if VGG16's
        weights are found, the perceptual loss."""
        if not small_images(spec):
            return IIAEConfig(), []
        config, lines = perceptual_if_possible(spec, SMALL_IMAGES)
        return config, [SMALL_NOTE, *lines]

    def prepare(self) -> None:
        """Loads the weights of VGG16 if they are needed. Raises UserError if there are none."""
        self._perceptual.prepare()

    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        """Returns Adam with rate 2e-4 and betas .5, .999: one for all networks, and one for discriminators."""
        self.prepare()
        c, betas = self.config, (0.5, 0.999)
        model = [p for name, p in self.named_parameters() if not name.startswith("discriminators")]
        optimisers: dict[str, Optimizer] = {"model": Adam(model, lr=c.rate, betas=betas, fused=True)}
        if c.gan:
            parameters = self.discriminators.parameters()
            optimisers["discriminators"] = Adam(parameters, lr=c.discriminator_rate, betas=betas, fused=True)
        return optimisers

    def rate_factor(self, stage: str, clock: Clock) -> float:
        """Returns 1 as in the paper, or a half cosine down to 0."""
        return (1 + math.cos(math.pi * clock.progress)) / 2 if self.config.decay else 1.0

    def updates(self, batches: Iterator[Paired], clock: Clock) -> Iterator[Update]:
        """Minimises the negative of eqs. 12-13 with the ELBO of eq. 4, then trains discriminators if there are any."""
        c, batch = self.config, next(batches)
        x, y = self.a.pad(batch.a), self.b.pad(batch.b)
        trunk_x, trunk_y = self.a.trunk(x), self.b.trunk(y)
        q_x, q_y = Gaussian.of(self.a.exclusive(x)), Gaussian.of(self.b.exclusive(y))
        q_s = Gaussian.of(self.heads.q(torch.cat([trunk_x, trunk_y], 1)))
        if not c.interaction:  # r_x, r_y learn what q says and leave q, and the trunks it stands on, as they are
            trunk_x, trunk_y = trunk_x.detach(), trunk_y.detach()
        r_x, r_y = Gaussian.of(self.heads.r_a(trunk_x)), Gaussian.of(self.heads.r_b(trunk_y))
        # eq. 4: one sample of each posterior; the decoders see samples of q only
        z_s = q_s.sample()
        x_reconstructed, y_reconstructed = self.a.decode(z_s, q_x.sample()), self.b.decode(z_s, q_y.sample())

        elbo, information = c.beta, c.lam * c.beta  # B and L
        own = elbo + information * c.disentanglement  # weight of a domain's own terms: eqs. 4, 9
        annealing = 1 - math.exp(-(clock.step + 1) / c.anneal)  # k(t)
        shared = elbo if c.interaction else elbo + 2 * information * c.disentanglement
        target = q_s if c.interaction else Gaussian(q_s.mean.detach(), q_s.log_variance.detach())
        scale = own * c.reconstruction
        terms: Terms = {
            "reconstruction_a": scale * self._difference(x_reconstructed, batch.a),  # eq. 4, term 1; eq. 9
            "reconstruction_b": scale * self._difference(y_reconstructed, batch.b),  # eq. 4, term 2; eq. 9
            "kl_exclusive_a": annealing * own * kl_normal(*q_x),  # eq. 4, term 3; eq. 11
            "kl_exclusive_b": annealing * own * kl_normal(*q_y),  # eq. 4, term 4; eq. 11
            "kl_shared": annealing * shared * kl_normal(*q_s),  # eq. 4, term 5, less the lambda term of eq. 13
            "kl_shared_a": information * kl_normal(*target, *r_x),  # eq. 10, for X given Y
            "kl_shared_b": information * kl_normal(*target, *r_y),  # eq. 10, for Y given X
        }
        reconstructions: dict[Domain, Tensor] = {"a": x_reconstructed, "b": y_reconstructed}
        for domain, reconstruction in reconstructions.items():
            if c.perceptual_weight and clock.progress >= self.whole_from:  # ours
                difference = self._perceptual(reconstruction, batch[domain])
                terms[f"perceptual_{domain}"] = scale * c.perceptual_weight * difference
            if c.gan:  # ours
                score = self.discriminators[domain](reconstruction)
                terms[f"generator_{domain}"] = scale * c.gan * generator_loss(score)
        yield {"model": terms}

        if c.gan:
            yield {
                "discriminators": {
                    f"discriminator_{domain}": discriminator_loss(
                        self.discriminators[domain], batch[domain], reconstruction.detach()
                    )
                    for domain, reconstruction in reconstructions.items()
                }
            }

    def _difference(self, reconstruction: Tensor, x: Tensor) -> Float[Tensor, ""]:
        difference = reconstruction - x
        return difference.square().mean() if self.config.squared else difference.abs().mean()

    def _side(self, domain: Domain) -> ImageNetworks | VectorNetworks:
        return self.a if domain == "a" else self.b

    def encode(self, x: Tensor, domain: Domain) -> Codes:
        """Returns the means of r(z_s|x) and q(z_x|x) (section 4.1) for items, (n, *spec[domain].shape)."""
        side, head = self._side(domain), self.heads.r_a if domain == "a" else self.heads.r_b
        x = side.pad(x)
        return Codes(Gaussian.of(head(side.trunk(x))).mean, Gaussian.of(side.exclusive(x)).mean)

    def decode(self, codes: Codes, domain: Domain) -> Tensor:
        """Returns the mean of p(x|z_x, z_s), (n, *spec[domain].shape)."""
        return self._side(domain).decode(codes.shared, codes.exclusive)

    def prior(self, n: int, domain: Domain, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Samples exclusive codes from their prior N(0, I), (n, d). See `Disentangler.prior`."""
        return torch.randn(n, self.config.exclusive, generator=generator, device=generator.device)

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        """Decodes the shared code of x with a given or sampled exclusive code. See `Translator.translate`."""
        codes = self.encode(x, src)
        if style is None:
            style = torch.randn(len(x), self.config.exclusive, device=x.device)
        return self.decode(Codes(codes.shared, style.to(x.device)), dst)


def _check(spec: DataSpec, config: IIAEConfig) -> None:
    """Raises UserError for settings that don't fit the data."""
    if isinstance(spec.a, VectorSpec) != isinstance(spec.b, VectorSpec):
        raise UserError(f"IIAE needs two domains of one kind; found {spec.a} and {spec.b}")
    for own in (spec.a, spec.b) if config.gan else ():
        if not (isinstance(own, ImageSpec) and min(own.height, own.width) >= LEAST):
            raise UserError(
                f"--method.gan {config.gan:g}: it scores patches of images of {LEAST} px at least; found {own}"
            )
    check_perceptual(spec, config.perceptual_weight)
    if len(config.widths) != len(config.decoder_widths):
        raise UserError(
            f"--method.widths has {len(config.widths)} entries, --method.decoder-widths "
            f"{len(config.decoder_widths)}; give one decoder width for each width"
        )
    if isinstance(spec.a, ImageSpec) and isinstance(spec.b, ImageSpec) and config.code == "spatial":
        sizes = [networks_map(s, config) for s in (spec.a, spec.b)]
        if sizes[0] != sizes[1]:
            raise UserError(
                f"A shared map must have one size; {spec.a} come to {sizes[0]} and {spec.b} to {sizes[1]}. "
                "Give --data.size H W, or --method.code flat"
            )


def depth(spec: ImageSpec, config: IIAEConfig) -> int:
    """Returns the number of layers of stride 2 for images of this size."""
    return halvings(spec.height, spec.width, config.map_size, len(config.widths) + 1)


def networks_map(spec: ImageSpec, config: IIAEConfig) -> tuple[int, int]:
    """Returns (h, w) of the shared map for images of this size."""
    return FitSize(spec.height, spec.width, depth(spec, config)).map_size
