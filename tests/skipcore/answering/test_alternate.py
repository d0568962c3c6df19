"""Answers made in turns: the same as alone, in the order of what they took, and stopped at once."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest
from shared_models import noise_picture
from tiny_families import BUILDERS, tiny_model

from skipcore import Dense, InputError, SkipVision, Vlm, ask
from skipcore.answering.alternate import Step, alternate
from skipcore.methods import DyMU, FastV

QUESTION = "What color is it?"


def lanes(steps: list[Step]) -> list[list[Step]]:
    return [[step for step in steps if step.number == number] for number in sorted({step.number for step in steps})]


@pytest.mark.parametrize("family", BUILDERS)
def test_each_answer_is_the_one_given_alone(family: str) -> None:
    vlm = tiny_model(family)
    methods = [Dense(), SkipVision(0.2, 0.3), FastV(0.5), SkipVision(0.2, 0.3, positions="renumbered")]
    steps = list(alternate(vlm, noise_picture(0), QUESTION, methods, 6))
    for method, lane in zip(methods, lanes(steps), strict=True):
        assert lane[-1].text.strip() == ask(vlm, noise_picture(0), QUESTION, method, 6)
        assert [step.done for step in lane] == [False] * (len(lane) - 1) + [True]
        assert all(a.seconds < b.seconds for a, b in pairwise(lane))


def test_tokens_come_in_the_order_of_what_they_took(tiny: Vlm) -> None:
    steps = list(alternate(tiny, noise_picture(0), QUESTION, [Dense(), tiny.skipping, DyMU()], 12))
    times = [step.seconds for step in steps]
    assert times == sorted(times) and len(steps) > 12
    # side by side, not one after the other
    assert {step.number for step in steps[:-3]} == {0, 1, 2}


def test_it_stops_and_leaves_the_model_free(tiny: Vlm) -> None:
    stop = threading.Event()
    seen = 0
    for _ in alternate(tiny, noise_picture(0), QUESTION, [Dense(), tiny.skipping], 50, stop=stop):
        seen += 1
        stop.set()
    assert seen == 1
    closed = alternate(tiny, noise_picture(0), QUESTION, [Dense(), tiny.skipping], 50)
    next(closed)
    closed.close()
    assert not tiny.lock.locked()
    with pytest.raises(InputError):
        next(alternate(tiny, noise_picture(0), QUESTION, [Dense()], 0))
    assert ask(tiny, noise_picture(0), QUESTION, max_new_tokens=2)
