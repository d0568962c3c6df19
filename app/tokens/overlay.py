"""The picture as the model saw it, and the marks of what happened to each of its tokens. Record in, pictures out."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from PIL import Image, ImageDraw

from app import palette
from app.tokens import cells
from app.tokens.cells import Sheet
from app.tokens.token_grids import TokenGrid
from app.tokens.token_states import State, TokenStates, marks, token_states
from profiling import Report
from skipcore import Trace

LONGEST_SIDE = 672
Scale = tuple[float, float]
COLORS = {
    State.WHOLE: palette.RETAINED,
    State.NO_FFN: palette.SKIPPED,
    State.NO_ATTENTION: palette.SKIPPED,
    State.FROZEN: palette.FROZEN,
    State.DROPPED: palette.DROPPED,
}
_HATCHES = {State.WHOLE: (), State.NO_FFN: (False,), State.NO_ATTENTION: (True,), State.FROZEN: (False, True)}
"""Lines that rise (False) or fall (True)."""


class View(StrEnum):
    """What the overlay shows of each token."""

    STATE = "state"
    UPDATE = "update"
    MERGES = "merges"


def plain_pictures(grids: Sequence[TokenGrid]) -> list[Image.Image]:
    """What the tokens of each grid cover, in RGB, resized to whole square cells."""
    sizes = [(grid.tokens.shape[1] * _cell(grid), grid.tokens.shape[0] * _cell(grid)) for grid in grids]
    return [
        grid.picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        for grid, size in zip(grids, sizes, strict=True)
    ]


def token_marks(
    grids: Sequence[TokenGrid],
    trace: Trace,
    view: View,
    layer: int,
    scale: Scale = (0.01, 1.0),
) -> list[Image.Image]:
    """The marks on every token of a run, to be laid over `plain_pictures`: of the same shape, with transparency.

    Args:
        grids: of all pictures, see `token_grids`.
        trace: of one arm.
        view: what to show.
        layer: which layer is shown, from 0.
        scale: the FFN updates that get the first and the last color of the ramp.
    """
    shown, states = [], token_states(trace)
    for grid in grids:
        tokens = grid.tokens
        # updates are flat colors and differ from layer to layer: half the size is enough, and less to send
        sheet = cells.clear(tokens.shape, _cell(grid, LONGEST_SIDE // 2 if view is View.UPDATE else LONGEST_SIDE))
        if view is View.STATE:
            sheet = _states(sheet, tokens, states, layer)
        elif view is View.UPDATE:
            sheet = _updates(sheet, tokens, trace, states, layer, scale)
        else:
            sheet = _merges(sheet, tokens, trace, states, layer)
        shown.append(sheet.picture())
    return shown


def looks_of(trace: Trace, view: View) -> list[int]:
    """[layers] for each layer the first one whose marks are the same, so that it need not be drawn again."""
    states = token_states(trace)
    firsts: dict[bytes, int] = {}
    looks = []
    for layer in range(len(states.state)):
        seen = {
            View.STATE: (states.state[layer], states.in_cache[layer], states.reduced_from <= layer),
            View.UPDATE: (np.array(layer),),
            View.MERGES: (states.state[layer] == State.DROPPED,),
        }[view]
        looks.append(firsts.setdefault(b"".join(part.tobytes() for part in seen), layer))
    return looks


def _cell(grid: TokenGrid, longest_side: int = LONGEST_SIDE) -> int:
    return max(4, longest_side // max(grid.tokens.shape))


def common_scale(traces: Sequence[Trace]) -> Scale:
    """One color scale for all arms and layers: 2nd to 98th percentile, so that no outlier dims the rest."""
    values = [trace.ffn_update.float().numpy().ravel() for trace in traces if trace.ffn_update is not None]
    positive = np.concatenate([array[array > 0] for array in values]) if values else np.empty(0)  # NaN is not > 0
    if not len(positive):
        return 0.01, 1.0
    low, high = np.percentile(positive, [2, 98])
    return float(low), float(max(high, 1.01 * low))


def scale_of(report: Report) -> Scale:
    """The common scale of a report's arms."""
    return common_scale([arm.trace for arm in report.arms])


def share_of_scale(values: np.ndarray, scale: Scale) -> np.ndarray:
    """Where values stand between the ends of the scale, 0 to 1, on a logarithm: text is changed many times more than
    pictures, and both shall stay distinct. NaN stays NaN."""
    low, high = scale
    return (np.log(np.maximum(values, low) / low) / np.log(high / low)).clip(0, 1)


