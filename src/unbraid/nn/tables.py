"""Tables of codes, one row for each training item or class, and an Adam optimiser that updates only the rows in use.

Shape legend: r rows, d size of a code.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim import Optimizer

from unbraid.core import ranks
from unbraid.core.ranks import Ranks

FORGOTTEN = 256
"""Number of steps for which an unread row keeps moving; its first moment has then decayed by a factor of 2e-12."""
MOST_PAIRS = 4096
"""Number of rows of a gradient that are compared with each other to find those that come several times."""
BLOCK = 4096
"""Number of rows that are brought up to date at a time."""


def code_table(rows: int, size: int) -> nn.Embedding:
    """Returns an embedding with rows drawn from U(-.05, .05) and sparse gradients."""
    table = nn.Embedding(rows, size, sparse=True, _weight=torch.empty(rows, size))
    table.weight.data.uniform_(-0.05, 0.05)
    return table


class RowAdam(Optimizer):
    """Adam (Kingma and Ba 2015) for tables of which a step reads few rows: dense Adam's codes at the cost of the batch.

    Dense Adam moves every row at every step, as its moments decay: an unread row goes on coasting. Here that is made
    up for when the row is read next, before it is read: with k steps missed, the first moment is multiplied by b1^k,
    the second by b2^k, and the row moves by the sum of the k steps it would have taken. So whatever is read is what
    dense Adam would have there, to rounding (in those k steps eps is added to the undecayed root of the second moment,
    and the terms behind FORGOTTEN steps are left out). A step reads, changes and writes the batch's rows only.

    On a GPU nothing waits for the device: rows that come several times are computed as often, with one result. With
    `found_inf` (a tensor, as torch's fused optimisers know it) that isn't 0, a step leaves everything as it is.

    Memory: both moments, each as large as the table, 4 bytes a row, and 4 bytes a step.

    Example:
        >>> table = code_table(1000, 8)
        >>> optimiser = RowAdam([table], lr=1e-3)
        >>> table(torch.tensor([3, 5])).square().sum().backward()
        >>> optimiser.step()
    """

    def __init__(
        self,
        tables: Iterable[nn.Embedding],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        tables = list(tables)
        super().__init__([table.weight for table in tables], {"lr": lr, "betas": betas, "eps": eps})
        assert betas[0] ** 2 < betas[1], "the moves of an unread row must die out"
        for table in tables:
            device = table.weight.device
            self.state[table.weight] = {
                "now": torch.zeros((), device="cpu"),  # on the CPU, where it is read at each step
                "rates": torch.zeros(1024, device=device),  # of each step: lr, with both bias corrections
                # the step that a row stands at
                "last": torch.zeros(table.num_embeddings, dtype=torch.int32, device=device),
                "first": torch.zeros_like(table.weight),
                "second": torch.zeros_like(table.weight),
            }
        self._hooks = [table.register_forward_pre_hook(self._before_reading) for table in tables]

    def _before_reading(self, table: nn.Module, arguments: tuple[Any, ...]) -> None:
        weight, rows = table.weight, arguments[0].flatten()
        assert isinstance(weight, nn.Parameter)
        self._catch_up(weight, rows.unique() if sizes_are_free(weight) else rows)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `Optimizer.load_state_dict`; steps stay whole numbers. Raises ValueError for the state of other
        tables."""
        super().load_state_dict(state_dict)
        for weight, state in self.state.items():
            state["last"] = state["last"].to(torch.int32)
            state["now"] = state["now"].cpu()
            shapes = [tuple(state[name].shape) for name in ("now", "last", "first", "second")]
            if shapes != [(), (len(weight),), tuple(weight.shape), tuple(weight.shape)]:
                raise ValueError("its tables have other rows")
            if not 0 <= int(state["last"].min()) <= int(state["last"].max()) <= state["now"] <= len(state["rates"]):
                raise ValueError("its rows stand at steps that were never taken")

    def finish(self) -> None:
        """Brings every row up to date and leaves the tables as they are from now on."""
        for weight in self.state:
            for rows in torch.arange(len(weight), device=weight.device).split(BLOCK):
                self._catch_up(weight, rows)
        for hook in self._hooks:
            hook.remove()

    def follow(self, group: Ranks) -> None:
        """Brings up to date the rows that the first rank has read without the others, as measuring does."""
        for weight, state in self.state.items():
            present = (state["last"] == int(state["now"])).byte()
            group.copy_first([present])
            self._catch_up(weight, present.nonzero()[:, 0])

    @torch.no_grad()
    def _catch_up(self, weight: Tensor, rows: Int[Tensor, " r"]) -> None:
        """Takes the steps that these rows have missed, at once."""
        state, group = self.state[weight], self._group(weight)
        now = int(state["now"])
        last = state["last"][rows].long()
        if sizes_are_free(weight):
            rows, last = rows[last < now], last[last < now]
        b1, b2 = group["betas"]
        missed = (now - last)[:, None]
        most = int(missed.max()) if sizes_are_free(weight) and len(rows) else now
        if not (len(rows) and most):
            return
        after = torch.arange(1, min(FORGOTTEN, most) + 1, device=weight.device)
        rates = state["rates"][(last[:, None] + after - 1).clamp(max=now - 1)]
        moves = (rates * (b1 / b2**0.5) ** after).masked_fill(after > missed, 0.0).sum(1, keepdim=True)
        first, second = state["first"][rows], state["second"][rows]
        eps = group["eps"] * (1 - b2 ** last[:, None]).sqrt()
        weight[rows] -= moves * first / (second.sqrt() + eps).clamp(min=1e-30)
        state["first"][rows] = first * b1**missed
        state["second"][rows] = second * b2**missed
        state["last"][rows] = now

    def _group(self, weight: Tensor) -> dict[str, Any]:
        return next(group for group in self.param_groups if any(p is weight for p in group["params"]))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of Adam on the rows that the gradient holds. Rows that were read stand at the present step."""
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                step = int(state["now"]) + 1
                rows, values = _row_gradients(weight)
                if ranks.stepping():  # other ranks have read rows that this one has not
                    self._catch_up(weight, rows)
                if step > len(state["rates"]):
                    state["rates"] = torch.cat([state["rates"], torch.zeros_like(state["rates"])])
                correction = (1 - b2**step) ** 0.5
                rate = group["lr"] / (1 - b1**step)
                first = state["first"][rows].lerp_(values, 1 - b1)
                second = state["second"][rows].mul_(b2).addcmul_(values, values, value=1 - b2)
                moved = weight[rows] - rate * first / (second.sqrt() / correction + group["eps"])
                bad = getattr(self, "found_inf", None)
                for whole, new in ((weight, moved), (state["first"], first), (state["second"], second)):
                    whole[rows] = new if bad is None else torch.where(bad == 0, new, whole[rows])
                state["last"][rows] = step
                state["rates"][step - 1] = rate * correction
                state["now"] += 1


def sizes_are_free(weight: Tensor) -> bool:
    """Returns whether sizes may depend on values: on the CPU. On a GPU that would wait for the device."""
    return weight.device.type == "cpu"


def _row_gradients(weight: Tensor) -> tuple[Int[Tensor, " r"], Float[Tensor, "r d"]]:
    """Returns the rows that the gradient of a table holds, and the gradient of each.

    On a GPU rows may come several times, each time with the whole gradient.
    """
    assert weight.grad is not None
    if sizes_are_free(weight) or weight.grad._nnz() > MOST_PAIRS:
        gradient = weight.grad.coalesce()
        return gradient.indices()[0], gradient.values()
    rows, values = weight.grad._indices()[0], weight.grad._values()
    with torch.autocast(weight.device.type, enabled=False):
        return rows, (rows[:, None] == rows).to(values.dtype) @ values
