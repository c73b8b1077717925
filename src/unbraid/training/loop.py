"""The training loop. It is the same for all methods: a method yields losses and the players that minimise them.

Random numbers in step n depend on (seed, stage, n) only, and batches on (seed, n), so a resumed run is identical to an
uninterrupted one, bit for bit (on the CPU, in one process).
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unbraid.core.compiling import FLAG, compile_networks, compiled_step, uncompiled
from unbraid.core.config import TrainConfig
from unbraid.core.deadline import Deadline
from unbraid.core.device import Precision, choose_precision
from unbraid.core.memory import available_memory, format_bytes, require_memory, saved_bytes
from unbraid.core.method import Clock, Method, Stage
from unbraid.core.ranks import SINGLE, Ranks, count
from unbraid.core.streams import handling
from unbraid.core.types import UserError
from unbraid.data.batches import Batches
from unbraid.data.parts import Data
from unbraid.evaluation.validation import validate
from unbraid.model.log import LOG_EVERY, Log
from unbraid.model.restore import load_average, load_optimiser, load_weights, upgrade_state
from unbraid.model.run import Run
from unbraid.model.saved import Position
from unbraid.nn.tables import RowAdam
from unbraid.training.average import Average
from unbraid.training.batches import DeviceBatches
from unbraid.training.patience import is_over, remarks
from unbraid.training.step import Checks, train_step

SEEDS = 2**63
"""Upper bound of seeds in torch and numpy."""
ACTIVATIONS = 500
"""Bytes that networks keep for each byte of their images; below it a batch needs no closer look."""
NEAR = 0.7
"""Share of the available memory from which on the user is warned."""
LASTING = 10
"""Consecutive lines of the log with the same warning before the user is warned."""


class Interrupted(Exception):
    """The user stopped the run, which has been saved."""


def fit(
    run: Run, method: Method[Any], data: Data, log: Log, ranks: Ranks = SINGLE, until: Deadline | None = None
) -> Position:
    """Trains from the run's present state to the end of its length, and saves the best checkpoint in the run.

    Of several ranks the first measures, writes, and looks at the time. Returns the final position.
    See `Experiment.train`.
    """
    config = run.config.train
    check(config, method)
    precision = choose_precision(config)
    method.to(precision.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    state = run.load_state()
    if state:
        state = upgrade_state(state, method.renamed)
    position = Position(**state["position"]) if state else Position()
    if position.stage >= len(method.stages()):
        raise UserError(f"{run.path / 'state.pt'} is damaged: it stands in a stage that {run.method_name} doesn't have")
    ranks.check_same(f"{position.stage} {position.step}", f"What the ranks find in {run.path} is")
    log.resume(position)
    together = f", {ranks.count} ranks" * (ranks.count > 1)
    log.event(position, f"{'going on at' if state else 'starting at'} step {position.step}, {precision}{together}")
    share = config.batch // ranks.count if precision.device.type == "cuda" else config.batch
    if warning := _check_batch(dataclasses.replace(config, batch=share), method, data, precision, position.stage):
        log.event(position, warning)
    if config.compile:
        one = ranks.count == 1
        log.event(position, compile_networks(method, precision.device) if one else f"{FLAG}: not on several ranks")
    with _interrupts() as interrupts:
        for number, stage in enumerate(method.stages()):
            if number < position.stage:
                continue
            if number > position.stage:
                position, state = dataclasses.replace(position, stage=number, step=0, seconds=0.0, waited=0), None
            session = Session(run, method, data, log, stage, precision, state, ranks)
            position = session.train(position, interrupts, until or Deadline())
            session.finish()
    ranks.wait()
    return position


def check(config: TrainConfig, method: Method[Any]) -> None:
    """Checks training settings, memory, and what the method needs besides the data. Raises UserError."""
    if config.steps is None and config.epochs is None and config.minutes is None:
        raise UserError("How long? Give --train.steps, --train.epochs or --train.minutes")
    check_numbers(config)
    if config.batch == 1 and any(isinstance(module, nn.BatchNorm1d) for module in method.modules()):
        raise UserError("--train.batch 1: these networks normalise vectors over the batch; give at least 2")
    item = 4 * (math.prod(method.spec.a.shape) + math.prod(method.spec.b.shape))  # bytes, of float32
    require_memory(config.batch * item, f"--train.batch {config.batch} takes at least", "Give a smaller one")
    method.prepare()


def _check_batch(
    config: TrainConfig, method: Method[Any], data: Data, precision: Precision, stage: int = 0
) -> str | None:
    """Returns a warning if a batch may not fit, by steps of 2 and of 4 items. Raises UserError if it can't."""
    available = available_memory(precision.device)
    item = 4 * (math.prod(method.spec.a.shape) + math.prod(method.spec.b.shape))
    if config.batch * item * ACTIVATIONS < available or config.batch <= 4:
        return None
    clock = Clock(0, 0.0, method.stages()[stage].name)
    two, four = (
        saved_bytes(method, DeviceBatches(Batches(data.train, n, 0), precision.device), clock, precision.autocast())
        for n in (2, 4)
    )
    size = max(0, two + (config.batch - 2) * (four - two) / 2)
    what = f"--train.batch {config.batch} takes about"
    require_memory(size, what, "Give a smaller one", precision.device)
    if size > NEAR * available:
        return f"{what} {format_bytes(size)} of memory, where {format_bytes(available)} are available: it may not fit"
    return None


