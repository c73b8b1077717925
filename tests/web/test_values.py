import math
from typing import Any

import pytest

from unbraid.core.types import UserError
from unbraid.web.values import one_of, several, share, whole


@pytest.mark.parametrize(("value", "number"), [(3, 3), (3.0, 3), ("3", 3), (" -1 ", -1)])
def test_whole_numbers(value: Any, number: int) -> None:
    assert whole(value, "Seed", -1, 10) == number


@pytest.mark.parametrize("value", [None, True, 3.5, math.nan, math.inf, "x", "3.5", [], {}, 11, -2, "9" * 50, 1e300])
def test_anything_else_is_refused_in_words(value: Any) -> None:
    with pytest.raises(UserError, match="Seed is a whole number from -1 to 10"):
        whole(value, "Seed", -1, 10)


def test_shares() -> None:
    assert share("0.25", "Part") == 0.25
    for value in (None, "x", -0.1, 1.1, math.nan, []):
        with pytest.raises(UserError, match="from 0 to 1"):
            share(value, "Part")


def test_several() -> None:
    assert several("0, 5 9,,", "Rows", 3) == [0, 5, 9]
    assert several(None, "Rows", 3) == []
    with pytest.raises(UserError, match="at most 3"):
        several("1 2 3 4", "Rows", 3)
    with pytest.raises(UserError, match="whole number"):
        several("1, x", "Rows", 3)


def test_one_of() -> None:
    assert one_of("a", "Domain", ("a", "b")) == "a"
    with pytest.raises(UserError, match="one of a, b"):
        one_of(["a"], "Domain", ("a", "b"))
