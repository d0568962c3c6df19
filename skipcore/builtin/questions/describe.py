"""Descriptions of a whole scene."""

from __future__ import annotations

from itertools import groupby

from numpy.random import Generator

from skipcore.builtin.questions import phrasings
from skipcore.builtin.questions.question import Question, compose, pick
from skipcore.builtin.scenes.scene_record import Item
from skipcore.builtin.scenes.seen import Seen, cell
from skipcore.builtin.scenes.vocabulary import COUNT_WORDS
from skipcore.builtin.scenes.words import article, joined, long_name, plural, short_name


def description(seen: Seen, rng: Generator) -> Question:
    """Describe the picture: how many things there are, each of them from left to right, and where one of them is."""
    templates = phrasings.DESCRIBE if len(seen.items) == 1 else phrasings.DESCRIBE_SEVERAL
    about = [short_name(item) for item in seen.items]
    return compose("description", pick(templates, rng), describe(seen), about=about)


def describe(seen: Seen) -> str:
    """ "There are two things. From left to right: a dog and a red circle. The dog is on the left." """
    items = sorted(seen.items, key=lambda item: item.spot.x)
    if len(items) == 1:
        number = cell(items[0].spot)
        where = "" if number is None else f" It is {phrasings.PLACES[number]}."
        return f"There is one thing: {article(long_name(items[0]))}.{where}"
    names = [_several(name, len(list(run))) for name, run in groupby(long_name(item) for item in items)]
    listed = f"There are {COUNT_WORDS[len(items)]} things. From left to right: {joined(names)}."
    return f"{listed}{_one_place(seen, items)}"


def _several(name: str, number: int) -> str:
    if number == 1:
        return article(name)
    noun, _, said = name.partition(" that says ")
    return f"{COUNT_WORDS[number]} {plural(noun)}" + (f" that say {said}" if said else "")


def _one_place(seen: Seen, items: list[Item]) -> str:
    """Where the first item is that has a name of its own and a clear place."""
    for item in items:
        number, name = cell(item.spot), short_name(item)
        if number is not None and seen.is_only(name):
            return f" The {name} is {phrasings.PLACES[number]}."
    return ""
