"""The page in headless Chromium: every view on a small run, by what it shows, asks for and complains of."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image

from helpers import write_png
from unbraid.web.app import STYLE
from unbraid.web.figures import curves, scatter
from unbraid.web.runs import Runs
from web.conftest import Served, serving

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Any]:
    """A page that must ask its own server alone, and have nothing to complain of while it is open.

    For a second address a test opens another page of its context: leaving one breaks off what it still loads.
    """
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    trouble: list[str] = []
    context.on("console", lambda said: trouble.append(said.text) if said.type == "error" else None)
    context.on("weberror", lambda found: trouble.append(str(found.error)))
    own = ("http://127.0.0.1:", "data:", "blob:")
    context.on("request", lambda asked: None if asked.url.startswith(own) else trouble.append(f"asked {asked.url}"))
    context.set_default_timeout(20_000)
    yield context.new_page()
    found = [*trouble]
    context.close()
    assert not found


def picture(page: Any, view: str, behind: str = "") -> np.ndarray:
    """The pixels that a view's picture has on the screen, once it is another than `behind`."""
    shown, found = page.locator(f"#{view}-picture"), f"[...document.querySelectorAll('#{view}-picture img')]"
    shown.locator("img").first.wait_for(state="attached")
    if behind:
        page.wait_for_function(f"before => {found}.map((i) => i.src).join() !== before", arg=behind)
    shown.scroll_into_view_if_needed()
    page.wait_for_function(f"() => {found}.every((i) => i.complete && i.naturalWidth > 0)")
    page.wait_for_timeout(400)
    return np.asarray(Image.open(io.BytesIO(shown.screenshot())).convert("RGB"))


def source(page: Any, view: str) -> str:
    return page.evaluate(f"[...document.querySelectorAll('#{view}-picture img')].map((i) => i.src).join()")


