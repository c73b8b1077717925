"""Uncooperative re-entanglement [1]: translation between unpaired domains, one more informative than the other.

The informative domain V contains what the plain domain C contains, and a residual R. A disentangler splits v into an
image of C and a residual; an entangler generates v from both. Two cycles, v -> (c', r') -> v'' and (c, r) -> v' ->
(c'', r''), are trained to be consistent. In each, the network with real input is updated and the one with generated
input is frozen: gradients pass through it. So neither can learn to hide information for the other.

[1] A. W. Harley, S.-E. Wei, J. Saragih, K. Fragkiadaki: Image Disentanglement and Uncooperative Re-Entanglement for
High-Fidelity Image-to-Image Translation. 2019.

Legend: n items, c channels, h height, w width, d size of a vector. v, c, r are real items or treated as such (v, c, r
in the paper), v1, c1, r1 are generated from them (v', c', r'), v2, c2, r2 from those. A residual of images is three
maps (n, k, h/4, w/4), k being 4 * width or `residual_channels`; as a code it is the flattened maps in one vector (n,
d).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.optim import Adam, Optimizer

from unbraid.core.bounds import Count, Positive, Share, Size, Weight
from unbraid.core.method import SMALL_NOTE, Clock, Method, Terms, Update, small_images
from unbraid.core.types import Codes, DataSpec, Domain, ImageSpec, Spec, Unpaired, UserError, VectorSpec, other
from unbraid.data.parts import Part
from unbraid.data.richness import more_informative
from unbraid.nn.blocks import FitSize, Upsampling, draw_normal
from unbraid.nn.functional import plateau_then_linear
from unbraid.nn.history import Bank, History
from unbraid.nn.patch import (
    DiscriminatorNorm,
    GANLoss,
    PatchSize,
    discriminator_loss,
    domain_discriminator,
    generator_loss,
    r1_penalty,
    small_settings,
)
from unbraid.nn.residual import (
    HALVINGS,
    Norm,
    ResidualTranslator,
    VectorTranslator,
    change,
    check_same_shape,
    detach_blank,
    doublings,
    drawn,
    halvings,
    residual_blocks,
    warn_unchanged,
)

Residual = tuple[Tensor, ...]
"""Three maps, or one vector."""


@dataclass(frozen=True)
class UncooperativeConfig:
    """Settings. Defaults are the paper's, except for the deviations in docs/methods/uncooperative.md."""

    informative: Literal["a", "b"] | None = None
    """V, the more informative domain: photos rather than sketches, lit scenes rather than plain ones. Default: measured
    before training; a in Python."""
    cooperative: bool = False
    """Baseline: update both networks in both cycles, and change nothing else."""
    width: Size = 64
    """Channels of the first and last maps; maps at a quarter of the size have four times as many."""
    blocks: Size = 4
    """Number of residual blocks of each network for images, an even number: half of them precede the second join."""
    upsampling: Upsampling = "transposed"
    """Upsampling of images. nearest (nearest-neighbour, then a convolution) avoids checkerboard artifacts."""
    norm: Norm = "instance"
    """Normalisation in networks for images. group preserves the colour of uniform images."""
    mask: bool = False
    """Networks that generate images predict beside one a mask of the places of their input that they keep (Pumarola et
    al. 2018). For domains that are alike place by place; not in the paper."""
    residual_channels: Size | None = None
    """Channels of each of the three maps of a residual, by a 1x1 convolution. Default: the maps unchanged, 4 * width,
    which for small images have several times as many values as the image."""
    discriminator_width: Size = 64
    """Channels of the discriminators' first map."""
    discriminator_patch: PatchSize | None = None
    """Size of the patches that discriminators score, in px. Default: 70 for 256 px, 34 for 128, 16 below."""
    discriminator_norm: DiscriminatorNorm = "spectral+instance"
    """Normalisation in discriminators. The paper's are CycleGAN's, with instance norm, and spectral norm in
    addition."""
    hidden: Size = 32
    """Size of the hidden layer of all networks for vectors."""
    linear: bool = False
    """Linear disentangler and entangler of vectors; discriminators keep their hidden layer."""
    residual: Size = 1
    """Size of the residual of vectors."""
    streams: Literal["two", "one"] = "two"
    """Networks of the disentangler of vectors: one each for c' and r', as with images, or one for both."""
    gan_loss: GANLoss = "least-squares"
    """Loss of discriminators and generators. logistic (not in the paper) also works for domains far apart, such
    as photos and maps."""
    r1: Weight = 0.0
    """Weight of the R1 gradient penalty of the discriminators (times 1/2); 0 leaves it out."""
    history: Count = 50
    """Size of the buffer of earlier generated items from which discriminators receive some; 0 disables it."""
    cycle_informative: Weight = 10.0
    """lambda_v of eq. 2."""
    cycle_plain: Weight = 10.0
    """lambda_c of eq. 2."""
    cycle_residual: Weight = 0.1
    """lambda_r of eq. 2."""
    adversarial: Weight = 1.0
    """Weight of eq. 1 in eq. 3."""
    rate: Positive = 2e-4
    """Adam's learning rate for disentangler and entangler."""
    discriminator_rate: Positive = 2e-4
    """Adam's learning rate for the discriminators."""
    betas: tuple[Share, Share] = (0.5, 0.999)
    """Adam's betas, of all optimisers."""
    plateau: Share = 0.5
    """Fraction of the run after which the learning rates decrease linearly to 0."""
    bank: Size = 64
    """Number of training images of the informative domain that are saved with the model, to sample residuals from."""

    @property
    def domains(self) -> tuple[Domain, Domain]:
        """Returns the informative and the plain domain."""
        informative = self.informative or "a"
        return informative, other(informative)


