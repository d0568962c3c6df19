"""Question in, time-stamped tokens out."""

from __future__ import annotations

import sys
import threading

import pytest
import torch

from skipcore import Dense, InputError, Sampling, SkipVision, Vlm, answer, ask
from skipcore.answering.generate import _TextOfTokens, generate

METHOD = SkipVision(0.2, 0.3)


def test_tokens_join_to_the_answer(tiny: Vlm, picture) -> None:
    tokens = list(answer(tiny, picture, "what?", METHOD, max_new_tokens=7))
    assert 1 <= len(tokens) <= 7
    assert "".join(token.text for token in tokens).strip() == ask(tiny, picture, "what?", METHOD, 7)
    assert all(token.seconds > 0 for token in tokens)
    assert [token.time for token in tokens] == sorted(token.time for token in tokens)


def test_what_the_consumer_does_is_not_timed(tiny: Vlm, picture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(sys.modules["skipcore.answering.generate"], "perf_counter", lambda: now)
    for token in answer(tiny, picture, "what?", max_new_tokens=3):
        now += 1000.0  # the consumer is slow; the model takes no time by this clock
        assert token.seconds == 0


def test_sampling_repeats_with_its_seed(tiny: Vlm, picture) -> None:
    def sampled(seed: int) -> str:
        sampling = Sampling(temperature=2.0, top_p=0.95, seed=seed)
        return ask(tiny, picture, "what?", METHOD, 12, sampling=sampling)

    assert sampled(1) == sampled(1)
    assert len({sampled(seed) for seed in range(4)}) > 1
    almost_greedy = Sampling(temperature=1.0, top_p=1e-9, seed=0)
    assert ask(tiny, picture, "what?", METHOD, 12, sampling=almost_greedy) == ask(tiny, picture, "what?", METHOD, 12)


def test_stop_ends_before_the_next_token(tiny: Vlm, picture) -> None:
    stop = threading.Event()
    seen = []
    for token in answer(tiny, picture, "what?", max_new_tokens=50, stop=stop):
        seen.append(token)
        if len(seen) == 2:
            stop.set()
    assert len(seen) == 2
    assert not tiny.lock.locked()


def test_leaving_an_answer_early_frees_the_model(tiny: Vlm, picture) -> None:
    tokens = answer(tiny, picture, "what?", METHOD, max_new_tokens=50)
    next(tokens)
    assert tiny.lock.locked()
    assert not torch.is_inference_mode_enabled()
    tokens.close()
    assert not tiny.lock.locked()
    with Dense()(tiny.model):
        pass


def test_the_end_of_the_answer(tiny: Vlm, picture, monkeypatch) -> None:
    inputs = tiny.prepare(picture, "what?").inputs
    first = next(answer(tiny, picture, "what?", max_new_tokens=1)).id
    monkeypatch.setattr(tiny.model.generation_config, "eos_token_id", [first])
    assert [t.text for t in generate(tiny, inputs, Dense()(tiny.model), 5)] == [""]
    assert len(list(generate(tiny, inputs, Dense()(tiny.model), 5, ignore_eos=True))) == 5


def test_characters_of_several_tokens_come_whole(tiny: Vlm) -> None:
    tokenizer = tiny.processor.tokenizer
    text = "a 🦊 b"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    stream = _TextOfTokens(tokenizer)
    pieces = [stream.add(token, last=index == len(ids) - 1) for index, token in enumerate(ids)]
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces)


@pytest.mark.parametrize("count", [0, -1, 1.5, True, None])
def test_impossible_lengths_get_a_sentence(tiny: Vlm, picture, count) -> None:
    with pytest.raises(InputError, match="at least 1"):
        ask(tiny, picture, "what?", max_new_tokens=count)


@pytest.mark.parametrize(
    "settings", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"temperature": "a"}, {"seed": 2**65}]
)
def test_impossible_sampling_gets_a_sentence(settings: dict) -> None:
    with pytest.raises(InputError):
        Sampling(**settings)
