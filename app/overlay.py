"""The picture as the model saw it, with what happened to each of its tokens. Record in, picture out."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

from app import palette
from app.token_grids import TokenGrid
from skipcore import Role, Trace

LONGEST_SIDE = 672


class View(StrEnum):
    """What the overlay tells about each token."""

    ROLE = "role"
    UPDATE = "update"
    MERGES = "merges"


def token_pictures(
    grids: Sequence[TokenGrid],
    trace: Trace,
    view: View,
    layer: int,
    scale: tuple[float, float] = (0.01, 1.0),
) -> list[Image.Image]:
    """Every token grid of a run on its picture.

    Args:
        grids: of all pictures, see `token_grids`.
        trace: of one arm.
        view: what to tell.
        layer: which layer's FFN is told about, from 0.
        scale: the FFN updates that get the first and the last colour of the ramp.
    """
    shown = []
    for grid in grids:
        picture, tokens = grid.picture, grid.tokens
        rows, columns = tokens.shape
        cell = max(4, LONGEST_SIDE // max(rows, columns))
        canvas = picture.convert("RGB").resize((columns * cell, rows * cell), Image.Resampling.LANCZOS)
        if view is View.ROLE:
            shown.append(_roles(canvas, cell, tokens, trace, layer))
        elif view is View.UPDATE:
            shown.append(_updates(canvas, cell, tokens, trace, layer, scale))
        else:
            shown.append(_merges(canvas, cell, tokens, trace))
    return shown


def common_scale(traces: Sequence[Trace]) -> tuple[float, float]:
    """One colour scale for all arms and layers: 2nd to 98th percentile, so that no outlier dims the rest."""
    values = [trace.ffn_update.float().numpy().ravel() for trace in traces if trace.ffn_update is not None]
    positive = np.concatenate([array[array > 0] for array in values]) if values else np.empty(0)  # NaN is not > 0
    if not len(positive):
        return 0.01, 1.0
    low, high = np.percentile(positive, [2, 98])
    return float(low), float(max(high, 1.01 * low))


def share_of_scale(values: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Where values stand between the ends of the scale, 0 to 1, on a logarithm: text is changed many times more than
    pictures, and both shall be told apart. NaN stays NaN."""
    low, high = scale
    return (np.log(np.maximum(values, low) / low) / np.log(high / low)).clip(0, 1)


def _roles(canvas: Image.Image, cell: int, tokens: np.ndarray, trace: Trace, layer: int) -> Image.Image:
    """Retained tokens keep the picture and get a blue outline; skipped ones orange, hatched where their FFN does not
    run and the other way where they do not attend; merged ones fade."""
    role, merged = trace.role.numpy()[tokens], trace.merged.numpy()[tokens]
    ran = trace.ran_ffn[layer, trace.token_slot].numpy()[tokens]
    skipped = (role == Role.SKIPPED) & ~merged
    canvas = _fade(canvas, _pixels(merged, cell), 0.78)
    canvas = _tint(canvas, _pixels(skipped, cell), palette.SKIPPED, 0.22)
    attended = trace.ran_attention[layer, trace.token_slot].numpy()[tokens]
    canvas = _hatch(canvas, _pixels(skipped & ~ran, cell), cell, palette.SKIPPED)
    canvas = _hatch(canvas, _pixels(skipped & ~attended, cell), cell, palette.SKIPPED, falling=True)
    outline_all(canvas, cell, skipped, palette.SKIPPED)
    outline_all(canvas, cell, (role == Role.RETAINED) & ~merged, palette.RETAINED)
    return canvas


