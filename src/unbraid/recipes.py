"""Named functions that return a complete run, one for each experiment.

A recipe without `-paper` fits two cores; it shrinks sizes, never the algorithm. Its figures are measured by the
commands in benchmarks/ and stand in docs/benchmarks.md with command, split, seed and date.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from unbraid.config import RunConfig, TrainConfig
from unbraid.data.config import DataConfig
from unbraid.methods.cddn import CdDNConfig
from unbraid.methods.cyclegan import CycleGANConfig
from unbraid.methods.iiae import IIAEConfig
from unbraid.methods.lord import LORDConfig
from unbraid.methods.uncooperative import UncooperativeConfig
from unbraid.methods.xgan import XGANConfig


@dataclass(frozen=True)
class Recipe:
    """A named run: what it shows, the paper's figure for it, and ours."""

    method: str
    about: str
    make: Callable[[], RunConfig[Any]]
    paper: str = "-"
    ours: str = "not measured"


DIGITS = IIAEConfig(
    widths=(32, 64),
    decoder_widths=(128, 64),
    map_size=4,
    shared=16,
    beta=0.2,
    lam=5.0,
    likelihood=1000.0,
    anneal=1000.0,
    dropout=0.0,
    rate=1e-3,
    decay=True,
)
"""IIAE for digits at 32 px: three halvings, a 4x4 shared map."""


def demo() -> RunConfig[IIAEConfig]:
    """IIAE on the digits that ship with the package, in minutes."""
    return RunConfig(
        DIGITS, DataConfig(set="digits"), TrainConfig(minutes=3, batch=64, evaluate_every=500, distance="cosine")
    )


def iiae_mnist_cdcb() -> RunConfig[IIAEConfig]:
    """All of MNIST, coloured, at 32 px."""
    return RunConfig(
        DIGITS, DataConfig(set="mnist-cdcb"), TrainConfig(minutes=38, batch=64, evaluate_every=2000, distance="cosine")
    )


def iiae_mnist_cdcb_paper() -> RunConfig[IIAEConfig]:
    """All of MNIST at the paper's size, with its weights and length."""
    return paper(
        IIAEConfig(beta=0.2, lam=5.0, likelihood=1000.0), DataConfig(set="mnist-cdcb", size=(256, 256)), steps=1_012_000
    )


SMALL_IMAGES = IIAEConfig(
    widths=(32, 64, 128, 128),
    decoder_widths=(256, 128, 64, 32),
    shared=32,
    anneal=1000.0,
    rate=1e-3,
    decay=True,
)
"""IIAE for photographs at 64 px: three halvings, an 8x8 shared map, half as wide as the paper's."""


def iiae_maps() -> RunConfig[IIAEConfig]:
    """Aerial photos and maps at 64 px."""
    return RunConfig(
        SMALL_IMAGES,
        DataConfig(set="maps", size=(64, 64), augment=("turn", "shift")),
        TrainConfig(minutes=50, batch=16, evaluate_every=1000),
    )


def iiae_maps_paper() -> RunConfig[IIAEConfig]:
    """Aerial photos and maps at the paper's size, with its weights and length."""
    return paper(IIAEConfig(beta=0.02, lam=50.0, likelihood=20_000.0), DataConfig(set="maps"), epochs=400)


def iiae_facades() -> RunConfig[IIAEConfig]:
    """Facades and their labels at 64 px."""
    return RunConfig(
        replace(SMALL_IMAGES, beta=0.001, lam=1000.0, likelihood=5000.0),
        DataConfig(set="facades", size=(64, 64), augment=("flip", "shift")),
        TrainConfig(minutes=15, batch=16, evaluate_every=1000),
    )


def iiae_facades_paper() -> RunConfig[IIAEConfig]:
    """Facades and their labels at the paper's size, with its weights and length."""
    return paper(IIAEConfig(beta=0.001, lam=1000.0, likelihood=1000.0), DataConfig(set="facades"), epochs=300)


