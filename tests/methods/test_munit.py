"""The terms against their equations, the style prior, the step decay, and discriminators of several scales."""

import pytest
import torch

from helpers import IMAGES, VECTORS, Repeated, random_batch
from unbraid.core.method import Clock, Disentangler, Translator
from unbraid.core.types import Codes, DataSpec, ImageSpec, Unpaired, UserError
from unbraid.methods.munit import (
    MUNIT,
    SMALL_IMAGES,
    MUNITConfig,
    ScaleDiscriminator,
    StyleEncoder,
    discriminator_halvings,
)

SMALL = MUNITConfig(width=4, blocks=1, hidden=8, discriminator_width=4, cycle=3.0)


def test_terms_are_those_of_the_equations() -> None:
    torch.manual_seed(0)
    model, batch = MUNIT(IMAGES, SMALL), random_batch(IMAGES, needs=Unpaired)
    assert isinstance(batch, Unpaired)
    torch.manual_seed(1)
    (found,) = next(model.updates(Repeated(batch), Clock(0, 0.0))).values()
    torch.manual_seed(1)
    with torch.no_grad():
        one, two = model.encode(batch.a, "a"), model.encode(batch.b, "b")
        style_a, style_b = torch.randn_like(one.exclusive), torch.randn_like(two.exclusive)
        to_b = model.decode(Codes(one.shared, style_b), "b")
        again = model.encode(to_b, "b")
        expected = {
            "reconstruction_a": 10 * (model.decode(one, "a") - batch.a).abs().mean(),
            "content_b": (again.shared - one.shared).abs().mean(),
            "style_b": (again.exclusive - style_b).abs().mean(),
            "cycle_a": 3 * (model.decode(Codes(again.shared, one.exclusive), "a") - batch.a).abs().mean(),
            "generator_b": sum((score - 1).square().mean() for score in model.discriminators["b"](to_b)),
        }
    assert style_a.shape == (4, 8)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], torch.as_tensor(value))


def test_content_loses_brightness_and_contrast_which_style_keeps() -> None:
    model = MUNIT(IMAGES, SMALL).eval()
    x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5
    with torch.no_grad():
        plain, bright = model.encode(x, "a"), model.encode(0.5 * x + 0.3, "a")
    torch.testing.assert_close(plain.shared, bright.shared, rtol=0, atol=1e-2)
    assert (plain.exclusive - bright.exclusive).abs().max() > 1e-2


def test_styles_are_normal_and_make_translations_differ() -> None:
    model = MUNIT(IMAGES, SMALL).eval()
    assert isinstance(model, Translator)
    assert isinstance(model, Disentangler)
    drawn = model.prior(2000, "a", torch.Generator().manual_seed(0))
    assert float(drawn.mean()) == pytest.approx(0, abs=0.05)
    assert float(drawn.std()) == pytest.approx(1, abs=0.05)
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        one, two = (model.translate(x, "a", "b", style) for style in drawn[:2].split(1))
    assert (one - two).abs().max() > 1e-3


def test_rates_are_halved_step_by_step() -> None:
    model = MUNIT(IMAGES, MUNITConfig(width=4, blocks=1, hidden=8, halved=100))
    assert [model.rate_factor("train", Clock(step, 0.0)) for step in (0, 99, 100, 250)] == [1, 1, 0.5, 0.25]


@pytest.mark.parametrize(("side", "halvings"), [(256, 4), (64, 3), (32, 2), (16, 1), (8, 1)])
def test_discriminators_see_each_scale(side: int, halvings: int) -> None:
    spec = ImageSpec(side, side)
    assert discriminator_halvings(spec, 3) == halvings
    with torch.device("meta"):
        scores = ScaleDiscriminator(spec, MUNITConfig())(torch.empty(1, 3, side, side))
        assert StyleEncoder(spec, MUNITConfig())(torch.empty(1, 3, side, side)).shape == (1, 8)
    assert [score.shape[2] for score in scores] == [side // 2**scale // 2**halvings for scale in range(3)]


def test_vectors_are_refused_and_small_images_have_smaller_networks() -> None:
    with pytest.raises(UserError, match="munit works on images"):
        MUNIT(VECTORS, SMALL)
    assert MUNIT.default_config(IMAGES)[0] == SMALL_IMAGES
    assert MUNIT.default_config(DataSpec(ImageSpec(256, 256), ImageSpec(256, 256))) == (MUNITConfig(), [])
