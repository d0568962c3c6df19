"""Pictures that visitors upload: found, checked, and redrawn before anything else sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from app.server.gradio_internals import upload_folder
from skipcore import InputError
from skipcore.model.inputs import open_picture, picture_size

LONGEST_SIDE, SHORTEST_SIDE = 2048, 256
"""Pixels. A report holds its picture for as long as its visitor stays, so it must not hold 64 million of them. Long
narrow pictures have few: shrinking one further would take what it shows, and round its sides to a ratio that models
refuse."""


def uploaded_picture(picture: Any) -> Image.Image:
    """The pixels of an uploaded picture and nothing else of its file: upright, RGB, the first frame, without EXIF,
    color profile or comments, of the size that `shrunk` says.

    Args:
        picture: as Gradio's browser and client send an uploaded file: a dictionary with its "path".

    Raises:
        InputError: there is none, it is not an uploaded file, or not a picture within the limits of
            `skipcore.model.inputs`.
    """
    opened = open_picture(uploaded_file(picture))
    size = shrunk(opened.size)
    return opened if size == opened.size else opened.resize(size, Image.Resampling.LANCZOS)


def shrunk(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height that a picture is shrunk to: at most `LONGEST_SIDE` a side, but no side to less than
    `SHORTEST_SIDE`."""
    scale = min(1.0, max(LONGEST_SIDE / max(size), SHORTEST_SIDE / min(size)))
    width, height = (round(side * scale) for side in size)
    return width, height


def size_note(picture: Any) -> str:
    """What is said of an uploaded picture that is shrunk; empty where it is not, or is no picture.

    Args:
        picture: see `uploaded_picture`.
    """
    try:
        size = picture_size(uploaded_file(picture))
    except InputError:
        return ""
    if (used := shrunk(size)) == size:
        return ""
    return f"The model gets {used[0]:,} × {used[1]:,} pixels of this picture; your file has {size[0]:,} × {size[1]:,}."


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
        return Path(path).resolve().is_relative_to(upload_folder())
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, or a loop of links
        return False
