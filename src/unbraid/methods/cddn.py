"""CdDN: cross-domain disentanglement networks (Gonzalez-Garcia, van de Weijer and Bengio, NeurIPS 2018) [1].

Two paired domains. Each image is encoded into a shared map and an exclusive vector. A decoder generates an image of its
domain from the *other* domain's shared map, with noise as exclusive code (a translation) or with its own exclusive code
(a cross-domain autoencoder). A decoder behind a gradient reversal layer removes information about the other domain from
exclusive codes. Two players take turns: critics, then generators against the updated critics.

Networks for feature vectors are fully connected counterparts; the paper has images only.

Legend: x is the image of domain a, y that of domain b; S_x, S_y are (n, c, h, w), E_x, E_y and the noise z (n, 8). G
translates x -> y, F translates y -> x. G_d, F_d are their decoders.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, Optimizer

from unbraid.core import ranks
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
from unbraid.nn.critic import Critic, VectorCritic, gradient_penalty, interpolated_gradient_norms
from unbraid.nn.functional import reversed_gradient, tile

STEEP, FLAT = 2.0, 0.2
"""Mean gradient norm of a critic above which it has exploded, and below which it has vanished; the penalty's target is
1."""


@dataclass(frozen=True)
class CdDNConfig:
    """Settings of CdDN. Defaults are the paper's networks and weights except for `shared_norm` and `latent`;
    `recipes.cddn` has the paper's settings and those of the authors' program."""

    widths: Sizes = (64, 128, 256, 512)
    """Channels of the encoders' convolutions, each of stride 2. Small images use the first of them."""
    decoder_widths: Sizes = (512, 256, 128, 64)
    """Channels of the decoders' upsampling layers, one for each of `widths`. Small images use the last of them."""
    upsampling: Upsampling = "transposed"
    """Upsampling in the decoders. nearest (nearest-neighbour, then a convolution) avoids checkerboard artifacts."""
    map_size: Size = 8
    """Smallest height or width of a map; the paper's networks reach 8 at 256 px."""
    shared: Size = 512
    """Channels of the shared map."""
    shared_norm: Literal["channel", "value"] = "value"
    """Batch-norm of the shared map. channel (the paper's): per channel, with scale and shift. value: per channel and
    place, without. With channel, shared maps can collapse to one spatial pattern for all images, too faint to survive
    the noise."""
    exclusive: Size = 8
    """Size of an exclusive code."""
    dropout: Shares = (0.5, 0.5, 0.0, 0.0)
    """Dropout after each of the decoders' upsampling layers, as in the authors' program; the paper's text says 0.5 for
    the first three. Small images use the last of them."""
    critic_widths: Sizes = (64, 128, 256)
    """Channels of the critics' convolutions, or sizes of their layers for vectors. The authors' program has one more of
    512."""
    critic_chunk: Count = 0
    """Number of values of a critic's last map that one linear layer scores at a time; scores are averaged. 0: the whole
    map, as in the paper. The authors' program has 4096: 32 chunks at 256 px."""
    vector_widths: Sizes = (512, 256, 128)
    """Sizes of the encoders' layers for feature vectors, as in IIAE; the last is also that of the decoders."""
    latent_discriminator: bool = True
    """Match exclusive codes to the noise distribution with a discriminator D_z. The authors' program has none."""
    latent_discriminator_widths: Sizes = (64, 128, 256)
    """Sizes of D_z's layers."""
    latent_discriminator_norm: bool = False
    """Batch-norm in D_z, as in the paper. It normalises noise and codes separately, so that D_z can't see their mean
    and scale."""
    relu_on_code: bool = False
    """Apply ReLU to codes before the decoder, as in the authors' program."""
    initial: Initial = "normal"
    """Weight initialisation. D_z, which the authors' program lacks, keeps PyTorch's."""
    noise: Weight = 0.1
    """Standard deviation of the noise added to codes before decoding in training. Ablation: 0."""
    gan: Weight = 1.0
    """w_GAN of eq. 6: weight of the generators' adversarial loss."""
    exclusive_gan: Weight = 0.1
    """w_Ex of eq. 6: weight of the adversarial loss of exclusive decoders."""
    latent_gan: Weight = 1.0
    """Weight of the encoders' adversarial loss against D_z, which eq. 6 leaves out."""
    shared_alignment: Weight = 100.0
    """w_L1 of eq. 6 for eq. 1, |S_x - S_y|, a mean over elements as in the next two. Ablation: 0."""
    reconstruction: Weight = 100.0
    """w_L1 of eq. 6 for eq. 5, the cross-domain autoencoders."""
    latent: Weight = 10.0
    """w_L1 of eq. 6 for eq. 2, the reconstruction of S and of the noise; the paper's is 100. Ablation: 0."""
    contrastive: Weight = 0.0
    """Weight of `sample_contrastive_loss`, which keeps S of different images apart. The paper has no such term."""
    penalty: Weight = 10.0
    """Lambda of eq. 3: weight of the gradient penalty."""
    rate: Positive = 2e-4
    """Adam's learning rate, for both players."""
    decay: bool = False
    """Anneal the learning rate to 0 by a half cosine. The paper keeps it constant."""
    separate_optimisers: bool = False
    """One Adam for each kind of loss, and for each domain's autoencoder, as in the authors' program, instead of one for
    the generators. Adam normalises gradients, so the weights of eq. 6 then have little effect."""
    autoencoder: Literal["cross", "ordinary", "none"] = "cross"
    """Ablation: ordinary decodes an image's own shared map; none leaves eq. 5 out."""
    reversal: bool = True
    """Ablation: without it, exclusive decoders and their critics are left out."""


