"""CdDN: cross-domain disentanglement networks (Gonzalez-Garcia, van de Weijer and Bengio, NeurIPS 2018) [1].

Two domains, paired. Each image is encoded into a shared map and an exclusive vector. A decoder makes an image of its
domain from the *other* side's shared map, with noise in place of the exclusive code (a translation) or with its own
exclusive code (a cross-domain autoencoder). What an exclusive code knows of the other domain is driven out by a
decoder behind a reversed gradient. Two players, two turns: the critics, then the generators against the moved critics.

Feature vectors have fully connected networks in place of these, which are ours: the paper has images alone.

Legend: x is the image of domain a, y that of domain b; S_x, S_y are (n, c, h, w), E_x, E_y and the noise z (n, 8).
G translates x -> y, F translates y -> x. G_d, F_d are their decoders.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, Optimizer

from unbraid.core.bounds import Count, Positive, Shares, Size, Sizes, Weight
from unbraid.core.method import SMALL_NOTE, Clock, Method, Terms, Update, small_images
from unbraid.core.types import DOMAINS, Codes, DataSpec, Domain, ImageSpec, Paired, Spec, UserError, VectorSpec, other
from unbraid.nn.blocks import (
    SLOPE,
    FitSize,
    Initial,
    Upsampling,
    dense,
    dense_stack,
    doubling,
    draw_normal,
    fixed_statistics,
    halvings,
    up,
)
from unbraid.nn.critic import Critic, VectorCritic, gradient_penalty, slopes
from unbraid.nn.functional import reversed_gradient, tile

STEEP, FLAT = 2.0, 0.2
"""Mean slope of a critic above which it explodes, and below which it has gone flat; the penalty pulls it to 1."""


@dataclass(frozen=True)
class CdDNConfig:
    """What can be chosen in CdDN. The defaults are the paper's networks and weights but for `shared_norm` and `latent`;
    `recipes.cddn` has the paper's own and those of the authors' program."""

    widths: Sizes = (64, 128, 256, 512)
    """Channels of the encoders' convolutions, each of which halves the size. Small images use the first of them."""
    decoder_widths: Sizes = (512, 256, 128, 64)
    """Channels of the decoders' transposed convolutions, one for each of `widths`. Small images use the last."""
    upsampling: Upsampling = "transposed"
    """How the decoders' maps double: nearest repeats values before a convolution, which lays no grid."""
    map_size: Size = 8
    """No map is halved below this height or width; 8 is what 256 px come to in the paper."""
    shared: Size = 512
    """Channels of the shared map."""
    shared_norm: Literal["channel", "value"] = "value"
    """Batch-norm at the end of the shared map. channel: each channel over all images and places, with scale and shift,
    the paper's. value: each channel at each place by itself over the images, without. With the first, shared maps can
    become alike by being the same for all images: a pattern of places, too faint for the noise."""
    exclusive: Size = 8
    """Size of an exclusive code."""
    dropout: Shares = (0.5, 0.5, 0.0, 0.0)
    """Dropout after each of the decoders' doublings, as in the authors' program. The paper's text says
    0.5 on the first three. Small images use the last."""
    critic_widths: Sizes = (64, 128, 256)
    """Channels of the critics' convolutions. The authors' program has a further one of 512. For vectors, widths of
    their layers."""
    critic_chunk: Count = 0
    """How many values of a critic's last map one linear layer scores at a time; scores are averaged. 0: the whole map
    has one score, as in the paper. The authors' program has chunks of 4096: 32 of them at 256 px."""
    vector_widths: Sizes = (512, 256, 128)
    """Widths of the encoders of feature vectors, as in IIAE; the last is also that of the decoders."""
    latent_critic: bool = True
    """Pull exclusive codes to the noise's distribution by a discriminator D_z. The authors' program has none."""
    latent_critic_widths: Sizes = (64, 128, 256)
    """Widths of D_z."""
    latent_critic_norm: bool = False
    """Batch-norm in D_z, as in the paper. Noise and exclusive codes are batches of their own, whose mean and scale it
    takes away, so that D_z sees neither, and codes go where they like."""
    relu_on_code: bool = False
    """Clip codes at nought before the first transposed convolution, as the authors' program does."""
    initial: Initial = "normal"
    """Initial weights. D_z, which the authors' program lacks, keeps torch's."""
    noise: Weight = 0.1
    """Standard deviation of the noise on what decoders get in training. Ablation: 0."""
    gan: Weight = 1.0
    """w_GAN of eq. 6."""
    exclusive_gan: Weight = 0.1
    """w_Ex of eq. 6."""
    latent_gan: Weight = 1.0
    """Weight of what D_z asks of the encoders; eq. 6 leaves it out."""
    alike: Weight = 100.0
    """w_L1 of eq. 6 for eq. 1, |S_x - S_y|. Like the next two a mean over elements. Ablation: 0."""
    autoencoding: Weight = 100.0
    """w_L1 of eq. 6 for eq. 5."""
    latent: Weight = 10.0
    """w_L1 of eq. 6 for eq. 2, of S and of the noise each; the paper's is 100. Ablation: 0."""
    spread: Weight = 0.0
    """Weight of a term that the paper lacks: S of different images shall be unlike at every place, `likeness`."""
    penalty: Weight = 10.0
    """Lambda of eq. 3."""
    rate: Positive = 2e-4
    """Adam's learning rate, of both players."""
    decay: bool = False
    """Let the rate fall to 0 by a half cosine over the run. The paper keeps it constant."""
    separate_optimisers: bool = False
    """An Adam for each kind of loss and for each side's autoencoder, as in the authors' program, instead of one for the
    generators. Adam evens out the size of a gradient, so the weights of eq. 6 hardly matter then."""
    autoencoder: Literal["cross", "ordinary", "none"] = "cross"
    """Ablation: ordinary decodes an image's own shared map, none leaves eq. 5 out."""
    reversal: bool = True
    """Ablation: without it, exclusive decoders and their critics are left out."""


