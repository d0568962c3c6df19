"""The built-in model, and accelerate's configurations, are ready for the command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from shared_models import noise_picture
from tiny_rows import MARKED, learned, row
from torch.utils.flop_counter import FlopCounterMode

import skipcore
from profiling.bench.random_models import DecoderSize, random_llava
from skipcore import SkipVision, Vlm
from skipcore.finetune.collate import Collator

CONFIGS = sorted((Path(skipcore.__file__).parent / "finetune" / "configs").glob("*.yaml"))


def test_the_built_in_models_answers_are_learned(scenes: Vlm) -> None:
    """Its template marks them (F6)."""
    batch = Collator(scenes.processor)([row("What is it?", "a red circle", 1), row("Where?", "left", 2)])
    assert [text.strip() for text in learned(scenes.processor.tokenizer, batch)] == ["a red circle</s>", "left</s>"]
    asked = scenes.prepare(noise_picture(1), "What is it?").inputs["input_ids"][0]
    first = int((batch["labels"][0] != -100).nonzero()[0])
    assert torch.equal(batch["input_ids"][0, :first], asked)  # what it is asked with is what it was trained with


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_accelerate_takes_the_configurations(file: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(file))
    assert config.num_processes in (1, 8, 32)
    assert (config.distributed_type == "FSDP") == ("fsdp_config" in file.read_text())


def test_a_skipping_step_costs_less() -> None:
    """A17: FLOPs of forward and backward at 576 → 100 + 156 of 654 tokens, d = 512, 8 layers."""
    vlm = random_llava(DecoderSize(512, 8, 8, 2))
    vlm.model.get_decoder().requires_grad_(True)
    vlm.processor.chat_template = MARKED.replace("IMAGE", "<image>")
    batch = Collator(vlm.processor)([row("What is it? " * 4, "an answer", 1)])
    labels = batch.pop("labels")
    places = (labels[:, 1:] != -100).any(dim=0).nonzero().flatten()

    def flops(method: SkipVision | None) -> int:
        with FlopCounterMode(display=False) as counter:
            if method is None:
                vlm.model(**batch, logits_to_keep=places).logits.sum().backward()
            else:
                with method(vlm.model):
                    vlm.model(**batch, logits_to_keep=places).logits.sum().backward()
        return counter.get_total_flops()

    assert flops(SkipVision(100, 156)) / flops(None) <= 0.31
