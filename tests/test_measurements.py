"""What probes read in codes of pairs, with a method whose codes are the two values of a vector."""

import numpy as np
import torch
from torch import Tensor, nn

from helpers import Stored, Untrained
from unbraid.apply import Trained
from unbraid.data.parts import Data, PairedPart
from unbraid.measurements import probes
from unbraid.types import Codes, DataSpec, Domain, VectorSpec

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
    found = probes(Trained(Values().eval(), None, "values", 0), Data("values", SPEC, part, part, part), None, 0)
    assert found["light from exclusive, a, R^2"]["linear"]["r2"] > 0.99
    assert found["light from shared, a, R^2"]["linear"]["r2"] < 0.1
    assert found["light from shared, a, R^2"]["linear"]["control"] > 0.9
    assert found["light from shared, a, R^2"]["linear"]["conclusive"]
    assert "domain from exclusive" not in found  # b has none
