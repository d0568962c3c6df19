"""What users hand in: pictures and questions, checked before anything else sees them."""

from __future__ import annotations

import base64
import binascii
import io
import struct
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from skipcore.errors import InputError

ImageLike = str | Path | bytes | Image.Image | np.ndarray

MAX_BYTES = 32 * 2**20
MAX_SIDE = 16_384
MAX_PIXELS = 64_000_000
MIN_SIDE = 4
MAX_QUESTION_CHARACTERS = 4_000
DAMAGED = "The picture's file is damaged or cut short: save it again or choose another one."
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
CLOSED = "The picture cannot be read, since its file was closed or deleted, or is damaged: open it again."
UNREADABLE = (
    OSError, ValueError, SyntaxError, EOFError, MemoryError, AssertionError, AttributeError, TypeError, LookupError,
    ArithmeticError, struct.error,
)  # fmt: skip
"""What Pillow raises of files that it cannot read, or can no longer."""


def several_pictures(pictures: Any, wanted_by: str) -> list[Any]:
    """The pictures to measure on, as a list; one picture alone is a list of one. A list within it is the pictures of
    one question.

    Raises:
        InputError: there are none, or there is none with one of the questions.
    """
    is_one = isinstance(pictures, ImageLike)
    several = [pictures] if is_one else list(pictures) if isinstance(pictures, Iterable) else []
    if not several or any(isinstance(each, list | tuple) and not each for each in several):
        raise InputError(f"{wanted_by} needs at least one picture, and a picture with each question.")
    return several


def open_picture(source: ImageLike) -> Image.Image:
    """An upright RGB picture from a path, "data:" address, bytes, PIL image or array: first frame, transparency on
    white.

    It holds pixels alone: no EXIF, color profile or comment of the source comes along, and later changes of a PIL
    image or array do not show in it. Gray of more than 8 bits counts as 0–1, 0–255 or 0–65535, by its brightest value.

    Raises:
        InputError: there is no picture, it cannot be read, or its size is out of bounds.
    """
    if source is None:
        raise InputError("Choose a picture first: upload one, paste one, or pick an example.")
    if isinstance(source, np.ndarray):
        picture = _from_array(source)
    elif isinstance(source, Image.Image):
        picture = source
    elif isinstance(source, str | Path | bytes):
        picture = _from_file(source)
    else:
        raise InputError("A picture must be a file path, the bytes of a file, a PIL image or a NumPy array.")
    _check_size(picture)
    try:
        transparent = _transparent(picture)  # asked before loading, which forgets how the file holds its pixels
        picture.load()
        upright = ImageOps.exif_transpose(picture)
        return _pixels_alone(_on_white(upright, transparent))
    except UNREADABLE as error:
        raise InputError(CLOSED if picture is source else DAMAGED) from error


def from_base64(text: str) -> bytes:
    """The bytes of a picture's file that is written as base64.

    Raises:
        InputError: it is not valid base64.
    """
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("A picture's base64 text is damaged or cut short: encode its file again.") from error


def check_text(text: object, what: str = "The question") -> str:
    """A text that can be encoded.

    Raises:
        InputError: it is no text, or half of a surrogate pair is missing.
    """
    if not isinstance(text, str):
        raise InputError(f"{what} must be text.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{what} is not valid text (half of a character pair is missing): type it again.")
    return text


def picture_size(source: str | Path | bytes) -> tuple[int, int]:
    """Width and height of a picture's file once it is upright; its pixels are not read.

    Raises:
        InputError: it is no picture that can be read, or its size is out of bounds.
    """
    with _from_file(source) as picture:
        _check_size(picture)
        width, height = picture.size
        try:
            turned = picture.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        except UNREADABLE as error:
            raise InputError(DAMAGED) from error
        return (height, width) if turned else (width, height)


