"""Questions about what there is and how much of it: existence, count and comparison."""

from __future__ import annotations

from numpy.random import Generator

from skipcore.builtin.questions import phrasings
from skipcore.builtin.questions.question import Question, chance, compose, pick, yes_or_no
from skipcore.builtin.scenes.scene_record import Item, Shape, Thing
from skipcore.builtin.scenes.seen import TRIES, Seen, absent_like
from skipcore.builtin.scenes.vocabulary import COUNT_WORDS
from skipcore.builtin.scenes.words import GROUPS, calls, plural

ZERO_SHARE = 0.07
"""Of the questions how many there are, those about something that is not there."""
EVERYTHING_SHARE = 0.12
"""Of the same, those about all things of the scene."""
SEVERAL_SHARE = 0.75
"""Of the same, those about something there is more than one of, if there is."""
_GENERIC = {"shape": 0.03, "sign": 0.045}
"""How often the "no" of an existence question is to "is there a shape?": as often as the "yes"."""


def existence(seen: Seen, rng: Generator) -> Question | None:
    """Is there a dog? The answer is drawn first, so half of them are "yes"."""
    is_there = chance(rng, 0.5)
    for _ in range(TRIES):
        name = _present(seen, rng) if is_there else _missing(seen, rng)
        if name is not None:
            several = name in GROUPS or (name in ("shape", "sign") and chance(rng, 0.5))
            template = pick(phrasings.EXISTENCE_OF_SEVERAL if several else phrasings.EXISTENCE, rng)
            return compose("existence", template, yes_or_no(is_there), name)
    return None


def _level(item: Item, rng: Generator) -> int:
    """Which of an item's names to ask by: see `words.calls`."""
    draw = rng.random()
    if isinstance(item, Thing):
        return 0 if draw < 0.82 or len(calls(item)) == 1 else 1
    if isinstance(item, Shape):
        return 0 if draw < 0.45 else 1 if draw < 0.75 else 2 if draw < 0.92 else 3
    return 1 if draw < 0.35 else 0 if draw < 0.65 else 2


def _present(seen: Seen, rng: Generator) -> str:
    item = pick(seen.items, rng)
    return calls(item)[_level(item, rng)]


def _missing(seen: Seen, rng: Generator) -> str | None:
    for generic, share in _GENERIC.items():
        if seen.is_absent(generic) and chance(rng, share):
            return generic
    item = pick(seen.items, rng)
    return absent_like(seen, item, _level(item, rng), rng)


def count(seen: Seen, rng: Generator) -> Question | None:
    """How many dogs are there? Rather about what there is more than one of, so that "one" is no safe guess."""
    draw = rng.random()
    if draw < ZERO_SHARE:
        name = _missing(seen, rng)
        return None if name is None else _how_many(name, 0, rng)
    if draw < ZERO_SHARE + EVERYTHING_SHARE:
        return _how_many("thing", len(seen.items), rng)
    names = [
        name
        for name, number in seen.counts.items()
        if name not in seen.unclear and (number > 1 or not name.startswith("sign that"))
    ]
    several = [name for name in names if seen.counts[name] > 1]
    if not names or (not several and chance(rng, 0.5)):
        return None
    name = pick(several if several and chance(rng, SEVERAL_SHARE) else names, rng)
    return _how_many(name, seen.counts[name], rng)


def _how_many(name: str, number: int, rng: Generator) -> Question:
    return compose("count", pick(phrasings.COUNT, rng), COUNT_WORDS[number], name)


def _class_of(item: Item, level: int) -> str | None:
    """Which names are compared with one another: of things, of groups, of shapes' kinds, of shapes' colors."""
    if isinstance(item, Thing):
        return ("thing", "group")[level]
    if isinstance(item, Shape):
        return ("", "kind", "color", "group")[level] or None
    return "group" if level == 1 else None


def _comparable(seen: Seen, rng: Generator) -> dict[str, int]:
    """Names of one class with their numbers, some that are not there among them."""
    item = pick(seen.items, rng)
    level = _level(item, rng)
    its_class = _class_of(item, level)
    if its_class is None:
        return {}
    names = {
        name: seen.counts[name]
        for each in seen.items
        for number, name in enumerate(calls(each))
        if _class_of(each, number) == its_class and name not in seen.unclear
    }
    if len(names) < 2 or chance(rng, 0.3):
        other = absent_like(seen, item, level, rng)
        if other is not None:
            names[other] = 0
    return names


def comparison(seen: Seen, rng: Generator) -> Question | None:
    """Are there more dogs than cats? As many? Which are there more of? As many "yes" as "no" by construction."""
    names = list(_comparable(seen, rng).items())
    pairs = [(first, second) for first in names for second in names if first[0] < second[0]]
    unequal = [pair for pair in pairs if pair[0][1] != pair[1][1]]
    equal = [pair for pair in pairs if pair[0][1] == pair[1][1] > 0]
    draw = rng.random()
    if draw < 0.3:
        if not equal or not unequal:
            return None
        is_true = chance(rng, 0.5)
        (first, _), (second, _) = _shuffled(pick(equal if is_true else unequal, rng), rng)
        return compose("comparison", pick(phrasings.AS_MANY, rng), yes_or_no(is_true), first, second)
    if not unequal:
        return None
    less, more = sorted(pick(unequal, rng), key=lambda each: each[1])
    if draw < 0.7:
        if chance(rng, 0.5):
            return compose("comparison", pick(phrasings.MORE, rng), "yes", more[0], less[0])
        if equal and chance(rng, 0.4):
            less, more = _shuffled(pick(equal, rng), rng)
        return compose("comparison", pick(phrasings.MORE, rng), "no", less[0], more[0])
    if equal and chance(rng, 0.3):
        (first, _), (second, _) = _shuffled(pick(equal, rng), rng)
        return compose("comparison", pick(phrasings.WHICH_MORE, rng), "equally many", first, second)
    (first, _), (second, _) = _shuffled((less, more), rng)
    return compose("comparison", pick(phrasings.WHICH_MORE, rng), plural(more[0]), first, second)


def _shuffled(pair: tuple[tuple[str, int], tuple[str, int]], rng: Generator) -> tuple[tuple[str, int], tuple[str, int]]:
    return pair if chance(rng, 0.5) else (pair[1], pair[0])
