"""What training may show and ask, and what is kept for the test splits.

Three things are kept from training: the seeds of the other splits, some places of some things (and some pairs in a
relation), and one art style of a third of the things.
"""

from __future__ import annotations

from functools import cache
from typing import Literal
from zlib import crc32

Split = Literal["train", "validation", "test", "combinations", "style"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test", "combinations", "style")

HELD_OUT_STYLE = "noto"
CELLS = (
    "top left", "top", "top right",
    "left", "middle", "right",
    "bottom left", "bottom", "bottom right",
)  # fmt: skip
"""The nine places of a picture, row by row."""
PERCENT_OF_PLACES = 6
PERCENT_OF_PAIRS = 6


def seed_of(split: Split, *numbers: int) -> tuple[int, ...]:
    """The seed of a scene: no two splits share one."""
    return (SPLITS.index(split), *numbers)


def cell_of(x: float, y: float) -> str:
    """The name of the cell of the 3 x 3 grid that a place lies in; x and y are shares of width and height."""
    column, row = min(int(3 * x), 2), min(int(3 * y), 2)
    return CELLS[3 * row + column]


@cache
def is_place_held_out(thing: str, cell: str) -> bool:
    """Whether training never shows this thing in this cell."""
    return crc32(f"{thing}|{cell}".encode()) % 100 < PERCENT_OF_PLACES


@cache
def is_pair_held_out(first: str, second: str) -> bool:
    """Whether training never asks how these two things stand to each other, in either order."""
    return crc32("|".join(sorted((first, second))).encode()) % 100 < PERCENT_OF_PAIRS


@cache
def is_style_held_out(thing: str, style: str) -> bool:
    """Whether training never shows this thing in this art style: true of a third of the things, in one style."""
    return style == HELD_OUT_STYLE and crc32(thing.encode()) % 3 == 0
