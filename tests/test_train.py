"""The loop: train_step, gradient norms, averages, losses that are not finite, and a user who stops."""

import contextlib
import inspect
import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from helpers import IMAGES, Repeated, paired_data
from unbraid.core import memory
from unbraid.core.config import RunConfig, TrainConfig
from unbraid.core.method import Clock, Method, Stage, Update
from unbraid.core.types import Paired, UserError
from unbraid.data.batches import Batches
from unbraid.evaluation.validation import validate
from unbraid.methods.iiae import IIAE, IIAEConfig
from unbraid.model.log import Log, read_log
from unbraid.model.run import Run, load_model
from unbraid.model.saved import Position
from unbraid.training import loop as train
from unbraid.training.average import Average
from unbraid.training.loop import Interrupted, Length, fit, step_seed
from unbraid.training.step import NonFiniteLoss, train_step

SMALL = IIAEConfig(widths=(8,), decoder_widths=(8,), map_size=4, shared=4)


class Game(Method[Paired]):
    """Two players: `left` minimises (l - r)^2, then `right` minimises (r + l)^2 through l, which must not move."""

    needs = Paired
    config_type: ClassVar[type] = dict

    def __init__(self, bad_at: int = -1) -> None:
        super().__init__(IMAGES, {})
        self.left, self.right = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(3.0))
        self.bad_at = bad_at

    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        return {"left": SGD([self.left], 0.25), "right": SGD([self.right], 0.25)}

    def updates(self, batches: Iterator[Paired], clock: Clock) -> Iterator[Update]:
        yield {"left": {"towards": (self.left - self.right) ** 2}}
        factor = float("nan") if clock.step == self.bad_at else 1.0
        yield {"right": {"away": factor * (self.right + self.left) ** 2}}


def test_a_turn_sees_what_the_turn_before_it_did() -> None:
    game = Game()
    losses = train_step(game, game.optimisers(""), Repeated(None), Clock(0, 0))
    assert losses["towards"] == 4
    assert game.left == 2  # 1 - .25 * 2 * (1 - 3)
    assert losses["away"] == 25
    assert game.right == 0.5  # 3 - .25 * 2 * (3 + 2)