SMALL_IMAGES = UncooperativeConfig(
    width=24,
    upsampling="nearest",
    norm="group",
    mask=True,
    residual_channels=8,
    discriminator_width=32,
    discriminator_norm="none",
    gan_loss="logistic",
    cycle_informative=1.0,
    cycle_plain=3.0,
    rate=3e-4,
    discriminator_rate=3e-4,
    betas=(0.0, 0.99),
)
"""For images of up to 128 px, with `small_settings`; from trials on the validation parts of relit cars and maps."""


class ResidualStream(nn.Module):
    """Network v -> r: the body of a translator without upsampling, with three outputs."""

    def __init__(self, spec: ImageSpec, config: UncooperativeConfig) -> None:
        super().__init__()
        width, half = config.width, config.blocks // 2
        self.size = FitSize(spec.height, spec.width, HALVINGS)
        self.norm: Norm = config.norm
        self.start = halvings(spec.channels, width, self.norm)
        self.first, self.second = (residual_blocks(4 * width, half, self.norm) for _ in range(2))
        few = config.residual_channels
        self.ends = nn.ModuleList(nn.Conv2d(4 * width, few, 1) if few else nn.Identity() for _ in range(3))

    def forward(self, v: Float[Tensor, "n c h w"]) -> Residual:
        """Returns three maps (n, k, h/4, w/4), float32: after the first layers, half of the blocks, all blocks."""
        one = self.start(self.size.pad(v))
        two = self.first(one)
        maps = (one, two, self.second(two))
        return tuple(detach_blank(end(part), v, self.norm).float() for end, part in zip(self.ends, maps, strict=True))


class ImageDisentangler(nn.Module):
    """D: two networks, one for c' and one for r' (section 3.5)."""

    def __init__(self, spec: DataSpec, config: UncooperativeConfig) -> None:
        super().__init__()
        informative, plain = (_image(spec[domain]) for domain in config.domains)
        self.plain = ResidualTranslator(
            informative, plain.channels, config.width, config.blocks, config.upsampling, config.norm, config.mask
        )
        self.residual = ResidualStream(informative, config)

    def forward(self, v: Float[Tensor, "n _ h w"]) -> tuple[Float[Tensor, "n _ h w"], Residual]:
        """Returns (c', r')."""
        return self.plain(v), self.residual(v)


