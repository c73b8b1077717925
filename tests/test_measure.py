import math
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import IMAGES, SMALL_LORD, VECTORS, paired_data, subject_of
from unbraid.core.config import RunConfig, TrainConfig
from unbraid.core.method import Method
from unbraid.core.names import in_figure, in_text
from unbraid.core.types import DataSpec, UserError
from unbraid.data.parts import Part
from unbraid.evaluation.measure import ValidationFigures
from unbraid.evaluation.measures.samples import Samples
from unbraid.evaluation.validation import standard_error, validate
from unbraid.methods.iiae import IIAE, IIAEConfig
from unbraid.methods.lord import LORD
from unbraid.model.log import Log, in_a_line
from unbraid.model.run import Run
from unbraid.model.saved import Position
from unbraid.model.trained import Trained

SMALL = IIAEConfig(widths=(8, 8), decoder_widths=(8, 8), map_size=4, shared=4, vector_widths=(16, 16, 8))


def sample_figures(method: Method[Any], part: Part) -> dict[str, float]:
    subject = subject_of(Trained(method, None, "", 0), part)
    return Samples().watch(subject).figures if Samples().watches(subject) else {}


def test_samples_of_held_out_images_are_measured_and_disturb_nothing() -> None:
    torch.manual_seed(0)
    method, data = IIAE(IMAGES, SMALL), paired_data(IMAGES)
    before = torch.get_rng_state()
    figures = sample_figures(method, data.val)
    names = ["coverage a->b", "coverage b->a", "variety a->b", "variety b->a"]
    assert list(figures) == names
    assert all(0 <= value <= 200 for value in figures.values())
    assert torch.equal(torch.get_rng_state(), before)
    assert method.training
    assert sample_figures(method, data.val) == figures


def test_one_answer_to_everything_covers_little_and_has_no_variety() -> None:
    method, data = IIAE(IMAGES, SMALL), paired_data(IMAGES)
    method.decode = lambda codes, domain: torch.ones(len(codes.shared), 3, 16, 16)  # type: ignore[method-assign]
    assert set(sample_figures(method, data.val).values()) == {0.0}


def test_vectors_and_methods_without_a_prior_are_left_out() -> None:
    assert sample_figures(IIAE(VECTORS, SMALL), paired_data(VECTORS).val) == {}
    method = LORD(DataSpec(IMAGES.a, IMAGES.b, items=8, classes=(2,), domains=("a", "b")), SMALL_LORD)

    def none(*args: Any) -> None:
        raise UserError("nothing to draw from")

    assert len(sample_figures(method, paired_data(IMAGES).val)) == 4
    method.prior = none  # type: ignore[method-assign, assignment]
    assert sample_figures(method, paired_data(IMAGES).val) == {}


def test_figures_of_both_directions_share_a_name_in_the_line() -> None:
    figures = {"a->b": 95.0, "b->a": 94.04, "exclusive a->b": 0.2, "exclusive b->a": 0.0, "psnr": 20.0}
    both = "recall@1 (%) 95.0 / 94.0, by exclusive codes (%) 0.2 / 0.0, psnr 20.0"
    assert in_a_line(figures) == f"(a->b / back) {both}"
    assert in_a_line(figures, ("photos", "maps")) == f"(photos->maps / back) {both}"
    assert in_a_line({"coverage b->a": 3.0}) == "coverage b->a 3.0"
    assert in_a_line({"coverage b->a": 3.0}, ("photos", "maps")) == "coverage maps->photos 3.0"
    assert in_a_line({}) == ""


def test_names_of_domains_stand_in_texts_and_figures() -> None:
    names = ("photos", "b")
    assert in_text("the critic of domain a: a->b, a map", names) == "the critic of photos: photos->b, a map"
    assert in_text("domain b, b->a", ("a", "b")) == "domain b, b->a"
    figures = {"reconstruction_a": "reconstruction_photos", "change to b": "change to b", "area": "area"}
    assert {name: in_figure(name, names) for name in figures} == figures


def test_the_standard_error_is_that_of_a_share() -> None:
    assert standard_error(50, 100) == pytest.approx(5)
    assert standard_error(10, 400) == pytest.approx(100 * math.sqrt(0.1 * 0.9 / 400))
    assert standard_error(100, 7) == standard_error(0, 7) == standard_error(30, 0) == 0


def test_the_latest_of_the_models_that_are_equally_good_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = IIAEConfig(widths=(8,), decoder_widths=(8,), map_size=4, shared=4)
    run = Run.open(tmp_path / "run", "iiae", RunConfig(config, train=TrainConfig(steps=8)))
    method, data = IIAE(IMAGES, config), paired_data(IMAGES)
    error = standard_error(50, len(data.val))
    scores = [10, 50, 50 - 0.9 * error, 50 - 1.1 * error, 50 - 0.9 * error, 20]
    kept: list[int] = []
    position = Position()
    for step, score in enumerate(scores):
        found = ValidationFigures({"a->b": score + 1, "b->a": score - 1}, score, len(data.val))
        monkeypatch.setattr("unbraid.evaluation.measures.retrieval.Retrieval.watch", lambda *_, found=found: found)
        position = Position(**{**vars(position), "step": step})
        position = validate(run, method, data, position, Log(run.path, quiet=True))
        kept.append(position.best_step)
    assert kept == [0, 1, 2, 2, 4, 4]
    assert position.best == pytest.approx(50 - 0.9 * error)
    assert position.highest == 50