class Products(Game):
    """As Game, by matrix products, which autocast computes with copies of the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.ones(1, 1))

    def updates(self, batches: Iterator[Paired], clock: Clock) -> Iterator[Update]:
        for name in ("before", "after"):
            yield {"left": {name: (torch.ones(1, 1) @ self.left).sum().float()}}


def test_a_turn_in_bf16_sees_what_the_turn_before_it_did() -> None:
    game = Products()
    losses = train_step(game, game.optimisers(""), Repeated(None), Clock(0, 0), torch.autocast("cpu", torch.bfloat16))
    assert losses == {"before": 1, "after": 0.75}


class Shared(Game):
    """Both players own both parameters."""

    def optimisers(self, stage: str) -> dict[str, Optimizer]:
        return {"one": SGD(self.parameters(), 0.25), "two": SGD(self.parameters(), 0.5)}

    def updates(self, batches: Iterator[Paired], clock: Clock) -> Iterator[Update]:
        yield {"one": {"square": self.left**2}, "two": {"product": self.left * self.right}}


def test_players_of_one_parameter_each_move_it_by_their_own_gradient_of_where_the_update_began() -> None:
    game = Shared()
    train_step(game, game.optimisers(""), Repeated(None), Clock(0, 0))
    assert game.left == 1 - 0.25 * 2 - 0.5 * 3
    assert game.right == 3 - 0.5 * 1


class Diagnosed(IIAE):
    """Logs the step, and warns of steps over 100."""

    def updates(self, batches: Iterator[Paired], clock: Clock) -> Iterator[Update]:
        self.diagnostics["step"] = torch.tensor(float(clock.step))
        yield from super().updates(batches, clock)

    def diagnose(self, diagnostics: dict[str, float]) -> list[str]:
        return ["steps were many"] if diagnostics["step"] > 100 else []


def test_diagnostics_are_logged_and_a_lasting_warning_is_shown_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unbraid.training.loop.LOG_EVERY", 10)
    run, _ = iiae_run(tmp_path / "run", steps=230, evaluate_every=1000)
    fit(run, Diagnosed(IMAGES, SMALL), paired_data(IMAGES), Log(run.path, quiet=True))
    rows = read_log(run.path / "log.jsonl")
    diagnostics = {row["step"]: row["diagnostics"] for row in rows if "diagnostics" in row}
    assert diagnostics[30]["step"] == 24.5  # the mean of 20 to 29
    assert diagnostics[30]["gradient norm, model"] > 0
    assert all("step" not in row["losses"] for row in rows if "losses" in row)
    # the first line over 100 is that of steps 100 to 109, at 110; the tenth comes at 200
    warned = [(row["step"], row["event"]) for row in rows if "Warning" in row.get("event", "")]
    assert warned == [(200, "Warning: for 100 steps steps were many")]


def test_a_loss_that_is_not_finite_is_named_and_nobody_moves() -> None:
    game = Game(bad_at=0)
    with pytest.raises(NonFiniteLoss, match="away = nan"):
        train_step(game, game.optimisers(""), Repeated(None), Clock(0, 0))
    assert game.right == 3


class Steep(Game):
    """The loss of `right` is 0 and its gradient infinite."""

    def updates(self, batches: Iterator[Paired], clock: Clock) -> Iterator[Update]:
        yield {"left": {"towards": (self.left - self.right) ** 2}, "right": {"steep": (self.right - 3).sqrt()}}


def test_a_gradient_that_is_not_finite_names_the_player_and_nobody_moves() -> None:
    game = Steep()
    with pytest.raises(NonFiniteLoss, match="Step 7: the gradient of right is no longer finite"):
        train_step(game, game.optimisers(""), Repeated(None), Clock(7, 0))
    assert (game.left, game.right) == (1, 3)


def test_train_step_can_be_held_in_a_head() -> None:
    assert len(inspect.getsource(train_step).splitlines()) <= 30


def test_a_method_that_yields_inside_no_grad_is_caught() -> None:
    class Leaky(Game):
        def updates(self, batches: Iterator[Paired], clock: Clock) -> Iterator[Update]:
            yield {"left": {"towards": (self.left - self.right) ** 2}}
            with torch.no_grad():
                yield {}

    game = Leaky()
    with pytest.raises(AssertionError, match="no_grad"):
        train_step(game, game.optimisers(""), Repeated(None), Clock(0, 0))


def iiae_run(folder: Path, **train: Any) -> tuple[Run, IIAE]:
    values = {"steps": 8, "batch": 4, "evaluate_every": 4, "precision": "fp32", **train}
    run = Run.open(folder, "iiae", RunConfig(SMALL, train=TrainConfig(**values)))
    torch.manual_seed(0)
    return run, IIAE(IMAGES, SMALL)


def test_a_run_leaves_a_model_a_log_pictures_and_a_state(tmp_path: Path) -> None:
    run, method = iiae_run(tmp_path / "run")
    position = fit(run, method, paired_data(IMAGES), Log(run.path, quiet=True))
    assert position.step == 8
    assert position.best_step in (4, 8)
    assert {p.name for p in run.path.iterdir()} == {
        "config.json",
        "log.jsonl",
        "model.safetensors",
        "samples",
        "state.pt",
    }
    assert sorted(p.name for p in (run.path / "samples").iterdir()) == ["0-0000004.png", "0-0000008.png"]
    rows = read_log(run.path / "log.jsonl")
    assert [row["step"] for row in rows if "validation" in row] == [4, 8]


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    run, method = iiae_run(tmp_path / "run")
    fit(run, method, paired_data(IMAGES), Log(run.path, quiet=True))
    before = (run.path / "state.pt").read_bytes()
    run, method = iiae_run(tmp_path / "run")
    assert fit(run, method, paired_data(IMAGES), Log(run.path, quiet=True)).step == 8
    assert (run.path / "state.pt").read_bytes() == before


def test_a_run_needs_a_length(tmp_path: Path) -> None:
    run, method = iiae_run(tmp_path / "run", steps=None)
    with pytest.raises(UserError, match="How long"):
        fit(run, method, paired_data(IMAGES), Log(run.path, quiet=True))


def test_a_non_finite_loss_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    run, method = iiae_run(tmp_path / "run")
    data = paired_data(IMAGES)
    fit(run, method, data, Log(run.path, quiet=True))
    good = (run.path / "state.pt").read_bytes()
    config = run.path / "config.json"
    config.write_text(config.read_text().replace('"steps": 8', '"steps": 12'))
    run, method = iiae_run(tmp_path / "run", steps=12)
    object.__setattr__(method, "updates", lambda batches, clock: iter([{"model": {"kl": torch.tensor(float("inf"))}}]))
    with pytest.raises(NonFiniteLoss, match=r"kl = inf.*lower --method.rate"):
        fit(run, method, data, Log(run.path, quiet=True))
    assert (run.path / "state.pt").read_bytes() == good


class SteepAtLast(IIAE):
    """From step 6 on its loss is finite and its gradient is not."""

    def updates(self, batches: Iterator[Paired], clock: Clock) -> Iterator[Update]:
        for update in super().updates(batches, clock):
            steep = (next(self.parameters()).sum() * 0).sqrt()
            yield {"model": {**update["model"], "steep": steep} if clock.step >= 6 else update["model"]}


def test_a_gradient_that_is_not_finite_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    run, _ = iiae_run(tmp_path / "run")
    with pytest.raises(NonFiniteLoss, match=r"Step 6: the gradient of model is no longer finite.*lower --method.rate"):
        fit(run, SteepAtLast(IMAGES, SMALL), paired_data(IMAGES), Log(run.path, quiet=True))
    state = run.load_state()
    assert state is not None
    assert state["position"]["step"] == 4


def test_a_weight_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    run, method = iiae_run(tmp_path / "run")
    position = fit(run, method, paired_data(IMAGES), Log(run.path, quiet=True))
    good = (run.path / "state.pt").read_bytes()
    with torch.no_grad():
        method.a.to_image.weight[0, 0, 0, 0] = float("nan")  # pyright: ignore[reportAttributeAccessIssue, reportIndexIssue]
    with pytest.raises(UserError, match=r"a\.to_image\.weight is no longer finite"):
        run.save_position(method, {}, position, None)
    assert (run.path / "state.pt").read_bytes() == good


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_asks_to_stop_saves_and_the_same_run_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    run, method = iiae_run(tmp_path / "run", steps=100_000, evaluate_every=100_000)

    def interrupt() -> None:
        while not (run.path / "log.jsonl").exists():
            time.sleep(0.01)
        time.sleep(0.3)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(Interrupted):
        fit(run, method, paired_data(IMAGES), Log(run.path, quiet=True))
    thread.join()
    state = run.load_state()
    assert state is not None
    assert state["position"]["step"] > 0
    assert all(torch.equal(value, state["method"][name]) for name, value in method.state_dict().items())


def test_nohup_is_respected(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run, method = iiae_run(tmp_path / "run")
        log = Log(run.path, quiet=True)
        log.progress = lambda *rest: os.kill(os.getpid(), signal.SIGHUP)  # pyright: ignore[reportAttributeAccessIssue]
        assert fit(run, method, paired_data(IMAGES), log).step == 8
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


class TwoStages(IIAE):
    """Trains a quarter of the time in one stage, and then in another."""

    def stages(self) -> list[Stage]:
        return [Stage("first", 0.25), Stage("second", 0.75)]


def test_progress_counts_the_whole_run(tmp_path: Path) -> None:
    run, _ = iiae_run(tmp_path / "run", steps=16, evaluate_every=100)
    log, seen = Log(run.path, quiet=True), []
    log.progress = lambda position, done, *rest: seen.append(done)  # pyright: ignore[reportAttributeAccessIssue]
    fit(run, TwoStages(IMAGES, SMALL), paired_data(IMAGES), log)
    assert seen == [step / 16 for step in range(1, 17)]


def test_the_time_left_follows_from_the_speed_of_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log, clock = Log(tmp_path), iter([100.0, 500.0, 600.0, 700.0, 740.0, 780.0, 820.0])
    monkeypatch.setattr("unbraid.model.log.time.monotonic", lambda: next(clock))
    log.progress(Position(stage=0, step=1), 0.01, 4, {})
    log.progress(Position(stage=1, step=1), 0.5, 4, {})
    log.progress(Position(stage=1, step=2), 0.75, 4, {})  # a quarter in 100 s
    assert "1:40 left" in capsys.readouterr().err
    for step, whole in ((2, False), (3, False), (4, True), (5, True)):  # an eighth in 40 s, and then as much in 40 s
        log.progress(Position(stage=2, step=step), step / 8, 4, {}, whole)
    found = re.findall(r"second  (.*) left", capsys.readouterr().err)
    assert found == ["?", "over 3:20", "?", "2:00"]


def test_lengths_end_at_whatever_comes_first() -> None:
    length = Length.of(TrainConfig(steps=100, epochs=2, batch=10), Stage(), items=200)
    assert length.clock(20, 0).progress == 0.5  # 2 epochs are 40 steps
    length = Length.of(TrainConfig(minutes=2, steps=100), Stage(share=0.5), items=10)
    assert length.clock(10, 30).progress == 0.5  # half of the run's two minutes is 60 s
    assert length.clock(10, 30).step == 10


def test_the_average_starts_near_the_weights_and_comes_to_its_decay() -> None:
    layer = nn.Linear(1, 1)
    average = Average(layer, 0.9, None)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.fill_(0.0)
    for _ in range(200):
        average.update()
    with average.applied():
        torch.testing.assert_close(layer.weight, torch.ones(1, 1))
    with torch.no_grad():
        layer.weight.fill_(2.0)
    average.update()
    with average.applied():
        torch.testing.assert_close(layer.weight, torch.full((1, 1), 1.1))
    assert layer.weight == 2


def test_the_average_has_the_statistics_that_its_weights_give() -> None:
    """Under fixed weights the averages of batch-norm's running mean and variance are these themselves."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average, x = Average(network, 0.9, None), 5 + 3 * torch.randn(64, 2)
    for _ in range(300):
        network(x)
        average.update()
    expected = network.eval()(x)
    with average.applied():
        torch.testing.assert_close(network(x), expected)