def iiae_cars() -> RunConfig[IIAEConfig]:
    """Front views of cars and their other views at 64 px: the same car, nothing in the same place."""
    method = IIAEConfig(
        code="flat",
        widths=(16, 32, 64, 128),
        decoder_widths=(256, 128, 64, 32),
        map_size=4,
        likelihood=5000.0,
        anneal=100.0,
        rate=1e-3,
        decay=True,
    )
    return RunConfig(method, DataConfig(set="cars"), TrainConfig(minutes=22, batch=32, evaluate_every=1000))


def iiae_car_sides() -> RunConfig[IIAEConfig]:
    """Front or rear and profile of cars at 64 px, as CdDN pairs them."""
    config = iiae_cars()
    return replace(config, data=DataConfig(set="car-sides"), train=replace(config.train, minutes=30))


def iiae_emoji() -> RunConfig[IIAEConfig]:
    """Two styles of emoji at 64 px, line art and colour."""
    return RunConfig(
        replace(SMALL_IMAGES, likelihood=5000.0),
        DataConfig(set="emoji", styles=("openmoji-black", "google")),
        TrainConfig(minutes=30, batch=16, evaluate_every=1000),
    )


def iiae_cars_paper() -> RunConfig[IIAEConfig]:
    """Front views of cars and their other views at the paper's size, with its weights and length."""
    method = IIAEConfig(code="flat", likelihood=1000.0, anneal=100.0)
    return paper(method, DataConfig(set="cars", size=(256, 256)), epochs=500)


SKETCHY_VECTORS = IIAEConfig(shared=64, exclusive=64, beta=0.5, lam=2.0, likelihood=10.0, squared=True, anneal=2000.0)
"""IIAE for feature vectors: the paper's networks and weights for Sketchy, 64 values in each code."""
SKETCHY = DataConfig(set="sketchy", by_class=True, balanced=True)
"""Every photo and every sketch of Sketchy, pairs drawn within a class, 25 classes to test on."""


def iiae_sketchy() -> RunConfig[IIAEConfig]:
    """Photos and sketches as features with a head tuned on the training classes; one pair of each class in a step."""
    return RunConfig(
        replace(SKETCHY_VECTORS, likelihood=300.0, rate=1e-3, decay=True),
        replace(SKETCHY, features="efficientnet-lite0", tuned=True),
        TrainConfig(steps=400, batch=90, evaluate_every=100, precision="fp32"),
    )


def iiae_sketchy_paper() -> RunConfig[IIAEConfig]:
    """The paper's networks, weights and length, about 10 passes over Sketchy Extended, on frozen features of VGG16."""
    return RunConfig(
        SKETCHY_VECTORS,
        replace(SKETCHY, features="vgg16"),
        TrainConfig(steps=7500, batch=100, evaluate_every=500, precision="fp32", distance="cosine"),
    )


def paper(
    method: IIAEConfig, data: DataConfig, steps: int | None = None, epochs: float | None = None
) -> RunConfig[IIAEConfig]:
    """The paper's training: batches of 8, Euclidean distance."""
    return RunConfig(method, data, TrainConfig(steps=steps, epochs=epochs, evaluate_every=5000, distance="euclidean"))


SMALL_LORD = LORDConfig(
    width=64,
    last_width=32,
    encoder_widths=(32, 64, 128, 128, 128),
    window=32,
    rate=1e-3,
    code_rate=4e-2,
    cosine=True,
    first_share=0.65,
)
"""LORD at 64 px: a quarter of the paper's channels, features compared in windows, higher rates."""


def lord_cars3d() -> RunConfig[LORDConfig]:
    """LORD on 163 cars, 20 others to test, at 64 px. A quarter of their views trains, 24 of each car, so that a run of
    this length comes back to each content code often enough."""
    return RunConfig(
        SMALL_LORD, DataConfig(set="cars3d", val=0.75), TrainConfig(minutes=80, batch=32, evaluate_every=500)
    )


def lord_cars3d_paper() -> RunConfig[LORDConfig]:
    """LORD on cars with the paper's networks, rates and length: 200 epochs for the codes, as many for the encoders."""
    return RunConfig(
        LORDConfig(), DataConfig(set="cars3d", val=0.05), TrainConfig(epochs=400, batch=64, evaluate_every=2000)
    )


