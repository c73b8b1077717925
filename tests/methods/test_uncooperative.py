"""The rule (who moves, who is frozen), the objective against its equations, residuals as codes."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from helpers import IMAGES, VECTORS, Repeated, random_batch
from unbraid.core.method import Clock
from unbraid.core.types import Codes, DataSpec, Domain, ImageSpec, Unpaired, UserError, VectorSpec
from unbraid.methods.uncooperative import Uncooperative, UncooperativeConfig
from unbraid.nn.patch import r1_penalty
from unbraid.training.loop import train_step

SMALL = UncooperativeConfig(width=4, blocks=2, discriminator_width=4, hidden=8, history=6, bank=4)
CLOCK = Clock(0, 0.0)


def built(config: UncooperativeConfig = SMALL, spec: DataSpec = IMAGES) -> tuple[Uncooperative, Unpaired]:
    torch.manual_seed(0)
    model, batch = Uncooperative(spec, config), random_batch(spec, needs=Unpaired)
    assert isinstance(batch, Unpaired)
    return model, batch


def weights(module: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def same(module: nn.Module, before: list[Tensor]) -> bool:
    return all(torch.equal(p, old) for p, old in zip(module.parameters(), before, strict=True))


@pytest.mark.parametrize("spec", [IMAGES, VECTORS], ids=["images", "vectors"])
def test_the_frozen_network_stays_bit_for_bit_and_a_gradient_flows_through_it(spec: DataSpec) -> None:
    """Each cycle as the loop plays it: the gradient goes to the movers, and it comes through the frozen network."""
    model, batch = built(spec=spec)
    optimisers = model.optimisers("train")
    reached: list[float] = []

    def watch(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].requires_grad:
            inputs[0].register_hook(lambda gradient: reached.append(float(gradient.abs().sum())))

    turns = model.updates(Repeated(batch), CLOCK)
    for mover, frozen in (("disentangler", model.entangler), ("entangler", model.disentangler)):
        hook = frozen.register_forward_pre_hook(watch)  # what comes in was made by the mover
        reached.clear()
        update = next(turns)
        hook.remove()
        assert list(update) == [mover]
        before, moving = weights(frozen), weights(model.get_submodule(mover))
        cycle = next(term for name, term in update[mover].items() if name.startswith("cycle"))
        parameters = [p for group in optimisers[mover].param_groups for p in group["params"]]
        cycle.backward(inputs=parameters, retain_graph=True)  # the term that passes through the frozen network
        assert reached
        assert reached[0] > 0
        assert all(p.grad is None for p in frozen.parameters())
        torch.stack(list(update[mover].values())).sum().backward(inputs=parameters)
        optimisers[mover].step()
        optimisers[mover].zero_grad()
        assert same(frozen, before)
        assert not same(model.get_submodule(mover), moving)


@pytest.mark.parametrize("cooperative", [False, True])
def test_who_moves_is_all_that_cooperation_changes(cooperative: bool) -> None:
    """The same terms of the same values in the first cycle; both networks move instead of one, in both cycles."""
    model, batch = built(replace(SMALL, cooperative=cooperative))
    torch.manual_seed(1)
    updates = []
    for update in model.updates(Repeated(batch), CLOCK):
        updates.append(update)
    both = ("disentangler", "entangler")
    expected = [both, both, "discriminators"] if cooperative else [*both, "discriminators"]
    assert [next(iter(update)) for update in updates] == expected
    plain, _ = built()
    torch.manual_seed(1)
    others = list(plain.updates(Repeated(batch), CLOCK))
    for mine, theirs in zip(updates, others, strict=True):  # nobody has stepped in between
        (terms,), (other_terms,) = mine.values(), theirs.values()
        assert terms.keys() == other_terms.keys()
        assert all(torch.equal(terms[name], other_terms[name]) for name in terms)


def test_weights_are_those_of_the_equations() -> None:
    def terms(config: UncooperativeConfig) -> dict[str, float]:
        model, batch = built(config)
        torch.manual_seed(1)
        updates = model.updates(Repeated(batch), CLOCK)
        return {name: term.item() for update in updates for terms in update.values() for name, term in terms.items()}

    unit = terms(replace(SMALL, cycle_informative=1.0, cycle_plain=1.0, cycle_residual=1.0))
    weighted = terms(replace(SMALL, cycle_informative=7.0, cycle_plain=5.0, cycle_residual=3.0, adversarial=2.0))
    factors = {
        "cycle_informative": 7,
        "cycle_plain": 5,
        "cycle_residual": 3,
        "generator_plain": 2,
        "generator_informative": 2,
    }
    for name, value in weighted.items():
        assert value == pytest.approx(factors.get(name, 1) * unit[name], rel=1e-4), name


def test_terms_are_those_of_the_equations() -> None:
    """Written out once more, plainly, on vectors."""
    model, batch = built(replace(SMALL, residual=2, history=0, r1=0.5), VECTORS)
    model.eval()  # the power iteration of spectral norm rests
    cycle_1, cycle_2, discriminators = (next(iter(u.values())) for u in model.updates(Repeated(batch), CLOCK))
    with torch.no_grad():
        v, c = batch.a, batch.b
        c1, r1 = model.disentangler(v)
        v1 = model.entangler(c, r1)
        c2, r2 = model.disentangler(v1)
        discriminator_v, discriminator_c = model.discriminators["a"], model.discriminators["b"]
        expected = {
            "cycle_informative": 10 * (model.entangler(c1, r1) - v).abs().mean(),
            "generator_plain": (discriminator_c(c1) - 1).square().mean() / 2,
            "cycle_plain": 10 * (c2 - c).abs().mean(),
            "cycle_residual": 0.1 * (r2[0] - r1[0]).abs().mean(),
            "generator_informative": (discriminator_v(v1) - 1).square().mean() / 2,
            "discriminator_plain": ((discriminator_c(c) - 1).square().mean() + discriminator_c(c1).square().mean()) / 2,
            "discriminator_informative": (
                (discriminator_v(v) - 1).square().mean() + discriminator_v(v1).square().mean()
            )
            / 2,
            "r1_plain": 0.25 * r1_penalty(discriminator_c, c),
            "r1_informative": 0.25 * r1_penalty(discriminator_v, v),
        }
    found = {**cycle_1, **cycle_2, **discriminators}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


@pytest.mark.parametrize("blank", [("a",), ("b",), ("a", "b")], ids="".join)
def test_blank_images_leave_gradients_that_can_be_used(blank: tuple[Domain, ...]) -> None:
    """The sea, on a photo, a map, or both: instance norm of what has no deviation blows gradients up."""
    spec = DataSpec(ImageSpec(32, 32, 3), ImageSpec(32, 32, 3))
    model, batch = built(replace(SMALL, blocks=4), spec)
    batch = Unpaired(*(torch.full_like(batch[d], 0.3) if d in blank else batch[d] for d in ("a", "b")))
    for update in model.updates(Repeated(batch), CLOCK):
        for player, terms in update.items():
            parameters = list(model.get_submodule(str(player)).parameters())
            slopes = torch.autograd.grad(
                sum(terms.values(), torch.zeros(())), parameters, allow_unused=True, materialize_grads=True
            )
            assert max(float(slope.abs().max()) for slope in slopes) < 100


def test_no_gradient_goes_into_the_residual_of_the_second_cycle() -> None:
    """Else the baseline's disentangler could make residuals that are easy to find again."""
    model, batch = built(replace(SMALL, cooperative=True))
    turns = model.updates(Repeated(batch), CLOCK)
    next(turns)
    (terms,) = next(turns).values()
    made: list[Tensor] = []
    hook = model.entangler.register_forward_pre_hook(lambda _, inputs: made.extend(inputs[1]))
    list(model.updates(Repeated(batch), CLOCK))
    hook.remove()
    assert [part.requires_grad for part in made] == [True] * 3 + [False] * 3
    assert terms["cycle_residual"].requires_grad


