"""Questions to scenes: answers written out by hand, balance, and every answer worked out again in another way."""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import cache

import numpy as np
import pytest

from skipcore.builtin.questions.questions import (
    DEFAULT_SHARES,
    KINDS,
    Question,
    ask,
    ask_several,
    every_answer,
    every_phrase,
    is_right,
    named,
    suggested,
)
from skipcore.builtin.scenes.sample import sample_scene
from skipcore.builtin.scenes.scene_record import Background, Item, Scene, Shape, Sign, Spot, Thing, noun
from skipcore.builtin.scenes.things import THINGS
from skipcore.builtin.scenes.vocabulary import COLORS, COUNT_WORDS
from skipcore.builtin.scenes.words import UNCLEAR, article, plural, short_name

GROUND = Background("plain", (240, 240, 240), (240, 240, 240), 0)
GROUPS = {
    kind.name: {"clothing": "piece of clothing", "instrument": "musical instrument"}.get(kind.group, kind.group)
    for kind in THINGS
}
PLACE_NAMES = (
    "at the top left", "at the top", "at the top right", "on the left", "in the middle", "on the right",
    "at the bottom left", "at the bottom", "at the bottom right",
)  # fmt: skip


def thing(name: str, x: float, y: float) -> Thing:
    return Thing(name, "noto", Spot(x, y, 0.2))


def shape(color: str, kind: str, x: float, y: float) -> Shape:
    return Shape(kind, color, COLORS[color], Spot(x, y, 0.2))


def sign(color: str, text: str, x: float, y: float) -> Sign:
    return Sign(text, "any", color, COLORS[color], (0, 0, 0), Spot(x, y, 0.28))


