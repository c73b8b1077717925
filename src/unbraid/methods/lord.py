"""LORD [1]: class and content of labelled images, by optimising a code for each class and for each image.

Each training image has its own content code and shares the code of its class with all images of that class. A generator
reconstructs the image from both; noise on the content code and a penalty on its norm keep class information out of it.
Codes and generator are optimised together (stage "codes"); then two encoders learn to predict these codes (stage
"encoders"), also for new images and classes.

[1] A. Gabbay, Y. Hoshen: Demystifying Inter-Class Disentanglement. ICLR 2020.

Legend: n images, c channels, h height, w width, k labels of an image, d size of a code. c_i, e_y: the paper's codes of
image i and class y.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import cos, pi
from typing import Annotated, Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from unbraid.core import ranks
from unbraid.core.bounds import Bounds, Positive, Size, Sizes, Weight
from unbraid.core.config import PerceptualConfig
from unbraid.core.method import Clock, Method, Stage, Terms, Update
from unbraid.core.types import Codes, DataSpec, Domain, ImageSpec, Labelled, UserError
from unbraid.nn.blocks import UpConv
from unbraid.nn.functional import adain, kl_normal, reparameterise
from unbraid.nn.pretrained.perceptual import FrozenVgg16, find_weights, perceptual_loss
from unbraid.nn.tables import RowAdam, code_table

UPSAMPLINGS = 4
STEP = 2**UPSAMPLINGS
"""Height and width of images are multiples of this."""
BETAS = (0.5, 0.999)


@dataclass(frozen=True)
class LORDConfig:
    """Settings of LORD. Sizes of codes, numbers of layers, rates, noise and lambda are the paper's; widths, kernels and
    Adam's betas, which it leaves out, the published programs'; slope, scale and weights of codes are ours."""

    content: Size = 128
    """Size of a content code."""
    class_code: Size = 256
    """Size of a class code. Several labels share it equally."""
    dense: tuple[Size, Size] = (512, 1024)
    """Sizes of the generator's fully connected layers before its first map."""
    width: Size = 256
    """Channels of the generator's maps."""
    last_width: Size = 64
    """Channels of the generator's last map."""
    encoder_widths: Sizes = (64, 128, 256, 256, 256)
    """Channels of an encoder's convolutions; all but the first have stride 2."""
    encoder_dense: Size = 256
    """Size of an encoder's two fully connected layers."""
    slope: Weight = 0.2
    """Negative slope of leaky ReLUs. The paper gives none; .3 in one program, .01 in the other."""
    inference: Literal["latent", "semi-amortised", "amortised"] = "latent"
    """Source of codes in training (table 3). latent: all are optimised; semi-amortised: content by an encoder;
    amortised: both by encoders, class codes averaged over the images of a class in a batch."""
    regularisation: Literal["noise", "kl", "none"] = "noise"
    """Regularisation of content codes (table 3): noise of fixed variance with a penalty on the norm; KL divergence to
    N(0, I) with learned variances, which needs an encoder; or none."""
    second_stage: bool = True
    """Ablation of table 3: without it there are no encoders, and codes of new images are optimised."""
    noise: Weight = 1.0
    """sigma of eq. 6."""
    decay: Weight = 0.001
    """lambda of eq. 6, for a reconstruction loss of the paper's size."""
    kl: Weight = 0.03
    """Weight of the KL divergence, in nats per image, where it replaces noise and penalty (table 3). At ten times as
    much the content code collapses: 0.02 nats per image were left after 600 steps, 10 with this."""
    scale: Positive = 10.0
    """Factor of the reconstruction loss, which brings it near the size that the paper reports, 13 to 40. Eq. 6 depends
    on lambda / scale only, and with KL on its weight / scale."""
    encoder_weights: tuple[Weight, Weight] = (10_000.0, 10_000.0)
    """alpha_1 (class) and alpha_2 (content) of eq. 8, for mean squared errors of codes."""
    loss: Literal["vgg16", "pixels"] = "vgg16"
    """Reconstruction loss: VGG16's features (the paper), or the mean absolute difference of pixels."""
    window: Size | None = None
    """Compare features in a random window of this size, and pixels in the whole image, instead of features in the whole
    image. VGG16 dominates a step, and its cost is proportional to the area. Ours, for small machines."""
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)
    target_gigabytes: Weight = 3.0
    """Cache features of training images in memory if they need no more than this."""
    rate: Positive = 1e-4
    """Adam's learning rate for the networks."""
    code_rate: Positive = 1e-3
    """Adam's learning rate for the codes."""
    cosine: bool = False
    """Anneal the learning rates to 0 by a half cosine in each stage, as the published programs do. The paper keeps them
    constant."""
    first_share: Annotated[float, Bounds(above=0, below=1)] = 0.5
    """Fraction of the run for the first stage."""
    fit_steps: Size = 100
    """Steps for which a new image's codes are optimised, without second stage."""


