from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unbraid.core.types import DOMAINS, Batch, DataSpec, Domain, ImageSpec, Labelled, Paired, Unpaired, UserError
from unbraid.data.balanced import BalancedOrder
from unbraid.data.batches import Batches
from unbraid.data.items import Chosen, Items, Rows, derangement
from unbraid.data.loading import needs
from unbraid.data.parts import Data, LabelledPart, PairedPart, Part, UnpairedPart, label_domains, listing
from unbraid.data.splits import Split, divide, held_out, linked

SPEC = ImageSpec(4, 4, 1)


@dataclass(frozen=True)
class Numbers:
    """Item i is an image full of i + offset."""

    count: int
    offset: int = 0
    spec: ImageSpec = SPEC

    def __len__(self) -> int:
        return self.count

    def read(self, rows: Rows, draw: int) -> torch.Tensor:
        return (torch.from_numpy(rows).float() + self.offset)[:, None, None, None].expand(-1, 1, 4, 4).clone()


NAMES = [str(i) for i in range(30)]
LABELS = np.arange(30) // 10


def paired() -> PairedPart:
    return PairedPart(Numbers(30), Numbers(30, offset=100), np.arange(5, 28), NAMES, LABELS)


def unpaired() -> UnpairedPart:
    return UnpairedPart(Numbers(30), Numbers(12, offset=100), np.arange(5, 28), np.arange(2, 12), NAMES, NAMES[:12])


def labelled() -> LabelledPart:
    return LabelledPart(Numbers(30), np.arange(5, 28), LABELS[:, None], NAMES)


def test_unpaired_items_are_counted_for_each_domain() -> None:
    assert [part.counted() for part in (paired(), unpaired(), labelled())] == ["23", "23 + 10", "23"]


def same(one: object, other: object) -> bool:
    fields = one.__dict__
    return all(torch.equal(fields[name], getattr(other, name)) for name in fields)


def test_a_part_says_what_it_has() -> None:
    pairs, apart, one = paired(), unpaired(), labelled()
    assert pairs.pairs() is pairs
    assert one.labelled() is one
    assert [part.pairs() for part in (apart, one)] == [part.labelled() for part in (pairs, apart)] == [None, None]
    assert [part.domains for part in (pairs, apart, one, label_domains(pairs))] == [
        ("a", "b"),
        ("a", "b"),
        ("a",),
        DOMAINS,
    ]
    assert apart.counts() == {"a": 23, "b": 10}
    assert one.counts() == {"a": len(one)}
    assert (pairs.describe(), apart.describe()) == (
        "23 pairs",
        "23 items of one domain and 10 of the other, without pairs",
    )


def test_a_part_offers_batches_of_other_types() -> None:
    pairs, apart, one = paired(), unpaired(), labelled()
    kinds = (Paired, Unpaired, Labelled)
    for part in (pairs, apart, one):
        for kind in kinds:
            offered = part.offer(kind)
            assert offered is None or isinstance(offered.batch(np.arange(3), 1), kind)
    offers = {part.batch_type: [part.offer(kind) is not None for kind in kinds] for part in (pairs, apart, one)}
    assert offers == {Paired: [True, True, True], Unpaired: [False, True, True], Labelled: [False, False, True]}


@dataclass(frozen=True)
class Triples(Batch):
    """A kind of batch that the package doesn't know."""

    advice: ClassVar[str] = "triples"
    a: torch.Tensor


@dataclass(frozen=True)
class TriplesPart(Part):
    """Its part."""

    batch_type = Triples
    items: Numbers

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, at: Rows, draw: int, augmentation: tuple[str, ...] = (), seed: int = 0) -> Triples:
        return Triples(self.items.read(at, draw))

    def domain(self, domain: Domain) -> tuple[Items, Rows]:
        return self.items, np.arange(len(self))

    def names_of(self, domain: Domain) -> Sequence[str]:
        return [str(i) for i in range(len(self))]

    def describe(self) -> str:
        return f"{len(self)} triples"

    def with_items(self, change: Callable[[Items], Items]) -> "TriplesPart":
        return self


