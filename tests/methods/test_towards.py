"""Methods that are trained one way, or both."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from helpers import IMAGES
from unbraid.core.method import AnyMethod, Disentangler, Translator
from unbraid.core.types import DOMAINS, UserError, other
from unbraid.methods.cut import CUT, CUTConfig
from unbraid.methods.pix2pix import Pix2Pix, Pix2PixConfig

SMALL = {
    CUT: CUTConfig(width=4, blocks=1, discriminator_width=4, head=8, patches=16),
    Pix2Pix: Pix2PixConfig(width=4, discriminator_width=4),
}


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize(("towards", "sources"), [("b", ("a",)), ("a", ("b",)), ("both", DOMAINS)])
def test_it_translates_the_ways_that_are_trained_and_refuses_the_others(
    kind: type[AnyMethod], towards: str, sources: tuple[str, ...]
) -> None:
    settings: Any = SMALL[kind]
    model = kind(IMAGES, replace(settings, towards=towards)).eval()
    assert isinstance(model, Translator)
    assert not isinstance(model, Disentangler)
    assert model.sources() == sources
    x = torch.zeros(1, 3, 16, 16)
    for source in DOMAINS:
        target = other(source)
        if source in sources:
            assert model.translate(x, source, target).shape == x.shape
        else:
            with pytest.raises(UserError, match="one way only, and this is the other: train another with --method"):
                model.translate(x, source, target)