def test_a_swapped_truth_has_no_loss_at_all() -> None:
    """The data of the paper's synthetic experiment, v = (c, r), both normal with deviation 1, can't tell c and r apart.

    D says that r - mean(r) + mean(c) is c, and the other way round; E undoes it. So the found residual has nothing to
    do with the true one. Both cycles come back exactly and what is made has the right distribution, the very same
    values even, if the plain batch holds what D makes. docs/notes/two-factors.md has the proof for all rotations.
    """
    spec = DataSpec(VectorSpec(2), VectorSpec(1))
    model = Uncooperative(spec, replace(SMALL, streams="two"))
    swap(model)
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(64, 2, generator=generator) + torch.tensor([2.0, -2.0])
    v = (v * 64).round() / 64  # so that sums have no rounding
    c = (torch.randn(64, 1, generator=generator) * 64).round() / 64 + 2.0
    with torch.no_grad():
        c1, r1 = model.disentangler(v)
        assert torch.equal(c1[:, 0], v[:, 1] + 4)  # the residual, with the plain domain's mean
        assert torch.equal(r1[0][:, 0], v[:, 0] - 4)  # the content
        v1 = model.entangler(c, r1)
        assert torch.equal(v1, torch.cat([r1[0] + 4, c - 4], 1))  # as informative items are: two independent normals
    losses = {}
    for update in model.updates(Repeated(Unpaired(v, c)), CLOCK):
        for terms in update.values():
            losses |= {name: term.item() for name, term in terms.items()}
    assert losses["cycle_informative"] == losses["cycle_plain"] == losses["cycle_residual"] == 0.0


