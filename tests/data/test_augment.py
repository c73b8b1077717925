import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unbraid.data.augment import augment

ROWS = np.arange(16)


@pytest.mark.parametrize("names", [("flip",), ("turn",), ("shift",), ("flip", "turn", "shift")])
def test_both_sides_of_a_pair_move_alike(names: tuple[str, ...]) -> None:
    a = torch.rand(16, 3, 16, 16)
    b = torch.cat([a[:, :1] * 0.5, a[:, 1:]], dim=1)
    moved_a, moved_b = augment((a, b), names, seed=0, draw=1, rows=ROWS)
    assert (moved_a != a).any()
    assert torch.equal(moved_b[:, 1:], moved_a[:, 1:])
    assert torch.equal(moved_b[:, :1], moved_a[:, :1] * 0.5)


def test_sides_of_different_sizes_move_by_the_same_share() -> None:
    small = torch.rand(16, 1, 16, 16)
    large = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    moved_small, moved_large = augment((small, large), ("flip",), 0, 1, ROWS)
    assert torch.equal(moved_large[:, :, ::2, ::2], moved_small)


@given(
    seed=st.integers(0, 99),
    draw=st.integers(0, 99),
    names=st.sets(st.sampled_from(["flip", "turn", "shift"])).map(tuple),
)
def test_a_move_depends_on_its_own_row_alone(seed: int, draw: int, names: tuple[str, ...]) -> None:
    x = torch.arange(4 * 81).float().reshape(4, 1, 9, 9)
    rows = np.array([5, 3, 8, 2])
    (together,) = augment((x,), names, seed, draw, rows)
    (alone,) = augment((x[2:3],), names, seed, draw, rows[2:3])
    assert torch.equal(together[2:3], alone)


def test_flips_and_turns_move_pixels_without_changing_them() -> None:
    x = torch.rand(16, 3, 8, 8)
    (moved,) = augment((x,), ("turn",), 0, 1, ROWS)
    assert torch.equal(moved.flatten(2).sort().values, x.flatten(2).sort().values)
    ways = {tuple(augment((x[:1],), ("turn",), 0, 1, np.array([i]))[0].flatten().tolist()) for i in range(60)}
    assert len(ways) == 8  # four turns, each as it is and mirrored


def test_shifts_stay_within_an_eighth() -> None:
    x = torch.zeros(40, 1, 16, 16)
    x[:, :, 8, 8] = 1
    (moved,) = augment((x,), ("shift",), 0, 1, np.arange(40))
    _, _, row, column = moved.nonzero().T
    assert len(row) == 40
    assert {int(value) for value in row - 8} == set(range(-2, 3)) == {int(value) for value in column - 8}
