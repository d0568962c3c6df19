"""The colors of the whole product (Okabe–Ito), in one place.

The color-blind can distinguish the two arms by them; all else has a dash, marker, hatch, height or label besides.
"""

from __future__ import annotations

from skipcore import Role

RETAINED = "#0072B2"
SKIPPED = "#E69F00"
SUMMARY = "#56B4E9"
TEXT = "#8C9096"
MERGED = "#B4B8BD"
FROZEN = "#CC79A7"
DROPPED = "#D55E00"
NIGHT = "#17191C"
"""What is dropped lies in the dark."""
FADED = "#9A9DA2"
"""Lies over what was merged into others."""
SKIP_VISION = "#009E73"
# Dense: black on light. theme.css turns exactly this color to near-white inside figures of a dark page.
INK = "#101014"
NO_FFN = "#8C9096"
OTHER_ARMS = ("#CC79A7", "#D55E00", "#0072B2")

PEERS = ("#E69F00", "#56B4E9", "#0072B2", "#D55E00", "#CC79A7", TEXT)

SPLITS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")

ROLES: dict[Role, str] = {
    Role.TEXT: TEXT,
    Role.RETAINED: RETAINED,
    Role.SKIPPED: SKIPPED,
    Role.SUMMARY: SUMMARY,
}

# Viridis: even in lightness, safe for the color-blind. For magnitudes, on the picture and in the heat map.
RAMP = ("#440154", "#482878", "#3E4A89", "#31688E", "#26828E", "#1F9E89", "#35B779", "#6DCD59", "#B4DE2C", "#FDE725")


def arm_color(number: int) -> str:
    """The color of a report's arm: dense first, then the method, then whatever else was compared."""
    return (INK, SKIP_VISION, *OTHER_ARMS)[number % (2 + len(OTHER_ARMS))]


def split_color(number: int) -> str:
    """The color of a record's split: the scenes' three first, then easy-VQA."""
    return SPLITS[number % len(SPLITS)]


def rgb(color: str) -> tuple[int, int, int]:
    """ "#0072B2" as (0, 114, 178)."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
