"""Uncooperative re-entanglement [1]: high-fidelity translation between unpaired domains, one of which has more to say.

The rich domain V has what the poor domain C has, and a residual R. A disentangler takes v apart into an image of C and
a residual, an entangler makes v of both. Two cycles, v -> (c', r') -> v'' and (c, r) -> v' -> (c'', r''), must come
back to where they began. In each, the network that gets real input learns, and the one that gets what was made is
frozen: gradients pass through it, its weights stay. So neither can learn to mend, or to read, what the other one hides.

[1] A. W. Harley, S.-E. Wei, J. Saragih, K. Fragkiadaki: Image Disentanglement and Uncooperative Re-Entanglement for
High-Fidelity Image-to-Image Translation. 2019.

Legend: n items, c channels, h height, w width, d size of a vector. v, c, r are real items or taken as such (v, c, r in
the paper), v1, c1, r1 were made of them (v', c', r'), v2, c2, r2 of those. A residual of images is three maps
(n, k, h/4, w/4), k being 4 * width or `residual_channels`; as a code it is one vector (n, d), the maps flattened one
after the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.optim import Adam, Optimizer

from unbraid.core.bounds import Count, Positive, Share, Size, Weight
from unbraid.core.method import Clock, Method, Terms, Update
from unbraid.core.types import Codes, DataSpec, Domain, ImageSpec, Spec, Unpaired, UserError, VectorSpec, other
from unbraid.data.parts import Part
from unbraid.data.richness import richer
from unbraid.nn.blocks import FitSize, Upsampling, draw_normal
from unbraid.nn.functional import least_squares, plateau_then_linear
from unbraid.nn.history import Bank, History
from unbraid.nn.patch import (
    DiscriminatorNorm,
    PatchAdversary,
    VectorAdversary,
    patch_halvings,
    squared_slope,
    tell,
)
from unbraid.nn.residual import (
    HALVINGS,
    Norm,
    ResidualTranslator,
    VectorTranslator,
    check_alike,
    doublings,
    halvings,
    residual_blocks,
    unless_blank,
)

BETAS = (0.5, 0.999)
Residual = tuple[Tensor, ...]
"""Three maps, or one vector."""


@dataclass(frozen=True)
class UncooperativeConfig:
    """What can be chosen. The defaults are the paper's, but for the deviations in docs/methods/uncooperative.md."""

    rich: Literal["a", "b"] | None = None
    """V, the domain that has more to say: photos, not sketches; lit scenes, not plain ones. Measured before training if
    not given; a, for who builds the method in Python."""
    cooperative: bool = False
    """The baseline: both networks learn in both cycles. It changes who moves, and nothing else."""
    width: Size = 64
    """Channels of images' first and last maps; those at a quarter of the size have four times as many."""
    blocks: Size = 4
    """Residual blocks of each network for images, half of them before the second join; an even number."""
    upsampling: Upsampling = "transposed"
    """How maps of images double: nearest repeats values before a convolution, which lays no grid."""
    norm: Norm = "instance"
    """How networks for images normalise; group lets the colour of flat images through."""
    residual_channels: Size | None = None
    """Channels of each of the three maps of a residual of images, brought to so many by a 1x1 convolution; if not
    given, the maps as they are, 4 * width, which at small sizes have several times as many values as the image."""
    adversary_width: Size = 64
    """Channels of the adversaries' first map."""
    discriminator_norm: DiscriminatorNorm = "spectral+instance"
    """What steadies the adversaries. The paper's are CycleGAN's, with instance norm, and spectral norm besides."""
    hidden: Size = 32
    """Width of the hidden layer of every network for vectors."""
    linear: bool = False
    """Disentangler and entangler of vectors without hidden layer; adversaries keep theirs."""
    residual: Size = 1
    """Size of the residual of vectors."""
    streams: Literal["two", "one"] = "two"
    """Networks of the disentangler of vectors: one each for c' and r', as with images, or one for both."""
    r1: Weight = 0.0
    """Weight of half the adversaries' mean squared slope at real items (R1), with which two players come to rest that
    don't without; 0 leaves it out."""
    history: Count = 50
    """Items made earlier, from which adversaries are shown some; 0 shows them the latest only."""
    again_rich: Weight = 10.0
    """lambda_v of eq. 2."""
    again_poor: Weight = 10.0
    """lambda_c of eq. 2."""
    again_residual: Weight = 0.1
    """lambda_r of eq. 2."""
    adversarial: Weight = 1.0
    """Weight of eq. 1 in eq. 3."""
    rate: Positive = 2e-4
    """Adam's learning rate of disentangler and entangler."""
    adversary_rate: Positive = 2e-4
    """Adam's learning rate of the adversaries."""
    plateau: Share = 0.5
    """Share of the run before the rates begin to fall to 0 in a straight line."""
    bank: Size = 64
    """Training images of the rich domain that are saved with the model, to draw residuals from."""

    @property
    def domains(self) -> tuple[Domain, Domain]:
        """The rich one, and the poor one."""
        rich = self.rich or "a"
        return rich, other(rich)


