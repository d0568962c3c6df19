"""The visual token that a visitor has selected: the cells they click, clear SVG grids over a picture or a heat map; the
token in a cell; where it lies, and with which others it was merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from app.tokens.token_grids import TokenGrid
from app.tokens.token_states import Mark, TokenStates, marks, token_states
from profiling import Report
from skipcore import Trace

AT_A_GLANCE = 8
"""As many merged tokens are."""


@dataclass(frozen=True)
class Cell:
    """A cell that was clicked, all counted from 0.

    Attributes:
        grid: which of several grids: a token grid of a picture, or the heat map of an arm.
    """

    grid: int
    row: int
    column: int


@dataclass(frozen=True)
class Location:
    """Where a token lies, all counted from 0. Row and column are those of its tile.

    Attributes:
        tiles: how many the picture has.
        pictures: how many the question is about.
    """

    picture: int
    pictures: int
    tile: int
    tiles: int
    row: int
    column: int


def cell_of(data: Any) -> Cell | None:
    """Read what the browser sends; None where it is no cell at all, whatever was sent."""
    if not isinstance(data, dict):
        return None
    numbers = [data.get(field.name) for field in fields(Cell)]
    counts = [number for number in numbers if type(number) is int and number >= 0]
    return Cell(*counts) if len(counts) == len(numbers) else None


def token_on_picture(grids: Sequence[TokenGrid], cell: Cell | None) -> int | None:
    """The token in a cell of a token grid; None outside of all."""
    if cell is None or cell.grid >= len(grids):
        return None
    tokens = grids[cell.grid].tokens
    rows, columns = tokens.shape
    return int(tokens[cell.row, cell.column]) if cell.row < rows and cell.column < columns else None


def slot_in_map(report: Report, cell: Cell | None) -> tuple[int, int, int] | None:
    """The arm, layer and slot of a cell of the heat maps, all from 0; None outside of all."""
    if cell is None or cell.grid >= len(report.arms):
        return None
    layers, slots = report.arms[cell.grid].trace.ran_ffn.shape
    return (cell.grid, cell.row, cell.column) if cell.row < layers and cell.column < slots else None


def first_choice(trace: Trace) -> int:
    """The token that is selected before anyone selects one: one that others were merged into, as many as can be
    taken in at a glance; else the first that a layer does not treat in full; else the first."""
    targets, others = np.unique(trace.merged_into[trace.merged].numpy(), return_counts=True)
    if len(targets):
        return int(targets[np.where(others <= AT_A_GLANCE, others, 0).argmax()])
    treated = token_states(trace).state.any(axis=0)
    return int(treated.argmax())


def location_of(trace: Trace, token: int) -> Location:
    """Where a visual token lies."""
    first = tile = 0
    for picture, tiles in enumerate(trace.tiles):
        for number in range(tiles):
            rows, columns = trace.image_grid[tile]
            if token < first + rows * columns:
                row, column = divmod(token - first, columns)
                return Location(picture, len(trace.tiles), number, tiles, row, column)
            first += rows * columns
            tile += 1
    raise IndexError(f"there are {first} visual tokens, so none is number {token}")


def group_of(trace: Trace, token: int) -> np.ndarray:
    """The tokens that became one with a token, itself among them, in order: alone where none was merged."""
    if trace.token_slot[token] < 0:
        return np.array([token])
    targets = trace.merged_into
    return ((targets == targets[token]) & (trace.token_slot >= 0)).nonzero().flatten().numpy()


def marks_of(trace: Trace, token: int) -> list[Mark]:
    """The mark of one token in each layer."""
    states = token_states(trace)
    one = TokenStates(
        states.state[:, [token]],
        states.in_cache[:, [token]],
        states.merged[[token]],
        states.dropped_from[[token]],
        states.reduced_from[[token]],
    )
    return [marks(one, layer)[0] for layer in range(len(one.state))]


def update_of(trace: Trace, token: int) -> np.ndarray | None:
    """[layers] FFN update of a token, NaN where none ran; None where nothing was recorded."""
    if trace.ffn_update is None:
        return None
    slot = int(trace.token_slot[token])
    return np.full(len(trace.ffn_update), np.nan) if slot < 0 else trace.ffn_update[:, slot].float().numpy()


def layer_number(trace: Trace, layer: int) -> int:
    """A layer of the slider, counted from 1, as an index of the trace."""
    return max(1, min(int(layer), len(trace.ran_ffn))) - 1


def picture_cells(grids: Sequence[TokenGrid], token: int, group: np.ndarray) -> str:
    """The cells of every token grid, with a frame around the selected token and broken ones around those that became
    one with it."""
    parts = []
    for number, grid in enumerate(grids):
        chosen = np.argwhere(grid.tokens == token)
        others = np.argwhere(np.isin(grid.tokens, group) & (grid.tokens != token))
        frames = "".join(frame(row, column, "other") for row, column in others.tolist())
        frames += "".join(frame(row, column, "chosen") for row, column in chosen.tolist())
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


def frame(row: int, column: int, kind: str, rows: int = 1, columns: int = 1) -> str:
    """A dark frame around some cells on a light one, seen on any picture."""
    box = f'x="{column}" y="{row}" width="{columns}" height="{rows}"'
    return f'<rect class="{kind} light" {box}/><rect class="{kind}" {box}/>'
