import pytest

from unbraid.core.types import ImageSpec
from unbraid.data.fit import Fit


@pytest.mark.parametrize(
    ("sizes", "words"),
    [([], ""), ([(16, 16), (100, 100)], ""), ([(1000, 1005)], ""),
     ([(16, 16), (16, 32)], "1 image has another shape than the model's 16 x 16: the middle was kept, and 50 % of 1 "
      "(32 x 16) cut off"),
     ([(64, 16), (16, 16), (16, 32)], "2 of 3 images have another shape than the model's 16 x 16: the middle was kept, "
      "and 75 % of 0 (16 x 64) at most cut off")],
)  # fmt: skip
def test_what_is_cut_off_is_counted(sizes: list[tuple[int, int]], words: str) -> None:
    fit = Fit(ImageSpec(16, 16))
    for name, (height, width) in enumerate(sizes):
        fit.add(str(name), height, width)
    assert str(fit) == words
