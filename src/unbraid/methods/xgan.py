"""XGAN [1]: two autoencoders that share their inner layers, and so one semantic embedding for both domains.

Encoders share their last layers, decoders their first. A classifier predicts the domain of an embedding, and through a
gradient reversal layer the encoders learn to make that impossible. Translations should keep their embedding (semantic
consistency) and pass a discriminator; with a teacher, the embeddings of one domain should predict its features.

[1] A. Royer, K. Bousmalis, S. Gouws, F. Bertsch, I. Mosseri, F. Cole, K. Murphy: XGAN: Unsupervised Image-to-Image
Translation for Many-to-Many Mappings, 2017.

Legend: n items, c channels, h height, w width, d size of the embedding. x is an item of domain a (the paper's D_1), y
one of b (D_2); e_1, e_2 are the encoders, d_1, d_2 the decoders, g_1->2 = d_2 after e_1.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import batch_norm, cosine_similarity, cross_entropy, normalize, softplus
from torch.optim import Adam, Optimizer

from unbraid.core.bounds import Positive, Share, Size, Sizes, Weight
from unbraid.core.config import PerceptualConfig
from unbraid.core.method import Clock, Method, Terms, Update, small_images
from unbraid.core.types import DOMAINS, Codes, DataSpec, Domain, ImageSpec, Unpaired, UserError, other
from unbraid.data.parts import Part
from unbraid.nn.blocks import SLOPE, FitSize, Upsampling, doubling, fixed_statistics, up
from unbraid.nn.functional import reversed_gradient
from unbraid.nn.patch import generator_loss, r1_penalty, r1_weight
from unbraid.nn.pretrained.teacher import EFFICIENTNET_SIZE, Teacher, find_teacher
from unbraid.nn.residual import both_images

SEPARATE = 95.0
"""Accuracy of the domain classifier in percent from which the domains' embeddings are separate."""


@dataclass(frozen=True)
class XGANConfig:
    """Settings of XGAN. Defaults are the paper's networks (table 1) and rate, except for the deviations in
    docs/methods/xgan.md. The paper gives no weights: those are ours."""

    widths: Sizes = (32, 64, 128, 256)
    """Channels of the encoders' convolutions, each of stride 2."""
    decoder_widths: Sizes = (512, 256, 128, 64)
    """Channels of the decoders' maps before the image; as many as `widths`."""
    dense: Size = 1024
    """Size of the fully connected layer before the embedding."""
    embedding: Size = 1024
    """Size of the embedding, which has norm 1."""
    sharing: Literal["high", "middle"] = "high"
    """Shared layers. high: the last two convolutions and all fully connected layers of the encoders, the first two
    layers of the decoders. middle: the fully connected layer of the embedding only (ablation of section 5)."""
    statistics: Literal["own", "both"] = "own"
    """Batch-norm statistics in the encoder's shared layers. own: each domain's, so that mean and deviation of each
    channel are equal in both domains from the start. both: those of both domains together."""
    start: Literal["alike", "apart"] = "alike"
    """Initialisation of the domains' own layers. alike: equal weights in both domains, so that similar images start
    with similar embeddings. apart: independent weights, after which unrelated colours may be paired."""
    discriminator_widths: Sizes = (16, 32, 32, 32)
    """Channels of a discriminator's convolutions."""
    discriminator_batch: Literal["together", "apart"] = "apart"
    """Batches of a discriminator's batch-norm. together: real and translated items in one batch, so that differences in
    their means are kept; apart: separate batches."""
    discriminator_norm: Literal["batch", "none"] = "batch"
    """Normalisation in discriminators. none: they see colours, which batch-norm takes away."""
    r1: Weight = 0.0
    """Weight of the R1 gradient penalty of the discriminators (times 1/2); 0 leaves it out. Not in the paper."""
    upsampling: Upsampling = "transposed"
    """Upsampling in decoders. nearest (nearest-neighbour, then a convolution) avoids checkerboard artifacts."""
    classifier: Size = 256
    """Size of the hidden layer of the domain classifier, which the paper doesn't give."""
    reconstruction: Weight = 10.0
    """Weight of eq. 2, here a mean over values where the paper has a sum."""
    domain: Weight = 1.0
    """Weight of eq. 3; 0 leaves the domain classifier out."""
    semantic: Weight = 1.0
    """Weight of eq. 4; 0 leaves semantic consistency out (ablation of section 5)."""
    gan: Weight = 0.01
    """Weight of eq. 6; 0 leaves the discriminators out (ablation of appendix 7.4)."""
    gan_towards: Literal["b", "a", "both"] = "b"
    """Domains with a discriminator: the target domain only, or both."""
    smoothness: Weight = 0.0
    """Weight of the total variation of translations to these domains, an alternative to the GAN in appendix 7.4.1."""
    teacher: str | None = None
    """Teacher: vgg16, efficientnet-lite0, timm/NAME[@FILE], or MODULE:FUNCTION, a function of images (n, c, h, w) in
    [-1, 1] that returns (n, d). `embedding` must be its d."""
    teacher_domains: tuple[Domain, ...] = ("a",)
    """Domain whose embeddings should predict the teacher's features."""
    teach: Weight = 1.0
    """Weight of the teacher's loss."""
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)
    """Sources of VGG16's weights, if it is the teacher."""
    rate: Positive = 1e-4
    """Adam's learning rate for all networks except discriminators."""
    discriminator_rate: Positive = 1e-4
    """Adam's learning rate for the discriminators."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """Adam's betas, of all optimisers."""


