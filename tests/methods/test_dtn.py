"""The terms against their equations, the fixed f, and the one way."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from helpers import VECTORS, Repeated, random_batch
from networks import installed
from unbraid.core.method import Clock, Disentangler, Translator
from unbraid.core.types import DataSpec, ImageSpec, Unpaired, UserError
from unbraid.methods.dtn import DTN, DTNConfig, smoothness

SPEC = DataSpec(ImageSpec(32, 32), ImageSpec(32, 32))
SMALL = DTNConfig(teacher="random", widths=(8, 8), discriminator_widths=(4, 8), smoothness=2.0)


def test_terms_are_those_of_the_equations() -> None:
    torch.manual_seed(0)
    model, batch = DTN(SPEC, SMALL), random_batch(SPEC, needs=Unpaired)
    assert isinstance(batch, Unpaired)
    (decoder,), (discriminator,) = (list(update.values()) for update in model.updates(Repeated(batch), Clock(0, 0.0)))
    with torch.no_grad():
        made = model.decoder(torch.cat([model.features(batch.a), model.features(batch.b)]))
        kinds = [*made.chunk(2), batch.b]
        logits = [model.discriminator(x) for x in kinds]
        expected = {
            "generator": sum(cross_entropy(some, torch.full((4,), 2)) for some in logits[:2]),
            "constancy": 15 * (model.features(kinds[0]) - model.features(batch.a)).square().mean(),
            "identity": 15 * (kinds[1] - batch.b).square().mean(),
            "smoothness": 2 * smoothness(made),
        }
        told = sum(cross_entropy(some, torch.full((4,), kind)) for kind, some in enumerate(logits))
    for name, value in expected.items():
        torch.testing.assert_close(decoder[name], torch.as_tensor(value), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(discriminator["discriminator"], torch.as_tensor(told), rtol=1e-4, atol=1e-5)


def test_r1_is_of_the_log_odds_that_real_items_are_real() -> None:
    torch.manual_seed(0)
    plain = replace(SMALL, r1=3.0, discriminator_norm="none", upsampling="nearest")
    model, batch = DTN(SPEC, plain), random_batch(SPEC, needs=Unpaired)
    assert isinstance(batch, Unpaired)
    _, told = (next(iter(update.values())) for update in model.updates(Repeated(batch), Clock(0, 0.0)))
    x = batch.b.clone().requires_grad_()
    real = model.discriminator(x).softmax(1)[:, 2]
    (gradient,) = torch.autograd.grad((real / (1 - real)).log().sum(), x)
    torch.testing.assert_close(told["r1"], 1.5 * gradient.square().sum((1, 2, 3)).mean(), rtol=1e-3, atol=1e-6)


def test_what_all_images_have_in_common_does_not_reach_g_if_features_are_normalised() -> None:
    torch.manual_seed(0)
    features, common = torch.randn(6, 512), torch.linspace(-9, 9, 512)
    for normalise in (True, False):
        decoder = DTN(SPEC, replace(SMALL, normalise=normalise)).decoder
        far = (decoder(3 * features + common) - decoder(features)).abs().max()
        assert (far < 1e-3) == normalise


def test_small_images_have_other_networks() -> None:
    config, notes = DTN.default_config(SPEC)
    assert (config.upsampling, config.discriminator_norm, config.r1) == ("nearest", "none", 3.0)
    assert "dots" in notes[0]
    large = ImageSpec(256, 256)
    assert DTN.default_config(DataSpec(large, large)) == (DTNConfig(normalise=True), [])


def test_smoothness_is_the_mean_length_of_the_gradient() -> None:
    ramp = 3 * torch.arange(4.0)[:, None] + 4 * torch.arange(5.0)
    assert smoothness(ramp[None, None]).item() == pytest.approx(5, rel=1e-4)
    flat = torch.zeros(1, 1, 4, 4, requires_grad=True)
    smoothness(flat).backward()
    assert flat.grad is not None
    assert flat.grad.isfinite().all()


def test_f_is_no_parameter_and_comes_with_the_model() -> None:
    model, same = DTN(SPEC, SMALL), DTN(SPEC, SMALL)
    assert not [name for name, _ in model.named_parameters() if not name.startswith(("decoder", "discriminator"))]
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(model.features(x), same.features(x))


@pytest.mark.parametrize(("towards", "source"), [("b", "a"), ("a", "b")])
def test_it_translates_one_way_and_refuses_the_other(towards: str, source: str) -> None:
    model = DTN(SPEC, replace(SMALL, towards=towards)).eval()  # pyright: ignore[reportArgumentType]
    assert isinstance(model, Translator)
    assert not isinstance(model, Disentangler)
    assert model.sources() == (source,)
    x = torch.zeros(2, 3, 32, 32)
    assert model.translate(x, model.source, model.target).shape == x.shape
    with pytest.raises(UserError, match=f"one way only, .*: train another with --method.towards {source}"):
        model.translate(x, model.target, model.source)


@installed
def test_vgg16_is_found_again_by_a_model_that_was_loaded() -> None:
    model = DTN(SPEC, DTNConfig(widths=(8, 8), discriminator_widths=(4, 8))).eval()
    assert not any("vgg" in name for name in model.state_dict())
    assert model.translate(torch.zeros(1, 1, 32, 32), "a", "b").shape == (1, 3, 32, 32)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="dtn works on images"):
        DTN(VECTORS, SMALL)
    with pytest.raises(UserError, match="images of one size"):
        DTN(DataSpec(ImageSpec(32, 32), ImageSpec(16, 16)), SMALL)
    with pytest.raises(UserError, match="halves 4 times and needs 32 pixels"):
        DTN(DataSpec(ImageSpec(16, 16), ImageSpec(16, 16)), DTNConfig())
