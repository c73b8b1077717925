import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import unbraid
from unbraid.core.data_config import DataConfig, SetName
from unbraid.core.types import Labelled, Paired, Unpaired, UserError
from unbraid.data.loading import load, needs
from unbraid.data.parts import Data, LabelledPart, PairedPart, UnpairedPart, listing
from unbraid.data.sources.known import KNOWN
from unbraid.methods import METHODS

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
        (DataConfig(), "--data.classes, --data.csv, --data.shards and --data.arrays"),
        (DataConfig(csv=SOMEWHERE, arrays=SOMEWHERE), "given: --data.csv, --data.arrays"),
        (DataConfig(set="digits", labels=("top",)), "--data.labels chooses columns of --data.csv"),
        (DataConfig(csv=SOMEWHERE, labels=("x", "y", "x")), "--data.labels x y x: give each label once"),
        (DataConfig(set="digits", split="image"), "--data.split image is for images with labels, and digits has none"),
        (DataConfig(set="digits", val=0.5, test=0.5), "together less than 1"),
        (DataConfig(set="digits", val=-0.1), "shares"),
        (DataConfig(set="digits", size=(0, 8)), "--data.size 0 8"),
        (DataConfig(set="relit", styles_per_class=2), "the cars of relit have new lights in each pass, so no image"),
        (DataConfig(set="digits", by_class=True), "or --data.set sketchy"),
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


def test_the_known_sets_are_those_that_the_command_line_offers() -> None:
    assert tuple(KNOWN) == get_args(SetName)


def strings(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_no_name_of_a_set_or_a_method_decides_outside_its_own_folder() -> None:
    package = Path(unbraid.__file__).parent
    own = ("methods", "recipes", "data/sources", "core/data_config.py", "commands/train.py", "training/experiment.py")
    others = [path for path in package.rglob("*.py") if not {package / name for name in own} & {path, *path.parents}]
    assert len(others) > 50
    names = {*KNOWN, *METHODS}
    assert {path: found for path in others if (found := names & strings(path))} == {}


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


def test_labelled_data_say_how_many_items_and_classes_training_has(labelled: Data, tmp_path: Path) -> None:
    data = needs(labelled, Labelled, "lord")
    assert data.train is labelled.train
    assert (data.spec.items, data.spec.classes, data.spec.domains) == (8, (2,), ())
    label = np.stack([np.arange(12) % 2, np.arange(12) % 3], axis=1)
    np.savez(tmp_path / "x.npz", x=np.zeros((12, 4, 4), np.uint8), label=label)
    assert needs(load(DataConfig(arrays=tmp_path / "x.npz")), Labelled, "lord").spec.classes == (2, 3)
    np.savez(tmp_path / "y.npz", x=np.zeros((30, 4, 4), np.uint8), label=np.arange(30) % 10)
    data = load(DataConfig(arrays=tmp_path / "y.npz", split="class", test=0.3))
    assert needs(data, Labelled, "lord").spec.classes == (7,)


def test_two_domains_are_labelled_for_training_alone(paired: Data, unpaired: Data) -> None:
    for data, count in ((paired, 16), (unpaired, 24)):
        ready = needs(data, Labelled, "lord", balanced=True)
        assert isinstance(ready.train, LabelledPart)
        assert (len(ready.train), ready.spec.items, ready.spec.classes) == (count, count, (2,))
        assert ready.spec.domains == ("a", "b")
        assert ready.val is data.val
        assert ready.test is data.test
        assert listing(ready)["test"] == listing(data)["test"]


def test_domains_of_two_shapes_cannot_be_labelled(tmp_path: Path) -> None:
    images, vectors = np.zeros((9, 4, 4, 3), np.uint8), np.zeros((9, 5))
    np.savez(tmp_path / "x.npz", a=images, b=images[..., 0])
    data = load(DataConfig(arrays=tmp_path / "x.npz"))
    message = r"4x4 images of 3 channels and 4x4 images of 1 channel: --data\.size H W and --data\.channels"
    with pytest.raises(UserError, match=message):
        needs(data, Labelled, "lord")
    np.savez(tmp_path / "y.npz", a=images, b=vectors)
    with pytest.raises(UserError, match=r"4x4 images of 3 channels and vectors of 5 values$"):
        needs(load(DataConfig(arrays=tmp_path / "y.npz")), Labelled, "lord")


def test_balanced_is_refused_where_there_are_no_classes(paired: Data, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--data\.balanced"):
        needs(paired, Unpaired, "xgan", balanced=True)
    np.savez(tmp_path / "x.npz", x=np.zeros((12, 4, 4), np.uint8), label=np.arange(24).reshape(12, 2) % 3)
    with pytest.raises(UserError, match=r"--data\.balanced needs one label"):
        load(DataConfig(arrays=tmp_path / "x.npz", balanced=True))


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


def test_what_a_method_cannot_use_is_said_with_counts_and_advice(unpaired: Data, labelled: Data) -> None:
    with pytest.raises(
        UserError, match=r"cddn needs pairs: .*--data\.pairs pairs.*8 items of one domain and 16 of the other"
    ):
        needs(unpaired, Paired, "cddn")
    with pytest.raises(UserError, match=r"xgan needs two domains: .*classes has 8 items of one kind with labels"):
        needs(labelled, Unpaired, "xgan")
    with pytest.raises(UserError, match=r"cddn needs pairs: .*classes has 8 items of one kind with labels"):
        needs(labelled, Paired, "cddn")


@pytest.mark.parametrize("module", ["unbraid.core.data_config", "unbraid.commands.measure"])
def test_the_configuration_and_the_help_of_evaluate_need_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    path = Path(__file__).parents[2] / "src"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(path)}, check=False).returncode == 0
