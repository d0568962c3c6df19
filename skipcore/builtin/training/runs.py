"""A training run in memory, and its checkpoints."""

from __future__ import annotations

import errno
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import nn
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from skipcore import AdaptiveSummary
from skipcore.builtin.training.muon import Muon
from skipcore.builtin.training.objective import TrainingModel
from skipcore.builtin.training.patch_labels import PatchHeads
from skipcore.builtin.training.recipe import Recipe
from skipcore.builtin.training.untrained import build_model, build_processor, build_tokenizer
from skipcore.builtin.training.word_alignment import WordAlignment
from skipcore.errors import InputError


@dataclass
class Run:
    """A run in memory: what a checkpoint holds, and what it takes to go on."""

    recipe: Recipe
    accelerator: Accelerator
    processor: LlavaProcessor
    trained: nn.Module
    optimizers: list[torch.optim.Optimizer]
    workers: int = 0
    stage: int = 0
    step: int = 0
    seconds: list[float] = field(default_factory=list)
    """Time spent in each stage so far."""

    @property
    def weights(self) -> TrainingModel:
        """The trained modules, without what accelerate wraps around them."""
        return self.accelerator.unwrap_model(self.trained)

    @property
    def model(self) -> LlavaForConditionalGeneration:
        """The stock model."""
        return self.weights.model

    @property
    def summary(self) -> AdaptiveSummary:
        """The summary trained with it."""
        return self.weights.summary

    @property
    def is_complete(self) -> bool:
        """Whether every stage has been run."""
        return self.stage == len(self.recipe.stages)


def start(recipe: Recipe, workers: int = 0) -> Run:
    """A run at its first step.

    Args:
        recipe: what to train.
        workers: processes that draw pictures ahead; 0 draws in this one.

    Raises:
        InputError: a stage's pictures cannot be shared evenly by the processes and the parts of a step.
    """
    tokenizer = build_tokenizer(recipe.size.vocabulary)
    processor = build_processor(tokenizer)
    trained = TrainingModel(
        build_model(tokenizer, recipe.size, recipe.seed),
        AdaptiveSummary(recipe.size.decoder_width),
        PatchHeads(recipe.size.decoder_width),
        WordAlignment(tokenizer),
    )
    accelerator = Accelerator(
        mixed_precision=recipe.mixed_precision,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    for stage in recipe.stages:
        parts = accelerator.num_processes * stage.accumulate
        for name, pictures in (("pictures", stage.pictures), ("skip_pictures", stage.skip_pictures)):
            if pictures % parts:
                raise InputError(
                    f"Stage '{stage.name}' has {name} = {pictures}, which {parts} parts (processes × accumulate) "
                    "cannot share evenly. Change the recipe or the number of processes."
                )
    optimizers = [accelerator.prepare(each) for each in _optimizers(trained, recipe.weight_decay)]
    return Run(recipe, accelerator, processor, accelerator.prepare(trained), optimizers, workers)


def _optimizers(trained: TrainingModel, weight_decay: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers and the projector, AdamW for everything else."""
    matrices: list[dict] = [{"params": [], "is_tower": is_tower} for is_tower in (False, True)]
    others: list[dict] = [{"params": [], "is_tower": is_tower} for is_tower in (False, True)]
    for name, weights in trained.named_parameters():
        is_inside = name.startswith("model.") and "embed" not in name and "lm_head" not in name and weights.ndim == 2
        (matrices if is_inside else others)["vision_tower" in name]["params"].append(weights)
    return [
        Muon(matrices, weight_decay=weight_decay),
        torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def load_checkpoint(run: Run, path: Path) -> None:
    """Put a run where it was when `save_checkpoint` wrote this file.

    Raises:
        InputError: the file does not fit the recipe, or is damaged.
    """
    try:
        state = torch.load(path, map_location=run.accelerator.device, weights_only=True)
        run.weights.load_state_dict(state["trained"])
        for optimizer, values in zip(run.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        run.stage, run.step, run.seconds = state["stage"], state["step"], state["seconds"]
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{path} is no checkpoint of recipe '{run.recipe.name}' as it stands now. Move it away to start over."
        ) from error


def save_checkpoint(run: Run, path: Path) -> None:
    """Write all that is needed to go on. A kill or a full disk while writing leaves the last checkpoint whole.

    Raises:
        InputError: the disk is full.
    """
    if not run.accelerator.is_main_process:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "trained": run.weights.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in run.optimizers],
        "stage": run.stage,
        "step": run.step,
        "seconds": run.seconds,
    }
    unfinished = path.with_suffix(".unfinished")
    try:
        torch.save(state, unfinished)
    except (OSError, RuntimeError) as error:  # torch's writer says RuntimeError where the disk is full
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT, None):
            raise
        raise InputError(
            f"The checkpoint could not be written to {path.parent}; the disk seems to be full. Free some space and run "
            "again: training goes on from the last checkpoint, which is whole."
        ) from error
    unfinished.replace(path)
