"""The picture as the model saw it, with what happened to each of its tokens. Record in, picture out."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from PIL import Image, ImageDraw

from app import cells, palette
from app.marks import marks
from app.token_grids import TokenGrid
from app.token_states import State, TokenStates, token_states
from skipcore import Trace

LONGEST_SIDE = 672
Scale = tuple[float, float]
_HATCHES = {State.WHOLE: (), State.NO_FFN: (False,), State.NO_ATTENTION: (True,), State.FROZEN: (False, True)}
"""Lines that rise (False) or fall (True)."""


class View(StrEnum):
    """What the overlay tells about each token."""

    STATE = "state"
    UPDATE = "update"
    MERGES = "merges"


def token_pictures(
    grids: Sequence[TokenGrid],
    trace: Trace,
    view: View,
    layer: int,
    scale: Scale = (0.01, 1.0),
) -> list[Image.Image]:
    """Every token grid of a run on its picture.

    Args:
        grids: of all pictures, see `token_grids`.
        trace: of one arm.
        view: what to tell.
        layer: which layer is told about, from 0.
        scale: the FFN updates that get the first and the last colour of the ramp.
    """
    shown, states = [], token_states(trace)
    for grid in grids:
        picture, tokens = grid.picture, grid.tokens
        rows, columns = tokens.shape
        cell = max(4, LONGEST_SIDE // max(rows, columns))
        canvas = picture.convert("RGB").resize((columns * cell, rows * cell), Image.Resampling.LANCZOS)
        if view is View.STATE:
            shown.append(_states(canvas, cell, tokens, states, layer))
        elif view is View.UPDATE:
            shown.append(_updates(canvas, cell, tokens, trace, states, layer, scale))
        else:
            shown.append(_merges(canvas, cell, tokens, trace, states, layer))
    return shown


def common_scale(traces: Sequence[Trace]) -> Scale:
    """One colour scale for all arms and layers: 2nd to 98th percentile, so that no outlier dims the rest."""
    values = [trace.ffn_update.float().numpy().ravel() for trace in traces if trace.ffn_update is not None]
    positive = np.concatenate([array[array > 0] for array in values]) if values else np.empty(0)  # NaN is not > 0
    if not len(positive):
        return 0.01, 1.0
    low, high = np.percentile(positive, [2, 98])
    return float(low), float(max(high, 1.01 * low))


def share_of_scale(values: np.ndarray, scale: Scale) -> np.ndarray:
    """Where values stand between the ends of the scale, 0 to 1, on a logarithm: text is changed many times more than
    pictures, and both shall be told apart. NaN stays NaN."""
    low, high = scale
    return (np.log(np.maximum(values, low) / low) / np.log(high / low)).clip(0, 1)


def _states(canvas: Image.Image, cell: int, tokens: np.ndarray, states: TokenStates, layer: int) -> Image.Image:
    """Every token by its mark: the picture stays clear where the whole layer runs (blue outline), and is hatched for
    each sub-layer that does not (orange; frozen ones both ways in purple); a square says halted, a dotted outline that
    key and value leave the cache. Merged tokens fade, dropped ones are crossed out in the dark."""
    for mark in marks(states, layer):
        chosen = mark.tokens[tokens]
        if mark.merged:
            canvas = cells.fade(canvas, cell, chosen, 0.78)
        elif mark.state is State.GONE:
            canvas = cells.cross_out(canvas, cell, chosen, palette.DROPPED)
        else:
            colour = palette.STATES[mark.state]
            if mark.state is not State.WHOLE:
                canvas = cells.tint(canvas, cell, chosen, colour, 0.22)
            for falls in _HATCHES[mark.state]:
                canvas = cells.hatch(canvas, cell, chosen, colour, falls=falls)
            canvas = cells.outline(canvas, cell, chosen, colour, broken=mark.leaves_cache)
            if mark.halted:
                canvas = cells.stop(canvas, cell, chosen, colour)
    return canvas


def _updates(
    canvas: Image.Image, cell: int, tokens: np.ndarray, trace: Trace, states: TokenStates, layer: int, scale: Scale
) -> Image.Image:
    """Cells coloured by ‖FFN output‖ / ‖residual‖; hatched grey where no FFN ran; crossed out where the token is
    gone."""
    update = trace.token_update(layer)
    values = np.full(tokens.shape, np.nan) if update is None else update.numpy()[tokens].astype(float)
    gone = states.state[layer][tokens] == State.GONE
    none = np.isnan(values) & ~gone
    colours = ramp_colours(np.nan_to_num(share_of_scale(values, scale)))
    grey = np.asarray(canvas.convert("L").convert("RGB"), dtype=float)
    colour = np.kron(colours, np.ones((cell, cell, 1)))
    mixed = np.where(cells.pixels(none, cell)[..., None], 0.45 * grey + 0.55 * 128, 0.15 * grey + 0.85 * colour)
    coloured = Image.composite(
        canvas, Image.fromarray(mixed.astype(np.uint8)), Image.fromarray(cells.pixels(gone, cell))
    )
    return cells.cross_out(cells.hatch(coloured, cell, none, "#5A5E64"), cell, gone, palette.DROPPED)


def _merges(
    canvas: Image.Image, cell: int, tokens: np.ndarray, trace: Trace, states: TokenStates, layer: int
) -> Image.Image:
    """A line from each merged token to the token it was merged into."""
    place = {int(token): where for where, token in np.ndenumerate(tokens)}
    merged, gone = states.merged[tokens], states.state[layer][tokens] == State.GONE
    taker = trace.taker.numpy()[tokens]
    is_taker = np.isin(tokens, taker[merged])
    if merged.any():
        canvas = cells.fade(canvas, cell, ~is_taker, 0.6)
    draw = ImageDraw.Draw(canvas, "RGBA")
    line = (*palette.rgb(palette.SKIPPED), 150)

    def centre(token: int) -> tuple[float, float]:
        row, column = place[token]
        return (column + 0.5) * cell, (row + 0.5) * cell

    for token, goal in zip(tokens[merged], taker[merged], strict=True):
        if int(goal) in place:  # merged within this grid
            draw.line([centre(int(token)), centre(int(goal))], fill=line, width=max(1, cell // 14))
            x, y = centre(int(token))
            radius = max(1, cell // 10)
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=palette.SKIPPED)
    canvas = cells.outline(canvas, cell, is_taker, palette.SKIPPED)
    canvas = cells.outline(canvas, cell, ~is_taker & ~merged, palette.RETAINED)
    return cells.cross_out(canvas, cell, gone, palette.DROPPED)


def ramp_colours(shares: np.ndarray) -> np.ndarray:
    """Shares of the scale, any shape, as RGB floats [..., 3]."""
    stops = np.array([palette.rgb(colour) for colour in palette.RAMP], dtype=float)
    position = shares.clip(0, 1) * (len(stops) - 1)
    return np.stack([np.interp(position, np.arange(len(stops)), stops[:, band]) for band in range(3)], axis=-1)
