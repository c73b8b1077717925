from pathlib import Path

import torch
from PIL import Image

from unbraid.web.figures import Cell
from unbraid.web.page import Answer


def test_each_picture_is_a_file_of_its_own_as_large_as_the_model_makes_it(tmp_path: Path) -> None:
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(3, 9, 7)
    answer = Answer(
        [[Cell(red, "input, a/b")], [Cell(red, "true"), Cell(red, "sample 1")], [Cell(red, "x")]],
        {"seed": "3"},
        "",
        None,
    )
    files = answer.files(tmp_path, "demo-translate")
    assert [words for _, words in files] == ["input, a/b", "", "true", "sample 1", "x"]
    assert answer.columns == 2
    with Image.open(files[3][0]) as picture:
        assert picture.size == (7, 9)
        assert picture.getpixel((3, 3)) == (255, 0, 0)
        assert (picture.info["seed"], picture.info["picture"]) == ("3", "sample 1")
    assert Path(files[0][0]).name == "demo-translate-input-a-b.png"
    assert len({file for file, _ in files}) == 5
    with Image.open(files[1][0]) as nothing:
        assert nothing.getpixel((0, 0)) == (0, 0)
