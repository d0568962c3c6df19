"""Gradients of a step that skips are those of the slow reference, which runs every FFN and zeroes what is skipped."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from family_reference import masks, zeroed_sublayers
from reference import sequence
from shared_models import trained_summary
from tiny_families import WIDTH
from tiny_rows import ROWS, trainable
from tiny_tuner import with_lora

from skipcore import SkipVision, Vlm
from skipcore.engine.prompts import read_prompts
from skipcore.finetune.collate import Collator
from skipcore.finetune.rows import Row

METHODS = {
    "masked": SkipVision(0.2, 0.3, summary=trained_summary(WIDTH)),
    "text sees skipped": SkipVision(0.2, 0.3, text_attends_skipped=True),
}


def gradients(vlm: Vlm, logits: torch.Tensor, method: SkipVision) -> dict[str, torch.Tensor]:
    """Of a sum of the logits with fixed weights."""
    vlm.model.zero_grad(set_to_none=True)
    own = dict(method.summary.named_parameters()) if method.summary is not None else {}
    for parameter in own.values():
        parameter.grad = None
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(8))
    (logits * weights).sum().backward()
    named = [*vlm.model.named_parameters(), *own.items()]
    return {name: parameter.grad.clone() for name, parameter in named if parameter.grad is not None}


def logits_of_text(vlm: Vlm, batch: dict[str, Any], method: SkipVision) -> torch.Tensor:
    """[text tokens, vocabulary] in a session."""
    with method(vlm.model):
        return vlm.model(**batch).logits[0][batch["input_ids"][0] != vlm.model.config.image_token_id]


def slow_logits_of_text(vlm: Vlm, batch: dict[str, Any], method: SkipVision) -> torch.Tensor:
    """The same, by the reference's sequence through the stock decoder."""
    seen: dict[str, Any] = {}
    decoder = vlm.model.get_decoder()
    handle = decoder.register_forward_pre_hook(lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True)
    vlm.model(**batch)
    handle.remove()
    (pictures,) = read_prompts(vlm.family, vlm.model.config, batch).pictures
    slots = sequence(seen["inputs_embeds"][0], [each.positions.tolist() for each in pictures], method)
    positions = torch.tensor(slots["positions"])[None]
    if seen.get("position_ids") is not None:
        positions = seen["position_ids"][..., torch.tensor(slots["places"])]
    skipped = [slot for slot, role in enumerate(slots["roles"]) if role == "skipped"]
    with zeroed_sublayers(decoder, skipped, method):
        states = decoder(
            inputs_embeds=torch.stack(slots["values"])[None],
            position_ids=positions,
            attention_mask=masks(vlm, slots, method.text_attends_skipped),
        ).last_hidden_state[0]
    return vlm.model.lm_head(states[[slot for slot, role in enumerate(slots["roles"]) if role == "text"]])


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("row", [ROWS[0], ROWS[1]], ids=["one picture", "two pictures"])
@pytest.mark.parametrize("kind", ["full", "LoRA"])
@pytest.mark.parametrize("name", ["LLaVA", "Qwen2.5-VL", "SmolVLM"])
def test_gradients_are_the_slow_references(name: str, kind: str, row: Row, method: SkipVision) -> None:
    """A1."""
    vlm = trainable(name)
    if method.summary is not None:
        method.summary.requires_grad_(True)
    if kind == "LoRA":
        torch.manual_seed(4)
        for adapter, parameter in with_lora(vlm).named_parameters():
            if "lora_B" in adapter:
                parameter.data.normal_(0, 0.1)
    batch = Collator(vlm.processor)([row])
    del batch["labels"]
    fast = gradients(vlm, logits_of_text(vlm, batch, method), method)
    slow = gradients(vlm, slow_logits_of_text(vlm, batch, method), method)
    assert fast.keys() == slow.keys() and len(fast) > 10
    largest = max(gradient.norm() for gradient in slow.values())
    for each, gradient in slow.items():  # some are zero but for rounding: biases of keys, and of the summary's scores
        assert (fast[each] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-6 * largest, each
