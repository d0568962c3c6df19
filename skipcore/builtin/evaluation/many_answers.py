"""Asking a model many questions at once: pictures are encoded once for all methods, answers come from `generate()`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from skipcore.builtin.evaluation.asked import AskedPicture
from skipcore.builtin.evaluation.finished import Finished, chunk_key, method_key, weights_sha256
from skipcore.builtin.evaluation.scores import Answered, Score, Tally, score_of, tally_of
from skipcore.builtin.questions.questions import Question
from skipcore.engine.finite import check_finite, finite_logits
from skipcore.methods import Method
from skipcore.model.vlm import Vlm

Item = TypeVar("Item")

MAX_NEW_TOKENS = 128
PICTURES_IN_A_CHUNK = {"cpu": 50, "cuda": 500}
"""What is lost at most when an evaluation is killed: a minute or so."""
PICTURES_AT_ONCE = {"cpu": 16, "cuda": 50}
ROWS_AT_ONCE = {"cpu": 48, "cuda": 200}


@dataclass(frozen=True, eq=False)
class Prompt:
    """A question as the model gets it: its tokens, and the picture's features [N, d]."""

    question: Question
    is_exact: bool
    token_ids: list[int]
    features: Tensor


def evaluate(
    vlm: Vlm,
    asked: Sequence[AskedPicture],
    methods: Sequence[Method],
    finished: Finished | None = None,
    on_answers: Callable[[int], object] = lambda number: None,
) -> list[Score]:
    """The score of each method, every question asked alone and answered greedily.

    Args:
        asked: at least one picture.
        finished: what was answered before; what is answered now is added to it.
        on_answers: called with a number of answers, as they come.

    Raises:
        InputError: nothing is asked, or a method's settings do not fit the model.
    """
    finished = finished or Finished()
    tallies = [Tally() for _ in methods]
    model_sha256 = weights_sha256(vlm.model)
    for chunk in groups(asked, PICTURES_IN_A_CHUNK.get(vlm.device.type, 50)):
        first = prompt_ids(vlm, chunk[0].questions[0].text, 1)
        key = chunk_key(vlm, model_sha256, chunk, first, MAX_NEW_TOKENS)
        prompts: list[Prompt] = []
        for number, method in enumerate(methods):
            own_key = method_key(key, method)
            tally = finished.get(own_key)
            if tally is None:
                prompts = prompts or _encoded(vlm, chunk)
                tally = tally_of(answers(vlm, prompts, method, on_answers))
                finished.add(own_key, tally, method=method.name, settings=method.settings())
            else:
                on_answers(tally.asked.total())
            tallies[number] += tally
    return [score_of(method, tally) for method, tally in zip(methods, tallies, strict=True)]


@torch.inference_mode()
def answers(
    vlm: Vlm, prompts: Sequence[Prompt], method: Method, on_answers: Callable[[int], object]
) -> Iterator[Answered]:
    """The answer to each prompt. Prompts of one length go together, so that nothing is padded.

    Descriptions go by themselves: short answers need not wait for them.
    """
    alike: dict[tuple[int, bool], list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        alike[len(prompt.token_ids), prompt.question.kind == "description"].append(prompt)
    for some in alike.values():
        for rows in groups(some, ROWS_AT_ONCE.get(vlm.device.type, 48)):
            texts = _generate(vlm, method, rows)
            on_answers(len(rows))
            for row, text in zip(rows, texts, strict=True):
                yield Answered(row.question, text, row.is_exact)


@torch.inference_mode()
def _encoded(vlm: Vlm, pictures: Sequence[AskedPicture]) -> list[Prompt]:
    """The prompts of some pictures, with the pictures encoded."""
    prompts = []
    for few in groups(pictures, PICTURES_AT_ONCE.get(vlm.device.type, 16)):
        pixels = vlm.processor.image_processor(images=[each.draw() for each in few], return_tensors="pt")[
            "pixel_values"
        ].to(vlm.device, vlm.model.dtype)
        encode = partial(vlm.model.get_image_features, pixel_values=pixels, return_dict=True)
        features = encode().pooler_output
        check_finite(vlm.model, features, encode)
        for picture, feature in zip(few, features, strict=True):
            for question in picture.questions:
                ids = prompt_ids(vlm, question.text, len(feature))
                prompts.append(Prompt(question, picture.is_exact, ids, feature))
    return prompts


def _generate(vlm: Vlm, method: Method, rows: Sequence[Prompt]) -> list[str]:
    input_ids = torch.tensor([row.token_ids for row in rows], device=vlm.device)
    features = [row.features for row in rows]
    inputs = {
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids),
        "mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=features)},
    }
    with vlm.lock, method(vlm.model), finite_logits(vlm.model, partial(vlm.model, **inputs, logits_to_keep=1)):
        written = vlm.model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
    return vlm.processor.tokenizer.batch_decode(written[:, input_ids.shape[1] :], skip_special_tokens=True)


def prompt_ids(vlm: Vlm, question: str, num_visual: int) -> list[int]:
    """A question's tokens as the processor would give them, with so many image tokens."""
    if getattr(vlm.processor, "chat_template", None) is None:
        text = vlm.family.prompt(vlm.processor, f"{vlm.processor.image_token}\n{question}")
    else:
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = vlm.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    text = text.replace(vlm.processor.image_token, vlm.processor.image_token * num_visual)
    return vlm.processor.tokenizer.encode(text, add_special_tokens=False)


def groups(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """The items in order, so many at a time."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
