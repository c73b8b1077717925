"""What probes read in codes of pairs, with a method whose codes are the two values of a vector."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers import Stored, Untrained, measured, subject_of
from unbraid.core.types import Codes, DataSpec, Domain, VectorSpec
from unbraid.data.items import Chosen
from unbraid.data.parts import PairedPart
from unbraid.data.sources.arrays import ArrayVectors
from unbraid.evaluation.measures.leakage import Leakage
from unbraid.evaluation.measures.retrieval import Retrieval
from unbraid.model.trained import Trained

SPEC = DataSpec(VectorSpec(2), VectorSpec(1))


class Values(Untrained):
    """The first value is shared, the second is what a has alone."""

    def __init__(self) -> None:
        super().__init__(SPEC, None)
        self.none = nn.Parameter(torch.zeros(1))

    def encode(self, x: Tensor, domain: Domain) -> Codes:
        return Codes(x[:, :1], x[:, 1:])

    def decode(self, codes: Codes, domain: Domain) -> Tensor:
        return torch.cat([codes.shared, codes.exclusive], 1)

    def prior(self, n: int, domain: Domain, generator: torch.Generator) -> Tensor:
        return torch.zeros(n, 1 if domain == "a" else 0)


def test_factors_of_pairs_are_read_where_they_are() -> None:
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    rows = np.arange(200)
    factors = {"light": 3 * x[:, 1].double().numpy() + 1}
    part = PairedPart(Stored(x, SPEC.a), Stored(x[:, :1], SPEC.b), rows, [str(i) for i in rows], factors=factors)
    found = measured(Leakage(), Trained(Values().eval(), None, "values", 0), part)["probes"]
    assert found["light from exclusive, a, R^2"]["linear"]["r2"] > 0.99
    assert found["light from shared, a, R^2"]["linear"]["r2"] < 0.1
    assert found["light from shared, a, R^2"]["linear"]["control"] > 0.9
    assert found["light from shared, a, R^2"]["linear"]["conclusive"]
    assert "domain from exclusive" not in found  # b has none


class Same(Values):
    """All of an item is shared, in either domain."""

    def __init__(self) -> None:
        Untrained.__init__(self, DataSpec(VectorSpec(3), VectorSpec(3)), None)
        self.none = nn.Parameter(torch.zeros(1))

    def encode(self, x: Tensor, domain: Domain) -> Codes:
        return Codes(x, x)


@pytest.mark.parametrize("rows", [np.tile(np.arange(40), 2), np.arange(40).repeat(3), np.r_[:40, :10]])
@pytest.mark.parametrize("stored", [False, True])
def test_recall_of_codes_and_pixels_counts_each_item_once(rows: np.ndarray, stored: bool) -> None:
    """By rows that are the same, and by arrays with equal items."""
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    spec = VectorSpec(3)
    items = ArrayVectors(x.numpy()[rows], spec) if stored else Chosen(Stored(x, spec), rows)
    part = PairedPart(items, items, np.arange(len(rows)), [str(row) for row in rows], labels=rows % 4)
    model = Trained(Same().eval(), None, "same", 0)
    found = measured(Retrieval(), model, part)
    for key in ("recall", "recall_label"):
        for what in ("shared", "exclusive", "pixels"):
            for way in ("a->b", "b->a"):
                assert [found[key][what][way][k] for k in ("1", "5", "10")] == [100, 100, 100]
                assert found[key][what][way]["interval"]["1"] == [91.238, 100.0]  # of 40
    assert found["union"]["queries"] == {"a->b": 40, "b->a": 40}
    assert set(Retrieval().watch(subject_of(model, part)).figures.values()) == {100}
