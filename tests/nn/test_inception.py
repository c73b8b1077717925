import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from unbraid.core.types import UserError
from unbraid.nn.pretrained.inception import FILE, Inception

NAME = "torch_fidelity.feature_extractor_inceptionv3"


class Small(nn.Module):
    """As the package's network, with one layer."""

    def __init__(self, name: str, features: list[str], path: str) -> None:
        super().__init__()
        assert (name, features) == ("inception-v3-compat", ["2048"])
        self.layer = nn.Linear(3, 4)
        self.load_state_dict(torch.load(path, weights_only=True))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        return (self.layer(x.float().mean((2, 3))),)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in torch's cache, and the package that takes it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, NAME, SimpleNamespace(FeatureExtractorInceptionV3=Small))  # type: ignore[arg-type]
    path = tmp_path / "hub" / "checkpoints" / FILE
    path.parent.mkdir(parents=True)
    torch.save({f"layer.{name}": value for name, value in nn.Linear(3, 4).state_dict().items()}, path)
    return path


def test_it_is_found_in_the_cache_or_where_it_is_named(weights: Path) -> None:
    images = torch.rand(40, 1, 8, 8) * 2 - 1
    found = Inception.find("auto")(images)
    assert found.shape == (40, 4)
    assert torch.equal(Inception.find(str(weights))(images), found)
    white = torch.load(weights, weights_only=True)
    assert torch.allclose(
        Inception.find("auto")(torch.ones(1, 3, 8, 8))[0], 255 * white["layer.weight"].sum(1) + white["layer.bias"]
    )


def test_missing_weights_and_a_missing_package_say_what_to_do(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"there is no file .*gone\.pth\. Download https://.*--inception FILE"):
        Inception.find("gone.pth")
    monkeypatch.setitem(sys.modules, NAME, None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"pip install 'unbraid\[fid\]'"):
        Inception.find("auto")


@pytest.mark.parametrize("content", [{"other": torch.zeros(1)}, [torch.zeros(1)], {"layer.weight": 3}])
def test_other_files_are_refused_in_words(weights: Path, content: object) -> None:
    torch.save(content, weights)
    with pytest.raises(UserError, match="does not hold torch-fidelity's weights"):
        Inception.find("auto")


def test_no_code_in_a_file_is_run(weights: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"layer.weight": Evil()}, weights)
    with pytest.raises(UserError, match="can't be read as weights"):
        Inception.find("auto")
    assert not (tmp_path / "touched").exists()
