"""Pictures that visitors upload: found, checked, and made anew before anything else sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder
from PIL import Image

from skipcore import InputError
from skipcore.inputs import MIN_SIDE, open_picture

LONGEST_SIDE = 2048
"""Pixels. A report holds its picture for as long as its visitor stays, so it must not hold 64 million of them."""


def uploaded_picture(picture: Any) -> Image.Image:
    """The pixels of an uploaded picture and nothing else of its file: upright, RGB, the first frame, without EXIF,
    colour profile or comments, shrunk to `LONGEST_SIDE`.

    Args:
        picture: as Gradio's browser and client send an uploaded file: a dictionary with its "path".

    Raises:
        InputError: there is none, it is not an uploaded file, or not a picture within the limits of `skipcore.inputs`.
    """
    opened = open_picture(uploaded_file(picture))
    scale = LONGEST_SIDE / max(opened.size)
    if scale >= 1:
        return opened
    width, height = (max(MIN_SIDE, round(side * scale)) for side in opened.size)
    return opened.resize((width, height), Image.Resampling.LANCZOS)


def uploaded_file(picture: Any) -> str:
    """Path of an uploaded file, still unread. No other file is ever opened.

    Raises:
        InputError: there is none, or this is not an uploaded file.
    """
    if picture is None:
        raise InputError("Choose a picture first: upload one, paste one, or pick an example.")
    path = picture.get("path") if isinstance(picture, dict) else None
    if not isinstance(path, str) or not _is_upload(path):
        raise InputError("The picture must be an uploaded file.")
    return path


def _is_upload(path: str) -> bool:
    try:
        return Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve())
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, or a loop of links
        return False
