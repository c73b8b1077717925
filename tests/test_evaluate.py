"""What evaluate says of test parts that are small, and of pairs with items in several rows."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers import IMAGES, write_png
from unbraid.commands.cli import main
from unbraid.core.types import DOMAINS
from unbraid.evaluation.card import table
from unbraid.evaluation.networks import NO_NETWORKS, PerceptualNetworks
from unbraid.evaluation.pictures import captions, file_name
from unbraid.methods.cut import CUT, CUTConfig
from unbraid.model.trained import Trained

SMALL = [
    *("--method.widths", "8", "--method.decoder-widths", "8", "--method.map-size", "4", "--method.shared", "4"),
    *("--train.batch", "4", "--train.steps", "2", "--train.evaluate-every", "2"),
]


@pytest.fixture(autouse=True)
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without perceptual networks, which take seconds."""
    monkeypatch.setattr(PerceptualNetworks, "find", lambda *_: NO_NETWORKS)


def measured(place: Path, pairs: list[tuple[int, int]], test: float) -> tuple[dict[str, Any], str]:
    """metrics.json and the model card of a run on these pairs of images."""
    for domain, column in (("a", 0), ("b", 1)):
        for number in {pair[column] for pair in pairs}:
            write_png(place / domain / f"{number:03d}.png", 1000 * column + number)
    (place / "pairs.csv").write_text("\n".join(f"{a:03d}.png,{b:03d}.png" for a, b in pairs))
    sides = ["--data.a", str(place / "a"), "--data.b", str(place / "b"), "--data.pairs", str(place / "pairs.csv")]
    run = ["--run", str(place / "run"), *SMALL, "--data.test", str(test)]
    assert main(["train", "iiae", *sides, *run]) == 0
    assert main(["evaluate", str(place / "run"), "--limit", "8"]) == 0
    return json.loads((place / "run" / "metrics.json").read_text()), (place / "run" / "README.md").read_text()


def test_one_test_item_gives_no_figure_that_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics, card = measured(tmp_path, [(i, i) for i in range(10)], 0.1)
    assert metrics["protocol"]["items"] == 1
    assert not {"recall", "recall_euclidean", "recall_through_translation", "union"} & metrics.keys()
    for way in metrics["translation"].values():
        assert "random" not in way
    assert all("not measured" in row for row in metrics["probes"].values())
    reasons = metrics["not_measured"]
    assert {"recall @1, @5, @10 (pair)", "neighbours in both domains", "a->b random"} <= reasons.keys()
    output = capsys.readouterr().out
    for text in (card, output):
        assert "the test part has 1 item of a domain, and of fewer than 20 figures say little" in text
        assert "recall @1, @5, @10 (pair): with so few items that are no hits no query can miss" in text


def test_eight_test_items_have_wide_intervals_and_a_warning(tmp_path: Path) -> None:
    metrics, card = measured(tmp_path, [(i, i) for i in range(20)], 0.4)
    assert metrics["protocol"]["items"] == 8
    way = metrics["recall"]["shared"]["a->b"]
    assert way.keys() == {"1", "5", "interval"}
    assert way["interval"]["1"][1] - way["interval"]["1"][0] > 30
    low, high = way["interval"]["5"]
    assert low <= way["5"] <= high
    assert f"{way['5']:.2f} ({low:.1f}-{high:.1f})" in card
    assert "recall @10 (pair)" in metrics["not_measured"]
    assert "the test part has 8 items of a domain" in metrics["protocol"]["remark"]


