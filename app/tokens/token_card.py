"""What is known about one visual token, as a card of text, marks and a sparkline. Report in, HTML out."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby

import numpy as np
from PIL import Image

from app.server.data_uri import data_uri
from app.tokens.overlay import plain_pictures
from app.tokens.selection import Location, group_of, location_of, marks_of, update_of
from app.tokens.token_grids import TokenGrid, grids_of
from app.tokens.token_states import Mark, phrase, swatch
from app.wording import ROLE_NAMES
from profiling import Report
from skipcore import Role, Trace

AROUND = 2
"""So many cells on each side of the token are shown with it."""
SMALL_CELL = 20
WIDTH, HEIGHT, EDGE = 240, 56, 6
"""Of a sparkline, in pixels."""


def token_card(report: Report, arm: int, token: int, layer: int) -> str:
    """The card of a token.

    Args:
        arm: the number of the arm whose run is shown.
        token: number of the visual token, over all pictures.
        layer: which layer is pointed out, from 0.
    """
    trace = report.arms[arm].trace
    location, found = location_of(trace, token), marks_of(trace, token)
    picture = data_uri(close_up(grids_of(report), token))
    where = escape(token_and_tile(location, token, len(trace.token_slot)))
    strip = "".join(_strip_cell(number, mark, number == layer) for number, mark in enumerate(found))
    return (
        '<article class="token"><div class="head">'
        f'<img src="{picture}" alt="The picture around the token at {position(location)}">'
        f"<div><h3>{position(location).capitalize()}</h3><p class='hint'>{where}</p></div></div>"
        f'<p class="finding">{escape(states_sentence(found))}</p><ol class="strip">{strip}</ol>'
        f'<p class="finding">{escape(merges_sentence(trace, token))}</p>{_updates(report, arm, token, layer)}</article>'
    )


def no_token(trace: Trace, slot: int) -> str:
    """The card of a slot that holds no visual token."""
    role = ROLE_NAMES[Role(int(trace.slot_role[slot]))]
    holds = "a summary token, which has no position of its own on the picture" if role == "summary" else "text"
    name = f"Slot {slot + 1:,} of {len(trace.slot_role):,} in the decoder's sequence"
    ran = int(trace.ran_ffn[:, slot].sum())
    values = (
        ""
        if trace.ffn_update is None
        else f" FFN update by layer: {values_text(trace.ffn_update[:, slot].float().numpy())}."
    )
    words = f"{name} holds {holds}. The FFN runs for it in {ran} of {len(trace.ran_ffn)} layers.{values}"
    return f'<article class="token"><p class="finding">{escape(words)}</p></article>'


def position(location: Location) -> str:
    """ "row 3, column 12", counted from 1, in its tile."""
    return f"row {location.row + 1}, column {location.column + 1}"


def token_and_tile(location: Location, token: int, tokens: int) -> str:
    """Which tile and picture, where there are several, and the number of the token."""
    return ", ".join([f"Token {token + 1:,} of {tokens:,}", *tile_and_picture(location)]) + "."


def tile_and_picture(location: Location) -> list[str]:
    """ "tile 3 of 5" and "picture 2 of 2", each where there are several."""
    tile = [f"tile {location.tile + 1} of {location.tiles}"] * (location.tiles > 1)
    return tile + [f"picture {location.picture + 1} of {location.pictures}"] * (location.pictures > 1)


def states_sentence(found: list[Mark]) -> str:
    """The token's role in each layer in words: "Layers 1 to 3: running in full; layer 4: dropped at layer 4."."""
    runs, first = [], 1
    for words, same in groupby(map(phrase, found)):
        last = first + len(list(same)) - 1
        layers = f"layer {first}" if first == last else f"layers {first} to {last}"
        runs.append(f"{layers}: {words}")
        first = last + 1
    words = "; ".join(runs)
    return f"{words[0].upper()}{words[1:]}."


def merges_sentence(trace: Trace, token: int) -> str:
    """What the token was merged into, and with how many others."""
    slot = int(trace.token_slot[token])
    if slot < 0:
        return "It never gets a slot in the decoder's sequence."
    group, target = group_of(trace, token), int(trace.merged_into[token])
    shared = f"slot {slot + 1:,} of {len(trace.slot_role):,} in the decoder's sequence"
    if len(group) == 1:
        return f"Merged with no other; it has {shared}."
    others = len(group) - (2 if target != token else 1)
    if target == token:
        return f"{merged_in(others)}; it has {shared}."
    with_others = f", with {others:,} other{'s' * (others > 1)}" if others else ""
    return f"Merged into {merge_target(trace, token)}{with_others}; it shares {shared}."


