import base64
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from unbraid.web.figures import Cell, curves, download, scatter, sheet, tiles
from unbraid.web.views.codes import laid_out


def test_a_sheet_shows_its_pictures_and_keeps_its_parameters() -> None:
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(3, 16, 16)
    picture = sheet([[Cell(red, "red", "#00ff00"), Cell(None, "none")]], {"seed": "3"})
    pixels = np.asarray(picture)
    assert (pixels == (255, 0, 0)).all(-1).sum() == 176 * 176
    assert (pixels == (0, 255, 0)).all(-1).any()
    assert (picture.info["seed"], picture.info["Software"].split()[0]) == ("3", "unbraid")


def test_large_pictures_are_made_smaller() -> None:
    assert max(sheet([[Cell(torch.zeros(3, 1000, 500))]], {}).size) < 420


def test_curves_leave_out_what_isnt_finite_and_escape_names() -> None:
    text = curves("<b>", {"x": [(0, 1.0), (1, float("nan")), (2, 3.0)]})
    assert "nan" not in text
    assert "<b>&lt;" not in text
    assert "&lt;b&gt;" in text
    assert curves("x", {"y": [(0, float("inf"))]}) == ""
    assert text.count(",") < curves("x", {"y": [(i, float(i)) for i in range(5000)]}).count(",") < 700


def test_large_values_have_room_beside_the_axis() -> None:
    text = curves("loss", {"": [(0, 12_345.6), (1, 0.0321), (2, 8.2e6)]})
    assert re.findall(r'end" font-size="11" fill="currentColor">([^<]*)', text)[:2] == ["8.2M", "0.0321"]


def test_each_point_has_its_tile_and_its_words() -> None:
    text = scatter("map", np.array([[0.0, 0.0], [1.0, 1.0]]), ["x", "y"], ["first <", "second"])
    assert 'data-tile="1"' in text
    assert "first &lt;" in text
    assert tiles([torch.zeros(3, 8, 8)] * 3, columns=2).rows == 2


@pytest.mark.parametrize("layout", ["pca", "t-sne"])
def test_layouts_keep_groups_apart_and_repeat(layout: str) -> None:
    codes = np.random.default_rng(0).normal(size=(40, 6))
    codes[:20] += 20
    first, second = (laid_out(codes, layout, 0) for _ in range(2))  # type: ignore[arg-type]
    assert np.array_equal(first, second)
    near = np.linalg.norm(first[:20] - first[:20].mean(0), axis=1).mean()
    assert np.linalg.norm(first[:20].mean(0) - first[20:].mean(0)) > 2 * near


def test_codes_of_one_value_have_a_map() -> None:
    assert laid_out(np.arange(5.0)[:, None], "pca", 0).shape == (5, 2)


def test_pictures_carry_no_foreign_metadata() -> None:
    from unbraid.web.figures import described

    picture = Image.new("RGB", (2, 2))
    picture.info["exif"] = "place"
    assert "exif" not in described(picture, {"seed": "1"}).info


def test_curves_and_maps_are_saved_with_their_parameters() -> None:
    chart = curves("a->b & <c>", {"": [(0, 1.0), (1, 2.0)]})
    plan = scatter("codes", np.array([[0.0, 0.0], [1.0, 1.0]]), ["0", "1"], ['one "1"', "two"])
    link = download("run-codes", [chart, "", "<p>No map</p>", plan], {"run": "<run>", "seed": "3"})
    assert 'download="run-codes.svg"' in link
    found = re.search(r"base64,([^\"]*)", link)
    assert found is not None
    root = ElementTree.fromstring(base64.b64decode(found[1]))
    metadata = root.find("{*}metadata")
    assert metadata is not None
    assert json.loads(metadata.text or "")["run"] == "<run>"
    assert str(root.findtext("{*}text")).startswith("a->b & <c>")
    assert len(root.findall("{*}svg")) == 2
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 2