SMALL_IMAGES = CdDNConfig(
    widths=(32, 64, 128, 128),
    decoder_widths=(256, 128, 64, 32),
    dropout=(0.0, 0.0, 0.0, 0.0),
    shared=64,
    critic_widths=(32, 64, 128),
    spread=1.0,
    rate=1e-3,
    decay=True,
)
"""CdDN at 64 px: three halvings, an 8x8 shared map, half as wide as the paper's."""


class Encoder(nn.Module):
    """Image -> shared map and exclusive vector, which part before the last convolution."""

    def __init__(self, spec: ImageSpec, config: CdDNConfig) -> None:
        super().__init__()
        layers = depth(spec, config)
        widths = config.widths[: layers - 1]
        self.size = FitSize(spec.height, spec.width, layers)
        height, width = self.size.map_size
        self.trunk = nn.Sequential(nn.Conv2d(spec.channels, widths[0], 4, 2, 1))
        for i, o in itertools.pairwise(widths):
            self.trunk.extend(_normalised(i, o))
        self.shared = _normalised(widths[-1], config.shared)
        if config.shared_norm == "value":
            self.shared[-1] = value_norm((config.shared, height, width))
        self.exclusive = nn.Sequential(
            nn.LeakyReLU(SLOPE), nn.Flatten(), nn.Linear(widths[-1] * 4 * height * width, config.exclusive)
        )

    def forward(self, x: Tensor) -> Codes:
        """(n, *spec.shape) -> S and E, float32."""
        features = self.trunk(self.size.grow(x))
        return Codes(self.shared(features).float(), self.exclusive(features).float())


def _normalised(channels: int, width: int) -> nn.Sequential:
    """leaky relu, conv 4x4 stride 2, batch-norm: linear at its end."""
    return nn.Sequential(nn.LeakyReLU(SLOPE), nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width))


