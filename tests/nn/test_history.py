"""Items kept while training."""

import pytest
import torch

from unbraid.core.types import ImageSpec, Spec, VectorSpec
from unbraid.nn.history import Bank, History

ONE = VectorSpec(1)


def numbers(first: int, count: int) -> torch.Tensor:
    return torch.arange(first, first + count, dtype=torch.float32)[:, None]


def test_a_history_keeps_what_comes_until_it_is_full() -> None:
    history = History(6, ONE)
    for i in range(3):
        assert torch.equal(history(numbers(2 * i, 2)), numbers(2 * i, 2))
    assert torch.equal(history.items, numbers(0, 6))


def test_then_items_change_places_with_old_ones_and_none_is_lost() -> None:
    torch.manual_seed(0)
    history = History(6, ONE)
    history(numbers(0, 6))
    out, old = set(), 0
    for i in range(1, 50):
        batch = numbers(100 * i, 4)
        mixed = history(batch)
        old += int((mixed < 100 * i).sum())
        out |= set(mixed[:, 0].tolist())
        assert ((mixed == batch) | (mixed < 100 * i)).all()
    kept = set(history.items[:, 0].tolist())
    assert len(kept) == 6
    assert not kept & out  # what is kept was not shown
    assert 0.35 < old / (4 * 49) < 0.65
    assert len(out | kept) == 6 + 4 * 49


def test_a_batch_larger_than_the_history_passes_through_it() -> None:
    torch.manual_seed(0)
    history = History(3, ONE)
    first = history(numbers(0, 10))
    assert torch.equal(first[:3], numbers(0, 3))
    mixed = history(numbers(10, 10))
    assert int((mixed < 10).sum()) == 3  # at most its size


def test_no_history_shows_what_is_new() -> None:
    x = numbers(0, 4).requires_grad_()
    mixed = History(0, ONE)(x)
    assert torch.equal(mixed, x)
    assert not mixed.requires_grad


def test_a_history_is_state() -> None:
    torch.manual_seed(0)
    one, two = History(4, ONE), History(4, ONE)
    one(numbers(0, 6))
    two.load_state_dict(one.state_dict())
    torch.manual_seed(1)
    mixed = one(numbers(10, 5))
    torch.manual_seed(1)
    assert torch.equal(mixed, two(numbers(10, 5)))


@pytest.mark.parametrize(("spec", "error"), [(ImageSpec(2, 3), 1 / 255), (VectorSpec(5), 0.0)])
def test_a_bank_gives_back_what_it_saw_first(spec: Spec, error: float) -> None:
    bank = Bank(5, spec)
    assert bank.draw(2).shape == (2, *spec.shape)
    x = torch.rand(8, *spec.shape) * 2 - 1
    bank.fill(x[:3])
    bank.fill(x[3:])
    drawn = bank.draw(40, torch.Generator().manual_seed(0))
    apart = torch.cdist(drawn.flatten(1), x.flatten(1), p=float("inf"))
    assert apart.min(1).values.max() <= error
    assert set(apart.argmin(1).tolist()) == set(range(5))


def test_an_average_of_weights_copies_a_bank() -> None:
    assert not any(value.is_floating_point() for value in Bank(2, VectorSpec(3)).state_dict().values())
