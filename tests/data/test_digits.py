import numpy as np
import torch
from torch import Tensor

from unbraid.core.data_config import DataConfig
from unbraid.data.items import Recombining
from unbraid.data.loading import load
from unbraid.data.parts import PairedPart
from unbraid.data.sources.digits import ColouredDigits


def colour_of(image: Tensor, part: str) -> Tensor:
    """That of the ground, read in a corner, or that of the digit, read where it is brightest."""
    pixels = image.flatten(1)
    return pixels[:, 0] if part == "ground" else pixels[:, pixels.sum(0).argmax()]


def test_recombined_digits_have_the_shape_of_one_and_the_colour_of_the_other() -> None:
    test = load(DataConfig(set="digits")).test
    assert isinstance(test, PairedPart)
    shared, exclusive = test.rows[:20], test.rows[20:40]
    for items in (test.a, test.b):
        assert isinstance(items, ColouredDigits)
        assert isinstance(items, Recombining)
        made, one, other = items.recombined(shared, exclusive), items.read(shared, 0), items.read(exclusive, 0)
        for x, y, z in zip(made, one, other, strict=True):
            wanted = colour_of(z, items.part)
            if items.part == "ground":
                coloured = (y == y[:, :1, :1]).all(0)
                assert torch.equal(x[:, ~coloured], y[:, ~coloured])
                assert (x[:, coloured] == wanted[:, None]).all()
            else:
                torch.testing.assert_close(colour_of(x, "digit"), wanted, rtol=0, atol=0.03)
                assert torch.equal((x > -1).any(0), (y > -1).any(0))
        assert torch.equal(items.recombined(shared, shared), one)
        assert len(np.unique(made.flatten(1).numpy(), axis=0)) == 20