def test_items_in_several_pairs_are_queries_and_gallery_once(tmp_path: Path) -> None:
    metrics, _ = measured(tmp_path, [(i // 3, i) for i in range(120)], 0.5)
    protocol = metrics["protocol"]
    assert protocol["items"] == 60
    assert protocol["queries"] == {"a->b": 20, "b->a": 60}
    assert protocol["gallery"] == {"a->b": 60, "b->a": 20}
    assert protocol["hit"] == "any counterpart of the query"
    assert "say little" not in protocol["remark"]
    assert "not_measured" not in metrics


def test_figures_of_older_files_are_printed_without_intervals() -> None:
    old = {"recall": {"shared": {"a->b": {"1": 50.0, "5": 75.0, "10": 100.0}}}}
    assert table(old).splitlines() == [
        "recall, % (95 %)  way   @1     @5     @10",
        "shared (pair)     a->b  50.00  75.00  100.00",
    ]


def test_tables_call_domains_by_their_names() -> None:
    probe = {
        kind: {"accuracy": 50.0, "chance": 50.0, "control": 99.0, "conclusive": True} for kind in ("linear", "mlp")
    }
    found = {
        "protocol": {"domains": {"a": "photos", "b": "図面"}},
        "recall": {"shared": {"a->b": {"1": 50.0, "5": 75.0, "10": 100.0}}},
        "analogy": {"b": {"made": {"lpips": 0.5}}},
        "probes": {"domain from shared": probe, "label from shared, a": probe},
        "not_measured": {"b->a random": "there is one item"},
    }
    assert [line.split() for line in table(found).splitlines() if line] == [
        ["recall,", "%", "(95", "%)", "way", "@1", "@5", "@10"],
        ["shared", "(pair)", "photos->図面", "50.00", "75.00", "100.00"],
        ["made", "images", "way", "lpips"],
        ["analogy:", "made", "図面", "0.5000"],
        ["probes", "domain", "linear", "mlp", "chance", "control,", "linear", "/", "mlp"],
        ["domain", "from", "shared", "50.00", "50.00", "50.00", "99.00", "/", "99.00"],
        ["label", "from", "shared", "photos", "50.00", "50.00", "50.00", "99.00", "/", "99.00"],
        ["not", "measured"],
        ["図面->photos", "random:", "there", "is", "one", "item"],
    ]
    found["protocol"] = {"domains": {"a": "p" * 21, "b": "sketches"}}
    assert table(found).startswith(f"a: {'p' * 21}, b: sketches\n\nrecall, % (95 %)  way   @1")


def test_some_measures_can_be_taken_alone_and_others_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, _ = measured(tmp_path, [(i, i) for i in range(40)], 0.5)
    run, file = str(tmp_path / "run"), tmp_path / "run" / "metrics.json"
    capsys.readouterr()
    assert main(["evaluate"]) == 2
    assert "Give its folder: unbraid evaluate RUN" in capsys.readouterr().err
    assert main(["evaluate", "--list"]) == 0
    assert capsys.readouterr().out.count("\nzero_shot") == 1
    assert main(["evaluate", run, "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("zero_shot") for line in lines)
    assert "pairs)" in " ".join(lines)
    assert main(["evaluate", run, "--limit", "8", "--only", "retrieval, samples"]) == 0
    printed = capsys.readouterr().out
    assert "recall, %" in printed
    assert "probes" not in printed
    assert "pictures" not in printed  # none is drawn anew
    assert json.loads(file.read_text()) == before  # measured in the same way
    assert main(["evaluate", run, "--limit", "9", "--only", "samples"]) == 0
    assert "recall" not in json.loads(file.read_text())  # others were measured with another limit
    assert main(["evaluate", run, "--only", "recall"]) == 2
    assert "There is no measure 'recall'; there are: retrieval," in capsys.readouterr().err


def test_a_report_of_a_run_whose_evaluation_was_killed_has_its_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _ = measured(tmp_path, [(i, i) for i in range(20)], 0.4)
    run = tmp_path / "run"
    for name in ("pictures", "examples"):
        shutil.rmtree(run / name)
    (run / "metrics.json").unlink()

    def killed(*_: Any) -> None:
        raise SystemExit(137)

    for name in ("pictures", "examples", "measured", "write_json"):
        with monkeypatch.context() as patch:
            patch.setattr(f"unbraid.evaluation.evaluate.{name}", killed)
            with pytest.raises(SystemExit):
                main(["evaluate", str(run), "--limit", "8"])
        assert not (run / "metrics.json").exists()  # so that `report` measures anew
    assert list((run / "pictures").glob("*.png"))
    assert main(["report", str(run)]) == 0
    assert json.loads((run / "metrics.json").read_text()).keys() == before.keys()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("photos", "line art"), ("photos", "line-art")),
        (("<b>x", "(b)x"), ("a", "b")),
        (("Photos?", "photos!"), ("a", "b")),
        (("ü" * 51, "sketches"), ("a", "sketches")),
    ],
)
def test_pictures_of_any_two_domains_have_two_short_names(names: tuple[str, str], expected: tuple[str, str]) -> None:
    model = Trained(CUT(replace(IMAGES, names=names), CUTConfig(width=4, blocks=1)), None, "", 0)
    assert tuple(file_name(model, domain) for domain in DOMAINS) == expected


def test_pictures_are_shown_with_a_word_on_each(tmp_path: Path) -> None:
    for name in ("translate-a-to-b.png", "translate-b-to-a.png", "analogy-a.png", "interpolate-shared-a.gif"):
        (tmp_path / name).touch()
    assert [path.name for path, _ in captions(tmp_path)] == ["translate-a-to-b.png", "analogy-a.png"]
    assert captions(tmp_path / "none") == []
