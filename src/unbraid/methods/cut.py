"""CUT [1]: one translator between two unpaired domains, held to its input by contrast of patches instead of a way back.

A patch of a translation should be nearer to the patch of the input at its place than to other patches of that input,
in features of the translator's own first half. A translation should pass the discriminator of its domain, and an item
of the target domain should stay itself.

[1] T. Park, A. A. Efros, R. Zhang, J.-Y. Zhu: Contrastive Learning for Unpaired Image-to-Image Translation. ECCV 2020.

Legend: n items, c channels, h height, w width, s places, d size of a feature; x is an item of the source domain, y one
of the target domain, G the translator, H the heads of its layers, D the discriminator.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch.optim import Adam, Optimizer

from unbraid.core.bounds import Positive, Share, Size, Weight
from unbraid.core.method import SMALL_NOTE, Clock, Method, Terms, Update, check_target, small_images
from unbraid.core.types import DOMAINS, DataSpec, Domain, Unpaired, other
from unbraid.nn.blocks import Upsampling, draw_normal
from unbraid.nn.functional import plateau_then_linear
from unbraid.nn.patch import (
    DiscriminatorNorm,
    PatchDiscriminator,
    discriminator_loss,
    generator_loss,
    patch_halvings,
)
from unbraid.nn.residual import (
    Norm,
    ResidualTranslator,
    both_images,
    change,
    check_same_shape,
    detach_blank,
    warn_unchanged,
    with_channels,
)

BETAS = (0.5, 0.999)


@dataclass(frozen=True)
class CUTConfig:
    """Settings of CUT. Defaults are the paper's, except for the deviations in docs/methods/cut.md. FastCUT has
    `contrast` 10, `identity` 0 and `plateau` .75."""

    towards: Literal["b", "a", "both"] = "b"
    """Domain to translate to. both: a second translator and discriminator, at twice the price, for the way back."""
    width: Size = 64
    """Channels of the first and last maps of a translator; maps at a quarter of the size have four times as many."""
    blocks: Size = 9
    """Number of residual blocks of a translator."""
    upsampling: Upsampling = "transposed"
    """Upsampling in translators. nearest (nearest-neighbour, then a convolution) avoids checkerboard artifacts."""
    norm: Norm = "instance"
    """Normalisation in translators. group preserves the colour of uniform images."""
    mask: bool = False
    """Translators predict beside an image a mask of the places of their input that they keep (Pumarola et al. 2018).
    For domains that are alike place by place; not in the paper."""
    discriminator_width: Size = 64
    """Channels of the discriminators' first map."""
    discriminator_norm: DiscriminatorNorm = "instance"
    """Normalisation in discriminators."""
    patches: Size = 256
    """Number of places of each layer that are compared with each other; all places of smaller maps."""
    head: Size = 256
    """Size of both layers of a head H_l."""
    temperature: Positive = 0.07
    """tau of eq. 2."""
    contrast: Weight = 1.0
    """lambda_X of eq. 5: weight of the contrastive loss between a translation and its input."""
    identity: Weight = 1.0
    """lambda_Y of eq. 5: weight of the same loss between an item of the target domain and what becomes of it."""
    rate: Positive = 2e-4
    """Adam's learning rate."""
    plateau: Share = 0.5
    """Fraction of the run after which the learning rates decrease linearly to 0."""


SMALL_IMAGES = CUTConfig(width=24, blocks=6, discriminator_width=32, head=64)
"""For images of up to 128 px."""


class PatchHeads(nn.Module):
    """H: a network with one hidden layer for each layer's features, whose results have length 1.

    Args:
        channels: Channels of each layer's maps.
        size: Size of the hidden layer and of the result.
    """

    def __init__(self, channels: Sequence[int], size: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(count, size), nn.ReLU(inplace=True), nn.Linear(size, size)) for count in channels
        )

    def forward(self, maps: Sequence[Tensor], places: Sequence[Tensor]) -> list[Float[Tensor, "n s d"]]:
        """Returns each layer's features at these places of its map, (s,), float32."""
        vectors = [x.flatten(2).transpose(1, 2)[:, at] for x, at in zip(maps, places, strict=True)]
        return [normalize(head(x).float(), dim=2) for head, x in zip(self.heads, vectors, strict=True)]