class ImageEntangler(nn.Module):
    """E: the body of a translator, joined with the three maps of r at the places of which they are outputs.

    After each of the first two joins a 1x1 convolution restores the number of channels; after the third, the transposed
    convolution does.
    """

    def __init__(self, spec: DataSpec, config: UncooperativeConfig) -> None:
        super().__init__()
        informative, plain = (_image(spec[domain]) for domain in config.domains)
        width, half = 4 * config.width, config.blocks // 2
        joined = width + (config.residual_channels or width)
        self.size = FitSize(plain.height, plain.width, HALVINGS)
        self.norm: Norm = config.norm
        self.mask = config.mask
        self.start = halvings(plain.channels, config.width, self.norm)
        self.joins = nn.ModuleList(nn.Conv2d(joined, width, 1) for _ in range(2))
        self.blocks = nn.ModuleList(residual_blocks(width, half, self.norm) for _ in range(2))
        channels = informative.channels + self.mask
        self.end = doublings(joined, config.width, channels, config.upsampling, self.norm)
        self.map = (joined - width, *self.size.map_size)

    def forward(self, c: Float[Tensor, "n _ h w"], r: Residual) -> Float[Tensor, "n _ h w"]:
        """Returns v', in [-1, 1]."""
        x = detach_blank(self.start(self.size.pad(c)), c, self.norm)
        for join, blocks, part in zip(self.joins, self.blocks, r[:2], strict=True):
            x = blocks(join(torch.cat([x, part], 1)))
        joined = torch.cat([x, r[2]], 1)
        result = detach_blank(self.end(joined), joined, self.norm)
        return drawn(self.size.crop(result.float()), c, self.mask)

    def unflatten(self, code: Float[Tensor, "n d"]) -> Residual:
        """Splits a residual in one vector into three maps."""
        return tuple(part.unflatten(1, self.map) for part in code.chunk(3, 1))


class VectorDisentangler(nn.Module):
    """D for vectors: two networks with one hidden layer (section 3.5), or one whose output is split."""

    def __init__(self, spec: DataSpec, config: UncooperativeConfig) -> None:
        super().__init__()
        informative, plain = (_vector(spec[domain]) for domain in config.domains)
        self.sizes = [plain.size, config.residual]
        outputs = [sum(self.sizes)] if config.streams == "one" else self.sizes
        hidden = 0 if config.linear else config.hidden
        self.networks = nn.ModuleList(VectorTranslator(informative.size, hidden, out) for out in outputs)

    def forward(self, v: Float[Tensor, "n _"]) -> tuple[Float[Tensor, "n _"], Residual]:
        """Returns (c', r')."""
        outputs = [network(v) for network in self.networks]
        plain, residual = outputs[0].split(self.sizes, 1) if len(outputs) == 1 else outputs
        return plain, (residual,)

    def residual(self, v: Float[Tensor, "n _"]) -> Residual:
        """Returns r'."""
        return (self.networks[-1](v)[:, -self.sizes[1] :],)


class VectorEntangler(nn.Module):
    """E for vectors: one network of the concatenated c and r."""

    def __init__(self, spec: DataSpec, config: UncooperativeConfig) -> None:
        super().__init__()
        informative, plain = (_vector(spec[domain]) for domain in config.domains)
        hidden = 0 if config.linear else config.hidden
        self.network = VectorTranslator(plain.size + config.residual, hidden, informative.size)

    def forward(self, c: Float[Tensor, "n _"], r: Residual) -> Float[Tensor, "n _"]:
        """Returns v'."""
        return self.network(torch.cat([c, *r], 1))

    def unflatten(self, code: Float[Tensor, "n d"]) -> Residual:
        """Returns the vector as a residual."""
        return (code,)


