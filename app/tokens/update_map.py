"""Heat map of the FFN update, layer × place in the decoder's sequence. Trace in, two small pictures out."""

from __future__ import annotations

import numpy as np
from PIL import Image

from app import palette
from app.tokens import cells
from app.tokens.overlay import RAMP, Scale, share_of_scale
from skipcore import Role, Trace

WIDTH = 1180
STRIP = 12
_HEIGHTS = {Role.TEXT: 0.34, Role.RETAINED: 1.0, Role.SUMMARY: 0.67, Role.SKIPPED: 0.5}
"""Roles differ in height, too, for those who do not tell the colors apart."""


def row_height(layers: int) -> int:
    """Pixels of a layer: a deep model's map is no taller than a page."""
    return max(8, min(24, 320 // layers))


def map_picture(trace: Trace, scale: Scale) -> Image.Image:
    """Every place in every layer in the color of its FFN update; hatched where no FFN ran, clear where what was
    there is gone. Each place is as wide as the next.

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
    """A strip with the role of every place: as color, and as height."""
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
