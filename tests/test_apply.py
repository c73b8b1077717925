"""A trained model takes what is clearly meant, and says in one line what it can't take."""

import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import IMAGES, VECTORS, random_items, write_png
from indexes import SMALL
from unbraid.core.types import Codes, DataSpec, ImageSpec, UserError
from unbraid.data.images import read_image
from unbraid.methods.iiae import IIAE, IIAEConfig
from unbraid.model import inputs
from unbraid.model.trained import Trained

GREY = DataSpec(ImageSpec(16, 24, 1), ImageSpec(16, 24, 1))


def trained(spec: DataSpec, **settings: Any) -> Trained:
    torch.manual_seed(0)
    config = IIAEConfig(vector_widths=(8, 8)) if spec is VECTORS else SMALL
    return Trained(IIAE(spec, config).eval(), None, "iiae", 0, **settings)


@pytest.fixture(scope="module")
def model() -> Trained:
    return trained(IMAGES)


@pytest.fixture(scope="module")
def vectors() -> Trained:
    return trained(VECTORS)


def untyped(model: Trained, name: str) -> Callable[..., Any]:
    """A method as it is outside of tests, where nobody checks annotations before it does."""
    return inspect.unwrap(getattr(Trained, name)).__get__(model)


def same(one: Codes, two: Codes) -> None:
    torch.testing.assert_close(one.shared, two.shared)
    torch.testing.assert_close(one.exclusive, two.exclusive)


def test_an_image_may_come_in_any_form(model: Trained, tmp_path: Path) -> None:
    files = [write_png(tmp_path / f"{i}.png", i) for i in range(3)]
    x = torch.stack([read_image(file, model.image_spec("a")) for file in files])
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])  # (n, h, w, c) uint8
    expected = model.encode(x, "a")
    for given in (
        files,
        tuple(map(str, files)),
        [Image.open(file) for file in files],
        pixels,
        list(pixels),
        pixels.transpose(0, 3, 1, 2),
        torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()),
        torch.from_numpy(pixels),
        pixels[::-1][::-1],
        x.numpy(),
        x.numpy().astype(">f4"),
        x.double(),
        x.clone().requires_grad_(),
        list(x),
        [files[0], Image.open(files[1]), pixels[2]],
        np.asfortranarray(x.numpy()),
    ):
        same(model.encode(given, "a"), expected)
    one = model.encode(x[:1], "a")
    for given in (files[0], str(files[0]), Image.open(files[0]), pixels[0], x[0], x[0].numpy()):
        same(model.encode(given, "a"), one)
    torch.testing.assert_close(model.encode(x.half(), "a").shared, expected.shared, atol=0.02, rtol=0.02)
    torch.testing.assert_close(model.encode(x.bfloat16(), "a").shared, expected.shared, atol=0.2, rtol=0.2)


def test_pictures_of_every_mode_are_fitted(tmp_path: Path) -> None:
    model = trained(GREY)
    colour = Image.fromarray(np.random.default_rng(0).integers(256, size=(16, 24, 4), dtype=np.uint8))
    for mode in ("RGBA", "RGB", "L", "LA", "P", "1", "CMYK", "I;16"):
        picture = colour.convert("L" if mode == "I;16" else mode.replace("RGBA", "RGBA"))
        if mode == "I;16":
            picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
        codes = model.encode(picture, "a")
        if mode not in ("CMYK", "P", "I;16"):
            picture.save(tmp_path / "x.png")
            same(codes, model.encode(tmp_path / "x.png", "a"))
    for mode in ("F", "I"):
        with pytest.raises(UserError, match="32 bits a value"):
            model.encode(colour.convert("L").convert(mode), "a")
    assert model.encode(np.zeros((16, 24), np.uint8), "a").shared.shape[0] == 1
    assert model.encode(torch.zeros(16, 24, 1), "a").shared.shape[0] == 1


def test_what_is_cut_off_is_warned_of(model: Trained, tmp_path: Path) -> None:
    files = [write_png(tmp_path / "wide.png", 1, (20, 40)), write_png(tmp_path / "high.png", 1, (32, 16))]
    with pytest.warns(UserWarning, match=r"2 of 2 images .* 16 x 16: the middle was kept, and 50 % of .*wide.png"):
        model.encode(files, "a")
    with pytest.warns(UserWarning, match=r"1 image has another shape .* an image \(40 x 20\)"):
        model.translate(np.zeros((20, 40, 3), np.uint8), "a", "b")
    model.encode(write_png(tmp_path / "large.png", 1, (64, 64)), "a")  # nothing is lost


