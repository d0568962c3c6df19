"""Running a model, and looking at it, as several tests do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from skipcore import Vlm


def logits(vlm: Vlm, inputs: dict, **more) -> torch.Tensor:
    with torch.inference_mode():
        return vlm.model(**inputs, **more).logits


def hooks(vlm: Vlm) -> int:
    return sum(
        len(getattr(module, name))
        for module in vlm.model.modules()
        for name in ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_backward_hooks")
    )


def batch_of(vlm: Vlm, prompts: list[dict], padding_side: str) -> dict:
    tokenizer = vlm.processor.tokenizer
    padded = tokenizer.pad(
        [{"input_ids": prompt["input_ids"][0].tolist()} for prompt in prompts],
        padding_side=padding_side,
        return_tensors="pt",
    )
    return {**padded, "pixel_values": torch.cat([prompt["pixel_values"] for prompt in prompts])}


@contextmanager
def checkpointing(vlm: Vlm, reentrant: bool) -> Iterator[None]:
    """Gradient checkpointing, which transformers calls activation checkpointing from 5.23 on."""
    name = "activation" if hasattr(vlm.model, "activation_checkpointing_enable") else "gradient"
    getattr(vlm.model, f"{name}_checkpointing_enable")({"use_reentrant": reentrant})
    try:
        yield
    finally:
        getattr(vlm.model, f"{name}_checkpointing_disable")()


def batch(vlm: Vlm, pictures: list[list], questions: list[str]) -> dict:
    """A padded batch, with the positions that `generate()` would give it where the model does not find them itself."""
    texts = [vlm._prompt([(question, "")], len(own)) for question, own in zip(questions, pictures, strict=True)]
    inputs = dict(vlm.processor(images=pictures, text=texts, padding=True, return_tensors="pt"))
    if not hasattr(vlm.model.base_model, "get_rope_index"):
        inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    return inputs
