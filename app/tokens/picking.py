"""Cells that can be clicked: clear SVG grids that lie over a picture or a heat map and frame what is selected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.tokens.token_grids import TokenGrid


def picture_cells(grids: Sequence[TokenGrid], token: int, group: np.ndarray) -> str:
    """The cells of every token grid, with a frame around the selected token and broken ones around those that became
    one with it."""
    parts = []
    for number, grid in enumerate(grids):
        chosen = np.argwhere(grid.tokens == token)
        others = np.argwhere(np.isin(grid.tokens, group) & (grid.tokens != token))
        frames = "".join(_frame(row, column, "other") for row, column in others.tolist())
        frames += "".join(_frame(row, column, "chosen") for row, column in chosen.tolist())
        at = (int(chosen[0][0]), int(chosen[0][1])) if len(chosen) else (0, 0)
        parts.append(grid_cells(number, grid.tokens.shape, at, frames, "Tokens of the picture: choose with arrow keys"))
    return "".join(parts)


def grid_cells(number: int, shape: tuple[int, ...], at: tuple[int, int], frames: str, label: str) -> str:
    """One clear grid over a picture.

    Args:
        shape: rows and columns.
        at: row and column from which the arrow keys go on.
        frames: SVG in units of cells.
    """
    rows, columns = shape
    return (
        f'<svg class="cells" viewBox="0 0 {columns} {rows}" preserveAspectRatio="none" tabindex="0" role="application" '
        f'aria-label="{label}" data-grid="{number}" data-rows="{rows}" data-columns="{columns}" data-row="{at[0]}" '
        f'data-column="{at[1]}">{frames}</svg>'
    )


def _frame(row: int, column: int, kind: str) -> str:
    """A dark frame on a light one, seen on any picture."""
    box = f'x="{column}" y="{row}" width="1" height="1"'
    return f'<rect class="{kind} light" {box}/><rect class="{kind}" {box}/>'
