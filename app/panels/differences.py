"""Which words of two answers differ."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from html import escape


def marked(one: str, other: str) -> tuple[str, str]:
    """Both answers as HTML, with <mark> around the words that the other one lacks in their place. Capitals and the
    marks around a word make no difference."""
    words, others = one.split(), other.split()
    matcher = SequenceMatcher(None, [_plain(word) for word in words], [_plain(word) for word in others], autojunk=False)
    steps = matcher.get_opcodes()
    return (
        " ".join(_runs(words[start:end], kind) for kind, start, end, _, _ in steps if end > start),
        " ".join(_runs(others[start:end], kind) for kind, _, _, start, end in steps if end > start),
    )


def _runs(words: list[str], kind: str) -> str:
    text = escape(" ".join(words))
    return text if kind == "equal" else f"<mark>{text}</mark>"


def _plain(word: str) -> str:
    """A word that is nothing but marks stays as it is."""
    return re.sub(r"^\W+|\W+$", "", word.lower()) or word
