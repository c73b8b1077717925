"""The game against its equations: who moves by what, what each ablation leaves out, what a user is warned of."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from helpers import IMAGES, Repeated, random_batch
from helpers import SMALL_CDDN as SMALL
from unbraid.core.method import Clock
from unbraid.core.types import Codes, DataSpec, ImageSpec, Paired, UserError, VectorSpec
from unbraid.methods.cddn import CdDN, CdDNConfig, Decoder, sample_contrastive_loss
from unbraid.nn.functional import tile
from unbraid.recipes.cddn import PROGRAM
from unbraid.training.loop import train_step

HEALTHY = {f"critic {what} {domain}": 1.0 for what in ("distance", "slope") for domain in "ab"}


def turns(config: CdDNConfig) -> tuple[CdDN, Paired, list[Mapping[Any, Mapping[str, Tensor]]]]:
    torch.manual_seed(0)
    model = CdDN(IMAGES, config)
    batch = random_batch(IMAGES)
    assert isinstance(batch, Paired)
    return model, batch, list(model.updates(Repeated(batch), Clock(0, 0.0)))


def names(config: CdDNConfig) -> set[str]:
    return {name for update in turns(config)[2] for terms in update.values() for name in terms}


def test_the_papers_sizes_are_the_default() -> None:
    with torch.device("meta"):
        model = CdDN(DataSpec(ImageSpec(256, 256), ImageSpec(256, 256)), CdDNConfig())
        codes = model.eval().encode(torch.empty(1, 3, 256, 256), "a")
        assert model.decode(codes, "b").shape == (1, 3, 256, 256)
    assert codes.shared.shape == (1, 512, 8, 8)
    assert codes.exclusive.shape == (1, 8)


def test_the_programs_sizes_can_be_had() -> None:
    with torch.device("meta"):
        model = CdDN(DataSpec(ImageSpec(256, 256), ImageSpec(256, 256)), replace(CdDNConfig(), **PROGRAM))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(46.7, abs=0.05)
    assert model.auxiliary_a.critic.score.in_features == 4096
    drops = [m.p for m in model.a.decoder.modules() if isinstance(m, nn.Dropout)]
    assert drops == [0.5, 0.5]


def test_weights_are_those_of_equation_6() -> None:
    def losses(config: CdDNConfig) -> dict[str, float]:
        return {
            name: term.item()
            for update in turns(config)[2]
            for terms in update.values()
            for name, term in terms.items()
        }

    unit = losses(
        replace(
            SMALL,
            gan=1.0,
            exclusive_gan=1.0,
            latent_gan=1.0,
            shared_alignment=1.0,
            reconstruction=1.0,
            latent=1.0,
            penalty=1.0,
        )
    )
    weighted = losses(
        replace(
            SMALL,
            gan=2.0,
            exclusive_gan=0.5,
            latent_gan=3.0,
            shared_alignment=5.0,
            reconstruction=6.0,
            latent=7.0,
            penalty=10.0,
        )
    )
    factors = {
        "generator": 2.0,
        "exclusive_generator": 0.5,
        "latent_generator": 3.0,
        "penalty": 10.0,
        "exclusive_penalty": 10.0,
    }
    factors |= {"shared_alignment": 5.0, "reconstruction": 6.0, "latent_shared": 7.0, "latent_exclusive": 7.0}
    for name, value in unit.items():
        factor = factors.get(name.removesuffix("_a").removesuffix("_b"), 1.0)
        assert weighted[name] == pytest.approx(factor * value, rel=1e-4), name


def test_the_cross_domain_autoencoder_decodes_the_other_sides_shared_map() -> None:
    """Eq. 5 by hand: F_d(S_y, E_x) against x, with the statistics of the batch that training takes."""
    config = replace(SMALL, noise=0.0)
    model, batch, updates = turns(config)
    torch.manual_seed(0)
    model = CdDN(IMAGES, config)
    x, y = model.a.encoder(batch.a), model.b.encoder(batch.b)
    noise = torch.randn_like(x.exclusive)
    both = model.a.decode(torch.cat([y.shared, y.shared]), torch.cat([noise, x.exclusive]))
    expected = 100 * (both.chunk(2)[1] - batch.a).abs().mean()
    torch.testing.assert_close(updates[1]["generators"]["reconstruction_a"], expected)


def test_each_ablation_leaves_its_terms_out_and_no_other() -> None:
    full = names(SMALL)
    without: dict[str, CdDNConfig] = {
        "reconstruction": replace(SMALL, autoencoder="none"),
        "exclusive_": replace(SMALL, reversal=False),
        "shared_alignment": replace(SMALL, shared_alignment=0.0),
        "latent_shared|latent_exclusive": replace(SMALL, latent=0.0),
        "latent_discriminator|latent_generator": replace(SMALL, latent_discriminator=False),
    }
    for beginnings, config in without.items():
        assert full - names(config) == {name for name in full if name.startswith(tuple(beginnings.split("|")))}
        assert names(config) < full


def test_the_contrastive_loss_compares_images_place_by_place() -> None:
    torch.manual_seed(0)
    free = torch.randn(64, 16, 5, 5)
    assert sample_contrastive_loss(free) == pytest.approx(1, abs=0.05)
    # one number for each image and place, in every channel, with signs that cancel out over the places
    signs = torch.randn(1, 16, 5, 5).sign()
    assert sample_contrastive_loss(torch.randn(64, 1, 5, 5) * signs) == pytest.approx(16, abs=1e-3)
    assert sample_contrastive_loss(3 * free) == pytest.approx(sample_contrastive_loss(free).item())
    assert sample_contrastive_loss(torch.randn(64, 16)) == pytest.approx(1, abs=0.2)  # vectors
    assert sample_contrastive_loss(torch.eye(8)) == 0
    assert sample_contrastive_loss(free[:1]) == 0
    full = names(SMALL)
    assert names(replace(SMALL, contrastive=1.0)) - full == {"contrastive_a", "contrastive_b"}


def test_exclusive_decoders_and_encoders_pull_against_each_other() -> None:
    """The gradient of the exclusive GAN's loss reaches the encoder with its sign turned."""
    model, batch, _ = turns(SMALL)
    decoder, critic = model.auxiliary_a.decoder, model.auxiliary_a.exclusive_critic
    assert decoder is not None
    assert critic is not None
    *_, last = model.updates(Repeated(batch), Clock(0, 0.0))
    weight = model.a.encoder.get_parameter("exclusive.2.weight")
    (turned,) = torch.autograd.grad(last["generators"]["exclusive_generator_a"], weight)

    def score() -> Tensor:
        """What the critic thinks of the guess."""
        return critic(batch.a, decoder(tile(model.a.encoder(batch.a).exclusive, 4, 4))).mean()

    before = score()
    with torch.no_grad():
        weight -= 1e-2 * turned / turned.norm()
    after = score()
    assert after < before  # the encoder's step makes the guess worse