def lord_cars3d_variant(**changes: Any) -> Callable[[], RunConfig[LORDConfig]]:
    """A variant of table 3, ten minutes, at 32 px."""

    def make() -> RunConfig[LORDConfig]:
        config = lord_cars3d()
        return RunConfig(
            replace(config.method, window=None, **changes),
            replace(config.data, size=(32, 32)),
            replace(config.train, minutes=10, evaluate_every=2000),
        )

    return make


def lord_emoji(styles: int) -> Callable[[], RunConfig[LORDConfig]]:
    """Two styles of emoji at 32 px, line art and colour, pairs hidden: two classes, or each divided into styles."""

    def make() -> RunConfig[LORDConfig]:
        data = DataConfig(
            set="emoji", styles=("openmoji-black", "google"), size=(32, 32), unpaired=True, styles_per_class=styles
        )
        return RunConfig(replace(SMALL_LORD, window=None), data, TrainConfig(minutes=10, batch=32, evaluate_every=1000))

    return make


def lord_avataaars() -> RunConfig[LORDConfig]:
    """Cartoon faces by what is on the head, 32 px: hair and hats are the class, the face is content."""
    return RunConfig(
        replace(SMALL_LORD, window=None),
        DataConfig(set="avataaars", size=(32, 32), balanced=True),
        TrainConfig(minutes=10, batch=32, evaluate_every=1000),
    )


def lord_avataaars_attributes() -> RunConfig[LORDConfig]:
    """Cartoon faces with four attributes, 32 px: what is left, hair and expression among it, is content."""
    config = lord_avataaars()
    labels = ("skinColor", "clothesColor", "accessories", "facialHair")
    return replace(config, data=replace(config.data, labels=labels, balanced=False))


CDDN_DIGITS = CdDNConfig(
    widths=(32, 64),
    decoder_widths=(128, 64),
    dropout=(0.0, 0.0),
    map_size=4,
    shared=32,
    critic_widths=(32, 64, 128),
    alike=10.0,
    latent=10.0,
    rate=1e-3,
    decay=True,
)
"""CdDN for digits at 32 px: three halvings, a 4x4 shared map. Codes are held together ten times less than in the paper:
by its weights, shared codes of all digits were alike here after 800 steps (recall@1 3 %)."""


def cddn_mnist_cdcb() -> RunConfig[CdDNConfig]:
    """All of MNIST, coloured, at 32 px."""
    return RunConfig(
        CDDN_DIGITS,
        DataConfig(set="mnist-cdcb"),
        TrainConfig(minutes=75, batch=16, evaluate_every=2000, average=0.999, distance="euclidean"),
    )


CDDN_IMAGES = CdDNConfig(
    widths=(32, 64, 128, 128),
    decoder_widths=(256, 128, 64, 32),
    dropout=(0.0, 0.0, 0.0, 0.0),
    shared=64,
    critic_widths=(32, 64, 128),
    alike=10.0,
    latent=10.0,
    rate=1e-3,
    decay=True,
)
"""CdDN for images at 64 px: three halvings, an 8x8 shared map, half as wide as the paper's."""


def cddn_images(data: DataConfig, minutes: float, **changes: Any) -> Callable[[], RunConfig[CdDNConfig]]:
    """CdDN at 64 px or below, by what is said of the data."""

    def make() -> RunConfig[CdDNConfig]:
        train = TrainConfig(minutes=minutes, batch=16, evaluate_every=1000, average=0.999)
        return RunConfig(replace(CDDN_IMAGES, **changes), data, train)

    return make


def cddn_ablation(**changes: Any) -> Callable[[], RunConfig[CdDNConfig]]:
    """An ablation of table 3 on MNIST-CDCB, ten minutes."""

    def make() -> RunConfig[CdDNConfig]:
        config = cddn_mnist_cdcb()
        return replace(config, method=replace(config.method, **changes), train=replace(config.train, minutes=10))

    return make


def cddn_paper(data: DataConfig, epochs: float) -> Callable[[], RunConfig[CdDNConfig]]:
    """The paper's networks, weights and length, at 256 px, batches of 8, the last model kept."""

    def make() -> RunConfig[CdDNConfig]:
        return RunConfig(
            CdDNConfig(),
            replace(data, size=(256, 256)),
            TrainConfig(epochs=epochs, evaluate_every=5000, distance="euclidean"),
        )

    return make