def test_the_average_is_what_is_measured_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, method = iiae_run(tmp_path / "run", average=0.9, evaluate_every=100)
    measured: dict[str, torch.Tensor] = {}

    def remember(run: Run, method: Method[Any], *rest: Any) -> Any:
        measured.update({name: value.clone() for name, value in method.state_dict().items()})
        return validate(run, method, *rest)

    monkeypatch.setattr(train, "validate", remember)
    fit(run, method, paired_data(IMAGES), Log(run.path, quiet=True))
    state, kept = run.load_state(), load_model(run.path)[0].state_dict()
    assert state is not None
    mean = state["average"]["mean"]
    assert any("running_var" in name for name in mean)
    for name, value in mean.items():
        torch.testing.assert_close(kept[name], value, rtol=0, atol=0)
        torch.testing.assert_close(measured[name], value, rtol=0, atol=0)
    assert not any(torch.equal(kept[name], last) for name, last in method.state_dict().items() if last.ndim > 1)
    torch.testing.assert_close(method.state_dict(), state["method"], rtol=0, atol=0)  # training goes on from its own


def test_seeds_of_steps_differ() -> None:
    seeds = {step_seed(seed, stage, step) for seed in range(3) for stage in range(2) for step in range(50)}
    assert len(seeds) == 300


