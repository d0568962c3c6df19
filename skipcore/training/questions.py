"""Questions to a scene's record, with answers in short words, each phrased in several ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import TypeVar

from numpy.random import Generator

from skipcore.training.scenes import COLOURS, COUNT_WORDS, EASY_VQA_COLOURS, EASY_VQA_KINDS, KINDS, Scene, Shape

Item = TypeVar("Item")
Question = tuple[str, str]
"""A question and its answer."""

PRESENT = (
    "is there a {} in the image?",
    "is there a {}?",
    "does the image contain a {}?",
    "is a {} present?",
)
PRESENT_PLAIN = (*PRESENT, "do you see a {}?", "is there a {} in the picture?", "can you see a {}?")
ABSENT = (
    "is there not a {} in the image?",
    "is there not a {}?",
    "does the image not contain a {}?",
    "is no {} present?",
)
EASY_COLOUR = (
    "what color is the {}?",
    "what is the color of the {}?",
)
COLOUR = (*EASY_COLOUR, "what colour is the {}?", "which color does the {} have?", "what color does the {} have?")
EASY_KIND = (
    "what shape is in the image?",
    "what shape does the image contain?",
    "what shape is present?",
)
KIND_OF_COLOUR = (
    "what is the {} shape?",
    "what shape is {}?",
    "which shape is {}?",
    "what is {}?",
    "what kind of shape is {}?",
)
COUNT = (
    "how many {} are there?",
    "how many {} do you see?",
    "how many {} are in the image?",
    "how many {} are there in the picture?",
    "count the {}.",
)
LIST_KINDS = ("which shapes do you see?", "what shapes are there?", "which shapes are in the picture?")
LIST_COLOURS = ("which colors do you see?", "what colors are there?", "what colors are in the image?")
DESCRIBE = (
    "describe the picture.",
    "describe the image.",
    "what is in the picture?",
    "what do you see?",
    "what is in the image?",
    "what does the picture show?",
)
PLACES = {
    "left": ("on the left", "furthest left", "leftmost"),
    "right": ("on the right", "furthest right", "rightmost"),
    "top": ("at the top", "highest", "topmost"),
    "bottom": ("at the bottom", "lowest", "bottommost"),
}
RELATIONS = ("left of", "right of", "above", "below")
CLEAR_DISTANCE = 0.06
"""Centres nearer than this share of the side are called neither left nor right, above nor below, of each other."""


@dataclass(frozen=True)
class SceneShares:
    """Which questions are put to scenes; the shares add up to 1.

    Raises:
        ValueError: only questions are left to which some scenes have no clear answer.
    """

    presence: float = 0.26
    count: float = 0.2
    colour: float = 0.13
    kind: float = 0.11
    place: float = 0.1
    relation: float = 0.06
    listing: float = 0.06
    description: float = 0.08

    def __post_init__(self) -> None:
        if self.presence + self.count + self.listing + self.description == 0:
            raise ValueError("Leave a share to presence, count, listing or description: every scene can answer them.")


EVERY_QUESTION = SceneShares()


def ask(scene: Scene, rng: Generator, shares: SceneShares = EVERY_QUESTION) -> Question:
    """One random question that has a true and clear answer in this scene."""
    makers = (_presence, _count, _colour, _kind, _place, _relation, _list, _describe)
    weights = astuple(shares)
    while True:
        question = makers[rng.choice(len(makers), p=weights)](scene, rng)
        if question is not None:
            return in_some_case(question[0], rng), question[1]


@dataclass(frozen=True)
class EasyShares:
    """Which questions are put to easy scenes; as they stand, about those of easy-VQA.

    Attributes:
        what: the share of what-questions; the others are to be answered with yes or no.
        what_kind: of the what-questions, the share about the shape's kind; the others are about its colour.
        whether_kind: the same of the yes-or-no questions.
    """

    what: float = 0.26
    what_kind: float = 0.5
    whether_kind: float = 0.27


AS_EASY_VQA = EasyShares()


def ask_easy(scene: Scene, rng: Generator, shares: EasyShares = AS_EASY_VQA) -> Question:
    """One question as easy-VQA asks them, about the one shape of an easy scene."""
    shape = scene.shapes[0]
    draw = rng.random()
    if draw < shares.what * (1 - shares.what_kind):
        return _pick(EASY_COLOUR, rng).format(_pick((shape.kind, "shape"), rng)), shape.colour
    if draw < shares.what:
        return _pick((*EASY_KIND, f"what is the {shape.colour} shape?"), rng), shape.kind
    is_true = rng.random() < 0.5
    if rng.random() < 1 - shares.whether_kind:
        others = [colour for colour in EASY_VQA_COLOURS if colour != shape.colour]
        thing = f"{shape.colour if is_true else _pick(others, rng)} shape"
    else:
        thing = shape.kind if is_true else _pick([kind for kind in EASY_VQA_KINDS if kind != shape.kind], rng)
    return _yes_or_no(thing, is_true, rng, negated=rng.random() < 0.5)


def every_phrase() -> list[str]:
    """All words and phrases the questions are made of, for the tokenizer to learn."""
    templates = [*PRESENT_PLAIN, *ABSENT, *COLOUR, *EASY_KIND, *KIND_OF_COLOUR, *COUNT]
    templates += [*LIST_KINDS, *LIST_COLOURS, *DESCRIBE]
    templates += [f"what shape is {first}, {second} or {third}?" for first, second, third in PLACES.values()]
    templates += [f"is the {{}} {relation} the star?" for relation in RELATIONS]
    things = [f"{colour} {kind}" for colour in COLOURS for kind in (*KINDS, "shape")]
    return [template.format(thing) for template in templates for thing in things]


def every_answer() -> list[str]:
    """All words and phrases the answers are made of, for the tokenizer to learn."""
    things = [f"{_article(colour)} {colour} {kind}" for colour in COLOURS for kind in KINDS]
    return [
        "yes",
        "no",
        *KINDS,
        *COLOURS,
        *COUNT_WORDS,
        _joined(things),
        *(_joined([thing, thing]) for thing in things),
    ]


def _presence(scene: Scene, rng: Generator) -> Question:
    """Is there such a thing? Half of the answers are yes; wrong things borrow colours and kinds from the scene."""
    shape, other = _pick(scene.shapes, rng), _pick(scene.shapes, rng)
    is_about = rng.integers(3)
    colour, kind = shape.colour, shape.kind
    if rng.random() < 0.5:
        colour = other.colour if rng.random() < 0.3 else _pick(tuple(COLOURS), rng)
        kind = kind if rng.random() < 0.5 else _pick(KINDS, rng)
        if is_about == 1:
            kind = _pick(KINDS, rng)
    if is_about == 0:
        thing, is_true = f"{colour} shape", any(each.colour == colour for each in scene.shapes)
    elif is_about == 1:
        thing, is_true = kind, any(each.kind == kind for each in scene.shapes)
    else:
        thing, is_true = f"{colour} {kind}", any(each.name == f"{colour} {kind}" for each in scene.shapes)
    return _yes_or_no(thing, is_true, rng, negated=rng.random() < 0.2)


def _yes_or_no(thing: str, is_true: bool, rng: Generator, negated: bool) -> Question:
    question = _pick(ABSENT if negated else PRESENT_PLAIN, rng).format(thing)
    return question.replace("a orange", "an orange"), "yes" if is_true != negated else "no"


def _count(scene: Scene, rng: Generator) -> Question:
    """How many shapes, shapes of a kind, or shapes of a colour?"""
    draw = rng.random()
    if draw < 0.4:
        things, number = "shapes", len(scene.shapes)
        if rng.random() < 0.2:
            things = "things"
    elif draw < 0.75:
        kind = _pick(scene.shapes, rng).kind if rng.random() < 0.75 else _pick(KINDS, rng)
        things, number = f"{kind}s", sum(shape.kind == kind for shape in scene.shapes)
    else:
        colour = _pick(scene.shapes, rng).colour if rng.random() < 0.75 else _pick(tuple(COLOURS), rng)
        things, number = f"{colour} shapes", sum(shape.colour == colour for shape in scene.shapes)
    return _pick(COUNT, rng).format(things), COUNT_WORDS[number]


def _colour(scene: Scene, rng: Generator) -> Question | None:
    """The colour of the only shape, or of the only one of its kind."""
    shape = _pick(scene.shapes, rng)
    if len(scene.shapes) == 1 and rng.random() < 0.4:
        return _pick(COLOUR, rng).format("shape"), shape.colour
    if sum(each.kind == shape.kind for each in scene.shapes) > 1:
        return None
    return _pick(COLOUR, rng).format(shape.kind), shape.colour


def _kind(scene: Scene, rng: Generator) -> Question | None:
    """The kind of the only shape, or of the only one of its colour."""
    shape = _pick(scene.shapes, rng)
    if len(scene.shapes) == 1 and rng.random() < 0.4:
        return _pick(EASY_KIND, rng), shape.kind
    if sum(each.colour == shape.colour for each in scene.shapes) > 1:
        return None
    return _pick(KIND_OF_COLOUR, rng).format(shape.colour), shape.kind


def _place(scene: Scene, rng: Generator) -> Question | None:
    """Which shape, or what colour, is outermost on one side?"""
    side = _pick(tuple(PLACES), rng)
    sign = -1 if side in ("right", "bottom") else 1
    ordered = sorted(scene.shapes, key=lambda shape: sign * (shape.x if side in ("left", "right") else shape.y))
    if len(ordered) < 2 or not _is_apart(ordered[0], ordered[1], side in ("left", "right")):
        return None
    place, first = _pick(PLACES[side], rng), ordered[0]
    if place.endswith("most"):
        kind_question, colour_question = f"what is the {place} shape?", f"what color is the {place} shape?"
    else:
        kind_question, colour_question = f"what shape is {place}?", f"what color is the shape {place}?"
    return (kind_question, first.kind) if rng.random() < 0.5 else (colour_question, first.colour)


def _relation(scene: Scene, rng: Generator) -> Question | None:
    """Is one shape left of, right of, above or below another? Both must be the only ones of their name."""
    if len(scene.shapes) < 2:
        return None
    first, second = (scene.shapes[index] for index in rng.choice(len(scene.shapes), 2, replace=False))
    names = [shape.name for shape in scene.shapes]
    relation = _pick(RELATIONS, rng)
    sideways = relation in ("left of", "right of")
    if names.count(first.name) > 1 or names.count(second.name) > 1 or not _is_apart(first, second, sideways):
        return None
    is_before = first.x < second.x if sideways else first.y < second.y
    is_true = is_before == (relation in ("left of", "above"))
    return f"is the {first.name} {relation} the {second.name}?", "yes" if is_true else "no"


def _list(scene: Scene, rng: Generator) -> Question:
    """Which kinds, or which colours, are there? Answered in the fixed order of `KINDS` and `COLOURS`."""
    if rng.random() < 0.5:
        kinds = {shape.kind for shape in scene.shapes}
        return _pick(LIST_KINDS, rng), _joined([kind for kind in KINDS if kind in kinds])
    colours = {shape.colour for shape in scene.shapes}
    return _pick(LIST_COLOURS, rng), _joined([colour for colour in COLOURS if colour in colours])


def _describe(scene: Scene, rng: Generator) -> Question:
    """Every shape, from left to right."""
    things = [f"{_article(shape.name)} {shape.name}" for shape in scene.left_to_right]
    return _pick(DESCRIBE, rng), _joined(things)


def _is_apart(first: Shape, second: Shape, sideways: bool) -> bool:
    return abs(first.x - second.x if sideways else first.y - second.y) > CLEAR_DISTANCE


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


def _joined(words: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def in_some_case(question: str, rng: Generator) -> str:
    """The question as it is (mostly), with a capital, in capitals, or without its last sign."""
    draw = rng.random()
    if draw < 0.2:
        return question[0].upper() + question[1:]
    if draw < 0.25:
        return question.upper()
    return question[:-1] if draw < 0.29 else question


def _pick(items: Sequence[Item], rng: Generator) -> Item:
    return items[int(rng.integers(len(items)))]
