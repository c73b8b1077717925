"""With translators that are honest, that hide, or that ignore, so that what each measure must say is known."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import helpers
from helpers import Stored, Untrained, random_data
from unbraid.core.method import Method
from unbraid.core.types import Codes, DataSpec, Domain, ImageSpec, Unpaired, VectorSpec
from unbraid.data.items import Rows
from unbraid.data.parts import PairedPart, Part
from unbraid.evaluation.measures.steganography import Steganography, disturbances, rounded
from unbraid.model.trained import Trained

SPEC = DataSpec(ImageSpec(8, 8), ImageSpec(8, 8))
STEP = 2 / 255
"""Of 8 bits."""


class Known(Untrained):
    def __init__(self) -> None:
        super().__init__(SPEC, None)
        self.none = nn.Parameter(torch.zeros(1))


class Hiding(Known):
    """A domain b image is the domain a image without its right half. It hides that half in differences far smaller than
    a step of 8 bits, on top of `left`'s mirror image, and finds it there again."""

    size = STEP / 100

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        left, right = x.chunk(2, 3)
        if src == "a":
            return torch.cat([left, left + right * self.size], 3)
        return torch.cat([left, ((right - left) / self.size).clamp(-1, 1)], 3)


class HidingExactly(Hiding):
    """What it hides comes back to the last digit."""

    size = 2.0**-10


class Splits(Known):
    """a: left and right half. b: the left half twice. Honest, and the right half is what a has alone."""

    def encode(self, x: Tensor, domain: Domain) -> Codes:
        left, right = x.chunk(2, 3)
        return Codes(left, right.flatten(1) if domain == "a" else right.new_zeros(len(x), 0))

    def decode(self, codes: Codes, domain: Domain) -> Tensor:
        right = codes.exclusive.unflatten(1, (3, 8, 4)) if domain == "a" else codes.shared
        return torch.cat([codes.shared, right], 3)

    def prior(self, n: int, domain: Domain, generator: torch.Generator) -> Tensor:
        return torch.zeros(n, 96 if domain == "a" else 0)

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        assert style is not None
        return self.decode(Codes(self.encode(x, src).shared, style), dst)


class Ignores(Splits):
    """Takes the whole image of a for what a has alone, and makes it again of that, whatever is shared."""

    def encode(self, x: Tensor, domain: Domain) -> Codes:
        return Codes(x.chunk(2, 3)[0], x.flatten(1) if domain == "a" else x.new_zeros(len(x), 0))

    def decode(self, codes: Codes, domain: Domain) -> Tensor:
        if domain == "a":
            return codes.exclusive.unflatten(1, (3, 8, 8))
        return torch.cat([codes.shared, codes.shared], 3)

    def prior(self, n: int, domain: Domain, generator: torch.Generator) -> Tensor:
        return torch.zeros(n, 192 if domain == "a" else 0)


class Recombined(Stored):
    def recombined(self, shared: Rows, exclusive: Rows) -> Tensor:
        return torch.cat([self.read(shared, 0).chunk(2, 3)[0], self.read(exclusive, 0).chunk(2, 3)[1]], 3)


@pytest.fixture(name="part")
def make_part() -> PairedPart:
    """b shows the left half of a twice."""
    x = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    left = x.chunk(2, 3)[0]
    rows = np.arange(12)
    b = Stored(torch.cat([left, left], 3), SPEC.b)
    return PairedPart(Recombined(x, SPEC.a), b, rows, [str(i) for i in rows])


def measured(method: Method[Unpaired], part: Part) -> dict[str, dict[str, dict]]:
    return helpers.measured(Steganography(), Trained(method, None, "known", 0), part)


def test_an_honest_cycle_has_no_error_anywhere_and_shows_the_other_item(part: PairedPart) -> None:
    found = measured(Splits().eval(), part)
    assert found["hidden_pair"]["a->b"]["translation"]["distance"] == 0
    assert found["hidden_pair"]["a->b"]["random"]["distance"] > 10
    decoding = found["cheat"]["a->b"]["decoding"]
    assert decoding["matched"]["distance"] == decoding["real"]["distance"] == 0
    assert decoding["composition"]["distance"] == decoding["read out"]["distance"] == 0
    assert decoding["mismatched"]["distance"] > 10  # it doesn't show x


def test_what_is_hidden_in_small_differences_does_not_survive_rounding(part: PairedPart) -> None:
    found = measured(Hiding().eval(), part)
    hidden, cheat = found["hidden_pair"]["a->b"], found["cheat"]["a->b"]
    assert hidden["translation"]["distance"] < 0.1  # looks right,
    assert cheat["decoding"]["matched"]["distance"] < 0.1  # comes back,
    assert cheat["decoding"]["real"]["distance"] > 10  # but not from what looks the same,
    assert cheat["jump"] > 100  # nor from a file
    assert "mismatched" not in cheat["decoding"]  # it has no codes
    assert measured(HidingExactly().eval(), part)["cheat"]["a->b"]["jump"] > 100
    assert measured(Splits().eval(), part)["cheat"]["a->b"]["jump"] < 3
    assert measured(Splits().eval(), part)["cheat"]["b->a"]["sensitivity"]["8 bits"]["distance"] < 0.4


def test_shared_codes_that_are_ignored_show_in_mismatched_decoding(part: PairedPart) -> None:
    decoding = measured(Ignores().eval(), part)["cheat"]["a->b"]["decoding"]
    assert decoding["matched"]["distance"] == decoding["mismatched"]["distance"] == 0
    assert decoding["composition"]["distance"] > 10


def test_without_pairs_nothing_is_said_of_counterparts(part: PairedPart) -> None:
    found = measured(Splits().eval(), part.unpaired())
    assert found.keys() == {"cheat"}
    assert "real" not in found["cheat"]["a->b"]["decoding"]
    assert found["cheat"]["a->b"]["decoding"]["matched"]["distance"] == 0


def test_vectors_are_not_measured() -> None:
    method = Splits()
    method.spec = DataSpec(VectorSpec(2), VectorSpec(1))
    assert measured(method, random_data(method.spec).test) == {}


def test_disturbances() -> None:
    y = torch.linspace(-1, 1, 1000)
    assert (rounded(y) - y).abs().max() <= STEP / 2 + 1e-6
    assert torch.equal(rounded(rounded(y)), rounded(y))
    table = disturbances(0)
    assert torch.equal(table["none"](y), y)
    assert torch.equal(table["noise 0.05"](y), disturbances(0)["noise 0.05"](y))
    for deviation in (0.01, 0.1):
        assert float((table[f"noise {deviation:g}"](y) - y).std()) == pytest.approx(deviation, rel=0.1)
