"""The contract that every measure keeps. A new one in MEASURES gets all of it."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from helpers import random_data, subject_of
from test_methods import CASES, Case
from unbraid.core.config import PACKAGED
from unbraid.core.types import UserError
from unbraid.evaluation.card import table
from unbraid.evaluation.evaluate import chosen, measured
from unbraid.evaluation.measure import Measure
from unbraid.evaluation.measures import MEASURES
from unbraid.evaluation.measures.fidelity import FeatureDistances, Fidelity
from unbraid.evaluation.metrics.images import frechet_distance
from unbraid.evaluation.networks import NO_NETWORKS, NamedNetwork
from unbraid.evaluation.subject import Subject
from unbraid.model.trained import Trained
from unbraid.nn.pretrained.inception import Inception
from unbraid.nn.pretrained.teacher import Network

FIRST = {case.method: case for case in reversed(CASES.values())}
"""A case of each method."""


def subject(case: Case, **settings: Any) -> Subject:
    data = random_data(case.spec, case.needs)
    return subject_of(Trained(case.build().eval(), None, case.method, 0), data.test, data, **settings)


def test_each_measure_has_a_name_of_its_own_and_one_line() -> None:
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)
    assert all(measure.says and "\n" not in measure.says for measure in MEASURES)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
@pytest.mark.parametrize("case", FIRST.values(), ids=FIRST)
def test_a_measure_says_why_not_or_the_same_twice_whatever_the_batches(
    measure: Measure[Any], case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = subject(case)
    reason = measure.applies(first)
    if reason is not None:
        assert reason
        return
    state, training = copy.deepcopy(first.model.method.state_dict()), first.model.method.training
    torch.manual_seed(1)
    found = measure.compute(first)
    assert first.model.method.training == training
    assert all(torch.equal(value, state[name]) for name, value in first.model.method.state_dict().items())
    torch.manual_seed(2)  # everything is drawn by the subject's seed
    assert measure.compute(subject(case)) == found
    monkeypatch.setattr("unbraid.model.codes.BATCH", 3)
    assert_near(measure.compute(subject(case)), found)
    assert table(dict(found), [measure]).count("\n") >= sum(len(block.lines) for block in measure.rows(found))


def assert_near(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert_near(value, other[name])
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-2, abs=1e-2)
    else:
        assert one == other


def test_fid_and_kid_are_measured_if_inception_is_there() -> None:
    class Means(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            return (x.float().mean((2, 3)) / 255,)

    measure = Fidelity()
    assert "--inception" in str(measure.applies(subject(FIRST["iiae"])))
    some = subject(FIRST["iiae"], networks=replace(NO_NETWORKS, inception=Inception(Means())))
    assert measure.applies(some) is None
    found = measure.compute(some).get("fidelity", {})["a->b"]
    inception = some.networks.inception
    assert inception is not None
    items, rows = some.part.domain("b")
    made, real = (inception(x) for x in (some.translated("a", some.part.domain("a")[1]), some.read(items, rows)))
    assert found["sample set"]["fid"] == pytest.approx(frechet_distance(made, real), abs=1e-3)
    assert "fid" in table({"fidelity": {"a->b": found}}, [measure])


def test_sets_are_compared_by_a_network_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Means(Network):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.float().mean((2, 3))

    monkeypatch.setattr("unbraid.evaluation.networks.named_teacher", lambda *_: Means())
    measure = FeatureDistances()
    assert "--features timm/NAME" in str(measure.applies(subject(FIRST["iiae"])))
    named = NamedNetwork.find("timm/vit@/somewhere/vit.safetensors", PACKAGED)
    assert named is not None
    some = subject(FIRST["iiae"], networks=replace(NO_NETWORKS, features_of=named).to(torch.device("cpu")))
    assert measure.applies(some) is None
    assert measure.protocol(some) == {"feature_distances": "timm/vit@vit.safetensors"}
    found = measure.compute(some).get("feature_distances", {})["a->b"]
    items, rows = some.part.domain("b")
    made, real = some.translated("a", some.part.domain("a")[1]).mean((2, 3)), some.read(items, rows).mean((2, 3))
    assert found["sample set"]["frechet"] == pytest.approx(frechet_distance(made, real), abs=1e-3)
    assert "kernel" in table({"feature_distances": {"a->b": found}}, [measure])


def test_a_measure_that_does_not_exist_or_apply_is_refused_in_words() -> None:
    some = subject(FIRST["cyclegan"])
    with pytest.raises(UserError, match=r"There is no measure 'retreival'; there are: retrieval, "):
        chosen(some, ["retreival"])
    with pytest.raises(UserError, match=r"retrieval can't be measured of this run: cyclegan has no codes"):
        chosen(some, ["retrieval"])


def test_those_that_are_named_are_computed_in_their_order() -> None:
    some = subject(FIRST["iiae"])
    measures = chosen(some, ["samples", "retrieval"])
    assert [measure.name for measure in measures] == ["retrieval", "samples"]
    keys = measured(some, measures).keys()
    assert {"recall", "diversity"} <= keys
    assert not {"translation", "probes"} & keys
