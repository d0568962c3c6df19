"""Beginning a run with the weights of an existing model folder instead of random ones."""

from __future__ import annotations

from pathlib import Path

import torch

from skipcore.builtin.training.runs import Run
from skipcore.errors import InputError
from skipcore.model.load import load


def start_from(run: Run, folder: Path) -> None:
    """Give a run that has just been started the weights, tokenizer and processor of a model folder, and its summary.

    Args:
        run: its weights are overwritten; optimizers are left as they are.
        folder: a model folder as training writes it.

    Raises:
        InputError: there is no model in the folder, or it is of another size than the recipe's.
    """
    vlm = load(folder, device="cpu", dtype=torch.float32)
    given = vlm.model.state_dict()
    wanted = run.model.state_dict()
    for name in wanted:
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
    run.model.load_state_dict({name: given[name] for name in wanted})
    if vlm.method is not None and vlm.method.summary is not None:
        run.summary.load_state_dict(vlm.method.summary.state_dict())
    run.processor = vlm.processor