def _states(sheet: Sheet, tokens: np.ndarray, states: TokenStates, layer: int) -> Sheet:
    """Every token by its mark: the picture stays clear where the whole layer runs (blue outline), and is hatched for
    each sub-layer that does not (orange; frozen ones both ways in purple); a square says that it is so from here on, a
    dotted outline that key and value are dropped from the KV cache. Merged tokens fade, dropped ones are crossed out in
    the dark."""
    for mark in marks(states, layer):
        chosen = mark.tokens[tokens]
        if mark.merged:
            sheet = cells.tint(sheet, chosen, palette.FADED, 0.85)
        elif mark.state is State.DROPPED:
            sheet = cells.cross_out(sheet, chosen, palette.DROPPED)
        else:
            color = COLORS[mark.state]
            if mark.state is not State.WHOLE:
                sheet = cells.tint(sheet, chosen, color, 0.22)
            for falls in _HATCHES[mark.state]:
                sheet = cells.hatch(sheet, chosen, color, falls=falls)
            sheet = cells.outline(sheet, chosen, color, broken=mark.not_cached)
            if mark.reduced:
                sheet = cells.stop(sheet, chosen, color)
    return sheet


def _updates(sheet: Sheet, tokens: np.ndarray, trace: Trace, states: TokenStates, layer: int, scale: Scale) -> Sheet:
    """Cells colored by ‖FFN output‖ / ‖residual‖; hatched gray where no FFN ran; crossed out where the token was
    dropped."""
    update = trace.token_update(layer)
    values = np.full(tokens.shape, np.nan) if update is None else update.numpy()[tokens].astype(float)
    dropped = states.state[layer][tokens] == State.DROPPED
    none = np.isnan(values) & ~dropped
    sheet = cells.ramp(sheet, ~none & ~dropped, share_of_scale(values, scale), RAMP, 0.85)
    sheet = cells.hatch(cells.tint(sheet, none, palette.FADED, 0.85), none, "#74787D")
    return cells.cross_out(sheet, dropped, palette.DROPPED)


def _merges(sheet: Sheet, tokens: np.ndarray, trace: Trace, states: TokenStates, layer: int) -> Sheet:
    """A line from each merged token to the token it was merged into."""
    cell = sheet.cell
    cell_of = {int(token): where for where, token in np.ndenumerate(tokens)}
    merged, dropped = states.merged[tokens], states.state[layer][tokens] == State.DROPPED
    targets = trace.merged_into.numpy()[tokens]
    is_target = np.isin(tokens, targets[merged])
    if merged.any():
        sheet = cells.tint(sheet, ~is_target, palette.FADED, 0.6)
    lines, dots = (Image.new("L", sheet.inks.shape[::-1]) for _ in range(2))
    line, dot = ImageDraw.Draw(lines), ImageDraw.Draw(dots)

    def center(token: int) -> tuple[float, float]:
        row, column = cell_of[token]
        return (column + 0.5) * cell, (row + 0.5) * cell

    for token, target in zip(tokens[merged], targets[merged], strict=True):
        if int(target) in cell_of:  # merged within this grid
            line.line([center(int(token)), center(int(target))], fill=255, width=max(1, cell // 14))
            x, y = center(int(token))
            radius = max(1, cell // 10)
            dot.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)
    sheet = cells.paint(sheet, np.asarray(lines) > 0, palette.SKIPPED, 0.6)
    sheet = cells.paint(sheet, np.asarray(dots) > 0, palette.SKIPPED)
    sheet = cells.outline(sheet, is_target, palette.SKIPPED)
    sheet = cells.outline(sheet, ~is_target & ~merged, palette.RETAINED)
    return cells.cross_out(sheet, dropped, palette.DROPPED)


def ramp_colors(shares: np.ndarray) -> np.ndarray:
    """Shares of the scale, any shape, as RGB floats [..., 3]."""
    stops = np.array([palette.rgb(color) for color in palette.RAMP], dtype=float)
    position = shares.clip(0, 1) * (len(stops) - 1)
    return np.stack([np.interp(position, np.arange(len(stops)), stops[:, band]) for band in range(3)], axis=-1)


RAMP = tuple("#{:02X}{:02X}{:02X}".format(*color) for color in ramp_colors(np.linspace(0, 1, 64)).astype(int))
"""As many colors as an eye can distinguish."""
