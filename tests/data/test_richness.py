"""The domain that has more to say is found, and said with its reason."""

from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import interpolate

from helpers import Stored
from unbraid.core.types import ImageSpec, VectorSpec
from unbraid.data.parts import PairedPart
from unbraid.data.richness import compressed_bits, directions, more_informative


def images(detail: int, count: int = 30) -> Stored:
    """Smooth images with so many patches to a side."""
    patches = torch.rand(count, 3, detail, detail, generator=torch.Generator().manual_seed(detail)) * 2 - 1
    return Stored(interpolate(patches, (32, 32)), ImageSpec(32, 32))


def part(a: Stored, b: Stored) -> PairedPart:
    rows = np.arange(len(a))
    return PairedPart(a, b, rows, [str(i) for i in rows])


def test_more_detail_is_richer_whichever_side_it_is_on() -> None:
    fine, coarse = images(16), images(2)
    for pairs in (part(fine, coarse), part(fine, coarse).unpaired()):
        found = more_informative(pairs)
        assert (found.informative, found.clear) == ("a", True)
        assert "an item when compressed" in found.reason
        assert "main ways" in found.reason
    assert more_informative(part(coarse, fine)).informative == "b"


def test_equals_are_not_clear() -> None:
    assert not more_informative(part(images(8), images(8))).clear


def test_unequal_numbers_of_items_are_compared() -> None:
    pairs = part(images(16), images(2)).unpaired()
    assert more_informative(replace(pairs, rows_b=np.arange(3))).informative == "a"


def test_a_vector_of_two_values_says_more_than_one_of_one() -> None:
    x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    found = more_informative(part(Stored(x, VectorSpec(2)), Stored(x[:, :1], VectorSpec(1))))
    assert (found.informative, found.clear) == ("a", True)


def test_what_does_not_vary_has_hardly_any_bits_and_one_direction() -> None:
    still = torch.full((5, 3, 16, 16), 0.25)
    assert compressed_bits(still) < 200
    assert directions(still) == 1
    line = torch.linspace(-1, 1, 9)[:, None] * torch.ones(1, 12)
    assert directions(line) == 1