def test_vectors_may_come_in_any_form(vectors: Trained) -> None:
    x = torch.randn(3, 12)
    expected = vectors.encode(x, "a")
    for given in (x.double(), x.numpy(), list(x), list(x.numpy())):
        same(vectors.encode(given, "a"), expected)
    same(vectors.encode(x[0], "a"), vectors.encode(x[:1], "a"))
    ones = vectors.encode(torch.ones(1, 12), "a")
    for given in (np.ones((1, 12), int), np.ones(12, np.uint8), torch.ones(12, dtype=torch.int64)):
        same(vectors.encode(given, "a"), ones)


def codes(shared: Any, exclusive: Any) -> Any:
    """Codes that nobody has looked at."""
    return SimpleNamespace(shared=shared, exclusive=exclusive)


X = random_items(IMAGES.a, 2, 0).x
CODES = Codes(torch.zeros(2, 4, 4, 4), torch.zeros(2, 3))
WRONG: dict[str, tuple[str, tuple[Any, ...], dict[str, Any], str]] = {
    "domain of another case": ("encode", (X, "A"), {}, "There is no domain 'A'; there are: a, b"),
    "no domain": ("encode", (X, None), {}, "There is no domain None"),
    "domain a number": ("encode", (X, 0), {}, "There is no domain 0"),
    "source": ("translate", (X, "A", "B"), {}, "There is no domain 'A'"),
    "target": ("translate", (X, "a", "B"), {}, "There is no target domain 'B'"),
    "source alone": ("translate", (X, "c", "b"), {}, "There is no domain 'c'"),
    "spec": ("image_spec", ("photo",), {}, "There is no domain 'photo'"),
    "size": ("exclusive_size", ("photo",), {}, "There is no domain 'photo'"),
    "part": ("interpolate", (X[:1], X[1:], "both", "a"), {}, "There is no part 'both'; there are: shared, exclusive"),
    "no steps": ("interpolate", (X[:1], X[1:], "shared", "a", 0), {}, "steps 0: a whole number, at least 2"),
    "half steps": ("interpolate", (X[:1], X[1:], "shared", "a", 2.5), {}, r"steps 2\.5"),
    "two starts": ("interpolate", (X, X[1:], "shared", "a"), {}, "first: one item is needed; found 2"),
    "two ends": ("interpolate", (X[0], X, "shared", "a"), {}, "second: one item is needed; found 2"),
    "no samples": ("translate", (X, "a", "b", 0), {}, "samples 0: a whole number, at least 1"),
    "samples in words": ("translate", (X, "a", "b", "4"), {}, "samples '4'"),
    "samples true": ("translate", (X, "a", "b", True), {}, "samples True"),
    "huge seed": ("translate", (X, "a", "b"), {"seed": 10**30}, "seed 1"),
    "seed none": ("translate", (X, "a", "b"), {"seed": None}, "seed None"),
    "two guides": ("translate", (X, "a", "b"), {"like": X}, "like: one item is needed; found 2"),
    "guide of another size": ("translate", (X, "a", "b"), {"like": torch.zeros(1, 3, 8, 8)}, r"\(3, 16, 16\); found"),
    "another size": ("encode", (torch.zeros(2, 3, 8, 8), "a"), {}, r"\(3, 16, 16\); found items of shape \(3, 8, 8\)"),
    "vectors for images": ("encode", (torch.zeros(2, 12), "a"), {}, "found"),
    "nothing": ("encode", (torch.zeros(0, 3, 16, 16), "a"), {}, "There are no items"),
    "an empty list": ("encode", ([], "a"), {}, "There are no items"),
    "integers": ("encode", (torch.zeros(1, 3, 16, 16, dtype=torch.int64), "a"), {}, "Images are int64"),
    "booleans": ("encode", (torch.zeros(1, 3, 16, 16, dtype=torch.bool), "a"), {}, "Images are bool"),
    "complex": ("encode", (torch.zeros(1, 3, 16, 16, dtype=torch.complex64), "a"), {}, "Images are complex64"),
    "floats to 255": ("encode", (X.abs() * 255, "a"), {}, r"values of up to .* floats in \[-1, 1\]"),
    "NaN": ("encode", (X * float("nan"), "a"), {}, "NaN or infinite"),
    "infinity": ("encode", (X.numpy() * np.inf, "a"), {}, "NaN or infinite"),
    "objects": ("encode", (np.array([object()]), "a"), {}, "found an array of object"),
    "words": ("encode", (np.array(["x.png"]), "a"), {}, "found an array of <U5"),
    "a number": ("encode", (3, "a"), {}, "found int"),
    "none": ("encode", (None, "a"), {}, "found NoneType"),
    "a dictionary": ("encode", ({"x": X}, "a"), {}, "found dict"),
    "numbers": ("encode", ([1.0, 2.0], "a"), {}, "found float"),
    "no file": ("encode", ("nowhere.png", "a"), {}, "nowhere.png: No such file"),
    "one of two no file": ("encode", ([X[0], "nowhere.png"], "a"), {}, "nowhere.png: No such file"),
    "no labels": ("swap", (X, "hair", "red"), {}, "has no labels"),
    "codes of a number": ("decode", (codes(3, 4), "a"), {}, "found int"),
    "no codes at all": ("decode", (X, "a"), {}, "found NoneType"),
    "counts that differ": ("decode", (codes(CODES.shared, CODES.exclusive[:1]), "a"), {}, "2 shared and 1 exclusive"),
    "no codes": ("decode", (codes(CODES.shared[:0], CODES.exclusive[:0]), "a"), {}, "0 shared and 0 exclusive"),
    "shared codes": (
        "decode",
        (Codes(CODES.shared[:, :3], CODES.exclusive), "a"),
        {},
        r"have shape \(4, 4, 4\)",
    ),
    "exclusive codes": ("decode", (codes(CODES.shared, CODES.exclusive[:, :1]), "a"), {}, r"have shape \(3,\)"),
    "a domain to decode": ("decode", (CODES, "B"), {}, "There is no domain 'B'"),
    "analogies of nothing": ("analogy", (X, [], "a"), {}, "There are no items"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_meant_is_said(name: str, model: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("items", "encode", "image_spec", "_single", "_codes", "_exclusive"):
        monkeypatch.setattr(model, method, untyped(model, method), raising=False)
    for function in ("as_images", "one_of", "whole_number", "floats"):
        monkeypatch.setattr(f"unbraid.model.trained.{function}", inspect.unwrap(getattr(inputs, function)))
    for function in ("_one_kind", "_tensor", "_checked"):
        monkeypatch.setattr(inputs, function, inspect.unwrap(getattr(inputs, function)))
    called, given, more, words = WRONG[name]
    with pytest.raises(UserError, match=words):
        untyped(model, called)(*given, **more)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (torch.zeros(2, 9), r"vectors of 12 values, shape \(12,\); found items of shape \(9,\)"),
        (torch.zeros(2, 12) / 0, "NaN"),
        (torch.zeros(2, 12, dtype=torch.bool), "Values are bool"),
        (torch.zeros(0, 12), "There are no items"),
        (Image.new("RGB", (16, 16)), "found Image"),
        ("x.png", "found str"),
    ],
)
def test_vectors_that_are_none_are_said(given: Any, words: str, vectors: Trained) -> None:
    with pytest.raises(UserError, match=words):
        vectors.encode(given, "a")


def test_memory_does_not_grow_with_the_number_of_items(model: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method is given a few items at a time, and the answers are those it gives to all at once."""
    x = random_items(IMAGES.a, 11, 3).x

    def answers() -> list[torch.Tensor]:
        codes = model.encode(x, "a")
        return [model.translate(x, "a", "b", 2, seed=1), model.analogy(x, x[:3], "a"), model.decode(codes, "b")]

    whole = answers()
    monkeypatch.setattr(inputs, "BATCH_ITEMS", 4)
    method: Any = model.method
    most: list[int] = []
    translate, decode = method.translate, method.decode
    monkeypatch.setattr(method, "translate", lambda x, *more: (most.append(len(x)), translate(x, *more))[1])
    monkeypatch.setattr(method, "decode", lambda codes, d: (most.append(len(codes.shared)), decode(codes, d))[1])
    for one, two in zip(answers(), whole, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)
    assert max(most) == 4


def test_a_large_image_is_taken_alone() -> None:
    assert inputs.batch_size((3, 64, 64)) == 100
    assert inputs.batch_size((3, 256, 256)) == 15
    assert inputs.batch_size((3, 4000, 4000)) == 1
    assert inputs.batch_size((12,)) == 100
