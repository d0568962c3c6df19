"""Make the sprite atlas from unpacked emoji packages.

    npm pack @iconify-json/noto@1.2.9 @twemoji/svg@15.0.0 \\
        @lobehub/fluent-emoji-flat@1.1.0 @lobehub/fluent-emoji-3d@1.1.0
    for name in iconify-json-noto-1.2.9 twemoji-svg-15.0.0 \\
            lobehub-fluent-emoji-flat-1.1.0 lobehub-fluent-emoji-3d-1.1.0; do
        mkdir $name && tar xzf $name.tgz -C $name --strip-components=1
    done
    pip install resvg_py==0.5.0
    python -m skipcore.builtin.scenes.pack --noto iconify-json-noto-1.2.9 --twemoji twemoji-svg-15.0.0 \\
        --fluent lobehub-fluent-emoji-flat-1.1.0 --fluent3d lobehub-fluent-emoji-3d-1.1.0 --output assets/sprites
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from skipcore.builtin.scenes.things import THINGS
from skipcore.errors import InputError

CELL = 96
"""Side of an atlas cell, in pixels."""
FILL = 92
"""Length of a sprite's longer side in its cell, in pixels."""
RENDER = 512
"""Side at which vector art is drawn before it is cropped and made smaller."""
FAINT = 8
"""Alpha up to which a pixel counts as empty when a sprite is cropped."""


def _rasterize(svg: str) -> Image.Image:
    # Imported here: only this script needs it, never the library.
    try:
        renderer: Any = importlib.import_module("resvg_py")
    except ImportError as error:
        raise InputError("Install the SVG renderer first: pip install resvg_py==0.5.0.") from error
    drawn = renderer.svg_to_bytes(svg_string=svg, width=RENDER, height=RENDER)
    return Image.open(io.BytesIO(bytes(drawn))).convert("RGBA")


def _names(codepoint: str) -> tuple[str, str]:
    # Packages differ in whether a file name keeps the emoji variation selector.
    return codepoint, f"{codepoint}-fe0f"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: give the folder of the unpacked package.") from error
    return content


def _iconify(folder: Path) -> Callable[[str], Image.Image | None]:
    icons = _read_json(folder / "icons.json")
    by_codepoint = _read_json(folder / "chars.json")

    def read(codepoint: str) -> Image.Image | None:
        name = next((by_codepoint[key] for key in _names(codepoint) if key in by_codepoint), None)
        while name in icons.get("aliases", {}):
            name = icons["aliases"][name]["parent"]
        if name not in icons["icons"]:
            return None
        icon = icons["icons"][name]
        width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
        box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
        names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        return _rasterize(f'<svg {names} viewBox="{box}">{icon["body"]}</svg>')

    return read


def _files(folder: Path, suffix: str) -> Callable[[str], Image.Image | None]:
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give the folder of the unpacked package.")

    def read(codepoint: str) -> Image.Image | None:
        for name in _names(codepoint):
            path = folder / f"{name}{suffix}"
            if not path.exists():
                continue
            if suffix == ".svg":
                return _rasterize(path.read_text(encoding="utf-8"))
            with Image.open(path) as image:
                return image.convert("RGBA")
        return None

    return read


def fit(art: Image.Image) -> Image.Image | None:
    """Crop `art` to what is visible and center it in a cell; None where nothing is visible."""
    box = art.getchannel("A").point([0] * (FAINT + 1) + [255] * (255 - FAINT)).getbbox()
    if box is None:
        return None
    art = art.crop(box)
    scale = FILL / max(art.size)
    width, height = (max(1, round(side * scale)) for side in art.size)
    cell = Image.new("RGBA", (CELL, CELL))
    cell.paste(art.resize((width, height), Image.Resampling.LANCZOS), ((CELL - width) // 2, (CELL - height) // 2))
    return cell


def pack(sources: dict[str, Callable[[str], Image.Image | None]], output: Path) -> None:
    """Write `atlas.webp` and `atlas.json`: one row a thing, one column a style."""
    atlas = Image.new("RGBA", (CELL * len(sources), CELL * len(THINGS)))
    for row, thing in enumerate(THINGS):
        for column, (style, read) in enumerate(sources.items()):
            art = read(thing.codepoint)
            cell = None if art is None else fit(art)
            if cell is None:
                raise InputError(
                    f"{style} has no sprite of {thing.name} ({thing.codepoint}): take the package version named in "
                    "this script, or another thing."
                )
            atlas.paste(cell, (column * CELL, row * CELL))
    output.mkdir(parents=True, exist_ok=True)
    atlas.save(output / "atlas.webp", lossless=True, quality=100, method=6)
    content = {"cell": CELL, "styles": list(sources), "things": [thing.name for thing in THINGS]}
    (output / "atlas.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description="Make the sprite atlas from unpacked emoji packages.")
    for name in ("noto", "twemoji", "fluent", "fluent3d", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR")
    given = parser.parse_args(arguments)
    sources = {
        "noto": _iconify(given.noto),
        "twemoji": _files(given.twemoji, ".svg"),
        "fluent": _files(given.fluent / "assets", ".svg"),
        "fluent3d": _files(given.fluent3d / "assets", ".webp"),
    }
    pack(sources, given.output)


if __name__ == "__main__":
    main()
