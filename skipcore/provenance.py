"""When figures were measured, and digests that tell the weights they were measured on from all others."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import nn

from skipcore.model.vlm import Vlm


def now() -> str:
    """Date and time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def file_sha256(file: str | Path) -> str:
    """SHA-256 of a file, as `sha256sum` prints it."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def folder_sha256(folder: str | Path) -> str | None:
    """SHA-256 of a model folder's `model.safetensors`; None where there is none."""
    file = Path(folder, "model.safetensors")
    return file_sha256(file) if str(folder) and file.is_file() else None


def modules_sha256(*modules: nn.Module) -> str:
    """SHA-256 of all weights, names and dtypes of some modules."""
    digest = hashlib.sha256()
    for module in modules:
        for name, weights in sorted(module.state_dict().items()):
            digest.update(f"{name}|{weights.dtype}|{tuple(weights.shape)}".encode())
            digest.update(weights.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def model_sha256(vlm: Vlm) -> str:
    """SHA-256 of the file that a model's weights were loaded from, or else of the weights themselves."""
    return folder_sha256(vlm.model.name_or_path) or modules_sha256(vlm.model)
