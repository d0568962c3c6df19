"""Batches of the race are the single runs: on every family, under methods of every kind."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from shared_models import noise_picture
from tiny_families import BUILDERS, tiny_model

from profiling.race.accuracy import measure_questions
from skipcore import Dense, Method, SkipVision, Vlm, ask
from skipcore.answering.agreement import Agreement, log_probs_along
from skipcore.answering.batch import greedy, log_probs
from skipcore.builtin.evaluation.asked import AskedPicture
from skipcore.builtin.evaluation.many_answers import AskedQuestions
from skipcore.builtin.questions.questions import Question
from skipcore.methods.downsampled import Downsampled
from skipcore.methods.dymu import DyMU
from skipcore.methods.fastv import FastV
from skipcore.methods.vision_zip import VisionZip

METHODS: list[Method] = [Dense(), SkipVision(0.2, 0.3), FastV(1, 0.5), VisionZip(0.3, 0.1), Downsampled(0.25)]
TEXTS = ("what is it?", "where am I?", "hm?")


def asked(number: int, texts=TEXTS, answer: str = "") -> AskedPicture:
    return AskedPicture(partial(noise_picture, number), tuple(Question("test", text, answer, "test") for text in texts))


@pytest.mark.parametrize("name", BUILDERS)
@torch.inference_mode()
def test_a_batch_is_the_single_runs(name: str) -> None:
    vlm = tiny_model(name)
    pictures = [asked(0), asked(1)]
    questions = AskedQuestions(vlm, pictures, 4)
    numbers = max(questions.batches(), key=len)
    assert len({number // len(TEXTS) for number in numbers}) == 2
    for method in METHODS:
        inputs = questions.inputs(numbers, method)
        answers = greedy(vlm, inputs, method, 4)
        several = log_probs(vlm, inputs, method, answers)
        for number, answer, found in zip(numbers, answers, several, strict=True):
            alone = questions.inputs([number], method)
            assert greedy(vlm, alone, method, 4) == [answer]
            torch.testing.assert_close(found, log_probs_along(vlm, alone, method, answer), rtol=0, atol=2e-5)
            assert found.argmax(dim=-1).tolist() == answer  # its own greedy answer is likeliest all along
            text = ask(vlm, noise_picture(number // len(TEXTS)), TEXTS[number % len(TEXTS)], method, 4)
            assert questions.answered(number, answer).answer.strip() == text


def test_pictures_are_encoded_once_for_all_who_share(tiny: Vlm, monkeypatch) -> None:
    calls: list[Method | None] = []
    encode = Vlm.encode
    monkeypatch.setattr(
        Vlm, "encode", lambda vlm, prepared, method=None: (calls.append(method), encode(vlm, prepared, method))[1]
    )
    methods = {str(number): method for number, method in enumerate(METHODS)}
    measure_questions(tiny, [asked(0), asked(1)], methods, False, max_new_tokens=3)
    assert sorted(str(call and call.name) for call in calls) == sorted(
        ["None"] * 2 + ["VisionZip"] * 2 + ["Downsampled picture"] * 2
    )


def test_outcomes_are_those_of_single_questions(tiny: Vlm) -> None:
    """Right, same and agreement against `ask` and `log_probs_along`; the truth is the dense answer."""
    pictures = [asked(0), asked(1)]
    truth = []
    for picture in pictures:
        answers = [ask(tiny, picture.draw(), each.text, Dense(), 4) for each in picture.questions]
        questions = (replace(each, answer=own) for each, own in zip(picture.questions, answers, strict=True))
        truth.append(replace(picture, questions=tuple(questions), is_exact=True))
    methods = {"dense": Dense(), "skip": SkipVision(0.1, 0.1), "dymu": DyMU.find(tiny, [noise_picture(3)], 0.5)}
    told: list[int] = []
    outcomes = measure_questions(tiny, truth, methods, True, told.append, max_new_tokens=4)
    assert sum(told) == 3 * 6
    assert all(each.is_right and each.is_same and each.agreement == Agreement(0.0, 1.0) for each in outcomes["dense"])
    assert not all(each.is_same for each in outcomes["skip"])
    questions = [(picture, question) for picture in truth for question in picture.questions]
    for number, (picture, question) in enumerate(questions):
        prepared = tiny.prepare(picture.draw(), question.text)
        dense_inputs = prepared.with_features(tiny.encode(prepared))
        answer = greedy(tiny, dense_inputs, Dense(), 4)[0]
        dense = log_probs_along(tiny, dense_inputs, Dense(), answer)
        for key in ("skip", "dymu"):
            method, outcome = methods[key], outcomes[key][number]
            assert outcome.is_right == (ask(tiny, picture.draw(), question.text, method, 4) == question.answer)
            inputs = prepared.with_features(tiny.encode(prepared, method))
            expected = Agreement.between(dense, log_probs_along(tiny, inputs, method, answer))
            assert outcome.agreement.kl == pytest.approx(expected.kl, abs=1e-4)
            assert outcome.agreement.top1 == expected.top1
    assert all(each.is_right is None for each in measure_questions(tiny, pictures, {"d": Dense()}, False)["d"])
