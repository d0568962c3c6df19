"""What figures were measured on, and when."""

from __future__ import annotations

import hashlib
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import accelerate
import torch
import transformers

from skipcore.errors import InputError
from skipcore.model.hardware import device_name


def device_facts(device: torch.device, dtype: str) -> dict[str, Any]:
    """Name and kind of a device, the dtype computed in and the threads of the CPU."""
    return {"name": device_name(device), "kind": device.type, "dtype": dtype, "threads": torch.get_num_threads()}


def versions() -> dict[str, str]:
    """Versions that the figures depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "accelerate": accelerate.__version__,
    }


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