def value_norm(shape: tuple[int, int, int]) -> nn.Sequential:
    """Batch-norm of every value of a map by itself, without scale and shift: (n, *shape) -> the same."""
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(math.prod(shape), affine=False), nn.Unflatten(1, shape))


class Decoder(nn.Module):
    """(n, channels, h, w) code map -> image in [-1, 1]."""

    def __init__(self, spec: ImageSpec, channels: int, config: CdDNConfig) -> None:
        super().__init__()
        layers = depth(spec, config)
        unused = len(config.widths) + 1 - layers
        widths, dropout = config.decoder_widths[unused:], config.dropout[unused:]
        self.size = FitSize(spec.height, spec.width, layers)
        ins = [channels, *widths[:-1]]
        way = config.upsampling
        self.ups = nn.Sequential(
            *[up(i, o, dropout=d, upsampling=way) for i, o, d in zip(ins, widths, dropout, strict=True)]
        )
        self.to_image = doubling(widths[-1], spec.channels, way, bias=True)

    def forward(self, code: Tensor) -> Tensor:
        """(n, *spec.shape)."""
        return self.size.cut(torch.tanh(self.to_image(self.ups(code)).float()))


class VectorEncoder(nn.Module):
    """Vector -> shared and exclusive vector, which part before the last hidden layer."""

    def __init__(self, spec: VectorSpec, config: CdDNConfig) -> None:
        super().__init__()
        *widths, last = config.vector_widths
        self.trunk = dense_stack(spec.size, widths)
        before = (spec.size, *widths)[-1]
        self.shared = nn.Sequential(
            dense(before, last),
            nn.Linear(last, config.shared, bias=False),
            nn.BatchNorm1d(config.shared, affine=config.shared_norm == "channel"),
        )
        self.exclusive = nn.Linear(before, config.exclusive)

    def forward(self, x: Tensor) -> Codes:
        """(n, spec.size) -> S and E, float32."""
        features = self.trunk(x)
        return Codes(self.shared(features).float(), self.exclusive(features).float())


class VectorDecoder(nn.Module):
    """(n, size) code -> vector."""

    def __init__(self, spec: VectorSpec, size: int, config: CdDNConfig) -> None:
        super().__init__()
        hidden = config.vector_widths[-1]
        self.layers = nn.Sequential(
            nn.Linear(size, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, spec.size)
        )

    def forward(self, code: Tensor) -> Tensor:
        """(n, spec.size)."""
        return self.layers(code).float()


def decoder(spec: Spec, size: int, config: CdDNConfig) -> Decoder | VectorDecoder:
    """From codes of `size` channels, or values, to a domain."""
    return Decoder(spec, size, config) if isinstance(spec, ImageSpec) else VectorDecoder(spec, size, config)


def critic(source: Spec, own: Spec, config: CdDNConfig) -> Critic | VectorCritic:
    """Of items of `own` that answer to items of `source`."""
    widths = config.critic_widths
    if isinstance(source, ImageSpec) and isinstance(own, ImageSpec):
        return Critic(source, own, widths, config.critic_chunk)
    assert isinstance(source, VectorSpec)
    assert isinstance(own, VectorSpec)
    return VectorCritic(source.size, own.size, widths)


def laid_out(code: Tensor, shared: Tensor) -> Tensor:
    """An exclusive code at every place of a shared map; a vector stays what it is."""
    return tile(code, *shared.shape[2:]) if shared.ndim == 4 else code