def test_separate_optimisers_move_by_their_own_gradients() -> None:
    """The authors' program: as many moves as kinds of losses, each of the size of the rate."""
    model, batch, _ = turns(
        replace(SMALL, separate_optimisers=True, shared_alignment=0.01, reconstruction=0.01, latent=0.01)
    )
    optimisers = model.optimisers("train")
    assert set(optimisers) == {"critics", *model.generator_players()}
    decoder = model.a.decoder
    assert isinstance(decoder, Decoder)
    before = decoder.to_image.weight.detach().clone()
    gradient_norms: dict[str, float] = {}
    train_step(model, optimisers, Repeated(batch), Clock(0, 0.0), gradient_norms=gradient_norms)
    assert gradient_norms.keys() == optimisers.keys()
    assert len({*gradient_norms.values()}) == len(gradient_norms)
    moved = (decoder.to_image.weight.detach() - before).abs() / model.config.rate
    # gan, autoencoder and latent move this weight: Adam's first step is the rate, whatever the weight of the loss
    assert moved.max() == pytest.approx(3, abs=0.1)
    # both sides' autoencoders move an encoder, each by its own Adam
    assert {"reconstruction_a", "reconstruction_b"} < {*optimisers}
    assert min(gradient_norms["reconstruction_a"], gradient_norms["reconstruction_b"]) > 0


def test_made_images_leave_the_encoders_statistics_alone() -> None:
    model, batch, _ = turns(SMALL)
    fresh = CdDN(IMAGES, SMALL)
    fresh.load_state_dict(model.state_dict())
    fresh.a.encoder(batch.a)
    list(model.updates(Repeated(batch), Clock(0, 0.0)))
    for one, two in zip(fresh.a.encoder.buffers(), model.a.encoder.buffers(), strict=True):
        if one.is_floating_point():
            torch.testing.assert_close(one, two)


