"""Relit objects with known truth. Domain a is rich: a Cars3D render under a coloured light, with its shadow, on a
textured background. Domain b is poor: the render in the light it is stored in, on grey. Lights, shadows and
backgrounds are ours.

A rich item is a function of a render and a scene, and the scene is a few numbers drawn from (seed, row, draw). So the
truth of every recombination is known. Training is unpaired, and no car is in both domains; validation and test are
pairs.

A render is taken apart: render = front + (1 - cover), what the car adds and how much it covers of the white behind it.
Light multiplies the front, and any background can stand where the white was.

Legend: n items, c channels, h and w height and width. Colours are in [0, 1] until they are read. Places in an image
are in units of its height, (0, 0) in the middle, x to the right and y down.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import reduce
from hashlib import sha256

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from unbraid.core.data_config import DataConfig
from unbraid.core.short import Short
from unbraid.core.types import DataSpec, ImageSpec, UserError
from unbraid.data.cache import CachedImages
from unbraid.data.images import fit
from unbraid.data.items import Rows
from unbraid.data.parts import Data, PairedPart, UnpairedPart
from unbraid.data.sources.sets import AZIMUTHS, ELEVATIONS, car_sheets, divide_cars, view_name
from unbraid.data.sources.synthetic import uniforms
from unbraid.data.splits import held_out

REMARK = "64 px; lights, shadows and backgrounds are ours"
VIEWS = ELEVATIONS * AZIMUTHS
INK = 250 / 255
"""A pixel whose darkest channel is below this is not background."""
PLAIN = 0.5
"""What stands behind plain cars. The white they are stored on is the end of a tanh's range: a network that once shows
nothing but white there has no gradient left to show anything else by, and so it happened."""
NUMBERS = 23
"""Uniform numbers that a scene is made of."""


@dataclass(frozen=True)
class Scenes(Short):
    """All that rich items have beside their renders. Each field: (n, k, 1, 1), k 3 for a colour, else 1."""

    light_x: Tensor
    """Where the light is: -1 left, 1 right."""
    light_height: Tensor
    """And how high: 0 level with the car, 1 above it."""
    light: Tensor
    """Colour of the light that has a direction."""
    ambient: Tensor
    """Colour of the light that comes from everywhere, shadows too."""
    shadow: Tensor
    """Share of the directed light that the shadow takes."""
    ground: Tensor
    """Colour of the background."""
    other_ground: Tensor
    """Colour that it turns into, in slow waves."""
    grain: Tensor
    """Contrast of its finer texture."""
    grain_waves: Tensor
    """Waves of the finer texture across an image's height."""
    angles: Tensor
    """(n, 6, 1, 1): directions of the waves, slow ones first, and their phases. Radians."""

    def factors(self) -> dict[str, np.ndarray]:
        """Returns the numbers by name, but for the angles: (n,) float64 each. To measure by."""
        table: dict[str, np.ndarray] = {}
        for field in fields(self):
            columns = getattr(self, field.name).flatten(1).double().numpy().T
            name = field.name.replace("_", " ")
            if len(columns) == 1:
                table[name] = columns[0]
            elif len(columns) == 3:
                table |= {f"{name} {colour}": x for colour, x in zip(("red", "green", "blue"), columns, strict=True)}
        return table


def scenes(seed: int, rows: Rows, draw: int) -> Scenes:
    """Draws scenes, all numbers of which are independent of each other. See `Items.read`."""
    key = int.from_bytes(sha256(f"{seed}/relit/{draw}".encode()).digest()[:8], "little")
    u = torch.from_numpy(uniforms(key, rows, NUMBERS)).float()[:, :, None, None]
    turn = 2 * torch.pi
    return Scenes(
        light_x=2 * u[:, 0:1] - 1,
        light_height=0.3 + 0.6 * u[:, 1:2],
        light=(0.6 + 0.3 * u[:, 2:3]) * _tint(turn * u[:, 3:4], 0.1 + 0.35 * u[:, 4:5]),
        ambient=(0.25 + 0.2 * u[:, 5:6]) * _tint(turn * u[:, 6:7], 0.3 * u[:, 7:8]),
        shadow=0.7 + 0.3 * u[:, 8:9],
        ground=_ground(u[:, 9:12]),
        other_ground=_ground(u[:, 12:15]),
        grain=0.1 + 0.25 * u[:, 15:16],
        grain_waves=6 + 8 * u[:, 16:17],
        angles=turn * u[:, 17:23],
    )


