"""With a method whose codes are the two halves of an image, so that what is right is known."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers import Stored, Untrained, measured, random_data
from unbraid.core.data_config import DataConfig
from unbraid.core.types import Codes, DataSpec, Domain, ImageSpec
from unbraid.data.items import Chosen, Rows
from unbraid.data.loading import load
from unbraid.data.parts import Data, LabelledPart, PairedPart, Part
from unbraid.evaluation.images import two_of
from unbraid.evaluation.measures.analogies import Analogies
from unbraid.evaluation.measures.nearest_view import NearestView
from unbraid.evaluation.measures.samples import Samples
from unbraid.evaluation.measures.through_translation import ThroughTranslation
from unbraid.evaluation.metrics.images import rms_distance
from unbraid.evaluation.metrics.retrieval import interval
from unbraid.methods.iiae import IIAE, IIAEConfig
from unbraid.model.trained import Trained

SPEC = DataSpec(ImageSpec(4, 8), ImageSpec(4, 8))


def analogy(model: Trained, part: Part, limit: int | None = None) -> dict[str, Any]:
    return measured(Analogies(), model, part, limit=limit).get("analogy", {})


def nearest_view(model: Trained, part: Part) -> dict[str, Any]:
    return measured(NearestView(), model, part).get("nearest_view", {})


def diversity(model: Trained, part: Part) -> dict[str, Any]:
    return measured(Samples(), model, part).get("diversity", {})


def through_translation(model: Trained, part: Part, limit: int | None = None) -> dict[str, Any]:
    return measured(ThroughTranslation(), model, part, limit=limit).get("recall_through_translation", {})


class Halves(Untrained):
    """The left half is shared, the right half exclusive. copies: the whole image is taken for shared."""

    def __init__(self, styles: Tensor, copies: bool = False) -> None:
        super().__init__(SPEC, None)
        self.styles, self.copies = nn.Parameter(styles), copies

    def encode(self, x: Tensor, domain: Domain) -> Codes:
        left, right = x.chunk(2, 3)
        return Codes(x if self.copies else left, right.flatten(1))

    def decode(self, codes: Codes, domain: Domain) -> Tensor:
        if self.copies:
            return codes.shared
        return torch.cat([codes.shared, codes.exclusive.unflatten(1, (3, 4, 4))], 3)

    def prior(self, n: int, domain: Domain, generator: torch.Generator) -> Tensor:
        return self.styles[torch.randint(len(self.styles), (n,), generator=generator)].flatten(1)

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        assert style is not None
        return self.decode(Codes(self.encode(x, src).shared, style), dst)


class Translates(Untrained):
    """Has no codes: gives the left half with one and the same right half."""

    def __init__(self, style: Tensor) -> None:
        super().__init__(SPEC, None)
        self.style = nn.Parameter(style)

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        return torch.cat([x.chunk(2, 3)[0], self.style.expand(len(x), -1, -1, -1)], 3)


class Recombined(Stored):
    def recombined(self, shared: Rows, exclusive: Rows) -> Tensor:
        return torch.cat([self.read(shared, 0).chunk(2, 3)[0], self.read(exclusive, 0).chunk(2, 3)[1]], 3)


def halves(count: int, seed: int) -> Tensor:
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def data_of(left: Tensor, right_a: Tensor, right_b: Tensor) -> Data:
    """All pairs are the test part."""
    count = len(left)
    a, b = (Recombined(torch.cat([left, right], 3), SPEC.a) for right in (right_a, right_b))
    test = PairedPart(a, b, np.arange(count), [str(i) for i in range(count)], np.arange(count) % 3)
    return Data("halves", SPEC, test, test, test)


def trained(method: Any) -> Trained:
    return Trained(method, None, "halves", 0)


def test_the_two_of_an_analogy_differ_and_no_task_comes_twice() -> None:
    rows = np.array([3, 5, 8, 9])
    first, second = two_of(rows, 100, seed=0)
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == [
        (x, y) for x in rows.tolist() for y in rows.tolist() if x != y
    ]
    assert len(two_of(np.arange(10_000), 50, seed=0)[0]) == 50
    assert np.array_equal(two_of(rows, 5, seed=1)[0], two_of(rows, 5, seed=1)[0])


def test_a_perfect_analogy_has_no_distance_and_a_copy_has_that_of_copying() -> None:
    data = data_of(halves(9, 0), halves(9, 1), halves(9, 2))
    perfect = analogy(trained(Halves(halves(1, 0))), data.test)
    copied = analogy(trained(Halves(halves(1, 0), copies=True)), data.test)
    assert set(perfect) == {"a", "b"}
    for domain in "ab":
        assert perfect[domain]["tasks"] == 72
        assert perfect[domain]["made"]["distance"] == perfect[domain]["made"]["distance deviation"] == 0
        assert perfect[domain]["made"]["ssim"] == 1
        assert perfect[domain]["again"]["distance"] == 0
        assert copied[domain]["made"] == copied[domain]["copy"] == perfect[domain]["copy"]
    part = data.test
    assert isinstance(part, PairedPart)
    x = part.a.read(part.rows, 0)
    # over all ordered pairs: the right halves differ
    far = [
        rms_distance(x[i : i + 1], torch.cat([x[i, ..., :4], x[j, ..., 4:]], 2)[None])
        for i in range(9)
        for j in range(9)
        if i != j
    ]
    assert copied["a"]["copy"]["distance"] == pytest.approx(torch.cat(far).mean().item(), abs=1e-4)
    assert copied["a"]["copy"]["distance deviation"] == pytest.approx(torch.cat(far).std(correction=0).item(), abs=1e-4)


def test_there_are_no_analogies_without_a_truth() -> None:
    data = random_data(SPEC)
    assert analogy(trained(Halves(halves(1, 0))), data.test) == {}


def test_copying_on_the_digits_is_what_their_colours_say() -> None:
    """Colours differ by sqrt(1/6) of the range; a ground covers 89 % of an image, a digit's squared grey 8 %."""
    test = load(DataConfig(set="digits")).test
    spec = DataSpec(ImageSpec(32, 32), ImageSpec(32, 32))
    torch.manual_seed(0)
    small = IIAEConfig(widths=(8, 8), decoder_widths=(8, 8), map_size=4, shared=4)
    figures = analogy(Trained(IIAE(spec, small).eval(), None, "iiae", 0), test, 300)
    for domain, share in {"a": 0.892, "b": 0.084}.items():
        copy = figures[domain]["copy"]
        square = copy["distance"] ** 2 + copy["distance deviation"] ** 2
        assert square**0.5 == pytest.approx(100 * (share / 6) ** 0.5, rel=0.07)
    assert figures["a"]["tasks"] == 300
    assert set(figures["a"]) == {"tasks", "made", "copy", "again"}


