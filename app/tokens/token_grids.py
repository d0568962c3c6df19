"""Tiles joined to grids that can be drawn on a picture: which token lies where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from PIL import Image

from profiling import Report
from skipcore.model.vlm import ShownTile


@dataclass(frozen=True, eq=False)
class TokenGrid:
    """A part of a picture, or the whole of it, and its tokens.

    Attributes:
        picture: what the tokens cover.
        tokens: [rows, columns] numbers of the visual tokens, counted over all pictures.
    """

    picture: Image.Image
    tokens: np.ndarray


def token_grids(pictures: Sequence[Image.Image], tiles: Sequence[Sequence[ShownTile]]) -> list[TokenGrid]:
    """Every picture once for each time the model looks at it: as a whole, and cut into tiles side by side.

    Args:
        pictures: as they were handed in.
        tiles: of each picture.
    """
    grids, first = [], 0
    for picture, own in zip(pictures, tiles, strict=True):
        numbered = []
        for tile in own:
            rows, columns = tile.grid
            numbered.append((tile, np.arange(first, first + rows * columns).reshape(rows, columns)))
            first += rows * columns
        for _, same in groupby(enumerate(numbered), key=lambda each: -1 if _is_part(each[1][0]) else each[0]):
            grids.append(_joined(picture, [tile for _, tile in same]))
    return grids


def _is_part(tile: ShownTile) -> bool:
    left, top, right, bottom = tile.box
    return (right - left) * (bottom - top) < 0.999


def _joined(picture: Image.Image, tiles: Sequence[tuple[ShownTile, np.ndarray]]) -> TokenGrid:
    boxes = np.array([tile.box for tile, _ in tiles])
    columns, rows = (np.unique(boxes[:, side].round(6), return_inverse=True)[1] for side in (0, 1))
    blocks = {(row, column): tokens for row, column, (_, tokens) in zip(rows, columns, tiles, strict=True)}
    joined = np.block([[blocks[row, column] for column in range(max(columns) + 1)] for row in range(max(rows) + 1)])
    covered = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
    left, top, right, bottom = (covered * [*picture.size, *picture.size]).round().astype(int).tolist()
    return TokenGrid(picture.crop((left, top, right, bottom)), joined)


def grids_of(report: Report) -> list[TokenGrid]:
    """The grids of all pictures of a report."""
    return token_grids(report.pictures, report.tiles)
