"""The pictures of each split and the questions to them: the same ones on every machine, drawn only when needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

import numpy as np
from numpy.random import Generator
from PIL import Image

from skipcore.builtin.questions.questions import Question, ask_several
from skipcore.builtin.scenes.draw import draw
from skipcore.builtin.scenes.easy_scenes import COLORS, KINDS
from skipcore.builtin.scenes.easy_vqa import Picture, load_split
from skipcore.builtin.scenes.sample import sample_scene
from skipcore.builtin.scenes.scene_record import Scene
from skipcore.builtin.scenes.splits import (
    Split,
    cell_of,
    is_pair_held_out,
    is_place_held_out,
    seed_of,
)
from skipcore.builtin.scenes.world_file import World, scenes_world
from skipcore.builtin.training.untrained import IMAGE_SIDE
from skipcore.errors import InputError

EASY_VQA = "easy-vqa"
SPLIT_NAMES = ("validation", "test", "combinations", "style", EASY_VQA)
DEFAULT_SPLITS = SPLIT_NAMES[1:]
"""All but "validation", which is for steering."""
ABOUT_THINGS = ("combinations", "style")
SCENE_QUESTIONS = 2000
"""Questions to each split of scenes where no number is given."""
QUESTIONS_A_PICTURE = 4
NOT_SQUARE = 0.25
"""The share of scenes drawn wide or high, which the processor squeezes to a square."""
LONGEST_RATIO = 1.6
RELATIONS_TRIED = 12
"""Few pairs are held out, so the split "combinations" asks about many and keeps those."""


@dataclass(frozen=True, eq=False)
class AskedPicture:
    """One picture and the questions to it.

    Attributes:
        draw: paints the picture, RGB of any size.
        questions: at least one.
        is_exact: whether an answer is right only if it is the true one to the letter.
    """

    draw: Callable[[], Image.Image]
    questions: tuple[Question, ...]
    is_exact: bool = False


def asked_pictures(split: str, num_questions: int | None = None, world: World | None = None) -> list[AskedPicture]:
    """A split's pictures with so many questions in all; without a number 2,000 to scenes, to easy-VQA all there are.

    Args:
        split: one of `SPLIT_NAMES`.
        num_questions: in all.
        world: what scenes may hold and questions may name; None: everything that scenes can show.

    Raises:
        InputError: there is no such split, the number is below 1, or nothing of the split lies within the world.
    """
    if num_questions is not None and num_questions < 1:
        raise InputError(f"The number of questions must be at least 1, not {num_questions}.")
    if split == EASY_VQA:
        pictures = easy_vqa_pictures(in_order=num_questions is None)
        return _first(iter(pictures), num_questions or sum(len(each.questions) for each in pictures))
    if split not in SPLIT_NAMES:
        raise InputError(f"There is no split '{split}'. Take one of {', '.join(SPLIT_NAMES)}.")
    return _first(_scenes(split, world or scenes_world()), num_questions or SCENE_QUESTIONS)  # type: ignore[arg-type]


def scene_questions(
    split: Split, scene: Scene, rng: Generator, foreign: frozenset[str] = frozenset()
) -> tuple[Question, ...]:
    """Up to four questions to a scene of a split; `foreign` are names of things they do not name.

    In "combinations" only those that touch what is held out, in "style" only those about things; there may be none.
    """
    if split == "combinations":  # no other kinds can touch what is held out
        asked = ask_several(scene, rng, RELATIONS_TRIED, {"relation": 1.0}, foreign)
        asked += ask_several(scene, rng, QUESTIONS_A_PICTURE, {"place": 1.0}, foreign)
        return tuple(each for each in asked if touches_held_out(each, scene))[:QUESTIONS_A_PICTURE]
    asked = ask_several(scene, rng, QUESTIONS_A_PICTURE, None, foreign)
    return tuple(each for each in asked if split != "style" or each.about)


def touches_held_out(question: Question, scene: Scene) -> bool:
    """Whether a question asks for a place that is held out for the thing there, or for a pair in a relation."""
    about = question.about
    if question.kind == "place":
        return any(
            thing.name in about and is_place_held_out(thing.name, cell_of(thing.spot.x, thing.spot.y))
            for thing in scene.things
        )
    return question.kind == "relation" and any(
        is_pair_held_out(first, second) for number, first in enumerate(about) for second in about[number + 1 :]
    )


def easy_vqa_pictures(in_order: bool = True) -> list[AskedPicture]:
    """easy-VQA's test pictures with all their questions; in the order of their numbers, or shuffled."""
    pictures = load_split("test")
    order = range(len(pictures)) if in_order else np.random.default_rng(0).permutation(len(pictures)).tolist()
    asked = []
    for number in order:
        questions = tuple(easy_question(text, answer) for text, answer in pictures[number].questions)
        asked.append(AskedPicture(partial(_easy_picture, pictures[number]), questions, is_exact=True))
    return asked


def easy_question(text: str, answer: str) -> Question:
    """A question of easy-VQA; its form has every color and shape blotted out."""
    names = {**dict.fromkeys(COLORS, "COLOR"), **dict.fromkeys(KINDS, "KIND")}
    kind = "yes or no" if answer in ("yes", "no") else "color" if answer in COLORS else "shape"
    form = " ".join(names.get(word, word) for word in text.rstrip("?").split())
    return Question(kind, text, answer, f"{EASY_VQA}:{form}")


def _scenes(split: Split, world: World) -> Iterator[AskedPicture]:
    """The scenes of a split without end; those to which nothing can be asked are left out."""
    contents = world.contents()
    if contents is None or (split in ABOUT_THINGS and not contents.thing):
        raise InputError(f"Nothing of the split '{split}' lies within what the model was trained on: leave it out.")
    for index in count():
        rng = np.random.default_rng(seed_of(split, index))
        scene = sample_scene(rng, split, contents)
        questions = scene_questions(split, scene, rng, contents.foreign)
        if known := tuple(question for question in questions if world.knows(question)):
            width, height = _picture_size(rng)
            yield AskedPicture(partial(draw, scene, width, height), known)


def _picture_size(rng: Generator) -> tuple[int, int]:
    if rng.random() >= NOT_SQUARE:
        return IMAGE_SIDE, IMAGE_SIDE
    longer = round(IMAGE_SIDE * float(rng.uniform(1.05, LONGEST_RATIO)))
    return (longer, IMAGE_SIDE) if rng.random() < 0.5 else (IMAGE_SIDE, longer)


def _easy_picture(picture: Picture) -> Image.Image:
    return Image.fromarray(picture.pixels)


def _first(pictures: Iterator[AskedPicture], num_questions: int) -> list[AskedPicture]:
    """The first pictures, with exactly so many questions in all where there are as many."""
    chosen: list[AskedPicture] = []
    for each in pictures:
        questions = each.questions[:num_questions]
        chosen.append(replace(each, questions=questions))
        num_questions -= len(questions)
        if num_questions == 0:
            break
    return chosen
