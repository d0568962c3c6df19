"""Training batches: pictures and questions drawn for one step, laid out as the decoder reads them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import LlavaProcessor, PreTrainedTokenizerFast

from skipcore.training import questions, scenes
from skipcore.training.easy_vqa import load_split
from skipcore.training.model import GRID, IMAGE_SIDE, PROMPT_START, answer_text, prompt_end
from skipcore.training.recipes import Stage

SOURCES = ("easy_vqa", "easy_drawn", "scenes")
NO_LABEL = -100


@dataclass(frozen=True)
class Example:
    """One picture, uint8 [height, width, 3], the questions to it, and the index of its source in `SOURCES`."""

    pixels: np.ndarray
    questions: tuple[tuple[str, str], ...]
    source: int


@dataclass(frozen=True)
class Batch:
    """B pictures and R rows of T tokens: a row to a picture, or one to each question.

    Attributes:
        pixel_values: [B, 3, side, side].
        picture: [R] which picture each row asks about.
        input_ids, position_ids, labels: [R, T]; padded on the right.
        attention_mask: [R, 1, T, T] bool where a row holds several questions that must not see each other, else
            [R, T] with ones for tokens and zeros for padding.
        answer: [R, T] number of the answer that a label belongs to, −1 where there is no label.
        source: [answers] the index in `SOURCES` of each answer's picture.
    """

    pixel_values: Tensor
    picture: Tensor
    input_ids: Tensor
    position_ids: Tensor
    labels: Tensor
    attention_mask: Tensor
    answer: Tensor
    source: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch with every tensor on a device."""
        return Batch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def draw_examples(stage: Stage, rng: Generator, pictures: int, questions_each: int) -> list[Example]:
    """Pictures from the stage's mixture, with so many different questions to each where there are as many."""
    mixture = stage.mixture
    kinds = rng.choice(3, size=pictures, p=(mixture.easy_vqa, mixture.easy_drawn, mixture.scenes))
    return [_draw_example(stage, rng, int(kind), questions_each) for kind in kinds]


def make_batch(examples: list[Example], side: int, processor: LlavaProcessor, one_question_a_row: bool) -> Batch:
    """Lay examples out: all questions of a picture in one row, or each in a row of its own."""
    rows = []
    for picture, example in enumerate(examples):
        pairs = example.questions
        rows += [(picture, group) for group in ([(pair,) for pair in pairs] if one_question_a_row else [pairs])]
    columns: dict[str, list[Tensor]] = {"input_ids": [], "position_ids": [], "labels": [], "answer": [], "part": []}
    sources: list[int] = []
    for picture, group in rows:
        for name, values in _row(group, side, processor, first_answer=len(sources)).items():
            columns[name].append(torch.tensor(values))
        sources += [examples[picture].source] * len(group)
    padding = {"input_ids": processor.tokenizer.pad_token_id, "position_ids": 0, "labels": NO_LABEL}
    padded = {
        name: pad_sequence(values, batch_first=True, padding_value=padding.get(name, -1))
        for name, values in columns.items()
    }
    part = padded.pop("part")
    return Batch(
        pixel_values=_pixel_values([example.pixels for example in examples], side, processor),
        picture=torch.tensor([picture for picture, _ in rows]),
        attention_mask=(part >= 0).long() if one_question_a_row else _separate(part),
        source=torch.tensor(sources),
        **padded,
    )


def image_positions(side: int) -> list[int]:
    """The position of each visual token of a small picture: where it would stand in one of 336 px, row by row."""
    step = IMAGE_SIDE // side
    places = range(0, GRID, step)
    return [row * GRID + column for row in places for column in places]


def _draw_example(stage: Stage, rng: Generator, source: int, questions_each: int) -> Example:
    if SOURCES[source] == "easy_vqa":
        split = load_split("train")
        picture = split[rng.integers(len(split))]
        pixels = picture.pixels[:, ::-1] if rng.random() < 0.5 else picture.pixels
        chosen = rng.permutation(len(picture.questions))[:questions_each]
        pairs = [picture.questions[index] for index in chosen]
        return Example(pixels, tuple((questions.in_some_case(ask, rng), answer) for ask, answer in pairs), source)
    if SOURCES[source] == "easy_drawn":
        scene = scenes.sample_easy_scene(rng)
        image = scenes.draw_easy(scene)
        pairs = [questions.ask_easy(scene, rng, stage.easy_shares) for _ in range(questions_each)]
    else:
        scene = scenes.sample_scene(rng, stage.most_shapes)
        image = scenes.draw(scene, stage.image_side)
        pairs = [questions.ask(scene, rng, stage.scene_shares) for _ in range(questions_each)]
    return Example(np.asarray(image), tuple(dict.fromkeys(pairs)), source)


def _row(pairs: tuple[tuple[str, str], ...], side: int, processor: LlavaProcessor, first_answer: int) -> dict:
    """One row's lists of numbers; `part` is 0 before the questions and counts the questions from 1."""
    start = _token_ids(processor, PROMPT_START)
    picture = image_positions(side)
    ids = [*start, *[processor.image_token_id] * len(picture)]
    positions = [*range(len(start)), *[len(start) + place for place in picture]]
    row = {
        "input_ids": ids,
        "position_ids": positions,
        "labels": [NO_LABEL] * len(ids),
        "answer": [-1] * len(ids),
        "part": [0] * len(ids),
    }
    for number, (question, answer) in enumerate(pairs):
        asked, told = _token_ids(processor, prompt_end(question)), _token_ids(processor, answer_text(answer))
        length = len(asked) + len(told)
        first = len(start) + GRID * GRID
        row["input_ids"] += [*asked, *told]
        row["position_ids"] += range(first, first + length)
        row["labels"] += [*[NO_LABEL] * len(asked), *told]
        row["answer"] += [*[-1] * len(asked), *[first_answer + number] * len(told)]
        row["part"] += [number + 1] * length
    return row


def _separate(part: Tensor) -> Tensor:
    """Who may look at whom, causally: everyone at the picture, a question only at itself. [R, T] -> [R, 1, T, T]"""
    length = part.shape[1]
    same = part.unsqueeze(2) == part.unsqueeze(1)
    seen = (same | (part == 0).unsqueeze(1)) & torch.ones(length, length, dtype=torch.bool).tril()
    return seen.unsqueeze(1)


def _pixel_values(pictures: list[np.ndarray], side: int, processor: LlavaProcessor) -> Tensor:
    """Pictures as the processor would give them, at another size. [B, 3, side, side]"""
    resized = []
    for picture in pictures:
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().unsqueeze(0)
        if picture.shape[0] != side:
            pixels = functional.interpolate(pixels, size=(side, side), mode="bicubic", antialias=True)
        resized.append(pixels)
    stacked = torch.cat(resized).round().clamp(0, 255) / 255
    mean = torch.tensor(processor.image_processor.image_mean).view(1, 3, 1, 1)
    deviation = torch.tensor(processor.image_processor.image_std).view(1, 3, 1, 1)
    return (stacked - mean) / deviation


def _token_ids(processor: LlavaProcessor, text: str) -> list[int]:
    return list(_cached_token_ids(processor.tokenizer, text))


@cache
def _cached_token_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode(text, add_special_tokens=False))