@pytest.mark.parametrize("seed", [20_000, 2**63 - 1])
def test_large_seeds_are_seeds(seed: int) -> None:
    torch.Generator().manual_seed(step_seed(seed, 1, 5))


def test_drawing_samples_does_not_change_training(tmp_path: Path) -> None:
    states = []
    for every in (1, 8):
        run, method = iiae_run(tmp_path / str(every), evaluate_every=every)
        fit(run, method, paired_data(IMAGES), Log(run.path, quiet=True))
        states.append(method.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_losses_in_the_log_are_means_and_come_back_alike_after_a_stop(tmp_path: Path) -> None:
    run, method = iiae_run(tmp_path / "whole", steps=60, evaluate_every=20)
    fit(run, method, paired_data(IMAGES), Log(run.path, quiet=True))
    (whole,) = [row for row in read_log(run.path / "log.jsonl") if "losses" in row]
    run, method = iiae_run(tmp_path / "broken", steps=40, evaluate_every=20)
    fit(run, method, paired_data(IMAGES), Log(run.path, quiet=True))
    config = run.path / "config.json"
    config.write_text(config.read_text().replace('"steps": 40', '"steps": 60'))
    run, method = iiae_run(tmp_path / "broken", steps=60, evaluate_every=20)
    fit(run, method, paired_data(IMAGES), Log(run.path, quiet=True))
    (again,) = [row for row in read_log(run.path / "log.jsonl") if "losses" in row]
    assert json.dumps(whole["losses"]) == json.dumps(again["losses"])


def test_one_process_trains_a_run(tmp_path: Path) -> None:
    run, _ = iiae_run(tmp_path / "run")
    (run.path / ".state.pt.123.tmp").write_text("half a checkpoint")
    with run.locked():
        assert not (run.path / ".state.pt.123.tmp").exists()
        with pytest.raises(UserError, match="Another process trains"), run.locked():
            pass
    with run.locked():
        pass


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 0}, "--train.batch 0"),
        ({"steps": -1}, "--train.steps -1"),
        ({"evaluate_every": 0}, "--train.evaluate-every 0"),
        ({"average": 1.0}, "--train.average"),
        ({"device": "cuda"}, "no GPU"),
        ({"minutes": float("nan")}, "--train.minutes nan"),
        ({"minutes": float("inf")}, "--train.minutes inf"),
        ({"checkpoint_seconds": float("nan")}, "--train.checkpoint-seconds nan"),
        ({"seed": 2**63}, "--train.seed 9223372036854775808"),
        ({"batch": 10**9}, "--train.batch 1000000000 takes"),
        ({"batch": 10**30}, "--train.batch 10+ takes"),
    ],
)
def test_settings_that_cannot_be_trained_with_are_said(tmp_path: Path, settings: Any, message: str) -> None:
    run, method = iiae_run(tmp_path / "run", **settings)
    with pytest.raises(UserError, match=message):
        fit(run, method, paired_data(IMAGES), Log(run.path, quiet=True))


@pytest.mark.parametrize(("share", "stops", "warns"), [(0.5, True, False), (1.1, False, True), (2.0, False, False)])
def test_a_batch_that_cannot_fit_is_refused_and_one_that_may_not_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    share: float,
    stops: bool,
    warns: bool,
) -> None:
    run, method = iiae_run(tmp_path / "run", steps=1, batch=64)
    data = paired_data(IMAGES)
    batches = Batches(data.train, 64, 0)
    size = memory.saved_bytes(method, batches, Clock(0, 0, method.stages()[0].name), contextlib.nullcontext())
    monkeypatch.setattr(train, "ACTIVATIONS", 10**6)
    for module in (train, memory):
        monkeypatch.setattr(module, "available_memory", lambda device=None: share * size)
    log = Log(run.path)
    if stops:
        with pytest.raises(UserError, match=r"--train.batch 64 takes about .* of memory, where .* are available"):
            fit(run, method, data, log)
    else:
        fit(run, method, data, log)
        assert ("it may not fit" in " ".join(capsys.readouterr().err.split())) == warns