SMALL_IMAGES = CdDNConfig(
    widths=(32, 64, 128, 128),
    decoder_widths=(256, 128, 64, 32),
    dropout=(0.0, 0.0, 0.0, 0.0),
    shared=64,
    critic_widths=(32, 64, 128),
    contrastive=1.0,
    rate=1e-3,
    decay=True,
)
"""CdDN at 64 px: three layers of stride 2, an 8x8 shared map, half as wide as the paper's."""


class Encoder(nn.Module):
    """Encoder of images to a shared map and an exclusive vector, which branch before the last convolution."""

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
        """Encodes images, (n, *spec.shape), to S and E, float32."""
        features = self.trunk(self.size.pad(x))
        return Codes(self.shared(features).float(), self.exclusive(features).float())


def _normalised(channels: int, width: int) -> nn.Sequential:
    """Builds leaky ReLU, a 4x4 convolution of stride 2 and batch-norm, without activation at the end."""
    return nn.Sequential(nn.LeakyReLU(SLOPE), nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width))


def value_norm(shape: tuple[int, int, int]) -> nn.Sequential:
    """Builds batch-norm of each value of a map by itself, without scale and shift: (n, *shape) -> (n, *shape)."""
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(math.prod(shape), affine=False), nn.Unflatten(1, shape))


class Decoder(nn.Module):
    """Decoder of code maps, (n, channels, h, w), to images in [-1, 1]."""

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
        """Decodes codes to images, (n, *spec.shape)."""
        return self.size.crop(torch.tanh(self.to_image(self.ups(code)).float()))


class VectorEncoder(nn.Module):
    """Encoder of vectors to a shared and an exclusive vector, which branch before the last hidden layer."""

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
        """Encodes vectors, (n, spec.size), to S and E, float32."""
        features = self.trunk(x)
        return Codes(self.shared(features).float(), self.exclusive(features).float())


class VectorDecoder(nn.Module):
    """Decoder of codes, (n, size), to vectors."""

    def __init__(self, spec: VectorSpec, size: int, config: CdDNConfig) -> None:
        super().__init__()
        hidden = config.vector_widths[-1]
        self.layers = nn.Sequential(
            nn.Linear(size, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, spec.size)
        )

    def forward(self, code: Tensor) -> Tensor:
        """Decodes codes to vectors, (n, spec.size)."""
        return self.layers(code).float()


