"""Training stops when held-out figures get no better, if asked to, and says how to go on."""

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import IMAGES, paired_data
from unbraid.core.config import RunConfig, TrainConfig
from unbraid.evaluation import validation
from unbraid.evaluation.measure import ValidationFigures
from unbraid.evaluation.measures.retrieval import Retrieval
from unbraid.methods.iiae import IIAE, IIAEConfig
from unbraid.model.log import Log, read_log
from unbraid.model.run import Run
from unbraid.model.saved import Position
from unbraid.training.loop import fit
from unbraid.training.patience import STILL, remarks

SMALL = IIAEConfig(widths=(8,), decoder_widths=(8,), map_size=4, shared=4)


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Validation scores that come, one at each measurement; the last one for good."""
    left: list[float] = []

    def watch(self: Retrieval, subject: Any) -> ValidationFigures:
        return ValidationFigures({"recall": left[0]}, left.pop(0) if len(left) > 1 else left[0], 20)

    monkeypatch.setattr(Retrieval, "watch", watch)
    monkeypatch.setattr(validation, "MEASURES", (Retrieval(),))
    return left


def train(folder: Path, whole_from: float = 0.0, **settings: Any) -> Position:
    config = TrainConfig(**{"steps": 20, "batch": 4, "evaluate_every": 1, "precision": "fp32", **settings})
    run = Run.open(folder, "iiae", RunConfig(SMALL, train=config), any_length=True)
    torch.manual_seed(0)
    method = IIAE(IMAGES, SMALL)
    method.whole_from = whole_from
    return fit(run, method, paired_data(IMAGES), Log(folder, quiet=True))


def events(folder: Path) -> list[str]:
    return [row["event"] for row in read_log(folder / "log.jsonl") if "event" in row]


def test_patience_ends_training_and_says_how_to_go_on(tmp_path: Path, scores: list[float]) -> None:
    scores += [10.0, 30.0, 20.0, 20.0, 20.0]
    assert train(tmp_path, patience=3).step == 5
    said = "Stopped at step 5: 3 measurements in a row without a better held-out score than 30.0"
    assert said in events(tmp_path)[-1]
    assert "--train.patience 6, or None" in events(tmp_path)[-1]
    assert train(tmp_path, patience=3).step == 5  # and the same command says it again
    assert sum(said in text for text in events(tmp_path)) == 2
    scores[:] = [20.0]
    assert train(tmp_path, patience=6).step == 8
    scores[:] = [40.0, 50.0, 60.0]
    assert train(tmp_path, patience=None, steps=11).step == 11


def test_until_the_loss_is_whole_nothing_is_waited_for_and_no_model_stays(tmp_path: Path, scores: list[float]) -> None:
    scores += [90.0] * 10 + [10.0]
    found = train(tmp_path, patience=3, whole_from=0.5)
    assert (found.step, found.best_step, found.highest) == (14, 14, 10.0)
    assert ["measurements in a row" in text for text in events(tmp_path)[1:]] == [True]


def test_a_score_that_rises_is_waited_for(tmp_path: Path, scores: list[float]) -> None:
    scores += [10.0, 10.0, 11.0, 11.0, 12.0, 12.0]
    assert train(tmp_path, patience=2, steps=6).step == 6
    assert not any("Stopped" in text for text in events(tmp_path))


def test_a_standstill_is_said_once_without_patience(tmp_path: Path, scores: list[float]) -> None:
    scores += [10.0]
    train(tmp_path, steps=STILL + 3)
    assert sum("Held-out figures have stopped moving: 5 measurements" in text for text in events(tmp_path)) == 1


def test_patience_without_a_score_is_said() -> None:
    said = remarks(TrainConfig(patience=2), Position(step=1, best=0.0, highest=0.0))
    assert "there was none" in said[0]
