"""Beginning a run with the weights of an existing model folder instead of random ones."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from skipcore.errors import InputError
from skipcore.training.runs import Run
from skipcore.vlm import load

Parts = Literal["everything", "eyes"]


def start_from(run: Run, folder: Path, parts: Parts = "everything") -> None:
    """Give a run that has just been started the weights, tokenizer and processor of a model folder.

    Args:
        run: its weights are overwritten; optimizers are left as they are.
        folder: a model folder as training writes it.
        parts: "everything" takes the folder's summary, too, if it has one; "eyes" takes tower and projector alone
            and leaves the decoder random.

    Raises:
        InputError: there is no model in the folder, or it is of another size than the recipe's.
    """
    vlm = load(folder, device="cpu", dtype=torch.float32)
    given = vlm.model.state_dict()
    wanted = run.model.state_dict()
    taken = [name for name in wanted if parts == "everything" or _is_of_eyes(name)]
    for name in taken:
        if name not in given or given[name].shape != wanted[name].shape:
            raise InputError(
                f"The model in {folder} is of another size than recipe '{run.recipe.name}' ({name} differs). "
                "Start from a model of the same recipe, or change the recipe's [size]."
            )
    size = len(vlm.processor.tokenizer)
    if (vocabulary := run.model.config.text_config.vocab_size) != size:
        raise InputError(
            f"The model in {folder} has {size} words, recipe '{run.recipe.name}' has {vocabulary}. Start from a model "
            "of the same recipe, or change the recipe's vocabulary."
        )
    run.model.load_state_dict({name: given[name] for name in taken}, strict=False)
    if parts == "everything" and vlm.method is not None and vlm.method.summary is not None:
        run.summary.load_state_dict(vlm.method.summary.state_dict())
    run.processor = vlm.processor


def _is_of_eyes(name: str) -> bool:
    return "vision_tower" in name or "multi_modal_projector" in name
