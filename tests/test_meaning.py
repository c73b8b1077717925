import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from helpers import Stored, measured
from unbraid.core.method import Method
from unbraid.core.types import DataSpec, Domain, ImageSpec, Unpaired
from unbraid.data.parts import Data, PairedPart, UnpairedPart
from unbraid.evaluation.measures.leakage import _domain_probe as domain_probe
from unbraid.evaluation.measures.semantics import Semantics
from unbraid.evaluation.metrics import attributes as readers
from unbraid.evaluation.networks import NO_NETWORKS, PerceptualNetworks
from unbraid.model.trained import Trained
from unbraid.nn.pretrained.perceptual import Vgg16

SPEC = DataSpec(ImageSpec(32, 32), ImageSpec(32, 32))


class Turning(Method[Unpaired]):
    """Turns colours around, as b has them; or shows the same for everything."""

    needs = Unpaired

    def __init__(self, right: bool) -> None:
        super().__init__(SPEC, None)
        self.right = right
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def optimisers(self, stage: str):
        return {}

    def updates(self, batches, clock):
        yield {}

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        return -x if self.right else torch.ones_like(x)


class EyesOfColour(Vgg16):
    """Stands for VGG16: the mean colours, and nothing."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def forward(self, x: Tensor, count: int = 5) -> list[Tensor]:
        return [x, x, x, pad(x.mean((2, 3)), (0, 509))[:, :, None, None]]


@pytest.fixture(name="data")
def make_data() -> Data:
    """a shows one of three colours, b what it is not; every fourth item's colour isn't known."""
    count = 96
    colour = np.arange(count) % 3
    x = (torch.eye(3)[torch.from_numpy(colour)] * 2 - 1)[:, :, None, None].expand(-1, -1, 32, 32)
    x = x * (0.8 + 0.2 * torch.rand(count, 1, 1, 1, generator=torch.Generator().manual_seed(0)))
    known = np.where(np.arange(count) % 4 == 0, -1, colour)
    names = [str(i) for i in range(count)]
    parts = [
        PairedPart(Stored(x, SPEC.a), Stored(-x, SPEC.b), rows, names, attributes={"colour": known})
        for rows in np.split(np.arange(count), 3)
    ]
    return Data("colours", SPEC, parts[0].unpaired(), parts[1], parts[2])


def networks() -> PerceptualNetworks:
    return PerceptualNetworks(None, EyesOfColour())


def attributes(model: Trained, data: Data, networks: PerceptualNetworks) -> dict[str, Any]:
    return measured(Semantics(), model, data.test, data, networks=networks).get("attributes", {})


def test_translations_that_keep_an_attribute_agree_with_their_inputs(data: Data) -> None:
    found = attributes(Trained(Turning(True).eval(), None, "known", 0), data, networks())
    assert found.keys() == {"a->b", "b->a"}
    colour = found["a->b"]["colour"]
    assert colour["values"] == 3
    assert colour["translations"] == colour["real"] == {"images": 24, "accuracy": 100.0, "balanced": 100.0}
    assert colour["random"]["accuracy"] < 60


def test_translations_that_are_all_alike_do_not(data: Data) -> None:
    found = attributes(Trained(Turning(False).eval(), None, "known", 0), data, networks())
    assert found["a->b"]["colour"]["translations"]["balanced"] == pytest.approx(33.333, abs=0.01)
    assert found["a->b"]["colour"]["real"]["accuracy"] == 100


def test_a_network_reads_what_is_shown_often_without_weights(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MANY", 8)
    monkeypatch.setattr(readers, "STEPS", 40)
    found = attributes(Trained(Turning(True).eval(), None, "known", 0), data, NO_NETWORKS)
    assert found["b->a"]["colour"]["fitted to"] == 24
    assert found["b->a"]["colour"]["translations"] == {"images": 24, "accuracy": 100.0, "balanced": 100.0}


def test_nothing_is_said_without_attributes_on_both_sides_or_without_weights(data: Data) -> None:
    model = Trained(Turning(True).eval(), None, "known", 0)
    assert attributes(model, data, NO_NETWORKS) == {}
    test = data.test.unpaired()  # pyright: ignore[reportAttributeAccessIssue]
    bare = UnpairedPart(test.a, test.b, test.rows_a, test.rows_b, test.names_a, test.names_b, {}, test.attributes_b)
    assert attributes(model, Data("colours", SPEC, data.train, data.val, bare), networks()) == {}


def test_the_domain_probe_says_what_training_said_last(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    rows = [{"stage": 0, "step": 1, "diagnostics": {"domain accuracy, %": value}} for value in (90.0, 60.0)]
    log.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"stage": 0, "step": 2, "losses": {}}]))
    linear = {"accuracy": 55.0, "chance": 50.0, "control": 99.0, "conclusive": True}
    mlp = {"accuracy": 70.0, "chance": 50.0, "control": 80.0, "conclusive": False}
    probes = {"domain from shared": {"linear": linear, "mlp": mlp}}
    found = domain_probe(probes, log)
    read = {"linear": 55.0, "mlp": 70.0, "chance": 50.0, "control": 80.0, "conclusive": False}
    assert found == {**read, "in training": 60.0}
    assert domain_probe({"domain from shared": {"not measured": "no codes"}}, log) == {}
    assert "in training" not in domain_probe(probes, tmp_path / "none")
