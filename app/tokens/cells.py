"""Marks on the cells of a grid: tints, hatches, outlines, crosses, painted on a clear sheet that lies over a picture.

A sheet has few colors, so it is small on the wire and drawn in a few milliseconds. Every function takes a sheet and
gives a new one; `chosen` [rows, columns] bool says which cells are marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from app import palette

Paint = tuple[str, float]
"""A color and its opacity, 0 to 1."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """A sheet of whole square cells.

    Attributes:
        cell: the side of a cell in pixels.
        inks: [rows · cell, columns · cell] uint8, the number of each pixel's paint.
        paints: at most 256; the first is clear.
    """

    cell: int
    inks: np.ndarray
    paints: tuple[Paint, ...] = (("#000000", 0.0),)

    def picture(self) -> Image.Image:
        """The sheet as a picture with a palette and transparency."""
        image = Image.fromarray(self.inks)
        image.putpalette(
            [part for color, opacity in self.paints for part in (*palette.rgb(color), round(255 * opacity))], "RGBA"
        )
        return image


def clear(shape: tuple[int, ...], cell: int) -> Sheet:
    """A sheet of (rows, columns) without marks."""
    rows, columns = shape
    return Sheet(cell, np.zeros((rows * cell, columns * cell), np.uint8))


def pixels(chosen: np.ndarray, cell: int) -> np.ndarray:
    """Cells [rows, columns] as pixels [rows · cell, columns · cell]."""
    return chosen.repeat(cell, axis=0).repeat(cell, axis=1)


def paint(sheet: Sheet, where: np.ndarray, color: str, opacity: float = 1.0) -> Sheet:
    """Cover the pixels `where` [height, width] is True; what was there before is lost."""
    one = (color, opacity)
    paints = sheet.paints if one in sheet.paints else (*sheet.paints, one)
    return Sheet(sheet.cell, np.where(where, np.uint8(paints.index(one)), sheet.inks), paints)


def ramp(sheet: Sheet, chosen: np.ndarray, shares: np.ndarray, colors: Sequence[str], opacity: float) -> Sheet:
    """Tint each chosen cell with the color that its share [rows, columns], 0 to 1, has among `colors`."""
    steps = np.nan_to_num(shares * (len(colors) - 1)).round().astype(np.uint8) + len(sheet.paints)
    inks = np.where(pixels(chosen, sheet.cell), pixels(steps, sheet.cell), sheet.inks).astype(np.uint8)
    return Sheet(sheet.cell, inks, (*sheet.paints, *((color, opacity) for color in colors)))


def tint(sheet: Sheet, chosen: np.ndarray, color: str, opacity: float) -> Sheet:
    """Cover whole cells."""
    return paint(sheet, pixels(chosen, sheet.cell), color, opacity)


def hatch(sheet: Sheet, chosen: np.ndarray, color: str, *, falls: bool = False) -> Sheet:
    """Diagonal lines that rise or fall, three to a cell."""
    where, cell = pixels(chosen, sheet.cell), sheet.cell
    down, right = np.ogrid[: where.shape[0], : where.shape[1]]
    period = max(4, cell // 3)
    is_line = (down + (-right if falls else right)) % period < max(1, cell // 15)
    return paint(sheet, is_line & where, color)


def outline(sheet: Sheet, chosen: np.ndarray, color: str, *, broken: bool = False) -> Sheet:
    """Lines inside the borders, whole or dotted. A light line within sets them off from dark pictures."""
    cell = sheet.cell
    width = max(1, cell // 11)
    if broken:
        down, right = np.ogrid[:cell, :cell]
        dots = ((down // width) % 2 == 0) & ((right // width) % 2 == 0)
        return _stamp(sheet, chosen, _ring(cell, 1, width) & dots, color)
    sheet = _stamp(sheet, chosen, _ring(cell, 1, width), color)
    return _stamp(sheet, chosen, _ring(cell, 1 + width, 1), "#FFFFFF", 0.35)


def stop(sheet: Sheet, chosen: np.ndarray, color: str) -> Sheet:
    """A full square in the lower right corner."""
    cell = sheet.cell
    side = np.arange(cell)
    near = (side >= cell - max(3, cell // 3)) & (side < cell - 1)
    return _stamp(sheet, chosen, near & near[:, None], color)


def cross_out(sheet: Sheet, chosen: np.ndarray, color: str) -> Sheet:
    """Night, and a cross in the middle."""
    cell = sheet.cell
    down, right = np.ogrid[:cell, :cell]
    width = max(1, cell // 16)
    diagonals = (abs(down - right) < width) | (abs(down + right - (cell - 1)) < width)
    sheet = tint(sheet, chosen, palette.NIGHT, 0.78)
    return _stamp(sheet, chosen, diagonals & _ring(cell, cell // 4, cell), color)


def _ring(cell: int, inset: int, width: int) -> np.ndarray:
    """[cell, cell] bool: what lies so far inside the border, and no further than `width`."""
    side = np.arange(cell)
    to_border = np.minimum(side, cell - 1 - side)
    depth = np.minimum.outer(to_border, to_border)
    return (inset <= depth) & (depth < inset + width)


def _stamp(sheet: Sheet, chosen: np.ndarray, pattern: np.ndarray, color: str, opacity: float = 1.0) -> Sheet:
    """The same pattern [cell, cell] on every chosen cell."""
    where = chosen[:, None, :, None] & pattern[None, :, None, :]
    return paint(sheet, where.reshape(sheet.inks.shape), color, opacity)
