"""XGAN [1]: two autoencoders that share their middle, so that both domains meet in one embedding of what is meant.

Encoders begin apart and end together, decoders begin together and end apart. A classifier tries to tell from an
embedding which domain it came from, and through a reversed gradient the encoders learn to leave it in the dark. What is
translated must keep its embedding (semantic consistency), look like its domain (GAN), and, if there is a teacher, one
domain's embeddings follow what it says.

[1] A. Royer, K. Bousmalis, S. Gouws, F. Bertsch, I. Mosseri, F. Cole, K. Murphy: XGAN: Unsupervised Image-to-Image
Translation for Many-to-Many Mappings, 2017.

Legend: n items, c channels, h height, w width, d size of the embedding. x is an item of domain a (the paper's D_1), y
one of b (D_2); e_1, e_2 the encoders, d_1, d_2 the decoders, g_1->2 = d_2 after e_1.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import batch_norm, cosine_similarity, cross_entropy, normalize, softplus
from torch.optim import Adam, Optimizer

from unbraid.core.bounds import Positive, Size, Sizes, Weight
from unbraid.core.config import PerceptualConfig
from unbraid.core.method import Clock, Method, Terms, Update
from unbraid.core.types import DOMAINS, Codes, DataSpec, Domain, ImageSpec, Unpaired, UserError, other
from unbraid.data.parts import Part
from unbraid.nn.blocks import FitSize, fixed_statistics, up
from unbraid.nn.functional import reversed_gradient
from unbraid.nn.pretrained.teacher import EFFICIENTNET_SIZE, Teacher, find_teacher

TOLD = 95.0
"""Percent of embeddings whose domain the classifier tells, from which on the domains don't meet."""


@dataclass(frozen=True)
class XGANConfig:
    """What can be chosen. The defaults are the paper's networks (table 1) and rate, but for the deviations in
    docs/methods/xgan.md. It gives no weights: those are ours."""

    widths: Sizes = (32, 64, 128, 256)
    """Channels of the encoders' convolutions, each of which halves the size."""
    decoder_widths: Sizes = (512, 256, 128, 64)
    """Channels of the decoders' maps before the image's; as many as `widths`."""
    dense: Size = 1024
    """Width of the fully connected layer before the embedding."""
    embedding: Size = 1024
    """Size of the embedding, which has length 1."""
    sharing: Literal["high", "middle"] = "high"
    """Layers that both domains share. high: the last two convolutions and all fully connected layers, the first two of
    the decoders. middle: the fully connected layer that makes the embedding, alone (ablation of section 5)."""
    statistics: Literal["own", "both"] = "own"
    """By what batch-norm in the encoder's shared layers normalises. own: each domain by itself, so that mean and
    deviation of every channel are alike in both before anything is learned. both: the two together."""
    start: Literal["alike", "apart"] = "alike"
    """What the domains' own layers begin as. alike: with the same values in both, so that what looks alike lies close
    from the first step on. apart: each drawn by itself, after which colours may come to be paired with others."""
    discriminator_widths: Sizes = (16, 32, 32, 32)
    """Channels of a discriminator's convolutions."""
    discriminator_batch: Literal["together", "apart"] = "apart"
    """What a discriminator's batch-norm normalises over. together: real and translated items in one pass, so that what
    sets them apart on average stays; apart: each by itself."""
    classifier: Size = 256
    """Hidden width of the classifier of domains, whose layers the paper doesn't give."""
    reconstruction: Weight = 10.0
    """Weight of eq. 2, here a mean over values where the paper has their sum."""
    domain: Weight = 1.0
    """Weight of eq. 3; 0 leaves the classifier out."""
    semantic: Weight = 1.0
    """Weight of eq. 4; 0 leaves semantic consistency out (ablation of section 5)."""
    gan: Weight = 0.01
    """Weight of eq. 6; 0 leaves the discriminators out (ablation of appendix 7.4)."""
    gan_towards: Literal["b", "a", "both"] = "b"
    """Domains with a discriminator: that which is translated to for good, or both."""
    smoothness: Weight = 0.0
    """Weight of the total variation of translations to these domains, which appendix 7.4.1 tries in place of a GAN."""
    teacher: str | None = None
    """vgg16, efficientnet-lite0, or MODULE:FUNCTION, a function of one's own: images (n, c, h, w) in [-1, 1] to (n, d).
    `embedding` must have its size."""
    teacher_domains: tuple[Domain, ...] = ("a",)
    """The one domain whose embeddings follow the teacher."""
    teach: Weight = 1.0
    """Weight of the teacher's loss."""
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)
    """Where VGG16's weights come from, if it is the teacher."""
    rate: Positive = 1e-4
    """Adam's learning rate of all but the discriminators."""
    discriminator_rate: Positive = 1e-4
    """Adam's learning rate of the discriminators."""


def conv(channels: int, width: int) -> nn.Sequential:
    """conv 4x4 stride 2, batch-norm, relu: (n, channels, h, w) -> (n, width, h/2, w/2)."""
    return nn.Sequential(nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def encoder_layers(channels: int, map_size: tuple[int, int], config: XGANConfig) -> list[nn.Module]:
    """Table 1a: the convolutions, the fully connected layer, and that which makes the embedding before it is
    normalised."""
    height, width = map_size
    ins = [channels, *config.widths[:-1]]
    dense = nn.Linear(config.widths[-1] * height * width, config.dense, bias=False)
    return [
        *(conv(i, o) for i, o in zip(ins, config.widths, strict=True)),
        nn.Sequential(nn.Flatten(), dense, nn.BatchNorm1d(config.dense), nn.ReLU(inplace=True)),
        nn.Linear(config.dense, config.embedding),
    ]


class OnePlace(nn.ConvTranspose2d):
    """A transposed convolution of a map of one place, as the one product that it is: (n, channels, 1, 1) -> (n, width,
    *kernel). Convolution libraries are many times slower at it."""

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """(n, channels, 1, 1) -> (n, width, *kernel), channels last."""
        kernel = self.weight.permute(0, 2, 3, 1)
        return (x.flatten(1) @ kernel.flatten(1)).unflatten(1, kernel.shape[1:]).permute(0, 3, 1, 2)


def decoder_layers(channels: int, map_size: tuple[int, int], config: XGANConfig) -> list[nn.Module]:
    """Table 1b: embedding -> map -> ... -> image, before tanh. The first is a transposed convolution of one place."""
    first, *rest = config.decoder_widths
    start = nn.Sequential(
        nn.Unflatten(1, (config.embedding, 1, 1)),
        OnePlace(config.embedding, first, map_size, bias=False),
        nn.BatchNorm2d(first),
        nn.ReLU(inplace=True),
    )
    ups = [up(i, o) for i, o in zip(config.decoder_widths[:-1], rest, strict=True)]
    return [start, *ups, nn.ConvTranspose2d(config.decoder_widths[-1], channels, 4, 2, 1)]


class DomainNorm(nn.Module):
    """Batch-norm by each domain's own statistics, with one scale and one shift: (n, width, ...) -> the same."""

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({domain: type(norm)(norm.num_features, affine=False) for domain in DOMAINS})
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor, domain: Domain) -> Tensor:
        """Items of one domain."""
        own = self.norms[domain]
        assert isinstance(own, nn.BatchNorm1d | nn.BatchNorm2d)
        return batch_norm(
            x, own.running_mean, own.running_var, self.weight, self.bias, self.training, own.momentum or 0.0, own.eps
        )


