"""The heat maps of the FFN update as HTML, one for each arm: pictures below, cells to click above."""

from __future__ import annotations

from html import escape

import numpy as np

from app.data_uri import data_uri
from app.overlay import common_scale
from app.picking import grid_cells
from app.selection import layer_number
from app.update_map import map_picture, role_picture, row_height
from profiling import Arm, Report
from skipcore import Trace

NOT_RECORDED = '<p class="finding">The FFN update is not available: it was not recorded.</p>'


def update_maps(report: Report) -> str:
    """The pictures of every arm."""
    scale = common_scale([arm.trace for arm in report.arms])
    parts = []
    for arm in _recorded(report):
        roles = f'<img class="roles" src="{data_uri(role_picture(arm.trace))}" alt="The role of every place">'
        picture = f'<img src="{data_uri(map_picture(arm.trace, scale))}" alt="{escape(in_words(arm))}">'
        parts.append(_frame(arm, roles, picture))
    return "".join(parts) or NOT_RECORDED


def update_map_cells(report: Report, token: int, layer: int) -> str:
    """The cells of every arm, with a frame around the place of a token and around a layer, counted from 1."""
    parts = []
    for number, arm in enumerate(report.arms):
        if arm.trace.ffn_update is None:
            continue
        row, slot = layer_number(arm.trace, layer), int(arm.trace.token_slot[token])
        label = escape(f"{arm.name}: places by layer; choose with arrow keys")
        at, frames = (row, max(slot, 0)), _marks(arm.trace, row, slot)
        parts.append(_frame(arm, "", grid_cells(number, tuple(arm.trace.ran_ffn.shape), at, frames, label)))
    return "".join(parts)


def in_words(arm: Arm) -> str:
    """What a map shows: "Dense: FFN update of 591 places in 5 layers, at the median 0.12 in layer 1, …"."""
    assert arm.trace.ffn_update is not None
    layers, slots = arm.trace.ffn_update.shape
    ran = [row[np.isfinite(row)] for row in arm.trace.ffn_update.float().numpy()]
    medians = ", ".join(
        f"{np.median(row):.3g} in layer {number}" if len(row) else f"none in layer {number}"
        for number, row in enumerate(ran, start=1)
    )
    return f"{arm.name}: FFN update of {slots:,} places in {layers} layers, at the median {medians}."


def _recorded(report: Report) -> list[Arm]:
    return [arm for arm in report.arms if arm.trace.ffn_update is not None]


def _marks(trace: Trace, row: int, slot: int) -> str:
    layers, slots = trace.ran_ffn.shape
    boxes = [f'x="0" y="{row}" width="{slots}" height="1"']
    boxes += [f'x="{slot}" y="0" width="1" height="{layers}"'] * (slot >= 0)
    return "".join(f'<rect class="chosen light" {box}/><rect class="chosen" {box}/>' for box in boxes)


def _frame(arm: Arm, roles: str, map_or_cells: str) -> str:
    """The same room for the pictures and for the cells above them."""
    layers, slots = arm.trace.ran_ffn.shape
    step = max(1, layers // 8)
    numbers = "".join(f"<span>{layer if (layer - 1) % step == 0 else ''}</span>" for layer in range(1, layers + 1))
    return (
        f'<section class="map" style="--map-height: {layers * row_height(layers)}px"><h4>{escape(arm.name)}</h4>'
        f'<div class="strip-room">{roles}</div><div class="layer-numbers" aria-hidden="true">{numbers}</div>'
        f'<div class="map-room">{map_or_cells}</div>'
        f'<p class="places"><span>1</span><span>place in the decoder\'s sequence</span><span>{slots:,}</span></p>'
        "</section>"
    )
