"""The fonts that scenes are labeled with."""

from __future__ import annotations

from functools import cache

from PIL import ImageFont

from skipcore.builtin.scenes.atlas import FOLDER
from skipcore.errors import InputError

FONTS: tuple[str, ...] = ("Lato", "CrimsonText", "Oswald", "Fredoka", "PatrickHand", "CourierPrime")
"""File stems: sans, serif, condensed, rounded, handwriting, mono."""


@cache
def font(name: str, pixels: int) -> ImageFont.FreeTypeFont:
    """The font `name` at `pixels` an em."""
    if name not in FONTS:
        raise InputError(f"There is no font {name!r}: take one of {', '.join(FONTS)}.")
    path = FOLDER / "fonts" / f"{name}.ttf"
    if not path.exists():
        raise InputError(f"{path} is missing: work in a checkout of the repository.")
    # Basic layout gives the same glyph positions whether or not libraqm is installed.
    return ImageFont.truetype(path, pixels, layout_engine=ImageFont.Layout.BASIC)
