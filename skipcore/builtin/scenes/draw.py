"""A scene's record painted as a picture of any size."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from skipcore.builtin.scenes.atlas import load_atlas
from skipcore.builtin.scenes.fonts import font
from skipcore.builtin.scenes.scene_record import Background, Item, Rgb, Scene, Shape, Sign, Thing

SPRITE_SHARE = 92 / 96
"""A sprite's longer side fills this share of its cell."""
SUPERSAMPLING = 3
TEXT_HEIGHT = 40
"""Signs are lettered at this font size in pixels, then brought to their own size."""


def draw(scene: Scene, width: int, height: int | None = None) -> Image.Image:
    """Paint a scene as an RGB picture of `width` x `height` pixels; without a height, a square one."""
    return draw_with_owners(scene, width, height)[0]


def draw_with_owners(scene: Scene, width: int, height: int | None = None) -> tuple[Image.Image, np.ndarray]:
    """The picture, and which item each pixel shows: uint8 [height, width], 0 for the ground, else its number + 1."""
    height = height or width
    image = _ground(scene.background, width, height)
    owners = Image.new("L", (width, height), 0)
    side = min(width, height)
    for number, item in enumerate(scene.items, start=1):
        tile = _tile(item, side)
        corner = (round(item.spot.x * width - tile.width / 2), round(item.spot.y * height - tile.height / 2))
        alpha = tile.getchannel("A")
        image.paste(tile, corner, alpha)
        owners.paste(number, corner, alpha.point(OPAQUE))
    return image, np.asarray(owners)


OPAQUE = [0] * 128 + [255] * 128


def _tile(item: Item, side: int) -> Image.Image:
    """One item on a transparent ground, turned, at its size in a picture whose shorter side is `side`."""
    longest = max(4, round(item.spot.size * side))
    if isinstance(item, Thing):
        cell = max(4, round(longest / SPRITE_SHARE))
        tile = load_atlas().sprite(item.name, item.style)
        if item.mirrored:
            tile = tile.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        tile = tile.resize((cell, cell), Image.Resampling.BILINEAR)
    elif isinstance(item, Shape):
        return _shape(item, longest)
    else:
        tile = _sign(item, longest)
    if item.spot.angle:
        tile = tile.rotate(item.spot.angle, Image.Resampling.BILINEAR, expand=True)
    return tile


def _shape(shape: Shape, longest: int) -> Image.Image:
    """A shape, its outline turned before it is painted; never larger than `longest`."""
    large = longest * SUPERSAMPLING
    mask = Image.new("L", (large, large), 0)
    pen = ImageDraw.Draw(mask)
    half = large / 2
    if shape.kind in ("circle", "ring"):
        pen.ellipse((0, 0, large - 1, large - 1), fill=255)
        if shape.kind == "ring":
            pen.ellipse((0.27 * large, 0.27 * large, 0.73 * large, 0.73 * large), fill=0)
    else:
        points = _outline(shape)
        turn = math.radians(-shape.spot.angle)
        cosine, sine = math.cos(turn), math.sin(turn)
        turned = [(x * cosine - y * sine, x * sine + y * cosine) for x, y in points]
        reach = max(max(abs(x), abs(y)) for x, y in turned)
        pen.polygon([(half + x / reach * (half - 1), half + y / reach * (half - 1)) for x, y in turned], fill=255)
    tile = Image.new("RGBA", (longest, longest), (*shape.rgb, 0))
    tile.putalpha(mask.reduce(SUPERSAMPLING))
    return tile


def _outline(shape: Shape) -> list[tuple[float, float]]:
    """The corners of a shape within [−1, 1]², y pointing down."""
    if shape.kind == "rectangle":
        across, down = (1.0, shape.aspect) if shape.aspect < 1 else (1 / shape.aspect, 1.0)
        return [(-across, -down), (across, -down), (across, down), (-across, down)]
    if shape.kind == "triangle":
        return [(0.0, -0.87), (1.0, 0.87), (-1.0, 0.87)]
    if shape.kind == "diamond":
        return [(0.0, -1.0), (0.72, 0.0), (0.0, 1.0), (-0.72, 0.0)]
    if shape.kind == "cross":
        arm = 0.3
        return [
            (-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm),
            (arm, 1), (-arm, 1), (-arm, arm), (-1, arm), (-1, -arm), (-arm, -arm),
        ]  # fmt: skip
    turns = [math.pi * (step / 5 - 0.5) for step in range(10)]
    return [
        (length * math.cos(turn), length * math.sin(turn)) for turn, length in zip(turns, [1.0, 0.42] * 5, strict=True)
    ]


def _sign(sign: Sign, longest: int) -> Image.Image:
    """A board with a border in its ink and the text in its middle."""
    face = font(sign.font, TEXT_HEIGHT)
    left, top, right, bottom = face.getbbox(sign.text)
    wide, high = max(int(right - left) + 28, 64), int(bottom - top) + 26
    scale = max(wide, high) / longest
    board = Image.new("RGBA", (wide, high), (*sign.rgb, 0))
    pen = ImageDraw.Draw(board)
    fill, ink = (*sign.rgb, 255), (*sign.ink, 255)
    pen.rounded_rectangle((0, 0, wide - 1, high - 1), radius=9, fill=fill, outline=ink, width=3)
    pen.text(((wide - (right - left)) / 2 - left, (high - (bottom - top)) / 2 - top), sign.text, sign.ink, face)
    return board.resize((max(2, round(wide / scale)), max(2, round(high / scale))), Image.Resampling.BILINEAR)


def _ground(background: Background, width: int, height: int) -> Image.Image:
    """The background: plain, a gradient, a texture, or clutter of muted strokes and blots."""
    if background.kind == "plain":
        return Image.new("RGB", (width, height), background.rgb)
    rng = np.random.default_rng(background.seed)
    first, second = np.array(background.rgb, dtype=np.float32), np.array(background.other, dtype=np.float32)
    if background.kind == "gradient":
        shares = rng.random((2, 2, 1), dtype=np.float32)
        return _stretched(first + shares * (second - first), width, height)
    if background.kind == "texture":
        cells = int(rng.integers(6, 40))
        noise = rng.random((cells, cells, 1), dtype=np.float32)
        return _stretched(first + noise * (second - first) * 0.8, width, height)
    image = Image.new("RGB", (width, height), background.rgb)
    pen = ImageDraw.Draw(image)
    for x, y, dx, dy, share, form in rng.random((int(rng.integers(8, 26)), 6)).tolist():
        ink = _blend(background.rgb, background.other, 0.3 + 0.7 * share)
        x, y, dx, dy = x * width, y * height, (dx - 0.5) * width * 0.5, (dy - 0.5) * height * 0.5
        if form < 0.6:
            pen.line((x, y, x + dx, y + dy), fill=ink, width=max(1, round(width * 0.012)))
        else:
            pen.ellipse((x - abs(dx) / 3, y - abs(dy) / 3, x + abs(dx) / 3, y + abs(dy) / 3), fill=ink)
    return image


def _stretched(cells: np.ndarray, width: int, height: int) -> Image.Image:
    small = Image.fromarray(cells.clip(0, 255).astype(np.uint8))
    return small.resize((width, height), Image.Resampling.BILINEAR)


def _blend(first: Rgb, second: Rgb, share: float) -> Rgb:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue
