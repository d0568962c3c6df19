"""A recipe that trains in seconds, and what the tests of training do with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlavaProcessor, PreTrainedTokenizerFast

from skipcore.builtin.training import runs
from skipcore.builtin.training import training_loop as finetune
from skipcore.builtin.training.recipe import Mixture, Recipe, Skipping, Stage
from skipcore.builtin.training.untrained import ModelSize, build_processor, build_tokenizer

STAGE = Stage(
    name="84 px",
    image_side=84,
    steps=12,
    pictures=4,
    questions=2,
    skip_pictures=2,
    skip_questions=2,
    first_rate=1e-2,
    last_rate=1e-3,
    warm_up=2,
    mixture=Mixture(scenes=0.5, easy_drawn=0.5),
    skipping=Skipping(share=0.5),
)
TINY = Recipe(
    name="tiny",
    seed=3,
    size=ModelSize(
        tower_width=32,
        tower_layers=1,
        tower_heads=2,
        tower_ffn=64,
        decoder_width=32,
        decoder_layers=2,
        decoder_heads=2,
        decoder_ffn=64,
        vocabulary=512,
    ),
    stages=(STAGE,),
)


def recipe_of(*stages: dict[str, Any]) -> Recipe:
    """The tiny recipe with one stage to each of these changes to its own."""
    return replace(TINY, stages=tuple(replace(STAGE, name=f"stage {i}", **change) for i, change in enumerate(stages)))


@cache
def tokenizer(vocabulary: int = TINY.size.vocabulary) -> PreTrainedTokenizerFast:
    """Learned once for all tests."""
    return build_tokenizer(vocabulary)


@cache
def processor() -> LlavaProcessor:
    """The processor of the tiny recipe."""
    return build_processor(tokenizer())


@contextmanager
def one_thread() -> Iterator[None]:
    """Tiny tensors: threads that wait for each other would take longer than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def copied(module: nn.Module) -> dict[str, Tensor]:
    """Its weights as they are now."""
    return {name: weights.detach().clone() for name, weights in module.state_dict().items()}


def changed(module: nn.Module, before: dict[str, Tensor]) -> set[str]:
    """The names of the weights that are not bit-identical to those before."""
    return {name for name, weights in module.state_dict().items() if not torch.equal(weights, before[name])}


def train(run: runs.Run, folder: Path) -> list[dict[str, Any]]:
    """Run all stages to their ends and return the lines of the log."""
    while not run.is_complete:
        finetune.run_stage(run, folder)
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
