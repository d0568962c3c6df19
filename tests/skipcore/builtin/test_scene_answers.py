"""Which answers count as right, and how questions are mistyped."""

from __future__ import annotations

import numpy as np
import pytest

from skipcore.builtin.questions.questions import Question, as_typed, is_right


@pytest.mark.parametrize(
    ("kind", "truth", "answer", "right"),
    [
        ("place", "in the middle", "In the middle.", True),
        ("place", "at the top", "at the top left", False),
        ("identity", "a dog", "Dog", True),
        ("identity", "an owl", "the owl!", True),
        ("identity", "a dog", "a cat", False),
        ("identity", "a red circle", "a circle", False),
        ("count", "three", "3", True),
        ("count", "three", "two", False),
        ("sign", "42", "42.", True),
        ("sign", "42", "43", False),
        ("existence", "yes", "Yes, there is.", True),
        ("existence", "yes", "no", False),
        ("existence", "no", "not yes", False),
        ("absent", "there is no dog", "There is no dog.", True),
        ("absent", "there is no dog", "there is no cat", False),
        ("description", "a dog and two cats", "There are a cat, a dog and a cat.", True),
        ("description", "a dog and two cats", "two cats", False),
        ("description", "a dog and two cats", "a dog, two cats and an owl", False),
        ("description", "a dog and two cats", "a dog and three cats", False),
        ("description", "a dog. The dog is on the left.", "I see a dog! the dog is there", True),
        ("description", "a red circle", "a blue circle", False),
        ("description", "a red sign that says stop", "a red sign that says go", False),
        ("description", "a dog", "", False),
    ],
)
def test_right_and_wrong_answers(kind: str, truth: str, answer: str, right: bool) -> None:
    assert is_right(Question(kind, "", truth, ""), answer) is right


def test_noise_leaves_meaning_alone() -> None:
    rng = np.random.default_rng(2)
    text = "how many elephants are there in the picture?"
    typed = [as_typed(text, rng) for _ in range(4000)]
    assert 0.65 < sum(each == text for each in typed) / 4000 < 0.85
    assert all("elephants" in each.lower() and " three " not in each.lower() for each in typed)
