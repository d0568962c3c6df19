"""easy-VQA: its own pictures kept in their splits, and pictures made like them with true questions."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("easy_vqa")

from training_runs import STAGE

from skipcore.builtin.scenes.easy_scenes import (
    COLORS,
    KINDS,
    SIDE,
    ask_easy,
    draw_easy,
    every_easy_phrase,
    sample_easy_scene,
)
from skipcore.builtin.scenes.easy_vqa import load_split
from skipcore.builtin.training.batches import draw_examples
from skipcore.builtin.training.recipe import Mixture


def test_a_seed_fixes_the_scene() -> None:
    first, again, other = (sample_easy_scene(np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first == again != other
    assert np.array_equal(np.asarray(draw_easy(first)), np.asarray(draw_easy(again)))


def test_shapes_are_drawn_where_and_as_the_record_says() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        scene = sample_easy_scene(rng)
        assert scene.width / 2 <= scene.x <= 1 - scene.width / 2
        assert scene.height / 2 <= scene.y <= 1 - scene.height / 2
        pixels = np.asarray(draw_easy(scene)).astype(int)
        assert pixels.shape == (SIDE, SIDE, 3)
        rows, columns = np.nonzero((np.abs(pixels - scene.ground).max(-1)) > 12)
        assert (columns.min() + columns.max() + 1) / 2 == pytest.approx(scene.x * SIDE, abs=1.5)
        assert (rows.min() + rows.max() + 1) / 2 == pytest.approx(scene.y * SIDE, abs=1.5)
        assert np.abs(pixels[int(scene.y * SIDE), int(scene.x * SIDE)] - COLORS[scene.color]).max() <= 1


def test_answers_are_true_to_the_record() -> None:
    rng = np.random.default_rng(3)
    given = Counter()
    for _ in range(1500):
        scene = sample_easy_scene(rng)
        question, answer = ask_easy(scene, rng)
        words = question.rstrip("?").split()
        kind = next((kind for kind in KINDS if kind in words), None)
        color = next((color for color in COLORS if color in words), None)
        if answer in ("yes", "no"):
            matches = kind in (None, scene.kind) and color in (None, scene.color)
            assert (kind, color) != (None, None)
            assert answer == ("yes" if matches != bool({"not", "no"} & set(words)) else "no"), question
        else:
            assert answer == (scene.color if "color" in words else scene.kind), question
        given[answer] += 1
    assert given["yes"] == pytest.approx(given["no"], rel=0.15)
    assert set(given) == {"yes", "no", *COLORS, *KINDS}


def test_questions_are_worded_as_easy_vqa_words_them() -> None:
    real = {question.lower() for picture in load_split("train") for question, _ in picture.questions}
    assert len(set(every_easy_phrase()) & real) > 0.8 * len(real)
    rng = np.random.default_rng(4)
    asked = {ask_easy(sample_easy_scene(rng), rng)[0] for _ in range(500)}
    assert len(asked & real) > 0.6 * len(asked)


def prints(pictures: Iterable[np.ndarray]) -> set[str]:
    return {hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest() for pixels in pictures}


def test_test_pictures_are_never_trained_on() -> None:
    assert len(load_split("train")) == 4000 and len(load_split("test")) == 1000
    held_out = prints(picture.pixels for picture in load_split("test"))
    allowed = [picture.pixels for picture in load_split("train")]
    allowed += [pixels[:, ::-1] for pixels in allowed]
    assert not held_out & prints(allowed)
    only_real = replace(STAGE, mixture=Mixture(scenes=0.0, easy_vqa=1.0))
    examples = draw_examples(only_real, np.random.default_rng(8), pictures=200, questions_each=2)
    assert prints(example.pixels for example in examples) <= prints(allowed)
    asked = {pair for picture in load_split("train") for pair in picture.questions}
    plain = {(question.lower().strip(" ?."), answer) for question, answer in asked}
    found = [(question.lower().strip(" ?."), answer) for example in examples for question, answer in example.questions]
    assert np.mean([pair in plain for pair in found]) > 0.5  # the others carry a slip or a polite word