def swap(model: Uncooperative) -> None:
    """Sets D and E to what exchanges the two values: each output is relu(x) - relu(-x) of one input, and a constant."""

    def linear(network: nn.Module, chosen: list[int], constants: list[float]) -> None:
        first, last = network.children()
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        for parameter in (first.weight, first.bias, last.weight, last.bias):
            nn.init.zeros_(parameter)
        with torch.no_grad():
            for out, (source, constant) in enumerate(zip(chosen, constants, strict=True)):
                for unit, sign in ((2 * out, 1.0), (2 * out + 1, -1.0)):
                    first.weight[unit, source] = sign
                    last.weight[out, unit] = sign
                last.bias[out] = constant

    plain, residual = model.disentangler.get_submodule("networks").children()
    linear(plain, [1], [4.0])
    linear(residual, [0], [-4.0])
    linear(model.entangler.get_submodule("network"), [1, 0], [4.0, -4.0])


def test_linear_networks_are_linear_and_discriminators_are_not() -> None:
    model, batch = built(replace(SMALL, linear=True), VECTORS)
    x, y = batch.a, batch.a.flip(0)
    with torch.no_grad():
        middle, one, two = (model.disentangler(v) for v in ((x + y) / 2, x, y))
    torch.testing.assert_close(middle[0], (one[0] + two[0]) / 2)
    torch.testing.assert_close(middle[1][0], (one[1][0] + two[1][0]) / 2)
    assert [tuple(p.shape) for p in model.entangler.parameters()] == [(12, 9 + 1), (12,)]
    assert len(list(model.discriminators["a"].parameters())) == 4


def test_codes_are_the_poor_image_and_the_residual() -> None:
    model, batch = built(replace(SMALL, informative="b"), DataSpec(ImageSpec(16, 20, 1), ImageSpec(16, 20, 3)))
    model.eval()
    with torch.no_grad():
        plain, informative = model.encode(batch.a, "a"), model.encode(batch.b, "b")
        assert torch.equal(plain.shared, batch.a)
        assert plain.exclusive.shape == (4, 0)
        assert informative.shared.shape == (4, 1, 16, 20)
        assert informative.exclusive.shape == (4, 3 * 16 * 4 * 5)
        c, r = model.disentangler(batch.b)
        assert torch.equal(model.decode(informative, "b"), model.entangler(c, r))
        assert torch.equal(model.translate(batch.b, "b", "a"), c)
        guided = model.translate(batch.a, "a", "b", informative.exclusive)
        assert torch.equal(guided, model.decode(Codes(batch.a, informative.exclusive), "b"))


