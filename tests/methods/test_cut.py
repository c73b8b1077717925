"""The contrastive loss against its equation, and the ways that are trained."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from helpers import IMAGES, VECTORS, Repeated, random_batch
from unbraid.core.method import Clock
from unbraid.core.types import DataSpec, ImageSpec, Unpaired, UserError
from unbraid.methods.cut import CUT, SMALL_IMAGES, CUTConfig, compared_blocks, layer_maps, patch_contrast
from unbraid.nn.residual import ResidualTranslator

SMALL = CUTConfig(width=4, blocks=1, discriminator_width=4, head=8, patches=16)


def test_the_contrast_is_the_cross_entropy_of_the_own_place() -> None:
    random = torch.Generator().manual_seed(0)
    queries, keys = (normalize(torch.randn(2, 5, 3, generator=random), dim=2) for _ in range(2))
    found = patch_contrast(queries, keys, 0.5)
    for item in range(2):
        shares = [
            math.exp(float(queries[item, s] @ keys[item, s]) / 0.5)
            / sum(math.exp(float(queries[item, s] @ keys[item, t]) / 0.5) for t in range(5))
            for s in range(5)
        ]
        assert float(found[item]) == pytest.approx(-sum(map(math.log, shares)) / 5, rel=1e-5)


def test_patches_at_their_own_place_contrast_less_than_shuffled_or_equal_ones() -> None:
    keys = normalize(torch.randn(1, 16, 8, generator=torch.Generator().manual_seed(0)), dim=2)
    same = keys[:, :1].expand(-1, 16, -1)
    assert patch_contrast(keys, keys, 0.07) < 0.5
    assert patch_contrast(same, same, 0.07).item() == pytest.approx(math.log(16), rel=1e-5)
    assert patch_contrast(keys.roll(1, 1), keys, 0.07) > math.log(16)


def test_the_paper_compares_five_layers() -> None:
    assert compared_blocks(9) == (1, 5)
    translator = ResidualTranslator(ImageSpec(32, 32), 3, 4, 9)
    shapes = [tuple(x.shape[1:]) for x in layer_maps(translator, torch.zeros(2, 3, 32, 32))]
    assert shapes == [(3, 32, 32), (8, 16, 16), (16, 8, 8), (16, 8, 8), (16, 8, 8)]


def test_both_ways_are_two_models_with_the_same_terms() -> None:
    torch.manual_seed(0)
    model = CUT(IMAGES, replace(SMALL, towards="both"))
    updates = list(model.updates(Repeated(random_batch(IMAGES, needs=Unpaired)), Clock(0, 0.0)))
    assert updates[0]["translators"].keys() == {f"{n}_{d}" for n in ("generator", "contrast", "identity") for d in "ab"}
    assert updates[1]["discriminators"].keys() == {"discriminator_a", "discriminator_b"}
    torch.stack([*updates[0]["translators"].values()]).sum().backward()
    assert all(p.grad is not None for p in [*model.translators.parameters(), *model.heads.parameters()])


def test_terms_are_weighted_as_the_variant_says() -> None:
    batch = random_batch(IMAGES, needs=Unpaired)
    found = []
    for config in (SMALL, replace(SMALL, contrast=10.0, identity=0.0)):
        torch.manual_seed(0)
        model = CUT(IMAGES, config)
        torch.manual_seed(1)
        found.append(next(model.updates(Repeated(batch), Clock(0, 0.0)))["translators"])
    assert found[0].keys() == {"generator_b", "contrast_b", "identity_b"}
    assert found[1].keys() == {"generator_b", "contrast_b"}
    torch.testing.assert_close(found[1]["contrast_b"], 10 * found[0]["contrast_b"])


def test_vectors_are_refused_and_small_images_have_smaller_networks() -> None:
    with pytest.raises(UserError, match="cut works on images"):
        CUT(VECTORS, SMALL)
    assert CUT.default_config(IMAGES)[0] == SMALL_IMAGES
    large = DataSpec(ImageSpec(256, 256), ImageSpec(256, 256))
    assert CUT.default_config(large) == (CUTConfig(), [])
