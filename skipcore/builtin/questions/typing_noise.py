"""Questions as people type them: capitals, forgotten marks, slips of the finger, polite words."""

from __future__ import annotations

import re

from numpy.random import Generator

from skipcore.builtin.questions.phrasings import AFTER, BEFORE
from skipcore.builtin.questions.question import chance, pick
from skipcore.builtin.scenes.vocabulary import COLORS, COUNT_WORDS, SIGN_WORDS
from skipcore.builtin.scenes.words import GROUPS, SINGULAR, plural

POLITE, SLIP, NO_MARK, UPPER, CAPITAL = 0.03, 0.04, 0.10, 0.03, 0.10
SHORTEST = 5
"""Words with fewer letters are spared."""
MEANINGFUL = frozenset(
    part
    for noun in (*SINGULAR, *GROUPS, *(plural(group) for group in GROUPS), *COLORS, *SIGN_WORDS, *COUNT_WORDS)
    for part in noun.split()
) | {"shape", "shapes", "things", "middle", "right", "bottom", "above", "below", "higher", "lower"}
"""Words no slip may touch: with another letter they could mean something else."""
_WORD = re.compile(rf"[a-z]{{{SHORTEST},}}")


def as_typed(text: str, rng: Generator) -> str:
    """The question, mostly as it is."""
    if chance(rng, POLITE):
        text = _polite(text, rng)
    if chance(rng, SLIP):
        text = _slipped(text, rng)
    if chance(rng, NO_MARK):
        text = text.rstrip("?.")
    draw = rng.random()
    if draw < UPPER:
        return text.upper()
    return text[0].upper() + text[1:] if draw < UPPER + CAPITAL else text


def _polite(text: str, rng: Generator) -> str:
    if chance(rng, 0.3):
        return f"{text[:-1]}{pick(AFTER[:2] if text[-1] == '.' else AFTER, rng)}{text[-1]}"
    return f"please {text}" if text[-1] == "." else pick(BEFORE, rng) + text


def _slipped(text: str, rng: Generator) -> str:
    """One letter of one word left out, doubled, or swapped with the next one."""
    places = [match for match in _WORD.finditer(text) if match.group() not in MEANINGFUL]
    if not places:
        return text
    match = pick(places, rng)
    at = match.start() + 1 + int(rng.random() * (len(match.group()) - 2))
    kind = int(rng.random() * 3)
    if kind == 0:
        slipped = text[:at] + text[at + 1 :]
    elif kind == 1:
        slipped = text[:at] + text[at] + text[at:]
    else:
        slipped = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    is_other_word = not MEANINGFUL.isdisjoint(set(_WORD.findall(slipped)) - set(_WORD.findall(text)))
    return text if is_other_word else slipped  # "there" must not become "three"