def test_a_residual_of_images_can_have_fewer_channels_than_the_networks() -> None:
    model, batch = built(replace(SMALL, residual_channels=2), DataSpec(ImageSpec(16, 20), ImageSpec(16, 20)))
    with torch.no_grad():
        codes = model.encode(batch.a, "a")
        assert codes.exclusive.shape == (4, 3 * 2 * 4 * 5)
        assert model.decode(codes, "a").shape == batch.a.shape


@pytest.mark.parametrize("spec", [IMAGES, VECTORS], ids=["images", "vectors"])
def test_residuals_are_drawn_from_the_first_items_of_training(spec: DataSpec) -> None:
    model, _ = built(spec=spec)
    seen = [random_batch(spec, 3, seed, Unpaired) for seed in range(3)]
    for batch in seen:
        train_step(model, model.optimisers("train"), Repeated(batch), CLOCK)
    first = torch.cat([batch.a for batch in seen if isinstance(batch, Unpaired)])[:4]
    model.eval()
    found = model.encode(first, "a").exclusive
    drawn = model.prior(20, "a", torch.Generator().manual_seed(0))
    apart = torch.cdist(drawn, found)
    assert (apart.min(1).values < 0.05 * apart.max()).all()  # images are kept with 8 bits a value
    assert set(apart.argmin(1).tolist()) == {0, 1, 2, 3}
    assert torch.equal(drawn, model.prior(20, "a", torch.Generator().manual_seed(0)))
    assert model.prior(20, "b", torch.Generator()).shape == (20, 0)


def test_the_papers_sizes_are_the_default() -> None:
    with torch.device("meta"):
        model = Uncooperative(DataSpec(ImageSpec(256, 256), ImageSpec(256, 256)), UncooperativeConfig())
        v = torch.empty(1, 3, 256, 256)
        c, r = model.disentangler(v)
        assert c.shape == v.shape
        assert [part.shape for part in r] == [(1, 256, 64, 64)] * 3
        assert model.entangler(c, r).shape == v.shape
        assert model.discriminators["a"](v).shape == (1, 1, 30, 30)
    blocks = [m for m in model.modules() if type(m).__name__ == "ResidualBlock"]
    assert len(blocks) == 12  # four in each of three networks


def test_rates_stay_and_then_fall_to_nothing() -> None:
    model, _ = built(replace(SMALL, plateau=0.8))
    factors = [model.rate_factor("train", Clock(0, progress)) for progress in (0.0, 0.79, 0.9, 1.0)]
    assert factors == pytest.approx([1, 1, 0.5, 0])


def test_what_only_training_needs_is_not_part_of_the_model() -> None:
    from unbraid.model.restore import model_state

    model, _ = built()
    names = {name.split(".")[0] for name in model_state(model)}
    assert names == {"disentangler", "entangler", "bank"}
    assert {name.split(".")[0] for name in copy.deepcopy(model).state_dict()} == names | {"discriminators", "history"}


@pytest.mark.parametrize(
    ("spec", "config", "message"),
    [
        (DataSpec(ImageSpec(16, 16), VectorSpec(4)), SMALL, "two domains of one kind"),
        (DataSpec(ImageSpec(16, 16), ImageSpec(32, 16)), SMALL, "images of one size"),
        (DataSpec(ImageSpec(4, 16), ImageSpec(4, 16)), SMALL, "at least 8 x 8"),
        (IMAGES, replace(SMALL, blocks=3), "an even number"),
        (IMAGES, replace(SMALL, plateau=1.0), "at least 0 and less than 1"),
        (IMAGES, replace(SMALL, bank=0), "at least 1"),
    ],
)
def test_what_cannot_be_built_is_said(spec: DataSpec, config: UncooperativeConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Uncooperative(spec, config)
