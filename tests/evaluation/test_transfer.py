import numpy as np
import torch

from helpers import random_items
from unbraid.core.types import ImageSpec
from unbraid.data.parts import LabelledPart
from unbraid.evaluation.metrics.transfer import transfers

SPEC = ImageSpec(16, 16)


def part(classes: list[int], content: list[int] | None) -> LabelledPart:
    count = len(classes)
    labels = np.array(classes)[:, None]
    known = None if content is None else np.array(content)
    return LabelledPart(random_items(SPEC, count, 0), np.arange(count), labels, [str(i) for i in range(count)], known)


def test_the_truth_has_the_class_of_one_and_the_content_of_the_other() -> None:
    cars = part([car for car in range(4) for _ in range(6)], [view for _ in range(4) for view in range(6)])
    tasks = transfers(cars, 100, seed=0)
    assert len(tasks) == 24
    labels, content = cars.labels[:, 0], cars.content
    assert content is not None
    assert (labels[tasks.class_from] == labels[tasks.truth]).all()
    assert (content[tasks.class_from] != content[tasks.truth]).all()
    assert (content[tasks.content_from] == content[tasks.truth]).all()
    assert (labels[tasks.content_from] != labels[tasks.truth]).all()


def test_images_of_unknown_content_take_no_part_as_truth() -> None:
    tasks = transfers(part([0, 0, 1, 1], [-1, 2, -1, 2]), 10, seed=0)
    assert set(tasks.truth.tolist()) == {1, 3}


def test_without_content_labels_there_are_no_tasks() -> None:
    assert len(transfers(part([0, 0, 1, 1], None), 10, seed=0)) == 0
    assert len(transfers(part([0, 0, 1, 1], [0, 1, 2, 3]), 10, seed=0)) == 0


def test_the_same_seed_draws_the_same_tasks() -> None:
    cars = part([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2])
    first, second = (transfers(cars, 4, seed=3) for _ in range(2))
    assert np.array_equal(first.truth, second.truth)
    assert np.array_equal(first.class_from, second.class_from)
    assert torch.is_tensor(torch.from_numpy(first.content_from))
