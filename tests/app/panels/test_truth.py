"""What is known about a picture: kept with that very picture, and how answers are marked by it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gradio as gr
import hand_made
import pytest
from PIL import Image

from app.examples import MOST_OFFERED, known_of, load_examples, offered
from app.panels.answers import AnswersPanel, verdict
from app.panels.scene import ScenePanel
from app.server import uploads as uploads_module
from app.truth import Known, truth_of
from app.world import KIND_NAMES, UNKNOWN, world_lists, world_of, world_sentence
from skipcore import InputError, Vlm
from skipcore.builtin.questions.questions import KINDS, Question
from skipcore.builtin.scenes.numbered import EXAMPLES, NUMBERS, SIZES, KeptPicture, capitalized, numbered_scene, write
from skipcore.builtin.scenes.things import THINGS
from skipcore.builtin.scenes.world_file import World, scenes_world
from skipcore.provenance import file_sha256

ROOT = Path(__file__).resolve().parents[3]
HOW_MANY = Question("count", "how many dogs are there?", "three", "")
YES = Question("existence", "is there a dog?", "yes", "")
SHAPES = World(
    things={},
    shapes=("circle", "star"),
    colors=("red", "blue"),
    signs=None,
    kinds=("existence", "count", "identity"),
    note="It saw <few> shapes.",
)


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that counts as the one where uploads lie."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setattr(uploads_module, "upload_folder", folder.resolve)
    return folder


@pytest.fixture
def scene(uploads: Path) -> tuple[dict[str, str], Known]:
    """An uploaded picture and what is known about it."""
    file = uploads / "scene.png"
    Image.new("RGB", (8, 8), "red").save(file)
    return {"path": str(file)}, Known(file_sha256(str(file)), (HOW_MANY, YES))


@pytest.mark.parametrize(
    "typed", ["how many dogs are there?", " How many  DOGS are there ", "how many dogs are there."]
)
def test_the_truth_is_found_however_the_question_is_typed(scene, typed: str) -> None:
    picture, known = scene
    assert truth_of(picture, typed, [None, known]) == HOW_MANY


def test_no_truth_for_another_question_or_picture(scene, uploads: Path) -> None:
    picture, known = scene
    Image.new("RGB", (8, 8), "blue").save(uploads / "other.png")
    assert truth_of(picture, "how many cats are there?", [known]) is None
    assert truth_of(picture, None, [known]) is None
    assert truth_of({"path": str(uploads / "other.png")}, HOW_MANY.text, [known]) is None
    assert truth_of(None, HOW_MANY.text, [known]) is None
    assert truth_of(picture, HOW_MANY.text, [None]) is None
    Image.new("RGB", (8, 8), "blue").save(picture["path"])  # another picture under the same name
    assert truth_of(picture, HOW_MANY.text, [known]) is None


def test_files_that_are_no_uploads_are_not_read(scene, tmp_path: Path) -> None:
    picture, known = scene
    outside = tmp_path / "outside.png"
    outside.write_bytes(Path(picture["path"]).read_bytes())
    assert truth_of({"path": str(outside)}, HOW_MANY.text, [known]) is None


@pytest.mark.parametrize(
    "truth, answer, says",
    [
        (HOW_MANY, "three", "✓ right"),
        (HOW_MANY, "3.", "✓ right"),
        (HOW_MANY, "two", "✗ wrong</strong>, the true answer: three"),
        (YES, "Yes, there is one", "✓ right"),
        (YES, "", "✗ wrong</strong>, the true answer: yes"),
        (replace(HOW_MANY, answer="<b>"), "two", "the true answer: &lt;b&gt;"),
    ],
)
def test_marks_are_words_and_signs(truth: Question, answer: str, says: str) -> None:
    marked = verdict(truth, answer, is_judge=True)
    assert says in marked and ("✓" in marked) != ("✗" in marked)


def test_no_mark_without_truth_and_no_blame_for_other_words() -> None:
    assert verdict(None, "three", is_judge=True) == ""
    other = verdict(HOW_MANY, "There are three dogs in this picture.", is_judge=False)
    assert "the true answer: three" in other and "wrong" not in other
    assert "✓ right" in verdict(HOW_MANY, "three", is_judge=False)


def test_only_a_finished_answer_to_a_known_question_is_marked() -> None:
    dense, skip = hand_made.report().arms
    report = hand_made.report(replace(dense, answer="three"), replace(skip, answer="two"))
    with gr.Blocks():
        panel = AnswersPanel()
    first, second = (panel.show(report, HOW_MANY, is_judge=True)[card] for card in panel.cards)
    assert "✓ right" in first and "✗ wrong" in second and "the true answer: three" in second
    assert all("verdict" not in panel.show(report)[card] for card in panel.cards)
    assert "What is it?" in panel.show(report)[panel.asked]["value"]


@pytest.mark.parametrize("world", [scenes_world(), SHAPES], ids=["all", "shapes"])
def test_a_new_scene_brings_its_questions_and_keeps_their_answers(uploads: Path, world: World) -> None:
    with gr.Blocks():
        panel, picture, question = ScenePanel(world), gr.Image(), gr.Textbox()
    picture.GRADIO_CACHE = str(uploads)
    changes, expected = panel.draw(picture, question, 8, world), numbered_scene(8, world=world)
    assert {each.kind for each in expected.questions} <= set(world.kinds)
    shown = [changes[button] for button in panel.suggestions]
    texts = [capitalized(each.text) for each in expected.questions]
    assert len(texts) >= 3 and [each["value"] for each in shown if each["visible"]] == texts
    assert "scene 8." in changes[panel.number] and changes[question] == texts[0]
    assert Image.open(changes[picture]).tobytes() == expected.picture.tobytes()
    known, file = changes[panel.known], {"path": changes[picture]}
    for asked in expected.questions:
        assert truth_of(file, capitalized(asked.text), [known]) == asked
    assert panel.keep_to(file, known)[panel.row]["visible"] is True
    other = panel.draw(picture, question, 9, world)
    for picture_now in ({"path": other[picture]}, None):
        hidden = panel.keep_to(picture_now, known)
        assert hidden[panel.row]["visible"] is False and "scene 8" not in hidden[panel.number]
    assert panel.keep_to(file, None)[panel.row]["visible"] is False


def test_only_a_world_that_can_be_drawn_has_the_button() -> None:
    for world, is_shown in ((scenes_world(), True), (SHAPES, True), (replace(SHAPES, shapes=()), False), (None, False)):
        with gr.Blocks():
            assert ScenePanel(world).button.parent.visible is is_shown


def test_scenes_have_numbers() -> None:
    first, again, other = numbered_scene(41), numbered_scene(41), numbered_scene(42)
    assert first.questions == again.questions and first.picture.tobytes() == again.picture.tobytes()
    assert first.picture.tobytes() != other.picture.tobytes()
    scenes = [numbered_scene(number) for number in range(24)]
    assert {scene.picture.size for scene in scenes} == set(SIZES)
    assert all(len(scene.questions) == 6 for scene in scenes)
    assert all(" i " not in question.text for scene in scenes for question in scene.questions)
    for number in (-1, NUMBERS):
        with pytest.raises(InputError, match="choose one"):
            numbered_scene(number)


def test_examples_carry_their_truth(tmp_path: Path) -> None:
    write(tmp_path)
    written, shipped = tmp_path / "examples.json", ROOT / "assets" / "examples" / "examples.json"
    assert json.loads(written.read_text()) == json.loads(shipped.read_text())
    drawn = load_examples(tmp_path)
    assert len(drawn) == sum(not isinstance(example, KeptPicture) for example in EXAMPLES) == 7
    examples = load_examples()
    assert [Path(example.image).name for example in examples] == [example.name for example in EXAMPLES]
    known = known_of(examples)
    assert len({each.picture for each in known}) == len(EXAMPLES)
    assert all(each.questions[0].answer and each.questions[0].kind in KINDS for each in known)


def test_only_examples_inside_the_world_are_offered() -> None:
    examples = load_examples()
    inside = offered(examples, scenes_world())
    assert len(inside) == MOST_OFFERED and any("things" in each.needs for each in inside)
    of_shapes = offered(examples, SHAPES)
    assert {Path(each.image).name for each in of_shapes} == {
        "gray-triangle.png", "two-shapes.png", "two-yellow-circles.png"
    }  # fmt: skip
    assert offered(examples, replace(SHAPES, shapes=())) == []
    assert offered(examples, None) == examples[:MOST_OFFERED]


def test_the_page_names_all_that_the_model_knows() -> None:
    assert tuple(KIND_NAMES) == KINDS
    lists = world_lists(scenes_world())
    assert all(kind.name in lists for kind in THINGS) and "hexagon" not in lists
    sentence = world_sentence(scenes_world())
    assert f"{len(THINGS)} everyday things" in sentence and "34 animals" in sentence and "Photos" in sentence
    assert "shapes in 12 colors, and signs" in sentence


def test_the_page_names_nothing_that_the_model_does_not_know(scenes: Vlm, tiny: Vlm) -> None:
    lists, sentence = world_lists(SHAPES), world_sentence(SHAPES)
    assert "circles, stars" in lists and "red, blue" in lists and "how many?" in lists
    assert not any(word in lists for word in ("dog", "Animals", "Signs", "green", "what color?"))
    assert "knows a small world: circles and stars in 2 colors. Photos" in sentence
    assert sentence.endswith("It saw <few> shapes.") and "sign" not in sentence
    assert world_sentence(None) == UNKNOWN and "not known" in UNKNOWN
    assert world_of(scenes) is not None and world_of(tiny) is None


def test_the_page_needs_no_training_packages() -> None:
    program = (
        "import sys\n"
        "for name in ('easy_vqa', 'matplotlib', 'accelerate'): sys.modules[name] = None\n"
        "import app.page\n"
        "from skipcore.builtin.scenes.numbered import numbered_scene\n"
        "print(len(numbered_scene(3).questions))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.split()[-1] == "6", done.stderr[-2000:]
