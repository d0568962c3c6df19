"""The training loop, on accelerate: dense steps and Skip-Vision steps alternately, on one set of weights.

Every step's data comes from (seed, stage, step, part, process) alone, so a run that was killed goes on as if nothing
had happened, and worker processes can draw ahead.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.random import Generator
from torch.utils.data import DataLoader, Dataset

from skipcore import AdaptiveSummary, SkipVision
from skipcore.builtin.scenes.splits import seed_of
from skipcore.builtin.training.batches import SOURCES, Batch, draw_examples, image_positions, make_batch
from skipcore.builtin.training.objective import Losses, TrainingModel
from skipcore.builtin.training.recipe import Stage
from skipcore.builtin.training.runs import Run, save_checkpoint
from skipcore.builtin.training.training_log import Progress
from skipcore.engine.finite import first_not_finite
from skipcore.errors import InputError

SECONDS_BETWEEN_CHECKPOINTS = 90
RETAIN_RULES = ("saliency", "saliency", "raster", "uniform", "random")


def run_stage(run: Run, folder: Path, stop_at: float = math.inf) -> None:
    """Run the current stage to its end, or until `time.monotonic()` passes `stop_at`; checkpoints go to `folder`."""
    stage = run.recipe.stages[run.stage]
    checkpoint = folder / "checkpoint.pt"
    while len(run.seconds) <= run.stage:
        run.seconds.append(0.0)
    progress = Progress(folder / "log.jsonl", stage, run.step, show=run.accelerator.is_main_process)
    last_save = time.monotonic()
    run.trained.train()
    batches = batches_from(run, run.step)
    while run.step < stage.steps and not is_time_up(run, stop_at):
        began = time.monotonic()
        measured = training_step(run, stage, batches)
        run.step += 1
        run.seconds[run.stage] += time.monotonic() - began
        progress.add(run.step, measured)
        if time.monotonic() - last_save > SECONDS_BETWEEN_CHECKPOINTS:
            save_checkpoint(run, checkpoint)
            last_save = time.monotonic()
    progress.close()
    if run.step == stage.steps:
        run.stage, run.step = run.stage + 1, 0
    save_checkpoint(run, checkpoint)


def is_time_up(run: Run, stop_at: float) -> bool:
    """Whether `time.monotonic()` has passed `stop_at` in any process: all must stop at the same step."""
    if stop_at == math.inf:
        return False
    late = torch.tensor(float(time.monotonic() >= stop_at), device=run.accelerator.device)
    return bool(run.accelerator.reduce(late, "sum") > 0)


def training_step(run: Run, stage: Stage, batches: Iterator[Batch]) -> dict[str, float]:
    """One step: its data, loss and update. Returns what the log wants to know.

    Raises:
        InputError: the loss or the gradient is not finite; the weights are as before the step.
    """
    skips = skips_in(stage, run.step)
    rng = np.random.default_rng(seed_of("train", run.recipe.seed, run.stage, run.step))
    method = stage_method(stage, rng, run.summary) if skips else None
    rate = learning_rate(stage, run.step)
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * (stage.tower_rate if group["is_tower"] else 1.0)
    pictures, losses = 0, []
    for part in range(stage.accumulate):
        batch = next(batches).to(run.accelerator.device)
        pictures += len(batch.pixels) * run.accelerator.num_processes
        is_last = part == stage.accumulate - 1
        with nullcontext() if is_last else run.accelerator.no_sync(run.trained), run.accelerator.autocast():
            loss: Losses = run.trained(batch, method, stage.trains, stage.patch_weight, stage.word_weight)
            run.accelerator.backward(loss.total / stage.accumulate)
        losses.append((loss, batch))
    gradient = run.accelerator.clip_grad_norm_(run.trained.parameters(), run.recipe.largest_gradient)
    if not torch.isfinite(gradient):
        raise InputError(
            f"The gradient became {float(gradient)} (loss {losses[-1][0].total.item()}) at step {run.step} of stage "
            f"'{stage.name}'{_where(run, stage, method, losses)}. Lower the stage's learning rate and run again; "
            "training goes on from the last checkpoint."
        )
    for optimizer in run.optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return {"gradient": float(gradient), "rate": rate, "pictures": pictures, **_measured(losses, skips)}


def _where(run: Run, stage: Stage, method: SkipVision | None, losses: list[tuple[Losses, Batch]]) -> str:
    """Where a loss that is not finite began, in words; empty where only the gradient is not finite."""
    bad = next((batch for loss, batch in losses if not torch.isfinite(loss.total)), None)
    trained: TrainingModel = run.accelerator.unwrap_model(run.trained)

    def again() -> None:
        with run.accelerator.autocast():
            trained(bad, method, stage.trains, stage.patch_weight, stage.word_weight)

    place = None if bad is None else first_not_finite(trained.model, again)
    return "" if place is None else f"; the first module whose output is not finite is {place}"


def _measured(losses: list[tuple[Losses, Batch]], skips: bool) -> dict[str, float]:
    """The means over a step's parts, under names that keep dense and skipping steps apart."""
    way = "skip" if skips else "dense"
    measured = {
        "loss_patches": fmean(loss.patches.item() for loss, _ in losses),
        "patches_right": fmean(loss.patches_right.item() for loss, _ in losses),
    }
    if losses[0][0].words:
        measured["loss_words"] = fmean(loss.words.item() for loss, _ in losses)
        measured["words_right"] = fmean(loss.words_right.item() for loss, _ in losses)
    if len(losses[0][0].is_right):
        measured[f"loss_{way}"] = fmean(loss.answers.item() for loss, _ in losses)
        source = torch.cat([batch.source for _, batch in losses])
        is_right = torch.cat([loss.is_right for loss, _ in losses])
        for index, name in enumerate(SOURCES):
            if (chosen := source == index).any():
                measured[f"right_{way}_{name}"] = is_right[chosen].float().mean().item()
    return measured


