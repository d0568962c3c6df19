"""Questions about where items are, in the picture and to one another."""

from __future__ import annotations

import math

from numpy.random import Generator

from skipcore.builtin.questions import phrasings
from skipcore.builtin.questions.question import Question, chance, compose, pick, yes_or_no
from skipcore.builtin.scenes.scene_record import Item, Thing
from skipcore.builtin.scenes.seen import Seen, alone_at, cell, may_be_at
from skipcore.builtin.scenes.words import article, short_name

CLEAR_DISTANCE = 0.08
"""Centers nearer than this along an axis are called neither left nor right, above nor below, of each other."""
SAME_LINE = 0.02
"""What is off by less than this along an axis is on the same line to anybody."""
NEARER = 1.3
"""The nearest item must be this many times nearer than the next one."""
NEXT_TO = 0.45
"""What is further away than this share of the picture is not next to anything."""
WHATS = {
    side: phrasings.with_words(phrasings.WHAT_RELATED, "<relation>", relations)
    for side, relations in phrasings.RELATIONS.items()
}
WHETHERS = {
    side: phrasings.with_words(phrasings.WHETHER_RELATED, "<relation>", relations)
    for side, relations in phrasings.RELATIONS.items()
}
MIDDLE = 4
LIKELY_PLACES = (*range(9), 1, 3, 5, 7, MIDDLE, MIDDLE)
"""Untrue places are drawn from these, so that no place is a safe "yes" or "no"."""
SIDES = tuple(phrasings.RELATIONS)


def place(seen: Seen, rng: Generator) -> Question | None:
    """Where is the dog? What is there? Is it there? What is the leftmost thing?"""
    draw = rng.random()
    if draw < 0.2:
        return _outermost(seen, rng)
    item = pick(seen.items, rng)
    number = cell(item.spot)
    if number is None:
        return None
    if draw < 0.45:
        if alone_at(seen.items, number) is not item:
            return None
        template = pick(phrasings.WHAT_THERE, rng).replace("<place>", phrasings.PLACES[number])
        return _answered_by("place", template, item)
    name = seen.reference(item, rng)
    if name is None:
        return None
    if draw < 0.75:
        if number == MIDDLE and chance(rng, 0.5):
            return None  # large things stand there most of the time
        return compose("place", pick(phrasings.WHERE, rng), phrasings.PLACES[number], name)
    is_true = chance(rng, 0.5)
    if not is_true:
        number = pick([other for other in LIKELY_PLACES if not may_be_at(item.spot, other)], rng)
    template = pick(phrasings.WHETHER_THERE, rng).replace("<place>", phrasings.PLACES[number])
    return compose("place", template, yes_or_no(is_true), name)


def _answered_by(kind: str, template: str, item: Item, *nouns: str) -> Question:
    """A question whose answer is an item."""
    about = (item.name,) if isinstance(item, Thing) else ()
    return compose(kind, template, article(short_name(item)), *nouns, about=about)


def _outermost(seen: Seen, rng: Generator) -> Question | None:
    """The item furthest to one side, if no other comes near to that."""
    if len(seen.items) < 2:
        return None
    side = pick(tuple(phrasings.OUTERMOST), rng)
    far = {"left": lambda spot: spot.x, "right": lambda spot: -spot.x,
           "top": lambda spot: spot.y, "bottom": lambda spot: -spot.y}[side]  # fmt: skip
    first, second = sorted(seen.items, key=lambda item: far(item.spot))[:2]
    if far(second.spot) - far(first.spot) <= CLEAR_DISTANCE:
        return None
    return _answered_by("place", pick(phrasings.OUTERMOST[side], rng), first)


def relation(seen: Seen, rng: Generator) -> Question | None:
    """Is the dog left of the cat? What is left of it, between them, nearest to it?"""
    if len(seen.items) < 2:
        return None
    item = pick(seen.items, rng)
    name = seen.reference(item, rng)
    if name is None:
        return None
    draw = rng.random()
    if draw < 0.4:
        return _whether(seen, item, name, rng)
    if draw < 0.7:
        return _what(seen, item, name, rng)
    return _between(seen, item, name, rng) if draw < 0.82 else _nearest(seen, item, name, rng)


def offset(item: Item, other: Item, side: str) -> float:
    """How far the other item is to that side of an item."""
    is_sideways = side in ("left", "right")
    distance = other.spot.x - item.spot.x if is_sideways else other.spot.y - item.spot.y
    return distance if side in ("right", "below") else -distance


def _whether(seen: Seen, item: Item, name: str, rng: Generator) -> Question | None:
    """Half are true: the side is drawn, and the order of the two tells whether it is the right one."""
    other = pick(seen.items, rng)
    other_name = seen.reference(other, rng)
    sideways = chance(rng, 0.5)
    sides = ("left", "right") if sideways else ("above", "below")
    if other is item or other_name is None or abs(offset(item, other, sides[0])) <= CLEAR_DISTANCE:
        return None
    is_true = chance(rng, 0.5)
    side = sides[(offset(other, item, sides[1]) > 0) == is_true]
    return compose("relation", pick(WHETHERS[side], rng), yes_or_no(is_true), name, other_name)


def _what(seen: Seen, item: Item, name: str, rng: Generator) -> Question | None:
    """What is left of the dog? Only if one item is clearly so, and no other nearly."""
    side = pick(SIDES, rng)
    there = [other for other in seen.items if other is not item and offset(item, other, side) > SAME_LINE]
    if len(there) != 1 or offset(item, there[0], side) <= CLEAR_DISTANCE:
        return None
    return _answered_by("relation", pick(WHATS[side], rng), there[0], name)


def _between(seen: Seen, item: Item, name: str, rng: Generator) -> Question | None:
    """What is between the two? An item near the line from the one to the other, with no second one around."""
    other = pick(seen.items, rng)
    other_name = seen.reference(other, rng)
    if other is item or other_name is None:
        return None
    across, down = other.spot.x - item.spot.x, other.spot.y - item.spot.y
    length = math.hypot(across, down)
    if length < 0.3:
        return None
    around: list[tuple[float, float, Item]] = []
    for third in seen.items:
        if third is not item and third is not other:
            from_x, from_y = third.spot.x - item.spot.x, third.spot.y - item.spot.y
            along = (from_x * across + from_y * down) / length**2
            aside = abs(from_x * down - from_y * across) / length
            if 0.08 < along < 0.92 and aside < 0.22:
                around.append((along, aside, third))
    if len(around) != 1 or not 0.22 < around[0][0] < 0.78 or around[0][1] > 0.1:
        return None
    return _answered_by("relation", pick(phrasings.BETWEEN, rng), around[0][2], name, other_name)


def _nearest(seen: Seen, item: Item, name: str, rng: Generator) -> Question | None:
    """The item nearest to another one, if it is so by far."""
    others = [
        (math.hypot(other.spot.x - item.spot.x, other.spot.y - item.spot.y), number)
        for number, other in enumerate(seen.items)
        if other is not item
    ]
    others.sort()
    if others[0][0] > NEXT_TO or (len(others) > 1 and others[1][0] < NEARER * others[0][0]):
        return None
    return _answered_by("relation", pick(phrasings.NEAREST, rng), seen.items[others[0][1]], name)