def test_exclusive_codes_are_pulled_to_where_the_noise_is() -> None:
    """By D_z alone, codes far from N(0, I) come home; with batch-norm in it, it can't tell where they are."""
    torch.manual_seed(0)
    left: list[float] = []
    for norm in (False, True):
        discriminator = CdDN(IMAGES, replace(SMALL, latent_discriminator_norm=norm)).auxiliary_a.latent_discriminator
        assert discriminator is not None
        place, scale = torch.nn.Parameter(torch.full((8,), 3.0)), torch.nn.Parameter(torch.full((8,), 2.0))
        judge, player = (torch.optim.Adam(p, 1e-2, (0.5, 0.9)) for p in (discriminator.parameters(), (place, scale)))
        for _ in range(300):
            code = place + scale * torch.randn(64, 8)
            judge.zero_grad()
            (softplus(-discriminator(torch.randn(64, 8))) + softplus(discriminator(code.detach()))).mean().backward()
            judge.step()
            player.zero_grad()
            softplus(-discriminator(code)).mean().backward()
            player.step()
        left.append(place.detach().abs().mean().item())
    assert left[0] < 1
    assert left[1] > 2


def test_noise_is_laid_on_codes_in_training_only() -> None:
    model = CdDN(IMAGES, SMALL)
    codes = Codes(torch.zeros(2, 6, 4, 4), torch.zeros(2, 8))
    model.eval()
    assert torch.equal(model.decode(codes, "a"), model.decode(codes, "a"))
    model.train()
    assert not torch.equal(model.decode(codes, "a"), model.decode(codes, "a"))


@pytest.mark.parametrize("spec", [IMAGES, DataSpec(VectorSpec(6), VectorSpec(4))])
def test_shared_codes_normalised_by_value_cannot_be_the_same_for_all_images(spec: DataSpec) -> None:
    torch.manual_seed(0)
    x = torch.rand(1, *spec.a.shape) + 0.5 * torch.rand(8, *spec.a.shape)  # eight images, much alike
    by_value, by_channel = (
        CdDN(spec, replace(SMALL, shared_norm=norm, initial="torch")) for norm in ("value", "channel")
    )
    for parameter in by_channel.a.encoder.shared[-1].parameters():
        parameter.data *= 0.1
    shared = {model: model.encode(x, "a").shared.std(0, correction=0) for model in (by_value, by_channel)}
    assert shared[by_value].min() > 0.8
    assert shared[by_channel].mean() < 0.5


def test_critics_are_watched() -> None:
    model, _, updates = turns(SMALL)
    assert {*HEALTHY} < {*model.diagnostics}
    assert model.diagnostics["critic distance a"] == -updates[0]["critics"]["critic_a"]


@pytest.mark.parametrize(
    ("what", "value", "said"),
    [
        ("critic slope a", 3.0, "exploded"),
        ("critic slope b", 0.1, "gone flat"),
        ("exclusive_critic slope a", 3.0, "made of exclusive codes alone, has exploded"),
        ("critic distance b", -0.1, "made images for real"),
    ],
)
def test_a_critic_in_trouble_is_named(what: str, value: float, said: str) -> None:
    model = CdDN(IMAGES, SMALL)
    assert model.diagnose(HEALTHY) == []
    (warning,) = model.diagnose({**HEALTHY, what: value})
    assert said in warning
    assert f"domain {what[-1]}" in warning


@pytest.mark.parametrize(
    ("spec", "config", "said"),
    [
        (DataSpec(VectorSpec(3), ImageSpec(16, 16)), SMALL, "two domains of one kind; found vectors of 3 values"),
        (DataSpec(VectorSpec(3), VectorSpec(3)), replace(SMALL, vector_widths=()), "--method.vector-widths"),
        (IMAGES, replace(SMALL, map_size=0), "--method.map-size 0: it must be at least 1"),
        (IMAGES, replace(SMALL, critic_widths=(8, 0)), "--method.critic-widths 8 0"),
        (IMAGES, replace(SMALL, dropout=(0.0, 1.5)), "at least 0 and less than 1"),
        (IMAGES, replace(SMALL, rate=0.0), "--method.rate 0.0: it must be more than 0"),
        (IMAGES, replace(SMALL, penalty=float("nan")), "--method.penalty nan"),
        (DataSpec(ImageSpec(16, 24), ImageSpec(20, 16, 1)), SMALL, "16x24 images .* 20x16 images of 1 channel"),
        (IMAGES, replace(SMALL, dropout=(0.0,)), "--method.dropout 1"),
        (IMAGES, replace(SMALL, critic_widths=(8,) * 5), "need 32 pixels"),
    ],
)
def test_what_cannot_be_built_is_refused(spec: DataSpec, config: CdDNConfig, said: str) -> None:
    with pytest.raises(UserError, match=said):
        CdDN(spec, config)


def test_small_images_have_settings_of_their_own() -> None:
    small, large = (DataSpec(ImageSpec(size, size), ImageSpec(size, size, 1)) for size in (64, 256))
    config, lines = CdDN.default_config(small)
    assert (config.shared, config.rate, len(lines)) == (64, 1e-3, 1)
    assert CdDN.default_config(large) == (CdDNConfig(), [])
