"""Pictures and questions as easy-VQA makes them, freshly drawn: one upright shape in a pure color on a pale ground."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.random import Generator
from PIL import Image, ImageDraw

from skipcore.builtin.scenes.scene_record import Rgb

KINDS = ("circle", "rectangle", "triangle")
COLORS: dict[str, Rgb] = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "teal": (0, 128, 128),
    "gray": (128, 128, 128),
    "brown": (165, 42, 42),
    "black": (0, 0, 0),
}
PRESENT = (
    "is there a {} in the image?",
    "is there a {}?",
    "does the image contain a {}?",
    "is a {} present?",
)
ABSENT = (
    "is there not a {} in the image?",
    "is there not a {}?",
    "does the image not contain a {}?",
    "is no {} present?",
)
COLOR_OF = ("what color is the {}?", "what is the color of the {}?")
KIND_OF = ("what shape is in the image?", "what shape does the image contain?", "what shape is present?")
SIDE = 64


@dataclass(frozen=True)
class EasyScene:
    """One shape: center and extents are shares of the side, y pointing down."""

    kind: str
    color: str
    x: float
    y: float
    width: float
    height: float
    ground: Rgb


def sample_easy_scene(rng: Generator) -> EasyScene:
    """A random scene, its sizes and places as easy-VQA's."""
    color, kind = _pick(tuple(COLORS), rng), _pick(KINDS, rng)
    red, green, blue = (int(channel) for channel in rng.integers(230, 256, size=3))
    width = float(rng.integers(16, 67)) / 128
    height = {"circle": width, "triangle": width * math.sqrt(3) / 2}.get(kind, float(rng.integers(16, 67)) / 128)
    x = float(rng.uniform(width / 2, 1 - width / 2))
    y = float(rng.uniform(height / 2, 1 - height / 2))
    return EasyScene(kind, color, x, y, width, height, (red, green, blue))


def draw_easy(scene: EasyScene) -> Image.Image:
    """Paint a scene at easy-VQA's size and softness: 64 x 64, halved once with a triangle filter."""
    large = 2 * SIDE
    image = Image.new("RGB", (large, large), scene.ground)
    pen = ImageDraw.Draw(image)
    left, top = (scene.x - scene.width / 2) * large, (scene.y - scene.height / 2) * large
    right, bottom = left + scene.width * large, top + scene.height * large
    rgb = COLORS[scene.color]
    if scene.kind == "circle":
        pen.ellipse((left, top, right - 1, bottom - 1), fill=rgb)
    elif scene.kind == "rectangle":
        pen.rectangle((left, top, right - 1, bottom - 1), fill=rgb)
    else:
        pen.polygon([((left + right) / 2, top), (right, bottom), (left, bottom)], fill=rgb)
    return image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def ask_easy(scene: EasyScene, rng: Generator) -> tuple[str, str]:
    """A question and its answer, in about the shares of easy-VQA: a quarter asks what, the others yes or no."""
    draw = rng.random()
    if draw < 0.15:
        return _pick(COLOR_OF, rng).format(_pick((scene.kind, "shape"), rng)), scene.color
    if draw < 0.3:
        return _pick((*KIND_OF, f"what is the {scene.color} shape?"), rng), scene.kind
    is_true, is_negated = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    if rng.random() < 0.6:
        color = scene.color if is_true else _pick([name for name in COLORS if name != scene.color], rng)
        thing = f"{color} shape"
    else:
        thing = scene.kind if is_true else _pick([kind for kind in KINDS if kind != scene.kind], rng)
    return _pick(ABSENT if is_negated else PRESENT, rng).format(thing), "yes" if is_true != is_negated else "no"


def every_easy_phrase() -> list[str]:
    """The words of these questions, for the tokenizer to learn."""
    things = [f"{color} shape" for color in COLORS] + list(KINDS)
    return [template.format(thing) for template in (*PRESENT, *ABSENT, *COLOR_OF) for thing in things] + list(KIND_OF)


def _pick(items: tuple[str, ...] | list[str], rng: Generator) -> str:
    return items[int(rng.integers(len(items)))]
