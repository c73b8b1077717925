"""Compiled networks train as uncompiled ones do.

Steps run in a process of their own, for the checks of annotations in tests can't be compiled. Torch's compiler traces
and differentiates there as ever, and leaves out writing kernels, which takes minutes.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1]))

from helpers import Repeated, paired_data
from test_methods import CASES, Case
from unbraid.core import compiling
from unbraid.core.compiling import compile_networks, compiled_step, networks
from unbraid.core.config import RunConfig, TrainConfig
from unbraid.core.types import UserError
from unbraid.model.log import Log, read_log
from unbraid.model.run import Run
from unbraid.nn.history import Buffer
from unbraid.nn.patch import r1_penalty
from unbraid.training.loop import fit
from unbraid.training.step import train_step

CPU = torch.device("cpu")


def losses(case: Case, compiled: bool) -> list[dict[str, float]]:
    method, optimisers, clock = case.first()
    names = list(method.state_dict())
    if compiled:
        assert compile_networks(method, CPU, "aot_eager") == (
            f"--train.compile: {len(list(networks(method)))} networks are compiled in the first steps, which takes up "
            "to some minutes"
        )
    found = []
    for step in range(2):
        torch.manual_seed(step)
        with compiled_step(CPU) if compiled else contextlib.nullcontext():
            terms = train_step(method, optimisers, Repeated(case.batch()), clock)
        found.append({name: term.item() for name, term in terms.items()})
    assert list(method.state_dict()) == names
    return found


def compare() -> None:
    """Prints the losses of steps uncompiled and compiled, and what is said of a gradient that can't be taken."""
    case = CASES["iiae-vectors"]
    plain, compiled = losses(case, compiled=False), losses(case, compiled=True)
    network, x = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh()), torch.ones(1, 2)
    network.compile(backend="aot_eager")
    r1_penalty(network, x).backward()
    try:
        with compiled_step(CPU):
            (gradient,) = torch.autograd.grad(network(x.requires_grad_()).sum(), x, create_graph=True)
            gradient.sum().backward()
    except UserError as error:
        print(json.dumps([plain, compiled, str(error)]))


def test_losses_are_those_of_uncompiled_networks_and_gradients_of_gradients_need_uncompiled_ones() -> None:
    path = os.pathsep.join(filter(None, (str(Path(compiling.__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    plain, compiled, error = json.loads(done.stdout.splitlines()[-1])
    assert error.startswith("--train.compile: a network can't be compiled")
    for one, other in zip(plain, compiled, strict=True):
        assert other == pytest.approx(one, rel=1e-5, abs=1e-6)


def test_a_run_compiles_says_so_and_goes_on_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case, compiled = CASES["iiae-vectors"], list[torch.nn.Module]()
    monkeypatch.setattr(torch, "compile", lambda function, **settings: function)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda network, **settings: compiled.append(network))
    for steps, on in ((2, True), (3, False)):
        config = RunConfig(case.config, train=TrainConfig(steps=steps, batch=4, precision="fp32", compile=on))
        run = Run.open(tmp_path / "run", "iiae", config, any_length=True)
        log = Log(run.path, quiet=True)
        method = case.build()
        assert fit(run, method, paired_data(case.spec), log).step == steps
        assert len(compiled) == 9
    said = [row["event"] for row in read_log(run.path / "log.jsonl") if "--train.compile" in row.get("event", "")]
    assert said == ["--train.compile: 9 networks are compiled in the first steps, which takes up to some minutes"]


def test_without_a_compiler_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(function: object, **settings: object) -> None:
        raise RuntimeError("backend='inductor' raised:\nNo working C++ compiler found\n\nand more")

    monkeypatch.setattr(torch, "compile", fail)
    method = CASES["iiae-vectors"].build()
    assert compile_networks(method, CPU) == (
        "--train.compile: torch can't compile here, and trains as without it (No working C++ compiler found)"
    )
    assert all(network._compiled_call_impl is None for network in networks(method))


def test_tables_of_codes_and_histories_are_no_networks() -> None:
    for name in ("lord", "cyclegan", "uncooperative"):
        method = CASES[name].build()
        found = {id(each) for network in networks(method) for each in network.modules()}
        left = [each for each in method.modules() if any(True for _ in each.parameters(recurse=False))]
        tables = {each for each in left if isinstance(each, torch.nn.Embedding)}
        assert {each for each in left if id(each) not in found} == tables
        assert not any(isinstance(each, Buffer) for each in networks(method))


if __name__ == "__main__":
    compare()
