"""Random scenes. The same generator state gives the same scene on every machine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.random import Generator

from skipcore.builtin.scenes.atlas import STYLES
from skipcore.builtin.scenes.fonts import FONTS
from skipcore.builtin.scenes.scene_record import Background, BackgroundKind, Item, Rgb, Scene, Shape, Sign, Spot, Thing
from skipcore.builtin.scenes.splits import CELLS, Split, cell_of, is_place_held_out, is_style_held_out
from skipcore.builtin.scenes.vocabulary import COLORS, SHAPE_KINDS, SIGN_WORDS
from skipcore.builtin.scenes.words import THING_NAMES

MOST_ITEMS = 9
PLACES_TRIED = 48
LEAST_CONTRAST = 110.0
"""The least distance in RGB between a shape and the ground it lies on."""
# items in the scene: (smallest, largest) size of each, as shares of the picture's shorter side
SIZES = {1: (0.24, 0.72), 2: (0.20, 0.48), 3: (0.18, 0.42), 4: (0.16, 0.34), 5: (0.15, 0.31)}
SIZES_OF_MANY = (0.14, 0.25)
GROUNDS: dict[BackgroundKind, float] = {"plain": 0.3, "gradient": 0.25, "texture": 0.2, "clutter": 0.25}
"""How often the ground is of each kind."""
COLORS_TRIED = 500


@dataclass(frozen=True)
class Contents:
    """What scenes may hold.

    Attributes:
        most_items: from 1 to this many items, at most 9.
        smallest: no item is smaller than this share of the picture's shorter side.
        smallest_sign: the same of signs, which must stay legible.
        thing, shape, sign: how often an item is of each kind; they add up to 1.
        repeated: the share of scenes in which one thing or shape stands several times.
        things: names of those shown; none of them needs `thing` = 0.
        shapes, colors: kinds of shapes, and colors of shapes and signs.
        grounds: the kinds of ground.
        pale_ground: whether the ground is very pale always.
    """

    most_items: int = MOST_ITEMS
    smallest: float = 0.14
    smallest_sign: float = 0.26
    thing: float = 0.64
    shape: float = 0.24
    sign: float = 0.12
    repeated: float = 0.5
    things: tuple[str, ...] = THING_NAMES
    shapes: tuple[str, ...] = SHAPE_KINDS
    colors: tuple[str, ...] = tuple(COLORS)
    grounds: tuple[BackgroundKind, ...] = tuple(GROUNDS)
    pale_ground: bool = False

    @property
    def foreign(self) -> frozenset[str]:
        """The names of the things that scenes do not hold."""
        return frozenset(THING_NAMES) - frozenset(self.things)


EVERYTHING = Contents()


def sample_scene(rng: Generator, split: Split = "train", contents: Contents = EVERYTHING) -> Scene:
    """A scene of 1 to `contents.most_items` items.

    Training, validation and test scenes hold no thing in a place or an art style that is held out. In the split
    "combinations" at least one thing stands in a held-out place; in "style" every thing has its held-out style.
    """
    while True:  # a large item of which every place it fits in is held out, or none is, leaves a scene without it
        scene = _sample_once(rng, split, contents)
        if scene.items and (split != "combinations" or any(map(_is_in_held_out_place, scene.things))):
            return scene


def _sample_once(rng: Generator, split: Split, contents: Contents) -> Scene:
    background = _background(rng, contents)
    while not (items := _sample_items(rng, split, contents, background)):
        pass  # the one item had no place it may stand in
    return Scene(background, tuple(items))


def _sample_items(rng: Generator, split: Split, contents: Contents, background: Background) -> list[Item]:
    """Items that fit, up to the number drawn; none if the first of "combinations" finds no held-out place."""
    count = int(rng.integers(1, contents.most_items + 1))
    smallest, largest = SIZES.get(count, SIZES_OF_MANY)
    smallest, largest = max(smallest, contents.smallest), max(largest, contents.smallest * 1.2)
    closeness = float(rng.uniform(0.78, 1.05))
    own_style = int(rng.integers(len(STYLES))) if rng.random() < 0.5 else None
    items: list[Item] = []
    for number, prototype in enumerate(_prototypes(rng, count, split, contents)):
        low, high = smallest, largest
        if prototype == "sign":
            low, high = max(low, contents.smallest_sign), max(high, contents.smallest_sign + 0.1)
        size = float(rng.uniform(low, high))
        wanted = _held_out_cells(prototype) if split == "combinations" and number == 0 else None
        place = _free_place(rng, items, size, closeness, prototype, split, wanted)
        if place is None and wanted is not None:
            return []
        if place is None:
            continue
        spot = Spot(*place, size=round(size, 4), angle=_angle(rng, prototype))
        items.append(_item(rng, prototype, spot, background, split, own_style, contents.colors))
    return items


def _prototypes(rng: Generator, count: int, split: Split, contents: Contents) -> list[str]:
    """What the items are: names of things, "shape:KIND" or "sign", some of them repeated."""
    names = _things_of(split, contents.things)
    shapes = contents.shapes
    kinds = rng.choice(3, size=count, p=(contents.thing, contents.shape, contents.sign))
    if split in ("combinations", "style"):
        kinds[0] = 0
    chosen: list[str] = []
    for kind in kinds:
        if kind == 0:
            chosen.append(names[int(rng.integers(len(names)))])
        elif kind == 1:
            chosen.append(f"shape:{shapes[int(rng.integers(len(shapes)))]}")
        else:
            chosen.append("sign")
    if count > 1 and rng.random() < contents.repeated:
        repeated = chosen[0] if chosen[0] != "sign" else chosen[-1]
        for index in range(1, int(rng.integers(2, count + 1))):
            chosen[index] = repeated
    signs = [index for index, name in enumerate(chosen) if name == "sign"]
    for index in signs[2:]:  # a third sign would leave no space for other things
        others = names or tuple(f"shape:{kind}" for kind in shapes)
        chosen[index] = others[int(rng.integers(len(others)))]
    return chosen


@cache
def _things_of(split: Split, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the things that a split shows."""
    if split == "style":
        return tuple(name for name in names if any(is_style_held_out(name, style) for style in STYLES))
    if split == "combinations":
        return tuple(name for name in names if _held_out_cells(name))
    return names