def _ground(u: Float[Tensor, "n 3 1 1"]) -> Float[Tensor, "n 3 1 1"]:
    """Returns a colour, dark to bright, half as saturated as its three numbers."""
    return 0.15 + 0.8 * (u + u.mean(1, keepdim=True)) / 2


def _tint(hue: Float[Tensor, "n 1 1 1"], strength: Float[Tensor, "n 1 1 1"]) -> Float[Tensor, "n 3 1 1"]:
    """Returns a colour whose channels have mean 1. hue in radians."""
    thirds = torch.arange(3).view(1, 3, 1, 1) * (2 * torch.pi / 3)
    return 1 + strength * torch.cos(hue - thirds)


def taken_apart(render: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n 3 h w"], Float[Tensor, "n 1 h w"]]:
    """Takes renders on white apart into (front, cover): render = front + 1 - cover.

    Cover is 1 inside a car, 0 outside, and between them on its edge, where the render is a mixture. White parts of a
    car, and what is seen through it, belong to it if there is something of the car on all four sides.
    """
    ink = (render.amin(1, keepdim=True) < INK).numpy()
    filled = np.ones_like(ink)
    for axis in (2, 3):
        before, after = (np.logical_or.accumulate(pixels, axis) for pixels in (ink, np.flip(ink, axis)))
        filled &= before & np.flip(after, axis)
    solid = torch.from_numpy(filled).float()
    inner = _around(solid, 1, torch.minimum, 1.0)
    near = _around(inner, 1, torch.add)
    # the car's own colour beside an edge: the mean of its inner neighbours; where it is too thin, the darkest near
    mean = _around(inner * render, 1, torch.add) / near.clamp(min=1)
    own = torch.where(near > 0, mean, _around(render, 1, torch.minimum, 1.0))
    dark = (1 - own).square().sum(1, keepdim=True)
    mixed = ((1 - render) * (1 - own)).sum(1, keepdim=True) / dark.clamp(min=1e-6)
    mixed = torch.where(dark < 0.01, 1.0, mixed)  # a white car's edge can't be told from its background
    least = 1 - render.amin(1, keepdim=True)  # with less, the front would be below 0
    cover = torch.where(inner > 0, 1.0, solid * torch.maximum(mixed, least).clamp(max=1))
    return (render - (1 - cover)).clamp(min=0), cover


def places(height: int, width: int) -> tuple[Float[Tensor, "1 1 1 w"], Float[Tensor, "1 1 h 1"]]:
    """Returns x and y of the middles of an image's pixels."""
    x, y = ((torch.arange(size) + 0.5 - size / 2) / height for size in (width, height))
    return x[None, None, None], y[None, None, :, None]


def _around(
    x: Float[Tensor, "n c h w"], radius: int, merge: Callable[[Tensor, Tensor], Tensor], outside: float = 0.0
) -> Float[Tensor, "n c h w"]:
    """Merges all pixels of the square around each pixel. Pooling does the same and takes five times as long."""
    for axis, sides in ((2, (0, 0, radius, radius)), (3, (radius, radius))):
        padded, size = pad(x, sides, value=outside), x.shape[axis]
        x = reduce(merge, [padded.narrow(axis, start, size) for start in range(2 * radius + 1)])
    return x


def _blurred(x: Float[Tensor, "n c h w"], radius: int) -> Float[Tensor, "n c h w"]:
    """Returns the mean of the square around each pixel, twice; outside is 0."""
    return _around(_around(x, radius, torch.add), radius, torch.add) / (2 * radius + 1) ** 4


def _lit(front: Float[Tensor, "n 3 h w"], cover: Float[Tensor, "n 1 h w"], scene: Scenes) -> Float[Tensor, "n 3 h w"]:
    """Lights the fronts of cars as a scene says, with a gloss on them.

    Renders have no depth: a car is taken for a cushion, whose normals lean outwards the more the farther from its
    middle, and at its edges.
    """
    height = cover.shape[2]
    cushion = _blurred(cover, max(1, height // 24))
    mass = cover.sum((2, 3), keepdim=True).clamp(min=1)
    lean: list[Tensor] = []
    for at, axis in zip(places(*cover.shape[2:]), (3, 2), strict=True):
        middle = (cover * at).sum((2, 3), keepdim=True) / mass
        deviation = ((cover * (at - middle).square()).sum((2, 3), keepdim=True) / mass).sqrt().clamp(min=1 / height)
        slope = (cushion.roll(-1, axis) - cushion.roll(1, axis)) / 2 * height
        lean.append(0.9 * (at - middle) / deviation - slope / 8)
    towards = 0.5  # how much of the light comes from where one looks from
    light_length = (scene.light_x.square() + scene.light_height.square() + towards**2).sqrt()
    length = (lean[0].square() + lean[1].square() + 1).sqrt() * light_length
    facing = (lean[0] * scene.light_x - lean[1] * scene.light_height + towards) / length
    shade = scene.ambient + scene.light * (0.1 + 1.1 * facing).clamp(min=0)
    return front * shade + cover * 0.3 * facing.clamp(min=0) ** 12 * scene.light


def _shadows(cover: Float[Tensor, "n 1 h w"], scene: Scenes) -> Float[Tensor, "n 1 h w"]:
    """Returns the share of the directed light that cars keep from the ground: an outline laid down away from the light,
    and what is right under a car."""
    height, width = cover.shape[2:]
    _, y = places(height, width)
    foot = torch.where(cover > 0.5, y + 0.5 / height, -0.5).amax((2, 3), keepdim=True)
    flat = 0.7 - 0.35 * scene.light_height  # height of a shadow in the image, of a car of height 1
    aside = 1.5 * scene.light_x / (0.3 + scene.light_height)
    cast = _laid(cover, foot, flat, aside)
    under = _laid(cover, foot + 0.02, torch.full_like(flat, 0.3), torch.zeros_like(flat))
    return scene.shadow * torch.maximum(_blurred(cast, max(1, height // 40)), _blurred(under, max(1, height // 24)))


def _laid(cover: Tensor, foot: Tensor, flat: Tensor, aside: Tensor) -> Float[Tensor, "n 1 h w"]:
    """Covers made `flat` times as high, and moved aside the more the higher they were. foot: y of what stays."""
    height, width = cover.shape[2:]
    x, y = places(height, width)
    was = (foot - y) / flat  # height over the foot of what lies at y now
    # grid_sample measures in halves of a side
    grid = torch.cat([(x + aside * was) * 2 * height / width, ((foot - was) * 2).expand(-1, -1, -1, width)], 1)
    return grid_sample(cover, grid.permute(0, 2, 3, 1), align_corners=False)


def _grounds(spec: ImageSpec, scene: Scenes) -> Float[Tensor, "n 3 h w"]:
    """Draws textured backgrounds before any light."""
    x, y = places(spec.height, spec.width)
    one, two, three, phase_one, phase_two, phase_three = scene.angles.split(1, 1)
    turn = 2 * torch.pi

    def wave(angle: Tensor, waves: Tensor | float, phase: Tensor, bend: Tensor | float = 0.0) -> Tensor:
        return torch.sin((turn * waves * angle.cos()) * x + (turn * waves * angle.sin()) * y + phase + bend)

    slow = wave(one, 0.7, phase_one)
    share = 0.5 + 0.25 * (slow + wave(two, 1.1, phase_two, slow))
    # two waves across one another, bent by others, so that they make spots and threads instead of a grid
    bend, other_bend = 2 * wave(two + 1, 3.1, phase_three), 2 * wave(one + 2, 2.3, phase_two)
    fine = wave(three, scene.grain_waves, phase_one, bend)
    fine = fine * wave(three + 1.2, scene.grain_waves, phase_three, other_bend)
    colour = scene.ground + share * (scene.other_ground - scene.ground)
    return colour * (1 + scene.grain * fine)


def relit(render: Float[Tensor, "n 3 h w"], scene: Scenes, spec: ImageSpec) -> Float[Tensor, "n c h2 w2"]:
    """Puts each render, on white, into its scene: (n, *spec.shape) in [0, 1]. See `taken_apart`."""
    front, cover = taken_apart(render)
    layers = torch.cat([_lit(front, cover, scene), cover, _shadows(cover, scene)], 1)
    car, cover, shadow = fit(layers, ImageSpec(spec.height, spec.width, 5)).clamp(min=0).split((3, 1, 1), 1)
    x, y = places(spec.height, spec.width)
    near = 0.75 + 0.25 * (scene.light_x * x + 0.5 * y)
    light = scene.ambient + scene.light * near * (1 - shadow.clamp(max=1))
    x = car + (1 - cover.clamp(max=1)) * _grounds(spec, scene) * light
    return fit(x.clamp(0, 1), spec)


@dataclass(frozen=True)
class PlainCars(Short):
    """Renders on grey, brought to a size. images: (all tiles) of 3 channels, on white."""

    images: CachedImages
    spec: ImageSpec

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Rows, draw: int) -> Float[Tensor, "n c h w"]:
        """Returns (len(rows), *spec.shape) in [-1, 1]; the same for every draw."""
        front, cover = taken_apart((self.images.read(rows, draw) + 1) / 2)
        return fit((front + PLAIN * (1 - cover)) * 2 - 1, self.spec).clamp_(-1, 1)


@dataclass(frozen=True)
class RelitCars(Short):
    """The same renders, each in a scene of its own, which is a new one in each draw."""

    images: CachedImages
    spec: ImageSpec
    seed: int

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Rows, draw: int) -> Float[Tensor, "n c h w"]:
        """Returns (len(rows), *spec.shape) in [-1, 1]."""
        return self._relit(rows, scenes(self.seed, rows, draw))

    def recombined(self, shared: Rows, exclusive: Rows) -> Float[Tensor, "n c h w"]:
        """Returns the cars of `shared`, in their views, in the scenes of `exclusive`, (n, *spec.shape) in [-1, 1]."""
        return self._relit(shared, scenes(self.seed, exclusive, 0))

    def _relit(self, rows: Rows, scene: Scenes) -> Tensor:
        return relit((self.images.read(rows, 0) + 1) / 2, scene, self.spec) * 2 - 1


def load_relit(config: DataConfig) -> Data:
    """Loads Cars3D, relit (a) and plain (b): every view of a car is an item of its own.

    Test is 7 cars, validation 10, the ones of `cars`. Half of the others train a, half b, drawn by the seed. Labels
    number the cars, factors are those of the scenes.
    """
    if config.channels not in (None, 1, 3):
        raise UserError(f"--data.channels {config.channels}: the set relit gives 1 (grey) or 3 (colour)")
    # stored as they are: a car is taken apart where its edges are one pixel wide
    images, cars = car_sheets(replace(config, size=None, channels=3))
    height, width = config.size or (images.spec.height, images.spec.width)
    spec = ImageSpec(height, width, config.channels or 3)
    rows = np.arange(len(images))
    car, view = rows // VIEWS, rows % VIEWS
    views = zip(car.tolist(), (view // AZIMUTHS).tolist(), (view % AZIMUTHS).tolist(), strict=True)
    names = [view_name(*one) for one in views]
    split = divide_cars(car, cars, config, least=2)
    a, b = RelitCars(images, spec, config.seed), PlainCars(images, spec)
    training = np.unique(car[split.train])
    first, second = held_out(training, len(training) // 2, config.seed + 2)
    of_a, of_b = (np.flatnonzero(np.isin(car, half)) for half in (first, second))
    train = UnpairedPart(a, b, of_a, of_b, names, names)
    factors = scenes(config.seed, rows, 0).factors()
    val, test = (PairedPart(a, b, part, names, car, factors) for part in (split.val, split.test))
    return Data("relit", DataSpec(spec, spec), train, val, test, REMARK, images.skipped)
