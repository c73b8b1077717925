"""The objective against its equations, term by term."""

import math
from dataclasses import replace

import pytest
import torch

from helpers import IMAGES, Repeated, random_batch
from unbraid.method import Clock
from unbraid.methods.iiae import IIAE, Gaussian, IIAEConfig
from unbraid.types import Codes, DataSpec, ImageSpec, Paired, UserError, VectorSpec

SMALL = IIAEConfig(widths=(8, 8), decoder_widths=(8, 8), map_size=4, shared=4, dropout=0.0)


def terms(config: IIAEConfig, step: int = 0) -> dict[str, float]:
    torch.manual_seed(0)
    model = IIAE(IMAGES, config)
    torch.manual_seed(1)
    (update,) = model.updates(Repeated(random_batch(IMAGES)), Clock(step, 0.0))
    return {name: value.item() for name, value in update["model"].items()}


def test_weights_are_those_of_the_equations() -> None:
    """Against B = 1, L = 1, w = 1, k = 1: every term scales as eqs. 12-13 say."""
    unit = terms(replace(SMALL, beta=1.0, lam=1.0, likelihood=1.0, anneal=1e-9))
    beta, lam, likelihood = 0.2, 5.0, 1000.0
    weighted = terms(replace(SMALL, beta=beta, lam=lam, likelihood=likelihood, anneal=1e-9))
    information = lam * beta
    expected = {
        "reconstruction_a": (beta + information) * likelihood / 2,
        "reconstruction_b": (beta + information) * likelihood / 2,
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


def test_log_variances_are_clamped() -> None:
    gaussian = Gaussian.of(torch.full((1, 4), 50.0))
    assert gaussian.log_variance.max() == pytest.approx(9.21)


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
