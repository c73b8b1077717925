"""Training in fp16, where the device has no bf16: losses are scaled, overflows skipped, the scale kept."""

from pathlib import Path

import pytest
import torch

from helpers import IMAGES, Repeated, paired_data
from indexes import SMALL
from test_methods import CASES, Case
from unbraid.core.config import RunConfig, TrainConfig
from unbraid.core.device import precision_on
from unbraid.methods.iiae import IIAE
from unbraid.model.log import Log
from unbraid.model.run import Run
from unbraid.model.saved import Position
from unbraid.training.loop import fit, loss_scaler
from unbraid.training.step import Checks, NonFiniteLoss, apply, gradients, train_step

HALF = precision_on(torch.device("cpu"), "fp16")


@pytest.mark.parametrize("case", [CASES[name] for name in ("iiae-spatial", "lord", "cddn", "cyclegan")])
def test_a_step_is_near_that_of_float32(case: Case) -> None:
    after = []
    for precision in (precision_on(torch.device("cpu"), "fp32"), HALF):
        method, optimisers, clock = case.first()
        checks = Checks(scaler=loss_scaler(precision, None))
        if checks.scaler:
            checks.scaler.load_state_dict({**checks.scaler.state_dict(), "scale": 16.0})  # with which nothing overflows
        torch.manual_seed(1)
        train_step(method, optimisers, Repeated(case.batch()), clock, precision.autocast(), checks=checks)
        after.append(torch.cat([p.detach().flatten() for p in method.parameters()]))
    start = torch.cat([p.detach().flatten() for p in case.build().parameters()])
    plain, half = (one - start for one in after)
    assert torch.cosine_similarity(plain, half, dim=0) > 0.7  # Adam's first step shows signs alone


def test_a_player_whose_gradient_overflows_stays_and_the_scale_is_halved() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimiser = torch.optim.SGD([weight], lr=0.1)
    checks = Checks(scaler=torch.amp.GradScaler("cpu", init_scale=4.0))
    assert checks.scaler
    for power, wanted, scale in ((0.5, 1.0, 2.0), (1.0, 0.9, 2.0)):  # a root's slope at 0 is infinite
        team = {"player": optimiser}
        apply(team, gradients(team, (weight - 1).pow(power).sum(), 0, retain=False, checks=checks), checks=checks)
        checks.scaler.update()
        assert weight.tolist() == pytest.approx([wanted, wanted])
        assert checks.scaler.get_scale() == scale


def test_what_overflows_at_every_scale_is_an_error() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    checks = Checks(scaler=torch.amp.GradScaler("cpu", init_scale=2.0**-10))
    team = {"player": torch.optim.SGD([weight], lr=0.1)}
    with pytest.raises(NonFiniteLoss, match="gradient of player"):
        gradients(team, (weight - 1).sqrt().sum(), 0, retain=False, checks=checks)


def test_a_run_goes_on_with_its_scale(tmp_path: Path) -> None:
    config = TrainConfig(steps=2, batch=4, precision="fp16", evaluate_every=2)
    run = Run.open(tmp_path / "run", "iiae", RunConfig(SMALL, train=config))
    torch.manual_seed(0)
    fit(run, IIAE(IMAGES, SMALL), paired_data(IMAGES), Log(run.path, quiet=True))
    state = run.load_state()
    assert state
    position = Position(**state["position"])
    assert position.scale > 0
    scaler = loss_scaler(HALF, position)
    assert scaler
    assert scaler.get_scale() == position.scale