class DomainLayers(nn.Sequential):
    """Layers for both domains, of which batch-norm alone is told the domain."""

    def forward(self, x: Tensor, domain: Domain) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Items of one domain, through every layer."""
        for layer in self:
            x = layer(x, domain) if isinstance(layer, DomainLayers | DomainNorm) else layer(x)
        return x


def by_domain(layers: nn.Sequential) -> DomainLayers:
    """The same layers, with a `DomainNorm` for every batch-norm."""
    found: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.Sequential):
            found.append(by_domain(layer))
        else:
            found.append(DomainNorm(layer) if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) else layer)
    return DomainLayers(*found)


class Discriminator(nn.Module):
    """Table 1c: convolutions that halve the size, then one logit for each image, (n, c, h, w) -> (n,) float32."""

    def __init__(self, spec: ImageSpec, config: XGANConfig) -> None:
        super().__init__()
        widths = config.discriminator_widths
        self.size = FitSize(spec.height, spec.width, len(widths))
        height, width = self.size.map_size
        ins = [spec.channels, *widths[:-1]]
        self.body = nn.Sequential(*(conv(i, o) for i, o in zip(ins, widths, strict=True)), nn.Flatten())
        self.logit = nn.Linear(widths[-1] * height * width, 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """(n,), float32."""
        return self.logit(self.body(self.size.grow(x))).float().squeeze(1)


class XGAN(Method[Unpaired]):
    """XGAN [1]. Needs two unpaired domains of images of one size; translates, disentangles.

    The shared code is the embedding, (n, d) of length 1. There is no exclusive code, (n, 0), and so one translation.

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

    def __init__(self, spec: DataSpec, config: XGANConfig) -> None:
        super().__init__(spec, config)
        sides = _check(spec, config)
        self.size = FitSize(spec.a.height, spec.a.width, len(config.widths))  # pyright: ignore[reportAttributeAccessIssue]
        own = len(config.widths) - 2 if config.sharing == "high" else len(config.widths) + 1
        encoders = {d: encoder_layers(side.channels, self.size.map_size, config) for d, side in sides.items()}
        self.own_encoders = nn.ModuleDict({d: nn.Sequential(*layers[:own]) for d, layers in encoders.items()})
        shared = nn.Sequential(*encoders["a"][own:])
        self.shared_encoder = by_domain(shared) if config.statistics == "own" else shared
        common = 2 if config.sharing == "high" else 0
        decoders = {d: decoder_layers(side.channels, self.size.map_size, config) for d, side in sides.items()}
        self.shared_decoder = nn.Sequential(*decoders["a"][:common])
        self.own_decoders = nn.ModuleDict({d: nn.Sequential(*layers[common:]) for d, layers in decoders.items()})
        if config.start == "alike":
            for own_layers in (self.own_encoders, self.own_decoders):
                start_alike(own_layers["a"], own_layers["b"])
        self.classifier: nn.Module | None = None
        if config.domain:
            self.classifier = nn.Sequential(
                nn.Linear(config.embedding, config.classifier),
                nn.ReLU(inplace=True),
                nn.Linear(config.classifier, len(DOMAINS)),
            )
        self.judged: tuple[Domain, ...] = judged_domains(config) if config.gan else ()
        self.discriminators = nn.ModuleDict({domain: Discriminator(sides[domain], config) for domain in self.judged})
        self._teacher: tuple[Teacher, ...] = ()  # not an attribute that would make a network of it part of this one

    @classmethod
    def resolve_config(cls, config: XGANConfig, train: Part) -> tuple[XGANConfig, list[str]]:
        """Says so if the teacher sees images at another size than they have."""
        notes = []
        if config.teacher == "efficientnet-lite0" and config.teacher_domains:
            spec = train.domain(config.teacher_domains[0])[0].spec
            if isinstance(spec, ImageSpec) and (spec.height, spec.width) != (EFFICIENTNET_SIZE, EFFICIENTNET_SIZE):
                seen = f"{EFFICIENTNET_SIZE}x{EFFICIENTNET_SIZE}"
                notes.append(f"The teacher {config.teacher} sees images of {spec.height}x{spec.width} at {seen}")
        return config, notes

    def prepare(self) -> None:
        """Finds the teacher. Raises UserError if it is missing or doesn't fit."""
        c = self.config
        if c.teacher:
            domain = c.teacher_domains[0]
            spec = self.spec[domain]
            assert isinstance(spec, ImageSpec)
            self._teacher = (find_teacher(c.teacher, spec, c.embedding, c.perceptual),)

    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        """Two Adams (section 3.1: rate 1e-4): encoders, decoders and the classifier of domains, and the
        discriminators."""
        rates = {"model": self.config.rate, "discriminators": self.config.discriminator_rate}
        players: dict[str, list[nn.Parameter]] = {"model": [], "discriminators": []}
        for name, parameter in self.named_parameters():
            players["discriminators" if name.startswith("discriminators") else "model"].append(parameter)
        return {
            name: Adam(parameters, lr=rates[name], fused=True) for name, parameters in players.items() if parameters
        }

    def updates(self, batches: Iterator[Unpaired], clock: Clock) -> Iterator[Update]:
        """Eq. 1 for all but the discriminators, then the discriminators (section 3.1)."""
        c, batch = self.config, next(batches)
        embedded = self._embed({domain: batch[domain] for domain in DOMAINS})
        again, made = self._show(embedded)  # `made[d]`: items of the other domain shown in d
        terms: Terms = {
            f"reconstruction_{domain}": c.reconstruction * (again[domain] - batch[domain]).square().mean()  # eq. 2
            for domain in DOMAINS
        }
        if self.classifier is not None:
            terms["domain"] = c.domain * self._told(self.classifier, embedded)  # eq. 3
        if c.semantic:
            with fixed_statistics(self.own_encoders, self.shared_encoder):
                found = self._embed(made)
            for domain in DOMAINS:
                way = f"semantic_{other(domain)}_to_{domain}"
                terms[way] = c.semantic * cosine_distance(embedded[other(domain)], found[domain])  # eq. 4
        if c.smoothness:
            for domain in judged_domains(c):  # appendix 7.4.1
                terms[f"smoothness_{domain}"] = c.smoothness * total_variation(made[domain])
        for domain in self.judged:
            beside = batch[domain] if c.discriminator_batch == "together" else None
            _, false = self._judge(beside, made[domain], domain)
            terms[f"gan_{domain}"] = c.gan * softplus(-false).mean()  # eq. 5
        for teacher in self._teacher:
            for domain in c.teacher_domains:
                device = batch[domain].device
                if isinstance(teacher, nn.Module):
                    teacher.to(device)
                with torch.no_grad(), torch.autocast(device.type, enabled=False):
                    said = teacher(batch[domain])
                terms[f"teach_{domain}"] = c.teach * cosine_distance(embedded[domain], said)  # section 3, L_teach
        yield {"model": terms}

        if self.judged:
            told: Terms = {}
            for domain in self.judged:
                real, false = self._judge(batch[domain], made[domain].detach(), domain)
                told[f"discriminator_{domain}"] = softplus(-real).mean() + softplus(false).mean()  # eq. 6
            yield {"discriminators": told}

    def _judge(self, real: Tensor | None, made: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
        """Logits of real and translated items of a domain, (n,) each; of the real ones (0,) where none are given."""
        discriminator = self.discriminators[domain]
        if real is None:
            return made.new_empty(0), discriminator(made)
        if self.config.discriminator_batch == "apart":
            return discriminator(real), discriminator(made)
        one, two = discriminator(torch.cat([real, made])).split([len(real), len(made)])
        return one, two

    def _embed(self, items: Mapping[Domain, Tensor]) -> dict[Domain, Tensor]:
        """e_1 and e_2: embeddings (n, d) of items of each domain."""
        maps = {domain: self.own_encoders[domain](self.size.grow(x)) for domain, x in items.items()}
        if self.config.statistics == "own":
            found = [self.shared_encoder(x, domain) for domain, x in maps.items()]
        else:
            found = self.shared_encoder(torch.cat([*maps.values()])).split([len(x) for x in maps.values()])
        return dict(zip(items, [normalize(x.float(), dim=1) for x in found], strict=True))

    def _show(self, embedded: Mapping[Domain, Tensor]) -> tuple[dict[Domain, Tensor], dict[Domain, Tensor]]:
        """Each domain's items made again, and the other domain's items shown in it; each decoder sees both at once."""
        both = self.shared_decoder(torch.cat([*embedded.values()]))
        maps = dict(zip(embedded, both.split([len(part) for part in embedded.values()]), strict=True))
        again, made = {}, {}
        for domain in DOMAINS:
            both = self._image(torch.cat([maps[domain], maps[other(domain)]]), domain)
            again[domain], made[domain] = both.split([len(maps[domain]), len(maps[other(domain)])])
        return again, made

    def _image(self, maps: Tensor, domain: Domain) -> Tensor:
        return self.size.cut(torch.tanh(self.own_decoders[domain](maps).float()))

    def _told(self, classifier: nn.Module, embedded: Mapping[Domain, Tensor]) -> Float[Tensor, ""]:
        """Cross entropy of the domains that the classifier tells; the encoders get its gradient reversed. How often it
        is right is diagnostics."""
        # an embedding of length 1 has tiny values, by which the classifier learns too slowly to follow the encoders: it
        # was wrong as often as right while the domains lay apart. So it sees values of size 1
        values = math.sqrt(self.config.embedding) * torch.cat([embedded["a"], embedded["b"]])
        logits = classifier(reversed_gradient(values)).float()
        counts, device = [len(embedded[domain]) for domain in DOMAINS], logits.device
        domains = torch.cat([torch.full((count,), number, device=device) for number, count in enumerate(counts)])
        self.diagnostics["domain accuracy, %"] = 100 * (logits.detach().argmax(1) == domains).float().mean()
        return cross_entropy(logits, domains)

    def diagnose(self, diagnostics: dict[str, float]) -> list[str]:
        """About embeddings whose domain is told: the failure of appendix 7.4."""
        if diagnostics.get("domain accuracy, %", 0.0) < TOLD:
            return []
        change = "--method.domain" if self.config.statistics == "own" else "--method.statistics"
        return [
            f"the classifier tells the domain of over {TOLD:g} % of the embeddings where half would be healthy, so "
            f"the domains don't meet and translations will be poor. In another run folder, change {change}"
        ]

    def encode(self, x: Tensor, domain: Domain) -> Codes:
        """The embedding, and nothing. x: (n, *spec[domain].shape)."""
        return Codes(self._embed({domain: x})[domain], x.new_zeros(len(x), 0))

    def decode(self, codes: Codes, domain: Domain) -> Tensor:
        """d_1 or d_2: (n, *spec[domain].shape)."""
        return self._image(self.shared_decoder(codes.shared), domain)

    def prior(self, n: int, domain: Domain, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """(n, 0): nothing is drawn."""
        return torch.zeros(n, 0, device=generator.device)

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        """g_1->2 or g_2->1 (section 3). There is no style. (n, *spec[dst].shape)."""
        return self.decode(self.encode(x, src), dst)


def start_alike(model: nn.Module, follower: nn.Module) -> None:
    """Gives the follower the model's values, but where shapes differ: the layers of images of other channels."""
    with torch.no_grad():
        for value, own in zip(model.parameters(), follower.parameters(), strict=True):
            if own.shape == value.shape:
                own.copy_(value)


def judged_domains(config: XGANConfig) -> tuple[Domain, ...]:
    """Those whose translations have to look like something."""
    return DOMAINS if config.gan_towards == "both" else (config.gan_towards,)


def total_variation(x: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """Mean absolute difference of neighbours, down plus across."""
    return x.diff(dim=2).abs().mean() + x.diff(dim=3).abs().mean()


def cosine_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Mean of 1 - cos(x, y): appendix 7.1."""
    return (1 - cosine_similarity(x.float(), y.float(), dim=1)).mean()


def _check(spec: DataSpec, config: XGANConfig) -> dict[Domain, ImageSpec]:
    """Both specs. UserError for what can't be built."""
    a, b = spec.a, spec.b
    if not (isinstance(a, ImageSpec) and isinstance(b, ImageSpec)):
        raise UserError(f"XGAN works on images; found {a} and {b}")
    if (a.height, a.width) != (b.height, b.width):
        raise UserError(f"XGAN needs images of one size in both domains; found {a} and {b}. Give --data.size H W")
    if len(config.widths) != len(config.decoder_widths) or len(config.widths) < 2:
        raise UserError(
            f"--method.widths has {len(config.widths)} entries, --method.decoder-widths {len(config.decoder_widths)}; "
            "give as many of each, two at least"
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
    return {"a": a, "b": b}