class CUT(Method[Unpaired]):
    """CUT [1]. Trains on two unpaired domains of images of one size; translates one way, or both with `towards` both.
    It has no codes, so each item has one translation.

    Example:
        >>> from unbraid.core.types import DataSpec, ImageSpec
        >>> spec = DataSpec(ImageSpec(16, 16, 3), ImageSpec(16, 16, 3))
        >>> model = CUT(spec, CUTConfig(width=4, blocks=1)).eval()
        >>> tuple(model.translate(torch.zeros(2, 3, 16, 16), "a", "b").shape)
        (2, 3, 16, 16)
    """

    needs = Unpaired
    config_type = CUTConfig
    config: CUTConfig
    training_only = ("discriminators", "heads")

    def __init__(self, spec: DataSpec, config: CUTConfig) -> None:
        super().__init__(spec, config)
        check_same_shape("cut", spec)
        sides = both_images("cut", spec)
        self.targets: tuple[Domain, ...] = DOMAINS if config.towards == "both" else (config.towards,)
        self.translators, self.heads, self.discriminators = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for target in self.targets:
            source, channels = sides[other(target)], sides[target].channels
            self.translators[target] = ResidualTranslator(
                source, channels, config.width, config.blocks, config.upsampling, config.norm, config.mask
            ).apply(draw_normal)
            deep = [4 * config.width] * (1 + len(compared_blocks(config.blocks)))
            self.heads[target] = PatchHeads([source.channels, 2 * config.width, *deep], config.head)
            self.discriminators[target] = PatchDiscriminator(
                channels, config.discriminator_width, patch_halvings(sides[target]), config.discriminator_norm
            )

    @classmethod
    def default_config(cls, spec: DataSpec) -> tuple[CUTConfig, list[str]]:
        """Returns smaller networks for small images."""
        return (SMALL_IMAGES, [SMALL_NOTE]) if small_images(spec) else (CUTConfig(), [])

    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        """Returns Adam with rate 2e-4 and betas .5, .999 for translators with their heads, and for discriminators."""
        players = {
            "translators": [*self.translators.parameters(), *self.heads.parameters()],
            "discriminators": [*self.discriminators.parameters()],
        }
        return {name: Adam(own, lr=self.config.rate, betas=BETAS, fused=True) for name, own in players.items()}

    def rate_factor(self, stage: str, clock: Clock) -> float:
        """Returns 1, then a linear decrease to 0, as in CycleGAN."""
        return plateau_then_linear(self.config.plateau, clock.progress)

    def updates(self, batches: Iterator[Unpaired], clock: Clock) -> Iterator[Update]:
        """Performs two turns: translators and heads minimise eq. 5, then discriminators maximise eq. 1, both with least
        squares in its place."""
        config, batch = self.config, next(batches)
        terms: Terms = {}
        generated: dict[Domain, Tensor] = {}
        for target in self.targets:
            x, y = batch[other(target)], batch[target]
            inputs = torch.cat([x, with_channels(y, x.shape[1])]) if config.identity else x
            answers = self.translators[target](inputs)
            generated[target] = answers[: len(x)]
            terms[f"generator_{target}"] = generator_loss(self.discriminators[target](generated[target]))  # eq. 1
            if config.mask:
                self.diagnostics[f"change to {target}"] = change(generated[target], x)
            losses = self._contrast(inputs, answers, target)
            terms[f"contrast_{target}"] = config.contrast * losses[: len(x)].mean()  # eq. 3 on X
            if config.identity:
                terms[f"identity_{target}"] = config.identity * losses[len(x) :].mean()  # eq. 3 on Y
        yield {"translators": terms}
        yield {
            "discriminators": {
                f"discriminator_{target}": discriminator_loss(
                    self.discriminators[target], batch[target], generated[target].detach()
                )
                for target in self.targets
            }
        }

    def diagnose(self, diagnostics: dict[str, float]) -> list[str]:
        """Returns a warning if translators with a mask return their inputs."""
        return warn_unchanged(diagnostics, "--method.contrast")

    def _contrast(self, x: Tensor, answers: Tensor, target: Domain) -> Float[Tensor, " n"]:
        """Computes eq. 3 for each item, its mean over layers and places in place of the sum."""
        translator, heads = self.translators[target], self.heads[target]
        maps = layer_maps(translator, with_channels(answers, x.shape[1]))
        places = [torch.randperm(m.shape[2] * m.shape[3], device=m.device)[: self.config.patches] for m in maps]
        with torch.no_grad():
            keys = heads(layer_maps(translator, x), places)
        losses = [
            patch_contrast(query, key, self.config.temperature)
            for query, key in zip(heads(maps, places), keys, strict=True)
        ]
        return torch.stack(losses).mean(0)

    def sources(self) -> tuple[Domain, ...]:
        """Returns the domains that have a translator."""
        return tuple(domain for domain in DOMAINS if other(domain) in self.targets)

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        """Translates x by G; ignores `style`. See `Translator.translate`. Raises UserError for a way not trained."""
        check_target(self, dst, "--method.towards both")
        return self.translators[dst](x)


def compared_blocks(blocks: int) -> tuple[int, ...]:
    """Returns the residual blocks, counted from 1, whose results are compared: of nine the first and the fifth."""
    return tuple(sorted({1, (blocks + 1) // 2}))


def layer_maps(translator: nn.Module, x: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n _ _ _"]]:
    """Returns the maps of G_enc that are compared (appendix C): the image, both convolutions of stride 2, and the
    results of two residual blocks. Those of a blank image have no gradient."""
    assert isinstance(translator, ResidualTranslator)
    start, blocks, _ = translator.body
    assert isinstance(start, nn.Sequential)
    assert isinstance(blocks, nn.Sequential)
    found, image = [], x
    x = start[0](translator.size.pad(x))
    for layer in start[1:]:
        assert isinstance(layer, nn.Sequential)
        x = layer[0](x)
        found.append(x)
        x = layer[1:](x)
    compared = compared_blocks(len(blocks))
    for number, block in enumerate(blocks[: compared[-1]], 1):
        x = block(x)
        if number in compared:
            found.append(x)
    return [image, *(detach_blank(some, image, translator.norm) for some in found)]


def patch_contrast(
    queries: Float[Tensor, "n s d"], keys: Float[Tensor, "n s d"], temperature: float
) -> Float[Tensor, " n"]:
    """Computes eq. 2 for each item, its mean over places: -log of the share of the key at a query's own place among
    those at all places of the item, exp(query . key / temperature) each.

    Args:
        queries: Features of length 1 of translations.
        keys: Features of length 1 of inputs, without gradient.
        temperature: tau.
    """
    with torch.autocast(queries.device.type, enabled=False):
        logits = queries @ keys.transpose(1, 2) / temperature
        own = torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)
        return cross_entropy(logits.transpose(1, 2), own, reduction="none").mean(1)
