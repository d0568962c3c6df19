"""Heat maps of the FFN update, layer × slot, one for each arm: two small pictures below, cells to click above."""

from __future__ import annotations

from html import escape

import numpy as np
from PIL import Image

from app import palette
from app.markup import keys, ramp
from app.server.data_uri import data_uri
from app.tokens import cells
from app.tokens.overlay import RAMP, Scale, scale_of, share_of_scale
from app.tokens.selection import frame, grid_cells, layer_number
from app.wording import ROLE_NAMES
from profiling import Arm, Report
from skipcore import Role, Trace

WIDTH = 1180
STRIP = 12
NOT_RECORDED = '<p class="finding">The FFN update is not available: it was not recorded.</p>'
_HEIGHTS = {Role.TEXT: 0.34, Role.RETAINED: 1.0, Role.SUMMARY: 0.67, Role.SKIPPED: 0.5}
"""Roles differ in height, too, for those who cannot distinguish the colors."""


def row_height(layers: int) -> int:
    """Pixels of a layer: a deep model's map is no taller than a page."""
    return max(8, min(24, 320 // layers))


def map_picture(trace: Trace, scale: Scale) -> Image.Image:
    """Every slot in every layer in the color of its FFN update; hatched where no FFN ran, clear where the slot was
    dropped. All slots are equally wide.

    Args:
        scale: the FFN updates that get the first and the last color.

    Raises:
        ValueError: nothing was recorded.
    """
    if trace.ffn_update is None:
        raise ValueError("the trace holds no FFN update: record it")
    update = trace.ffn_update.float().numpy()
    sheet = cells.clear(update.shape, cell=1)
    sheet = cells.ramp(sheet, np.isfinite(update), share_of_scale(update, scale), RAMP, 1.0)
    sheet = cells.Sheet(1, _enlarged(sheet.inks), sheet.paints)
    no_ffn = _enlarged((trace.entered & ~trace.ran_ffn).numpy())
    down, right = np.ogrid[: no_ffn.shape[0], : no_ffn.shape[1]]
    return cells.paint(sheet, no_ffn & ((down + right) % 6 < 1), palette.NO_FFN).picture()


def role_picture(trace: Trace) -> Image.Image:
    """A strip with the role of every slot: as color, and as height."""
    roles = trace.slot_role.numpy()
    wide = roles.repeat(_width(len(roles)))
    sheet = cells.Sheet(1, np.zeros((STRIP, len(wide)), np.uint8))
    up = np.arange(STRIP, 0, -1)[:, None]
    for role, height in _HEIGHTS.items():
        sheet = cells.paint(sheet, (wide == role) & (up <= round(STRIP * height)), palette.ROLES[role])
    return sheet.picture()


def _enlarged(values: np.ndarray) -> np.ndarray:
    """[layers, slots] → pixels."""
    layers, slots = values.shape
    return values.repeat(row_height(layers), axis=0).repeat(_width(slots), axis=1)


def _width(slots: int) -> int:
    return max(1, WIDTH // slots)


def update_key(report: Report) -> str:
    """The key to the map of updates: what occurs in it, and the colors."""
    traces = [arm.trace for arm in report.arms]
    entries = [
        (f"{name}-token", name)
        for role, name in ROLE_NAMES.items()
        if any((trace.slot_role == role).any() for trace in traces)
    ]
    if any((trace.entered & ~trace.ran_ffn).any() for trace in traces):
        entries.append(("none", "no FFN ran"))
    if any((~trace.entered).any() for trace in traces):
        entries.append(("empty", "dropped"))
    return keys(*entries) + ramp(scale_of(report))


def update_maps(report: Report) -> list[str]:
    """The pictures of every arm."""
    scale = scale_of(report)
    return [_map(arm, scale) for arm in report.arms]


def _map(arm: Arm, scale: Scale) -> str:
    if arm.trace.ffn_update is None:
        return NOT_RECORDED
    roles = f'<img class="roles" src="{data_uri(role_picture(arm.trace))}" alt="The role of every slot">'
    picture = f'<img src="{data_uri(map_picture(arm.trace, scale))}" alt="{escape(in_words(arm))}">'
    return _section(arm, roles, picture)


def update_map_cells(report: Report, token: int, layer: int, picked: tuple[int, int] | None = None) -> list[str]:
    """The cells of every arm, with a frame around the slot of a token and around a layer, counted from 1.

    Args:
        picked: an arm and a slot there that is framed instead, because it holds no token.
    """
    slots = [int(arm.trace.token_slot[token]) for arm in report.arms]
    if picked is not None:
        slots[picked[0]] = picked[1]
    return [_cells(number, arm, slots[number], layer) for number, arm in enumerate(report.arms)]


def _cells(number: int, arm: Arm, slot: int, layer: int) -> str:
    if arm.trace.ffn_update is None:
        return ""
    row = layer_number(arm.trace, layer)
    label = escape(f"{arm.name}: slots by layer; choose with arrow keys")
    layers, slots = arm.trace.ran_ffn.shape
    frames = frame(row, 0, "chosen", columns=slots) + frame(0, slot, "chosen", rows=layers) * (slot >= 0)
    return _section(arm, "", grid_cells(number, (layers, slots), (row, max(slot, 0)), frames, label))


def in_words(arm: Arm) -> str:
    """What a map shows: "Dense: FFN update of 591 slots in 5 layers, at the median 0.12 in layer 1, …"."""
    assert arm.trace.ffn_update is not None
    layers, slots = arm.trace.ffn_update.shape
    ran = [row[np.isfinite(row)] for row in arm.trace.ffn_update.float().numpy()]
    medians = ", ".join(
        f"{np.median(row):.3g} in layer {number}" if len(row) else f"none in layer {number}"
        for number, row in enumerate(ran, start=1)
    )
    return f"{arm.name}: FFN update of {slots:,} slots in {layers} layers, at the median {medians}."


def _section(arm: Arm, roles: str, map_or_cells: str) -> str:
    """The same area for the pictures and for the cells above them."""
    layers, slots = arm.trace.ran_ffn.shape
    step = max(1, layers // 8)
    numbers = "".join(f"<span>{layer if (layer - 1) % step == 0 else ''}</span>" for layer in range(1, layers + 1))
    return (
        f'<section class="map" style="--map-height: {layers * row_height(layers)}px; --slots: {slots}">'
        f"<h4>{escape(arm.name)}</h4>"
        f'<div class="strip-area">{roles}</div><div class="layer-numbers" aria-hidden="true">{numbers}</div>'
        f'<div class="map-area">{map_or_cells}</div>'
        f'<p class="slots"><span>1</span><span>slot in the decoder\'s sequence</span><span>{slots:,}</span></p>'
        "</section>"
    )
