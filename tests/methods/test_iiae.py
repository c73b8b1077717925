"""The objective against its equations, term by term."""

import itertools
import math
from dataclasses import replace
from typing import Literal

import pytest
import torch

from helpers import IMAGES, Repeated, random_batch
from unbraid.core.method import Clock
from unbraid.core.types import DOMAINS, Codes, DataSpec, ImageSpec, Paired, UserError, VectorSpec
from unbraid.methods.iiae import IIAE, SMALL_IMAGES, Gaussian, IIAEConfig, ImageNetworks
from unbraid.nn.pretrained.perceptual import CONVOLUTIONS
from unbraid.training.loop import train_step

SMALL = IIAEConfig(widths=(8, 8), decoder_widths=(8, 8), map_size=4, shared=4, dropout=(0.0,))


def terms(config: IIAEConfig, step: int = 0) -> dict[str, float]:
    torch.manual_seed(0)
    model = IIAE(IMAGES, config)
    torch.manual_seed(1)
    (update,) = model.updates(Repeated(random_batch(IMAGES)), Clock(step, 0.0))
    return {name: value.item() for name, value in update["model"].items()}


def test_weights_are_those_of_the_equations() -> None:
    """Against B = 1, L = 1, w = 1, k = 1: every term scales as eqs. 12-13 say."""
    unit = terms(replace(SMALL, beta=1.0, lam=1.0, reconstruction=1.0, anneal=1e-9))
    beta, lam, reconstruction = 0.2, 5.0, 1000.0
    weighted = terms(replace(SMALL, beta=beta, lam=lam, reconstruction=reconstruction, anneal=1e-9))
    information = lam * beta
    expected = {
        "reconstruction_a": (beta + information) * reconstruction / 2,
        "reconstruction_b": (beta + information) * reconstruction / 2,
        "kl_exclusive_a": (beta + information) / 2,
        "kl_exclusive_b": (beta + information) / 2,
        "kl_shared": beta,
        "kl_shared_a": information,
        "kl_shared_b": information,
    }
    for name, factor in expected.items():
        assert weighted[name] == pytest.approx(factor * unit[name], rel=1e-4), name


def test_annealing_touches_the_terms_to_priors_and_no_other() -> None:
    early, late = terms(replace(SMALL, anneal=100.0), step=9), terms(replace(SMALL, anneal=1e-9), step=9)
    k = 1 - math.exp(-10 / 100)
    for name in late:
        factor = k if name in ("kl_exclusive_a", "kl_exclusive_b", "kl_shared") else 1.0
        assert early[name] == pytest.approx(factor * late[name], rel=1e-4), name


def test_the_papers_sizes_are_the_default() -> None:
    with torch.device("meta"):
        model = IIAE(DataSpec(ImageSpec(256, 256), ImageSpec(256, 256)), IIAEConfig())
    shared = model.heads.r_a(model.a.trunk(torch.empty(1, 3, 256, 256, device="meta")))
    assert shared.shape == (1, 256, 8, 8)  # mean and log-variance of 8x8x128
    assert model.a.exclusive(torch.empty(1, 3, 256, 256, device="meta")).shape == (1, 16)
    convolutions = [
        m.out_channels for m in model.a.get_submodule("ups").modules() if isinstance(m, torch.nn.ConvTranspose2d)
    ]
    assert convolutions == [512, 256, 128, 64]
    assert dropouts(model.a) == [0.5, 0.5]


def dropouts(module: torch.nn.Module) -> list[float]:
    return [m.p for m in module.modules() if isinstance(m, torch.nn.Dropout)]


def linear_sizes(module: torch.nn.Module) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in module.modules() if isinstance(m, torch.nn.Linear)]


def test_a_flat_codes_networks_are_the_papers() -> None:
    with torch.device("meta"):
        model = IIAE(DataSpec(ImageSpec(256, 256), ImageSpec(256, 256)), IIAEConfig(code="flat"))
    assert model.a.trunk(torch.empty(2, 3, 256, 256, device="meta")).shape == (2, 8 * 8 * 256)
    assert linear_sizes(model.heads.r_a) == [(8 * 8 * 256, 256), (256, 2 * 128)]
    assert linear_sizes(model.heads.q) == [(2 * 8 * 8 * 256, 256), (256, 2 * 128)]
    assert model.a.get_submodule("unfold")(torch.empty(2, 136, device="meta")).shape == (2, 512, 8, 8)
    assert dropouts(model.a) == [0.5, 0.5, 0.5]