def decoder(spec: Spec, size: int, config: CdDNConfig) -> Decoder | VectorDecoder:
    """Builds the decoder of a domain, for codes of a size. See `CdDN`."""
    return Decoder(spec, size, config) if isinstance(spec, ImageSpec) else VectorDecoder(spec, size, config)


def critic(source: Spec, own: Spec, config: CdDNConfig) -> Critic | VectorCritic:
    """Builds the critic of items of a domain, `own`, given items of the other. See `CdDN`."""
    widths = config.critic_widths
    if isinstance(source, ImageSpec) and isinstance(own, ImageSpec):
        return Critic(source, own, widths, config.critic_chunk)
    assert isinstance(source, VectorSpec)
    assert isinstance(own, VectorSpec)
    return VectorCritic(source.size, own.size, widths)


def expand_code(code: Tensor, shared: Tensor) -> Tensor:
    """Repeats an exclusive code at every place of a shared map; for vectors, returns it unchanged."""
    return tile(code, *shared.shape[2:]) if shared.ndim == 4 else code


class DomainNetworks(nn.Module):
    """Encoder and decoder of one domain."""

    def __init__(self, spec: Spec, config: CdDNConfig) -> None:
        super().__init__()
        self.encoder = Encoder(spec, config) if isinstance(spec, ImageSpec) else VectorEncoder(spec, config)
        self.decoder = decoder(spec, config.shared + config.exclusive, config)
        self.noise, self.relu = config.noise, config.relu_on_code

    def decode(self, shared: Tensor, exclusive: Tensor) -> Tensor:
        """Decodes codes to items of this domain. In training, adds noise to the codes (section 2.1)."""
        code = torch.cat([shared, expand_code(exclusive, shared)], 1)
        if self.training and self.noise:
            code = code + self.noise * torch.randn_like(code)
        return self.decoder(code.relu() if self.relu else code)


class AuxiliaryNetworks(nn.Module):
    """Networks of one domain that only training needs: critics, the exclusive decoder and D_z."""

    def __init__(self, own: Spec, opposite: Spec, config: CdDNConfig) -> None:
        super().__init__()
        self.critic = critic(opposite, own, config)
        # generates images of the other domain from this domain's exclusive code; and its critic
        self.decoder = decoder(opposite, config.exclusive, config) if config.reversal else None
        self.exclusive_critic = critic(own, opposite, config) if config.reversal else None
        self.latent_discriminator = (
            nn.Sequential(
                dense_stack(
                    config.exclusive, config.latent_discriminator_widths, norm=config.latent_discriminator_norm
                ),
                nn.Linear(config.latent_discriminator_widths[-1], 1),
            )
            if config.latent_discriminator
            else None
        )

    def published(self) -> list[nn.Module]:
        """Returns the networks that the authors' program has too: all except D_z."""
        return [part for part in (self.critic, self.decoder, self.exclusive_critic) if part is not None]


class CriticInput(NamedTuple):
    """Input of a critic: the conditioning items, the real ones and the generated ones."""

    critic: Critic | VectorCritic
    source: Tensor
    real: Tensor
    generated: Tensor


