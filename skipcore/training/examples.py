"""Scenes by number, with questions and their true answers; and the example pictures of the page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from skipcore.errors import InputError
from skipcore.training.easy_scenes import draw_easy, sample_easy_scene
from skipcore.training.scenes.draw import draw
from skipcore.training.scenes.questions import Question, suggested
from skipcore.training.scenes.sample import sample_scene
from skipcore.training.scenes.splits import seed_of

SIZES = ((480, 480), (640, 416), (416, 560))
"""Width and height: square, wide and high pictures."""
SHARES = (0.6, 0.2, 0.2)
SIDE = 480
NUMBERS = 100_000
"""Scenes have numbers from 0 to this, exclusive."""


@dataclass(frozen=True)
class NumberedScene:
    """A scene of the test split, which training never shows.

    Attributes:
        number: the same number gives the same picture and questions everywhere.
        questions: several, of different kinds, with their true answers.
    """

    number: int
    picture: Image.Image
    questions: tuple[Question, ...]


def numbered_scene(number: int, questions: int = 6) -> NumberedScene:
    """The scene of a number, with up to that many questions.

    Raises:
        InputError: the number is out of range, or the sprites are missing.
    """
    if not 0 <= number < NUMBERS:
        raise InputError(f"Scenes have numbers from 0 to {NUMBERS - 1:,}: choose one of them.")
    rng = np.random.default_rng(seed_of("test", number))
    scene = sample_scene(rng, "test")
    width, height = SIZES[int(rng.choice(len(SIZES), p=SHARES))]
    # clean wordings are in lower case, where an "i" of its own looks like a slip
    asked = [question for question in suggested(scene, rng, 2 * questions) if " i " not in question.text]
    return NumberedScene(number, draw(scene, width, height), tuple(asked[:questions]))


@dataclass(frozen=True)
class ExamplePicture:
    """A picture file of the page: the scene of a number, with its question of one kind."""

    name: str
    number: int
    kind: str

    def draw(self) -> tuple[Image.Image, Question]:
        """The picture and the question with its true answer.

        Raises:
            InputError: the scene has no question of this kind.
        """
        scene = numbered_scene(self.number)
        for question in scene.questions:
            if question.kind == self.kind:
                return scene.picture, question
        kinds = ", ".join(question.kind for question in scene.questions)
        raise InputError(f"Scene {self.number} has no question of kind {self.kind!r}: choose one of {kinds}.")


@dataclass(frozen=True)
class EasyPicture:
    """A picture file of the page that looks like easy-VQA's: one shape, and the question what shape it is."""

    name: str
    seed: int

    def draw(self) -> tuple[Image.Image, Question]:
        """The picture, 480 x 480, and the question."""
        scene = sample_easy_scene(np.random.default_rng(self.seed))
        picture = draw_easy(scene).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        return picture, Question("identity", "what shape is in the image?", scene.kind, "")


EXAMPLES: tuple[ExamplePicture | EasyPicture, ...] = (
    ExamplePicture("bus-and-frog.png", 2, "sign"),
    ExamplePicture("three-laptops.png", 8, "count"),
    ExamplePicture("avocado-and-bicycle.png", 41, "description"),
    ExamplePicture("tractor-and-hammer.png", 9, "relation"),
    ExamplePicture("helicopter-and-pizza.png", 33, "place"),
    EasyPicture("gray-triangle.png", 4),
)


def capitalised(text: str) -> str:
    """A question with a capital, as most people write one."""
    return text[:1].upper() + text[1:]


def write(folder: Path) -> None:
    """Draw every example into a folder, with `examples.json` beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for example in EXAMPLES:
        picture, question = example.draw()
        picture.save(folder / example.name, optimize=True)
        listed.append(
            {
                "image": example.name,
                "question": capitalised(question.text),
                "kind": question.kind,
                "answer": question.answer,
            }
        )
    (folder / "examples.json").write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
