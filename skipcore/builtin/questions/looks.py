"""Questions about single items: their color, what they are, and what signs say."""

from __future__ import annotations

from numpy.random import Generator

from skipcore.builtin.questions import phrasings
from skipcore.builtin.questions.question import Question, chance, compose, pick, yes_or_no
from skipcore.builtin.scenes.scene_record import Shape, Sign, Thing
from skipcore.builtin.scenes.seen import Seen, alone_at, cell, other_text
from skipcore.builtin.scenes.words import article, calls, group_noun, long_name


def color(seen: Seen, rng: Generator) -> Question | None:
    """What color is the circle? Only of shapes and signs: things have more than one."""
    colored = [item for item in seen.items if isinstance(item, Shape | Sign)]
    if not colored:
        return None
    item = pick(colored, rng)
    names = [name for name in calls(item) if not name.startswith(item.color) and seen.is_only(name)]
    if names and chance(rng, 0.75):
        return compose("color", pick(phrasings.COLOR, rng), item.color, pick(names, rng))
    place = cell(item.spot)
    alike = tuple(each for each in colored if type(each) is type(item))
    if place is None or alone_at(alike, place) is not item:
        return None
    template = pick(phrasings.COLOR_THERE, rng).replace("<place>", phrasings.PLACES[place])
    return compose("color", template, item.color, "shape" if isinstance(item, Shape) else "sign")


def sign(seen: Seen, rng: Generator) -> Question | None:
    """What does the sign say? Does it say so?"""
    signs = [item for item in seen.items if isinstance(item, Sign)]
    if not signs:
        return None
    item = pick(signs, rng)
    names = [name for name in ("sign", f"{item.color} sign") if seen.is_only(name)]
    if not names:
        return None
    name, text = names[0] if chance(rng, 0.8) else names[-1], item.text.lower()
    draw = rng.random()
    if draw < 0.2:
        is_true = chance(rng, 0.5)
        said = text if is_true else other_text(item, rng)
        marks = {"<text>": said}
        return compose("sign", pick(phrasings.WHETHER_SAYS, rng), yes_or_no(is_true), name, marks=marks)
    if draw < 0.5:
        template = pick(phrasings.READ_NUMBER if item.is_number else phrasings.READ_WORD, rng)
    else:
        template = pick(phrasings.READ_SIGN, rng)
    return compose("sign", template, text, name)


def identity(seen: Seen, rng: Generator) -> Question | None:
    """What is this? What animal is there? What is the red shape?"""
    if len(seen.items) == 1 and chance(rng, 0.5):
        name = long_name(seen.items[0])
        return compose("identity", pick(phrasings.WHAT_IS_THIS, rng), article(name), about=calls(seen.items[0])[:1])
    item = pick(seen.items, rng)
    if isinstance(item, Thing):
        group = group_noun(item.name)
        if group is None or not seen.is_only(group):
            return None
        return compose("identity", pick(phrasings.WHICH_OF_GROUP, rng), article(item.name), group, about=(item.name,))
    if isinstance(item, Sign):
        return None
    answer = article(item.kind)
    if seen.is_only("shape") and chance(rng, 0.4):
        return compose("identity", pick(phrasings.WHICH_OF_GROUP, rng), answer, "shape")
    if not seen.is_only(f"{item.color} shape"):
        return None
    if chance(rng, 0.5):
        marks = {"<color>": item.color}
        return compose("identity", pick(phrasings.WHAT_SHAPE_OF_COLOR, rng), answer, marks=marks)
    return compose("identity", pick(phrasings.WHAT_SHAPE, rng), answer, f"{item.color} shape")
