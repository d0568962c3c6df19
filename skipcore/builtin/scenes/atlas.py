"""The sprite atlas: every thing in every style of art."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from PIL import Image

from skipcore.errors import InputError

STYLES: tuple[str, ...] = ("noto", "twemoji", "fluent", "fluent3d")
"""The atlas's styles, in the order of its columns."""

FOLDER = Path(__file__).parents[3] / "assets" / "sprites"
"""Where the atlas and the fonts lie in a checkout of the repository."""


class Atlas:
    """Sprites by thing and style, cut out of one picture when first asked for."""

    def __init__(self, picture: Image.Image, cell: int, styles: tuple[str, ...], things: tuple[str, ...]) -> None:
        if picture.size != (cell * len(styles), cell * len(things)):
            raise InputError("atlas.webp and atlas.json do not belong together: run skipcore.builtin.scenes.pack.")
        self.cell = cell
        self.styles = styles
        self.things = things
        self._picture = picture
        self._columns = {style: column for column, style in enumerate(styles)}
        self._rows = {thing: row for row, thing in enumerate(things)}
        self._sprites: dict[tuple[str, str], Image.Image] = {}

    def sprite(self, thing: str, style: str) -> Image.Image:
        """The RGBA picture of `thing` in `style`. It is shared: copy it before you draw on it."""
        sprite = self._sprites.get((thing, style))
        if sprite is None:
            if thing not in self._rows:
                raise InputError(f"The sprite atlas has no {thing!r}: take a name from THINGS.")
            if style not in self._columns:
                raise InputError(f"The sprite atlas has no style {style!r}: take one of {', '.join(self.styles)}.")
            left, top = self._columns[style] * self.cell, self._rows[thing] * self.cell
            sprite = self._picture.crop((left, top, left + self.cell, top + self.cell))
            self._sprites[thing, style] = sprite
        return sprite


@cache
def load_atlas() -> Atlas:
    """Read the repository's atlas, once a process."""
    try:
        content = json.loads((FOLDER / "atlas.json").read_text(encoding="utf-8"))
        with Image.open(FOLDER / "atlas.webp") as image:
            picture = image.convert("RGBA")
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename} is missing: work in a checkout of the repository, or make the atlas with "
            "python -m skipcore.builtin.scenes.pack."
        ) from error
    return Atlas(picture, content["cell"], tuple(content["styles"]), tuple(content["things"]))
