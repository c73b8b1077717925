"""Shape and type annotations are checked at run time in every test; caches stay in the test's own folder."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait don't take the cores from other tests
sys.path.insert(0, str(Path(__file__).parent))
install_import_hook("unbraid", "typechecking.checker")
settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNBRAID_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without perceptual networks, which take seconds."""
    from unbraid.evaluation.networks import NO_NETWORKS, PerceptualNetworks

    monkeypatch.setattr(PerceptualNetworks, "find", lambda *_: NO_NETWORKS)