class Side(nn.Module):
    """The encoder and the decoder of one domain."""

    def __init__(self, spec: Spec, config: CdDNConfig) -> None:
        super().__init__()
        self.encoder = Encoder(spec, config) if isinstance(spec, ImageSpec) else VectorEncoder(spec, config)
        self.decoder = decoder(spec, config.shared + config.exclusive, config)
        self.noise, self.relu = config.noise, config.relu_on_code

    def decode(self, shared: Tensor, exclusive: Tensor) -> Tensor:
        """An image of this domain. In training, noise is laid on the code (section 2.1)."""
        code = torch.cat([shared, laid_out(exclusive, shared)], 1)
        if self.training and self.noise:
            code = code + self.noise * torch.randn_like(code)
        return self.decoder(code.relu() if self.relu else code)


class Rivals(nn.Module):
    """What only training needs of one domain: who judges its images, and who reads its exclusive codes."""

    def __init__(self, own: Spec, opposite: Spec, config: CdDNConfig) -> None:
        super().__init__()
        self.critic = critic(opposite, own, config)
        # from this domain's exclusive code alone, an image of the other domain; and who judges it
        self.decoder = decoder(opposite, config.exclusive, config) if config.reversal else None
        self.exclusive_critic = critic(own, opposite, config) if config.reversal else None
        self.latent_critic = (
            nn.Sequential(
                dense_stack(config.exclusive, config.latent_critic_widths, norm=config.latent_critic_norm),
                nn.Linear(config.latent_critic_widths[-1], 1),
            )
            if config.latent_critic
            else None
        )

    def of_the_program(self) -> list[nn.Module]:
        """The networks that the authors' program has too: all but D_z."""
        return [part for part in (self.critic, self.decoder, self.exclusive_critic) if part is not None]


class Judged(NamedTuple):
    """What one critic looks at: the image that is answered to, the real answer, the made one."""

    critic: Critic | VectorCritic
    source: Tensor
    real: Tensor
    made: Tensor


