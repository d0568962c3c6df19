"""Law 9: answers are those of the model's own `generate(do_sample=False)` with its generation config."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from family_methods import METHODS, PEERS
from shared_models import noise_picture
from tiny_families import tiny_model
from tiny_tokenizer import IMAGE
from transformers import DynamicCache

from skipcore import Chat, Dense, InputError, Method, Sampling, Vlm, answer
from skipcore.answering.alternate import alternate
from skipcore.answering.batch import BatchedQuestions, greedy
from skipcore.answering.decoding import FOLLOWED, NextToken, describe
from skipcore.answering.generate import generate

QUESTION = "What is it?"
NEW_TOKENS = 12
NEVER = 10_000
"""No token, so that an answer has no end."""
CONFIGS: dict[str, Any] = {
    "repetition penalty": lambda own: {"repetition_penalty": 1.6},
    "penalty of what was read": lambda own: {"encoder_repetition_penalty": 20.0},
    "no repeated pairs": lambda own: {"no_repeat_ngram_size": 2},
    "no pairs of the prompt": lambda own: {"encoder_no_repeat_ngram_size": 1, "sequence_bias": [[[IMAGE], 50.0]]},
    "bad words": lambda own: {"bad_words_ids": [[own[0]], own[1:3]]},
    "suppressed": lambda own: {"suppress_tokens": own[:2]},
    "suppressed at first": lambda own: {"begin_suppress_tokens": own[:1]},
    "biased": lambda own: {"sequence_bias": [[[own[0]], -20.0], [[own[1] + 1], 20.0]]},
    "several ends": lambda own: {"eos_token_id": [7, own[3]]},
    "least new tokens": lambda own: {"eos_token_id": own[0], "min_new_tokens": 5},
    "least length": lambda own: {"eos_token_id": own[0], "min_length": 40},
    "an end that is forced": lambda own: {"forced_eos_token_id": 9},
    "an end that draws near": lambda own: {"exponential_decay_length_penalty": (2, 3.0)},
    "penalty, pairs and least new tokens": lambda own: {
        "repetition_penalty": 1.3,
        "no_repeat_ngram_size": 3,
        "eos_token_id": own[:1],
        "min_new_tokens": 3,
    },
}
FAMILIES = ("LLaVA-NeXT", "Qwen2.5-VL", "Gemma 3")
SKIPPING: list[Method] = [METHODS["masked"], METHODS["renumbered"], PEERS["FastV"], PEERS["PyramidDrop"]]


@pytest.fixture(params=FAMILIES)
def vlm(request: pytest.FixtureRequest) -> Vlm:
    return tiny_model(request.param)


def follow(vlm: Vlm, patch: pytest.MonkeyPatch, **settings: Any) -> None:
    for name, value in settings.items():
        patch.setattr(vlm.model.generation_config, name, value)


def written(vlm: Vlm, method: Method, number: int = 0, count: int = NEW_TOKENS) -> list[int]:
    """What the stock `generate()` writes."""
    prepared = vlm.prepare(noise_picture(number), QUESTION)
    with method(vlm.model):
        ids = vlm.model.generate(**prepared.inputs, do_sample=False, max_new_tokens=count)
    return ids[0, prepared.num_tokens :].tolist()


def ours(vlm: Vlm, method: Method, count: int = NEW_TOKENS) -> list[int]:
    return [token.id for token in answer(vlm, noise_picture(0), QUESTION, method, count)]


@pytest.fixture
def own(vlm: Vlm, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the dense model writes without any of this, never ending; different tokens first."""
    with monkeypatch.context() as patch:
        follow(vlm, patch, eos_token_id=NEVER)
        found = written(vlm, Dense())
    return [*dict.fromkeys(found), *found][:NEW_TOKENS]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_dense_answer_is_that_of_generate(vlm: Vlm, own: list[int], name: str, monkeypatch) -> None:
    follow(vlm, monkeypatch, **CONFIGS[name](own))
    assert ours(vlm, Dense()) == written(vlm, Dense())


def test_the_settings_matter(monkeypatch) -> None:
    """Each of them changes what some family writes: otherwise the test above would show nothing."""
    matter: dict[tuple[str, str], bool] = {}
    for family in FAMILIES:
        vlm = tiny_model(family)
        with monkeypatch.context() as patch:
            follow(vlm, patch, eos_token_id=NEVER)
            found = written(vlm, Dense())
        for name, settings in CONFIGS.items():
            chosen = settings([*dict.fromkeys(found), *found])
            with monkeypatch.context() as patch:
                follow(vlm, patch, **chosen)
                expected = written(vlm, Dense())
            for left_out in chosen:
                rest = {key: value for key, value in chosen.items() if key != left_out}
                with monkeypatch.context() as patch:
                    follow(vlm, patch, **rest)
                    matter[name, left_out] = matter.get((name, left_out), False) or written(vlm, Dense()) != expected
    idle = {each for each, matters in matter.items() if not matters}
    assert idle == {("no pairs of the prompt", "sequence_bias")}  # what it favors is forbidden by the other one