def cddn_sketchy() -> RunConfig[CdDNConfig]:
    """As iiae-sketchy: the same features, pairs and length."""
    config = iiae_sketchy()
    method = CdDNConfig(shared=64, critic_widths=(256, 128), alike=10.0, latent=10.0, rate=1e-3, decay=True)
    return RunConfig(method, config.data, config.train)


def synthetic(cooperative: bool) -> Callable[[], RunConfig[UncooperativeConfig]]:
    """Two independent normal factors: networks, batch and length are the paper's."""

    def make() -> RunConfig[UncooperativeConfig]:
        return RunConfig(
            UncooperativeConfig(rich="a", cooperative=cooperative),
            DataConfig(set="synthetic"),
            TrainConfig(steps=60_000, batch=128, evaluate_every=2000, precision="fp32"),
        )

    return make


def synthetic_identifiable(cooperative: bool) -> Callable[[], RunConfig[UncooperativeConfig]]:
    """A uniform and a two-mode factor, and linear networks, for which only the true split has the right distributions.

    Weights and rates are those that found it with the most seeds in trials, for both rules: reconstruction weighs
    little, since its absolute differences hold networks that agree where they are.
    """

    def make() -> RunConfig[UncooperativeConfig]:
        return RunConfig(
            UncooperativeConfig(
                rich="a",
                cooperative=cooperative,
                linear=True,
                spectral=False,
                again_rich=0.1,
                again_poor=0.1,
                again_residual=0.1,
                rate=1e-3,
                adversary_rate=3e-3,
            ),
            DataConfig(set="synthetic-identifiable"),
            TrainConfig(steps=20_000, batch=128, evaluate_every=1000, precision="fp32"),
        )

    return make


SMALL_UNCOOPERATIVE = UncooperativeConfig(rich="a", width=24, adversary_width=32)
"""Uncooperative re-entanglement at 64 px: fewer channels than the paper's 64, every layer in place."""
SMALL_CYCLEGAN = CycleGANConfig(width=24, adversary_width=32)
"""CycleGAN at 64 px, as wide."""


def uncooperative_cuhk() -> RunConfig[UncooperativeConfig]:
    """Photos of faces (rich) and their sketches at 64 px, pairs hidden."""
    return RunConfig(
        SMALL_UNCOOPERATIVE,
        DataConfig(set="cuhk", size=(64, 64), augment=("flip", "shift")),
        TrainConfig(minutes=40, batch=4, evaluate_every=1000),
    )


def uncooperative_cuhk_paper() -> RunConfig[UncooperativeConfig]:
    """Photos of faces and their sketches with the paper's networks, weights and length."""
    return uncooperative_paper(DataConfig(set="cuhk", size=(256, 256)))


def uncooperative_relit(cooperative: bool) -> Callable[[], RunConfig[UncooperativeConfig]]:
    """Cars under lights, with shadows and backgrounds (rich), and plain cars at 64 px, unpaired."""

    def make() -> RunConfig[UncooperativeConfig]:
        return RunConfig(
            replace(SMALL_UNCOOPERATIVE, cooperative=cooperative),
            DataConfig(set="relit", size=(64, 64)),
            TrainConfig(minutes=40, batch=4, evaluate_every=1000),
        )

    return make


def uncooperative_relit_paper(cooperative: bool) -> Callable[[], RunConfig[UncooperativeConfig]]:
    """Relit and plain cars with the paper's networks, weights and length."""

    def make() -> RunConfig[UncooperativeConfig]:
        config = uncooperative_paper(DataConfig(set="relit", size=(256, 256)))
        return replace(config, method=replace(config.method, cooperative=cooperative))

    return make


def cyclegan_relit() -> RunConfig[CycleGANConfig]:
    """Relit and plain cars at 64 px, unpaired, for as long as uncooperative-relit."""
    config = uncooperative_relit(False)()
    return RunConfig(SMALL_CYCLEGAN, config.data, config.train)


