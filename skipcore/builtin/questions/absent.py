"""Questions about something that is not there, worded as if it were: only looking tells."""

from __future__ import annotations

from numpy.random import Generator

from skipcore.builtin.questions import phrasings
from skipcore.builtin.questions.question import Question, chance, compose, pick
from skipcore.builtin.questions.relations import SIDES, WHATS, WHETHERS
from skipcore.builtin.scenes.scene_record import Item, Shape, Sign, Thing
from skipcore.builtin.scenes.seen import Seen, absent_like
from skipcore.builtin.scenes.vocabulary import SHAPE_KINDS
from skipcore.builtin.scenes.words import word


def absent(seen: Seen, rng: Generator) -> Question | None:
    """Where is the dog? There is no dog."""
    draw = rng.random()
    if draw < 0.25:
        return _color(seen, rng)
    if draw < 0.4:
        return _sign(seen, rng)
    item = pick(seen.items, rng)
    name = absent_like(seen, item, _level(item, rng), rng)
    if name is None:
        return None
    if draw < 0.7:
        return _deny("place", pick(phrasings.WHERE, rng), name, name)
    return _relation(seen, name, rng)


def _level(item: Item, rng: Generator) -> int:
    """By which of its names the missing item is asked for: see `words.calls`."""
    if isinstance(item, Thing):
        return 0
    if isinstance(item, Shape):
        return 0 if chance(rng, 0.6) else 1
    return 0 if chance(rng, 0.7) else 2


def _deny(like: str, template: str, name: str, *nouns: str) -> Question:
    return compose("absent", template, f"there is no {word(name).forms['noun']}", *nouns, like=like)


def _color(seen: Seen, rng: Generator) -> Question | None:
    names = [name for name in (*SHAPE_KINDS, "shape", "sign") if seen.is_absent(name)]
    if not names:
        return None
    name = pick(names, rng)
    return _deny("color", pick(phrasings.COLOR, rng), name, name)


def _sign(seen: Seen, rng: Generator) -> Question | None:
    """Of no sign at all, or of a color that none has."""
    name: str | None = "sign"
    signs = [item for item in seen.items if isinstance(item, Sign)]
    if signs:
        name = absent_like(seen, pick(signs, rng), 0, rng)
    if name is None:
        return None
    draw = rng.random()
    templates = phrasings.READ_NUMBER if draw < 0.2 else phrasings.READ_WORD if draw < 0.4 else phrasings.READ_SIGN
    return _deny("sign", pick(templates, rng), name, name)


def _relation(seen: Seen, name: str, rng: Generator) -> Question | None:
    draw = rng.random()
    if draw < 0.4:
        return _deny("relation", pick(WHATS[pick(SIDES, rng)], rng), name, name)
    if draw < 0.7:
        return _deny("relation", pick(phrasings.NEAREST, rng), name, name)
    other = seen.reference(pick(seen.items, rng), rng)
    if other is None:
        return None
    first, second = (name, other) if chance(rng, 0.5) else (other, name)
    templates = phrasings.BETWEEN if draw > 0.92 else WHETHERS[pick(SIDES, rng)]
    return _deny("relation", pick(templates, rng), name, first, second)
