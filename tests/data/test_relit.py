"""Cars in scenes whose numbers are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unbraid.core.data_config import DataConfig
from unbraid.core.types import DataSpec, ImageSpec, Paired, Unpaired, UserError
from unbraid.data.batches import Batches
from unbraid.data.items import Recombining
from unbraid.data.loading import load, needs
from unbraid.data.parts import Data, PairedPart, UnpairedPart, listing
from unbraid.data.sources.relit import VIEWS, RelitCars, relit, scenes, taken_apart

SIZE = 16


def box(colour: tuple[float, float, float], left: int = 3, right: int = 12, size: int = SIZE) -> Tensor:
    """A car that is a box on white, its left edge half covering. (1, 3, size, size) in [0, 1]."""
    x = torch.ones(1, 3, size, size)
    x[:, :, size // 2 - 2 : size // 2 + 3, left:right] = torch.tensor(colour)[:, None, None]
    x[:, :, size // 2 - 2 : size // 2 + 3, left - 1] = (torch.tensor(colour)[:, None] + 1) / 2
    return x


@pytest.fixture
def cars(tmp_path: Path) -> Path:
    """24 sheets: a box on white, red tells the car, green the elevation, blue the azimuth."""
    (tmp_path / "cars3d").mkdir()
    for car in range(24):
        sheet = np.full((4, SIZE, 24, SIZE, 3), 255, np.uint8)
        inside = sheet[:, 6:11, :, 3:12]
        inside[..., 0] = 10 * car
        inside[..., 1] = 20 * np.arange(4)[:, None, None, None]
        inside[..., 2] = 5 * np.arange(24)[:, None]
        Image.fromarray(sheet.reshape(4 * SIZE, 24 * SIZE, 3)).save(tmp_path / "cars3d" / f"car_{car:03d}.png")
    return tmp_path


def loaded(cars: Path, **changes: object) -> Data:
    return load(replace(DataConfig(set="relit", root=cars), **changes))  # type: ignore[arg-type]


def rich(data: Data) -> RelitCars:
    assert isinstance(data.test, PairedPart)
    assert isinstance(data.test.a, RelitCars)
    return data.test.a


def training(data: Data) -> UnpairedPart:
    assert isinstance(data.train, UnpairedPart)
    return data.train


def numbers(x: Tensor) -> np.ndarray:
    """Car, elevation and azimuth of plain items, by their colour. (n, 3)."""
    pixels = ((x[:, :, x.shape[2] // 2, x.shape[3] // 2] + 1) * 127.5).round().int().numpy()
    return pixels // np.array([10, 20, 5])


def test_items_follow_from_seed_row_and_draw_alone(cars: Path) -> None:
    items = rich(loaded(cars))
    rows = np.array([5, 99, 0, 5])
    for draw in (0, 3):
        x = items.read(rows, draw)
        assert torch.equal(x[0], x[3])
        assert torch.equal(x[1:2], items.read(rows[1:2], draw))
        assert torch.equal(x, rich(loaded(cars)).read(rows, draw))
    x = items.read(rows, 0)
    for other in (items.read(rows, 1), replace(items, seed=1).read(rows, 0)):
        assert ((x - other).abs().mean((1, 2, 3)) > 0.05).all()


def test_recombined_cars_are_one_car_in_the_scene_of_another(cars: Path) -> None:
    data = loaded(cars)
    items = rich(data)
    assert isinstance(items, Recombining)
    assert isinstance(data.test, PairedPart)
    assert not isinstance(data.test.b, Recombining)  # it has nothing of its own
    shared, exclusive = data.test.rows[:30], np.random.default_rng(0).permutation(data.test.rows)[:30]
    assert torch.equal(items.recombined(shared, shared), items.read(shared, 0))
    made, other = items.recombined(shared, exclusive), items.read(exclusive, 0)
    plain = (items.images.read(shared, 0) + 1) / 2
    assert torch.equal(made, relit(plain, scenes(0, exclusive, 0), items.spec) * 2 - 1)
    assert torch.equal(made[:, :, :3], other[:, :, :3])  # far above the boxes there is only background
    assert (made[:, :, 6:11, 3:12] - other[:, :, 6:11, 3:12]).abs().mean() > 0.02


def test_training_has_no_car_in_both_domains(cars: Path) -> None:
    data = needs(loaded(cars), Unpaired, "uncooperative")
    assert isinstance(data.val, PairedPart)
    assert isinstance(data.test, PairedPart)
    train = training(data)
    of = [set((rows // VIEWS).tolist()) for rows in (train.rows_a, train.rows_b, data.val.rows, data.test.rows)]
    assert [len(some) for some in of] == [4, 3, 10, 7]
    assert len(set.union(*of)) == 24
    assert [len(train.rows_a), len(data.val), len(data.test)] == [4 * VIEWS, 10 * VIEWS, 7 * VIEWS]
    assert set(numbers(train.b.read(train.rows_b, 1))[:, 0]) == of[1]
    other = training(loaded(cars, seed=1))
    assert set((other.rows_a // VIEWS).tolist()) != of[0]
    held_out = load(DataConfig(set="cars", root=cars)).test
    assert isinstance(held_out, PairedPart)
    assert held_out.labels is not None
    assert set(held_out.labels[held_out.rows].tolist()) == of[3]


def test_each_pass_of_training_has_new_scenes_and_old_renders(cars: Path) -> None:
    train = training(loaded(cars))
    rows = train.rows_a[:8]
    assert not torch.isclose(train.a.read(rows, 1), train.a.read(rows, 2)).all(3).all(2).any()
    assert torch.equal(train.b.read(rows, 1), train.b.read(rows, 2))
    batches = Batches[Unpaired](train, 4, seed=0)
    assert next(batches).a.shape == (4, 3, SIZE, SIZE)


@pytest.mark.parametrize(
    ("size", "channels", "spec"),
    [
        (None, None, ImageSpec(SIZE, SIZE, 3)),
        ((32, 32), 3, ImageSpec(32, 32, 3)),
        ((8, 12), None, ImageSpec(8, 12, 3)),
        ((1, 1), None, ImageSpec(1, 1, 3)),
        (None, 1, ImageSpec(SIZE, SIZE, 1)),
    ],
)
def test_values_are_in_range_at_any_size(
    cars: Path, size: tuple[int, int] | None, channels: int | None, spec: ImageSpec
) -> None:
    data = loaded(cars, size=size, channels=channels)
    assert data.spec == DataSpec(spec, spec)
    assert isinstance(data.test, PairedPart)
    batch = data.test.batch(np.arange(60), 0)
    for x in (batch.a, batch.b):
        assert x.shape == (60, *spec.shape)
        assert x.dtype == torch.float32
        assert x.abs().max() <= 1


def test_poor_items_are_the_renders_on_grey(cars: Path) -> None:
    data = loaded(cars)
    for part in (data.val, data.test):
        assert isinstance(part, PairedPart)
        at = np.arange(len(part))
        b = part.batch(at, 0).b
        assert b[:, :, 0].abs().max() < 0.01
        elevation, azimuth = part.rows % VIEWS // 24, part.rows % 24
        assert np.array_equal(numbers(b), np.stack([part.rows // VIEWS, elevation, azimuth], 1))
        labels = part.label(at)
        assert labels is not None
        assert np.array_equal(labels, part.rows // VIEWS)
    assert listing(data)["test"][0].endswith("elevation 0, azimuth 0")
    assert "ours" in data.remark


def test_factors_are_the_numbers_of_the_stored_scenes(cars: Path) -> None:
    part = loaded(cars).test
    assert isinstance(part, PairedPart)
    assert set(part.factors) > {"light x", "light height", "light red", "ambient blue", "shadow", "ground green"}
    assert "residual" not in part.factors  # means a single number elsewhere
    scene = scenes(0, part.rows, 0)
    for values in part.factors.values():
        assert values.shape == (24 * VIEWS,)
        assert values.dtype == np.float64
        assert values[part.rows].std() > 0
    assert np.allclose(part.factors["light x"][part.rows], scene.light_x.flatten().numpy())
    assert np.allclose(part.factors["ground green"][part.rows], scene.ground[:, 1].flatten().numpy())
    table = np.corrcoef(np.stack([part.factors[name] for name in ("light x", "light height", "shadow", "grain")]))
    assert np.abs(table - np.eye(4)).max() < 0.1


@pytest.mark.parametrize("colour", [(0.8, 0.1, 0.1), (0.0, 0.0, 0.0), (0.7, 0.7, 0.75)])
def test_a_render_is_taken_apart_at_its_edges(colour: tuple[float, float, float]) -> None:
    render = box(colour)
    front, cover = taken_apart(render)
    torch.testing.assert_close(front + 1 - cover, render)
    assert (cover[0, 0, :5] == 0).all()
    assert (cover[0, 0, 7:10, 4:11] == 1).all()
    torch.testing.assert_close(cover[0, 0, 7:10, 2], torch.full((3,), 0.5), rtol=0, atol=0.02)
    torch.testing.assert_close(front[0, :, 8, 2], torch.tensor(colour) / 2, rtol=0, atol=0.02)


def test_white_inside_a_car_belongs_to_it() -> None:
    render = box((0.2, 0.3, 0.4))
    render[:, :, 7:10, 5:8] = 1
    _, cover = taken_apart(render)
    assert (cover[0, 0, 7:10, 5:8] == 1).all()
    render[:, :, 10:, 5:8] = 1  # but not under it, between its wheels
    _, cover = taken_apart(render)
    assert (cover[0, 0, 10:, 6] == 0).all()


def test_nothing_is_taken_apart_to_nothing() -> None:
    render = torch.full((1, 3, SIZE, SIZE), 1.0)
    front, cover = taken_apart(render)
    assert not front.any()
    assert not cover.any()
    assert torch.isfinite(relit(render, scenes(0, np.arange(1), 0), ImageSpec(SIZE, SIZE))).all()


def test_light_and_shadow_fall_from_where_the_light_is() -> None:
    render = box((0.6, 0.6, 0.6), 24, 40, 64)
    scene = scenes(0, np.arange(1), 0)
    grey = torch.ones(1, 3, 1, 1)
    scene = replace(scene, light=0.8 * grey, ambient=0.3 * grey, ground=0.5 * grey, other_ground=0.5 * grey)
    scene = replace(scene, shadow=torch.ones(1, 1, 1, 1), grain=torch.zeros(1, 1, 1, 1))
    low = torch.full((1, 1, 1, 1), 0.3)

    def seen(side: float) -> Tensor:
        return relit(render, replace(scene, light_x=side * grey[:, :1], light_height=low), ImageSpec(64, 64))[0, 0]

    left, right = seen(-1), seen(1)
    assert left[30:34, 25:30].mean() > left[30:34, 34:39].mean() + 0.1
    assert right[30:34, 34:39].mean() > right[30:34, 25:30].mean() + 0.1
    ground = slice(30, 34)
    assert left[ground, 42:45].mean() < right[ground, 42:45].mean() - 0.05
    assert right[ground, 18:22].mean() < left[ground, 18:22].mean() - 0.05


def test_a_bad_sheet_loses_its_car_alone(cars: Path) -> None:
    (cars / "cars3d" / "car_004.png").write_bytes(b"")
    data = loaded(cars)
    assert isinstance(data.val, PairedPart)
    assert isinstance(data.test, PairedPart)
    train = training(data)
    rows = np.concatenate([train.rows_a, train.rows_b, data.val.rows, data.test.rows])
    assert np.array_equal(np.unique(rows // VIEWS), np.delete(np.arange(24), 4))
    assert len(rows) == 23 * VIEWS
    assert len(data.skipped) == 1


def test_what_makes_no_sense_is_said(cars: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The set relit needs --data\.root"):
        load(DataConfig(set="relit"))
    with pytest.raises(UserError, match=r"--data\.root .* holds no folder cars3d/; expected there: "):
        load(DataConfig(set="relit", root=tmp_path / "cars3d"))
    with pytest.raises(UserError, match=r"--data\.channels 2: the set relit gives 1 \(grey\) or 3 \(colour\)"):
        loaded(cars, channels=2)
    with pytest.raises(UserError, match="the cars of relit have new lights in each pass"):
        loaded(cars, styles_per_class=2)
    with pytest.raises(UserError, match="cddn needs pairs"):
        needs(loaded(cars), Paired, "cddn")
    for car in range(6):
        (cars / "cars3d" / f"car_{car:03d}.png").unlink()
    with pytest.raises(UserError, match="has 18 cars; 19 are the least"):
        loaded(cars)
