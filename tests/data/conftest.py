from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Paint = Callable[..., None]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("UNBRAID_CACHE", str(folder))
    return folder


@pytest.fixture
def paint() -> Paint:
    """paint(folder, names, height=.., width=.., mode=..): image i is filled with a colour that tells i."""

    def paint(folder: Path, names: Sequence[str], height: int = 8, width: int = 8, mode: str = "RGB") -> None:
        for i, name in enumerate(names):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            colour = np.array([i % 256, i // 256, 7], np.uint8)
            Image.fromarray(np.broadcast_to(colour, (height, width, 3)).copy()).convert(mode).save(path, lossless=True)

    return paint
