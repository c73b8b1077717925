"""Training, measuring and searching with pairs drawn within classes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from classes import write_classes
from helpers import write_png
from unbraid.commands.cli import main
from unbraid.data import features
from unbraid.data.parts import UnpairedPart
from unbraid.evaluation.measures.zero_shot import ZeroShot, both_ways, by_angle
from unbraid.evaluation.metrics.retrieval import label_figures, signs
from unbraid.evaluation.subject import has_classes
from unbraid.nn.pretrained import teacher


@pytest.fixture(autouse=True)
def short_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "STEPS", 20)


SMALL = ["--method.vector-widths", "16", "16", "--method.shared", "8", "--method.exclusive", "8"]
SHORT = ["--train.steps", "30", "--train.evaluate-every", "15", "--train.batch", "6", "--data.balanced"]


def test_a_run_on_classes_is_measured_on_unseen_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = write_classes(tmp_path / "classes.npz")
    run = tmp_path / "run"
    command = ["train", "iiae", "--data.arrays", str(arrays), "--data.by-class", "--data.tuned", "--run", str(run)]
    assert main([*command, *SMALL, *SHORT, "--data.test", "0.3", "--data.val", "0.3"]) == 0
    assert "mAP b->a" in (run / "log.jsonl").read_text()
    assert "(validation mAP" in capsys.readouterr().out
    assert main(["evaluate", str(run), "--limit", "8"]) == 0
    assert "P@100" in capsys.readouterr().out
    found = json.loads((run / "metrics.json").read_text())["zero_shot"]
    assert found["map"] == found["shared"]["whitened"]["b->a"]["map"]
    assert found["raw"]["map"] == found["before the head"]["cosine"]["b->a"]["map"]
    assert {"whitened", "cosine", "euclidean"} == set(found["shared"])
    assert found["chance"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["classes"] == 3
    assert found["queries"] == {"a->b": 18, "b->a": 21}
    assert found["highest p_at_100"] == 0.06
    assert 0 < found["p_at_100"] <= 0.06
    # the head is in the run: other figures would come of another one
    assert main(["evaluate", str(run), "--limit", "8"]) == 0
    assert json.loads((run / "metrics.json").read_text())["zero_shot"] == found


def test_cddn_trains_on_classes_too(tmp_path: Path) -> None:
    arrays = write_classes(tmp_path / "classes.npz")
    run = ["--run", str(tmp_path / "run"), "--method.critic-widths", "8", "8"]
    command = ["train", "cddn", "--data.arrays", str(arrays), "--data.by-class", "--data.test", "0.2"]
    assert main([*command, *run, *SMALL, *SHORT]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--limit", "8"]) == 0
    assert "features" in json.loads((tmp_path / "run" / "metrics.json").read_text())["zero_shot"]


def test_one_class_says_nothing_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = write_classes(tmp_path / "classes.npz")
    command = ["train", "iiae", "--data.arrays", str(arrays), "--data.by-class", "--run", str(tmp_path / "run")]
    assert main([*command, *SMALL, *SHORT]) == 0
    output = capsys.readouterr()
    assert "mAP" not in output.out
    assert "1 is too few to choose the checkpoint by" in output.err
    assert main(["evaluate", str(tmp_path / "run"), "--limit", "8"]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "zero_shot" not in metrics
    assert "single class" in metrics["not_measured"]["unseen classes"]
    assert "unseen classes: the test part has a single class" in capsys.readouterr().out


def test_image_files_are_searched_by_their_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Network(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).repeat(1, 2)[:, :1280]

    monkeypatch.setattr(teacher, "named_teacher", lambda *_: Network())
    for i in range(42):
        write_png(tmp_path / "photo" / f"c{i % 6}" / f"{i}.png", i)
        write_png(tmp_path / "sketch" / f"c{i % 6}" / f"{i}.png", 100 + i)
    run = tmp_path / "run"
    sources = ["--data.a", str(tmp_path / "photo"), "--data.b", str(tmp_path / "sketch"), "--data.by-class"]
    vectors = ["--data.features", "efficientnet-lite0", "--data.tuned"]
    assert main(["train", "iiae", *sources, *vectors, "--run", str(run), *SMALL, *SHORT]) == 0
    to = tmp_path / "index"
    assert main(["index", str(run), str(tmp_path / "photo"), "--domain", "a", "--to", str(to)]) == 0
    photo = tmp_path / "photo" / "c1" / "1.png"
    capsys.readouterr()
    assert main(["search", str(run), str(to), str(photo), "--domain", "a", "--k", "2"]) == 0
    first = capsys.readouterr().out.splitlines()[1].split()
    assert first[1:] == ["1", first[2], "photo", str(photo)]
    assert float(first[2]) < 1e-3


def classes() -> UnpairedPart:
    from helpers import random_items
    from unbraid.core.types import VectorSpec

    a, b = random_items(VectorSpec(5), 12, 1), random_items(VectorSpec(5), 9, 2)
    labels = np.arange(12) % 3, np.arange(9) % 3
    names = [str(i) for i in range(12)]
    return UnpairedPart(a, b, np.arange(12), np.arange(9), names, names, labels_a=labels[0], labels_b=labels[1])


def test_figures_are_those_of_the_shared_codes() -> None:
    from helpers import SMALL_CDDN, DataSpec, VectorSpec, measured
    from unbraid.methods.cddn import CdDN
    from unbraid.model.trained import Trained

    part = classes()
    method = CdDN(DataSpec(VectorSpec(5), VectorSpec(5)), SMALL_CDDN).eval()
    found = measured(ZeroShot(), Trained(method, None, "cddn", 0), part)["zero_shot"]
    with torch.no_grad():
        a = method.encode(part.a.read(np.arange(12), 0), "a").shared
        b = method.encode(part.b.read(np.arange(9), 0), "b").shared
    labels = torch.arange(12) % 3, torch.arange(9) % 3
    assert found["shared"] == {"euclidean": both_ways((a, b), part)}
    assert found["shared"]["euclidean"]["b->a"] == label_figures(b, a, labels[1], labels[0])
    assert found["binary"]["a->b"] == label_figures(signs(a), signs(b), labels[0], labels[1])
    x = part.a.read(part.rows_a, 0), part.b.read(part.rows_b, 0)
    assert found["features"]["cosine"] == both_ways(by_angle(x), part)


def test_without_classes_nothing_is_measured() -> None:
    from dataclasses import replace

    assert has_classes(classes())
    assert not has_classes(replace(classes(), labels_a=None))
