"""Cells that can be clicked: clear SVG grids that lie over a picture or a heat map and frame what is selected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.tokens.token_grids import TokenGrid

CELL_AT = """
const cellAt = (cells, event) => {
  const box = cells.getBoundingClientRect();
  const index = (offset, size, count) => Math.max(0, Math.min(count - 1, Math.floor(offset / size * count)));
  return [index(event.clientY - box.top, box.height, Number(cells.dataset.rows)),
    index(event.clientX - box.left, box.width, Number(cells.dataset.columns))];
};
"""
"""Row and column of the cell under a mouse or a finger."""
PICK = (
    CELL_AT
    + """
let focused = null;
const pick = (cells, row, column) => {
  focused = cells.dataset.grid;
  Object.assign(cells.dataset, {row, column});  // the next key may come before the answer
  trigger('pick', {grid: Number(focused), row, column});
};
element.addEventListener('click', event => {
  const cells = event.target.closest('.cells');
  if (cells) pick(cells, ...cellAt(cells, event));
});
element.addEventListener('keydown', event => {
  const cells = event.target.closest('.cells');
  const step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
  if (!cells || !step) return;
  event.preventDefault();
  const next = (now, by, count) => Math.max(0, Math.min(count - 1, Number(now) + by));
  pick(cells, next(cells.dataset.row, step[0], Number(cells.dataset.rows)),
    next(cells.dataset.column, step[1], Number(cells.dataset.columns)));
});
element.addEventListener('focusout', event => { if (event.relatedTarget) focused = null; });
// a new selection brings new cells: who walks with the arrow keys walks on
watch('value', () => {
  if (focused !== null && document.activeElement === document.body)
    element.querySelector(`.cells[data-grid="${focused}"]`)?.focus({preventScroll: true});
});
"""
)
"""Tells the server which cell was clicked or reached with the arrow keys: an event `pick`, see `selection.cell_of`."""


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