def test_a_kind_of_batch_of_ones_own_needs_a_part_alone() -> None:
    part = TriplesPart(Numbers(4))
    data = Data("mine", DataSpec(SPEC, SPEC), part, part, part)
    assert needs(data, Triples, "mymethod") is data
    assert len(next(Batches[Triples](part, 3, seed=0)).a) == 3
    assert listing(data)["test"] == ["0", "1", "2", "3"] * 2
    with pytest.raises(UserError, match=r"iiae needs pairs: .* mine has 4 triples to train on"):
        needs(data, Paired, "iiae")
    with pytest.raises(UserError, match=r"mymethod needs triples\. mine has 23 pairs"):
        needs(replace(data, train=paired()), Triples, "mymethod")
    with pytest.raises(UserError, match="these data have none"):
        part.classes()


def test_names_labels_and_words_of_a_domain_stand_at_its_rows() -> None:
    apart = unpaired()
    joined = label_domains(apart)
    assert joined.names_of("b")[int(joined.domain("b")[1][0])] == "b/2"
    assert [apart.names_of("b")[int(row)] for row in apart.domain("b")[1]] == NAMES[2:12]
    assert joined.label_words("b", np.arange(2)) == {"domain": ["b", "b"]}
    pairs = paired()
    assert pairs.label_words("a", np.array([0, 22])) == {"label": ["0", "2"]}
    assert pairs.labels_of("b") is LABELS
    assert apart.labels_of("a") is None