def check_numbers(config: TrainConfig) -> None:
    """Checks the numbers of training settings. Raises UserError."""
    numbers = {
        "steps": config.steps,
        "epochs": config.epochs,
        "minutes": config.minutes,
        "batch": config.batch,
        "evaluate-every": config.evaluate_every,
        "patience": config.patience,
    }
    for name, value in numbers.items():
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"--train.{name} {value}: it must be more than 0" + " and finite" * (value > 0))
    if math.isnan(config.checkpoint_seconds):
        raise UserError(f"--train.checkpoint-seconds {config.checkpoint_seconds}: it must be a number of seconds")
    Ranks(count=count()).share(config.batch)
    if not 0 <= config.seed < SEEDS:
        raise UserError(f"--train.seed {config.seed}: it must be at least 0 and less than 2^63")
    if not 0 <= config.average < 1:
        raise UserError(f"--train.average {config.average}: it must be at least 0 and less than 1")


class Session:
    """Training of one stage of a run."""

    def __init__(
        self,
        run: Run,
        method: Method[Any],
        data: Data,
        log: Log,
        stage: Stage,
        precision: Precision,
        state: dict[str, Any] | None,
        ranks: Ranks = SINGLE,
    ) -> None:
        self.run, self.method, self.data, self.log = run, method, data, log
        self.stage, self.precision, self.ranks = stage, precision, ranks
        self.optimisers = method.optimisers(stage.name)
        self.rates = {
            name: [group["lr"] for group in optimiser.param_groups] for name, optimiser in self.optimisers.items()
        }
        if state:
            load_weights(method, state["method"], run.path / "state.pt")
            for name, optimiser in self.optimisers.items():
                load_optimiser(optimiser, state["optimisers"].get(name, {}), run.path / "state.pt")
        ranks.copy_first([*method.state_dict().values()])
        scaler = loss_scaler(precision, Position(**state["position"]) if state else None)
        later = scaler is None and checks_later(precision.device, self.optimisers)
        self.checks = Checks(ranks, precision.device, later, scaler)
        self.values: dict[str, float] = {}
        average = load_average(method, state["average"], run.path / "state.pt") if state else None
        self.average = Average(method, run.config.train.average, average)
        self.troubles: dict[str, int] = {}
        self.measuring = 0.0
        """Seconds that the latest measurement took."""

    def train(self, position: Position, interrupts: "Interrupts", until: Deadline) -> Position:
        """Trains until the stage ends: sets learning rates, steps, logs, evaluates and writes checkpoints.

        Args:
            position: Where training stands.
            interrupts: When there is one, training is saved and stops.
            until: When training ends; what it ended is noted there.
        """
        config = self.run.config.train
        length = Length.of(config, self.stage, len(self.data.train))
        balanced, share = self.run.config.data.balanced, self.ranks.share(config.batch)
        batches: Batches[Any] = Batches(
            self.data.train, config.batch, config.seed, self.run.config.data.moves, position.drawn, balanced, share
        )
        gpu = self.precision.device.type == "cuda"
        device_batches = DeviceBatches(batches, self.precision.device, position.drawn, ahead=gpu)
        shares = [stage.share for stage in self.method.stages()]
        end = until.of_stage(shares[position.stage :])
        before, part = (each / sum(shares) for each in (sum(shares[: position.stage]), shares[position.stage]))
        saved, began = time.monotonic(), time.monotonic() - position.seconds
        self.method.train()
        if over := is_over(config, position):
            self.say(position)
        while not over and (clock := length.clock(position.step, position.seconds, self.stage.name)).progress < 1:
            gradient_norms: dict[str, float] | None = {} if position.counted + 1 == LOG_EVERY else None
            losses = self.step(device_batches, clock, position, gradient_norms)
            position = self.after_step(position, gradient_norms, device_batches.drawn, began)
            done = length.clock(position.step, position.seconds).progress
            late = done < 1 and time.monotonic() + self.measuring > end
            measured = position.step % config.evaluate_every == 0 or done >= 1 or late
            latest = {name: self.values[name] for name in losses if name in self.values}  # of a GPU's last but one
            whole = done > self.method.whole_from
            self.log.progress(position, before + part * done, config.batch, latest, whole)
            if measured and self.ranks.first:
                position = self.measure(position, whole)
                over = is_over(config, position) or late
                if late:
                    self.cut(position, clock, length, until)
            due = time.monotonic() - saved > config.checkpoint_seconds
            stop, (measured, due, over, seconds) = self.ranks.agree(
                interrupts.count > 0, measured, due, over, position.seconds
            )
            position = dataclasses.replace(position, seconds=seconds)
            if measured:
                self.follow()
            if measured or due or stop:
                position = self.save(position, wait=bool(stop or over or done >= 1))
                saved = time.monotonic()
                began = saved - position.seconds  # measuring and saving are not training
            if stop:
                self.ranks.wait()
                raise Interrupted(f"stopped at step {position.step}")
        return position

    def say(self, position: Position) -> None:
        """Logs what there is to say of held-out figures that get no better."""
        for text in remarks(self.run.config.train, position):
            self.log.event(position, text)

    def cut(self, position: Position, clock: Clock, length: "Length", until: Deadline) -> None:
        """Notes and logs that the time is over before the length is. See `Deadline`."""
        stages, factor = self.method.stages(), self.method.rate_factor
        until.ended = f"step {position.step}{length.of_steps}{place(stages, position.stage)}"
        rates = [100 * factor(self.stage.name, when) for when in (clock, dataclasses.replace(clock, progress=1.0))]
        fall = f"; learning rates, which fall to {rates[1]:.0f} %, stand at {rates[0]:.0f} %" * (rates[1] < rates[0])
        self.log.event(position, f"The time is over: ended at {until.ended}{fall}")

    def step(
        self, batches: Iterator[Any], clock: Clock, position: Position, gradient_norms: dict[str, float] | None
    ) -> dict[str, Tensor]:
        """Performs one step; returns its losses. See `train_step`."""
        config = self.run.config.train
        self.seed(step_seed(config.seed, position.stage, position.step))
        self.set_rates(clock)
        autocast = self.precision.autocast()
        compiled = compiled_step(self.precision.device) if config.compile else contextlib.nullcontext()
        with compiled, self.ranks.step(config.batch):
            losses = train_step(self.method, self.optimisers, batches, clock, autocast, gradient_norms, self.checks)
        self.average.update()
        self.checks.put(position.step, {**losses, **self.method.diagnostics})
        return losses

    def measure(self, position: Position, whole: bool) -> Position:
        """Measures the model on the validation part. whole: its loss has all its terms; see `Method.whole_from`."""
        began, position = time.monotonic(), self.collect(position, wait=True)
        self.run.check_there()
        with self.average.applied(), uncompiled():
            position = validate(self.run, self.method, self.data, position, self.log)
        self.measuring = time.monotonic() - began
        if not whole:
            return dataclasses.replace(position, best=-1.0, highest=-1.0, waited=0)
        self.say(position)
        return position

    def follow(self) -> None:
        """Brings tables of codes on all ranks to where measuring left the first rank's."""
        for optimiser in self.optimisers.values():
            if isinstance(optimiser, RowAdam) and self.ranks.count > 1:
                optimiser.follow(self.ranks)

    def save(self, position: Position, wait: bool) -> Position:
        """Writes a checkpoint, if this is the first rank; returns the position with all losses on their way."""
        position = self.collect(position, wait=True)
        if self.checks.scaler:
            scale = self.checks.scaler.state_dict()
            position = dataclasses.replace(position, scale=scale["scale"], scale_held=scale["_growth_tracker"])
        if self.ranks.first:
            self.run.save_position(self.method, self.optimisers, position, self.average.state(), wait)
        return position

    def finish(self) -> None:
        """Brings tables of codes up to date, whose rows are otherwise updated when they are read."""
        for optimiser in self.optimisers.values():
            if isinstance(optimiser, RowAdam):
                optimiser.finish()

    def seed(self, seed: int) -> None:
        """Seeds torch as `torch.manual_seed` does, but in 1 us, not 90: without a traceback for each kind of GPU."""
        torch.default_generator.manual_seed(seed)
        if self.precision.device.type == "cuda":
            torch.cuda.manual_seed_all(seed)

    def set_rates(self, clock: Clock) -> None:
        """Sets learning rates to the optimisers' initial ones times the method's factor."""
        factor = self.method.rate_factor(self.stage.name, clock)
        for name, optimiser in self.optimisers.items():
            for group, rate in zip(optimiser.param_groups, self.rates[name], strict=True):
                group["lr"] = rate * factor

    def collect(self, position: Position, wait: bool = False) -> Position:
        """Adds losses and diagnostics that have arrived to the position's sums. Raises NonFiniteLoss."""
        for values in self.checks.take(wait):
            self.values = values
            sums = {name: position.sums.get(name, 0.0) + value for name, value in values.items()}
            position = dataclasses.replace(position, sums=sums)
        return position

    def after_step(
        self,
        position: Position,
        gradient_norms: dict[str, float] | None,
        drawn: int,
        began: float,
    ) -> Position:
        """Returns the position after one more step; given gradient norms, logs mean losses and diagnostics.

        Args:
            position: Position before the step.
            gradient_norms: Gradient norms by player, at steps that are logged.
            drawn: Number of batches drawn so far.
            began: When the stage would have begun without interruptions, by time.monotonic.
        """
        if gradient_norms is not None or self.ranks.count == 1:  # several ranks look at one time
            position = self.collect(position, wait=gradient_norms is not None)
        seconds = time.monotonic() - began
        position = dataclasses.replace(
            position, step=position.step + 1, drawn=drawn, seconds=seconds, counted=position.counted + 1
        )
        if gradient_norms is None:
            return position
        means = {name: value / position.counted for name, value in position.sums.items()}
        diagnostics = {name: value for name, value in means.items() if name in self.method.diagnostics}
        self.log.losses(position, {name: value for name, value in means.items() if name not in diagnostics})
        if diagnostics:
            diagnostics |= {f"gradient norm, {name}": length for name, length in gradient_norms.items()}
            self.log.diagnostics(position, diagnostics)
            self.troubles = {text: self.troubles.get(text, 0) + 1 for text in self.method.diagnose(diagnostics)}
            for text, lines in self.troubles.items():
                if lines == LASTING:
                    self.log.event(position, f"Warning: for {LASTING * LOG_EVERY} steps {text}")
        return dataclasses.replace(position, sums={}, counted=0)