class Generator(nn.Module):
    """Generator G(e, c): fully connected layers from the content to a map of 1/16 size; four times upsampling, 3x3
    convolution, leaky ReLU and AdaIN by the class; 5x5 convolution, leaky ReLU, 7x7 convolution, sigmoid (appendix
    A.1)."""

    def __init__(self, spec: ImageSpec, config: LORDConfig, class_code: int) -> None:
        super().__init__()
        width, (first, second) = config.width, config.dense
        self.slope = config.slope
        self.map = (width, spec.height // STEP, spec.width // STEP)
        self.dense = nn.Sequential(
            nn.Linear(config.content, first),
            nn.LeakyReLU(config.slope),
            nn.Linear(first, second),
            nn.LeakyReLU(config.slope),
            nn.Linear(second, width * self.map[1] * self.map[2]),
            nn.LeakyReLU(config.slope),
            nn.Unflatten(1, self.map),
        )
        self.ups = nn.ModuleList(UpConv(width, width) for _ in range(UPSAMPLINGS))
        self.styles = nn.Linear(class_code, UPSAMPLINGS * 2 * width)
        self.styles.bias.data.view(UPSAMPLINGS, 2, width)[:, 0] = 1.0  # ours: start with the scale at 1
        self.last = nn.Sequential(
            nn.Conv2d(width, config.last_width, 5, padding=2),
            nn.LeakyReLU(config.slope),
            nn.Conv2d(config.last_width, spec.channels, 7, padding=3),
        )

    def forward(self, content: Float[Tensor, "n d"], class_code: Float[Tensor, "n e"]) -> Float[Tensor, "n c h w"]:
        """Generates images in [-1, 1]."""
        maps = self.dense(content).contiguous(memory_format=torch.channels_last)
        styles = self.styles(class_code).unflatten(1, (UPSAMPLINGS, 2, -1))
        for number, up in enumerate(self.ups):
            maps = nn.functional.leaky_relu(up(maps), self.slope)
            maps = adain(maps, styles[:, number, 0], styles[:, number, 1])
        return torch.tanh(self.last(maps).float() / 2)  # 2 sigmoid(x) - 1


class Encoder(nn.Sequential):
    """Encoder of images to codes: five convolutions and three fully connected layers (appendix A.1).

    Shape: (n, c, h, w) -> (n, size).
    """

    def __init__(self, spec: ImageSpec, config: LORDConfig, size: int) -> None:
        first, *widths = config.encoder_widths
        layers: list[nn.Module] = [nn.Conv2d(spec.channels, first, 7, padding=3), nn.LeakyReLU(config.slope)]
        for i, o in zip([first, *widths[:-1]], widths, strict=True):
            layers += [nn.Conv2d(i, o, 4, 2, 1), nn.LeakyReLU(config.slope)]
        step, dense = 2 ** len(widths), config.encoder_dense
        layers += [nn.Flatten(), nn.Linear(widths[-1] * (spec.height // step) * (spec.width // step), dense)]
        layers += [
            nn.LeakyReLU(config.slope),
            nn.Linear(dense, dense),
            nn.LeakyReLU(config.slope),
            nn.Linear(dense, size),
        ]
        super().__init__(*layers)


class Extractor(FrozenVgg16):
    """VGG16 for training and fitting, with a cache of the features of training images.

    Args:
        weights: Weights of VGG16.
        items: Number of training images.
        gigabytes: Largest size of the cache; nothing is cached if all features need more.
    """

    def __init__(self, weights: dict[str, Tensor], items: int, gigabytes: float) -> None:
        super().__init__(weights)
        self.items, self.room = items, gigabytes * 1e9
        self._kept: list[Tensor] = []
        self._known = torch.zeros(0, dtype=torch.bool, device="cpu")
        self._computed = 0
        self._complete = False

    def _holds(self, index: Int[Tensor, " n"]) -> bool:
        """Returns whether the features of these images are in the cache. On a GPU, where looking waits for the device,
        looks now and then whether all are."""
        if index.device.type == "cpu":
            return bool(self._known[index].all())
        if not self._complete and self._computed >= self.items:
            self._complete, self._computed = bool(self._known.all()), 0
        return self._complete

    @torch.no_grad()
    def targets(self, x: Float[Tensor, "n c h w"], index: Int[Tensor, " n"] | None) -> list[Tensor]:
        """Returns the features of training images x at positions `index`; without `index`, of other images."""
        vgg = self.on(x.device)
        if index is None or (self._kept and self._holds(index)):
            return vgg(x) if index is None else [kept[index] for kept in self._kept]
        maps = vgg(x)
        needed = self.items * sum(m[0].numel() * m.element_size() for m in maps)
        if self.items and needed <= self.room:
            if not self._kept:
                self._known = torch.zeros(self.items, dtype=torch.bool, device=x.device)
                self._kept = [
                    torch.empty(self.items, *m.shape[1:], dtype=m.dtype, device=m.device).to(
                        memory_format=torch.channels_last
                    )
                    for m in maps
                ]
            for kept, m in zip(self._kept, maps, strict=True):
                kept[index] = m
            self._known[index] = True
            self._computed += len(index)
        return maps


class LORD(Method[Labelled]):
    """Latent optimisation for representation disentanglement [1]. Trains on labels: one class, or several attributes.

    The shared code is the content, the exclusive code the class. Two domains are two classes, or with
    --data.styles-per-class more.

    Example:
        >>> from unbraid.core.types import DataSpec, ImageSpec
        >>> spec = DataSpec(ImageSpec(32, 32), ImageSpec(32, 32), items=100, classes=(5,))
        >>> model = LORD(spec, LORDConfig(width=8, last_width=8, encoder_widths=(8, 8, 8, 8, 8), loss="pixels")).eval()
        >>> codes = model.encode(torch.zeros(2, 3, 32, 32), "a")
        >>> tuple(codes.shared.shape), tuple(codes.exclusive.shape)
        ((2, 128), (2, 256))
    """

    needs = Labelled
    config_type = LORDConfig
    training_only = ("content_codes.",)
    config: LORDConfig
    offsets: Tensor

    def __init__(self, spec: DataSpec, config: LORDConfig) -> None:
        super().__init__(spec, config)
        _check(spec, config)
        image = cast(ImageSpec, spec.a)
        part = config.class_code // len(spec.classes)
        size = part * len(spec.classes)
        self.generator = Generator(image, config, size)
        if config.inference == "latent":
            self.content_codes = code_table(spec.items, config.content)
        if config.inference != "amortised":
            self.class_codes = code_table(sum(spec.classes), part)
        if config.inference != "latent" or config.second_stage:
            variances = config.content if config.regularisation == "kl" else 0
            self.content_encoder = Encoder(image, config, config.content + variances)
            self.class_encoder = Encoder(image, config, size)
        self.register_buffer(
            "offsets", torch.tensor([sum(spec.classes[:i]) for i in range(len(spec.classes))]), persistent=False
        )
        self._extractor: Extractor | None = None

    def prepare(self) -> None:
        """Loads the weights of VGG16. Raises UserError if there are none."""
        if self.config.loss == "vgg16" and self._extractor is None:
            weights = find_weights("vgg16", self.config.perceptual)
            self._extractor = Extractor(weights, self.spec.items, self.config.target_gigabytes)

    def stages(self) -> list[Stage]:
        """Returns the stages codes and encoders, or one if everything is amortised or there is no second stage."""
        c = self.config
        if c.inference == "amortised":
            return [Stage("codes")]
        if not c.second_stage:
            return [Stage("codes", encodes=False)]
        return [Stage("codes", c.first_share, encodes=False), Stage("encoders", 1 - c.first_share)]

    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        """Returns Adam for the networks of the stage, and in the first stage row-wise Adam for the tables of codes."""
        c = self.config
        self.prepare()
        if stage == "encoders":
            moving = [self.generator, self.class_encoder, self.content_encoder]
            return {"networks": Adam([p for m in moving for p in m.parameters()], c.rate, BETAS, fused=True)}
        moving: list[nn.Module] = [self.generator]
        tables = []
        if c.inference == "latent":
            tables.append(self.content_codes)
        else:
            moving.append(self.content_encoder)
        if c.inference == "amortised":
            moving.append(self.class_encoder)
        else:
            tables.append(self.class_codes)
        optimisers: dict[str, Optimizer] = {
            "networks": Adam([p for m in moving for p in m.parameters()], c.rate, BETAS, fused=True)
        }
        if tables:
            optimisers["codes"] = RowAdam(tables, c.code_rate, BETAS)
        return optimisers

    def rate_factor(self, stage: str, clock: Clock) -> float:
        """Returns 1 as in the paper, or a half cosine down to 0."""
        return (1 + cos(pi * clock.progress)) / 2 if self.config.cosine else 1.0

    def updates(self, batches: Iterator[Labelled], clock: Clock) -> Iterator[Update]:
        """Performs one turn of the stage."""
        batch = next(batches)
        yield self._encoders_turn(batch) if clock.stage == "encoders" else self._codes_turn(batch)

    def _codes_turn(self, batch: Labelled) -> Update:
        """Minimises eq. 6 over generator and codes together (eq. 7)."""
        content, penalty = self._content(batch)
        generated = self.generator(content, self._class_code(batch))
        terms = {"reconstruction": self._difference(generated, batch.x, batch.index), **penalty}
        return {("networks",) if self.config.inference == "amortised" else ("networks", "codes"): terms}

    def _content(self, batch: Labelled) -> tuple[Float[Tensor, "n d"], Terms]:
        """Returns c_i + z_i of eq. 6, or its variants of table 3, and the penalty on it."""
        c = self.config
        latent = c.inference == "latent"
        content = self.content_codes(batch.index) if latent else self.content_encoder(batch.x).float()
        if c.regularisation == "none":
            return content, {}
        if c.regularisation == "kl":
            mean, log_variance = content.chunk(2, 1)
            return reparameterise(mean, log_variance), {"kl_content": c.kl * kl_normal(mean, log_variance)}
        decay = c.decay * content.square().sum(1).mean()  # eq. 6, term 2
        return content + c.noise * torch.randn_like(content), {"decay_content": decay}

    def _class_code(self, batch: Labelled) -> Float[Tensor, "n d"]:
        """Returns e_y from the table, or the mean over the batch's images of the class (section 5)."""
        if self.config.inference != "amortised":
            return self._class_rows(batch.label)
        codes, labels = ranks.gather(self.class_encoder(batch.x).float()), ranks.gather(batch.label)
        same_class = (batch.label[:, None] == labels[None]).all(2).float()
        return (same_class / same_class.sum(1, keepdim=True)) @ codes

    def _class_rows(self, label: Int[Tensor, "n k"]) -> Float[Tensor, "n d"]:
        return self.class_codes(label + self.offsets).flatten(1)

    def _encoders_turn(self, batch: Labelled) -> Update:
        """Minimises eq. 8; the optimised codes, without noise, are targets."""
        c = self.config
        content = self._content_mean(batch.x)
        class_code = self.class_encoder(batch.x).float()
        generated = self.generator(content, class_code)
        with torch.no_grad():
            codes = self.training_codes(batch.label, batch.index)
        terms = {
            "reconstruction": self._difference(generated, batch.x, batch.index),  # eq. 8, term 1
            "class_code": c.encoder_weights[0] * nn.functional.mse_loss(class_code, codes.exclusive),  # eq. 8, term 2
        }
        if c.inference == "latent":  # else the encoder's own codes are what would be its targets
            difference = nn.functional.mse_loss(content, codes.shared)
            terms["content_code"] = c.encoder_weights[1] * difference  # eq. 8, term 3
        return {"networks": terms}

    def _content_mean(self, x: Tensor) -> Float[Tensor, "n d"]:
        return self.content_encoder(x).float()[:, : self.config.content]

    def _difference(self, generated: Tensor, x: Tensor, index: Tensor | None) -> Float[Tensor, ""]:
        """Computes the reconstruction loss of eq. 6 for training images at `index`, or for others."""
        if self.config.loss == "pixels":
            return self.config.scale * (generated - x).abs().mean()
        assert self._extractor is not None
        size, vgg = self.config.window, self._extractor.on(x.device)
        if size is None or index is None:  # a new image's codes must not depend on where a window falls
            return self.config.scale * perceptual_loss(vgg, generated, self._extractor.targets(x, index))
        top, left = (int(torch.randint(length - size + 1, ())) for length in x.shape[2:])
        window = (..., slice(top, top + size), slice(left, left + size))
        with torch.no_grad():
            targets = vgg(x[window])
        return self.config.scale * (perceptual_loss(vgg, generated[window], targets) + (generated - x).abs().mean())

    def training_codes(self, label: Tensor, index: Tensor) -> Codes:
        """Returns codes of training images: content (empty if it is encoded) and class. See `Latent.training_codes`."""
        latent = self.config.inference == "latent"
        content = self.content_codes(index) if latent else torch.zeros(len(index), 0, device=index.device)
        return Codes(content, self._class_rows(label))

    def with_value(self, exclusive: Tensor, label: int, value: int) -> Tensor:
        """Replaces the class code of one label (appendix A.9). See `Latent.with_value`.

        Raises UserError if everything is amortised, since values then have no codes.
        """
        if self.config.inference == "amortised":
            raise UserError("A fully amortised LORD keeps no codes of classes: give an image to take it from")
        parts = list(exclusive.chunk(len(self.spec.classes), 1))
        row = self.offsets[label] + value
        parts[label] = self.class_codes(row[None]).expand(len(exclusive), -1)
        return torch.cat(parts, 1)

    def fits_codes(self) -> bool:
        """Returns whether there is no encoder of both codes. See `Method.fits_codes`."""
        return self.config.inference == "latent" and not self.config.second_stage

    def encode(self, x: Tensor, domain: Domain) -> Codes:
        """Encodes images of any class to content and class codes (section 3.2)."""
        if self.fits_codes():
            return self._fitted(x)
        return Codes(self._content_mean(x), self.class_encoder(x).float())

    def _fitted(self, x: Tensor) -> Codes:
        """Optimises codes for each image by itself, with all else frozen (section 5, without second stage)."""
        self.prepare()
        generator = torch.Generator().manual_seed(0)
        sizes = (self.config.content, self.generator.styles.in_features)
        starts = [torch.rand(1, size, generator=generator, device=generator.device) * 0.1 - 0.05 for size in sizes]
        codes = [start.to(x.device).repeat(len(x), 1).requires_grad_() for start in starts]
        optimiser = Adam(codes, self.config.code_rate, BETAS)
        with torch.enable_grad():
            for _ in range(self.config.fit_steps):
                generated = self.generator(*codes)
                loss = len(x) * self._difference(generated, x, None)  # each image's own, whatever is beside it
                for code, gradient in zip(codes, torch.autograd.grad(loss, codes), strict=True):
                    code.grad = gradient
                optimiser.step()
        return Codes(codes[0].detach(), codes[1].detach())

    def decode(self, codes: Codes, domain: Domain) -> Tensor:
        """Generates images G(e, c) (eq. 9), (n, c, h, w) in [-1, 1]."""
        return self.generator(codes.shared, codes.exclusive)

    def prior(self, n: int, domain: Domain, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Samples class codes from the classes of `domain`, or from all if there is one domain.

        See `Disentangler.prior`. Raises UserError if everything is amortised, since classes then have no codes.
        """
        if self.config.inference == "amortised":
            raise UserError("A fully amortised LORD keeps no class codes to draw from: give an image to take it from")
        sets, device = self.spec.domains, generator.device
        columns = [
            torch.tensor([i for i in range(count) if not sets or sets[i] == domain], device=device)
            for count in self.spec.classes
        ]
        drawn = [column[torch.randint(len(column), (n,), generator=generator, device=device)] for column in columns]
        return self._class_rows(torch.stack(drawn, 1).to(self.offsets.device)).detach()

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        """Decodes the content of x with a class of `dst`, given or sampled. See `Translator.translate`."""
        if style is None:
            style = self.prior(len(x), dst, torch.Generator().manual_seed(int(torch.randint(2**31, ()))))
        return self.decode(Codes(self.encode(x, src).shared, style.to(x.device)), dst)


def _check(spec: DataSpec, config: LORDConfig) -> None:
    """Raises UserError for settings that don't fit the data."""
    if spec.a != spec.b or not isinstance(spec.a, ImageSpec):
        raise UserError(f"LORD needs images of one size; found {spec.a} and {spec.b}")
    if spec.a.height % STEP or spec.a.width % STEP or spec.a.channels not in (1, 3):
        raise UserError(
            f"LORD makes images of 1 or 3 channels whose height and width are multiples of {STEP}; found {spec.a}. "
            "Give --data.size, say 64 64, or --data.channels"
        )
    if config.loss == "vgg16" and min(spec.a.height, spec.a.width) < 2 * STEP:
        raise UserError(f"VGG16 needs {2 * STEP} px at least; found {spec.a}. Give --data.size or --method.loss pixels")
    if config.window is not None and not 2 * STEP <= config.window <= min(spec.a.height, spec.a.width):
        raise UserError(f"--method.window {config.window}: between {2 * STEP} and the images' size, {spec.a}")
    if not spec.classes or len(spec.classes) > config.class_code:
        raise UserError(
            f"--method.class-code {config.class_code}: it must hold at least one value for each of the "
            f"{len(spec.classes)} labels"
        )
    if len(config.encoder_widths) < 2 or 2 ** (len(config.encoder_widths) - 1) > min(spec.a.height, spec.a.width):
        raise UserError("--method.encoder-widths: two to five, each but the first halves the image")
    if config.regularisation == "kl" and config.inference == "latent":
        raise UserError(
            "--method.regularisation kl needs an encoder of the content: --method.inference semi-amortised or amortised"
        )
    if config.inference == "semi-amortised" and not config.second_stage:
        raise UserError("--method.inference semi-amortised finds no class code for a new image without second stage")
    if config.inference == "amortised" and spec.domains:
        raise UserError("--method.inference amortised keeps no class codes to translate with; it is for labelled data")