def views_data(count: int = 6, views: int = 3) -> tuple[Data, Tensor]:
    """Each image of a stands in `views` pairs, whose images of b differ on the right, as the styles do."""
    left, styles = halves(count, 0), halves(views, 1)
    b = torch.cat([left.repeat_interleave(views, 0), styles.repeat(count, 1, 1, 1)], 3)
    a = Chosen(Stored(torch.cat([left, halves(count, 2)], 3), SPEC.a), np.arange(count).repeat(views))
    names = [str(i) for i in range(count * views)]
    test = PairedPart(a, Stored(b, SPEC.b), np.arange(count * views), names, np.arange(count).repeat(views))
    return Data("views", SPEC, test, test, test), styles


def test_a_sample_that_is_one_of_the_true_views_is_at_none() -> None:
    data, styles = views_data()
    found = nearest_view(trained(Halves(styles)), data.test)
    assert (found["a->b"]["images"], found["a->b"]["views"], found["a->b"]["samples"]) == (6, 3, 3)
    assert found["a->b"]["sample"] == {"distance": 0, "distance deviation": 0}
    assert found["a->b"]["random"]["distance"] > 1
    assert (found["b->a"]["images"], found["b->a"]["views"]) == (18, 1)
    assert found["b->a"]["sample"]["distance"] > 1


