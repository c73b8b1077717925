"""What several measures need is computed once."""

import numpy as np
import pytest
import torch

from helpers import IMAGES, random_data, subject_of
from indexes import SMALL
from unbraid.evaluation.subject import Subject
from unbraid.methods.iiae import IIAE
from unbraid.model.codes import encode_all
from unbraid.model.trained import Trained


@pytest.fixture
def subject() -> Subject:
    torch.manual_seed(0)
    data = random_data(IMAGES)
    return subject_of(Trained(IIAE(IMAGES, SMALL).eval(), None, "iiae", 0), data.test, data)


def test_codes_of_rows_are_those_of_the_whole_part_where_these_are_kept(subject: Subject) -> None:
    items, known = subject.part.domain("a")
    rows = known[[3, 0, 3]]
    wanted = encode_all(subject.model.method, items.read(rows, 0), "a")
    fresh = subject.codes_of("a", rows)
    subject.encoded("a")
    for found in (fresh, subject.codes_of("a", rows)):
        torch.testing.assert_close(found.shared, wanted.shared)
        torch.testing.assert_close(found.exclusive, wanted.exclusive)


def test_items_are_encoded_and_translated_once(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = subject.part.domain("a")[1]
    once = subject.encoded("a"), subject.translated("a", rows), subject.translated_features("a", rows)
    monkeypatch.setattr(subject.model.method, "encode", None)
    again = subject.encoded("a"), subject.translated("a", np.array(rows)), subject.translated_features("a", rows)
    assert all(one is other for one, other in zip(once, again, strict=True))
    assert len(subject.codes_of("a", rows[:2]).shared) == 2