SMALL_IMAGES = XGANConfig(
    upsampling="nearest", discriminator_norm="none", discriminator_rate=3e-4, gan=0.1, gan_towards="both"
)
"""For images of up to 128 px, with `R1_PER_PIXEL`: without the dots that the paper's networks end with."""
SMALL_NOTE = "Images of up to 128 px: decoders and discriminators that leave no dots, instead of the paper's"


def conv(channels: int, width: int, norm: bool = True) -> nn.Sequential:
    """Builds a 4x4 convolution of stride 2, batch-norm and ReLU: (n, channels, h, w) -> (n, width, h/2, w/2).

    Args:
        channels: Channels of the input.
        width: Channels of the output.
        norm: Include batch-norm; otherwise the layer has a bias and ReLU is leaky.
    """
    layer = nn.Conv2d(channels, width, 4, 2, 1, bias=not norm)
    if not norm:
        return nn.Sequential(layer, nn.LeakyReLU(SLOPE, inplace=True))
    return nn.Sequential(layer, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def _encoder_layers(channels: int, map_size: tuple[int, int], config: XGANConfig) -> list[nn.Module]:
    """Builds the layers of an encoder (table 1a), up to the embedding before its normalisation."""
    height, width = map_size
    ins = [channels, *config.widths[:-1]]
    dense = nn.Linear(config.widths[-1] * height * width, config.dense, bias=False)
    return [
        *(conv(i, o) for i, o in zip(ins, config.widths, strict=True)),
        nn.Sequential(nn.Flatten(), dense, nn.BatchNorm1d(config.dense), nn.ReLU(inplace=True)),
        nn.Linear(config.dense, config.embedding),
    ]


class OnePlace(nn.ConvTranspose2d):
    """Transposed convolution of a 1x1 map, computed as a matrix product, which is many times faster.

    Shape: (n, channels, 1, 1) -> (n, width, *kernel).
    """

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Applies the layer; the result is channels-last."""
        kernel = self.weight.permute(0, 2, 3, 1)
        return (x.flatten(1) @ kernel.flatten(1)).unflatten(1, kernel.shape[1:]).permute(0, 3, 1, 2)


def _decoder_layers(channels: int, map_size: tuple[int, int], config: XGANConfig) -> list[nn.Module]:
    """Builds the layers of a decoder (table 1b), from the embedding to the image before tanh."""
    first, *rest = config.decoder_widths
    start = nn.Sequential(
        nn.Unflatten(1, (config.embedding, 1, 1)),
        OnePlace(config.embedding, first, map_size, bias=False),
        nn.BatchNorm2d(first),
        nn.ReLU(inplace=True),
    )
    ups = [up(i, o, upsampling=config.upsampling) for i, o in zip(config.decoder_widths[:-1], rest, strict=True)]
    return [start, *ups, doubling(config.decoder_widths[-1], channels, config.upsampling, bias=True)]


class DomainNorm(nn.Module):
    """Batch-norm with separate statistics for each domain, and one scale and shift: (n, width, ...) -> the same."""

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({domain: type(norm)(norm.num_features, affine=False) for domain in DOMAINS})
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor, domain: Domain) -> Tensor:
        """Normalises items of one domain."""
        own = self.norms[domain]
        assert isinstance(own, nn.BatchNorm1d | nn.BatchNorm2d)
        return batch_norm(
            x, own.running_mean, own.running_var, self.weight, self.bias, self.training, own.momentum or 0.0, own.eps
        )


class DomainLayers(nn.Sequential):
    """Sequence of layers for both domains, in which only batch-norm depends on the domain."""

    def forward(self, x: Tensor, domain: Domain) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Applies the layers to items of one domain."""
        for layer in self:
            x = layer(x, domain) if isinstance(layer, DomainLayers | DomainNorm) else layer(x)
        return x


def with_domain_norm(layers: nn.Sequential) -> DomainLayers:
    """Returns the layers with `DomainNorm` in place of batch-norm."""
    found: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.Sequential):
            found.append(with_domain_norm(layer))
        else:
            found.append(DomainNorm(layer) if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) else layer)
    return DomainLayers(*found)


