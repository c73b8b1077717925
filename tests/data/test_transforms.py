"""Transforms of torchvision by name: one draw for a pair, the same again, and nothing unsuitable."""

from pathlib import Path

import numpy as np
import pytest
import torch

from unbraid.core.data_config import DataConfig
from unbraid.core.types import UserError
from unbraid.data.augment import augment
from unbraid.data.loading import load
from unbraid.data.transforms import check_transform, transformed

ROWS = np.arange(4)
NAMES = ("RandomHorizontalFlip", "RandomResizedCrop(scale=(.5, 1))", "ColorJitter(brightness=.5)", "GaussianNoise")


def images(seed: int = 0) -> torch.Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_both_sides_of_a_pair_get_one_draw_and_the_same_again() -> None:
    state = torch.random.get_rng_state()
    one, two = augment((images(), images()), NAMES, 1, 2, ROWS)
    (again,) = augment((images()[2:],), NAMES, 1, 2, ROWS[2:])
    (later,) = augment((images(),), NAMES, 1, 3, ROWS)
    assert torch.equal(one, two)
    assert torch.equal(one[2:], again)
    assert not torch.equal(one, later)
    assert not torch.equal(one, images())
    assert one.shape == (4, 3, 16, 16)
    assert float(one.abs().max()) <= 1
    assert torch.equal(state, torch.random.get_rng_state())  # others' draws are not touched


@pytest.mark.parametrize("text", ["RandomAffine(10, translate=(0.1, 0.1))", "RandomRotation(30)", "RandomErasing(p=1)"])
def test_transforms_that_fit(text: str) -> None:
    for shape in ((3, 16, 16), (1, 8, 12)):
        check_transform(text, shape)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("RandomHorizontalFlop", "has no RandomHorizontalFlop. Did you mean RandomHorizontalFlip"),
        ("Compose([RandomHorizontalFlip()])", "a name with plain values"),
        ("__import__('os').system('true')", "a name with plain values"),
        ("RandomRotation(*[10])", "a name with plain values"),
        ("RandomRotation(10", "a name with plain values"),
        ("RandomRotation", "degrees"),
        ("Normalize([.5, .5, .5], [.1, .1, .1])", "out of the images' range"),
        ("RandomCrop(8)", "shape and kind must stay"),
        ("ToPILImage", "shape and kind must stay|can't take"),
        ("AugMix", "can't take|can't be repeated"),
        ("CutMix(num_classes=2)", "can't take|can't be repeated"),
    ],
)
def test_unsuitable_ones_are_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_transform(text, (3, 16, 16))


def test_one_that_changes_the_size_by_chance_is_refused_when_it_does() -> None:
    x = torch.zeros(3, 16, 16)
    assert transformed(x, "RandomZoomOut(p=.1)", 1).shape == x.shape
    with pytest.raises(UserError, match="shape and kind must stay"):
        transformed(x, "RandomZoomOut(p=.1)", 3)


def test_pairs_of_two_sizes_and_vectors_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "sizes.npz", a=np.zeros((9, 8, 8), np.uint8), b=np.zeros((9, 4, 4), np.uint8))
    np.savez(tmp_path / "vectors.npz", a=np.zeros((9, 8), np.float32), b=np.zeros((9, 8), np.float32))
    for name, words in (("sizes", "which need one size"), ("vectors", "moves images; a has vectors")):
        with pytest.raises(UserError, match=words):
            load(DataConfig(arrays=tmp_path / f"{name}.npz", transforms=("RandomHorizontalFlip",)))