def cyclegan_relit_paper() -> RunConfig[CycleGANConfig]:
    """Relit and plain cars with the paper's networks, weights and length."""
    return cyclegan_paper(DataConfig(set="relit", size=(256, 256)))


def uncooperative_maps() -> RunConfig[UncooperativeConfig]:
    """Aerial photos (rich) and maps at 64 px, pairs hidden."""
    return RunConfig(
        SMALL_UNCOOPERATIVE,
        DataConfig(set="maps", size=(64, 64), augment=("turn", "shift")),
        TrainConfig(minutes=40, batch=4, evaluate_every=1000),
    )


def uncooperative_maps_paper() -> RunConfig[UncooperativeConfig]:
    """Aerial photos and maps with the paper's networks, weights and length."""
    return uncooperative_paper(DataConfig(set="maps"))


def cyclegan_maps() -> RunConfig[CycleGANConfig]:
    """Aerial photos and maps at 64 px, pairs hidden, for as long as uncooperative-maps."""
    config = uncooperative_maps()
    return RunConfig(SMALL_CYCLEGAN, config.data, config.train)


def cyclegan_maps_paper() -> RunConfig[CycleGANConfig]:
    """Aerial photos and maps with the paper's networks, weights and length."""
    return cyclegan_paper(DataConfig(set="maps"))


def uncooperative_paper(data: DataConfig) -> RunConfig[UncooperativeConfig]:
    """The paper's training: 300,000 steps, batches of 4."""
    return RunConfig(UncooperativeConfig(), data, TrainConfig(steps=300_000, batch=4, evaluate_every=10_000))


def cyclegan_paper(data: DataConfig) -> RunConfig[CycleGANConfig]:
    """The paper's training: 200 passes, one image at a time."""
    return RunConfig(CycleGANConfig(), data, TrainConfig(epochs=200, batch=1, evaluate_every=10_000))


def xgan(data: DataConfig, minutes: float, **changes: Any) -> Callable[[], RunConfig[XGANConfig]]:
    """XGAN with the paper's networks, pairs hidden if there are any."""

    def make() -> RunConfig[XGANConfig]:
        train = TrainConfig(minutes=minutes, batch=32, evaluate_every=1000, distance="cosine")
        return RunConfig(XGANConfig(**changes), data, train)

    return make


def xgan_paper(data: DataConfig) -> Callable[[], RunConfig[XGANConfig]]:
    """XGAN at the paper's 64 px. It gives neither batch nor length; this is long enough for curves to be flat."""

    def make() -> RunConfig[XGANConfig]:
        train = TrainConfig(steps=200_000, batch=32, evaluate_every=5000, distance="cosine")
        return RunConfig(XGANConfig(), replace(data, size=(64, 64)), train)

    return make


XGAN_EMOJI = DataConfig(set="emoji", styles=("google", "openmoji"), size=(32, 32), augment=("flip", "shift"))
"""Two coloured styles that draw the same things."""
XGAN_MNIST = DataConfig(set="mnist-cdcb")
XGAN_FACES = DataConfig(set="cuhk-avataaars", size=(64, 64), augment=("flip", "shift"))


def cyclegan_emoji() -> RunConfig[CycleGANConfig]:
    """The same two styles as xgan-emoji, pairs hidden, for as long."""
    return RunConfig(SMALL_CYCLEGAN, XGAN_EMOJI, TrainConfig(minutes=45, batch=4, evaluate_every=1000))


