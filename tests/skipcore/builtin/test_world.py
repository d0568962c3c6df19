"""What a model was trained on is kept in its folder; scenes and questions keep to it; the usual scenes stay."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skipcore import InputError
from skipcore.builtin.evaluation.asked import asked_pictures
from skipcore.builtin.questions.questions import KINDS, Question
from skipcore.builtin.scenes.numbered import numbered_scene
from skipcore.builtin.scenes.sample import Contents, sample_scene
from skipcore.builtin.scenes.splits import SPLITS, seed_of
from skipcore.builtin.scenes.world_file import WORLD_FILE, World, read_world, scenes_world, write_world

SHIPPED = Path(__file__).resolve().parents[3] / "assets" / "models" / "scenes"
SHAPES = World(
    things={},
    shapes=("circle", "rectangle", "triangle", "star"),
    colors=("red", "green", "blue", "yellow"),
    signs=None,
    kinds=("existence", "count", "color", "place", "relation", "comparison", "identity", "description", "absent"),
    note="",
    most_items=4,
)
PETS = replace(scenes_world(), things={"animal": ("dog", "cat")}, signs=None)
# of the records before scenes could keep to a world
RECORDS = "122aa8df0381368a2ae8df306b7e04a85ebd27a19fcbd4ce8f737255b3297d0c"


def test_the_scenes_of_all_seeds_are_what_they_were() -> None:
    found = hashlib.sha256()
    for split in SPLITS:
        for seed in range(10):
            record = repr(sample_scene(np.random.default_rng(seed_of(split, seed)), split))
            found.update(record.replace("color=", "colour=").encode())  # as the field was spelled then
    assert found.hexdigest() == RECORDS
    assert scenes_world().contents() == Contents()


@pytest.mark.parametrize("world", [scenes_world(), SHAPES, PETS], ids=["all", "shapes", "pets"])
def test_a_folder_keeps_its_world(tmp_path: Path, world: World) -> None:
    assert read_world(tmp_path) is None and read_world("no/such/folder") is None
    write_world(tmp_path, world)
    assert read_world(tmp_path) == world
    file = tmp_path / WORLD_FILE
    file.write_text(file.read_text().replace('"color', '"colour'))  # as older versions spelled it
    assert read_world(tmp_path) == world


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"things": 3}', json.dumps({"shapes": "circle"})])
def test_a_bad_file_gets_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / WORLD_FILE).write_text(content)
    with pytest.raises(InputError, match="mend it, or delete it"):
        read_world(tmp_path)


def test_words_that_are_no_list_are_refused(tmp_path: Path) -> None:
    write_world(tmp_path)
    content = json.loads((tmp_path / WORLD_FILE).read_text())
    (tmp_path / WORLD_FILE).write_text(json.dumps(content | {"shapes": "circle"}))
    with pytest.raises(InputError, match="shapes must be a list, not 'circle'"):
        read_world(tmp_path)


def test_the_built_in_model_says_what_it_was_trained_on() -> None:
    world = read_world(SHIPPED)
    assert world is not None and world.shapes and world.contents() is not None
    assert set(world.kinds) <= set(KINDS)


@pytest.mark.parametrize("number", range(60))
def test_scenes_of_shapes_hold_nothing_else(number: int) -> None:
    shown = numbered_scene(number, 6, SHAPES)
    assert not shown.scene.things and not shown.scene.signs and 1 <= len(shown.scene.shapes) <= 4
    assert {shape.kind for shape in shown.scene.shapes} <= set(SHAPES.shapes)
    assert {shape.color for shape in shown.scene.shapes} <= set(SHAPES.colors)
    assert shown.scene.background.kind == "plain" and min(shown.scene.background.rgb) >= 228
    assert shown.picture.width == shown.picture.height
    assert len(shown.questions) >= 4
    for question in shown.questions:
        words = set(question.text.rstrip("?.").replace(",", "").split())
        assert question.kind in SHAPES.kinds and not question.about
        assert not words & {"diamond", "diamonds", "ring", "rings", "cross", "crosses", "sign", "signs"}
        assert not words & {"teal", "gray", "brown", "black", "orange", "purple", "pink", "white", "dog", "dogs"}


def test_scenes_of_some_things_hold_no_others() -> None:
    scenes = [numbered_scene(number, 6, PETS) for number in range(40)]
    assert {thing.name for shown in scenes for thing in shown.scene.things} == {"dog", "cat"}
    assert any(shown.scene.shapes for shown in scenes) and not any(shown.scene.signs for shown in scenes)
    about = {name for shown in scenes for question in shown.questions for name in question.about}
    assert about == {"dog", "cat"}
    assert not any("vehicle" in question.text for shown in scenes for question in shown.questions)


@pytest.mark.parametrize("split", ["test", "combinations", "style"])
def test_evaluation_keeps_to_a_world(split: str) -> None:
    contents = Contents(most_items=3, things=("dog", "cat", "car", "bus", "apple", "hat"))
    pictures = asked_pictures(split, 120, scenes_world(contents))
    questions = [question for each in pictures for question in each.questions]
    assert {name for question in questions for name in question.about} <= set(contents.things)
    assert not any(" " + name in question.text for question in questions for name in contents.foreign)
    yes = [question.answer == "yes" for question in questions if question.kind == "existence"]
    assert split != "test" or 0.3 < sum(yes) / len(yes) < 0.7


def test_splits_that_lie_outside_a_world_are_told() -> None:
    with pytest.raises(InputError, match="leave it out"):
        asked_pictures("style", 5, SHAPES)


def test_questions_beyond_the_world_are_told() -> None:
    def asked(text: str, kind: str = "existence") -> Question:
        return Question(kind, text, "no", "")

    assert SHAPES.knows(asked("is there a red circle?")) and SHAPES.knows(asked("how many shapes are there?"))
    for text in ("is there a dog?", "any animals?", "is there a ring?", "how many crosses?", "is there a white star?"):
        assert not SHAPES.knows(asked(text)), text
        assert scenes_world().knows(asked(text)), text
    assert not SHAPES.knows(asked("is there a sign?")) and not SHAPES.knows(asked("is there a circle?", "sign"))
    assert PETS.knows(asked("are there any animals?")) and not PETS.knows(asked("is there any food?"))


def test_worlds_that_cannot_be_drawn() -> None:
    for nothing in (replace(SHAPES, shapes=()), replace(SHAPES, colors=()), replace(SHAPES, shapes=("hexagon",))):
        assert nothing.contents() is None
        with pytest.raises(InputError, match="No scene can be drawn"):
            numbered_scene(1, 6, nothing)
    pale = replace(SHAPES, colors=("white",))  # no color of it stands out from the ground
    assert numbered_scene(1, 6, pale).scene.shapes


def test_a_trained_model_carries_the_scenes(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    pytest.importorskip("easy_vqa")
    from tiny_training import model_folder

    assert read_world(model_folder(tmp_path / "model")) == scenes_world()
    contents = Contents(most_items=2, things=("dog", "cat"), thing=0.7, shape=0.3, sign=0.0)
    world = read_world(model_folder(tmp_path / "pets", contents))
    assert world == scenes_world(contents) and world.signs is None and "sign" not in world.kinds