def place(stages: Sequence[Stage], number: int) -> str:
    """Returns " of stage 2 of 2 (encoders)"; nothing where there is one stage."""
    return f" of stage {number + 1} of {len(stages)} ({stages[number].name})" if len(stages) > 1 else ""


def checks_later(device: torch.device, optimisers: Mapping[str, Optimizer]) -> bool:
    """Returns whether losses are looked at later than a step: on a GPU, with optimisers that can then stay."""
    fit = (isinstance(each, RowAdam) or each.defaults.get("fused") for each in optimisers.values())
    return device.type == "cuda" and all(fit)


def loss_scaler(precision: Precision, position: Position | None) -> torch.amp.GradScaler | None:
    """Returns what scales losses in fp16, as it was at a position; None in other precisions."""
    if precision.dtype != torch.float16:
        return None
    scaler = torch.amp.GradScaler(precision.device.type)
    if position and position.scale:
        scaler.load_state_dict({**scaler.state_dict(), "scale": position.scale, "_growth_tracker": position.scale_held})
    return scaler


def step_seed(seed: int, stage: int, step: int) -> int:
    """Returns a seed for a step, unique for each triple of small numbers. See `Position`."""
    return ((seed * 1_000_003 + stage) * 1_000_000_007 + step) % 2**64


