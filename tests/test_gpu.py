"""Everything runs on a GPU: steps, hooks of optimisers, resuming, measures and answers, on one that isn't there."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from helpers import Repeated, random_data, subject_of
from pretend import GPU, Places, WrongDevice, pretend_gpu
from test_methods import CASES, Case
from unbraid.core.method import Clock
from unbraid.core.types import DOMAINS, Paired
from unbraid.evaluation.measures import MEASURES
from unbraid.evaluation.metrics.images import Lpips
from unbraid.evaluation.networks import PerceptualNetworks
from unbraid.evaluation.subject import Subject
from unbraid.model.codes import code_space
from unbraid.model.restore import load_average, load_optimiser
from unbraid.model.trained import Trained
from unbraid.nn.pretrained.perceptual import CONVOLUTIONS, Vgg16
from unbraid.nn.tables import RowAdam, code_table
from unbraid.training.average import Average
from unbraid.training.batches import DeviceBatches
from unbraid.training.loop import checks_later, train_step
from unbraid.training.step import Checks

EACH = {case.method: case for case in reversed(CASES.values())}
"""A case of each method."""
ALONE = ("cddn-separate", "cddn-vectors", "iiae-gan", "iiae-vectors", "lord-semi-amortised-kl", "lord-two-domains")
STEPPED = EACH | {name: CASES[name] for name in (*ALONE, "uncooperative-vectors", "uncooperative-group", "cooperative")}
"""What has networks or losses of its own, too."""


@pytest.fixture
def gpu() -> Iterator[Places]:
    with pretend_gpu() as places:
        yield places


def test_tensors_of_two_devices_do_not_meet(gpu: Places) -> None:
    x, y = torch.randn(3, 4, device="cuda"), torch.randn(3, 4, device="cpu")
    assert (x * 2)[1:].device == x.sum().device == GPU
    assert x.is_cuda
    assert (x + y.to(x.device) + y.sum()).is_cuda  # a single number of the processor may
    assert x[torch.tensor([0, 1], device="cpu")].is_cuda  # and so may an index
    for wrong in (
        lambda: x + y,
        lambda: y + x.sum(),
        lambda: torch.cat([x, y]),
        lambda: x @ y.T,
        lambda: y[torch.tensor([0], device="cuda")],
        lambda: np.asarray(x),
        lambda: x.numpy(),
        lambda: torch.randn(2, device="cuda", generator=torch.Generator()),
        lambda: nn.Linear(4, 2).to("cuda")(y),
        lambda: nn.functional.embedding(torch.tensor([0], device="cpu"), x),
        lambda: x.double(),
    ):
        with pytest.raises(WrongDevice):
            wrong()
    assert x.cpu().numpy().shape == (3, 4)


def test_neither_do_gradients_and_states_of_optimisers(gpu: Places) -> None:
    layer = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to("cuda")
    optimiser = torch.optim.Adam(layer.parameters())
    layer(torch.randn(2, 3, 8, 8, device="cuda")).square().mean().backward()
    optimiser.step()
    assert all(p.grad is not None and p.grad.is_cuda for p in layer.parameters())
    assert all(state["exp_avg"].is_cuda for state in optimiser.state.values())
    for state in optimiser.state.values():
        state["exp_avg"] = state["exp_avg"].cpu()
    with pytest.raises(WrongDevice):
        optimiser.step()


@pytest.mark.parametrize("name", ["last", "rates"])
def test_a_state_of_tables_left_on_the_processor_is_found(name: str, gpu: Places) -> None:
    table = code_table(5, 2).to("cuda")
    optimiser = RowAdam([table], lr=0.1)
    optimiser.state[table.weight][name] = optimiser.state[table.weight][name].cpu()

    def trains() -> None:
        for row in (1, 1, 2, 1):
            table(torch.tensor([row], device="cuda")).sum().backward()
            optimiser.step()
            optimiser.zero_grad()

    with pytest.raises(WrongDevice):
        trains()


@pytest.mark.parametrize("case", STEPPED.values(), ids=STEPPED)
def test_a_method_trains(case: Case, gpu: Places) -> None:
    method = case.build().to("cuda")
    method.prepare()
    for stage in method.stages():
        optimisers = method.optimisers(stage.name)
        batches = DeviceBatches(Repeated(case.batch()), GPU)
        average, later = Average(method, 0.9, None), checks_later(GPU, optimisers)
        assert later
        checks = Checks(device=GPU, later=later)
        for step in range(2):
            clock = Clock(step, 0.5, stage.name)
            terms = train_step(method, optimisers, batches, clock, gradient_norms={}, checks=checks)
            average.update()
            assert all(value.is_cuda for value in (*terms.values(), *method.diagnostics.values()))
        with average.applied():
            assert all(value.is_cuda for value in method.state_dict().values())
        for optimiser in optimisers.values():
            if isinstance(optimiser, RowAdam):
                optimiser.finish()


def states(method: Any, optimisers: Any, average: Average, device: str) -> dict[str, Any]:
    """A checkpoint's content as it is read: on the processor, wherever it was written."""
    saved = {
        "method": method.state_dict(),
        "optimisers": {name: optimiser.state_dict() for name, optimiser in optimisers.items()},
        "average": average.state(),
    }
    return tree_map_only(torch.Tensor, lambda x: x.detach().cpu().clone(), copy.copy(saved))