class CdDN(Method[Paired]):
    """Cross-domain disentanglement networks [1]. Needs pairs; translates, disentangles.

    Example:
        >>> from unbraid.core.types import DataSpec, ImageSpec
        >>> config = CdDNConfig(widths=(8, 16), decoder_widths=(16, 8), dropout=(0, 0), map_size=4, shared=16)
        >>> model = CdDN(DataSpec(ImageSpec(32, 32), ImageSpec(32, 32, 1)), config).eval()
        >>> codes = model.encode(torch.zeros(2, 3, 32, 32), "a")
        >>> tuple(codes.shared.shape), tuple(codes.exclusive.shape)
        ((2, 16, 4, 4), (2, 8))
    """

    needs = Paired
    config_type = CdDNConfig
    config: CdDNConfig
    training_only = ("rivals_",)

    def __init__(self, spec: DataSpec, config: CdDNConfig) -> None:
        super().__init__(spec, config)
        a, b = _check(spec, config)
        self.a, self.b = Side(a, config), Side(b, config)
        self.rivals_a, self.rivals_b = Rivals(a, b, config), Rivals(b, a, config)
        if config.initial == "normal":
            for module in (self.a, self.b, *self.rivals_a.of_the_program(), *self.rivals_b.of_the_program()):
                module.apply(draw_normal)

    @classmethod
    def default_config(cls, spec: DataSpec) -> tuple[CdDNConfig, list[str]]:
        """`CdDNConfig()`, but for small images: narrower networks, a higher rate that falls, and S spread."""
        return (SMALL_IMAGES, [SMALL_NOTE]) if small_images(spec) else (CdDNConfig(), [])

    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        """Adam, rate 2e-4, betas .5 and .999: one for critics and discriminators, whose losses share no parameter, and
        one for encoders and decoders, or one for each kind of their losses."""
        rivals = [self.rivals_a, self.rivals_b]
        decoders = [rival.decoder for rival in rivals if rival.decoder]
        critics = [
            critic
            for rival in rivals
            for critic in (rival.critic, rival.exclusive_critic, rival.latent_critic)
            if critic is not None
        ]
        generators = [p for module in (self.a, self.b, *decoders) for p in module.parameters()]
        players = self.generator_players() if self.config.separate_optimisers else ("generators",)
        moved = {
            "critics": [p for critic in critics for p in critic.parameters()],
            **dict.fromkeys(players, generators),
        }
        return {name: Adam(movers, self.config.rate, (0.5, 0.999), fused=True) for name, movers in moved.items()}

    def generator_players(self) -> tuple[str, ...]:
        """The kinds of the generators' losses. The two sides of a kind share no parameter, or one Adam in the authors'
        program, but for the autoencoders: both move both encoders, each by its own Adam."""
        c = self.config
        used = {
            "gan": True,
            "exclusive_gan": c.reversal,
            "latent_gan": c.latent_critic,
            "alike": bool(c.alike),
            "autoencoder_a": c.autoencoder != "none",
            "autoencoder_b": c.autoencoder != "none",
            "latent": bool(c.latent),
            "spread": bool(c.spread),
        }
        return tuple(name for name, is_used in used.items() if is_used)

    def rate_factor(self, stage: str, clock: Clock) -> float:
        """Constant as in the paper, or a half cosine down to 0."""
        return (1 + math.cos(math.pi * clock.progress)) / 2 if self.config.decay else 1.0

    def updates(self, batches: Iterator[Paired], clock: Clock) -> Iterator[Update]:
        """Two turns: all critics on what the generators make now, then the generators against the moved critics."""
        batch = next(batches)
        codes: dict[Domain, Codes] = {domain: self._side(domain).encoder(batch[domain]) for domain in DOMAINS}
        noise = {domain: torch.randn_like(codes[domain].exclusive) for domain in DOMAINS}
        made: dict[Domain, Tensor] = {}
        again: dict[Domain, Tensor | None] = {}
        judged: dict[Domain, Judged] = {}
        guessed: dict[Domain, Judged] = {}
        for domain in DOMAINS:
            rivals, opposite = self._rivals(domain), other(domain)
            made[domain], again[domain] = self._made(domain, codes, noise[domain])
            judged[domain] = Judged(rivals.critic, batch[opposite], batch[domain], made[domain])
            if rivals.decoder and rivals.exclusive_critic:
                # section 2.1, exclusive representation
                code = laid_out(reversed_gradient(codes[domain].exclusive), codes[domain].shared)
                answer = rivals.decoder(code)
                guessed[domain] = Judged(rivals.exclusive_critic, batch[domain], batch[opposite], answer)

        yield {"critics": self._critics(judged, guessed, codes)}

        c = self.config
        kinds: dict[str, Terms] = {name: {} for name in self.generator_players()}
        for domain in DOMAINS:
            code, opposite = codes[domain], codes[other(domain)]
            kinds["gan"][f"gan_{domain}"] = -c.gan * _score(judged[domain])  # eq. 4
            if domain in guessed:
                kinds["exclusive_gan"][f"exclusive_gan_{domain}"] = -c.exclusive_gan * _score(guessed[domain])
            if discriminator := self._rivals(domain).latent_critic:  # section 2.1, reconstructing the latent space
                taken = functional.softplus(-discriminator(code.exclusive).float()).mean()
                kinds["latent_gan"][f"latent_gan_{domain}"] = c.latent_gan * taken
            if (same := again[domain]) is not None:
                name = f"autoencoder_{domain}"
                kinds[name][name] = c.autoencoding * (same - batch[domain]).abs().mean()  # eq. 5
            if c.latent:  # eq. 2: S of the image that was translated, and the noise
                with fixed_statistics(self._side(domain).encoder):
                    found = self._side(domain).encoder(made[domain])
                shared, exclusive = found.shared - opposite.shared, found.exclusive - noise[domain]
                kinds["latent"][f"latent_shared_{domain}"] = c.latent * shared.abs().mean()
                kinds["latent"][f"latent_exclusive_{domain}"] = c.latent * exclusive.abs().mean()
            if c.spread:
                kinds["spread"][f"spread_{domain}"] = c.spread * likeness(code.shared)
        if c.alike:
            kinds["alike"]["alike"] = c.alike * (codes["a"].shared - codes["b"].shared).abs().mean()  # eq. 1
        if c.separate_optimisers:
            yield {**kinds}
        else:
            yield {"generators": {name: term for terms in kinds.values() for name, term in terms.items()}}  # eq. 6

    def _made(self, domain: Domain, codes: Mapping[Domain, Codes], noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images of `domain`: the translation of the other side, with noise, and the autoencoder's, in one pass."""
        shared, side = codes[other(domain)].shared, self._side(domain)
        if self.config.autoencoder == "none":
            return side.decode(shared, noise), None
        own = shared if self.config.autoencoder == "cross" else codes[domain].shared
        both = side.decode(torch.cat([shared, own]), torch.cat([noise, codes[domain].exclusive]))
        translation, again = both.chunk(2)
        return translation, again

    def _critics(
        self, judged: Mapping[Domain, Judged], guessed: Mapping[Domain, Judged], codes: Mapping[Domain, Codes]
    ) -> Terms:
        """Eq. 3 for each critic, and D_z's cross entropy."""
        terms: Terms = {}
        for name, views in (("", judged), ("exclusive_", guessed)):
            for domain, view in views.items():
                critic, source, real, made = view.critic, view.source, view.real, view.made.detach()
                scores = critic(torch.cat([source, source]), torch.cat([real, made]))
                distance = scores[: len(real)].mean() - scores[len(real) :].mean()
                steepness = slopes(critic, source, real, made)
                terms[f"{name}critic_{domain}"] = -distance
                terms[f"{name}penalty_{domain}"] = self.config.penalty * gradient_penalty(steepness)
                self.diagnostics[f"{name}critic distance {domain}"] = distance.detach()
                self.diagnostics[f"{name}critic slope {domain}"] = steepness.detach().mean()
        for domain in DOMAINS:
            if discriminator := self._rivals(domain).latent_critic:
                code = codes[domain].exclusive.detach()
                real, made = discriminator(torch.randn_like(code)).float(), discriminator(code).float()
                terms[f"latent_critic_{domain}"] = functional.softplus(-real).mean() + functional.softplus(made).mean()
            shared = codes[domain].shared.detach()
            # over images; the decoders' noise lies on top
            self.diagnostics[f"shared deviation {domain}"] = shared.std(0, correction=0).mean()
            # vectors of k independent values of one size have squared cosines of 1/k on average
            self.diagnostics[f"shared dimensions {domain}"] = shared.shape[1] / likeness(shared).clamp(min=1e-6)
            exclusive = codes[domain].exclusive.detach()  # the noise that is drawn in its place has 0 and 1
            self.diagnostics[f"exclusive mean {domain}"] = exclusive.mean(0).abs().mean()
            self.diagnostics[f"exclusive deviation {domain}"] = exclusive.std(0, correction=0).mean()
        return terms

    def diagnose(self, diagnostics: dict[str, float]) -> list[str]:
        """About critics whose slope left what the penalty holds, or that take made images for real ones."""
        found = []
        for domain, kind in itertools.product(DOMAINS, ("", "exclusive_")):
            slope = diagnostics.get(f"{kind}critic slope {domain}", 1.0)
            name = f"the critic of domain {domain}" + (", of images made of exclusive codes alone," if kind else "")
            if slope > STEEP:
                found.append(
                    f"{name} has exploded: its slope is over {STEEP:g} where 1 is wanted. In another run folder, lower "
                    "--method.rate or raise --method.penalty"
                )
            if slope < FLAT:
                found.append(
                    f"{name} has gone flat: its slope is under {FLAT:g} where 1 is wanted, so generators learn nothing "
                    "from it. Lower --method.penalty, or take another --train.seed, in another run folder"
                )
        for domain in DOMAINS:
            if diagnostics[f"critic distance {domain}"] < 0:
                found.append(
                    f"the critic of domain {domain} has taken made images for real ones: its distance is below 0, and "
                    "it leads generators astray. Look at samples/; in another run folder, lower --method.rate"
                )
        return found

    def _side(self, domain: Domain) -> Side:
        return self.a if domain == "a" else self.b

    def _rivals(self, domain: Domain) -> Rivals:
        return self.rivals_a if domain == "a" else self.rivals_b

    def encode(self, x: Tensor, domain: Domain) -> Codes:
        """S and E (section 2.1). x: (n, *spec[domain].shape)."""
        return self._side(domain).encoder(x)

    def decode(self, codes: Codes, domain: Domain) -> Tensor:
        """F_d or G_d: (n, *spec[domain].shape)."""
        return self._side(domain).decode(codes.shared, codes.exclusive)

    def prior(self, n: int, domain: Domain, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """N(0, I), the noise that stands for an exclusive code."""
        return torch.randn(n, self.config.exclusive, generator=generator)

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        """Section 2.1: S of x with noise, or with the exclusive code that is given. (n, *spec[dst].shape)."""
        codes = self.encode(x, src)
        if style is None:
            style = torch.randn_like(codes.exclusive)
        return self.decode(Codes(codes.shared, style.to(x.device)), dst)


def likeness(shared: Float[Tensor, "n c *places"]) -> Float[Tensor, ""]:
    """Squared cosine of what two different images have at the same place, c values each: mean over places and all pairs
    of the batch, times c. 1 for values that vary independently, c if all say the same; 0 of a single image.

    Perpendicular items and uncorrelated values are two sides of one thing (Garrido et al. 2023): over many batches, the
    c values of a place are pulled towards a covariance that is a multiple of the unit matrix.
    """
    n, c = shared.shape[:2]
    codes = functional.normalize(shared.flatten(2) if shared.ndim > 2 else shared[:, :, None], dim=1)
    cosines = torch.einsum("icp,jcp->pij", codes, codes).float()
    pairs = n * (n - 1) * len(cosines)
    return c * (cosines.square().sum() - cosines.diagonal(dim1=1, dim2=2).square().sum()) / max(pairs, 1)


def _score(view: Judged) -> Tensor:
    return view.critic(view.source, view.made).mean()


def depth(spec: ImageSpec, config: CdDNConfig) -> int:
    """How often images of this size are halved."""
    return halvings(spec.height, spec.width, config.map_size, len(config.widths) + 1)


def _check(spec: DataSpec, config: CdDNConfig) -> tuple[Spec, Spec]:
    """Both specs. UserError for what can't be built."""
    if isinstance(spec.a, VectorSpec) and isinstance(spec.b, VectorSpec):
        return spec.a, spec.b
    if not (isinstance(spec.a, ImageSpec) and isinstance(spec.b, ImageSpec)):
        raise UserError(f"CdDN needs two domains of one kind; found {spec.a} and {spec.b}")
    lengths = {len(config.widths), len(config.decoder_widths), len(config.dropout)}
    if len(lengths) > 1:
        raise UserError(
            f"--method.widths has {len(config.widths)} entries, --method.decoder-widths {len(config.decoder_widths)}, "
            f"--method.dropout {len(config.dropout)}; give as many of each"
        )
    smallest = 2 ** len(config.critic_widths)
    for one in (spec.a, spec.b):
        if min(one.height, one.width) < smallest:
            raise UserError(
                f"The critics halve images {len(config.critic_widths)} times, so both sides need {smallest} pixels; "
                f"found {one}. Give a larger --data.size, or fewer --method.critic-widths"
            )
    sizes = [FitSize(one.height, one.width, depth(one, config)).map_size for one in (spec.a, spec.b)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"A shared map must have one size; {spec.a} come to {sizes[0]} and {spec.b} to {sizes[1]}. "
            "Give --data.size H W"
        )
    return spec.a, spec.b
