"""Training the arms by turns, some steps each, so that whatever drifts on the machine meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skipcore.builtin.scenes.splits import seed_of
from skipcore.builtin.training import training_loop as finetune
from skipcore.builtin.training.batches import Batch
from skipcore.builtin.training.runs import Run, load_checkpoint, save_checkpoint
from skipcore.flops import FlopCount
from skipcore.json_lines import JsonLines
from skipcore.model.hardware import synchronize
from skipcore.progress_bar import progress_bar

STEPS_IN_A_TURN = 10
SECONDS_BETWEEN_CHECKPOINTS = 120
STEPS_COUNTED = 10
"""Steps over which the FLOPs of an arm whose steps differ are averaged."""


def train_by_turns(runs: Mapping[str, Run], folder: Path) -> list[dict[str, Any]]:
    """Train all arms to the end, ten steps of each at a time, the order reversed every other round.

    Checkpoints and the log go to `folder`; with checkpoints there, training goes on from them.

    Returns:
        A line for each step of each arm: "arm", "step" from 1, "skips", "loss", "seconds", "is_warm" (False in the
        first round after a start) and "peak_memory_bytes" (None on the CPU). Seconds are those of the whole step:
        batch to the device, tower, decoder forward and backward, update of the weights; drawing is not in them.
    """
    for name, run in runs.items():
        if (checkpoint := folder / name / "checkpoint.pt").exists():
            load_checkpoint(run, checkpoint)
    log = JsonLines(folder / "log.jsonl")
    log.keep(lambda line: line["step"] <= runs[line["arm"]].step)  # what is not in the checkpoints is done again
    any_run = next(iter(runs.values()))
    stage = any_run.recipe.stages[0]
    first = step = min(run.step for run in runs.values())
    parts = finetune.batches_from(any_run, step)
    last_save = time.monotonic()
    done = sum(run.step for run in runs.values())
    with progress_bar("training", "step", stage.steps * len(runs), done) as bar:
        while step < stage.steps:
            steps = range(step, min(step + STEPS_IN_A_TURN, stage.steps))
            batches = {number: [next(parts) for _ in range(stage.accumulate)] for number in steps}
            is_reversed = step // STEPS_IN_A_TURN % 2 == 1
            for name in reversed(list(runs)) if is_reversed else runs:
                for number in steps:
                    if runs[name].step > number:
                        continue  # a kill came between the checkpoints of two arms
                    log.add({"arm": name, **timed_step(runs[name], batches[number]), "is_warm": step > first})
                    bar.update()
            step = steps.stop
            if step == stage.steps or time.monotonic() - last_save > SECONDS_BETWEEN_CHECKPOINTS:
                for name, run in runs.items():
                    save_checkpoint(run, folder / name / "checkpoint.pt")
                last_save = time.monotonic()
    return log.lines


def timed_step(run: Run, parts: Sequence[Batch]) -> dict[str, Any]:
    """One step of an arm on the clock, its peak memory beside it."""
    device, stage = run.accelerator.device, run.recipe.stages[0]
    run.trained.train()
    skips = finetune.skips_in(stage, run.step)
    on_gpu = device.type == "cuda"
    before = 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    synchronize([device])
    began = time.perf_counter()
    measured = finetune.training_step(run, stage, iter(parts))
    synchronize([device])
    seconds = time.perf_counter() - began
    run.step += 1
    # The other arms' weights lie on the device too: an arm is charged for its own alone.
    peak = torch.cuda.max_memory_allocated(device) - before + _state_bytes(run) if on_gpu else None
    loss = measured["loss_skip" if skips else "loss_dense"]
    return {
        "step": run.step,
        "skips": skips,
        "loss": round(loss, 5),
        "seconds": round(seconds, 5),
        "peak_memory_bytes": peak,
    }


def step_flops(run: Run, parts: Sequence[Batch], steps: int = 1) -> dict[str, int]:
    """FLOPs of one training step, forward and backward: of everything, and of the decoder alone.

    Args:
        parts: the batches to count with; weights are left as they are.
        steps: the mean over the methods of so many steps, where they differ.
    """
    stage = run.recipe.stages[0]
    total = decoder = 0
    run.trained.train()
    for step in range(steps):
        rng = np.random.default_rng(seed_of("train", run.recipe.seed, 0, step))
        skips = finetune.skips_in(stage, step)
        method = finetune.stage_method(stage, rng, run.summary) if skips else None
        for part in parts:
            batch = part.to(run.accelerator.device)
            with FlopCount() as counter, run.accelerator.autocast():
                loss = run.trained(batch, method, stage.trains, stage.patch_weight)
                loss.total.backward()
            total += counter.total
            decoder += counter.inside("language_model")
    run.trained.zero_grad(set_to_none=True)
    return {"everything": total // steps, "decoder": decoder // steps}


def first_parts(run: Run) -> list[Batch]:
    """The batches of the first step."""
    batches = finetune.StepBatches(run)
    return [batches[number] for number in range(run.recipe.stages[0].accumulate)]


def _state_bytes(run: Run) -> int:
    """Bytes of an arm's weights and of what its optimizers remember."""
    tensors = [*run.trained.parameters(), *run.trained.buffers()]
    for optimizer in run.optimizers:
        tensors += [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor.is_cuda)