SCENES = {
    "corners": Scene(GROUND, (
        thing("dog", 0.15, 0.15), thing("cat", 0.85, 0.15), thing("cat", 0.85, 0.85),
        shape("red", "circle", 0.5, 0.5), sign("blue", "42", 0.15, 0.85),
    )),
    "row": Scene(GROUND, (thing("cat", 0.84, 0.5), shape("red", "star", 0.45, 0.5), thing("owl", 0.12, 0.52))),
    "one dog": Scene(GROUND, (thing("dog", 0.5, 0.15),)),
    "one shape": Scene(GROUND, (shape("orange", "cross", 0.5, 0.5),)),
    "one sign": Scene(GROUND, (sign("green", "STOP", 0.34, 0.5),)),
    "two signs": Scene(GROUND, (sign("green", "stop", 0.2, 0.5), sign("red", "go", 0.8, 0.5))),
    "loose": Scene(GROUND, (thing("panda", 0.2, 0.5), thing("apple", 0.8, 0.5))),
}  # fmt: skip
ANSWERS = [
    ("corners", "existence", {"is there a dog?": "yes", "is there a red circle?": "yes", "are there any signs?": "yes",
                              "are there any animals?": "yes", "is there a blue sign?": "yes",
                              "is there a star?": "no", "is there a blue circle?": "no",
                              "are there any vehicles?": "no"}),
    ("corners", "count", {"how many cats are there?": "two", "how many animals are there?": "three",
                          "how many things are there?": "five", "count the dogs.": "one",
                          "how many shapes do you see?": "one", "how many signs are there?": "one"}),
    ("corners", "color", {"what color is the circle?": "red", "what color is the sign?": "blue",
                           "what color is the shape in the middle?": "red",
                           "what color is the sign at the bottom left?": "blue"}),
    ("corners", "place", {"where is the dog?": "at the top left", "where is the circle?": "in the middle",
                          "what is at the bottom right?": "a cat", "what is at the bottom left?": "a blue sign",
                          "is the dog at the top left?": "yes", "is the dog at the bottom?": "no"}),
    ("corners", "relation", {"is the dog left of the sign?": None, "is the dog above the sign?": "yes",
                             "is the sign above the dog?": "no", "is the circle right of the dog?": "yes",
                             "what is left of the circle?": None, "where is the cat?": None}),
    ("corners", "comparison", {"are there more cats than dogs?": "yes", "are there more dogs than cats?": "no",
                               "what are there more of, dogs or cats?": "cats",
                               "are there as many animals as shapes?": "no",
                               "are there as many shapes as signs?": "yes",
                               "what are there more of, shapes or signs?": "equally many",
                               "are there more animals than shapes?": "yes"}),
    ("corners", "sign", {"what does the sign say?": "42", "what number is on the sign?": "42",
                         "read the blue sign.": "42", "does the sign say 42?": "yes",
                         "what word is on the sign?": None}),
    ("corners", "identity", {"what is the red shape?": "a circle", "what shape is red?": "a circle",
                             "what shape is this?": "a circle", "what animal is this?": None, "what is this?": None}),
    ("corners", "description", {
        "describe the picture.": "There are five things. From left to right: a dog, a blue sign that says 42, "
                                 "a red circle and two cats. The dog is at the top left."}),
    ("corners", "absent", {"what color is the triangle?": "there is no triangle",
                           "where is the star?": "there is no star", "where is the dog?": None}),
    ("row", "place", {"what is the leftmost thing?": "an owl", "what is furthest right?": "a cat",
                      "what is the highest thing?": None}),
    ("row", "relation", {"what is left of the star?": "an owl", "what is to the right of the star?": "a cat",
                         "what is right of the owl?": None, "what is nearest to the owl?": "a red star",
                         "what is nearest to the star?": None, "what is next to the owl?": "a red star",
                         "what is between the owl and the cat?": "a red star",
                         "what is above the star?": None, "is the owl above the cat?": None}),
    ("row", "absent", {"what does the sign say?": "there is no sign", "what color is the sign?": "there is no sign"}),
    ("row", "color", {"what color is the star?": "red", "what color is the shape?": "red"}),
    ("row", "description", {
        "what is in the picture?": "There are three things. From left to right: an owl, a red star and a cat. "
                                   "The owl is on the left."}),
    ("one dog", "identity", {"what is this?": "a dog", "what is in the picture?": "a dog",
                             "what animal is there?": "a dog"}),
    ("one dog", "description", {"describe this image.": "There is one thing: a dog. It is at the top.",
                                "what is in the picture?": None}),
    ("one shape", "identity", {"what is this?": "an orange cross", "what shape is orange?": "a cross"}),
    ("one sign", "identity", {"what is in the picture?": "a green sign that says stop"}),
    ("one sign", "description", {"what do you see?": "There is one thing: a green sign that says stop."}),
    ("two signs", "sign", {"what does the red sign say?": "go", "read the green sign.": "stop",
                           "what does the sign say?": None, "what number is on the red sign?": None}),
    ("loose", "existence", {"is there a bear?": None, "are there any plants?": None, "is there a panda?": "yes",
                            "is there any food?": None, "are there any food items?": "yes"}),
]  # fmt: skip


@cache
def asked(scene: str, kind: str) -> dict[str, str]:
    """The questions of many draws of one kind, without noise."""
    rng = np.random.default_rng(5)
    drawn = [ask(SCENES[scene], rng, {kind: 1.0}, clean=True) for _ in range(6000)]
    answers = {(question.text, question.answer) for question in drawn if question.kind == kind}
    assert len(dict(answers)) == len(answers), "one question, two answers"
    return dict(answers)


@pytest.mark.parametrize(
    ("scene", "kind", "text", "answer"),
    [(scene, kind, *pair) for scene, kind, answers in ANSWERS for pair in answers.items()],
)
def test_answers_written_out_by_hand(scene: str, kind: str, text: str, answer: str | None) -> None:
    """None: the question has no clear answer there, so nobody asks it."""
    assert asked(scene, kind).get(text) == answer


