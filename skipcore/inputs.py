"""What users hand in: pictures and questions, checked before anything else sees them."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

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


def open_picture(source: ImageLike) -> Image.Image:
    """An upright RGB picture from a path, bytes, PIL image or array: first frame, transparency on white.

    It holds pixels alone: no EXIF, colour profile or comment of the source comes along, and later changes of a PIL
    image or array do not show in it.

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
        picture.load()
        return _pixels_alone(_on_white(ImageOps.exif_transpose(picture)))
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise InputError(DAMAGED) from error


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
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise InputError(DAMAGED) from error
        return (height, width) if turned else (width, height)


def check_question(question: str) -> str:
    """The question without surrounding white space.

    Raises:
        InputError: it is empty or too long.
    """
    if not isinstance(question, str):
        raise InputError("The question must be text.")
    question = question.strip()
    if not question:
        raise InputError("Type a question about the picture.")
    if any("\ud800" <= character <= "\udfff" for character in question):
        raise InputError("The question is not valid text (half of a character pair is missing): type it again.")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise InputError(
            f"The question has {len(question):,} characters; shorten it to {MAX_QUESTION_CHARACTERS:,} at most."
        )
    return question


def _from_file(source: str | Path | bytes) -> Image.Image:
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


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    if picture.mode == "F" or picture.mode.startswith("I"):
        return _from_grey(np.asarray(picture).astype(np.float32)).convert("RGB")
    return picture.convert("RGB")


def _from_grey(values: np.ndarray) -> Image.Image:
    """Grey of unknown depth: 0–1, 0–255 or 0–65535, by its brightest value."""
    brightest = float(np.nan_to_num(values, posinf=0.0).max())
    depth = 1.0 if brightest <= 1 else 255.0 if brightest <= 255 else 65535.0
    return Image.fromarray((np.nan_to_num(values / depth).clip(0, 1) * 255).round().astype(np.uint8))
