"""Scenes by number, with questions and their true answers; and the example pictures of the page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from skipcore.builtin.questions.questions import KINDS, Question, suggested
from skipcore.builtin.scenes.draw import draw
from skipcore.builtin.scenes.easy_scenes import draw_easy, sample_easy_scene
from skipcore.builtin.scenes.sample import sample_scene
from skipcore.builtin.scenes.scene_record import Scene
from skipcore.builtin.scenes.splits import seed_of
from skipcore.builtin.scenes.world_file import World, scenes_world
from skipcore.builtin.training.recipe import load_recipe
from skipcore.errors import InputError

SIZES = ((480, 480), (640, 416), (416, 560))
"""Width and height: square, wide and high pictures."""
SHARES = (0.6, 0.2, 0.2)
SIDE = 480
RECIPE = "scenes-cpu"
"""Of the built-in model, whose world the examples lie in."""
NUMBERS = 100_000
"""Scenes have numbers from 0 to this, exclusive."""


@dataclass(frozen=True)
class NumberedScene:
    """A scene of the test split, which training never shows.

    Attributes:
        number: the same number gives the same picture and questions everywhere, within one world.
        questions: several, of different kinds, with their true answers.
    """

    number: int
    picture: Image.Image
    questions: tuple[Question, ...]
    scene: Scene


def numbered_scene(number: int, questions: int = 6, world: World | None = None) -> NumberedScene:
    """The scene of a number, with up to that many questions.

    Args:
        world: what the scene may hold and the questions may name; by default all the scenes can show.

    Raises:
        InputError: the number is out of range, the world has nothing to draw, or the sprites are missing.
    """
    world = world or scenes_world()
    contents = world.contents()
    if contents is None:
        raise InputError("No scene can be drawn of a world without things and shapes: name some in its world.json.")
    if not 0 <= number < NUMBERS:
        raise InputError(f"Scenes have numbers from 0 to {NUMBERS - 1:,}: choose one of them.")
    rng = np.random.default_rng(seed_of("test", number))
    scene = sample_scene(rng, "test", contents)
    width, height = (SIDE, SIDE) if world.is_shapes_only else SIZES[int(rng.choice(len(SIZES), p=SHARES))]
    kinds = tuple(kind for kind in KINDS if kind in world.kinds)
    # clean wordings are in lower case, where an "i" of its own looks like a slip
    drawn = suggested(scene, rng, 2 * questions, kinds, world.knows, contents.foreign)
    asked = tuple(question for question in drawn if " i " not in question.text)
    return NumberedScene(number, draw(scene, width, height), asked[:questions], scene)


Outcome = Literal["right", "changed", "hard"]
"""How the built-in model answers, as measured: right both dense and with its own skipping, only dense, or neither."""


@dataclass(frozen=True)
class ExamplePicture:
    """A picture file of the page: the scene of a number within the built-in model's world, with its question of one
    kind."""

    name: str
    number: int
    kind: str
    outcome: Outcome = "right"

    @property
    def needs(self) -> list[str]:
        """Which parts of a world the picture shows, see `World.parts`."""
        scene = self._scene().scene
        shown = {"things": scene.things, "shapes": scene.shapes, "signs": scene.signs}
        return [part for part, items in shown.items() if items]

    def draw(self) -> tuple[Image.Image, Question]:
        """The picture and the question with its true answer.

        Raises:
            InputError: the scene has no question of this kind.
        """
        scene = self._scene()
        for question in scene.questions:
            if question.kind == self.kind:
                return scene.picture, question
        kinds = ", ".join(question.kind for question in scene.questions)
        raise InputError(f"Scene {self.number} has no question of kind {self.kind!r}: choose one of {kinds}.")

    def _scene(self) -> NumberedScene:
        contents = load_recipe(RECIPE).stages[-1].contents
        return numbered_scene(self.number, world=scenes_world(contents))


@dataclass(frozen=True)
class EasyPicture:
    """A picture file of the page that looks like easy-VQA's: one shape, and the question what shape it is."""

    name: str
    seed: int
    needs: tuple[str, ...] = ("shapes",)
    outcome: Outcome = "right"

    def draw(self) -> tuple[Image.Image, Question]:
        """The picture, 480 x 480, and the question."""
        scene = sample_easy_scene(np.random.default_rng(self.seed))
        picture = draw_easy(scene).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        return picture, Question("identity", "what shape is in the image?", scene.kind, "")


@dataclass(frozen=True)
class KeptPicture:
    """A picture file of the page that lies in `assets/examples` and is not drawn again; the answer was read off it."""

    name: str
    question: str
    kind: str
    answer: str
    needs: tuple[str, ...] = ("shapes",)
    outcome: Outcome = "right"

    def asked(self) -> Question:
        """The question with its true answer."""
        return Question(self.kind, self.question, self.answer, "")


# Chosen by measurement: most are answered rightly with a clear margin, dense and skipping.
EXAMPLES: tuple[ExamplePicture | EasyPicture | KeptPicture, ...] = (
    ExamplePicture("lion-and-laptop.png", 14, "place"),
    ExamplePicture("four-things.png", 49, "count"),
    ExamplePicture("lion-and-drum.png", 53, "relation"),
    ExamplePicture("dog-and-star.png", 17, "color"),
    ExamplePicture("two-clocks.png", 4, "count", "changed"),
    ExamplePicture("two-yellow-circles.png", 33, "count", "hard"),
    EasyPicture("gray-triangle.png", 4),
    KeptPicture("two-shapes.png", "how many shapes are there?", "count", "two"),
    KeptPicture("purple-circle.png", "describe the picture.", "description", "a purple circle"),
)


def capitalized(text: str) -> str:
    """A question with a capital, as most people write one."""
    return text[:1].upper() + text[1:]


def write(folder: Path) -> None:
    """Draw the examples into a folder, with `examples.json` beside them; kept pictures stay as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for example in EXAMPLES:
        if isinstance(example, KeptPicture):
            question = example.asked()
        else:
            picture, question = example.draw()
            picture.save(folder / example.name, optimize=True)
        listed.append(
            {
                "image": example.name,
                "question": capitalized(question.text),
                "kind": question.kind,
                "answer": question.answer,
                "needs": list(example.needs),
                "outcome": example.outcome,
            }
        )
    (folder / "examples.json").write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
