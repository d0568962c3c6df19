"""The training code: true scenes, a lossless tokenizer, a loss that falls, a resume that changes nothing."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("easy_vqa")

from skipcore.training import finetune
from skipcore.training.batches import NO_LABEL, draw_examples, image_positions, make_batch
from skipcore.training.easy_vqa import load_split
from skipcore.training.model import ModelSize, build_processor, build_tokenizer
from skipcore.training.questions import ask, ask_easy
from skipcore.training.recipes import RECIPES, Mixture, Recipe, Stage
from skipcore.training.scenes import (
    COLOURS,
    COUNT_WORDS,
    KINDS,
    Scene,
    Shape,
    draw,
    draw_easy,
    sample_easy_scene,
    sample_scene,
)

TINY = Recipe(
    name="tiny",
    seed=3,
    size=ModelSize(width=32, tower_layers=1, decoder_layers=2, heads=2, tower_ffn=64, decoder_ffn=64),
    stages=(
        Stage(
            name="84 px",
            image_side=84,
            steps=24,
            pictures=6,
            questions=3,
            skip_pictures=4,
            skip_questions=2,
            skip_share=0.5,
            first_rate=1e-2,
            last_rate=1e-3,
            warm_up=4,
            mixture=Mixture(easy_vqa=0.3, easy_drawn=0.4, scenes=0.3),
        ),
    ),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors: threads that wait for each other would take longer than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def processor():
    return build_processor(build_tokenizer(1024))


@pytest.mark.parametrize("sample", [sample_scene, sample_easy_scene])
def test_same_seed_same_scene(sample: Callable[[np.random.Generator], Scene]) -> None:
    first, again, other = (sample(np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first == again
    assert first != other
    assert np.array_equal(np.asarray(draw(first, 84)), np.asarray(draw(again, 84)))


def test_shapes_stay_in_the_picture_and_apart() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        shapes = sample_scene(rng).shapes
        assert 1 <= len(shapes) <= 5
        for number, shape in enumerate(shapes):
            for centre in (shape.x, shape.y):
                assert 0.08 < centre < 0.92
            for other in shapes[:number]:
                assert math.hypot(shape.x - other.x, shape.y - other.y) > 0.17


def test_picture_shows_the_recorded_colours() -> None:
    scene = sample_scene(np.random.default_rng(1))
    pixels = np.asarray(draw(scene, 336))
    for shape in scene.shapes:
        assert tuple(pixels[int(shape.y * 336), int(shape.x * 336)]) == shape.rgb
    assert np.asarray(draw_easy(sample_easy_scene(np.random.default_rng(1)))).shape == (64, 64, 3)


def test_answers_are_true_to_the_record() -> None:
    rng = np.random.default_rng(2)
    for _ in range(400):
        scene = sample_scene(rng)
        for _ in range(4):
            question, answer = ask(scene, rng)
            check_answer(scene, question.lower(), answer)


def test_easy_answers_are_true_to_the_record() -> None:
    rng = np.random.default_rng(3)
    for _ in range(400):
        scene = sample_easy_scene(rng)
        question, answer = ask_easy(scene, rng)
        check_answer(scene, question, answer)


def check_answer(scene: Scene, question: str, answer: str) -> None:
    """Work the answer out anew from the record, another way round than the questions do."""
    kinds = [shape.kind for shape in scene.shapes]
    colours = [shape.colour for shape in scene.shapes]
    words = question.rstrip("?.").replace("shapes", "").split()
    asked_kind = next((kind for kind in KINDS if kind in words or kind + "s" in words), None)
    asked_colour = next((colour for colour in COLOURS if colour in words), None)
    matching = [
        shape for shape in scene.shapes if asked_kind in (None, shape.kind) and asked_colour in (None, shape.colour)
    ]
    relations = (" left of ", " right of ", " above ", " below ")
    if any(relation in question for relation in relations):
        assert answer in ("yes", "no")
    elif answer in ("yes", "no"):
        negated = "not" in words or "no" in words
        assert answer == ("yes" if bool(matching) != negated else "no"), question
    elif answer in COUNT_WORDS:
        assert answer == COUNT_WORDS[len(matching)], question
    elif answer in KINDS:
        assert answer in (kinds if asked_colour is None else [shape.kind for shape in matching]), question
    elif answer in COLOURS:
        assert answer in (colours if asked_kind is None else [shape.colour for shape in matching]), question
    else:
        told = answer.replace(",", "").split()
        assert {word for word in told if word in KINDS} in (set(), set(kinds))
        assert {word for word in told if word in COLOURS} in (set(), set(colours))


def test_places_are_told_from_the_record() -> None:
    def shape(kind: str, colour: str, x: float, y: float) -> Shape:
        return Shape(kind, colour, COLOURS[colour][0], x, y, 0.1, 0.1)

    scene = Scene((250, 250, 250), (shape("star", "red", 0.8, 0.2), shape("circle", "blue", 0.2, 0.7)))
    rng = np.random.default_rng(0)
    answers = dict(ask(scene, rng) for _ in range(2000))
    assert answers["what shape is on the left?"] == "circle"
    assert answers["what color is the topmost shape?"] == "red"
    assert answers["is the red star above the blue circle?"] == "yes"
    assert answers["is the red star left of the blue circle?"] == "no"
    assert answers["describe the picture."] == "a blue circle and a red star"
    assert answers["how many shapes are there?"] == "two"


@pytest.mark.parametrize(
    "text", ["what color is the circle?", "  Żółć\n\t🙂👩‍🚀 \u200b 你好", "WHAT COLOR", "x" * 500, ""]
)
def test_tokenizer_loses_nothing(processor, text: str) -> None:
    tokenizer = processor.tokenizer
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_training_prompt_is_the_processor_s(processor) -> None:
    stage = replace(TINY.stages[0], image_side=336)
    example = draw_examples(stage, np.random.default_rng(4), pictures=1, questions_each=1)[0]
    batch = make_batch([example], 336, processor, one_question_a_row=True)
    content = [{"type": "image"}, {"type": "text", "text": example.questions[0][0]}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(images=[Image.fromarray(example.pixels)], text=[text], return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    assert torch.equal(batch.input_ids[:, :length], inputs["input_ids"])
    assert torch.equal(batch.position_ids[0], torch.arange(batch.position_ids.shape[1]))
    assert (batch.labels[:, :length] == NO_LABEL).all() and (batch.labels[:, length:] != NO_LABEL).all()
    assert (batch.pixel_values - inputs["pixel_values"]).abs().max() < 0.02


def test_questions_of_one_row_do_not_see_each_other(processor) -> None:
    """Packed, every question gets the loss it has alone."""
    run = finetune.start(TINY)
    run.model.eval()
    examples = draw_examples(TINY.stages[0], np.random.default_rng(5), pictures=2, questions_each=3)
    losses = []
    for one_question_a_row in (False, True):
        batch = make_batch(examples, 84, processor, one_question_a_row).to(run.accelerator.device)
        losses.append(finetune.answer_loss(run.model, batch)[0].item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_small_pictures_take_the_places_of_large_ones() -> None:
    assert image_positions(336) == list(range(576))
    assert image_positions(168)[:3] == [0, 2, 4] and image_positions(168)[12] == 48


def test_training_lowers_the_loss_and_resumes_identically(tmp_path: Path) -> None:
    stage = TINY.stages[0]
    whole = finetune.start(TINY)
    losses = []
    for _ in range(stage.steps):
        measured = finetune.training_step(whole, stage)
        whole.step += 1
        losses.append(measured.get("loss_dense", measured.get("loss_skip")))
        if whole.step == stage.steps // 2:
            finetune.save_checkpoint(whole, tmp_path / "checkpoint.pt")
    assert sum(losses[-4:]) < 0.6 * sum(losses[:4])

    resumed = finetune.start(TINY)
    finetune.load_checkpoint(resumed, tmp_path / "checkpoint.pt")
    assert resumed.step == stage.steps // 2
    finetune.run_stage(resumed, tmp_path)
    assert resumed.is_complete
    assert (tmp_path / "log.jsonl").read_text().count("\n") >= 1
    for name, weights in whole.model.state_dict().items():
        assert torch.equal(weights, resumed.model.state_dict()[name]), name
    assert torch.equal(whole.summary.score.weight, resumed.summary.score.weight)


def test_a_lost_loss_is_told_clearly() -> None:
    run = finetune.start(TINY)
    with torch.no_grad():
        run.model.lm_head.weight.fill_(math.nan)
    with pytest.raises(ValueError, match="learning rate"):
        finetune.training_step(run, TINY.stages[0])


def test_test_pictures_are_never_trained_on() -> None:
    def prints(pictures) -> set[str]:
        return {hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest() for pixels in pictures}

    held_out = prints(picture.pixels for picture in load_split("test"))
    assert len(load_split("train")) == 4000 and len(load_split("test")) == 1000
    allowed = [picture.pixels for picture in load_split("train")]
    allowed += [pixels[:, ::-1] for pixels in allowed]
    assert not held_out & prints(allowed)
    only_real = replace(TINY.stages[0], mixture=Mixture(easy_vqa=1.0, easy_drawn=0.0, scenes=0.0))
    examples = draw_examples(only_real, np.random.default_rng(8), pictures=300, questions_each=1)
    assert prints(example.pixels for example in examples) <= prints(allowed)


def test_recipes_fit_the_patches() -> None:
    for recipe in RECIPES.values():
        for stage in recipe.stages:
            assert 336 % stage.image_side == 0 and stage.image_side % 14 == 0
            assert recipe.stages[-1].image_side == 336 or len(recipe.stages) == 1
