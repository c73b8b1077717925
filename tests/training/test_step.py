"""Checks that don't wait for the device, and batches that are read ahead: nothing else changes by them."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from helpers import IMAGES, Repeated, paired_data
from test_methods import CASES
from unbraid.core.types import UserError
from unbraid.data.batches import Batches
from unbraid.nn import tables
from unbraid.training.batches import DeviceBatches
from unbraid.training.step import Checks, NonFiniteLoss, train_step

CPU = torch.device("cpu")


def trained(name: str, later: bool, steps: int = 4, bad: int = -1) -> tuple[Any, Checks]:
    """A method after some steps, and its checks; the batch of step `bad` is not finite."""
    case = CASES[name]
    method, optimisers, clock = case.first()
    checks, batch = Checks(device=CPU, later=later), case.batch()
    nothing = {key: value * torch.nan for key, value in vars(batch).items() if value.is_floating_point()}
    for step in range(steps):
        torch.manual_seed(step)
        batches = Repeated(replace(batch, **nothing) if step == bad else batch)
        losses = train_step(method, optimisers, batches, replace(clock, step=step), checks=checks)
        checks.put(step, losses)
    return method, checks


@pytest.mark.parametrize("name", ["iiae-gan", "lord"])
def test_looking_later_changes_no_weight(name: str) -> None:
    (one, at_once), (other, later) = trained(name, later=False), trained(name, later=True)
    torch.testing.assert_close(dict(other.state_dict()), dict(one.state_dict()), rtol=0, atol=0)
    assert not list(later.take()), "figures are on their way"
    assert list(later.take(wait=True)) == list(at_once.take())


@pytest.mark.parametrize("name", ["iiae-gan", "lord"])
def test_from_a_loss_that_is_not_finite_on_nobody_moves_and_it_is_named(name: str) -> None:
    before, _ = trained(name, later=True, steps=2)
    after, checks = trained(name, later=True, steps=5, bad=2)
    for key, parameter in before.named_parameters():
        torch.testing.assert_close(dict(after.named_parameters())[key], parameter, rtol=0, atol=0)
    arrived: list[dict[str, float]] = []
    with pytest.raises(NonFiniteLoss, match=r"Step 2: the loss is no longer finite \(reconstruction.* = nan"):
        arrived.extend(checks.take(wait=True))


def test_a_gradient_that_is_not_finite_is_named_later() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    team = {"left": torch.optim.Adam([parameter], fused=True)}
    checks = Checks(device=CPU, later=True)
    parameter.grad = torch.full((1,), torch.inf)
    checks.gradients(team, [parameter], torch.zeros(()), {"loss": torch.zeros(())}, 7)
    team["left"].step()
    assert parameter.item() == 0
    checks.put(7, {"loss": torch.zeros(())})
    with pytest.raises(NonFiniteLoss, match="Step 7: the gradient of left is no longer finite"):
        list(checks.take(wait=True))


def test_tables_get_the_same_codes_where_sizes_are_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    def codes() -> torch.Tensor:
        torch.manual_seed(0)
        table = tables.code_table(6, 3)
        optimiser = tables.RowAdam([table], lr=0.1)
        for rows in ([1, 1, 2], [4, 2, 4], [0, 1, 5], [2, 2, 2]):
            table.weight.grad = None
            (table(torch.tensor(rows)) * torch.tensor([[1.0], [2.0], [3.0]])).square().sum().backward()
            optimiser.step()
        optimiser.finish()
        return table.weight.detach()

    free = codes()
    monkeypatch.setattr(tables, "sizes_are_free", lambda weight: False)
    torch.testing.assert_close(codes(), free)


class Failing(Batches[Any]):
    """Batches of which the third can't be read."""

    def __next__(self) -> Any:
        if self.step == 2:
            raise UserError("cat.png can't be read")
        return super().__next__()


def test_reading_ahead_gives_the_same_batches_and_counts_those_taken() -> None:
    part = paired_data(IMAGES).train
    ahead = DeviceBatches(Batches(part, 3, 0, ("shift",), 5), CPU, 5, ahead=True)
    plain = DeviceBatches(Batches(part, 3, 0, ("shift",), 5), CPU, 5)
    for taken in range(6, 12):
        one, other = next(ahead), next(plain)
        assert torch.equal(one.a, other.a)
        assert torch.equal(one.index, other.index)
        assert (ahead.drawn, plain.drawn) == (taken, taken)


def test_a_batch_that_can_not_be_read_is_an_error_when_its_turn_comes() -> None:
    batches = DeviceBatches(Failing(paired_data(IMAGES).train, 2, 0), CPU, ahead=True)
    assert len(next(batches).index) == len(next(batches).index) == 2
    with pytest.raises(UserError, match=r"cat.png can't be read"):
        next(batches)