@cache
def scenes() -> list[Scene]:
    """Scenes as training draws them."""
    rng = np.random.default_rng(11)
    return [scene for scene in (sample_scene(rng) for _ in range(1200)) if scene.items]


@cache
def many() -> list[tuple[Scene, Question]]:
    """Questions to them, without noise."""
    rng = np.random.default_rng(12)
    return [(scene, ask(scene, rng, clean=True)) for scene in scenes() for _ in range(12)]


def fits(item: Item, name: str) -> bool:
    """Whether an item may be called so: worked out from the record alone."""
    if isinstance(item, Thing):
        return name in (item.name, GROUPS[item.name], "thing")
    names = [noun(item), short_name(item), "thing"]
    names += ["shape", f"{item.color} shape"] if isinstance(item, Shape) else [f"sign that says {item.text}"]
    return name in names


def those(scene: Scene, name: str) -> list[Item]:
    return [item for item in scene.items if fits(item, name)]


def the(scene: Scene, name: str) -> Item:
    (only,) = those(scene, name)
    return only


def on_side(item: Item, other: Item, side: str) -> bool:
    """Whether the other item is on that side of the item."""
    return {
        "left of": other.spot.x < item.spot.x, "to the left of": other.spot.x < item.spot.x,
        "right of": other.spot.x > item.spot.x, "to the right of": other.spot.x > item.spot.x,
        "above": other.spot.y < item.spot.y, "higher than": other.spot.y < item.spot.y,
        "below": other.spot.y > item.spot.y, "lower than": other.spot.y > item.spot.y,
    }[side]  # fmt: skip


SIDE = "(left of|to the left of|right of|to the right of|above|higher than|below|lower than)"


def worked_out(scene: Scene, text: str) -> str | None:
    """The answer to a question in one of the plainest wordings, from its text and the record alone."""
    if match := re.fullmatch(r"is there an? (.+)\?", text):
        return "yes" if those(scene, re.sub(" (anywhere|in the picture|in the image)$", "", match[1])) else "no"
    if match := re.fullmatch(r"how many (.+) are there\?", text):
        names = {name for item in scene.items for name in (noun(item), short_name(item))} | {"thing", "shape", "sign"}
        name = next((name for name in names if plural(name) == match[1]), None)
        return None if name is None else COUNT_WORDS[len(those(scene, name))]
    if match := re.fullmatch(r"where is the (.+)\?", text):
        name = match[1].removesuffix(" in the picture")
        if not those(scene, name):
            return f"there is no {name}"
        spot = the(scene, name).spot
        return PLACE_NAMES[3 * min(int(3 * spot.y), 2) + min(int(3 * spot.x), 2)]
    if match := re.fullmatch(rf"is the (.+?) {SIDE} the (?!picture\?)(.+?)(?: in the picture)?\?", text):
        for name in (match[1], match[3]):
            if not those(scene, name):
                return f"there is no {name}"
        return "yes" if on_side(the(scene, match[3]), the(scene, match[1]), match[2]) else "no"
    if match := re.fullmatch(rf"what is {SIDE} the (.+)\?", text):
        if not those(scene, match[2]):
            return f"there is no {match[2]}"
        item = the(scene, match[2])
        along = 0 if match[1].endswith(("left of", "right of")) else 1
        there = [each for each in scene.items if on_side(item, each, match[1])]
        found = max(there, key=lambda each: abs((each.spot.x - item.spot.x, each.spot.y - item.spot.y)[along]))
        return article(short_name(found))
    if match := re.fullmatch(r"what is (?:nearest|closest) to the (?!top edge|bottom edge)(.+)\?", text):
        if not those(scene, match[1]):
            return f"there is no {match[1]}"
        item = the(scene, match[1])
        others = [each for each in scene.items if each is not item]
        return article(short_name(min(others, key=lambda each: math.dist(
            (each.spot.x, each.spot.y), (item.spot.x, item.spot.y)))))  # fmt: skip
    return None


