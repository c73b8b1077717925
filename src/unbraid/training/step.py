"""One training step, the same for all methods: gradients, checks and moves for each update that a method yields."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from unbraid.core.method import Clock, Method, Terms
from unbraid.core.ranks import SINGLE, Ranks
from unbraid.core.types import UserError

REMEDY = (
    "The last good checkpoint is kept. Try, in another run folder, a lower --method.rate, --train.precision fp32, or a "
    "larger --train.batch"
)
"""End of the message for a loss that is not finite."""

SMALLEST_SCALE = 2.0**-10
"""Scale of losses in fp16 below which a gradient that is not finite is an error: it overflows by itself."""

Move = list[tuple[Tensor, Tensor | None]]
"""Parameters and their gradients."""


class NonFiniteLoss(UserError):
    """A loss or a gradient is infinite or not a number."""


class Check(NamedTuple):
    """A figure that must be finite: the sum of some losses, or the norm of a player's gradient."""

    value: Tensor
    losses: tuple[str, ...] = ()
    player: str = ""


class Reading(NamedTuple):
    """Figures of a step on their way from the device: those of `names`, then those of `checks`."""

    step: int
    names: list[str]
    checks: list[Check]
    figures: Tensor
    event: torch.cuda.Event | None


class Checks:
    """Checks that losses and gradients are finite before players move, on all ranks.

    By default at once, which waits for the device. Or later: then nobody waits; from the first step on that is not
    finite, optimisers leave everything as it is, by torch's `found_inf`, and `take` raises the error when the figures
    of that step have arrived.

    Args:
        ranks: The ranks that train together; gradients are averaged over them.
        device: Device of the losses.
        later: Check later. Optimisers must be fused ones, or those of tables.
        scaler: In fp16, scales losses, so that small gradients don't vanish. A player whose gradient overflows stays
            where it is, and the scale is halved.
    """

    def __init__(
        self,
        ranks: Ranks = SINGLE,
        device: torch.device | None = None,
        later: bool = False,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.ranks, self.later, self.scaler = ranks, later, scaler
        self._readings: list[Reading] = []
        self._checks: list[Check] = []
        self._bad = torch.zeros((), device=device or "cpu")

    def total(self, terms: Terms, step: int) -> Float[Tensor, ""]:
        """Returns the sum of the losses. Raises NonFiniteLoss, which names those that are not finite."""
        loss = torch.stack(list(terms.values())).sum()
        if not self.later and self.ranks.count == 1 and not math.isfinite(loss.detach().item()):
            raise _loss_error(step, {name: term.detach().item() for name, term in terms.items()})
        return loss

    def gradients(
        self, team: Mapping[str, Optimizer], movers: Sequence[Tensor], loss: Tensor, terms: Terms, step: int
    ) -> None:
        """Averages the gradients of a team over ranks, and checks them and, unless `total` has, the loss.

        Raises NonFiniteLoss: the loss of some rank, a player's gradient or its squared norm is not finite. The loss may
        be finite even so, and Adam would turn weights into NaN or stop updating them.

        Args:
            team: Optimisers by player.
            movers: Their parameters.
            loss: Sum of the losses.
            terms: The losses.
            step: Number of the step.
        """
        loss = self.ranks.average_gradients(movers, loss.detach())
        if self.later:
            self._check_later(team, Check(loss, tuple(terms)))
            return
        if self.ranks.count > 1 and not math.isfinite(loss.item()):
            means = torch.stack([term.detach() for term in terms.values()])
            self.ranks.average([means])
            raise _loss_error(step, dict(zip(terms, means.tolist(), strict=True)))
        for who, optimiser in team.items():
            if self.scaler:
                self.scaler.unscale_(optimiser)
                if self.scaler.get_scale() > SMALLEST_SCALE:
                    continue
            if not math.isfinite(gradient_norm(optimiser).item()):
                raise _gradient_error(step, who)

    def move(self, optimiser: Optimizer) -> None:
        """Steps an optimiser, unless its gradient overflowed in fp16."""
        if self.scaler:
            self.scaler.step(optimiser)
        else:
            optimiser.step()

    def moved(self) -> None:
        """Lets the scale of losses in fp16 follow, after all players of an update have moved."""
        if self.scaler:
            self.scaler.update()

    def _check_later(self, team: Mapping[str, Optimizer], loss: Check) -> None:
        checks = [loss, *(Check(gradient_norm(optimiser), player=who) for who, optimiser in team.items())]
        self._checks += checks
        finite = torch.stack([check.value for check in checks]).isfinite().all()
        self._bad.copy_(torch.where(finite, self._bad, 1.0))
        for optimiser in team.values():
            optimiser.found_inf = self._bad  # pyright: ignore[reportAttributeAccessIssue]

    def put(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Sends a step's losses and diagnostics on their way from the device, as means over ranks."""
        checks, self._checks = self._checks, []
        figures = torch.stack([v.detach().float() for v in (*values.values(), *(check.value for check in checks))])
        self.ranks.average([figures])
        event = None
        if self.later and figures.is_cuda:
            figures, event = figures.to("cpu", non_blocking=True), torch.cuda.Event()
            event.record()
        self._readings.append(Reading(step, list(values), checks, figures, event))

    def take(self, wait: bool = False) -> Iterator[dict[str, float]]:
        """Yields losses and diagnostics that have arrived, step by step, or waits for all. Raises NonFiniteLoss."""
        while self._readings and (wait or self._arrived(self._readings[0])):
            step, names, checks, figures, event = self._readings.pop(0)
            if event is not None:
                event.synchronize()
            values = dict(zip(names, (numbers := figures.tolist()), strict=False))
            for check, number in zip(checks, numbers[len(names) :], strict=True):
                if not math.isfinite(number):
                    bad = _gradient_error(step, check.player) if check.player else None
                    raise bad or _loss_error(step, {name: values[name] for name in check.losses})
            yield values

    def _arrived(self, reading: Reading) -> bool:
        return not self.later if reading.event is None else reading.event.query()


def _loss_error(step: int, values: Mapping[str, float]) -> NonFiniteLoss:
    """Returns the error for losses of which some, or the sum, are not finite."""
    bad = ", ".join(f"{name} = {value:g}" for name, value in values.items() if not math.isfinite(value))
    return NonFiniteLoss(f"Step {step}: the loss is no longer finite ({bad or 'the sum of its terms'}). {REMEDY}")


def _gradient_error(step: int, who: str) -> NonFiniteLoss:
    """Returns the error for a player's gradient that is not finite."""
    return NonFiniteLoss(f"Step {step}: the gradient of {who} is no longer finite. {REMEDY}")


def train_step(
    method: Method[Any],
    optimisers: Mapping[str, Optimizer],
    batches: Iterator[Any],
    clock: Clock,
    precision: contextlib.AbstractContextManager[Any] | None = None,
    gradient_norms: dict[str, float] | None = None,
    checks: Checks | None = None,
) -> dict[str, Tensor]:
    """Performs one training step: backward and optimiser steps for each update that the method yields.

    Returns the weighted losses by name, and adds gradient norms by player to `gradient_norms`. Raises NonFiniteLoss
    before an update that is not finite. Gradients of all players of an update are computed before the first of them
    steps.
    """
    losses, checks = dict[str, Tensor](), checks or Checks()
    assert torch.is_grad_enabled(), "a method yielded from inside no_grad"
    with precision or contextlib.nullcontext():
        for update in method.updates(batches, clock):
            totals = [checks.total(terms, clock.step) for terms in update.values()]
            losses.update({name: term.detach() for terms in update.values() for name, term in terms.items()})
            teams = [{who: optimisers[who] for who in ((key,) if isinstance(key, str) else key)} for key in update]
            moves: list[Move] = []
            for team, loss, terms in zip(teams, totals, update.values(), strict=True):
                moves.append(gradients(team, loss, clock.step, len(moves) + 1 < len(teams), terms, checks))
            for team, move in zip(teams, moves, strict=True):
                apply(team, move, gradient_norms, checks)
            checks.moved()
            assert torch.is_grad_enabled(), "a method yielded from inside no_grad"
    return losses


def gradients(
    team: Mapping[str, Optimizer],
    loss: Tensor,
    step: int,
    retain: bool,
    terms: Terms | None = None,
    checks: Checks | None = None,
) -> Move:
    """Returns the gradients of the loss with respect to the team's parameters only; other networks receive none.

    retain: keep the graph for another player's gradients. See `Checks.gradients`.
    """
    movers = [p for optimiser in team.values() for group in optimiser.param_groups for p in group["params"]]
    for parameter in movers:
        parameter.grad = None
    checks = checks or Checks()
    scaled = checks.scaler.scale(loss) if checks.scaler else loss
    scaled.backward(inputs=movers, retain_graph=retain)
    checks.gradients(team, movers, loss, terms or {}, step)
    return [(parameter, parameter.grad) for parameter in movers]


def apply(
    team: Mapping[str, Optimizer],
    move: Move,
    gradient_norms: dict[str, float] | None = None,
    checks: Checks | None = None,
) -> None:
    """Steps the team's optimisers with these gradients. See `train_step`.

    Then clears autocast's cache of bf16 weights, or later turns of the step would use stale ones.
    """
    for parameter, gradient in move:
        parameter.grad = gradient
    for who, optimiser in team.items():
        if gradient_norms is not None:
            gradient_norms[who] = gradient_norm(optimiser).item()
        (checks or Checks()).move(optimiser)
    torch.clear_autocast_cache()


def gradient_norm(optimiser: Optimizer) -> Float[Tensor, ""]:
    """Returns the norm of the gradient of an optimiser's parameters."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    found = [_dense(p.grad).float() for p in parameters if p.grad is not None]
    return get_total_norm(found) if found else torch.zeros((), device=parameters[0].device)


def _dense(gradient: Tensor) -> Tensor:
    """Returns the values of a sparse gradient. On a GPU, where adding up rows that repeat would wait for the device,
    these count by themselves."""
    if not gradient.is_sparse:
        return gradient
    return gradient._values() if gradient.is_cuda else gradient.coalesce().values()
