"""What figures were measured on, and when."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from skipcore.errors import InputError


def now() -> str:
    """Date and time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def model_sha256(folder: Path) -> str:
    """SHA-256 of a model folder's `model.safetensors`, as `sha256sum` prints it.

    Raises:
        InputError: the folder holds no such file.
    """
    file = folder / "model.safetensors"
    if not file.is_file():
        raise InputError(f"{folder} holds no model.safetensors. Name the folder of a model.")
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
