"""What a question is, and how one is put together from a wording and nouns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from numpy.random import Generator

from skipcore.builtin.scenes.words import PLURALS, word

Picked = TypeVar("Picked")
NO_MARKS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Question:
    """A question to a scene.

    Attributes:
        kind: one of `questions.KINDS`.
        text: as asked.
        answer: the true one, in words people use.
        form: the wording with names blotted out, for the statistics of a guesser who does not look. A question about
            something absent has the form of the question it looks like.
        about: the things that the question names, or whose identity is the answer.
    """

    kind: str
    text: str
    answer: str
    form: str
    about: tuple[str, ...] = ()


def compose(
    kind: str,
    template: str,
    answer: str,
    *nouns: str,
    about: Sequence[str] = (),
    like: str | None = None,
    marks: Mapping[str, str] = NO_MARKS,
) -> Question:
    """The question that a template makes of up to two nouns.

    Args:
        marks: what to put for marks like "<text>" that the form keeps.
        about: names of things to add to those among the nouns.
        like: the kind the wording belongs to, if it is another one.
    """
    if not nouns:
        text, form = template, template
    else:
        first = word(nouns[0])
        if len(nouns) == 1:
            text, form = template.format(**first.forms), template.format(**first.blotted)
        else:
            second = word(nouns[1])
            text = template.format(**first.forms, **second.others)
            form = template.format(**first.blotted, **second.blotted_others)
    for mark, value in marks.items():
        text = text.replace(mark, value)
    things = dict.fromkeys(name for name in (*nouns, *about) if name in PLURALS)
    return Question(kind, text, answer, f"{like or kind}:{form}", tuple(things))


def pick(items: Sequence[Picked], rng: Generator) -> Picked:
    """One of them; every one is as likely."""
    return items[int(rng.random() * len(items))]


def chance(rng: Generator, share: float) -> bool:
    """True in that share of the cases."""
    return float(rng.random()) < share


def yes_or_no(is_true: bool) -> str:
    """The answer in a word."""
    return "yes" if is_true else "no"
