"""Training batches: pictures and questions drawn for one step, laid out as the decoder reads them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import LlavaProcessor, PreTrainedTokenizerFast
from transformers.image_utils import OPENAI_CLIP_MEAN as CLIP_MEAN
from transformers.image_utils import OPENAI_CLIP_STD as CLIP_DEVIATION

from skipcore.builtin.questions.questions import Question, as_typed, ask, ask_several
from skipcore.builtin.scenes.draw import draw_with_owners
from skipcore.builtin.scenes.easy_scenes import ask_easy, draw_easy, sample_easy_scene
from skipcore.builtin.scenes.easy_vqa import load_split
from skipcore.builtin.scenes.sample import sample_scene
from skipcore.builtin.scenes.splits import is_pair_held_out
from skipcore.builtin.training.patch_labels import PatchLabels, label_patches, no_labels
from skipcore.builtin.training.recipe import Stage
from skipcore.builtin.training.untrained import GRID, IMAGE_SIDE, PROMPT_START, answer_text, prompt_end

SOURCES = ("scenes", "easy_vqa", "easy_drawn")
NO_LABEL = -100
SQUEEZED = 0.25
"""The share of scenes drawn wide or high and squeezed to a square, as the processor does with such pictures."""


@dataclass(frozen=True, eq=False)
class Example:
    """One picture, uint8 [height, width, 3], the questions to it, its patches' labels and its source in `SOURCES`."""

    pixels: np.ndarray
    questions: tuple[tuple[str, str], ...]
    patches: PatchLabels
    source: int


@dataclass(frozen=True, eq=False)
class Batch:
    """B pictures and R rows of T tokens: a row to a picture, or one to each question.

    Attributes:
        pixels: [B, 3, side, side] uint8, as they travel from the workers; `pixel_values` is made of them on the device.
        patch_labels: [3, B, P] numbers of noun, color and text, −1 where unknown.
        patch_offset: [B, P, 2].
        picture: [R] which picture each row asks about.
        input_ids, position_ids, labels: [R, T]; padded on the right.
        part: [R, T] 0 before the questions, the number of the question from 1 on, −1 for padding.
        answer: [R, T] number of the answer that a label belongs to, −1 where there is no label.
        source: [answers] the index in `SOURCES` of each answer's picture.
    """

    pixels: Tensor
    patch_labels: Tensor
    patch_offset: Tensor
    picture: Tensor
    input_ids: Tensor
    position_ids: Tensor
    labels: Tensor
    part: Tensor
    answer: Tensor
    source: Tensor

    @property
    def pixel_values(self) -> Tensor:
        """The pictures as the processor would give them. [B, 3, side, side]"""
        mean, deviation = (self.pixels.new_tensor(value, dtype=torch.float32) for value in (CLIP_MEAN, CLIP_DEVIATION))
        return (self.pixels.float() / 255 - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1)

    @property
    def attention_mask(self) -> Tensor:
        """[R, 1, T, T] bool where a row holds several questions that must not see each other, else [R, T] with ones
        for tokens and zeros for padding."""
        return (self.part >= 0).long() if self.part.max() <= 1 else _separate(self.part)

    def to(self, device: torch.device) -> Batch:
        """The batch with every tensor on a device."""
        moved = {field.name: getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)}
        return Batch(**moved)


def draw_examples(stage: Stage, rng: Generator, pictures: int, questions_each: int) -> list[Example]:
    """Pictures from the stage's mixture, with so many different questions to each where there are as many."""
    mixture = stage.mixture
    kinds = rng.choice(3, size=pictures, p=(mixture.scenes, mixture.easy_vqa, mixture.easy_drawn))
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
    patches = [example.patches for example in examples]
    return Batch(
        pixels=_pixels([example.pixels for example in examples], side),
        patch_labels=torch.from_numpy(np.stack([[each.noun, each.color, each.text] for each in patches], axis=1)),
        patch_offset=torch.from_numpy(np.stack([each.offset for each in patches])),
        picture=torch.tensor([picture for picture, _ in rows]),
        source=torch.tensor(sources),
        **padded,
    )


def image_positions(side: int) -> list[int]:
    """The position of each visual token of a small picture: where it would stand in one of 336 px, row by row."""
    step = IMAGE_SIDE // side
    places = range(0, GRID, step)
    return [row * GRID + column for row in places for column in places]


