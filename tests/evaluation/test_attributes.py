import numpy as np
import pytest
import torch

from unbraid.evaluation.metrics import attributes
from unbraid.evaluation.metrics.attributes import AttributeReader, ImageReader, agreement, chance, many_of_each


def clouds(count: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Features around three points."""
    values = np.arange(count) % 3
    noise = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return noise + 8 * torch.eye(4)[torch.from_numpy(values)], values


def test_a_reader_tells_what_can_be_told() -> None:
    x, values = clouds(60, 0)
    reader = AttributeReader(x, values)
    assert reader.known.tolist() == [0, 1, 2]
    assert reader.count == 60
    other, wanted = clouds(30, 1)
    assert agreement(reader.read(other), wanted) == {"accuracy": 100.0, "balanced": 100.0}


def test_unknown_and_rare_values_are_left_out() -> None:
    x, values = clouds(60, 0)
    values = values.copy()
    values[:6], values[6] = -1, 9
    reader = AttributeReader(x, values)
    assert reader.known.tolist() == [0, 1, 2]
    assert reader.count == 53


def test_a_network_reads_shapes_in_any_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "MANY", 80)
    monkeypatch.setattr(attributes, "STEPS", 60)
    values = np.arange(180) % 2 * 3
    values[-12:] = -1  # not known
    draw = np.random.default_rng(0)
    x = torch.from_numpy(draw.uniform(-1, 1, (180, 3, 1, 1)).astype(np.float32)).expand(-1, -1, 16, 16).clone()
    x[values == 3, :, 4:12, 4:12] *= -1
    assert many_of_each(values)
    assert not many_of_each(values[:150])
    state = torch.get_rng_state()
    readers = [ImageReader(lambda rows: x[rows], np.arange(180), values, seed) for seed in (0, 0)]
    assert torch.equal(torch.get_rng_state(), state)
    assert readers[0].known.tolist() == [0, 3]
    assert readers[0].count == 168
    read, again = (reader.read(x[:168]) for reader in readers)
    assert (read == again).all()
    assert agreement(read, values[:168])["balanced"] > 95


def test_a_single_value_cannot_be_told() -> None:
    with pytest.raises(ValueError, match="two values"):
        AttributeReader(torch.zeros(5, 2), np.zeros(5, np.int64))
    with pytest.raises(ValueError, match="found 0"):
        AttributeReader(torch.zeros(5, 2), -np.ones(5, np.int64))


def test_chance_is_the_mean_over_pairings_with_others() -> None:
    found, wanted = np.array([0, 0, 1, 2, 0]), np.array([0, 1, 1, 0, 2])
    pairings = [np.roll(wanted, shift) for shift in range(1, 5)]  # together, each with each other once
    mean = np.mean([np.equal(found, others).mean() for others in pairings])
    assert chance(found, wanted)["accuracy"] == round(100 * mean, 3)
    each = [np.mean([np.equal(found, o)[np.equal(o, value)].mean() for o in pairings]) for value in range(3)]
    assert chance(found, wanted)["balanced"] == round(100 * np.mean(each), 3)


def test_rare_values_count_as_much_in_balanced_agreement() -> None:
    wanted = np.array([0] * 9 + [1])
    assert agreement(np.zeros(10, np.int64), wanted) == {"accuracy": 90.0, "balanced": 50.0}
    with pytest.raises(ValueError, match="no images"):
        agreement(wanted[:0], wanted[:0])
