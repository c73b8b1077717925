import copy
import math

import pytest
import torch
from torch import nn

from unbraid.nn.tables import RowAdam, code_table

ROWS, SIZE = 50, 6


def steps(count: int) -> tuple[nn.Embedding, RowAdam, nn.Embedding, float]:
    """Trains a table by rows and one densely, on the same rows at falling rates; the largest difference ever read."""
    torch.manual_seed(0)
    table = code_table(ROWS, SIZE)
    dense = nn.Embedding(ROWS, SIZE, _weight=table.weight.data.clone())
    by_row, by_all = RowAdam([table], lr=0.01), torch.optim.Adam(dense.parameters(), lr=0.01)
    target, worst = torch.randn(ROWS, SIZE), 0.0
    for step in range(count):
        # rows of all of the table, and for a long while only of its beginning, so that gaps are short and long
        rows = torch.randint(ROWS if step % 400 < 100 else 5, (4,))
        for optimiser in (by_row, by_all):
            optimiser.param_groups[0]["lr"] = 0.01 * (1 + math.cos(math.pi * step / count)) / 2
        for module, optimiser in ((table, by_row), (dense, by_all)):
            optimiser.zero_grad()
            (module(rows) - target[rows]).square().sum().backward()
            optimiser.step()
        worst = max(worst, float((table(rows) - dense(rows)).detach().abs().max()))
    return table, by_row, dense, worst


def test_what_is_read_is_what_dense_adam_would_have() -> None:
    table, _, dense, worst = steps(900)
    assert worst < 1e-4
    assert dense.weight.abs().max() > 0.5, "the codes went somewhere"
    assert not torch.equal(table.weight, dense.weight), "unread rows wait"


def test_finishing_brings_every_row_to_where_dense_adam_has_it() -> None:
    table, optimiser, dense, _ = steps(700)
    optimiser.finish()
    torch.testing.assert_close(table.weight, dense.weight, rtol=0, atol=1e-4)


def test_a_finished_table_stays_as_it_is() -> None:
    table, optimiser, _, _ = steps(30)
    optimiser.finish()
    before = table.weight.detach().clone()
    table(torch.arange(ROWS))
    assert torch.equal(table.weight, before)


def test_rows_that_come_twice_in_a_batch_count_twice() -> None:
    table = code_table(3, 2)
    dense = nn.Embedding(3, 2, _weight=table.weight.data.clone())
    by_row, by_all = RowAdam([table], lr=0.1), torch.optim.Adam(dense.parameters(), lr=0.1)
    for module, optimiser in ((table, by_row), (dense, by_all)):
        (module(torch.tensor([1, 1, 2])) * torch.tensor([[1.0], [2.0], [1.0]])).square().sum().backward()
        optimiser.step()
    torch.testing.assert_close(table.weight, dense.weight)


def test_only_the_rows_of_the_batch_are_written() -> None:
    table = code_table(1000, 4)
    optimiser = RowAdam([table], lr=0.1)
    before = table.weight.detach().clone()
    table(torch.tensor([7, 900])).square().sum().backward()
    optimiser.step()
    changed = (table.weight != before).any(1).nonzero()[:, 0].tolist()
    assert changed == [7, 900]
    assert table.weight.grad is not None
    assert table.weight.grad.coalesce().values().shape == (2, 4)


def test_its_state_goes_on_where_it_was() -> None:
    first, optimiser, _, _ = steps(40)
    second = code_table(ROWS, SIZE)
    second.load_state_dict(first.state_dict())
    other = RowAdam([second], lr=0.01)
    other.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    for table, adam in ((first, optimiser), (second, other)):
        adam.zero_grad()
        table(torch.tensor([3, 8])).square().sum().backward()
        adam.step()
        adam.finish()
    assert torch.equal(first.weight, second.weight)


def test_moments_take_twice_the_tables_memory_and_little_more() -> None:
    table = code_table(100_000, 128)
    state = RowAdam([table], lr=0.1).state[table.weight]
    held = sum(value.numel() * value.element_size() for value in state.values())
    assert held < 2.02 * table.weight.numel() * 4


def test_betas_whose_moves_would_not_die_out_are_refused() -> None:
    with pytest.raises(AssertionError, match="die out"):
        RowAdam([code_table(2, 2)], lr=0.1, betas=(0.9999, 0.9))
