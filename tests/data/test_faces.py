from pathlib import Path

import numpy as np
import pytest
import torch

from unbraid.core.types import UserError
from unbraid.data.faces import PLACES, aligned, find_detector, read_landmarks, similarity, without_background
from unbraid.data.listing import Listing

SKIN, SKY = (200, 150, 120), (90, 150, 220)
PHOTOS = Listing(Path("photos"), ["a.png"], [])
HEADER = "file,left_eye_x,left_eye_y,right_eye_x,right_eye_y,mouth_x,mouth_y\n"


def turned(angle: float, scale: float) -> np.ndarray:
    """Where PLACES of a 64 x 64 image stand in a photo that was turned and scaled."""
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return 64 * PLACES @ turn.T + np.array([30.0, 12.0])


def head(size: int = 100) -> np.ndarray:
    """A face of skin, with shoulders of its colour, before a sky that gets lighter downwards; three dots on it."""
    photo = np.zeros((size, size, 3), np.uint8) + np.array(SKY, np.uint8)
    photo[:, :, 1] += np.arange(size, dtype=np.uint8)[:, None] // 4
    y, x = np.mgrid[:size, :size]
    photo[(x - 50) ** 2 + (y - 50) ** 2 < 30**2] = SKIN
    photo[90:] = SKIN
    return photo


@pytest.mark.parametrize(("angle", "scale"), [(0.0, 1.0), (0.3, 2.5), (-0.5, 0.4)])
def test_similarity_finds_how_a_face_was_turned_and_scaled(angle: float, scale: float) -> None:
    landmarks = turned(angle, scale)
    matrix = similarity(landmarks, 64, 64)
    places = np.c_[64 * PLACES, np.ones(3)] @ matrix.T
    assert np.allclose(places, landmarks)
    assert np.hypot(matrix[0, 0], matrix[1, 0]) == pytest.approx(scale)


def test_landmarks_at_one_point_say_nothing() -> None:
    with pytest.raises(ValueError, match="one place"):
        similarity(np.ones((3, 2)), 64, 64)


def test_eyes_and_mouth_come_to_their_places() -> None:
    landmarks = turned(0.3, 2.0)
    photo = np.zeros((240, 240, 3), np.uint8)
    for x, y in landmarks:
        photo[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5] = 255
    face = aligned(photo, landmarks, 64, 64)
    assert face.shape == (64, 64, 3)
    for x, y in 64 * PLACES:
        assert face[int(y), int(x)].min() > 150
    assert (face > 100).mean() < 0.05  # and nothing else


def test_what_lies_outside_gets_the_background_or_the_border_colour() -> None:
    photo = np.full((50, 50, 3), 60, np.uint8)
    landmarks = np.array([(5.0, 5.0), (15.0, 5.0), (10.0, 15.0)])
    assert aligned(photo, landmarks, 32, 32, "white")[0, 0].tolist() == [255] * 3
    assert aligned(photo, landmarks, 32, 32)[0, 0].tolist() == [60] * 3


def test_a_plain_background_is_painted_over_and_the_head_stays() -> None:
    painted, plain = without_background(head(), "black")
    assert plain
    assert painted[5, 5].tolist() == painted[60, 10].tolist() == [0, 0, 0]
    assert painted[50, 50].tolist() == painted[95, 5].tolist() == list(SKIN)


def test_a_cluttered_background_stays() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    painted, plain = without_background(photo, "white")
    assert not plain
    assert np.array_equal(painted, photo)


def test_landmarks_are_read_from_a_table(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(HEADER + "a.png,1,2,3,4,5,6\n")
    assert read_landmarks(tmp_path / "l.csv", PHOTOS)["a.png"].tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER, "a header and no rows"),
        ("file,left_eye_x\na.png,1\n", "no column left_eye_y"),
        (HEADER + "a.png,1,2,3,4,5,\n", "row 2: six numbers"),
        (HEADER + "a.png,1,2,3,4,5\n", "row 2: six numbers"),
        (HEADER + "a.png,1,2,3,4,5,nan\n", "row 2: numbers must be finite"),
        (HEADER + "a.png,1,2,3,4,5,6\na.png,1,2,3,4,5,6\n", "row 3 names a.png again"),
        (HEADER + "b.png,1,2,3,4,5,6\n", r"row 2 names b\.png, and there is no such image in photos"),
    ],
)
def test_a_bad_table_of_landmarks_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_landmarks(tmp_path / "l.csv", PHOTOS)


def test_detectors_that_are_not_there_are_named() -> None:
    with pytest.raises(UserError, match="no attribute 'nothing'"):
        find_detector("math:nothing", torch.device("cpu"))
    with pytest.raises(UserError, match="there is mtcnn"):
        find_detector("haar", torch.device("cpu"))