def test_the_nearest_of_all_views_counts_for_every_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    data, styles = views_data()
    style = styles[:1] * 0.5
    part = data.test
    assert isinstance(part, PairedPart)
    a, b = (items.read(part.rows, 0) for items in (part.a, part.b))
    made = torch.cat([a[..., :4], style.expand(18, -1, -1, -1)], 3)
    wanted = rms_distance(made, b).view(6, 3).amin(1)
    for values in (10**6, 1):
        monkeypatch.setattr("unbraid.evaluation.images.VALUES", values)
        found = nearest_view(trained(Halves(style)), part)["a->b"]["sample"]
        assert found["distance"] == pytest.approx(wanted.mean().item(), abs=1e-4)
        assert found["distance deviation"] == pytest.approx(wanted.std(correction=0).item(), abs=1e-4)


def test_one_answer_has_no_diversity_and_real_styles_have_that_of_real_images() -> None:
    left, styles = halves(1, 0).expand(40, -1, -1, -1), halves(40, 2)
    data = data_of(left, halves(40, 1), styles)  # all that differs is the style
    one = diversity(trained(Halves(styles[:1])), data.test)["a->b"]
    assert one["samples"] == {"distance": 0, "distance deviation": 0}
    assert one["sample to real"]["distance"] == 0
    assert (one["images"], one["translations"], one["gallery"]) == (40, 10, 40)
    many = diversity(trained(Halves(styles)), data.test)["a->b"]
    assert many["samples"]["distance"] == pytest.approx(many["real pairs"]["distance"], rel=0.05)
    assert many["sample to real"]["distance"] == 0
    x = torch.cat([left, styles], 3)
    far = torch.stack([rms_distance(x, x[i : i + 1].expand_as(x)) for i in range(40)]).fill_diagonal_(torch.inf)
    assert many["real to real"]["distance"] == pytest.approx(far.amin(1).mean().item(), abs=1e-3)


def test_retrieval_by_a_perfect_translation_finds_all(monkeypatch: pytest.MonkeyPatch) -> None:
    style = halves(1, 5)
    data = data_of(halves(30, 0), style.expand(30, -1, -1, -1), style.expand(30, -1, -1, -1))
    for values in (10**6, 1):
        monkeypatch.setattr("unbraid.evaluation.images.VALUES", values)
        found = through_translation(trained(Halves(style)), data.test)
        assert (found["queries"], found["samples"]) == (30, 10)
        for hit in ("pair", "label"):
            assert all(found[hit][way][k] == 100 for way in ("a->b", "b->a") for k in ("1", "5", "10"))
    assert through_translation(trained(Translates(style)), data.test, 7)["pair"]["a->b"]["1"] == 100
    assert through_translation(trained(Translates(style)), data.test, 7)["samples"] == 1


def test_any_translation_and_any_pair_of_the_same_thing_count() -> None:
    data, styles = views_data()
    found = through_translation(trained(Halves(styles)), data.test)
    assert found["pair"]["a->b"]["1"] == found["pair"]["b->a"]["1"] == 100
    assert found["queries"] == {"a->b": 6, "b->a": 18}  # an image of a is asked for once
    assert found["pair"]["a->b"]["interval"]["1"] == interval(1.0, 6)


def test_translations_that_are_all_alike_find_nothing() -> None:
    data = data_of(halves(20, 0), halves(20, 1), halves(20, 2))
    same = Halves(halves(1, 0) * 0)
    same.decode = lambda codes, domain: torch.zeros(len(codes.shared), 3, 4, 8)  # type: ignore[method-assign]
    found = through_translation(trained(same), data.test)
    assert found["pair"]["a->b"]["1"] <= 5


def test_labelled_images_and_what_makes_no_images_are_left_out() -> None:
    part = LabelledPart(Stored(halves(4, 0), SPEC.a), np.arange(4), np.zeros((4, 1), np.int64), list("wxyz"))
    model = trained(Halves(halves(1, 0)))
    assert analogy(model, part) == {}
    assert nearest_view(model, part) == {}
    assert through_translation(model, part) == {}
    other = data_of(halves(4, 0), halves(4, 1), halves(4, 2))
    assert nearest_view(trained(Translates(halves(1, 0))), other.test) == {}
    assert diversity(trained(Translates(halves(1, 0))), other.test) == {}
