"""The training loop: dense steps and steps under Skip-Vision by turns, on one set of weights.

Every step's data comes from (seed, stage, step) alone, so a run that was killed goes on as if nothing had happened.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlavaForConditionalGeneration, LlavaProcessor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from skipcore import AdaptiveSummary, SkipVision
from skipcore.training.batches import NO_LABEL, SOURCES, Batch, draw_examples, image_positions, make_batch
from skipcore.training.model import IMAGE_SIDE, build_model, build_processor, build_tokenizer
from skipcore.training.recipes import Recipe, Stage

SECONDS_BETWEEN_CHECKPOINTS = 90
STEPS_BETWEEN_LOG_LINES = 20
RETAIN_RULES = ("saliency", "saliency", "raster", "uniform", "random")


@dataclass
class Run:
    """A run in memory: what a checkpoint holds, and what it takes to go on."""

    recipe: Recipe
    accelerator: Accelerator
    processor: LlavaProcessor
    model: LlavaForConditionalGeneration
    summary: AdaptiveSummary
    optimizers: list[torch.optim.Optimizer]
    stage: int = 0
    step: int = 0
    seconds: list[float] = field(default_factory=list)
    """Time spent in each stage so far."""

    @property
    def is_complete(self) -> bool:
        """Whether every stage has been run."""
        return self.stage == len(self.recipe.stages)


def start(recipe: Recipe) -> Run:
    """A run at its first step."""
    tokenizer = build_tokenizer(recipe.size.vocabulary)
    processor = build_processor(tokenizer)
    model = build_model(tokenizer, recipe.size, recipe.seed)
    summary = AdaptiveSummary(recipe.size.width)
    accelerator = Accelerator(mixed_precision=recipe.mixed_precision)
    model, summary = accelerator.prepare(model, summary)
    optimizers = [accelerator.prepare(each) for each in _optimizers(model, summary, recipe.weight_decay)]
    return Run(recipe, accelerator, processor, model, summary, optimizers)


def _optimizers(model: nn.Module, summary: nn.Module, weight_decay: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers and the projector, AdamW for everything else."""
    inside = {
        name
        for name, weights in model.named_parameters()
        if weights.ndim == 2 and "embed" not in name and "lm_head" not in name
    }
    matrices = [weights for name, weights in model.named_parameters() if name in inside]
    others = [weights for name, weights in model.named_parameters() if name not in inside]
    return [
        torch.optim.Muon(
            matrices, weight_decay=weight_decay, momentum=0.95, ns_steps=4, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW([*others, *summary.parameters()], betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def load_checkpoint(run: Run, path: Path) -> None:
    """Put a run where it was when `save_checkpoint` wrote this file."""
    state = torch.load(path, map_location=run.accelerator.device, weights_only=True)
    run.model.load_state_dict(state["model"])
    run.summary.load_state_dict(state["summary"])
    for optimizer, values in zip(run.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(values)
    run.stage, run.step, run.seconds = state["stage"], state["step"], state["seconds"]


def save_checkpoint(run: Run, path: Path) -> None:
    """Write all that is needed to go on. A kill while writing leaves the last checkpoint whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "model": run.model.state_dict(),
        "summary": run.summary.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in run.optimizers],
        "stage": run.stage,
        "step": run.step,
        "seconds": run.seconds,
    }
    unfinished = path.with_suffix(".unfinished")
    torch.save(state, unfinished)
    unfinished.replace(path)


def run_stage(run: Run, folder: Path, stop_at: float = math.inf) -> None:
    """Run the current stage to its end, or until `time.monotonic()` passes `stop_at`; checkpoints go to `folder`."""
    stage = run.recipe.stages[run.stage]
    checkpoint = folder / "checkpoint.pt"
    while len(run.seconds) <= run.stage:
        run.seconds.append(0.0)
    meter = _Meter(folder / "log.jsonl", stage, run)
    last_save = time.monotonic()
    run.model.train()
    while run.step < stage.steps and time.monotonic() < stop_at:
        began = time.monotonic()
        measured = training_step(run, stage)
        run.step += 1
        run.seconds[run.stage] += time.monotonic() - began
        meter.add(measured)
        if time.monotonic() - last_save > SECONDS_BETWEEN_CHECKPOINTS:
            save_checkpoint(run, checkpoint)
            last_save = time.monotonic()
    meter.flush()
    if run.step == stage.steps:
        run.stage, run.step = run.stage + 1, 0
    save_checkpoint(run, checkpoint)


def training_step(run: Run, stage: Stage) -> dict[str, float]:
    """One step: its data, loss and update. Returns what the log wants to know."""
    rng = np.random.default_rng((run.recipe.seed, run.stage, run.step))
    torch.manual_seed(int(rng.integers(2**31)))
    skips = _skips(stage, run.step)
    examples = draw_examples(
        stage,
        rng,
        stage.skip_pictures if skips else stage.pictures,
        stage.skip_questions if skips else stage.questions,
    )
    batch = make_batch(examples, stage.image_side, run.processor, one_question_a_row=skips)
    batch = batch.to(run.accelerator.device)
    rate = learning_rate(stage, run.step)
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
    with run.accelerator.autocast():
        if skips:
            with random_method(rng, len(image_positions(stage.image_side)), run.summary)(run.model):
                loss, is_right = answer_loss(run.model, batch)
        else:
            loss, is_right = answer_loss(run.model, batch)
    run.accelerator.backward(loss)
    parameters = [*run.model.parameters(), *run.summary.parameters()]
    gradient = run.accelerator.clip_grad_norm_(parameters, run.recipe.largest_gradient)
    if not torch.isfinite(gradient):
        raise ValueError(
            f"The loss became {loss.item()} at step {run.step} of stage '{stage.name}'. "
            "Lower the stage's learning rate and run again; training goes on from the last checkpoint."
        )
    for optimizer in run.optimizers:
        optimizer.step()
        optimizer.zero_grad()
    way = "skip" if skips else "dense"
    measured = {f"loss_{way}": loss.item(), "gradient": float(gradient), "rate": rate, "pictures": len(examples)}
    for index, source in enumerate(SOURCES):
        chosen = batch.source == index
        if chosen.any():
            measured[f"right_{way}_{source}"] = is_right[chosen].float().mean().item()
    return measured


def answer_loss(model: LlavaForConditionalGeneration, batch: Batch) -> tuple[Tensor, Tensor]:
    """The loss [], and whether each answer is wholly right [answers].

    The loss is the mean cross-entropy of the answers' tokens, in which an answer of n tokens weighs √n, not n: long
    descriptions must not drown the short answers.
    """
    side = batch.pixel_values.shape[-1]
    features = model.model.get_image_features(
        pixel_values=batch.pixel_values, interpolate_pos_encoding=side != IMAGE_SIDE, return_dict=True
    ).pooler_output
    hidden = model.model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        mm_encoder_outputs={
            "image": BaseModelOutputWithPooling(pooler_output=list(torch.stack(features)[batch.picture]))
        },
        use_cache=False,
    ).last_hidden_state
    wanted = batch.labels[:, 1:] != NO_LABEL
    labels, answer = batch.labels[:, 1:][wanted], batch.answer[:, 1:][wanted]
    logits = model.lm_head(hidden[:, :-1][wanted]).float()
    wrong = torch.zeros_like(batch.source).index_add_(0, answer, (logits.argmax(-1) != labels).long())
    loss = functional.cross_entropy(logits, labels, reduction="none")
    weight = answer.bincount(minlength=len(batch.source))[answer].rsqrt()
    return (loss * weight).sum() / weight.sum(), wrong == 0


def random_method(rng: Generator, num_tokens: int, summary: AdaptiveSummary) -> SkipVision:
    """Skip-Vision, masked variant, with some rule and some counts: few tokens as often as many."""
    retained = round(_between(rng, max(6, num_tokens / 36), 0.3 * num_tokens))
    skipped = round(_between(rng, max(16, num_tokens / 9), 0.5 * num_tokens))
    return SkipVision(
        num_retained=retained,
        num_skipped=skipped,
        text_attends_skipped=False,
        retain=RETAIN_RULES[rng.integers(len(RETAIN_RULES))],
        summary=summary,
        seed=int(rng.integers(2**31)),
    )


def learning_rate(stage: Stage, step: int) -> float:
    """A straight warm-up, then half a cosine from the stage's first rate to its last."""
    if step < stage.warm_up:
        return stage.first_rate * (step + 1) / stage.warm_up
    progress = (step - stage.warm_up) / max(1, (stage.fall_steps or stage.steps) - stage.warm_up)
    return stage.last_rate + (stage.first_rate - stage.last_rate) * (1 + math.cos(math.pi * progress)) / 2


def _skips(stage: Stage, step: int) -> bool:
    """Whether this step is under Skip-Vision: the stage's share of them, evenly spread."""
    return math.floor((step + 1) * stage.skip_share) > math.floor(step * stage.skip_share)


def _between(rng: Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


class _Meter:
    """Means over some steps, printed and appended to the log."""

    def __init__(self, log: Path, stage: Stage, run: Run) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log, self.stage, self.run = log, stage, run
        self.values: dict[str, list[float]] = defaultdict(list)
        self.began = time.monotonic()

    def add(self, measured: dict[str, float]) -> None:
        for name, value in measured.items():
            self.values[name].append(value)
        if self.run.step % STEPS_BETWEEN_LOG_LINES == 0:
            self.flush()

    def flush(self) -> None:
        if not self.values:
            return
        seconds, steps = time.monotonic() - self.began, len(self.values["rate"])
        speed = sum(self.values.pop("pictures")) / seconds
        line = {"stage": self.stage.name, "step": self.run.step, "steps": self.stage.steps}
        line |= {name: round(float(np.mean(values)), 5) for name, values in sorted(self.values.items())}
        line["pictures_per_s"] = round(speed, 1)
        line["minutes_left"] = round((self.stage.steps - self.run.step) * seconds / steps / 60, 1)
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self.run.accelerator.is_main_process:
            shown = (f"{name} {value}" for name, value in line.items() if name not in ("stage", "step", "steps"))
            print(f"{self.stage.name}  {self.run.step}/{self.stage.steps}  {'  '.join(shown)}", flush=True)
        self.values.clear()
        self.began = time.monotonic()