def test_answers_worked_out_again() -> None:
    checked: Counter[str] = Counter()
    for scene, question in many():
        answer = worked_out(scene, question.text)
        if answer is not None:
            assert question.answer == answer, (question, scene)
            checked[question.kind] += 1
    least = {"existence": 400, "count": 100, "place": 100, "relation": 150, "absent": 50}
    assert all(checked[kind] >= number for kind, number in least.items()), checked


def test_descriptions_name_every_item() -> None:
    for scene, question in many():
        if question.kind == "description":
            said = [f"{short_name(item)} that says {item.text}" if isinstance(item, Sign) else short_name(item)
                    for item in scene.items]  # fmt: skip
            assert named(question.answer) == Counter(said)
            assert is_right(question, question.answer)


def test_what_is_absent_is_not_there() -> None:
    for scene, question in many():
        if question.kind == "absent":
            missing = question.answer.removeprefix("there is no ")
            assert missing in question.text
            assert not those(scene, missing)
            assert not any(missing in UNCLEAR.get(noun(item), ()) for item in scene.items)


@pytest.mark.parametrize(
    ("kind", "draws", "off"),
    [("existence", 4000, 0.03), ("comparison", 4000, 0.03), ("relation", 4000, 0.03), ("place", 4000, 0.03),
     ("sign", 1500, 0.05)],
)  # fmt: skip
def test_yes_is_no_safer_than_no(kind: str, draws: int, off: float) -> None:
    rng = np.random.default_rng(3)
    pool = [scene for scene in scenes() if scene.signs or kind != "sign"]
    answers: Counter[str] = Counter()
    while answers.total() < draws:
        question = ask(pool[int(rng.integers(len(pool)))], rng, {kind: 1.0})
        if question.kind == kind and question.answer in ("yes", "no"):
            answers[question.answer] += 1
    assert abs(answers["yes"] / draws - 0.5) < off


def test_no_number_is_a_safe_guess() -> None:
    numbers = Counter(question.answer for _, question in many() if question.kind == "count")
    assert numbers["zero"] < 0.1 * numbers.total()
    assert max(numbers.values()) < 0.4 * numbers.total()


def test_the_same_state_asks_the_same() -> None:
    for scene in SCENES.values():
        first, again = (ask_several(scene, np.random.default_rng(7), 5) for _ in range(2))
        assert first == again
        assert len({question.text for question in first}) == len(first) >= 4


def test_kinds_and_what_questions_are_about() -> None:
    names = {kind.name for kind in THINGS}
    assert set(DEFAULT_SHARES) == set(KINDS) == {question.kind for _, question in many()}
    for _, question in many():
        assert names.issuperset(question.about)
        told = question.text if question.kind in ("absent", "sign") else f"{question.text} {question.answer.lower()}"
        mentioned = names.intersection(named(re.sub("(say|says|is|read) (books|fish|<text>)", "", told)))
        assert mentioned <= set(question.about), question
        assert not any(name in question.form.split() for name in names - {"watch"}), question.form


def test_an_empty_scene_is_refused() -> None:
    with pytest.raises(ValueError, match="without items"):
        ask(Scene(GROUND, ()), np.random.default_rng(0))


def test_suggestions_are_varied_and_clean() -> None:
    for scene in SCENES.values():
        questions = suggested(scene, np.random.default_rng(0))
        assert len(questions) == 6
        assert len({question.kind for question in questions}) >= 4
        assert all(question.text == question.text.lower() and question.text[-1] in "?." for question in questions)


def test_samples_of_all_wording() -> None:
    phrases, answers = every_phrase(), every_answer()
    assert max(len(phrases), len(answers)) < 6000
    words = set(re.findall(r"[a-z0-9']+", " ".join([*phrases, *answers]).lower()))
    for _, question in many():
        assert words.issuperset(re.findall(r"[a-z0-9']+", f"{question.text} {question.answer}".lower())), question