VARIANTS: tuple[tuple[str, str, str, str, dict[str, Any]], ...] = (
    ("full", "the full method", ".078", ".033 (32 px)", {}),
    ("amortised-kl", "amortised, KL", ".094", ".047 (32 px)", {"inference": "amortised", "regularisation": "kl"}),
    ("amortised", "amortised, noise", ".082", ".044 (32 px)", {"inference": "amortised"}),
    (
        "semi-amortised-kl",
        "content amortised, KL",
        ".095",
        ".037 (32 px)",
        {"inference": "semi-amortised", "regularisation": "kl"},
    ),
    ("semi-amortised", "content amortised, noise", ".079", ".034 (32 px)", {"inference": "semi-amortised"}),
    ("no-second-stage", "codes of new images are optimised", ".175", ".026 (32 px, 48 tasks)", {"second_stage": False}),
    ("no-regularisation", "neither noise nor penalty", ".095", ".046 (32 px)", {"regularisation": "none"}),
)
ABLATIONS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("full", "the full method", "13.0 / 10.2", {}),
    ("no-autoencoder", "no cross-domain autoencoders", "35.1 / 15.0", {"autoencoder": "none"}),
    ("ordinary-autoencoder", "ordinary autoencoders", "40.0 / 16.8", {"autoencoder": "ordinary"}),
    ("no-reversal", "no exclusive decoders behind a reversed gradient", "11.4 / 11.5", {"reversal": False}),
    ("no-noise", "no noise on codes", "13.0 / 11.9", {"noise": 0.0}),
    ("no-alike", "shared codes are not pulled together", "16.6 / 12.4", {"alike": 0.0}),
    ("no-latent", "no latent reconstruction", "18.9 / 12.9", {"latent": 0.0}),
)
"""The ablations of CdDN's table 3: name, what it is, the paper's analogy distances (CB / CD), what changes."""
XGAN_ABLATIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("full", "the full method, without teacher", {}),
    ("teacher", "with VGG16 as teacher of the first style", {"teacher": "vgg16", "embedding": 512}),
    ("reconstruction-and-domain", "neither semantic consistency nor GAN", {"semantic": 0.0, "gan": 0.0}),
    ("no-semantic", "no semantic consistency", {"semantic": 0.0}),
    ("middle", "only the embedding's layer shared", {"sharing": "middle"}),
    ("no-gan", "no discriminator", {"gan": 0.0}),
)
"""The ablations of XGAN's section 5 and appendix 7.4: name, what it is, what changes."""
AT_PAPER_SIZE = "the paper's size and length; hours to weeks on two cores"
RECIPES: dict[str, Recipe] = {
    "demo": Recipe("iiae", "digits that ship with the package, 32 px, 3 minutes", demo, "-", "99.93 / 99.43"),
    "iiae-mnist-cdcb": Recipe("iiae", "MNIST-CDCB, 32 px, 38 minutes", iiae_mnist_cdcb, "99.7 / 99.7", "99.96 / 99.71"),
    "iiae-maps": Recipe("iiae", "aerial photos and maps, 64 px, 50 minutes", iiae_maps, "96.6 / 97.3", "97.27 / 96.45"),
    "iiae-facades": Recipe(
        "iiae", "facades and labels, 64 px, 15 minutes", iiae_facades, "96.2 / 99.1", "100.0 / 100.0 (other split)"
    ),
    "iiae-cars": Recipe("iiae", "front and other views of cars, 64 px, 22 minutes", iiae_cars, "-", "96.43 / 91.30"),
    "iiae-car-sides": Recipe(
        "iiae",
        "front or rear and profile of cars, 64 px, 30 minutes",
        iiae_car_sides,
        "-",
        "LPIPS .233 / .155 (one core)",
    ),
    "iiae-sketchy": Recipe(
        "iiae",
        "photos and sketches of unseen classes, features, a minute",
        iiae_sketchy,
        "mAP .573",
        "mAP .310 (25 a class, not comparable), raw features .135",
    ),
    "iiae-sketchy-paper": Recipe(
        "iiae", "the same with the paper's weights and length", iiae_sketchy_paper, "mAP .573"
    ),
    "cddn-sketchy": Recipe(
        "cddn", "photos and sketches of unseen classes, features, a minute", cddn_sketchy, ours="mAP .266"
    ),
    "iiae-emoji": Recipe(
        "iiae",
        "line art and colour emoji, 64 px, 30 minutes",
        iiae_emoji,
        "-",
        "LPIPS .460 / .499 (one core)",
    ),
    "iiae-mnist-cdcb-paper": Recipe("iiae", AT_PAPER_SIZE, iiae_mnist_cdcb_paper, "99.7 / 99.7"),
    "iiae-maps-paper": Recipe("iiae", AT_PAPER_SIZE, iiae_maps_paper, "96.6 / 97.3"),
    "iiae-facades-paper": Recipe("iiae", AT_PAPER_SIZE, iiae_facades_paper, "96.2 / 99.1"),
    "iiae-cars-paper": Recipe("iiae", AT_PAPER_SIZE, iiae_cars_paper),
    "cddn-mnist-cdcb": Recipe("cddn", "MNIST-CDCB, 32 px, 75 minutes", cddn_mnist_cdcb, "99.6 / 99.6", "97.03 / 97.12"),
    "cddn-maps": Recipe(
        "cddn",
        "aerial photos and maps, 64 px, 45 minutes",
        cddn_images(DataConfig(set="maps", size=(64, 64), augment=("turn", "shift")), 45),
        "91.4 / 96.9",
        "31.15 / 31.24 (one core)",
    ),
    "cddn-facades": Recipe(
        "cddn",
        "facades and labels, 64 px, 45 minutes",
        cddn_images(DataConfig(set="facades", size=(64, 64), augment=("flip", "shift")), 45),
        "84.9 / 89.6",
        "100.0 / 100.0 (other split; one core)",
    ),
    "cddn-cars": Recipe(
        "cddn",
        "front or rear and profile of cars, 64 px, 30 minutes",
        cddn_images(DataConfig(set="car-sides"), 30),
        "LPIPS .083 / .047",
        "LPIPS .205 / .126 (one core)",
    ),
    "cddn-emoji": Recipe(
        "cddn",
        "two styles of emoji, line art and colour, 64 px, 30 minutes",
        cddn_images(DataConfig(set="emoji", styles=("openmoji-black", "google")), 30),
        "-",
        "LPIPS .444 / .274 (one core)",
    ),
    "cddn-mnist-cdcb-paper": Recipe("cddn", AT_PAPER_SIZE, cddn_paper(DataConfig(set="mnist-cdcb"), 15), "99.6 / 99.6"),
    "cddn-maps-paper": Recipe("cddn", AT_PAPER_SIZE, cddn_paper(DataConfig(set="maps"), 200), "91.4 / 96.9"),
    "cddn-facades-paper": Recipe("cddn", AT_PAPER_SIZE, cddn_paper(DataConfig(set="facades"), 200), "84.9 / 89.6"),
    "cddn-cars-paper": Recipe("cddn", AT_PAPER_SIZE, cddn_paper(DataConfig(set="car-sides"), 900), "LPIPS .083 / .047"),
    "cddn-emoji-paper": Recipe(
        "cddn", AT_PAPER_SIZE, cddn_paper(DataConfig(set="emoji", styles=("openmoji-black", "google")), 200)
    ),
    **{
        f"cddn-mnist-cdcb-{name}": Recipe(
            "cddn", f"table 3: {about}, 32 px, 10 minutes", cddn_ablation(**changes), f"analogy {paper}"
        )
        for name, about, paper, changes in ABLATIONS
    },
    "lord-cars3d": Recipe(
        "lord", "163 cars, transfer on 20 others, 64 px, 80 minutes", lord_cars3d, "LPIPS .078", ".112"
    ),
    "lord-emoji-styles": Recipe("lord", "line art and colour emoji, unpaired, 20 styles each, 32 px", lord_emoji(20)),
    "lord-emoji-two-classes": Recipe("lord", "the same without styles: two classes", lord_emoji(1)),
    "lord-avataaars": Recipe("lord", "cartoon faces by hair and hats, 32 px, 10 minutes", lord_avataaars),
    "lord-avataaars-attributes": Recipe(
        "lord", "cartoon faces by skin, clothes, glasses and beard, 32 px, 10 minutes", lord_avataaars_attributes
    ),
    "lord-cars3d-paper": Recipe("lord", AT_PAPER_SIZE, lord_cars3d_paper, "LPIPS .078"),
    "uncooperative-synthetic": Recipe(
        "uncooperative",
        "two known factors, vectors, 60,000 steps",
        synthetic(False),
        "correlation .998",
        ".63, ten seeds .09 to .93",
    ),
    "cooperative-synthetic": Recipe(
        "uncooperative",
        "the same, both networks learn in both cycles",
        synthetic(True),
        "correlation .695",
        ".65, ten seeds .30 to .99",
    ),
    "uncooperative-synthetic-identifiable": Recipe(
        "uncooperative",
        "uniform and two-mode factor, linear networks",
        synthetic_identifiable(False),
        ours="above .95 with 7 of 10 seeds",
    ),
    "cooperative-synthetic-identifiable": Recipe(
        "uncooperative",
        "the same, both networks learn in both cycles",
        synthetic_identifiable(True),
        ours="above .95 with 9 of 10 seeds",
    ),
    "uncooperative-cuhk": Recipe(
        "uncooperative", "photos and sketches of faces, 64 px, 40 minutes", uncooperative_cuhk
    ),
    "uncooperative-relit": Recipe(
        "uncooperative",
        "relit and plain cars, 64 px, 40 minutes",
        uncooperative_relit(False),
        "-",
        "hidden pair, LPIPS .376 (3,500 steps)",
    ),
    "cooperative-relit": Recipe(
        "uncooperative",
        "the same, both networks learn in both cycles",
        uncooperative_relit(True),
        "-",
        "hidden pair, LPIPS .490 (3,500 steps)",
    ),
    "cyclegan-relit": Recipe(
        "cyclegan",
        "relit and plain cars, 64 px, 40 minutes",
        cyclegan_relit,
        "-",
        "hidden pair, LPIPS .234 (3,500 steps)",
    ),
    "uncooperative-maps": Recipe("uncooperative", "aerial photos and maps, 64 px, 40 minutes", uncooperative_maps),
    "cyclegan-maps": Recipe("cyclegan", "aerial photos and maps, 64 px, 40 minutes", cyclegan_maps),
    "uncooperative-cuhk-paper": Recipe("uncooperative", AT_PAPER_SIZE, uncooperative_cuhk_paper),
    "uncooperative-relit-paper": Recipe("uncooperative", AT_PAPER_SIZE, uncooperative_relit_paper(False)),
    "cooperative-relit-paper": Recipe("uncooperative", AT_PAPER_SIZE, uncooperative_relit_paper(True)),
    "cyclegan-relit-paper": Recipe("cyclegan", AT_PAPER_SIZE, cyclegan_relit_paper),
    "uncooperative-maps-paper": Recipe("uncooperative", AT_PAPER_SIZE, uncooperative_maps_paper),
    "cyclegan-maps-paper": Recipe("cyclegan", AT_PAPER_SIZE, cyclegan_maps_paper),
    "xgan-emoji": Recipe(
        "xgan",
        "two coloured styles of emoji, 32 px, 45 minutes",
        xgan(XGAN_EMOJI, 45),
        "-",
        "22.1 / 19.1, hidden pair, LPIPS .111 (35 minutes, one core)",
    ),
    "cyclegan-emoji": Recipe(
        "cyclegan",
        "the same two styles of emoji, 32 px, 45 minutes",
        cyclegan_emoji,
        "-",
        "hidden pair, LPIPS .128 (20 minutes, one core)",
    ),
    "xgan-mnist-cdcb": Recipe("xgan", "MNIST-CDCB without pairs, 32 px, 30 minutes", xgan(XGAN_MNIST, 30)),
    "xgan-cuhk-avataaars": Recipe("xgan", "photos and cartoons of faces, 64 px, 30 minutes", xgan(XGAN_FACES, 30)),
    "xgan-emoji-paper": Recipe("xgan", AT_PAPER_SIZE, xgan_paper(XGAN_EMOJI)),
    "xgan-mnist-cdcb-paper": Recipe("xgan", AT_PAPER_SIZE, xgan_paper(XGAN_MNIST)),
    "xgan-cuhk-avataaars-paper": Recipe("xgan", AT_PAPER_SIZE, xgan_paper(XGAN_FACES)),
    **{
        f"xgan-emoji-{name}": Recipe("xgan", f"section 5: {about}, 10 minutes", xgan(XGAN_EMOJI, 10, **changes))
        for name, about, changes in XGAN_ABLATIONS
    },
    **{
        f"lord-cars3d-{name}": Recipe(
            "lord", f"table 3: {about}, 32 px, 10 minutes", lord_cars3d_variant(**changes), f"LPIPS {paper}", ours
        )
        for name, about, paper, ours, changes in VARIANTS
    },
}
