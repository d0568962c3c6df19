"""Drawn scenes: a few coloured shapes on a plain ground, and questions whose answers the record holds.

A `Scene` is the record: every shape with its kind, colour and place in the unit square. `draw` paints it at any size,
`ask` (in `questions.py`) puts questions to the record, never to the picture. The same seed gives the same scene.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

Rgb = tuple[int, int, int]

KINDS = ("circle", "rectangle", "triangle", "star")
COUNT_WORDS = ("zero", "one", "two", "three", "four", "five", "six")

# name: (the pure colour easy-VQA uses, a softer one of our own)
COLOURS: dict[str, tuple[Rgb, Rgb]] = {
    "red": ((255, 0, 0), (220, 45, 48)),
    "green": ((0, 255, 0), (40, 165, 70)),
    "blue": ((0, 0, 255), (40, 95, 230)),
    "yellow": ((255, 255, 0), (250, 208, 30)),
    "teal": ((0, 128, 128), (15, 145, 140)),
    "gray": ((128, 128, 128), (130, 134, 140)),
    "brown": ((165, 42, 42), (140, 75, 45)),
    "black": ((0, 0, 0), (28, 28, 32)),
    "orange": ((255, 150, 0), (248, 125, 25)),
    "purple": ((150, 0, 220), (140, 60, 225)),
    "pink": ((255, 130, 200), (244, 125, 185)),
}
EASY_VQA_KINDS = KINDS[:3]
EASY_VQA_COLOURS = tuple(COLOURS)[:8]
SUPERSAMPLING = 4


@dataclass(frozen=True)
class Shape:
    """One shape. Centre and half extents are shares of the picture's side; `angle` is in radians."""

    kind: str
    colour: str
    rgb: Rgb
    x: float
    y: float
    half_width: float
    half_height: float
    angle: float = 0.0

    @property
    def name(self) -> str:
        """Colour and kind, e.g. "red circle"."""
        return f"{self.colour} {self.kind}"


@dataclass(frozen=True)
class Scene:
    """What a picture shows: the ground's colour and its shapes, drawn in this order."""

    ground: Rgb
    shapes: tuple[Shape, ...]

    @property
    def left_to_right(self) -> list[Shape]:
        """The shapes ordered by the x of their centres."""
        return sorted(self.shapes, key=lambda shape: shape.x)


def sample_scene(rng: Generator, most_shapes: int = 5) -> Scene:
    """A scene of 1 to `most_shapes` shapes that do not touch, in colours between pure and soft."""
    count = int(rng.integers(1, most_shapes + 1))
    softness = float(rng.random())
    ground = _rgb(rng.integers(228, 256, size=3))
    shapes: list[Shape] = []
    for _ in range(count * 30):
        if len(shapes) == count:
            break
        largest = 0.26 if count == 1 else 0.20 if count < 4 else 0.155
        radius = float(rng.uniform(0.085, largest))
        x, y = (float(value) for value in rng.uniform(radius + 0.01, 0.99 - radius, size=2))
        reach = [math.hypot(shape.x - x, shape.y - y) - _reach(shape) for shape in shapes]
        if all(distance > radius + 0.02 for distance in reach):
            shapes.append(_sample_shape(rng, x, y, radius, softness))
    return Scene(ground=ground, shapes=tuple(shapes))


def sample_easy_scene(rng: Generator) -> Scene:
    """A scene as easy-VQA has them: one upright shape in a pure colour, on a very pale ground."""
    colour = EASY_VQA_COLOURS[rng.integers(len(EASY_VQA_COLOURS))]
    kind = EASY_VQA_KINDS[rng.integers(len(EASY_VQA_KINDS))]
    ground = _rgb(rng.integers(230, 256, size=3))
    width = float(rng.integers(16, 67)) / 128
    height = {"circle": width, "triangle": width * math.sqrt(3) / 2}.get(kind, float(rng.integers(16, 67)) / 128)
    x = float(rng.uniform(width / 2, 1 - width / 2))
    y = float(rng.uniform(height / 2, 1 - height / 2))
    shape = Shape(kind, colour, COLOURS[colour][0], x, y, width / 2, height / 2)
    return Scene(ground=ground, shapes=(shape,))


def draw(scene: Scene, side: int, supersampling: int = SUPERSAMPLING) -> Image.Image:
    """Paint a scene as a `side` x `side` RGB picture with smooth edges."""
    large = side * supersampling
    image = Image.new("RGB", (large, large), scene.ground)
    pen = ImageDraw.Draw(image)
    for shape in scene.shapes:
        if shape.kind == "circle":
            box = (
                (shape.x - shape.half_width) * large,
                (shape.y - shape.half_height) * large,
                (shape.x + shape.half_width) * large - 1,
                (shape.y + shape.half_height) * large - 1,
            )
            pen.ellipse(box, fill=shape.rgb)
        else:
            pen.polygon([(x * large, y * large) for x, y in _corners(shape)], fill=shape.rgb)
    return image.reduce(supersampling)


def draw_easy(scene: Scene) -> Image.Image:
    """Paint a scene at easy-VQA's size and softness: 64 x 64, halved once with a triangle filter."""
    return draw(scene, 128, supersampling=1).resize((64, 64), Image.Resampling.BILINEAR)


def _sample_shape(rng: Generator, x: float, y: float, radius: float, softness: float) -> Shape:
    """A shape of any kind and colour that stays within `radius` of its centre."""
    kind = KINDS[rng.integers(len(KINDS))]
    colour = tuple(COLOURS)[rng.integers(len(COLOURS))]
    pure, soft = (np.array(value) for value in COLOURS[colour])
    mixed = pure * (1 - softness) + soft * softness + rng.uniform(-8, 8, size=3)
    rgb = _rgb(mixed.clip(0, 255))
    angle = float(rng.uniform(-0.25, 0.25)) if rng.random() < 0.5 else 0.0
    half_width = half_height = radius
    if kind == "rectangle":
        slope = float(rng.uniform(0.5, math.pi / 2 - 0.5))
        half_width, half_height = radius * math.cos(slope), radius * math.sin(slope)
    elif kind == "triangle":
        half_width, half_height = radius * math.sin(math.pi / 3), radius * 0.75
    return Shape(kind, colour, rgb, x, y, half_width, half_height, 0.0 if kind == "circle" else angle)


def _rgb(channels: np.ndarray) -> Rgb:
    red, green, blue = (int(channel) for channel in channels)
    return red, green, blue


def _reach(shape: Shape) -> float:
    """The distance from a shape's centre to its farthest point."""
    if shape.kind in ("circle", "star"):
        return shape.half_width
    return math.hypot(shape.half_width, shape.half_height)


def _corners(shape: Shape) -> list[tuple[float, float]]:
    """The outline of a polygonal shape, in shares of the picture's side."""
    if shape.kind == "rectangle":
        outline = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
    elif shape.kind == "triangle":
        outline = [(0.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
    else:
        turns = [math.pi * (step / 5 - 0.5) for step in range(10)]
        lengths = [1.0 if step % 2 == 0 else 0.42 for step in range(10)]
        outline = [
            (length * math.cos(turn), length * math.sin(turn)) for turn, length in zip(turns, lengths, strict=True)
        ]
    cosine, sine = math.cos(shape.angle), math.sin(shape.angle)
    corners = []
    for across, down in outline:
        dx, dy = across * shape.half_width, down * shape.half_height
        corners.append((shape.x + dx * cosine - dy * sine, shape.y + dx * sine + dy * cosine))
    return corners
