"""The words in which two answers differ, as they are marked."""

from __future__ import annotations

import re
from html import escape

import pytest

from app.panels.answers import marked


@pytest.mark.parametrize(
    "one, other, first, second",
    [
        ("a lion", "a lion", "a lion", "a lion"),
        ("A lion.", "a lion", "A lion.", "a lion"),
        ("a red circle", "a blue circle", "a <mark>red</mark> circle", "a <mark>blue</mark> circle"),
        ("a dog", "a dog and a cat", "a dog", "a dog <mark>and a cat</mark>"),
        ("yes", "", "<mark>yes</mark>", ""),
        ("", "", "", ""),
        ("3 <b>", "3 <i>", "3 <mark>&lt;b&gt;</mark>", "3 <mark>&lt;i&gt;</mark>"),
        ("a - b", "a + b", "a <mark>-</mark> b", "a <mark>+</mark> b"),
        ("two  big\ncats", "two big cats", "two big cats", "two big cats"),
        ("the cat sat", "sat the cat", "the cat <mark>sat</mark>", "<mark>sat</mark> the cat"),
    ],
)
def test_marks(one: str, other: str, first: str, second: str) -> None:
    assert marked(one, other) == (first, second)


def test_nothing_is_lost() -> None:
    one, other = "the quick <brown> fox jumps & runs", "a quick brown fox; jumps over & over"
    for answer, html in zip((one, other), marked(one, other), strict=True):
        assert re.sub("</?mark>", "", html) == escape(answer)