class StepBatches(Dataset):
    """Item i is the batch of part i of a run's stage, counted over its steps, for this process."""

    def __init__(self, run: Run) -> None:
        self.recipe, self.number, self.processor = run.recipe, run.stage, run.processor
        self.stage = run.recipe.stages[run.stage]
        self.process, self.processes = run.accelerator.process_index, run.accelerator.num_processes

    def __len__(self) -> int:
        return self.stage.steps * self.stage.accumulate

    def __getitem__(self, index: int) -> Batch:
        stage = self.stage
        step, part = divmod(index, stage.accumulate)
        rng = np.random.default_rng(seed_of("train", self.recipe.seed, self.number, step, part, self.process))
        skips = skips_in(stage, step)
        pictures = (stage.skip_pictures if skips else 0) or stage.pictures
        questions = (stage.skip_questions if skips else 0) or stage.questions
        examples = draw_examples(stage, rng, pictures // (self.processes * stage.accumulate), questions)
        return make_batch(examples, stage.image_side, self.processor, skips or stage.one_question_a_row)


def batches_from(run: Run, step: int) -> Iterator[Batch]:
    """The batches of a run's stage from a step on, drawn ahead by the run's worker processes."""
    batches, accumulate = StepBatches(run), run.recipe.stages[run.stage].accumulate
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(step * accumulate, len(batches)),
        num_workers=run.workers,
        prefetch_factor=2 if run.workers else None,
        pin_memory=run.accelerator.device.type == "cuda",
    )
    return iter(loader)


def stage_method(stage: Stage, rng: Generator, summary: AdaptiveSummary) -> SkipVision:
    """The method of one step that skips: the masked variant with the stage's counts, or with random counts."""
    num_tokens = len(image_positions(stage.image_side))
    retained, skipped = stage.skipping.num_retained, stage.skipping.num_skipped
    if (retained, skipped) == (0, 0):
        retained = round(_between(rng, max(6, num_tokens / 72), 0.3 * num_tokens))
        skipped = round(_between(rng, max(16, num_tokens / 18), 0.5 * num_tokens))
    rule = RETAIN_RULES[rng.integers(len(RETAIN_RULES))] if stage.skipping.random_rule else "saliency"
    return SkipVision(
        num_retained=retained,
        num_skipped=skipped,
        text_attends_skipped=False,
        retain=rule,
        summary=summary,
        seed=int(rng.integers(2**31)),
    )


def learning_rate(stage: Stage, step: int) -> float:
    """A straight warm-up, then half a cosine from the stage's first rate to its last."""
    if step < stage.warm_up:
        return stage.first_rate * (step + 1) / stage.warm_up
    progress = (step - stage.warm_up) / max(1, stage.steps - stage.warm_up)
    return stage.last_rate + (stage.first_rate - stage.last_rate) * (1 + math.cos(math.pi * progress)) / 2


def skips_in(stage: Stage, step: int) -> bool:
    """Whether a step is under Skip-Vision: the stage's share of them, evenly spread."""
    share = stage.skipping.share
    return math.floor((step + 1) * share) > math.floor(step * share)


def _between(rng: Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))