def test_the_networks_of_vectors_are_the_papers() -> None:
    model = IIAE(DataSpec(VectorSpec(512), VectorSpec(512)), IIAEConfig(shared=64, exclusive=64))
    assert linear_sizes(model.a.exclusive) == [(512, 512), (512, 256), (256, 128)]
    assert linear_sizes(model.a.trunk) + linear_sizes(model.heads.r_a) == [(512, 512), (512, 256), (256, 128)]
    assert linear_sizes(model.heads.q) == [(1024, 512), (512, 128)]
    assert linear_sizes(model.a.get_submodule("decoder")) == [(128, 128), (128, 512)]


@pytest.mark.parametrize(
    ("size", "dropout", "layers"),
    [
        (128, (0.5, 0.4, 0.3, 0.2), [0.4, 0.3, 0.2]),
        (64, (0.5, 0.4, 0.3, 0.2), [0.3, 0.2]),
        (256, (0.5,), [0.5]),
        (64, (0.5, 0.5, 0.0, 0.0), []),
    ],
)
def test_small_images_have_the_dropout_of_the_layers_they_have(
    size: int, dropout: tuple[float, ...], layers: list[float]
) -> None:
    with torch.device("meta"):
        model = IIAE(DataSpec(ImageSpec(size, size), ImageSpec(size, size)), IIAEConfig(dropout=dropout))
    assert dropouts(model.a) == layers


def test_without_interaction_r_follows_q_and_q_does_not_follow_r() -> None:
    torch.manual_seed(0)
    model = IIAE(IMAGES, replace(SMALL, interaction=False))
    (update,) = model.updates(Repeated(random_batch(IMAGES)), Clock(0, 0.0))
    chosen = update["model"]["kl_shared_a"] + update["model"]["kl_shared_b"]
    chosen.backward()
    assert all(p.grad is None for p in model.heads.q.parameters())
    assert all(p.grad is not None for p in model.heads.r_a.parameters())


def test_without_disentanglement_the_information_weight_leaves_a_domains_own_terms() -> None:
    config = replace(SMALL, beta=0.5, lam=2.0, anneal=1e-9)
    whole, ablated = terms(config), terms(replace(config, disentanglement=False))
    assert ablated["reconstruction_a"] == pytest.approx(whole["reconstruction_a"] * 0.5 / 1.5, rel=1e-4)
    assert ablated["kl_exclusive_b"] == pytest.approx(whole["kl_exclusive_b"] * 0.5 / 1.5, rel=1e-4)
    assert ablated["kl_shared_a"] == pytest.approx(whole["kl_shared_a"], rel=1e-4)


def test_log_variances_are_bounded() -> None:
    assert Gaussian.of(torch.full((1, 4), 50.0)).log_variance.max() == pytest.approx(9.21)
    assert Gaussian.of(torch.full((1, 4), -50.0)).log_variance.min() == pytest.approx(-9.21)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("code", ["spatial", "flat"])
@pytest.mark.parametrize(("q", "r"), list(itertools.product((-1e4, -85.0, 1e4), repeat=2)))
def test_extreme_log_variances_leave_losses_gradients_and_weights_finite(
    precision: str, code: Literal["spatial", "flat"], q: float, r: float
) -> None:
    torch.manual_seed(0)
    model = IIAE(IMAGES, replace(SMALL, code=code))
    for head, log_variance in ((model.heads.q, q), (model.heads.r_a, r), (model.heads.r_b, r), (model.a.exclusive, q)):
        bias = [m for m in head.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)][-1].bias
        assert bias is not None
        with torch.no_grad():
            bias[len(bias) // 2 :] = log_variance
    optimisers = model.optimisers("train")
    for step in range(2):
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
        losses = train_step(model, optimisers, Repeated(random_batch(IMAGES)), Clock(step, 0.0), autocast)
        assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad is not None and p.grad.isfinite().all() and p.isfinite().all() for p in model.parameters())
    moments = [value for state in optimisers["model"].state.values() for value in state.values()]
    assert all(torch.as_tensor(moment).isfinite().all() for moment in moments)  # or a weight stands still for good


def test_translation_is_shared_of_one_and_exclusive_of_the_other() -> None:
    torch.manual_seed(0)
    model = IIAE(IMAGES, SMALL).eval()
    batch = random_batch(IMAGES)
    assert isinstance(batch, Paired)
    with torch.no_grad():
        x, y = model.encode(batch.a, "a"), model.encode(batch.b, "b")
        guided = model.translate(batch.a, "a", "b", style=y.exclusive)
        assert torch.equal(guided, model.decode(Codes(x.shared, y.exclusive), "b"))