@pytest.mark.parametrize("method", SKIPPING, ids=lambda method: method.label)
def test_a_skipping_answer_is_that_of_generate_in_its_session(method: Method, monkeypatch) -> None:
    vlm = tiny_model("Qwen2.5-VL")
    first = written(vlm, method)
    for name in ("repetition penalty", "bad words", "penalty, pairs and least new tokens"):
        with monkeypatch.context() as patch:
            follow(vlm, patch, **CONFIGS[name](first))
            assert ours(vlm, method) == written(vlm, method)


def test_every_way_to_an_answer_follows_it(vlm: Vlm, own: list[int], monkeypatch) -> None:
    follow(vlm, monkeypatch, **CONFIGS["penalty, pairs and least new tokens"](own))
    expected = written(vlm, Dense())
    pictures = [noise_picture(0)]
    assert [token.id for token in Chat(vlm, pictures).ask(QUESTION, NEW_TOKENS)] == expected
    *_, last = alternate(vlm, pictures, QUESTION, [Dense()], NEW_TOKENS)
    assert last.text == vlm.processor.tokenizer.decode(expected, skip_special_tokens=True)
    questions = BatchedQuestions(vlm, [(noise_picture(0), [QUESTION, QUESTION])], NEW_TOKENS)
    assert greedy(vlm, questions.inputs([0, 1], Dense()), Dense(), NEW_TOKENS) == [expected, expected]
    almost_greedy = Sampling(temperature=1.0, top_p=1e-9, seed=0)
    tokens = answer(vlm, noise_picture(0), QUESTION, Dense(), NEW_TOKENS, sampling=almost_greedy)
    assert [token.id for token in tokens] == expected


def test_a_follow_up_is_penalized_for_what_the_cache_holds(monkeypatch) -> None:
    vlm = tiny_model("LLaVA-NeXT")
    follow(vlm, monkeypatch, repetition_penalty=1.6, no_repeat_ngram_size=2, eos_token_id=NEVER)
    chat = Chat(vlm, noise_picture(0))
    list(chat.ask(QUESTION, 4))
    prepared = vlm.prepare(noise_picture(0), "And now?", 6, chat.turns)
    found = [token.id for token in chat.ask("And now?", 6)]
    assert chat.reused > 0
    ids = vlm.model.generate(**prepared.inputs, do_sample=False, max_new_tokens=6)
    assert found == ids[0, prepared.num_tokens :].tolist()


@pytest.mark.parametrize(
    "name, value",
    [
        ("num_beams", 4),
        ("guidance_scale", 1.5),
        ("penalty_alpha", 0.6),
        ("stop_strings", ["."]),
        ("dola_layers", "low"),
    ],
)
def test_what_cannot_be_followed_is_refused(tiny: Vlm, picture, name: str, value: Any, monkeypatch) -> None:
    follow(tiny, monkeypatch, **{name: value})
    with pytest.raises(InputError, match=re.escape(f"{name}={value!r}")):
        list(answer(tiny, picture, "what?"))
    assert not tiny.lock.locked()


def test_without_such_settings_the_logits_are_not_touched(tiny: Vlm, picture) -> None:
    inputs = tiny.prepare(picture, "what?").inputs
    assert NextToken(tiny, inputs["input_ids"], 4).by_logits_alone
    cache = DynamicCache(config=tiny.model.config)
    with torch.inference_mode():
        logits = tiny.model(**inputs, past_key_values=cache, logits_to_keep=1).logits[:, -1]
    first = next(generate(tiny, inputs, Dense()(tiny.model), 1))
    assert first.id == int(logits.argmax())


def test_sampling_draws_from_what_is_allowed(tiny: Vlm, picture, monkeypatch) -> None:
    allowed = {3, 40, 41}
    vocabulary = len(tiny.model.get_output_embeddings().weight)
    follow(tiny, monkeypatch, suppress_tokens=[n for n in range(vocabulary) if n not in allowed])
    tokens = answer(tiny, picture, "what?", max_new_tokens=12, sampling=Sampling(5.0, seed=1))
    assert {token.id for token in tokens} <= allowed


def test_the_report_says_what_is_followed(tiny: Vlm, monkeypatch) -> None:
    assert describe(tiny) == "greedy"
    follow(tiny, monkeypatch, repetition_penalty=1.1, do_sample=True, temperature=0.2)
    assert describe(tiny).startswith("greedy, with the model's own repetition_penalty; the sampling")
    tested = {name for settings in CONFIGS.values() for name in settings(list(range(12)))}
    assert FOLLOWED.keys() - tested == {"forced_bos_token_id"}  # of prompts of one token


@pytest.mark.parametrize("name", ["bad_words_ids", "sequence_bias"])
def test_what_transformers_rejects_gets_a_sentence(tiny: Vlm, picture, name: str, monkeypatch) -> None:
    follow(tiny, monkeypatch, **{name: []})
    with pytest.raises(InputError, match=rf"cannot be followed .*{name}"):
        list(answer(tiny, picture, "what?"))
