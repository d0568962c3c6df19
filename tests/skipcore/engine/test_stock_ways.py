"""Beyond the laws: what users of stock transformers do with a model, in a session too; and misuse."""

from __future__ import annotations

import contextlib

import pytest
import torch
from model_runs import batch_of, hooks, logits
from shared_models import methods_for, noise_picture, trained_summary
from tiny_families import tiny_model

from skipcore import Dense, InputError, SkipVision, Vlm

QUESTION = "What color is the shape?"


@pytest.mark.parametrize("name", ["masked, trained summary", "masked, uniform, renumbered"])
@pytest.mark.parametrize("outside", [False, True])
def test_a_cache_goes_on_in_another_session(tiny: Vlm, picture, name: str, outside: bool) -> None:
    """The cache itself knows what it dropped: several new tokens at once, in a new session (or in none)."""
    method = methods_for(tiny)[name]
    if outside and method.execution.positions == "renumbered":
        pytest.skip("positions counted anew are known to a session only")
    inputs = tiny.prepare(picture, QUESTION).inputs
    more = torch.tensor([[70, 80, 90, 100]])
    together = dict(inputs, input_ids=torch.cat([inputs["input_ids"], more], dim=1))
    del together["attention_mask"]
    with method(tiny.model), torch.inference_mode():
        expected = tiny.model(**together).logits[:, -4:]
        cache = tiny.model(**inputs, use_cache=True).past_key_values
    with torch.inference_mode():
        if outside:
            actual = tiny.model(input_ids=more, past_key_values=cache, use_cache=True).logits
        else:
            with method(tiny.model):
                tiny.model(input_ids=more[:, :2])  # another prompt in between
                actual = tiny.model(input_ids=more, past_key_values=cache, use_cache=True).logits
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["masked", "masked, uniform, renumbered", "text sees skipped"])
def test_guidance_runs_two_prompts_in_one_session(tiny: Vlm, name: str) -> None:
    """Classifier-free guidance prefills a text-only prompt beside the batch: neither disturbs the other's cache."""
    method = methods_for(tiny)[name]
    prompts = [tiny.prepare(noise_picture(seed), question).inputs for seed, question in enumerate(["What?", QUESTION])]
    options = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": -1, "guidance_scale": 1.5}
    batch = batch_of(tiny, prompts, "left")
    with method(tiny.model):
        together = tiny.model.generate(**batch, **options)[:, batch["input_ids"].shape[1] :]
        for row, prompt in enumerate(prompts):
            alone = tiny.model.generate(**prompt, **options)[0, prompt["input_ids"].shape[1] :]
            assert together[row].tolist() == alone.tolist()


def test_beam_search_of_a_paddedbatch_of(tiny: Vlm) -> None:
    prompts = [tiny.prepare(noise_picture(seed), question).inputs for seed, question in enumerate(["What?", QUESTION])]
    options = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": -1, "num_beams": 3}
    batch = batch_of(tiny, prompts, "left")
    with SkipVision(0.2, 0.3)(tiny.model):
        together = tiny.model.generate(**batch, **options)[:, batch["input_ids"].shape[1] :]
        for row, prompt in enumerate(prompts):
            alone = tiny.model.generate(**prompt, **options)[0, prompt["input_ids"].shape[1] :]
            assert together[row].tolist() == alone.tolist()


def test_the_recorded_updates_of_a_paddedbatch_of(tiny: Vlm) -> None:
    prompts = [tiny.prepare(noise_picture(seed), question).inputs for seed, question in enumerate(["What?", QUESTION])]
    for method in (Dense(), SkipVision(0.2, 0.3)):
        with method(tiny.model, record=True) as session, torch.inference_mode():
            tiny.model(**batch_of(tiny, prompts, "left"))
        for prompt, trace in zip(prompts, session.traces, strict=True):
            with method(tiny.model, record=True) as alone, torch.inference_mode():
                tiny.model(**prompt)
            torch.testing.assert_close(trace.ffn_update, alone.trace.ffn_update, rtol=0, atol=1e-4, equal_nan=True)


def test_hidden_states_have_the_prompt_s_length(tiny: Vlm, picture) -> None:
    inputs = tiny.prepare(picture, QUESTION).inputs
    with SkipVision(0.2, 0.3)(tiny.model), torch.inference_mode():
        states = tiny.model(**inputs, output_hidden_states=True).hidden_states
    assert {state.shape[1] for state in states} == {inputs["input_ids"].shape[1]}


@pytest.mark.parametrize(
    "misuse, says",
    [
        ("chunked prefill", "first prefill|visual tokens"),
        ("second picture later", "first prefill"),
        ("no pixels", "visual tokens"),
        ("embeddings only", "Pass input_ids"),
        ("all padding", "attention_mask hides"),
        ("four-dimensional mask", "two-dimensional"),
        ("static cache", "DynamicCache|two-dimensional"),
        ("compiled", "compiled"),
        ("wide summary", "hidden size"),
    ],
)
def test_misuse_gets_a_sentence(tiny: Vlm, picture, misuse: str, says: str, monkeypatch) -> None:
    model, method, hooks_before = tiny.model, SkipVision(0.2, 0.3), hooks(tiny)
    inputs = dict(tiny.prepare(picture, QUESTION).inputs)
    if misuse == "no pixels":
        del inputs["pixel_values"]
    elif misuse == "embeddings only":
        inputs = {"inputs_embeds": model.get_input_embeddings()(inputs["input_ids"])}
    elif misuse == "all padding":
        inputs["attention_mask"] = torch.zeros_like(inputs["attention_mask"])
    elif misuse == "four-dimensional mask":
        inputs["attention_mask"] = torch.ones(1, 1, 4, 4)
    elif misuse == "compiled":
        monkeypatch.setattr(model, "_compiled_call_impl", model._call_impl)
    elif misuse == "wide summary":
        method = SkipVision(0.2, 0.3, summary=trained_summary(8))
    with pytest.raises(InputError, match=says), method(model), torch.inference_mode():
        if misuse == "chunked prefill":
            model.generate(**inputs, max_new_tokens=2, do_sample=False, prefill_chunk_size=40)
        elif misuse == "second picture later":
            cache = model(**inputs, use_cache=True).past_key_values
            model(**inputs, past_key_values=cache)
        elif misuse == "static cache":
            model.generate(**inputs, max_new_tokens=2, do_sample=False, cache_implementation="static")
        else:
            model(**inputs)
    assert hooks(tiny) == hooks_before


@pytest.mark.parametrize("window, longer", [(10_000, False), (24, True)])
def test_a_prompt_beyond_a_sliding_window_is_refused_with_a_sentence(window: int, longer: bool, monkeypatch) -> None:
    """Mistral's decoders mask every layer by one window; the session's causal prefill knows none."""
    vlm = tiny_model("Mistral 3")
    monkeypatch.setattr(vlm.model.get_decoder().config, "sliding_window", window)
    inputs = vlm.prepare(noise_picture(0), "What?").inputs
    with contextlib.ExitStack() as expected, SkipVision(0.2, 0.3)(vlm.model):
        if longer:
            expected.enter_context(pytest.raises(InputError, match="sliding window 24"))
        logits(vlm, inputs)