def _updates(
    canvas: Image.Image, cell: int, tokens: np.ndarray, trace: Trace, layer: int, scale: tuple[float, float]
) -> Image.Image:
    """Cells coloured by ‖FFN output‖ / ‖residual‖; hatched grey where no FFN ran."""
    update = trace.token_update(layer)
    values = np.full(tokens.shape, np.nan) if update is None else update.numpy()[tokens].astype(float)
    none = np.isnan(values)
    colours = ramp_colours(np.nan_to_num(share_of_scale(values, scale)))
    grey = np.asarray(canvas.convert("L").convert("RGB"), dtype=float)
    colour = np.kron(colours, np.ones((cell, cell, 1)))
    mixed = np.where(_pixels(none, cell)[..., None], 0.45 * grey + 0.55 * 128, 0.15 * grey + 0.85 * colour)
    return _hatch(Image.fromarray(mixed.astype(np.uint8)), _pixels(none, cell), cell, "#5A5E64")


def _merges(canvas: Image.Image, cell: int, tokens: np.ndarray, trace: Trace) -> Image.Image:
    """A line from each merged token to the token it was merged into."""
    place = {int(token): where for where, token in np.ndenumerate(tokens)}
    merged = trace.merged.numpy()[tokens]
    taker = trace.slot_token[trace.token_slot].numpy()[tokens]
    is_taker = np.isin(tokens, taker[merged])
    if merged.any():
        canvas = _fade(canvas, _pixels(~is_taker, cell), 0.6)
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
    outline_all(canvas, cell, is_taker, palette.SKIPPED)
    outline_all(canvas, cell, (trace.role.numpy()[tokens] == Role.RETAINED) & ~merged, palette.RETAINED)
    return canvas


def ramp_colours(shares: np.ndarray) -> np.ndarray:
    """Shares of the scale, any shape, as RGB floats [..., 3]."""
    stops = np.array([palette.rgb(colour) for colour in palette.RAMP], dtype=float)
    position = shares.clip(0, 1) * (len(stops) - 1)
    return np.stack([np.interp(position, np.arange(len(stops)), stops[:, band]) for band in range(3)], axis=-1)


def outline_all(canvas: Image.Image, cell: int, chosen: np.ndarray, colour: str) -> None:
    """Outline the chosen cells [rows, columns] of the grid, inside their borders, in place. A light line within sets
    the outline off from dark pictures."""
    draw = ImageDraw.Draw(canvas, "RGBA")
    width = max(1, cell // 11)
    for row, column in np.argwhere(chosen).tolist():
        x, y, end = column * cell + 1, row * cell + 1, cell - 3
        draw.rectangle([x, y, x + end, y + end], outline=colour, width=width)
        draw.rectangle([x + width, y + width, x + end - width, y + end - width], outline=(255, 255, 255, 90))


def _pixels(chosen: np.ndarray, cell: int) -> np.ndarray:
    """Cells [rows, columns] as pixels [rows · cell, columns · cell]."""
    return chosen.repeat(cell, axis=0).repeat(cell, axis=1)


def _fade(canvas: Image.Image, where: np.ndarray, strength: float) -> Image.Image:
    """Take colour and contrast away where `where` is True."""
    grey = Image.blend(ImageEnhance.Color(canvas).enhance(0.15), Image.new("RGB", canvas.size, "#9A9DA2"), strength)
    return Image.composite(grey, canvas, Image.fromarray(where))


def _tint(canvas: Image.Image, where: np.ndarray, colour: str, strength: float) -> Image.Image:
    return Image.composite(
        Image.blend(canvas, Image.new("RGB", canvas.size, colour), strength), canvas, Image.fromarray(where)
    )


def _hatch(canvas: Image.Image, where: np.ndarray, cell: int, colour: str, falling: bool = False) -> Image.Image:
    """Diagonal lines where `where` is True, three to a cell."""
    height, width = where.shape
    period = max(4, cell // 3)
    slope = -1 if falling else 1
    diagonal = (np.add.outer(np.arange(height), slope * np.arange(width)) % period) < max(1, period // 5)
    return Image.composite(Image.new("RGB", canvas.size, colour), canvas, Image.fromarray(diagonal & where))
