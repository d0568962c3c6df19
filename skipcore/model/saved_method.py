"""A model folder that carries its own method: `skip_vision.json`, and its summary in `skip_vision.safetensors`."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from skipcore.errors import InputError
from skipcore.methods.skip_vision import SkipVision
from skipcore.plan.summary import AdaptiveSummary

SETTINGS_FILE = "skip_vision.json"
SUMMARY_FILE = "skip_vision.safetensors"


def save_method(method: SkipVision, folder: str | Path) -> None:
    """Write the method's settings, and its summary's weights if it has a trained one, into a model folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {f.name: getattr(method, f.name) for f in fields(method) if f.name != "summary"}
    (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n")
    if method.summary is not None:
        weights = {name: t.detach().cpu().contiguous() for name, t in method.summary.state_dict().items()}
        save_file(weights, folder / SUMMARY_FILE)
    else:
        (folder / SUMMARY_FILE).unlink(missing_ok=True)


def load_method(folder: str | Path) -> SkipVision | None:
    """The method a model folder carries; None where it carries none.

    Raises:
        InputError: the files are there but cannot be read.
    """
    folder = Path(folder)
    if not (folder / SETTINGS_FILE).is_file():
        return None
    try:
        settings = json.loads((folder / SETTINGS_FILE).read_text())
        return SkipVision(**settings, summary=_load_summary(folder / SUMMARY_FILE))
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"The skipping method saved in {folder} cannot be read ({error}); "
            f"delete {SETTINGS_FILE} and {SUMMARY_FILE} to use the model without it."
        ) from error


def _load_summary(file: Path) -> AdaptiveSummary | None:
    if not file.is_file():
        return None
    weights = load_file(file)
    summary = AdaptiveSummary(weights["norm.weight"].shape[0])
    summary.load_state_dict(weights)
    return summary.requires_grad_(False).eval()