class Uncooperative(Method[Unpaired]):
    """Uncooperative re-entanglement [1]. Trains on two unpaired domains; translates and disentangles.

    The shared code of an item is its image in the plain domain; the exclusive code of an item of the informative domain
    is its residual. An item of the plain domain is its own shared code, and its exclusive code is empty, (n, 0).

    Example:
        >>> from unbraid.core.types import DataSpec, ImageSpec
        >>> spec = DataSpec(ImageSpec(16, 16, 3), ImageSpec(16, 16, 1))
        >>> model = Uncooperative(spec, UncooperativeConfig(width=4)).eval()
        >>> codes = model.encode(torch.zeros(2, 3, 16, 16), "a")
        >>> tuple(codes.shared.shape), tuple(codes.exclusive.shape)
        ((2, 1, 16, 16), (2, 768))
    """

    needs = Unpaired
    config_type = UncooperativeConfig
    config: UncooperativeConfig
    training_only = ("discriminators", "history")
    renamed: ClassVar[Mapping[str, str]] = {
        "adversaries": "discriminators",
        "adversary_width": "discriminator_width",
        "adversary_rate": "discriminator_rate",
        "rich": "informative",
        "poor": "plain",
        "again_rich": "cycle_informative",
        "again_poor": "cycle_plain",
        "again_residual": "cycle_residual",
        "fool_rich": "generator_informative",
        "fool_poor": "generator_plain",
        "tell_rich": "discriminator_informative",
        "tell_poor": "discriminator_plain",
        "slope_rich": "r1_informative",
        "slope_poor": "r1_plain",
    }

    def __init__(self, spec: DataSpec, config: UncooperativeConfig) -> None:
        super().__init__(spec, config)
        _check(spec, config)
        self.informative: Domain = config.domains[0]
        self.plain: Domain = config.domains[1]
        images = isinstance(spec.a, ImageSpec)
        self.disentangler = ImageDisentangler(spec, config) if images else VectorDisentangler(spec, config)
        self.entangler = ImageEntangler(spec, config) if images else VectorEntangler(spec, config)
        if images:
            self.disentangler.apply(draw_normal)
            self.entangler.apply(draw_normal)
        self.discriminators = nn.ModuleDict({domain: _discriminator(spec[domain], config) for domain in ("a", "b")})
        self.history = nn.ModuleDict({domain: History(config.history, spec[domain]) for domain in ("a", "b")})
        self.bank = Bank(config.bank, spec[self.informative])

    @classmethod
    def default_config(cls, spec: DataSpec) -> tuple[UncooperativeConfig, list[str]]:
        """Returns other networks, losses and weights for small images."""
        if not small_images(spec):
            return UncooperativeConfig(), []
        return replace(SMALL_IMAGES, **small_settings(spec)), [SMALL_NOTE]

    @classmethod
    def resolve_config(cls, config: UncooperativeConfig, train: Part) -> tuple[UncooperativeConfig, list[str]]:
        """Measures which domain is more informative, if that isn't given; otherwise checks what is given."""
        proposal = more_informative(train)
        measured = proposal.informative
        if config.informative is None:
            unclear = "" if proposal.clear else ", which is not clear: say it with --method.informative if you know"
            note = f"More informative, as measured{unclear}: domain {measured}. {proposal.reason}"
            return replace(config, informative=measured), [note]
        if config.informative == measured or not proposal.clear:
            return config, []
        return config, [
            f"Warning: --method.informative {config.informative}, but domain {measured} seems to be the more "
            f"informative: {proposal.reason}. If the two were given the wrong way round, start another run with "
            f"--method.informative {measured}"
        ]

    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        """Returns three Adams (section 3.4)."""
        config = self.config
        players = {
            "disentangler": (self.disentangler, config.rate),
            "entangler": (self.entangler, config.rate),
            "discriminators": (self.discriminators, config.discriminator_rate),
        }
        return {
            name: Adam(module.parameters(), lr=rate, betas=config.betas, fused=True)
            for name, (module, rate) in players.items()
        }

    def rate_factor(self, stage: str, clock: Clock) -> float:
        """Returns 1, then a linear decrease to 0 (section 3.5)."""
        return plateau_then_linear(self.config.plateau, clock.progress)

    def updates(self, batches: Iterator[Unpaired], clock: Clock) -> Iterator[Update]:
        """Performs cycles 1 and 2 (section 3.3), each updating one network (3.4), then trains discriminators (3.2)."""
        config, batch = self.config, next(batches)
        v, c = batch[self.informative], batch[self.plain]
        self.bank.fill(v)
        both = ("disentangler", "entangler")

        # cycle 1: v is real, so D learns; E is frozen, for only the movers' weights get a gradient
        c1, r1 = self.disentangler(v)
        v2 = self.entangler(c1, r1)
        cycle_1: Terms = {
            "cycle_informative": config.cycle_informative * l1_loss(v2, v),  # eq. 2, term 1
            "generator_plain": self._generator_loss(c1, self.plain),  # eq. 1, term 2
        }
        yield {(both if config.cooperative else "disentangler"): cycle_1}

        # cycle 2: c is real and r is taken as such, so E learns; D, which has moved, is frozen. Rows of c and v have
        # nothing to do with each other, so r is another item's
        with torch.no_grad():
            r = self.disentangler.residual(v)
        v1 = self.entangler(c, r)
        c2, r2 = self.disentangler(v1)
        cycle_2: Terms = {
            "cycle_plain": config.cycle_plain * l1_loss(c2, c),  # eq. 2, term 2
            "cycle_residual": config.cycle_residual * _difference(r2, r),  # eq. 2, term 3
            "generator_informative": self._generator_loss(v1, self.informative),  # eq. 1, term 1
        }
        yield {(both if config.cooperative else "entangler"): cycle_2}

        if self.config.mask and v.ndim == 4:
            changes = {self.plain: change(c1, v), self.informative: change(v1, c)}
            self.diagnostics |= {f"change to {domain}": value for domain, value in changes.items()}
        discriminator_terms: Terms = {
            "discriminator_plain": self._discriminator_loss(c, c1.detach(), self.plain),  # section 3.2, L_A_C
            "discriminator_informative": self._discriminator_loss(
                v, v1.detach(), self.informative
            ),  # section 3.2, L_A_V
        }
        if config.r1:
            discriminator_terms["r1_plain"] = config.r1 / 2 * r1_penalty(self.discriminators[self.plain], c)
            discriminator_terms["r1_informative"] = config.r1 / 2 * r1_penalty(self.discriminators[self.informative], v)
        yield {"discriminators": discriminator_terms}

    def diagnose(self, diagnostics: dict[str, float]) -> list[str]:
        """Returns a warning if networks with a mask return their inputs."""
        return warn_unchanged(diagnostics, "--method.cycle-informative and --method.cycle-plain")

    def _generator_loss(self, generated: Tensor, domain: Domain) -> Float[Tensor, ""]:
        """Computes 1/2 (D(generated) - 1)^2, or half of the logistic loss, weighted. Eq. 1 has the target 0 in C, which
        would generate nothing."""
        scores = self.discriminators[domain](generated)
        return 0.5 * self.config.adversarial * generator_loss(scores, self.config.gan_loss)

    def _discriminator_loss(self, real: Tensor, generated: Tensor, domain: Domain) -> Float[Tensor, ""]:
        """Computes 1/2 [(D(real) - 1)^2 + D(generated)^2], or the logistic loss, for present and earlier generated
        items, in one pass."""
        earlier = self.history[domain](generated)
        return discriminator_loss(self.discriminators[domain], real, earlier, self.config.gan_loss)

    def encode(self, x: Tensor, domain: Domain) -> Codes:
        """Encodes items of V to (c', r'), items of C to themselves and an empty code. x: (n, *spec[domain].shape)."""
        if domain == self.plain:
            return Codes(x, x.new_zeros(x.shape[0], 0))
        c, r = self.disentangler(x)
        return Codes(c, _flat(r))

    def decode(self, codes: Codes, domain: Domain) -> Tensor:
        """Returns E(c, r) in V, and c in C, (n, *spec[domain].shape)."""
        if domain == self.plain:
            return codes.shared
        return self.entangler(codes.shared, self.entangler.unflatten(codes.exclusive))

    def prior(self, n: int, domain: Domain, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Samples residuals of stored items of V, since R has no prior (section 3.2); in C codes are empty, (n, 0).

        See `Disentangler.prior`.
        """
        return self._drawn(n, domain, generator)

    def _drawn(self, n: int, domain: Domain, generator: torch.Generator | None) -> Tensor:
        if domain == self.plain:
            return torch.zeros(n, 0, device=self.bank.items.device)
        with torch.no_grad():
            return _flat(self.disentangler.residual(self.bank.draw(n, generator)))

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        """Translates v to c', or c to v' with a given or sampled residual (section 4.3). See `Translator.translate`."""
        if style is None:
            style = self._drawn(len(x), dst, None)
        shared = x if src == self.plain else self.disentangler(x)[0]
        return self.decode(Codes(shared, style.to(x.device)), dst)


def _flat(residual: Residual) -> Float[Tensor, "n d"]:
    return torch.cat([part.flatten(1) for part in residual], 1)


def _difference(generated: Residual, true: Residual) -> Float[Tensor, ""]:
    """Returns the mean absolute difference over all values; the maps are of one size."""
    if len(generated) == 1:
        return l1_loss(generated[0], true[0])
    return torch.stack([l1_loss(one, two) for one, two in zip(generated, true, strict=True)]).mean()


def _discriminator(spec: Spec, config: UncooperativeConfig) -> nn.Module:
    return domain_discriminator(
        spec, config.discriminator_width, config.hidden, config.discriminator_norm, config.discriminator_patch
    )


def _image(spec: Spec) -> ImageSpec:
    assert isinstance(spec, ImageSpec)
    return spec


def _vector(spec: Spec) -> VectorSpec:
    assert isinstance(spec, VectorSpec)
    return spec


def _check(spec: DataSpec, config: UncooperativeConfig) -> None:
    """Raises UserError for settings that don't fit the data."""
    check_same_shape("uncooperative", spec)
    if config.blocks < 2 or config.blocks % 2:
        raise UserError(f"--method.blocks {config.blocks}: an even number, 2 at least, for half stand before a join")
