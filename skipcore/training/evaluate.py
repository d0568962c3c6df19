"""How often a model answers rightly, dense and skipping: on easy-VQA's test split, and on drawn scenes.

Every question is asked alone and answered greedily by the stock `generate()`; an answer counts when it is wholly right.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from skipcore import Dense, Method, SkipVision
from skipcore.training.easy_vqa import load_split
from skipcore.training.questions import ask
from skipcore.training.scenes import COLOURS, EASY_VQA_COLOURS, EASY_VQA_KINDS, KINDS, draw, sample_scene
from skipcore.vlm import Vlm

Item = TypeVar("Item")

COUNTS = ((100, 156), (36, 100), (16, 64))
PICTURES_AT_ONCE = 200
PICTURES_IN_A_BATCH = 16
ROWS_IN_A_BATCH = 48
MAX_NEW_TOKENS = 40
SCENE_SIDE = 336


@dataclass(frozen=True, eq=False)
class Asked:
    """One question to one picture, with its answer and the kind of question it is."""

    picture: Image.Image
    question: str
    answer: str
    kind: str


@dataclass(frozen=True, eq=False)
class Prompt:
    """A question as the model gets it: its tokens, and the picture's features [N, d]."""

    asked: Asked
    token_ids: list[int]
    features: Tensor


@dataclass(frozen=True)
class Score:
    """The share of questions a method answered rightly, in all and by kind of question."""

    method: str
    settings: dict[str, object]
    questions: int
    accuracy: float
    by_kind: dict[str, float]


def easy_vqa_test(num_questions: int | None = None, seed: int = 0) -> list[Asked]:
    """easy-VQA's test questions: all, or so many drawn at random, picture by picture."""
    asked = []
    for picture in load_split("test"):
        image = Image.fromarray(picture.pixels)
        asked += [Asked(image, question, answer, _kind(answer)) for question, answer in picture.questions]
    return _some(asked, num_questions, seed)


def drawn_scenes(num_questions: int, seed: int = 10_000) -> list[Asked]:
    """Questions to freshly drawn scenes, four to a picture."""
    rng = np.random.default_rng(seed)
    asked: list[Asked] = []
    while len(asked) < num_questions:
        scene = sample_scene(rng)
        image = draw(scene, SCENE_SIDE)
        for question, answer in dict(ask(scene, rng) for _ in range(4)).items():
            asked.append(Asked(image, question, answer, _kind(answer)))
    return asked[:num_questions]


def evaluate(vlm: Vlm, asked: Sequence[Asked], methods: Sequence[Method]) -> list[Score]:
    """The score of each method. A picture is encoded once for all of them."""
    right: list[dict[str, list[bool]]] = [defaultdict(list) for _ in methods]
    for prompts in _encoded(vlm, asked):
        for method, by_kind in zip(methods, right, strict=True):
            for question, is_right in _answers(vlm, prompts, method):
                by_kind[question.kind].append(is_right)
    return [_score(method, by_kind) for method, by_kind in zip(methods, right, strict=True)]


def methods_of(vlm: Vlm, counts: Sequence[tuple[int, int]] = COUNTS) -> list[Method]:
    """Dense, and the model's own method at several counts."""
    own = vlm.method or SkipVision()
    return [Dense(), *(replace(own, num_retained=kept, num_skipped=skipped) for kept, skipped in counts)]


def blind_accuracy(asked: Sequence[Asked]) -> float:
    """What the most common answer to each form of question, counted in easy-VQA's train split, would reach."""
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for picture in load_split("train"):
        for question, answer in picture.questions:
            answers[_form(question)][answer] += 1
    guesses = {form: counter.most_common(1)[0][0] for form, counter in answers.items()}
    return round(float(np.mean([guesses.get(_form(each.question)) == each.answer for each in asked])), 4)


