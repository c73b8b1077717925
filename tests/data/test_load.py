import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unbraid.data import load, needs
from unbraid.data.config import DataConfig
from unbraid.data.parts import Data, LabelledPart, PairedPart, UnpairedPart
from unbraid.types import Labelled, Paired, Unpaired, UserError

Paint = Callable[..., None]
SOMEWHERE = Path("somewhere")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DataConfig(), "Give one source of data; given: none"),
        (DataConfig(set="digits", classes=SOMEWHERE), "given: --data.set, --data.classes"),
        (
            DataConfig(a=SOMEWHERE, b=SOMEWHERE, side_by_side=SOMEWHERE),
            "given: --data.a or --data.b, --data.side-by-side",
        ),
        (DataConfig(set="digits", pairs=SOMEWHERE), "--data.pairs needs"),
        (DataConfig(set="digits", val=0.5, test=0.5), "together less than 1"),
        (DataConfig(set="digits", val=-0.1), "shares"),
        (DataConfig(set="digits", size=(0, 8)), "--data.size 0 8"),
        (DataConfig(set="digits", seed=-1), "--data.seed -1"),
        (DataConfig(set="digits", size=(32, 16), augment=("turn",)), "turn needs square images"),
    ],
)
def test_settings_that_make_no_sense(config: DataConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(config)


def test_vectors_cannot_be_augmented(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros((9, 4)), b=np.zeros((9, 4)))
    with pytest.raises(UserError, match="vectors of 4 values"):
        load(DataConfig(arrays=tmp_path / "x.npz", augment=("flip",)))


def test_digits_load_by_name() -> None:
    data = load(DataConfig(set="digits"))
    assert isinstance(data.train, PairedPart)
    assert data.remark


@pytest.fixture
def labelled(tmp_path: Path, paint: Paint) -> Data:
    paint(tmp_path / "classes", [f"{kind}/{i}.png" for kind in "xy" for i in range(5)])
    return load(DataConfig(classes=tmp_path / "classes"))


@pytest.fixture
def paired(tmp_path: Path, paint: Paint) -> Data:
    for side in "ab":
        paint(tmp_path / side, [f"{i}.png" for i in range(10)])
    return load(DataConfig(a=tmp_path / "a", b=tmp_path / "b"))


@pytest.fixture
def unpaired(tmp_path: Path, paint: Paint) -> Data:
    paint(tmp_path / "c", [f"{i}.png" for i in range(10)])
    paint(tmp_path / "d", [f"{i}.png" for i in range(20)])
    return load(DataConfig(a=tmp_path / "c", b=tmp_path / "d", unpaired=True))


def test_a_method_gets_what_it_needs(paired: Data, unpaired: Data, labelled: Data) -> None:
    assert needs(paired, Paired, "cddn") is paired
    assert needs(unpaired, Unpaired, "xgan") is unpaired
    assert needs(labelled, Labelled, "lord") is labelled


def test_pairs_are_hidden_from_training_alone(paired: Data) -> None:
    data = needs(paired, Unpaired, "xgan")
    assert isinstance(data.train, UnpairedPart)
    assert isinstance(data.val, PairedPart)
    assert isinstance(data.test, PairedPart)


def test_unpaired_hides_the_pairs_of_any_source() -> None:
    data = load(DataConfig(set="digits", unpaired=True))
    assert isinstance(data.train, UnpairedPart)
    with pytest.raises(UserError, match="cddn needs pairs"):
        needs(data, Paired, "cddn")


def test_what_a_method_cannot_use_is_said_with_counts_and_advice(paired: Data, unpaired: Data, labelled: Data) -> None:
    with pytest.raises(UserError, match=r"cddn needs pairs: .*--data\.pairs pairs.*8 items of a and 16 of b"):
        needs(unpaired, Paired, "cddn")
    with pytest.raises(UserError, match=r"xgan needs two domains: .*classes has 8 items of one kind with labels"):
        needs(labelled, Unpaired, "xgan")
    with pytest.raises(UserError, match=r"lord needs items with labels: --data\.classes.*a and b has 8 pairs"):
        needs(paired, Labelled, "lord")
    assert isinstance(labelled.train, LabelledPart)


def test_the_configuration_is_read_without_torch() -> None:
    code = "import sys, unbraid.data.config; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    path = Path(__file__).parents[2] / "src"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(path)}, check=False).returncode == 0
