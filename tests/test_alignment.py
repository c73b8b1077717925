from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unbraid.commands.cli import main

ROW = "face.png,20,20,40,20,30,40\n"
HEADER = "file,left_eye_x,left_eye_y,right_eye_x,right_eye_y,mouth_x,mouth_y\n"


def middle(photo: np.ndarray) -> list[tuple[float, float]] | None:
    """A detector: a face is where something is light."""
    return [(20, 20), (40, 20), (30, 40)] if photo.max() > 100 else None


def wrong(photo: np.ndarray) -> list[float]:
    return [1.0, 2.0]


@pytest.fixture(name="photos")
def make_photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    image = Image.new("RGB", (64, 64), (90, 150, 220))
    image.paste((200, 150, 120), (15, 10, 45, 55))
    image.save(folder / "face.png")
    Image.new("L", (64, 64), 3).save(folder / "inner" / "dark.jpg")
    (folder / "broken.png").write_text("no image")
    return folder


def align(photos: Path, *arguments: str) -> int:
    return main(["align", str(photos), "--out", str(photos.parent / "out"), *arguments])


def test_faces_of_a_table_are_written_and_the_others_are_named(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos.parent / "l.csv").write_text(HEADER + ROW)
    assert (
        align(photos, "--landmarks", str(photos.parent / "l.csv"), "--background", "white", "--size", "48", "40") == 0
    )
    said = capsys.readouterr().out
    assert "broken.png: not an image" in said
    assert "inner/dark.jpg: it is in no row" in said
    with Image.open(photos.parent / "out" / "face.png") as face:
        assert face.size == (40, 48)
        assert face.getpixel((1, 1)) == (255, 255, 255)


def test_a_detector_of_ones_own_finds_them(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert align(photos, "--detector", f"{__name__}:middle") == 0
    assert "inner/dark.jpg: no face was found" in capsys.readouterr().out
    assert [path.name for path in (photos.parent / "out").rglob("*.png")] == ["face.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give one of --landmarks"),
        (["--detector", f"{__name__}:wrong"], "it gave shape (2,)"),
        (["--detector", "math:nothing"], "no attribute 'nothing'"),
        (["--landmarks", "away.csv"], "away.csv can't be read"),
        (["--detector", f"{__name__}:middle", "--size", "0", "4"], "--size 0 4"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    photos: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert align(photos, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (photos.parent / "out").exists()


def test_photos_are_never_replaced(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos.parent / "l.csv").write_text(HEADER + ROW)
    before = (photos / "face.png").read_bytes()
    assert main(["align", str(photos), "--out", str(photos), "--landmarks", str(photos.parent / "l.csv")]) == 2
    (photos.parent / "l.csv").write_text(HEADER + "gone.png,1,2,3,4,5,6\n")
    assert align(photos, "--landmarks", str(photos.parent / "l.csv")) == 2
    assert "there is no such image" in capsys.readouterr().err
    assert (photos / "face.png").read_bytes() == before


def test_what_others_wrote_is_never_replaced(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = photos.parent / "out"
    for _ in range(2):  # what an earlier call made is
        assert align(photos, "--detector", f"{__name__}:middle") == 0
    Image.new("RGB", (4, 4)).save(out / "face.png")
    before = (out / "face.png").read_bytes()
    assert align(photos, "--detector", f"{__name__}:middle") == 2
    assert "has not made it" in capsys.readouterr().err
    assert (out / "face.png").read_bytes() == before