def merged_in(others: int) -> str:
    """How many were merged into a token, at least one."""
    return f"{others:,} other{'s were' if others > 1 else ' was'} merged into it"


def merge_target(trace: Trace, token: int) -> str:
    """What a merged token was merged into: "the token at row 3, column 12", and its tile where that is another."""
    target, own = location_of(trace, int(trace.merged_into[token])), location_of(trace, token)
    elsewhere = "" if (target.picture, target.tile) == (own.picture, own.tile) else f" of tile {target.tile + 1}"
    return f"the token at {position(target)}{elsewhere}"


def close_up(grids: list[TokenGrid], token: int) -> Image.Image:
    """The token's cell in the middle of the cells around it, framed; what lies outside of the picture is gray."""
    grid = next(grid for grid in grids if (grid.tokens == token).any())
    [(row, column)] = np.argwhere(grid.tokens == token)
    [plain] = plain_pictures([grid])
    cell = plain.width // grid.tokens.shape[1]
    side = 2 * AROUND + 1
    left, top = (int(start - AROUND) * cell for start in (column, row))
    seen = Image.new("RGB", (side * cell, side * cell), "#9A9DA2")
    seen.paste(plain, (-left, -top))
    small = seen.resize((side * SMALL_CELL, side * SMALL_CELL), Image.Resampling.LANCZOS)
    frame = np.asarray(small).copy()
    for inset, gray in ((-2, 255), (-1, 16), (0, 255)):
        _frame(frame, AROUND * SMALL_CELL + inset, (AROUND + 1) * SMALL_CELL - inset, gray)
    return Image.fromarray(frame)


def _frame(pixels: np.ndarray, start: int, stop: int, gray: int) -> None:
    for edge in (start, stop - 1):
        pixels[edge, start:stop] = pixels[start:stop, edge] = gray


def _strip_cell(number: int, mark: Mark, is_here: bool) -> str:
    here = ' class="here" aria-current="true"' if is_here else ""
    words = escape(f"Layer {number + 1}: {phrase(mark)}")
    return f'<li{here} title="{words}"><span class="key {swatch(mark)}"></span>{number + 1}</li>'


def _updates(report: Report, arm: int, token: int, layer: int) -> str:
    lines = [(number, update_of(report.arms[number].trace, token)) for number in sorted({0, arm})]
    known = [(number, values) for number, values in lines if values is not None]
    if not known:
        return '<p class="hint">Its FFN update was not recorded.</p>'
    label = escape(f"FFN update of the token in {len(known[0][1])} layers; its values follow")
    drawn = sparkline([(f"arm-{number}", values) for number, values in known], layer, label)
    rows = "".join(
        f'<dt><span class="key line arm-{number}"></span>{escape(report.arms[number].name)}</dt>'
        f"<dd>{values_text(values)}</dd>"
        for number, values in known
    )
    return f'<p class="finding">FFN update by layer</p>{drawn}<dl class="values">{rows}</dl>'


def values_text(values: np.ndarray) -> str:
    """Values as text: "0.12 · 0.08 · no FFN"."""
    return " · ".join("no FFN" if np.isnan(value) else f"{value:.3g}" for value in values.tolist())


def sparkline(series: Sequence[tuple[str, np.ndarray]], layer: int, label: str) -> str:
    """A small line over the layers as inline SVG; several lines on one scale from 0 to the largest value.

    Args:
        series: a class of theme.css for each line, and its values [layers]; NaN leaves a gap.
        layer: where the upright rule stands, from 0.
        label: what is shown, in words without markup.
    """
    values = [values for _, values in series]
    count = max((len(each) for each in values), default=1)
    finite = [each[np.isfinite(each)] for each in values]
    top = max((float(each.max()) for each in finite if len(each)), default=0.0) or 1.0

    def x(number: int) -> float:
        return WIDTH / 2 if count == 1 else EDGE + number * (WIDTH - 2 * EDGE) / (count - 1)

    def y(value: float) -> float:
        return HEIGHT - EDGE - value / top * (HEIGHT - 2 * EDGE)

    drawn = ""
    for name, line in series:
        path, pen = "", "M"
        dots = ""
        for number, value in enumerate(line.tolist()):
            if np.isnan(value):
                pen = "M"
                continue
            path += f"{pen}{x(number):.1f} {y(value):.1f}"
            dots += f'<circle cx="{x(number):.1f}" cy="{y(value):.1f}" r="2"/>'
            pen = "L"
        drawn += f'<g class="{name}"><path d="{path}"/>{dots}</g>' if path else ""
    rule = f'<line class="here" x1="{x(layer):.1f}" x2="{x(layer):.1f}" y1="0" y2="{HEIGHT}"/>'
    return f'<svg class="sparkline" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{rule}{drawn}</svg>'