@pytest.mark.parametrize(
    ("spec", "config", "message"),
    [
        (DataSpec(ImageSpec(16, 16), VectorSpec(4)), SMALL, "two domains of one kind"),
        (DataSpec(ImageSpec(16, 16), ImageSpec(32, 16)), replace(SMALL, widths=(8,), decoder_widths=(8,)), "one size"),
        (IMAGES, replace(SMALL, widths=(8, 8, 8)), "one decoder width for each width"),
    ],
)
def test_what_cannot_be_built_is_said(spec: DataSpec, config: IIAEConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        IIAE(spec, config)


SIXTY_FOUR = DataSpec(ImageSpec(64, 64), ImageSpec(64, 64, 1))


def test_small_images_have_settings_of_their_own_and_the_papers_size_has_the_papers() -> None:
    config, lines = IIAE.default_config(SIXTY_FOUR)
    assert config == SMALL_IMAGES
    assert config.perceptual_weight > 0
    assert "128 px" in lines[0]
    for spec in (DataSpec(ImageSpec(256, 256), ImageSpec(256, 256)), DataSpec(VectorSpec(8), VectorSpec(8))):
        assert IIAE.default_config(spec) == (IIAEConfig(), [])


def test_without_weights_or_for_images_vgg16_cannot_see_there_is_no_perceptual_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, lines = IIAE.default_config(DataSpec(ImageSpec(64, 64, 4), ImageSpec(64, 64)))
    assert config.perceptual_weight == 0
    assert "grey or colour" in lines[1]

    def nothing(*_: object) -> dict[str, torch.Tensor]:
        raise UserError("No weights of VGG16 were found")

    monkeypatch.setattr("unbraid.nn.pretrained.perceptual_term.find_weights", nothing)
    config, lines = IIAE.default_config(SIXTY_FOUR)
    assert config.perceptual_weight == 0
    assert "No weights of VGG16" in lines[1]
    with pytest.raises(UserError, match="No weights of VGG16"):
        IIAE(SIXTY_FOUR, SMALL_IMAGES).optimisers("train")


def test_what_vgg16_cannot_see_has_no_perceptual_loss() -> None:
    with pytest.raises(UserError, match="at least 32 x 32; found 16x16"):
        IIAE(IMAGES, replace(SMALL, perceptual_weight=1.0))
    for spec in (VectorSpec(8), ImageSpec(8, 5)):
        with pytest.raises(UserError, match="patches of images of 6 px at least; found"):
            IIAE(DataSpec(spec, spec), IIAEConfig(gan=0.1))


def test_the_perceptual_loss_is_weighed_beside_the_absolute_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {
        f"features.{layer}.{part}": torch.randn(shape, generator=generator) / math.prod(shape[1:]) ** 0.5
        for layer, (out, ins, size) in CONVOLUTIONS["vgg16"].items()
        for part, shape in (("weight", (out, ins, size, size)), ("bias", (out,)))
    }
    monkeypatch.setattr("unbraid.nn.pretrained.perceptual_term.find_weights", lambda *_: weights)
    spec = DataSpec(ImageSpec(32, 32), ImageSpec(32, 32, 1))
    found = []
    for weight in (1.0, 0.5):
        torch.manual_seed(0)
        model = IIAE(spec, replace(SMALL, perceptual_weight=weight))
        model.prepare()
        (update,) = model.updates(Repeated(random_batch(spec)), Clock(0, 0.0))
        found.append(update["model"])
    for domain in DOMAINS:
        assert found[0][f"perceptual_{domain}"].item() == pytest.approx(2 * found[1][f"perceptual_{domain}"].item())
    late = IIAE(spec, replace(SMALL, perceptual_weight=0.5, perceptual_from=0.4))
    late.prepare()
    for progress in (0.39, 0.4):
        (update,) = late.updates(Repeated(random_batch(spec)), Clock(0, progress))
        assert ("perceptual_a" in update["model"]) == ("perceptual_b" in update["model"]) == (progress >= 0.4)
    assert (late.whole_from, model.whole_from, IIAE(spec, replace(SMALL, perceptual_from=0.4)).whole_from) == (
        0.4,
        0,
        0,
    )
    assert isinstance(model.b, ImageNetworks)
    (gradient,) = torch.autograd.grad(found[1]["perceptual_b"], [model.b.to_image.weight])
    assert gradient.abs().sum() > 0