class CdDN(Method[Paired]):
    """Cross-domain disentanglement networks [1]. Trains on pairs; translates and disentangles.

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
    training_only = ("auxiliary_",)
    renamed: ClassVar[Mapping[str, str]] = {
        "rivals_a": "auxiliary_a",
        "rivals_b": "auxiliary_b",
        "latent_critic": "latent_discriminator",
        "latent_critic_widths": "latent_discriminator_widths",
        "latent_critic_norm": "latent_discriminator_norm",
        "alike": "shared_alignment",
        "autoencoding": "reconstruction",
        "spread": "contrastive",
        **{
            f"{old}_{domain}": f"{new}_{domain}"
            for domain in DOMAINS
            for old, new in {
                "autoencoder": "reconstruction",
                "gan": "generator",
                "exclusive_gan": "exclusive_generator",
                "latent_gan": "latent_generator",
                "latent_critic": "latent_discriminator",
                "spread": "contrastive",
            }.items()
        },
    }

    def __init__(self, spec: DataSpec, config: CdDNConfig) -> None:
        super().__init__(spec, config)
        a, b = _check(spec, config)
        self.a, self.b = DomainNetworks(a, config), DomainNetworks(b, config)
        self.auxiliary_a, self.auxiliary_b = AuxiliaryNetworks(a, b, config), AuxiliaryNetworks(b, a, config)
        if config.initial == "normal":
            for module in (self.a, self.b, *self.auxiliary_a.published(), *self.auxiliary_b.published()):
                module.apply(draw_normal)

    @classmethod
    def default_config(cls, spec: DataSpec) -> tuple[CdDNConfig, list[str]]:
        """Returns `CdDNConfig()`, or for small images narrower networks, an annealed rate and the contrastive term."""
        return (SMALL_IMAGES, [SMALL_NOTE]) if small_images(spec) else (CdDNConfig(), [])

    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        """Returns Adam with rate 2e-4 and betas .5, .999: one for critics and discriminators, which share no
        parameters, and one for encoders and decoders, or one for each kind of their losses."""
        auxiliary = [self.auxiliary_a, self.auxiliary_b]
        decoders = [networks.decoder for networks in auxiliary if networks.decoder]
        critics = [
            critic
            for networks in auxiliary
            for critic in (networks.critic, networks.exclusive_critic, networks.latent_discriminator)
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
        """Returns the kinds of the generators' losses.

        In the authors' program the two domains share an Adam, or no parameters, except for the autoencoders: each has
        an Adam of its own, and both update both encoders.
        """
        c = self.config
        used = {
            "gan": True,
            "exclusive_gan": c.reversal,
            "latent_gan": c.latent_discriminator,
            "shared_alignment": bool(c.shared_alignment),
            "reconstruction_a": c.autoencoder != "none",
            "reconstruction_b": c.autoencoder != "none",
            "latent": bool(c.latent),
            "contrastive": bool(c.contrastive),
        }
        return tuple(name for name, is_used in used.items() if is_used)

    def rate_factor(self, stage: str, clock: Clock) -> float:
        """Returns 1 as in the paper, or a half cosine down to 0."""
        return (1 + math.cos(math.pi * clock.progress)) / 2 if self.config.decay else 1.0

    def updates(self, batches: Iterator[Paired], clock: Clock) -> Iterator[Update]:
        """Performs two turns: critics on generated items, then generators against the updated critics."""
        batch = next(batches)
        codes: dict[Domain, Codes] = {domain: self._networks(domain).encoder(batch[domain]) for domain in DOMAINS}
        noise = {domain: torch.randn_like(codes[domain].exclusive) for domain in DOMAINS}
        generated: dict[Domain, Tensor] = {}
        reconstructions: dict[Domain, Tensor | None] = {}
        critic_inputs: dict[Domain, CriticInput] = {}
        exclusive_inputs: dict[Domain, CriticInput] = {}
        for domain in DOMAINS:
            auxiliary, opposite = self._auxiliary(domain), other(domain)
            generated[domain], reconstructions[domain] = self._generate(domain, codes, noise[domain])
            critic_inputs[domain] = CriticInput(auxiliary.critic, batch[opposite], batch[domain], generated[domain])
            if auxiliary.decoder and auxiliary.exclusive_critic:
                # section 2.1, exclusive representation
                code = expand_code(reversed_gradient(codes[domain].exclusive), codes[domain].shared)
                image, critic = auxiliary.decoder(code), auxiliary.exclusive_critic
                exclusive_inputs[domain] = CriticInput(critic, batch[domain], batch[opposite], image)

        yield {"critics": self._critics(critic_inputs, exclusive_inputs, codes)}

        c = self.config
        kinds: dict[str, Terms] = {name: {} for name in self.generator_players()}
        for domain in DOMAINS:
            code, opposite = codes[domain], codes[other(domain)]
            kinds["gan"][f"generator_{domain}"] = -c.gan * _score(critic_inputs[domain])  # eq. 4
            if domain in exclusive_inputs:
                score = _score(exclusive_inputs[domain])
                kinds["exclusive_gan"][f"exclusive_generator_{domain}"] = -c.exclusive_gan * score
            # section 2.1, reconstructing the latent space
            if discriminator := self._auxiliary(domain).latent_discriminator:
                loss = functional.softplus(-discriminator(code.exclusive).float()).mean()
                kinds["latent_gan"][f"latent_generator_{domain}"] = c.latent_gan * loss
            if (reconstruction := reconstructions[domain]) is not None:
                name = f"reconstruction_{domain}"
                kinds[name][name] = c.reconstruction * (reconstruction - batch[domain]).abs().mean()  # eq. 5
            if c.latent:  # eq. 2: S of the image that was translated, and the noise
                with fixed_statistics(self._networks(domain).encoder):
                    encoded = self._networks(domain).encoder(generated[domain])
                shared, exclusive = encoded.shared - opposite.shared, encoded.exclusive - noise[domain]
                kinds["latent"][f"latent_shared_{domain}"] = c.latent * shared.abs().mean()
                kinds["latent"][f"latent_exclusive_{domain}"] = c.latent * exclusive.abs().mean()
            if c.contrastive:
                kinds["contrastive"][f"contrastive_{domain}"] = c.contrastive * sample_contrastive_loss(
                    ranks.gather(code.shared)
                )
        if c.shared_alignment:
            difference = codes["a"].shared - codes["b"].shared
            kinds["shared_alignment"]["shared_alignment"] = c.shared_alignment * difference.abs().mean()  # eq. 1
        if c.separate_optimisers:
            yield {**kinds}
        else:
            yield {"generators": {name: term for terms in kinds.values() for name, term in terms.items()}}  # eq. 6

    def _generate(self, domain: Domain, codes: Mapping[Domain, Codes], noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """Generates items of `domain` in one pass: translations with noise, and reconstructions."""
        shared, side = codes[other(domain)].shared, self._networks(domain)
        if self.config.autoencoder == "none":
            return side.decode(shared, noise), None
        own = shared if self.config.autoencoder == "cross" else codes[domain].shared
        both = side.decode(torch.cat([shared, own]), torch.cat([noise, codes[domain].exclusive]))
        translation, reconstruction = both.chunk(2)
        return translation, reconstruction

    def _critics(
        self,
        critic_inputs: Mapping[Domain, CriticInput],
        exclusive_inputs: Mapping[Domain, CriticInput],
        codes: Mapping[Domain, Codes],
    ) -> Terms:
        """Computes eq. 3 for each critic and the cross entropy of D_z, and the diagnostics."""
        terms: Terms = {}
        for name, views in (("", critic_inputs), ("exclusive_", exclusive_inputs)):
            for domain, view in views.items():
                critic, source, real, generated = view.critic, view.source, view.real, view.generated.detach()
                scores = critic(torch.cat([source, source]), torch.cat([real, generated]))
                distance = scores[: len(real)].mean() - scores[len(real) :].mean()
                steepness = interpolated_gradient_norms(critic, source, real, generated)
                terms[f"{name}critic_{domain}"] = -distance
                terms[f"{name}penalty_{domain}"] = self.config.penalty * gradient_penalty(steepness)
                self.diagnostics[f"{name}critic distance {domain}"] = distance.detach()
                self.diagnostics[f"{name}critic slope {domain}"] = steepness.detach().mean()
        for domain in DOMAINS:
            if discriminator := self._auxiliary(domain).latent_discriminator:
                code = codes[domain].exclusive.detach()
                real, generated = discriminator(torch.randn_like(code)).float(), discriminator(code).float()
                terms[f"latent_discriminator_{domain}"] = (
                    functional.softplus(-real).mean() + functional.softplus(generated).mean()
                )
            shared = ranks.gather(codes[domain].shared.detach())
            # over images; the decoders' noise lies on top
            self.diagnostics[f"shared deviation {domain}"] = shared.std(0, correction=0).mean()
            # vectors of k independent values of one size have squared cosines of 1/k on average
            self.diagnostics[f"shared dimensions {domain}"] = shared.shape[1] / sample_contrastive_loss(shared).clamp(
                min=1e-6
            )
            exclusive = ranks.gather(
                codes[domain].exclusive.detach()
            )  # the noise that is drawn in its place has 0 and 1
            self.diagnostics[f"exclusive mean {domain}"] = exclusive.mean(0).abs().mean()
            self.diagnostics[f"exclusive deviation {domain}"] = exclusive.std(0, correction=0).mean()
        return terms

    def diagnose(self, diagnostics: dict[str, float]) -> list[str]:
        """Returns warnings of critics whose gradient norm is far from 1, or that score generated items above real."""
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

    def _networks(self, domain: Domain) -> DomainNetworks:
        return self.a if domain == "a" else self.b

    def _auxiliary(self, domain: Domain) -> AuxiliaryNetworks:
        return self.auxiliary_a if domain == "a" else self.auxiliary_b

    def encode(self, x: Tensor, domain: Domain) -> Codes:
        """Encodes items, (n, *spec[domain].shape), to S and E (section 2.1)."""
        return self._networks(domain).encoder(x)

    def decode(self, codes: Codes, domain: Domain) -> Tensor:
        """Decodes codes by F_d or G_d to items, (n, *spec[domain].shape)."""
        return self._networks(domain).decode(codes.shared, codes.exclusive)

    def prior(self, n: int, domain: Domain, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Samples exclusive codes from N(0, I), (n, d). See `Disentangler.prior`."""
        return torch.randn(n, self.config.exclusive, generator=generator, device=generator.device)

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        """Translates S of x with noise, or with the given exclusive codes (section 2.1). See `Translator.translate`."""
        codes = self.encode(x, src)
        if style is None:
            style = torch.randn_like(codes.exclusive)
        return self.decode(Codes(codes.shared, style.to(x.device)), dst)