def _draw_example(stage: Stage, rng: Generator, source: int, questions_each: int) -> Example:
    side = stage.image_side
    if SOURCES[source] == "scenes":
        return _draw_scene(stage, rng, questions_each)
    if SOURCES[source] == "easy_vqa":
        split = load_split("train")
        picture = split[rng.integers(len(split))]
        pixels = picture.pixels[:, ::-1] if rng.random() < 0.5 else picture.pixels
        chosen = rng.permutation(len(picture.questions))[:questions_each]
        pairs = [picture.questions[index] for index in chosen]
    else:
        scene = sample_easy_scene(rng)
        pixels = np.asarray(draw_easy(scene))
        pairs = list(dict.fromkeys(ask_easy(scene, rng) for _ in range(questions_each)))
    asked = tuple((as_typed(question, rng), answer) for question, answer in pairs)
    return Example(pixels, asked, no_labels(side), source)


def _draw_scene(stage: Stage, rng: Generator, questions_each: int) -> Example:
    """A scene as training may show it, with questions as training may ask them."""
    side = stage.image_side
    scene = sample_scene(rng, "train", stage.contents)
    width, height = side, side
    if rng.random() < SQUEEZED:
        longer = round(side * float(rng.uniform(1.05, 1.6)))
        width, height = (longer, side) if rng.random() < 0.6 else (side, longer)
    image, owners = draw_with_owners(scene, width, height)
    if (width, height) != (side, side):
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    light, shade = float(rng.uniform(0.85, 1.12)), float(rng.uniform(-12, 12))
    pixels = (np.asarray(image, dtype=np.float32) * light + shade).clip(0, 255).astype(np.uint8)
    pairs: tuple[tuple[str, str], ...] = ()
    if stage.trains != "tower":
        foreign = stage.contents.foreign
        asked = ask_several(scene, rng, questions_each, stage.question_shares or None, foreign)
        asked = [each for each in asked if not _is_held_out(each)]
        asked = asked or [ask(scene, rng, {"existence": 1.0}, foreign=foreign)]
        pairs = tuple((each.text, each.answer) for each in asked)
    return Example(pixels, pairs or (("", ""),), label_patches(scene, owners, side), SOURCES.index("scenes"))


def _is_held_out(question: Question) -> bool:
    """Whether only the test split "combinations" may ask this."""
    about = question.about
    return question.kind == "relation" and any(
        is_pair_held_out(first, second) for index, first in enumerate(about) for second in about[index + 1 :]
    )


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
        asked, answered = _token_ids(processor, prompt_end(question)), _token_ids(processor, answer_text(answer))
        length = len(asked) + len(answered)
        first = len(start) + GRID * GRID
        row["input_ids"] += [*asked, *answered]
        row["position_ids"] += range(first, first + length)
        row["labels"] += [*[NO_LABEL] * len(asked), *answered]
        row["answer"] += [*[-1] * len(asked), *[first_answer + number] * len(answered)]
        row["part"] += [number + 1] * length
    return row


def _separate(part: Tensor) -> Tensor:
    """Who may look at whom, causally: everyone at the picture, a question only at itself. [R, T] -> [R, 1, T, T]"""
    length = part.shape[1]
    same = part.unsqueeze(2) == part.unsqueeze(1)
    seen = (same | (part == 0).unsqueeze(1)) & torch.ones(length, length, dtype=torch.bool, device=part.device).tril()
    return seen.unsqueeze(1)


def _pixels(pictures: list[np.ndarray], side: int) -> Tensor:
    """Pictures brought to one size. [B, 3, side, side] uint8"""
    resized = []
    for picture in pictures:
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).unsqueeze(0)
        if picture.shape[:2] != (side, side):
            smooth = functional.interpolate(pixels.float(), size=(side, side), mode="bicubic", antialias=True)
            pixels = smooth.round().clamp(0, 255).to(torch.uint8)
        resized.append(pixels)
    return torch.cat(resized)


def _token_ids(processor: LlavaProcessor, text: str) -> list[int]:
    return list(_cached_token_ids(processor.tokenizer, text))


@cache
def _cached_token_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode(text, add_special_tokens=False))