def _is_in_held_out_place(thing: Thing) -> bool:
    return is_place_held_out(thing.name, cell_of(thing.spot.x, thing.spot.y))


@cache
def _held_out_cells(name: str) -> tuple[str, ...]:
    return tuple(cell for cell in CELLS if is_place_held_out(name, cell))


def _free_place(
    rng: Generator,
    items: list[Item],
    size: float,
    closeness: float,
    prototype: str,
    split: Split,
    wanted: tuple[str, ...] | None,
) -> tuple[float, float] | None:
    """A place where the item lies inside the picture and covers no other one's middle, or None if it fits nowhere."""
    margin = size / 2 + 0.005
    tries = rng.uniform(margin, 1 - margin, size=(PLACES_TRIED, 2))
    fits = np.ones(PLACES_TRIED, dtype=bool)
    if items:
        others = np.array([(item.spot.x, item.spot.y, item.spot.size) for item in items])
        distances = np.hypot(tries[:, None, 0] - others[:, 0], tries[:, None, 1] - others[:, 1])
        fits = (distances > closeness * (others[:, 2] + size) / 2).all(axis=1)
    is_thing = prototype != "sign" and not prototype.startswith("shape:")
    for x, y in tries[fits].tolist():
        cell = cell_of(x, y)
        if wanted is not None and cell not in wanted:
            continue
        if is_thing and split != "combinations" and is_place_held_out(prototype, cell):
            continue
        return round(x, 4), round(y, 4)
    return None


def _angle(rng: Generator, prototype: str) -> float:
    """Half of the items stand upright; signs turn least."""
    if rng.random() < 0.5:
        return 0.0
    most = 8.0 if prototype == "sign" else 14.0 if prototype.startswith("shape:") else 30.0
    return round(float(rng.uniform(-most, most)), 1)


def _item(
    rng: Generator,
    prototype: str,
    spot: Spot,
    background: Background,
    split: Split,
    own_style: int | None,
    colors: tuple[str, ...],
) -> Item:
    if prototype == "sign":
        return _sign(rng, spot, background, colors)
    if prototype.startswith("shape:"):
        return _shape(rng, prototype.removeprefix("shape:"), spot, background, colors)
    styles = [style for style in STYLES if is_style_held_out(prototype, style) == (split == "style")]
    style = styles[int(rng.integers(len(styles)))]
    if own_style is not None and STYLES[own_style] in styles:
        style = STYLES[own_style]
    return Thing(prototype, style, spot, mirrored=bool(rng.random() < 0.5))


def _shape(rng: Generator, kind: str, spot: Spot, background: Background, colors: tuple[str, ...]) -> Shape:
    color, rgb = _color(rng, background, colors)
    aspect = 1.0
    if kind == "rectangle":
        aspect = float(rng.uniform(0.4, 1.0)) ** (1 if rng.random() < 0.5 else -1)
    return Shape(kind, color, rgb, spot, round(aspect, 3))


def _sign(rng: Generator, spot: Spot, background: Background, colors: tuple[str, ...]) -> Sign:
    color, rgb = _color(rng, background, colors)
    text = str(rng.integers(100)) if rng.random() < 0.45 else SIGN_WORDS[int(rng.integers(len(SIGN_WORDS)))]
    ink = (255, 255, 255) if sum(rgb) < 400 else (20, 20, 24)
    return Sign(text, FONTS[int(rng.integers(len(FONTS)))], color, rgb, ink, spot)


def _color(rng: Generator, background: Background, names: tuple[str, ...]) -> tuple[str, Rgb]:
    """One of these colors, a little off its pure tone, that stands out from the ground if any of them does."""
    for _ in range(COLORS_TRIED):
        name = names[int(rng.integers(len(names)))]
        if min(math.dist(COLORS[name], background.rgb), math.dist(COLORS[name], background.other)) > LEAST_CONTRAST:
            break
    red, green, blue = (COLORS[name] + rng.uniform(-10, 10, size=3)).clip(0, 255).astype(int).tolist()
    return name, (red, green, blue)


def _background(rng: Generator, contents: Contents) -> Background:
    """Mostly pale grounds, some of middle tone, some dark; or very pale ones only."""
    draw = rng.random()
    low, high = (205, 256) if draw < 0.65 else (110, 200) if draw < 0.85 else (15, 70)
    if contents.pale_ground:
        low, high = 228, 256
    first = rng.integers(low, high, size=3)
    second = (first + rng.uniform(-45, 45, size=3)).clip(0, 255).astype(int)
    shares = np.array([GROUNDS[kind] for kind in contents.grounds])
    kind = contents.grounds[int(rng.choice(len(shares), p=shares / shares.sum()))]
    red, green, blue = first.tolist()
    other_red, other_green, other_blue = first.tolist() if kind == "plain" else second.tolist()
    return Background(kind, (red, green, blue), (other_red, other_green, other_blue), int(rng.integers(2**31)))
