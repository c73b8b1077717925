"""The score without pairs, of translators whose quality is known."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from helpers import Untrained, paired_data
from unbraid.core.types import DataSpec, Domain, ImageSpec, Unpaired
from unbraid.evaluation.measures.unpaired import UnpairedScore, content_kept
from unbraid.evaluation.networks import NO_NETWORKS, Images, PerceptualNetworks
from unbraid.evaluation.subject import Subject
from unbraid.model.trained import Trained
from unbraid.nn.pretrained.perceptual import Vgg16

SPEC = DataSpec(ImageSpec(32, 32), ImageSpec(32, 32))


class Shifting(Untrained):
    """Domain b is domain a with 1 added; what it shows of another item is up to `order`."""

    needs = Unpaired

    def __init__(self, shift: float, order: str) -> None:
        super().__init__(SPEC, None)
        self.shift, self.order, self.none = shift, order, nn.Parameter(torch.zeros(1))

    def translate(self, x: Tensor, src: Domain, dst: Domain, style: Tensor | None = None) -> Tensor:
        shown = {"own": x, "another's": x.roll(1, 0), "one": x[:1].expand(x.shape)}[self.order]
        return shown + (self.shift if src == "a" else -self.shift)


def subject(method: Shifting, networks: PerceptualNetworks) -> Subject:
    data = paired_data(SPEC, 60)
    data.test.b.x = data.test.a.x.roll(30, 0) + 1  # pyright: ignore[reportAttributeAccessIssue]
    return Subject(Trained(method.eval(), None, "shifting", 0), data, data.test, networks=networks)


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> PerceptualNetworks:
    """Their features are the image at 4 x 4 places."""

    def features(self: PerceptualNetworks, images: Tensor, real: bool = False) -> Tensor:
        return adaptive_avg_pool2d(images, 4).flatten(1)

    monkeypatch.setattr(PerceptualNetworks, "features", features)
    return PerceptualNetworks(None, Vgg16.__new__(Vgg16))


def test_a_true_translation_scores_high_and_what_lacks_either_scores_nothing(networks: PerceptualNetworks) -> None:
    found = {
        (shift, order): UnpairedScore().compute(subject(Shifting(shift, order), networks)).get("unpaired", {})
        for shift, order in ((1.0, "own"), (0.5, "own"), (0.0, "own"), (1.0, "another's"), (1.0, "one"))
    }
    assert found[1.0, "own"]["score"] > 95
    assert 50 < found[0.5, "own"]["score"] < found[1.0, "own"]["score"]
    assert found[0.0, "own"]["score"] == 0
    assert found[0.0, "own"]["a->b"]["content"] == 100
    assert found[1.0, "another's"]["a->b"]["likeness"] > 90
    assert found[1.0, "another's"]["score"] < 40
    assert found[1.0, "one"]["score"] < 1


def test_training_logs_the_score_and_beside_it_the_truth_which_decides_nothing(
    networks: PerceptualNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looks(self: PerceptualNetworks, generated: Images, true: Tensor) -> dict[str, dict[str, Tensor]]:
        return {name: {"lpips": (x - true).abs().mean((1, 2, 3))} for name, x in generated.items()}

    monkeypatch.setattr(PerceptualNetworks, "looks", looks)
    some = subject(Shifting(1.0, "own"), networks)
    watched = UnpairedScore().watch(some)
    assert watched.score == watched.figures["unpaired score"] > 95
    ways = {f"{name} {way}" for name in ("likeness", "content", "hidden LPIPS") for way in ("a->b", "b->a")}
    assert watched.figures.keys() == {"unpaired score"} | ways
    some.part = some.part.unpaired()  # pyright: ignore[reportAttributeAccessIssue]
    alone = UnpairedScore().watch(some)
    assert alone.score == watched.score
    assert not any("hidden" in name for name in alone.figures)


def test_content_is_the_share_of_items_that_are_further() -> None:
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    assert content_kept(2 * x + 5, x) == 1
    assert content_kept(x.roll(1, 0), x) == pytest.approx(0, abs=0.15)
    assert content_kept(torch.ones(50, 8), x) == 0


def test_it_says_why_not_and_is_watched_without_pairs_only(networks: PerceptualNetworks) -> None:
    some = subject(Shifting(1.0, "own"), networks)
    assert UnpairedScore().watches(some)
    assert UnpairedScore().applies(subject(Shifting(1.0, "own"), NO_NETWORKS)) == "the weights of VGG16 are missing"
    some.model.spec = DataSpec(ImageSpec(16, 16), ImageSpec(16, 16))
    assert "at least 32 x 32" in str(UnpairedScore().applies(some))