@pytest.mark.parametrize("case", EACH.values(), ids=EACH)
@pytest.mark.parametrize("way", [("cpu", "cuda"), ("cuda", "cpu")], ids=["to", "from"])
def test_a_run_goes_on_on_another_device(case: Case, way: tuple[str, str], gpu: Places, tmp_path: Any) -> None:
    before: dict[str, Any] | None = None
    for device in way:
        method = case.build().to(device)
        stage = method.stages()[0]
        optimisers = method.optimisers(stage.name)
        average = Average(method, 0.9, None)
        if before:
            method.load_state_dict(before["method"])
            for name, optimiser in optimisers.items():
                load_optimiser(optimiser, before["optimisers"][name], tmp_path)
            average = Average(method, 0.9, load_average(method, before["average"], tmp_path))
        batches = DeviceBatches(Repeated(case.batch()), torch.device(device))
        train_step(method, optimisers, batches, Clock(1, 0.5, stage.name))
        average.update()
        before = states(method, optimisers, average, device)


@pytest.fixture(scope="module")
def networks() -> PerceptualNetworks:
    """LPIPS and VGG16 with drawn weights."""
    torch.manual_seed(0)
    weights = {
        network: {
            f"features.{layer}.{part}": torch.rand(shape if part == "weight" else shape[:1]) / 100
            for layer, (out, channels, size) in layers.items()
            for part, shape in (("weight", (out, channels, size, size)), ("bias", (out,)))
        }
        for network, layers in CONVOLUTIONS.items()
    }
    return PerceptualNetworks(Lpips(weights["alexnet"]), Vgg16(weights["vgg16"]))


def subject(case: Case, networks: PerceptualNetworks) -> Subject:
    data = random_data(case.spec, case.needs)
    method = case.build().eval().to("cuda")
    pairs = data.train.pairs() if case.needs is Paired and method.as_disentangler() else None
    space = code_space(method, pairs) if pairs else None
    distance = "cosine" if space else "euclidean"
    model = Trained(method, space, case.method, 0)
    return subject_of(model, data.test, data, distance=distance, networks=networks.to(GPU), limit=4)


@pytest.mark.parametrize("name", ["iiae", "cyclegan", "lord"])
def test_everything_is_measured_there(name: str, networks: PerceptualNetworks, gpu: Places) -> None:
    of = subject(EACH[name], networks)
    assert of.device == GPU
    for measure in MEASURES:
        if measure.applies(of) is None:
            measure.compute(of)
            if measure.watches(of):
                measure.watch(of)


@pytest.mark.parametrize("case", EACH.values(), ids=EACH)
def test_a_model_answers_there_and_gives_tensors_of_the_processor(case: Case, gpu: Places) -> None:
    method = case.build().eval().to("cuda")
    model = Trained(method, None, case.method, 0)
    assert model.device == GPU
    batch = case.batch(3)
    given = {"a": batch.x, "b": batch.x} if case.spec.classes else {"a": batch.a, "b": batch.b}
    answers: list[Any] = []
    if model.translator() and not case.spec.classes:
        answers += [model.translate(given["a"], "a", "b", samples=2)]
        if model.exclusive_size("b"):
            answers += [
                model.translate(given["b"], "b", "a"),
                model.translate(given["a"], "a", "b", like=given["b"][:1]),
            ]
    if model.disentangler():
        for domain in DOMAINS if not case.spec.classes else ("a",):
            codes = model.encode(given[domain], domain)
            answers += [codes.shared, codes.exclusive, model.decode(codes, domain)]
            answers += [model.interpolate(given[domain][:1], given[domain][1:2], "shared", domain, steps=3)]
            if model.exclusive_size(domain):
                answers += [model.analogy(given[domain][:2], given[domain][1:], domain)]
    assert answers
    assert not any(x.is_cuda for x in answers)
