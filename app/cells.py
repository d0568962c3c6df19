"""Marks on the cells of a grid: tints, hatches, outlines, crosses. A picture of whole square cells in, a new one out.

Everywhere `cell` is the side of a cell in pixels, and `chosen` [rows, columns] bool says which cells are marked.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance

from app import palette


def pixels(chosen: np.ndarray, cell: int) -> np.ndarray:
    """Cells [rows, columns] as pixels [rows · cell, columns · cell]."""
    return chosen.repeat(cell, axis=0).repeat(cell, axis=1)


def tint(canvas: Image.Image, cell: int, chosen: np.ndarray, colour: str, strength: float) -> Image.Image:
    """Mix a colour in."""
    return _colour(canvas, pixels(chosen, cell), colour, strength)


def fade(canvas: Image.Image, cell: int, chosen: np.ndarray, strength: float) -> Image.Image:
    """Take colour and contrast away."""
    grey = Image.blend(ImageEnhance.Color(canvas).enhance(0.15), Image.new("RGB", canvas.size, "#9A9DA2"), strength)
    return Image.composite(grey, canvas, Image.fromarray(pixels(chosen, cell)))


def hatch(canvas: Image.Image, cell: int, chosen: np.ndarray, colour: str, *, falls: bool = False) -> Image.Image:
    """Diagonal lines that rise or fall, three to a cell."""
    where = pixels(chosen, cell)
    down, right = np.ogrid[: where.shape[0], : where.shape[1]]
    period = max(4, cell // 3)
    is_line = (down + (-right if falls else right)) % period < max(1, cell // 15)
    return _colour(canvas, is_line & where, colour)


def outline(canvas: Image.Image, cell: int, chosen: np.ndarray, colour: str, *, broken: bool = False) -> Image.Image:
    """Lines inside the borders, whole or dotted. A light line within sets them off from dark pictures."""
    width = max(1, cell // 11)
    if broken:
        down, right = np.ogrid[:cell, :cell]
        dots = ((down // width) % 2 == 0) & ((right // width) % 2 == 0)
        return _stamp(canvas, chosen, _ring(cell, 1, width) & dots, colour)
    canvas = _stamp(canvas, chosen, _ring(cell, 1, width), colour)
    return _stamp(canvas, chosen, _ring(cell, 1 + width, 1), "#FFFFFF", 0.35)


def stop(canvas: Image.Image, cell: int, chosen: np.ndarray, colour: str) -> Image.Image:
    """A full square in the lower right corner."""
    side = np.arange(cell)
    near = (side >= cell - max(3, cell // 3)) & (side < cell - 1)
    return _stamp(canvas, chosen, near & near[:, None], colour)


def cross_out(canvas: Image.Image, cell: int, chosen: np.ndarray, colour: str) -> Image.Image:
    """Night, and a cross in the middle."""
    down, right = np.ogrid[:cell, :cell]
    width = max(1, cell // 16)
    diagonals = (abs(down - right) < width) | (abs(down + right - (cell - 1)) < width)
    canvas = tint(canvas, cell, chosen, palette.NIGHT, 0.74)
    return _stamp(canvas, chosen, diagonals & _ring(cell, cell // 4, cell), colour)


def _ring(cell: int, inset: int, width: int) -> np.ndarray:
    """[cell, cell] bool: what lies so far inside the border, and no further than `width`."""
    side = np.arange(cell)
    to_border = np.minimum(side, cell - 1 - side)
    depth = np.minimum.outer(to_border, to_border)
    return (inset <= depth) & (depth < inset + width)


def _stamp(
    canvas: Image.Image, chosen: np.ndarray, pattern: np.ndarray, colour: str, strength: float = 1.0
) -> Image.Image:
    """The same pattern [cell, cell] on every chosen cell."""
    return _colour(canvas, np.kron(chosen, pattern), colour, strength)


def _colour(canvas: Image.Image, where: np.ndarray, colour: str, strength: float = 1.0) -> Image.Image:
    """Mix a colour in where pixels are True."""
    mask = Image.fromarray((where * round(255 * strength)).astype(np.uint8))
    return Image.composite(Image.new("RGB", canvas.size, colour), canvas, mask)