class ResidualStream(nn.Module):
    """v -> r: the body of a translator without its doublings, read at three places."""

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
        """Three maps (n, k, h/4, w/4): behind the halvings, half of the blocks, all blocks. Float32."""
        one = self.start(self.size.grow(v))
        two = self.first(one)
        maps = (one, two, self.second(two))
        return tuple(unless_blank(end(part), v, self.norm).float() for end, part in zip(self.ends, maps, strict=True))


class ImageDisentangler(nn.Module):
    """D: two networks, one for c' and one for r' (section 3.5)."""

    def __init__(self, spec: DataSpec, config: UncooperativeConfig) -> None:
        super().__init__()
        rich, poor = (_image(spec[domain]) for domain in config.domains)
        self.poor = ResidualTranslator(rich, poor.channels, config.width, config.blocks, config.upsampling, config.norm)
        self.residual = ResidualStream(rich, config)

    def forward(self, v: Float[Tensor, "n _ h w"]) -> tuple[Float[Tensor, "n _ h w"], Residual]:
        """(c', r')."""
        return self.poor(v), self.residual(v)


class ImageEntangler(nn.Module):
    """E: the body of a translator that takes the three maps of r in at the places they come from.

    Behind each of the first two joins a 1x1 convolution brings the joined channels back to what the residual blocks
    have; behind the third the transposed convolution does.
    """

    def __init__(self, spec: DataSpec, config: UncooperativeConfig) -> None:
        super().__init__()
        rich, poor = (_image(spec[domain]) for domain in config.domains)
        width, half = 4 * config.width, config.blocks // 2
        joined = width + (config.residual_channels or width)
        self.size = FitSize(poor.height, poor.width, HALVINGS)
        self.norm: Norm = config.norm
        self.start = halvings(poor.channels, config.width, self.norm)
        self.joins = nn.ModuleList(nn.Conv2d(joined, width, 1) for _ in range(2))
        self.blocks = nn.ModuleList(residual_blocks(width, half, self.norm) for _ in range(2))
        self.end = doublings(joined, config.width, rich.channels, config.upsampling, self.norm)
        self.map = (joined - width, *self.size.map_size)

    def forward(self, c: Float[Tensor, "n _ h w"], r: Residual) -> Float[Tensor, "n _ h w"]:
        """v' in [-1, 1]."""
        x = unless_blank(self.start(self.size.grow(c)), c, self.norm)
        for join, blocks, part in zip(self.joins, self.blocks, r[:2], strict=True):
            x = blocks(join(torch.cat([x, part], 1)))
        joined = torch.cat([x, r[2]], 1)
        return self.size.cut(torch.tanh(unless_blank(self.end(joined), joined, self.norm).float()))

    def unflatten(self, code: Float[Tensor, "n d"]) -> Residual:
        """The three maps of a residual that was made one vector."""
        return tuple(part.unflatten(1, self.map) for part in code.chunk(3, 1))


class VectorDisentangler(nn.Module):
    """D for vectors: two networks of one hidden layer (section 3.5), or one whose outputs are divided."""

    def __init__(self, spec: DataSpec, config: UncooperativeConfig) -> None:
        super().__init__()
        rich, poor = (_vector(spec[domain]) for domain in config.domains)
        self.sizes = [poor.size, config.residual]
        outputs = [sum(self.sizes)] if config.streams == "one" else self.sizes
        hidden = 0 if config.linear else config.hidden
        self.networks = nn.ModuleList(VectorTranslator(rich.size, hidden, out) for out in outputs)

    def forward(self, v: Float[Tensor, "n _"]) -> tuple[Float[Tensor, "n _"], Residual]:
        """(c', r')."""
        outputs = [network(v) for network in self.networks]
        poor, residual = outputs[0].split(self.sizes, 1) if len(outputs) == 1 else outputs
        return poor, (residual,)

    def residual(self, v: Float[Tensor, "n _"]) -> Residual:
        """r' alone."""
        return (self.networks[-1](v)[:, -self.sizes[1] :],)


class VectorEntangler(nn.Module):
    """E for vectors: one network that reads c and r side by side."""

    def __init__(self, spec: DataSpec, config: UncooperativeConfig) -> None:
        super().__init__()
        rich, poor = (_vector(spec[domain]) for domain in config.domains)
        hidden = 0 if config.linear else config.hidden
        self.network = VectorTranslator(poor.size + config.residual, hidden, rich.size)

    def forward(self, c: Float[Tensor, "n _"], r: Residual) -> Float[Tensor, "n _"]:
        """v'."""
        return self.network(torch.cat([c, *r], 1))

    def unflatten(self, code: Float[Tensor, "n d"]) -> Residual:
        """It is a vector already."""
        return (code,)


class Uncooperative(Method[Unpaired]):
    """Uncooperative re-entanglement [1]. Needs two unpaired domains; translates, disentangles.

    The shared code of an item is its image in the poor domain; an item of the poor domain is its own, and has no
    exclusive code, (n, 0). The exclusive code of an item of the rich domain is its residual.

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
    training_only = ("adversar", "history")

    def __init__(self, spec: DataSpec, config: UncooperativeConfig) -> None:
        super().__init__(spec, config)
        _check(spec, config)
        self.rich: Domain = config.domains[0]
        self.poor: Domain = config.domains[1]
        images = isinstance(spec.a, ImageSpec)
        self.disentangler = ImageDisentangler(spec, config) if images else VectorDisentangler(spec, config)
        self.entangler = ImageEntangler(spec, config) if images else VectorEntangler(spec, config)
        if images:
            self.disentangler.apply(draw_normal)
            self.entangler.apply(draw_normal)
        self.adversaries = nn.ModuleDict({domain: _adversary(spec[domain], config) for domain in ("a", "b")})
        self.history = nn.ModuleDict({domain: History(config.history, spec[domain]) for domain in ("a", "b")})
        self.bank = Bank(config.bank, spec[self.rich])

    @classmethod
    def resolve_config(cls, config: UncooperativeConfig, train: Part) -> tuple[UncooperativeConfig, list[str]]:
        """The rich domain, measured if it wasn't said; a warning if it was, and the other one is clearly richer."""
        found = richer(train)
        if config.rich is None:
            unclear = "" if found.clear else ", which is not clear: say it with --method.rich if you know"
            return replace(config, rich=found.rich), [f"Rich domain: {found.rich}, measured{unclear}. {found.reason}"]
        if config.rich == found.rich or not found.clear:
            return config, []
        return config, [
            f"Warning: --method.rich {config.rich}, but {found.rich} seems the richer domain: {found.reason}. "
            f"If the two were given the wrong way round, start another run with --method.rich {found.rich}"
        ]

    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        """Three, as in section 3.4: Adam, rate 2e-4, betas .5 and .999; fused into one pass over memory."""
        config = self.config
        players = {
            "disentangler": (self.disentangler, config.rate),
            "entangler": (self.entangler, config.rate),
            "adversaries": (self.adversaries, config.adversary_rate),
        }
        return {
            name: Adam(module.parameters(), lr=rate, betas=BETAS, fused=True)
            for name, (module, rate) in players.items()
        }

    def rate_factor(self, stage: str, clock: Clock) -> float:
        """1, then in a straight line down to 0 at the end (section 3.5)."""
        return plateau_then_linear(self.config.plateau, clock.progress)

    def updates(self, batches: Iterator[Unpaired], clock: Clock) -> Iterator[Update]:
        """Cycle 1, cycle 2 (section 3.3), each with the network that moves (3.4); then the adversaries (3.2)."""
        config, batch = self.config, next(batches)
        v, c = batch[self.rich], batch[self.poor]
        self.bank.fill(v)
        both = ("disentangler", "entangler")

        # cycle 1: v is real, so D learns; E is frozen, for only the movers' weights get a gradient
        c1, r1 = self.disentangler(v)
        v2 = self.entangler(c1, r1)
        cycle_1: Terms = {
            "again_rich": config.again_rich * l1_loss(v2, v),  # eq. 2, term 1
            "fool_poor": self._fool(c1, self.poor),  # eq. 1, term 2
        }
        yield {(both if config.cooperative else "disentangler"): cycle_1}

        # cycle 2: c is real and r is taken as such, so E learns; D, which has moved, is frozen. Rows of c and v have
        # nothing to do with each other, so r is another item's
        with torch.no_grad():
            r = self.disentangler.residual(v)
        v1 = self.entangler(c, r)
        c2, r2 = self.disentangler(v1)
        cycle_2: Terms = {
            "again_poor": config.again_poor * l1_loss(c2, c),  # eq. 2, term 2
            "again_residual": config.again_residual * _difference(r2, r),  # eq. 2, term 3
            "fool_rich": self._fool(v1, self.rich),  # eq. 1, term 1
        }
        yield {(both if config.cooperative else "entangler"): cycle_2}

        told: Terms = {
            "tell_poor": self._tell(c, c1.detach(), self.poor),  # section 3.2, L_A_C
            "tell_rich": self._tell(v, v1.detach(), self.rich),  # section 3.2, L_A_V
        }
        if config.r1:
            told["slope_poor"] = config.r1 / 2 * squared_slope(self.adversaries[self.poor], c)
            told["slope_rich"] = config.r1 / 2 * squared_slope(self.adversaries[self.rich], v)
        yield {"adversaries": told}

    def _fool(self, made: Tensor, domain: Domain) -> Float[Tensor, ""]:
        """1/2 (A(made) - 1)^2, weighted. Eq. 1 prints 0 as the target in C, which would please nobody."""
        return 0.5 * self.config.adversarial * least_squares(self.adversaries[domain](made), 1.0)

    def _tell(self, real: Tensor, made: Tensor, domain: Domain) -> Float[Tensor, ""]:
        """1/2 [(A(real) - 1)^2 + A(made)^2], for items made now and earlier; both in one pass."""
        return tell(self.adversaries[domain], real, self.history[domain](made))

    def encode(self, x: Tensor, domain: Domain) -> Codes:
        """Rich: (c', r'). Poor: the item itself, and nothing. x: (n, *spec[domain].shape)."""
        if domain == self.poor:
            return Codes(x, x.new_zeros(len(x), 0))
        c, r = self.disentangler(x)
        return Codes(c, _flat(r))

    def decode(self, codes: Codes, domain: Domain) -> Tensor:
        """Rich: E(c, r). Poor: c, as it is. (n, *spec[domain].shape)."""
        if domain == self.poor:
            return codes.shared
        return self.entangler(codes.shared, self.entangler.unflatten(codes.exclusive))

    def prior(self, n: int, domain: Domain, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Rich: residuals of items drawn from those that training saw first, for R has no prior (section 3.2).
        Poor: (n, 0)."""
        return self._drawn(n, domain, generator)

    def _drawn(self, n: int, domain: Domain, generator: torch.Generator | None) -> Tensor:
        if domain == self.poor:
            return torch.zeros(n, 0, device=self.bank.items.device)
        with torch.no_grad():
            return _flat(self.disentangler.residual(self.bank.draw(n, generator)))

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        """Rich to poor: c'. Poor to rich: with the residual `style`, or one drawn for each item. Section 4.3."""
        if style is None:
            style = self._drawn(len(x), dst, None)
        return self.decode(Codes(self._shared(x, src), style.to(x.device)), dst)

    def _shared(self, x: Tensor, domain: Domain) -> Tensor:
        if domain == self.poor:
            return x
        return self.disentangler(x)[0]


def _flat(residual: Residual) -> Float[Tensor, "n d"]:
    return torch.cat([part.flatten(1) for part in residual], 1)


def _difference(made: Residual, true: Residual) -> Float[Tensor, ""]:
    """Mean |made - true| over all values; the maps are of one size."""
    if len(made) == 1:
        return l1_loss(made[0], true[0])
    return torch.stack([l1_loss(one, two) for one, two in zip(made, true, strict=True)]).mean()


def _adversary(spec: Spec, config: UncooperativeConfig) -> nn.Module:
    if isinstance(spec, VectorSpec):
        return VectorAdversary(spec.size, config.hidden, config.discriminator_norm)
    return PatchAdversary(spec.channels, config.adversary_width, patch_halvings(spec), config.discriminator_norm)


def _image(spec: Spec) -> ImageSpec:
    assert isinstance(spec, ImageSpec)
    return spec


def _vector(spec: Spec) -> VectorSpec:
    assert isinstance(spec, VectorSpec)
    return spec


def _check(spec: DataSpec, config: UncooperativeConfig) -> None:
    """UserError for what can't be built."""
    check_alike("uncooperative", spec)
    if config.blocks < 2 or config.blocks % 2:
        raise UserError(f"--method.blocks {config.blocks}: an even number, 2 at least, for half stand before a join")
