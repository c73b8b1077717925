"""A run with a small model, and folders of images for it to find."""

from pathlib import Path

import pytest

from helpers import write_png
from indexes import write_run
from unbraid.model.trained import Trained, load


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def model(run: Path) -> Trained:
    return load(run)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve images, two of them in a sub-folder."""
    for i in range(12):
        write_png(tmp_path / "photos" / ("inner" if i > 9 else "") / f"{i:02d}.png", i)
    return tmp_path / "photos"


@pytest.fixture
def sketches(tmp_path: Path) -> Path:
    for i in range(6):
        write_png(tmp_path / "sketches" / f"{i:02d}.png", 100 + i)
    return tmp_path / "sketches"
