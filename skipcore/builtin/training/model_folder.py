"""The folder of a trained model: weights in bfloat16, processor, the method and the world it was trained with."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError

from skipcore.builtin.scenes.world_file import scenes_world, write_world
from skipcore.builtin.training.runs import Run
from skipcore.builtin.training.untrained import save
from skipcore.errors import InputError
from skipcore.methods import SkipVision
from skipcore.model.saved_method import save_method


def write_model(run: Run, folder: Path) -> None:
    """Write a run's model; the weights in memory stay as they are, in float32.

    All files are written beside the folder first and then take the places of the old ones, so that a kill or a full
    disk leaves the old model whole. Other files of the folder stay. Only the main process writes.

    Raises:
        InputError: the files cannot be written.
    """
    if not run.accelerator.is_main_process:
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _write(run, unfinished)
            folder.mkdir(exist_ok=True)
            for file in sorted(unfinished.iterdir()):
                file.chmod(0o644)
                os.replace(file, folder / file.name)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except (OSError, SafetensorError) as error:  # safetensors says its own where the disk is full
        raise InputError(
            f"The model could not be written to {folder} ({error}). Free some space or name another "
            "folder, and run again: training goes on from the last checkpoint."
        ) from error


def _write(run: Run, folder: Path) -> None:
    model = copy.deepcopy(run.model).to(torch.bfloat16).eval()
    save(model, run.processor, folder)
    method = SkipVision(
        num_retained=100, num_skipped=156, retain="saliency", text_attends_skipped=False, summary=run.summary
    )
    save_method(method, folder)
    write_world(folder, scenes_world(run.recipe.stages[-1].contents))