def table(scores: Sequence[Score]) -> str:
    """The accuracies as lines of text."""
    lines = [f"{'':24}{'questions':>10}{'accuracy':>10}"]
    for score in scores:
        counts = " {num_retained} + {num_skipped}".format(**score.settings) if score.settings else ""
        lines.append(f"{score.method + counts:24}{score.questions:>10}{score.accuracy:>10.1%}")
    return "\n".join(lines)


def _score(method: Method, right: dict[str, list[bool]]) -> Score:
    everything = [value for values in right.values() for value in values]
    by_kind = {kind: round(float(np.mean(values)), 4) for kind, values in sorted(right.items())}
    return Score(method.name, method.settings(), len(everything), round(float(np.mean(everything)), 4), by_kind)


@torch.inference_mode()
def _encoded(vlm: Vlm, asked: Sequence[Asked]) -> Iterator[list[Prompt]]:
    """The prompts of some pictures at a time, with the pictures encoded."""
    pictures = list({id(each.picture): each.picture for each in asked}.values())
    by_picture: dict[int, list[Asked]] = defaultdict(list)
    for each in asked:
        by_picture[id(each.picture)].append(each)
    for some in _groups(pictures, PICTURES_AT_ONCE):
        prompts = []
        for few in _groups(some, PICTURES_IN_A_BATCH):
            pixels = vlm.processor.image_processor(images=few, return_tensors="pt")["pixel_values"]
            features = vlm.model.get_image_features(pixel_values=pixels.to(vlm.device), return_dict=True).pooler_output
            for picture, feature in zip(few, features, strict=True):
                for each in by_picture[id(picture)]:
                    prompts.append(Prompt(each, _token_ids(vlm, each.question, len(feature)), feature))
        yield prompts


@torch.inference_mode()
def _answers(vlm: Vlm, prompts: Sequence[Prompt], method: Method) -> Iterator[tuple[Asked, bool]]:
    """Each question and whether it was answered rightly. Prompts of one length go together, so nothing is padded."""
    by_length: dict[int, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        by_length[len(prompt.token_ids)].append(prompt)
    for same_length in by_length.values():
        for rows in _groups(same_length, ROWS_IN_A_BATCH):
            texts = _generate(vlm, method, [row.token_ids for row in rows], [row.features for row in rows])
            for row, text in zip(rows, texts, strict=True):
                yield row.asked, text.strip() == row.asked.answer


def _generate(vlm: Vlm, method: Method, ids: Sequence[list[int]], features: Sequence[Tensor]) -> list[str]:
    input_ids = torch.tensor(ids, device=vlm.device)
    with method(vlm.model):
        written = vlm.model.generate(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            mm_encoder_outputs={"image": BaseModelOutputWithPooling(pooler_output=list(features))},
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
        )
    return vlm.processor.tokenizer.batch_decode(written[:, input_ids.shape[1] :], skip_special_tokens=True)


def _token_ids(vlm: Vlm, question: str, num_visual: int) -> list[int]:
    content = [{"type": "image"}, {"type": "text", "text": question}]
    text = vlm.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    text = text.replace(vlm.processor.image_token, vlm.processor.image_token * num_visual)
    return vlm.processor.tokenizer.encode(text, add_special_tokens=False)


def _groups(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """The items in order, so many at a time."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def _some(asked: list[Asked], number: int | None, seed: int) -> list[Asked]:
    if number is None or number >= len(asked):
        return asked
    return [asked[index] for index in np.sort(np.random.default_rng(seed).permutation(len(asked))[:number])]


def _form(question: str) -> str:
    """The question with every colour and kind blotted out."""
    words = question.rstrip("?").split()
    names = {**dict.fromkeys(EASY_VQA_COLOURS, "COLOUR"), **dict.fromkeys(EASY_VQA_KINDS, "KIND")}
    return " ".join(names.get(word, word) for word in words)


def _kind(answer: str) -> str:
    """What is asked for, told by the answer."""
    if answer in ("yes", "no"):
        return "yes or no"
    if answer in COLOURS:
        return "colour"
    if answer in KINDS:
        return "shape"
    return "description" if " " in answer else "count"
