"""`positions="renumbered"`: what is left is counted anew after each drop, in prefill and in decode, on every family."""

from __future__ import annotations

from dataclasses import replace

import peer_reference
import pytest
import torch
from family_methods import PEERS, SEEING_PEERS
from model_runs import logits
from shared_models import noise_picture
from tiny_families import BUILDERS, tiny_model
from transformers import DynamicCache

from skipcore import InputError, Method, SkipVision
from skipcore.engine.prompts import read_prompts
from skipcore.methods import DART, SPIDER, VTW, Combined, DivPrune, FastV, PyramidDrop, VisionZip

QUESTION = "What color is it?"
MORE = torch.tensor([[70, 80, 90, 100]])
MUCH_ALIKE = {"Qwen2-VL", "Qwen3-VL-MoE", "Idefics3", "Mistral 3", "GLM-4.5V", "GLM-4.6V"}
"""Families that differ from one of the others by nothing that positions see."""
RENUMBERED = {
    name: replace(method, positions="renumbered")
    for name, method in {**PEERS, **SEEING_PEERS}.items()
    if hasattr(method, "__dataclass_fields__") and "positions" in method.__dataclass_fields__
}


@pytest.mark.parametrize("name", RENUMBERED)
@pytest.mark.parametrize("family", [name for name in BUILDERS if name not in MUCH_ALIKE])
def test_equals_the_slow_reference(family: str, name: str) -> None:
    """The stock decoder under full masks, in each layer with positions counted from 0 over what is left there: the
    prompt's text, and four tokens that are decoded through a cache of their own lengths in each layer."""
    vlm, method = tiny_model(family), RENUMBERED[name]
    inputs = vlm.prepare([noise_picture(0), noise_picture(5, 40, 60)], QUESTION).inputs
    length, together = inputs["input_ids"].shape[1], dict(inputs)
    for key, filler in (("input_ids", None), ("attention_mask", 1), ("mm_token_type_ids", 0), ("token_type_ids", 0)):
        if key in together:
            together[key] = torch.cat([inputs[key], MORE if filler is None else torch.full_like(MORE, filler)], dim=1)
    states, _ = peer_reference.run(vlm, together, method, length)
    expected = vlm.model.get_output_embeddings()(states)
    text = ~read_prompts(vlm.family, vlm.model.config, inputs).visual[0]
    with method(vlm.model), torch.inference_mode():
        cache = DynamicCache(config=vlm.model.get_decoder().config)
        prompt = vlm.model(**inputs, past_key_values=cache, use_cache=True).logits[0]
        steps = [
            vlm.model(input_ids=new, past_key_values=cache, use_cache=True).logits[0] for new in MORE.split(2, dim=1)
        ]
    torch.testing.assert_close(prompt[text], expected[:length][text], rtol=0, atol=2e-5)
    torch.testing.assert_close(torch.cat(steps), expected[length:], rtol=0, atol=2e-5)


@pytest.mark.parametrize("family", BUILDERS)
def test_where_nothing_is_dropped_positions_stay(family: str) -> None:
    """Also those of M-RoPE."""
    vlm = tiny_model(family)
    inputs = vlm.prepare(noise_picture(0), QUESTION).inputs
    dense = logits(vlm, inputs)
    everything = 10**6
    for method in (FastV(1, everything), DivPrune(everything), PyramidDrop((1, 2), (1.0, everything))):
        with replace(method, positions="renumbered")(vlm.model):
            assert torch.equal(logits(vlm, inputs), dense)


@pytest.mark.parametrize("family", ["LLaVA", "Qwen2.5-VL"])
def test_the_cache_goes_on_outside_the_session(family: str) -> None:
    """Where tokens leave within the decoder, the next token's position is the model's own in every layer."""
    vlm, method = tiny_model(family), PyramidDrop((1, 2), (0.5, 0.2), positions="renumbered")
    inputs, config = vlm.prepare(noise_picture(0), QUESTION).inputs, vlm.model.get_decoder().config
    steps = []
    for leaves in (False, True):
        with torch.inference_mode():
            with method(vlm.model):
                cache = DynamicCache(config=config)
                vlm.model(**inputs, past_key_values=cache, use_cache=True)
                if not leaves:
                    steps.append(vlm.model(input_ids=MORE[:, :1], past_key_values=cache, use_cache=True).logits)
            if leaves:
                steps.append(vlm.model(input_ids=MORE[:, :1], past_key_values=cache, use_cache=True).logits)
    torch.testing.assert_close(steps[1], steps[0], rtol=0, atol=1e-5)


def test_a_combination_counts_anew_where_either_does() -> None:
    anew = SkipVision(0.3, 0.3, positions="renumbered")
    assert Combined(FastV(2, 0.3), anew).execution.positions == "renumbered"
    assert Combined(FastV(2, 0.3, positions="renumbered"), SkipVision(0.3, 0.3)).execution.positions == "renumbered"
    assert Combined(FastV(2, 0.3), SkipVision(0.3, 0.3)).execution.positions == "original"


@pytest.mark.parametrize("kind", [FastV, PyramidDrop, DART, VTW, VisionZip, SPIDER, DivPrune])
def test_other_words_are_refused(kind: type[Method]) -> None:
    assert kind().execution.positions == "original"
    with pytest.raises(InputError, match="positions must be one of original, renumbered"):
        kind(positions="new")  # type: ignore[call-arg]