def colourful(pixels: np.ndarray) -> bool:
    """Whether a picture is more than a blank sheet: random images have many colours."""
    return len(np.unique(pixels.reshape(-1, 3) // 32, axis=0)) > 30 and min(pixels.shape[:2]) > 100


def test_the_first_page_shows_a_translation_and_picking_another_changes_it(page: Any, served: Served) -> None:
    page.goto(served.address)
    first = picture(page, "translate")
    assert colourful(first)
    before = source(page, "translate")
    page.locator("#tab-translate, [role=tabpanel]").first.locator(".picker button").nth(1).click()
    second = picture(page, "translate", before)
    assert second.shape != first.shape or not np.array_equal(first, second)
    before = source(page, "translate")
    page.get_by_role("button", name="Other samples").click()
    picture(page, "translate", before)
    page.wait_for_function("() => document.querySelector('#translate-words').innerText.includes('seed 1')")
    assert "translated from photo to sketch, seed 1" in page.locator("#translate-words").inner_text()
    assert page.locator("#translate-picture img").nth(1).get_attribute("alt") == "sample 1"


def test_each_sample_and_all_as_one_can_be_saved(page: Any, served: Served, tmp_path: Path) -> None:
    page.goto(f"{served.address}?view=translate&run=pairs&item=1&samples=2")
    picture(page, "translate")
    with page.expect_download() as whole:
        page.locator("#translate-sheet").click()
    whole.value.save_as(tmp_path / "whole.png")
    page.locator("#translate-picture .thumbnail-lg").nth(1).click()
    with page.expect_download() as one:
        page.locator("#translate-picture .preview").get_by_label("Download").click()
    one.value.save_as(tmp_path / "one.png")
    with Image.open(tmp_path / "whole.png") as sheet, Image.open(tmp_path / "one.png") as sample:
        assert sheet.width > 4 * 176
        assert (sample.size, sample.info["picture"]) == ((16, 16), "sample 1")


@pytest.fixture
def log(folder: Path) -> Iterator[Path]:
    """The log of a run, which is as it was when the test is done."""
    log, sample = folder / "pairs" / "log.jsonl", folder / "pairs" / "samples" / "0-0000009.png"
    before = log.read_text()
    yield log
    log.write_text(before)
    sample.unlink(missing_ok=True)


def test_a_curve_is_shown_large_in_part_and_whole_again_while_training_goes_on(
    page: Any, served: Served, log: Path
) -> None:
    axis = "(document.querySelector('#training-chart .role-axis-label')?.children ?? [])"
    steps = f"[...{axis}].map((label) => label.textContent).filter((text) => text).map(Number)"

    def shows(first: str, last: str) -> None:
        page.wait_for_function(f"() => Math.min(...{steps}) {first} && Math.max(...{steps}) {last}")

    page.goto(f"{served.address}?view=training&run=pairs")
    picture(page, "training")
    page.get_by_text("One curve, large").click()
    shows("== 2", "== 4")
    assert "photo → sketch" in page.locator("#training-chart").inner_text()
    assert "photo → sketch" in page.locator("#training-charts").inner_text()
    box = page.locator("#training-chart svg.marks").bounding_box()
    left, middle, top = box["x"] + 0.4 * box["width"], box["x"] + 0.6 * box["width"], box["y"] + 60
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(middle, top, steps=8)
    page.mouse.up()
    shows("> 2.5", "< 3.5")
    with log.open("a") as file:
        file.write(json.dumps({"stage": 0, "step": 9, "seconds": 1.0, "validation": {"a->b": 50.0}}) + "\n")
    shutil.copy(log.parent / "samples" / "0-0000004.png", log.parent / "samples" / "0-0000009.png")
    page.get_by_text("step 9; 3 of 3").wait_for()
    shows("> 2.5", "< 3.5")
    page.mouse.dblclick(left, top)
    shows("== 2", "== 9")


def test_no_button_lies_on_the_samples(page: Any, served: Served) -> None:
    page.goto(f"{served.address}?view=training&run=pairs")
    picture(page, "training")
    buttons = page.locator("#training-picture .icon-button-wrapper").bounding_box()
    sheet = page.locator("#training-picture img").bounding_box()
    assert sheet["y"] >= buttons["y"] + buttons["height"]


def test_an_upload_is_shown_in_the_other_domain(page: Any, served: Served, tmp_path: Path) -> None:
    page.goto(served.address)
    picture(page, "translate")
    before = source(page, "translate")
    page.locator(".upload-input input[type=file]").first.set_input_files(write_png(tmp_path / "mine.png", 5, (40, 30)))
    assert colourful(picture(page, "translate", before))
    page.get_by_text("Uploaded, translated").wait_for()


def test_a_bad_upload_is_said_in_words_and_the_page_goes_on(page: Any, served: Served, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    page.goto(served.address)
    picture(page, "translate")
    page.locator(".upload-input input[type=file]").first.set_input_files(tmp_path / "text.png")
    page.get_by_text("The image can't be read: not an image").wait_for()
    assert "Traceback" not in page.content()
    page.wait_for_function("() => document.querySelector('#translate-words').innerText.trim() === ''")
    assert page.locator("#translate-link a").count() == 0  # which led to the answer before
    assert source(page, "translate") == ""
    page.wait_for_function("() => !document.querySelector('.upload-input img')")
    page.locator(".picker button").nth(2).click()
    assert colourful(picture(page, "translate"))
    page.get_by_text("(test item 2 of photo), translated").wait_for()


@pytest.mark.parametrize("view", ["analogies", "interpolate", "search", "training", "compare"])
def test_each_tab_draws_when_it_is_opened(page: Any, served: Served, view: str) -> None:
    page.goto(served.address)
    picture(page, "translate")
    page.get_by_role("tab", name=view.title()).click()
    assert colourful(picture(page, view))
    if view == "training":
        assert page.locator("#training-charts svg polyline").count() > 3


def test_points_of_the_map_show_their_images_under_pointer_and_keys(page: Any, served: Served) -> None:
    page.goto(f"{served.address}?view=codes&run=pairs&items=20&colour=domain")
    page.locator("#codes-maps .point").first.wait_for()
    page.locator("#codes-maps .point").nth(3).hover(force=True)
    hover = page.locator("#codes-maps .hover")
    hover.wait_for()
    assert "test item" in hover.inner_text()
    page.mouse.move(0, 0)
    page.locator("#codes-maps svg").first.focus()
    page.keyboard.press("ArrowRight")
    hover.wait_for()
    page.wait_for_timeout(500)
    tile = np.asarray(Image.open(io.BytesIO(hover.locator("div").screenshot())).convert("RGB"))
    assert len(np.unique(tile.reshape(-1, 3) // 32, axis=0)) > 30
    assert page.locator("#codes-maps .point.here").count() == 1
    assert "domain from shared" in page.locator(".leaks").inner_text()


def test_a_link_shows_the_same_again(page: Any, served: Served) -> None:
    page.goto(
        f"{served.address}?view=interpolate&run=pairs&domain=b&first=0&second=2&shared=0.3&part=exclusive&steps=3"
    )
    words = "0.3 of the way in what is shared"
    page.get_by_text(words).wait_for()
    first = picture(page, "interpolate")
    assert page.locator(".picker img:visible").first.get_attribute("alt") == "test item 0 of sketch"
    link = page.locator("#interpolate-link a").get_attribute("href")
    again = page.context.new_page()
    again.goto(served.address + link.removeprefix("./"))
    again.get_by_text(words).wait_for()
    second = picture(again, "interpolate").astype(int)
    assert second.shape == first.shape
    assert np.abs(second - first).max() <= 2  # rounded corners differ by 1 of 255


def test_what_a_run_has_not_is_absent_with_the_reason(page: Any, served: Served) -> None:
    page.goto(f"{served.address}?run=faces")
    assert colourful(picture(page, "analogies"))
    page.get_by_text("there is no second domain to translate to").first.wait_for()
    assert page.get_by_role("tab", name="Translate").count() == 0
    assert page.locator("fieldset:visible").count() == 0  # of one domain, none is to be chosen
    plain = page.context.new_page()
    plain.goto(f"{served.address}?run=plain")
    assert colourful(picture(plain, "translate"))
    plain.get_by_text("without taking items apart").first.wait_for()
    assert plain.get_by_role("tab", name="Analogies").count() == 0


def test_a_link_to_no_run_is_said_in_words(page: Any, served: Served) -> None:
    page.goto(f"{served.address}?run=gone")
    page.locator("#state").get_by_text("There is no run 'gone' here").wait_for()
    assert colourful(picture(page, "translate"))
    other = page.context.new_page()
    other.goto(f"{served.address}?run=plain&item=x")
    other.locator("#state").get_by_text("The link says 'x' where a number belongs").wait_for()
    assert colourful(picture(other, "translate"))
    assert other.get_by_label("Run").first.input_value() == "plain"


def test_a_curve_of_one_point_is_seen(page: Any) -> None:
    page.set_content(curves("loss", {"": [(60, 0.5)]}))
    shown = np.asarray(Image.open(io.BytesIO(page.locator("svg").screenshot())).convert("RGB"))
    assert (shown == (0x2F, 0x6F, 0xDE)).all(-1).any()


def test_a_long_name_in_a_legend_is_not_cut_off(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.set_content(f"<style>{STYLE}</style>{scatter('map', np.eye(2), ['name-' * 20, 'b'], ['', ''])}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_only_what_a_search_finds_is_framed(page: Any) -> None:
    cell = '<div class="cells" id="{}-picture"><p class="thumbnail-lg"><img alt="best pair"></p></div>'
    page.set_content(f"<style>{STYLE}</style>{cell.format('compare')}{cell.format('search')}")
    frames = page.evaluate("[...document.images].map((image) => getComputedStyle(image).outlineStyle)")
    assert frames == ["none", "solid"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_the_picture_first_and_nothing_is_cut_off(browser: Any, served: Served, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    phone = context.new_page()
    phone.goto(served.address)
    assert picture(phone, "translate").shape[1] > 300
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    ground = np.asarray(Image.open(io.BytesIO(phone.screenshot())).convert("L"))[-20:, :4].mean()
    assert ground < 60 if scheme == "dark" else ground > 200
    phone.goto(f"{served.address}?view=codes&run=pairs&items=20")
    phone.locator(".leaks").wait_for()
    cells = "[...document.querySelectorAll('.leaks td')].map((cell) => cell.getBoundingClientRect().right)"
    assert max(phone.evaluate(cells)) <= 390
    phone.goto(f"{served.address}?view=analogies&run=pairs")
    picture(phone, "analogies")
    picker = phone.locator(".picker:visible").first
    label, thumb = picker.locator("label").bounding_box(), picker.locator("button img").first.bounding_box()
    assert label["height"] > 40  # two lines
    assert label["y"] + label["height"] <= thumb["y"]
    context.close()


def test_it_works_by_keyboard(page: Any, served: Served) -> None:
    page.goto(served.address)
    picture(page, "translate")
    before = source(page, "translate")
    page.locator(".picker button").nth(1).focus()
    page.keyboard.press("Enter")
    picture(page, "translate", before)
    page.get_by_role("tab", name="Translate").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("[role=tab][aria-selected=true]", has_text="Analogies").wait_for()


ODD = "*a* _b_ $x$ `c` <b> [d](e) | # ~~f~~ &amp; {{1}} ${2}"
"""What Markdown, HTML, LaTeX and templates would read."""


@pytest.fixture
def odd(folder: Path, served: Served, tmp_path: Path) -> Iterator[Served]:
    """A run of this name, of images of such names, and a copy of it without data."""
    for side in ("photo", "sketch"):
        for i in range(30):
            write_png(tmp_path / ODD / side / f"{ODD} {i:02d}.png", i)
    for name in (ODD, f"gone {ODD}"):
        shutil.copytree(folder / "pairs", tmp_path / name / "run")
    config = json.loads((tmp_path / ODD / "run" / "config.json").read_text())
    config["config"]["data"] |= {"a": str(tmp_path / ODD / "photo"), "b": str(tmp_path / ODD / "sketch")}
    (tmp_path / ODD / "run" / "config.json").write_text(json.dumps(config))
    config["config"]["data"] |= {"a": str(tmp_path / f"gone {ODD}")}
    (tmp_path / f"gone {ODD}" / "run" / "config.json").write_text(json.dumps(config))
    runs = Runs([tmp_path / ODD / "run", tmp_path / f"gone {ODD}" / "run"])
    with serving(runs, served.folder) as started:
        yield started


def test_names_are_shown_as_they_are_written(page: Any, odd: Served) -> None:
    def said(where: str) -> str:
        page.wait_for_function(f"() => document.querySelector('{where}')?.innerText.length > 20")
        return page.locator(where).inner_text()

    page.goto(odd.address)
    picture(page, "translate")
    assert f"{ODD} " in said("#translate-words")
    assert page.get_by_label("Run").first.input_value() == f"{ODD}/run"
    for view in ("Compare", "Training", "Search", "Interpolate", "Analogies"):
        page.get_by_role("tab", name=view).click()
        picture(page, view.lower())
        assert ODD in said(f"#{view.lower()}-words"), view
    page.get_by_role("tab", name="Compare").click()
    assert page.get_by_label(f"{ODD}/run", exact=True).count()
    page.get_by_role("tab", name="Codes").click()
    page.locator("#codes-maps .point").nth(3).hover(force=True)
    assert f"{ODD} " in said("#codes-maps .hover")
    gone = page.context.new_page()
    gone.goto(f"{odd.address}?{urlencode({'run': f'gone {ODD}/run'})}")
    gone.locator("#state").get_by_text("upload pictures").wait_for()
    assert f"gone {ODD}" in gone.locator("#state").inner_text()
    lost = page.context.new_page()
    lost.goto(f"{odd.address}?{urlencode({'run': ODD})}")
    lost.get_by_text("There is no run").wait_for()
    assert f"'{ODD}'" in lost.get_by_text("There is no run").inner_text()
