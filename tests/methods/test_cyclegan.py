"""The objective against its equations, and the paper's networks."""

from dataclasses import replace

import pytest
import torch

from helpers import IMAGES, VECTORS, Repeated, random_batch
from unbraid.core.method import Clock, Disentangler, Translator
from unbraid.core.types import DataSpec, ImageSpec, Unpaired, UserError, VectorSpec
from unbraid.methods.cyclegan import CycleGAN, CycleGANConfig

SMALL = CycleGANConfig(width=4, blocks=1, discriminator_width=4, hidden=8, history=0)


def terms(config: CycleGANConfig, spec: DataSpec = IMAGES) -> tuple[CycleGAN, Unpaired, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model, batch = CycleGAN(spec, config), random_batch(spec, needs=Unpaired)
    assert isinstance(batch, Unpaired)
    updates = model.updates(Repeated(batch), Clock(0, 0.0))
    return model, batch, {name: term for u in updates for some in u.values() for name, term in some.items()}


@pytest.mark.parametrize("spec", [IMAGES, VECTORS], ids=["images", "vectors"])
def test_terms_are_those_of_the_equations(spec: DataSpec) -> None:
    model, batch, found = terms(replace(SMALL, cycle=7.0), spec)
    x, y = batch.a, batch.b
    with torch.no_grad():
        made_a, made_b = model.translate(y, "b", "a"), model.translate(x, "a", "b")
        discriminator_a, discriminator_b = model.discriminators["a"], model.discriminators["b"]
        expected = {
            "cycle_a": 7 * (model.translate(made_b, "b", "a") - x).abs().mean(),
            "cycle_b": 7 * (model.translate(made_a, "a", "b") - y).abs().mean(),
            "generator_a": (discriminator_a(made_a) - 1).square().mean(),
            "generator_b": (discriminator_b(made_b) - 1).square().mean(),
            "discriminator_a": ((discriminator_a(x) - 1).square().mean() + discriminator_a(made_a).square().mean()) / 2,
            "discriminator_b": ((discriminator_b(y) - 1).square().mean() + discriminator_b(made_b).square().mean()) / 2,
        }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_the_identity_loss_is_weighted_beside_the_cycles() -> None:
    model, batch, found = terms(replace(SMALL, cycle=10.0, identity=0.5))
    with torch.no_grad():
        torch.testing.assert_close(found["identity_a"], 5 * (model.to_a(batch.a) - batch.a).abs().mean())
        torch.testing.assert_close(found["identity_b"], 5 * (model.to_b(batch.b) - batch.b).abs().mean())


def test_discriminators_do_not_move_the_translators() -> None:
    _, _, found = terms(SMALL)
    model, batch, _ = terms(SMALL)
    (found["discriminator_a"] + found["discriminator_b"]).backward()
    turns = model.updates(Repeated(batch), Clock(0, 0.0))
    next(turns)
    (told,) = next(turns).values()
    torch.stack(list(told.values())).sum().backward()
    assert all(p.grad is None for p in [*model.to_a.parameters(), *model.to_b.parameters()])


@pytest.mark.parametrize(("size", "blocks", "scores"), [(256, 9, 30), (128, 6, 30), (64, 6, 30)])
def test_the_papers_sizes_are_the_default(size: int, blocks: int, scores: int) -> None:
    with torch.device("meta"):
        model = CycleGAN(DataSpec(ImageSpec(size, size), ImageSpec(size, size)), CycleGANConfig())
        x = torch.empty(1, 3, size, size)
        assert model.translate(x, "a", "b").shape == x.shape
        assert model.discriminators["a"](x).shape == (1, 1, scores, scores)
    found = [m for m in model.to_a.modules() if type(m).__name__ == "ResidualBlock"]
    assert len(found) == blocks


def test_it_translates_and_has_no_codes() -> None:
    model, batch, _ = terms(SMALL)
    assert isinstance(model, Translator)
    assert not isinstance(model, Disentangler)
    with torch.no_grad():
        assert torch.equal(model.translate(batch.a, "a", "b"), model.to_b(batch.a))


@pytest.mark.parametrize(
    ("spec", "config", "message"),
    [
        (DataSpec(ImageSpec(16, 16), VectorSpec(4)), SMALL, "two domains of one kind"),
        (DataSpec(ImageSpec(16, 16), ImageSpec(16, 20)), SMALL, "images of one size"),
        (DataSpec(ImageSpec(16, 16), ImageSpec(16, 16, 1)), replace(SMALL, identity=0.5), "items have one shape"),
        (IMAGES, replace(SMALL, plateau=-0.1), "at least 0 and less than 1"),
        (IMAGES, replace(SMALL, history=-1), "at least 0"),
    ],
)
def test_what_cannot_be_built_is_said(spec: DataSpec, config: CycleGANConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        CycleGAN(spec, config)


def test_the_logistic_loss_takes_the_place_of_squares() -> None:
    model, batch, found = terms(replace(SMALL, gan_loss="logistic"))
    with torch.no_grad():
        scores = model.discriminators["b"](model.translate(batch.a, "a", "b"))
        real = model.discriminators["b"](batch.b)
    torch.testing.assert_close(found["generator_b"], -torch.sigmoid(scores).log().mean())
    expected = -torch.sigmoid(real).log().mean() - torch.sigmoid(-scores).log().mean()
    torch.testing.assert_close(found["discriminator_b"], expected)


def test_translators_that_return_their_inputs_are_warned_of() -> None:
    model, batch, _ = terms(replace(SMALL, mask=True))
    assert model.diagnose({name: float(value) for name, value in model.diagnostics.items()}) == []
    last = [module for module in model.to_b.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    with torch.no_grad():
        assert last.bias is not None
        last.bias[-1] = 50.0  # the mask keeps everything
    next(model.updates(Repeated(batch), Clock(0, 0.0)))
    (warning,) = model.diagnose({name: float(value) for name, value in model.diagnostics.items()})
    assert warning.startswith("images generated for domain b are their inputs")