def test_pairs_stay_together() -> None:
    part = paired()
    batch = next(Batches[Paired](part, 8, seed=0, augmentation=("flip", "shift")))
    assert torch.equal(batch.b, batch.a + 100)
    assert batch.index.max() < len(part)
    assert torch.equal(batch.a[:, 0, 0, 0].long(), torch.from_numpy(part.rows)[batch.index])
    labels = part.label(batch.index.numpy())
    assert labels is not None
    assert labels.tolist() == (batch.a[:, 0, 0, 0].long() // 10).tolist()


def test_unpaired_batches_come_from_their_own_rows() -> None:
    batches = Batches[Unpaired](unpaired(), 8, seed=0)
    seen = [next(batches) for _ in range(40)]
    a, b = torch.cat([batch.a for batch in seen]), torch.cat([batch.b for batch in seen])
    assert set(a[:, 0, 0, 0].tolist()) == set(range(5, 28))
    assert set(b[:, 0, 0, 0].tolist()) == set(range(102, 112))


def test_labelled_batches_carry_the_class() -> None:
    batch = next(Batches[Labelled](labelled(), 8, seed=0, augmentation=("turn",)))
    assert torch.equal(batch.label, batch.x[:, :1, 0, 0].long() // 10)
    assert torch.equal(torch.from_numpy(labelled().rows)[batch.index], batch.x[:, 0, 0, 0].long())
    assert labelled().label(np.array([0, 22])).tolist() == [[0], [2]]


@pytest.mark.parametrize("part", [paired(), unpaired()])
def test_two_domains_become_two_classes(part: PairedPart | UnpairedPart) -> None:
    joined = label_domains(part)
    batch = joined.batch(np.arange(len(joined)), 1)
    values, label = batch.x[:, 0, 0, 0].tolist(), batch.label[:, 0].tolist()
    b = range(105, 128) if isinstance(part, PairedPart) else range(102, 112)
    assert values == [*range(5, 28), *b]
    assert label == [0] * 23 + [1] * len(b)
    assert [joined.names[row] for row in joined.rows[[0, 23]]] == ["a/5", f"b/{b[0] - 100}"]
    assert len(joined.x) == len(joined.labels) == len(joined.names)
    for domain in DOMAINS:
        (items, rows), (old, old_rows) = joined.domain(domain), part.domain(domain)
        assert items is old
        assert rows.tolist() == old_rows.tolist()


def test_an_item_of_several_pairs_is_one_labelled_item() -> None:
    a, b = Chosen(Numbers(9), np.array([4, 4, 7, 4])), Chosen(Numbers(9), np.array([1, 2, 3, 5]))
    joined = label_domains(PairedPart(a, b, np.arange(1, 4), NAMES[:4]))
    assert joined.batch(np.arange(len(joined)), 0).x[:, 0, 0, 0].tolist() == [4, 7, 2, 3, 5]


def test_hidden_pairs_are_no_longer_together() -> None:
    batch = next(Batches[Unpaired](paired().unpaired(), 20, seed=0))
    assert (batch.b != batch.a + 100).any()


@pytest.mark.parametrize("part", [paired(), unpaired(), labelled()])
@pytest.mark.parametrize("augmentation", [(), ("flip", "turn", "shift")])
def test_a_batch_is_a_function_of_seed_and_step(part: Part, augmentation: tuple[str, ...]) -> None:
    running = Batches(part, 7, seed=3, augmentation=augmentation)
    all_batches = [next(running) for _ in range(9)]
    for step in (8, 0, 4):
        assert same(next(Batches(part, 7, 3, augmentation, step)), all_batches[step])
    assert not same(next(Batches(part, 7, 4, augmentation)), all_batches[0])


def test_a_pass_shows_every_item_once_and_the_next_in_another_order() -> None:
    part = paired()
    batches = Batches[Paired](part, len(part), seed=0)
    first, second = next(batches).index.tolist(), next(batches).index.tolist()
    assert sorted(first) == sorted(second) == list(range(len(part)))
    assert first != second


def test_every_batch_is_full_even_if_larger_than_the_part() -> None:
    assert len(next(Batches[Paired](paired(), 50, seed=0)).a) == 50


def test_an_unpaired_item_is_drawn_for_its_own_position_alone() -> None:
    part, at = unpaired(), np.array([4, 9, 1, 7])
    whole, half = part.batch(at, 1, ("shift",)), part.batch(at[2:], 1, ("shift",))
    assert torch.equal(whole.b[2:], half.b)
    assert torch.equal(whole.a[2:], half.a)


def test_chosen_items_are_read_through() -> None:
    items = Chosen(Numbers(30), np.array([7, 3, 7]))
    assert len(items) == 3
    assert items.spec == ImageSpec(4, 4, 1)
    assert items.read(np.array([2, 1]), 0)[:, 0, 0, 0].tolist() == [7, 3]


@given(
    count=st.integers(3, 200),
    val=st.floats(0, 0.49),
    test=st.floats(0, 0.49),
    seed=st.integers(0, 9),
    groups=st.integers(3, 50),
)
def test_division_is_complete_disjoint_and_keeps_groups(
    count: int, val: float, test: float, seed: int, groups: int
) -> None:
    keys = [i % groups for i in range(count)]
    split = divide(keys, val, test, seed)
    parts = [split.train, split.val, split.test]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(count))
    assert min(len(part) for part in parts) >= 1
    of = [{keys[row] for row in part} for part in parts]
    assert sum(len(group) for group in of) == len(set(keys))


@given(count=st.integers(3, 150), seed=st.integers(0, 9))
def test_another_file_hardly_moves_the_old_ones(count: int, seed: int) -> None:
    names = [f"{i}.png" for i in range(count)]
    before, after = divide(names, 0.1, 0.2, seed), divide([*names, "new.png"], 0.1, 0.2, seed)
    for old, new in ((before.train, after.train), (before.val, after.val), (before.test, after.test)):
        assert len(np.setdiff1d(old, new)) <= 1
    assert not np.intersect1d(before.test, after.val).size
    assert not np.intersect1d(before.val, after.test).size


def test_division_depends_on_names_and_seed_not_on_order() -> None:
    names = [f"{i}.png" for i in range(100)]
    split, turned = divide(names, 0.1, 0.1, 0), divide(names[::-1], 0.1, 0.1, 0)
    assert (len(split.train), len(split.val), len(split.test)) == (80, 10, 10)
    assert {names[i] for i in split.test} == {names[::-1][i] for i in turned.test}
    assert {names[i] for i in split.test} != {names[i] for i in divide(names, 0.1, 0.1, 1).test}


@pytest.mark.parametrize("keys", [[], ["x"], ["x", "y"], ["x", "y", "y", "x"]])
def test_too_few_items_to_divide(keys: list[str]) -> None:
    with pytest.raises(UserError, match="too few"):
        divide(keys, 0.1, 0.1, 0)


def test_overlapping_parts_are_refused() -> None:
    with pytest.raises(AssertionError, match="overlap"):
        Split(np.array([0, 1]), np.array([1]), np.array([2]))


def test_held_out_is_seeded_and_disjoint() -> None:
    rows = np.arange(10, 40)
    stay, out = held_out(rows, 5, seed=2)
    assert len(out) == 5
    assert np.array_equal(np.sort(np.concatenate([stay, out])), rows)
    assert np.array_equal(held_out(rows, 5, 2)[1], out)


def test_rows_are_linked_through_either_column() -> None:
    first = ["c", "b", "b", "d", "a", "z"]
    second = ["1", "1", "2", "3", "2", "4"]
    assert linked(first, second) == ["a", "a", "a", "d", "a", "z"]


UNEVEN = np.repeat([0, 1, 2], [20, 7, 3])[:, None]


def uneven() -> LabelledPart:
    return LabelledPart(Numbers(30), np.arange(30), UNEVEN, NAMES)


def test_balanced_classes_come_equally_often_and_each_item_once_before_any_again() -> None:
    batches = Batches[Labelled](uneven(), 4, seed=0, balanced=True)
    index = torch.cat([next(batches).index for _ in range(30)]).numpy()
    label = UNEVEN[index, 0]
    for end in range(1, len(label) + 1):
        counts = np.bincount(label[:end], minlength=3)
        assert counts.max() - counts.min() <= 1
    for number, count in enumerate((20, 7, 3)):
        shown = index[label == number]
        passes = [shown[i : i + count].tolist() for i in range(0, len(shown) - count + 1, count)]
        assert passes
        assert all(sorted(one) == np.flatnonzero(UNEVEN[:, 0] == number).tolist() for one in passes)
    assert len({tuple(index[label == 2][i : i + 3]) for i in range(0, 39, 3)}) > 1


@pytest.mark.parametrize(("augmentation", "count"), [((), 700), (("flip", "shift"), 20)])
def test_a_balanced_batch_is_a_function_of_seed_and_step(augmentation: tuple[str, ...], count: int) -> None:
    running = Batches(uneven(), 7, 3, augmentation, balanced=True)
    all_batches = [next(running) for _ in range(count)]  # 700 are more than are shuffled at a time
    for step in (count - 1, 0, 4):
        assert same(next(Batches(uneven(), 7, 3, augmentation, step, balanced=True)), all_batches[step])
    assert not same(next(Batches(uneven(), 7, 4, augmentation, balanced=True)), all_batches[0])


def test_repeated_items_of_a_small_class_get_new_draws() -> None:
    order = BalancedOrder(UNEVEN[:, 0], 0)
    seen = [(int(order.at(np.array([place]))[0]), order.draw(place)) for place in range(0, 90)]
    small = [one for one in seen if one[0] >= 27]
    assert len(small) == len(set(small)) == 30


def test_only_one_label_can_be_balanced() -> None:
    with pytest.raises(UserError, match=r"--data\.balanced .* these data have none"):
        Batches(unpaired(), 4, 0, balanced=True)
    with pytest.raises(UserError, match=r"--data\.balanced .* these data have none"):
        Batches(replace(paired(), labels=None), 4, 0, balanced=True)
    attributes = LabelledPart(Numbers(30), np.arange(30), np.repeat(UNEVEN, 2, axis=1), NAMES)
    with pytest.raises(UserError, match=r"--data\.balanced needs one label for each image, and these data have 2"):
        Batches(attributes, 4, 0, balanced=True)


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_a_derangement_has_others_and_each_is_taken_once(count: int) -> None:
    found = derangement(count)
    assert sorted(found) == list(range(count))
    assert count == 1 or (found != np.arange(count)).all()