@dataclass(frozen=True)
class Length:
    """Length of a stage in steps and seconds; the first to be reached ends it."""

    steps: float
    seconds: float

    @classmethod
    def of(cls, config: TrainConfig, stage: Stage, items: int) -> "Length":
        """Returns the length of a stage for this number of training items. See `Stage`."""
        steps = min(config.steps or math.inf, (config.epochs or math.inf) * items / config.batch)
        return cls(stage.share * steps, stage.share * 60 * (config.minutes or math.inf))

    @property
    def of_steps(self) -> str:
        """Returns " of 500", the steps of the stage; nothing if they aren't counted."""
        return f" of {math.ceil(self.steps):,}" if self.steps < math.inf else ""

    def clock(self, step: int, seconds: float, stage: str = "train") -> Clock:
        """Returns the progress of the stage after so many steps and seconds. See `Clock`."""
        return Clock(step, max(step / self.steps, seconds / self.seconds), stage)


@dataclass
class Interrupts:
    """Number of interrupts by the user."""

    count: int = 0


@contextlib.contextmanager
def _interrupts() -> Iterator[Interrupts]:
    """Counts Ctrl-C, SIGTERM and SIGHUP, after which training stops; a second one stops at once. nohup is respected."""
    interrupts = Interrupts()

    def ask(signum: int, frame: FrameType | None) -> None:
        interrupts.count += 1
        if interrupts.count > 1:
            raise KeyboardInterrupt

    with handling(ask, ("SIGINT", "SIGTERM"), ("SIGHUP",)):
        yield interrupts