def sample_contrastive_loss(shared: Float[Tensor, "n c *places"]) -> Float[Tensor, ""]:
    """Computes the sample-contrastive loss: the squared cosine between values of two images at the same place, times c.

    It is averaged over places and pairs of images: 1 for values that vary independently, c if all images are equal, 0
    for a single image. Over many batches it is equivalent to decorrelating the c values of a place (Garrido et al.
    2023).
    """
    n, c = shared.shape[:2]
    codes = functional.normalize(shared.flatten(2) if shared.ndim > 2 else shared[:, :, None], dim=1)
    cosines = torch.einsum("icp,jcp->pij", codes, codes).float()
    pairs = n * (n - 1) * len(cosines)
    return c * (cosines.square().sum() - cosines.diagonal(dim1=1, dim2=2).square().sum()) / max(pairs, 1)


def _score(view: CriticInput) -> Tensor:
    return view.critic(view.source, view.generated).mean()


def depth(spec: ImageSpec, config: CdDNConfig) -> int:
    """Returns the number of layers of stride 2 for images of this size."""
    return halvings(spec.height, spec.width, config.map_size, len(config.widths) + 1)


def _check(spec: DataSpec, config: CdDNConfig) -> tuple[Spec, Spec]:
    """Returns both specs. Raises UserError for settings that don't fit the data."""
    if isinstance(spec.a, VectorSpec) and isinstance(spec.b, VectorSpec):
        return spec.a, spec.b
    if not (isinstance(spec.a, ImageSpec) and isinstance(spec.b, ImageSpec)):
        raise UserError(f"CdDN needs two domains of one kind; found {spec.a} and {spec.b}")
    counts = {len(config.widths), len(config.decoder_widths), len(config.dropout)}
    if len(counts) > 1:
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
