"""Answers follow the model's generation config token by token as its own `generate(do_sample=False)` does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from shared_models import noise_picture
from tiny_families import tiny_model

from skipcore import Dense, InputError, Method, Sampling, SkipVision, Vlm
from skipcore.answer import generate
from skipcore.chat import Chat
from skipcore.decoding import describe, end_tokens
from skipcore.methods import FastV

NEW_TOKENS = 12
UNUSED = 6
"""A token that no answer here comes to by itself."""
FAMILIES = ["LLaVA", "Qwen2.5-VL", "SmolVLM", "Gemma 3"]


@contextmanager
def configured(vlm: Vlm, **changes: Any) -> Iterator[None]:
    """The model's generation config with some changes, as a model on the Hub has them."""
    config = vlm.model.generation_config
    before = {name: getattr(config, name, None) for name in changes}
    for name, value in changes.items():
        setattr(config, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)


def written(vlm: Vlm, method: Method, inputs: dict[str, Any], **options: Any) -> list[int]:
    return [token.id for token in generate(vlm, inputs, method(vlm.model), NEW_TOKENS, **options)]


def own(vlm: Vlm, method: Method, inputs: dict[str, Any]) -> list[int]:
    with method(vlm.model):
        made = vlm.model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    return made[0, inputs["input_ids"].shape[1] :].tolist()


def plain(vlm: Vlm) -> list[int]:
    with configured(vlm, eos_token_id=UNUSED):
        return own(vlm, Dense(), vlm.prepare(noise_picture(0), "What?").inputs)


def configs(tokens: list[int]) -> dict[str, dict[str, Any]]:
    """Each changes the answer `tokens`, which never ends by itself."""
    return {
        "one end": {"eos_token_id": tokens[4]},
        "several ends": {"eos_token_id": [tokens[5], tokens[3]]},
        "repetition penalty": {"repetition_penalty": 1.7},
        "no repeated pairs": {"no_repeat_ngram_size": 2},
        "bad words": {"bad_words_ids": [[tokens[0]], [tokens[2], tokens[3]]]},
        "minimal new tokens": {"eos_token_id": tokens[1], "min_new_tokens": 6},
        "minimal length": {"eos_token_id": tokens[1], "min_length": 900},
        "suppressed": {"suppress_tokens": [tokens[0], tokens[1]]},
        "suppressed at first": {"begin_suppress_tokens": [tokens[0]]},
        "forced end": {"eos_token_id": 7, "forced_eos_token_id": 7},
        "bias": {"sequence_bias": [[[tokens[0]], -50.0], [[11], 40.0]]},
        "decay": {"eos_token_id": 9, "exponential_decay_length_penalty": (2, 3.0)},
        "all at once": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3, "min_new_tokens": 4, "eos_token_id": 9},
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", configs([0] * 6))
def test_dense_is_what_the_model_s_own_generate_writes(family: str, name: str) -> None:
    vlm = tiny_model(family)
    changes = {"eos_token_id": UNUSED} | configs(plain(vlm))[name]
    inputs = vlm.prepare(noise_picture(0), "What?").inputs
    with configured(vlm, **changes):
        expected = own(vlm, Dense(), inputs)
        assert written(vlm, Dense(), inputs) == expected
        for method in (SkipVision(0.2, 0.3), FastV(1, 0.4)):
            assert written(vlm, method, inputs) == own(vlm, method, inputs)
    if name not in ("forced end", "decay"):
        assert expected != plain(vlm)  # the setting matters here, or the test would show nothing


def test_the_report_says_what_is_followed() -> None:
    vlm = tiny_model("LLaVA")
    assert describe(vlm) == "greedy"
    with configured(vlm, repetition_penalty=1.1, do_sample=True, temperature=0.2):
        assert describe(vlm).startswith("greedy, with the model's own repetition_penalty; the sampling")


@pytest.mark.parametrize("name, value", [("num_beams", 4), ("guidance_scale", 1.5), ("stop_strings", ["."])])
def test_what_is_not_done_here_is_refused_with_a_sentence(name: str, value: Any) -> None:
    vlm = tiny_model("LLaVA")
    with configured(vlm, **{name: value}), pytest.raises(InputError, match=name):
        written(vlm, Dense(), vlm.prepare(noise_picture(0), "What?").inputs)


def test_a_conversation_follows_it_over_the_whole_prompt() -> None:
    """The second question's answer is that of the whole conversation read anew, penalties included."""
    vlm = tiny_model("LLaVA")
    with configured(vlm, repetition_penalty=1.5, eos_token_id=UNUSED):
        chat = Chat(vlm, noise_picture(0))
        list(chat.ask("What?", 4))
        anew = vlm.prepare(noise_picture(0), "And where?", 8, history=chat.turns)
        expected = written(vlm, Dense(), anew.inputs)[:8]
        assert [token.id for token in chat.ask("And where?", 8)] == expected and chat.reused > 0


def test_sampling_follows_it_too() -> None:
    vlm = tiny_model("LLaVA")
    inputs = vlm.prepare(noise_picture(0), "What?").inputs
    allowed = [3, 40, 41]
    vocabulary = vlm.model.get_output_embeddings().weight.shape[0]
    with configured(vlm, suppress_tokens=[n for n in range(vocabulary) if n not in allowed], eos_token_id=UNUSED):
        assert set(written(vlm, Dense(), inputs, sampling=Sampling(5.0, seed=1))) <= set(allowed)
    assert torch.is_tensor(inputs["input_ids"]) and end_tokens(vlm)
