"""The record of a scene: everything a picture shows, and where. Questions are put to the record, never to the picture.

Places are shares of the picture's width and height, sizes are shares of its shorter side; so one record can be drawn
at any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rgb = tuple[int, int, int]
BackgroundKind = Literal["plain", "gradient", "texture", "clutter"]


@dataclass(frozen=True)
class Spot:
    """Where something stands.

    Attributes:
        x, y: its center, as shares of the picture's width and height.
        size: the longer side of its upright bounding box, as a share of the picture's shorter side.
        angle: degrees it is turned by, counter-clockwise.
    """

    x: float
    y: float
    size: float
    angle: float = 0.0


@dataclass(frozen=True)
class Thing:
    """An everyday thing: a sprite of the atlas in one art style."""

    name: str
    style: str
    spot: Spot
    mirrored: bool = False


@dataclass(frozen=True)
class Shape:
    """A geometric shape of one named color; `aspect` is its height over its width."""

    kind: str
    color: str
    rgb: Rgb
    spot: Spot
    aspect: float = 1.0


@dataclass(frozen=True)
class Sign:
    """A board of one named color with a word or a number on it."""

    text: str
    font: str
    color: str
    rgb: Rgb
    ink: Rgb
    spot: Spot

    @property
    def is_number(self) -> bool:
        """Whether the board shows digits."""
        return self.text.isdecimal()


Item = Thing | Shape | Sign


@dataclass(frozen=True)
class Background:
    """What lies behind the items; `seed` fixes texture and clutter."""

    kind: BackgroundKind
    rgb: Rgb
    other: Rgb
    seed: int


@dataclass(frozen=True)
class Scene:
    """A picture's contents: the background, and 1 to 9 items in the order they are drawn."""

    background: Background
    items: tuple[Item, ...]

    @property
    def things(self) -> tuple[Thing, ...]:
        """The everyday things."""
        return tuple(item for item in self.items if isinstance(item, Thing))

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The geometric shapes."""
        return tuple(item for item in self.items if isinstance(item, Shape))

    @property
    def signs(self) -> tuple[Sign, ...]:
        """The signs."""
        return tuple(item for item in self.items if isinstance(item, Sign))


def noun(item: Item) -> str:
    """The word for an item without its color: "dog", "circle", "sign"."""
    if isinstance(item, Thing):
        return item.name
    return item.kind if isinstance(item, Shape) else "sign"