def check_question(question: str) -> str:
    """The question without surrounding white space.

    Raises:
        InputError: it is empty or too long.
    """
    question = check_text(question).strip()
    if not question:
        raise InputError("Type a question about the picture.")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise InputError(
            f"The question has {len(question):,} characters; shorten it to {MAX_QUESTION_CHARACTERS:,} at most."
        )
    return question


def _from_file(source: str | Path | bytes) -> Image.Image:
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        raise InputError("Pictures are not fetched from the web: download the picture and pass the path of its file.")
    if isinstance(source, str) and source.startswith("data:"):
        header, _, content = source.partition(",")
        if not header.endswith(";base64"):
            raise InputError('A picture\'s "data:" address must hold base64, such as "data:image/png;base64,…".')
        source = from_base64(content)
    size = len(source) if isinstance(source, bytes) else _file_size(Path(source))
    if size > MAX_BYTES:
        raise InputError(
            f"The picture's file has {size / 2**20:.0f} MB; use one of at most {MAX_BYTES / 2**20:.0f} MB."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit follows
            return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise InputError(
            f"The picture is too large: use one of at most {MAX_PIXELS // 10**6} million pixels."
        ) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InputError(
            "This file is not a picture that can be read: use PNG, JPEG, WebP, GIF, BMP or TIFF."
        ) from error


def _file_size(path: Path) -> int:
    try:
        if path.is_file():
            return path.stat().st_size
    except (OSError, ValueError):  # a name that no file can have
        pass
    raise InputError(f"There is no picture file at {path.name[:80]!r}: check the path.")


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise InputError("A picture as an array must be uint8 of shape (height, width), (height, width, 3) or (…, 4).")
    return Image.fromarray(array)


def _check_size(picture: Image.Image) -> None:
    width, height = picture.size
    if min(width, height) < MIN_SIDE:
        raise InputError(f"The picture is only {width} × {height} pixels; use one of at least {MIN_SIDE} × {MIN_SIDE}.")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise InputError(
            f"The picture has {width:,} × {height:,} pixels; use one of at most {MAX_PIXELS // 10**6} million pixels "
            f"and {MAX_SIDE:,} on a side."
        )


def _pixels_alone(picture: Image.Image) -> Image.Image:
    picture.info = {}  # a copy by now, not the caller's own
    return picture


def _transparent(picture: Image.Image) -> int | tuple[int, ...] | bytes | None:
    """The color that the file calls transparent, on the scale of the pixels as Pillow reads them. A PNG names it with
    the bits of its samples, but Pillow reads 2 and 4 bits as 8, and 16 bits of RGB as 8."""
    value = picture.info.get("transparency")
    tiles = getattr(picture, "tile", None)
    layout = tiles[0][3] if tiles else None
    if layout in ("L;2", "L;4") and isinstance(value, int):
        return value * (85 if layout == "L;2" else 17)
    if layout == "RGB;16B" and isinstance(value, tuple):
        return tuple(each >> 8 for each in value)
    return value


def _on_white(picture: Image.Image, transparent: int | tuple[int, ...] | bytes | None) -> Image.Image:
    if picture.mode == "F" or picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.float32)
        gray = _from_gray(values)
        if isinstance(transparent, int):
            gray.paste(255, mask=Image.fromarray(values == transparent))
        return gray.convert("RGB")
    if picture.mode in ("RGBa", "La"):  # premultiplied
        picture = picture.convert({"RGBa": "RGBA", "La": "LA"}[picture.mode])
    if transparent is not None:
        picture = picture.copy()
        picture.info["transparency"] = transparent
    if picture.mode in ("RGBA", "LA", "PA") or transparent is not None:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _from_gray(values: np.ndarray) -> Image.Image:
    """Gray of unknown depth: 0–1, 0–255 or 0–65535, by its brightest value."""
    brightest = float(np.nan_to_num(values, posinf=0.0).max())
    depth = 1.0 if brightest <= 1 else 255.0 if brightest <= 255 else 65535.0
    return Image.fromarray((np.nan_to_num(values / depth).clip(0, 1) * 255).round().astype(np.uint8))