class Discriminator(nn.Module):
    """Discriminator (table 1c): convolutions of stride 2, then one logit per image: (n, c, h, w) -> (n,)."""

    def __init__(self, spec: ImageSpec, config: XGANConfig) -> None:
        super().__init__()
        widths, norm = config.discriminator_widths, config.discriminator_norm == "batch"
        self.size = FitSize(spec.height, spec.width, len(widths))
        height, width = self.size.map_size
        ins = [spec.channels, *widths[:-1]]
        self.body = nn.Sequential(*(conv(i, o, norm) for i, o in zip(ins, widths, strict=True)), nn.Flatten())
        self.logit = nn.Linear(widths[-1] * height * width, 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """Returns the logits, float32."""
        return self.logit(self.body(self.size.pad(x))).float().squeeze(1)


class XGAN(Method[Unpaired]):
    """XGAN [1]. Trains on two unpaired domains of images of one size; translates and disentangles.

    The shared code is the embedding, (n, d) with norm 1. The exclusive code is empty, (n, 0), so each item has one
    translation.

    Example:
        >>> from unbraid.core.types import DataSpec, ImageSpec
        >>> spec = DataSpec(ImageSpec(32, 32, 3), ImageSpec(32, 32, 1))
        >>> model = XGAN(spec, XGANConfig(dense=16, embedding=8)).eval()
        >>> codes = model.encode(torch.zeros(2, 3, 32, 32), "a")
        >>> tuple(codes.shared.shape), tuple(codes.exclusive.shape)
        ((2, 8), (2, 0))
    """

    needs = Unpaired
    config_type = XGANConfig
    config: XGANConfig
    training_only = ("classifier", "discriminators")
    renamed: ClassVar[Mapping[str, str]] = {
        "gan_a": "generator_a",
        "gan_b": "generator_b",
        "domain told, %": "domain accuracy, %",
    }

    def __init__(self, spec: DataSpec, config: XGANConfig) -> None:
        super().__init__(spec, config)
        sides = _check(spec, config)
        self.size = FitSize(spec.a.height, spec.a.width, len(config.widths))  # pyright: ignore[reportAttributeAccessIssue]
        own = len(config.widths) - 2 if config.sharing == "high" else len(config.widths) + 1
        encoders = {d: _encoder_layers(side.channels, self.size.map_size, config) for d, side in sides.items()}
        self.own_encoders = nn.ModuleDict({d: nn.Sequential(*layers[:own]) for d, layers in encoders.items()})
        shared = nn.Sequential(*encoders["a"][own:])
        self.shared_encoder = with_domain_norm(shared) if config.statistics == "own" else shared
        common = 2 if config.sharing == "high" else 0
        decoders = {d: _decoder_layers(side.channels, self.size.map_size, config) for d, side in sides.items()}
        self.shared_decoder = nn.Sequential(*decoders["a"][:common])
        self.own_decoders = nn.ModuleDict({d: nn.Sequential(*layers[common:]) for d, layers in decoders.items()})
        if config.start == "alike":
            for own_layers in (self.own_encoders, self.own_decoders):
                _copy_initial_weights(own_layers["a"], own_layers["b"])
        self.classifier: nn.Module | None = None
        if config.domain:
            self.classifier = nn.Sequential(
                nn.Linear(config.embedding, config.classifier),
                nn.ReLU(inplace=True),
                nn.Linear(config.classifier, len(DOMAINS)),
            )
        self.discriminated: tuple[Domain, ...] = discriminated_domains(config) if config.gan else ()
        self.discriminators = nn.ModuleDict(
            {domain: Discriminator(sides[domain], config) for domain in self.discriminated}
        )
        self._teacher: tuple[Teacher, ...] = ()  # not an attribute that would make a network of it part of this one

    @classmethod
    def default_config(cls, spec: DataSpec) -> tuple[XGANConfig, list[str]]:
        """Returns other decoders and discriminators for small images."""
        if not small_images(spec):
            return XGANConfig(), []
        return small_config(spec), [SMALL_NOTE]

    @classmethod
    def resolve_config(cls, config: XGANConfig, train: Part) -> tuple[XGANConfig, list[str]]:
        """Adds a note if the teacher resizes the images."""
        notes = []
        if config.teacher == "efficientnet-lite0" and config.teacher_domains:
            spec = train.domain(config.teacher_domains[0])[0].spec
            if isinstance(spec, ImageSpec) and (spec.height, spec.width) != (EFFICIENTNET_SIZE, EFFICIENTNET_SIZE):
                size = f"{EFFICIENTNET_SIZE}x{EFFICIENTNET_SIZE}"
                notes.append(f"The teacher {config.teacher} sees images of {spec.height}x{spec.width} at {size}")
        return config, notes

    def prepare(self) -> None:
        """Loads the teacher. Raises UserError if it is missing or doesn't fit."""
        c = self.config
        if c.teacher:
            domain = c.teacher_domains[0]
            spec = self.spec[domain]
            assert isinstance(spec, ImageSpec)
            self._teacher = (find_teacher(c.teacher, spec, c.embedding, c.perceptual),)

    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        """Returns Adam with rate 1e-4 (section 3.1): one for the model, and one for discriminators."""
        rates = {"model": self.config.rate, "discriminators": self.config.discriminator_rate}
        players: dict[str, list[nn.Parameter]] = {"model": [], "discriminators": []}
        for name, parameter in self.named_parameters():
            players["discriminators" if name.startswith("discriminators") else "model"].append(parameter)
        return {
            name: Adam(parameters, lr=rates[name], betas=self.config.betas, fused=True)
            for name, parameters in players.items()
            if parameters
        }

    def updates(self, batches: Iterator[Unpaired], clock: Clock) -> Iterator[Update]:
        """Minimises eq. 1 over all networks except the discriminators, then trains these (section 3.1)."""
        c, batch = self.config, next(batches)
        embedded = self._embed({domain: batch[domain] for domain in DOMAINS})
        reconstructed, translated = self._decode_all(embedded)  # by target domain
        terms: Terms = {
            f"reconstruction_{domain}": c.reconstruction
            * (reconstructed[domain] - batch[domain]).square().mean()  # eq. 2
            for domain in DOMAINS
        }
        if self.classifier is not None:
            terms["domain"] = c.domain * self._domain_loss(self.classifier, embedded)  # eq. 3
        if c.semantic:
            with fixed_statistics(self.own_encoders, self.shared_encoder):
                found = self._embed(translated)
            for domain in DOMAINS:
                way = f"semantic_{other(domain)}_to_{domain}"
                terms[way] = c.semantic * cosine_distance(embedded[other(domain)], found[domain])  # eq. 4
        if c.smoothness:
            for domain in discriminated_domains(c):  # appendix 7.4.1
                terms[f"smoothness_{domain}"] = c.smoothness * total_variation(translated[domain])
        for domain in self.discriminated:
            beside = batch[domain] if c.discriminator_batch == "together" else None
            _, false = self._logits(beside, translated[domain], domain)
            terms[f"generator_{domain}"] = c.gan * generator_loss(false, "logistic")  # eq. 5
        for teacher in self._teacher:
            for domain in c.teacher_domains:
                device = batch[domain].device
                if isinstance(teacher, nn.Module):
                    teacher.to(device)
                with torch.no_grad(), torch.autocast(device.type, enabled=False):
                    features = teacher(batch[domain])
                terms[f"teach_{domain}"] = c.teach * cosine_distance(embedded[domain], features)  # section 3, L_teach
        yield {"model": terms}

        if self.discriminated:
            losses: Terms = {}
            for domain in self.discriminated:
                real, false = self._logits(batch[domain], translated[domain].detach(), domain)
                losses[f"discriminator_{domain}"] = softplus(-real).mean() + softplus(false).mean()  # eq. 6
                if c.r1:
                    losses[f"r1_{domain}"] = c.r1 / 2 * r1_penalty(self.discriminators[domain], batch[domain])
            yield {"discriminators": losses}

    def _logits(self, real: Tensor | None, translated: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
        """Returns logits of real and translated items of a domain, (n,) each; empty ones if no real items are given."""
        discriminator = self.discriminators[domain]
        if real is None:
            return translated.new_empty(0), discriminator(translated)
        if self.config.discriminator_batch == "apart":
            return discriminator(real), discriminator(translated)
        one, two = discriminator(torch.cat([real, translated])).split([len(real), len(translated)])
        return one, two

    def _embed(self, items: Mapping[Domain, Tensor]) -> dict[Domain, Tensor]:
        """Returns e_1 and e_2: embeddings (n, d) of items of each domain."""
        maps = {domain: self.own_encoders[domain](self.size.pad(x)) for domain, x in items.items()}
        if self.config.statistics == "own":
            found = [self.shared_encoder(x, domain) for domain, x in maps.items()]
        else:
            found = self.shared_encoder(torch.cat([*maps.values()])).split([x.shape[0] for x in maps.values()])
        return dict(zip(items, [normalize(x.float(), dim=1) for x in found], strict=True))

    def _decode_all(self, embedded: Mapping[Domain, Tensor]) -> tuple[dict[Domain, Tensor], dict[Domain, Tensor]]:
        """Decodes each domain's reconstructions and the translations to it; each decoder has one batch of both."""
        both = self.shared_decoder(torch.cat([*embedded.values()]))
        maps = dict(zip(embedded, both.split([len(part) for part in embedded.values()]), strict=True))
        reconstructed, translated = {}, {}
        for domain in DOMAINS:
            both = self._image(torch.cat([maps[domain], maps[other(domain)]]), domain)
            reconstructed[domain], translated[domain] = both.split([len(maps[domain]), len(maps[other(domain)])])
        return reconstructed, translated

    def _image(self, maps: Tensor, domain: Domain) -> Tensor:
        return self.size.crop(torch.tanh(self.own_decoders[domain](maps).float()))

    def _domain_loss(self, classifier: nn.Module, embedded: Mapping[Domain, Tensor]) -> Float[Tensor, ""]:
        """Computes the cross entropy of the domain classifier, with reversed gradient for the encoders, and its
        accuracy as a diagnostic."""
        # an embedding of length 1 has tiny values, by which the classifier learns too slowly to follow the encoders: it
        # was wrong as often as right while the domains lay apart. So it sees values of size 1
        values = math.sqrt(self.config.embedding) * torch.cat([embedded["a"], embedded["b"]])
        logits = classifier(reversed_gradient(values)).float()
        counts, device = [len(embedded[domain]) for domain in DOMAINS], logits.device
        domains = torch.cat([torch.full((count,), number, device=device) for number, count in enumerate(counts)])
        self.diagnostics["domain accuracy, %"] = 100 * (logits.detach().argmax(1) == domains).float().mean()
        return cross_entropy(logits, domains)

    def diagnose(self, diagnostics: dict[str, float]) -> list[str]:
        """Returns a warning if the classifier predicts the domain of embeddings: the failure of appendix 7.4."""
        if diagnostics.get("domain accuracy, %", 0.0) < SEPARATE:
            return []
        change = "--method.domain" if self.config.statistics == "own" else "--method.statistics"
        return [
            f"the classifier predicts the domain of over {SEPARATE:g} % of the embeddings, where 50 % is healthy, so "
            f"the domains don't meet and translations will be poor. In another run folder, change {change}"
        ]

    def encode(self, x: Tensor, domain: Domain) -> Codes:
        """Returns embeddings and empty exclusive codes of items, (n, *spec[domain].shape)."""
        return Codes(self._embed({domain: x})[domain], x.new_zeros(x.shape[0], 0))

    def decode(self, codes: Codes, domain: Domain) -> Tensor:
        """Decodes embeddings by d_1 or d_2, (n, *spec[domain].shape)."""
        return self._image(self.shared_decoder(codes.shared), domain)

    def prior(self, n: int, domain: Domain, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Returns empty codes, (n, 0). See `Disentangler.prior`."""
        return torch.zeros(n, 0, device=generator.device)

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        """Translates x by g_1->2 or g_2->1 (section 3); ignores `style`. See `Translator.translate`."""
        return self.decode(self.encode(x, src), dst)


def small_config(spec: DataSpec) -> XGANConfig:
    """Returns `SMALL_IMAGES` with the R1 penalty for images of this size."""
    return replace(SMALL_IMAGES, r1=r1_weight(spec))


def _copy_initial_weights(model: nn.Module, follower: nn.Module) -> None:
    """Copies the weights of `model` to `follower`, except where shapes differ, with the images' channels."""
    with torch.no_grad():
        for value, own in zip(model.parameters(), follower.parameters(), strict=True):
            if own.shape == value.shape:
                own.copy_(value)


def discriminated_domains(config: XGANConfig) -> tuple[Domain, ...]:
    """Returns the domains with a discriminator."""
    return DOMAINS if config.gan_towards == "both" else (config.gan_towards,)


def total_variation(x: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """Returns the mean absolute difference of neighbouring pixels, vertical plus horizontal."""
    return x.diff(dim=2).abs().mean() + x.diff(dim=3).abs().mean()


def cosine_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Returns the mean of 1 - cos(x, y): appendix 7.1."""
    return (1 - cosine_similarity(x.float(), y.float(), dim=1)).mean()


def _check(spec: DataSpec, config: XGANConfig) -> dict[Domain, ImageSpec]:
    """Returns both specs. Raises UserError for settings that don't fit the data."""
    sides = both_images("XGAN", spec)
    a, b = sides["a"], sides["b"]
    if len(config.widths) != len(config.decoder_widths) or len(config.widths) < 2:
        raise UserError(
            f"--method.widths has {len(config.widths)} entries, --method.decoder-widths {len(config.decoder_widths)}; "
            "give as many of each, two at least"
        )
    if config.sharing == "high" and len(config.widths) == 2 and a.channels != b.channels:
        raise UserError(
            f"--method.sharing high shares the last two convolutions, of two --method.widths all, which then take {a} "
            f"and {b} alike. Give three --method.widths, --method.sharing middle, or --data.channels"
        )
    smallest = 2 ** len(config.widths)
    if min(a.height, a.width) < smallest:
        raise UserError(f"These encoders halve {len(config.widths)} times and need {smallest} pixels; found {a}")
    if config.gan and min(a.height, a.width) < 2 ** len(config.discriminator_widths):
        raise UserError(f"The discriminators need {2 ** len(config.discriminator_widths)} pixels; found {a}")
    if config.teacher and len(config.teacher_domains) != 1:
        given = " ".join(config.teacher_domains) or "none"
        raise UserError(
            f"--method.teacher-domains {given}: give one. A teacher for both would draw the embedding in two "
            "directions at once (section 3)"
        )
    return sides
