"""Asking many questions at once: every picture encoded once for all methods, prompts of one length as one batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPooling

from skipcore import Method, Vlm
from skipcore.answering.decoding import NOT_FINITE, NextToken, end_tokens, until_end
from skipcore.builtin.evaluation import AskedPicture
from skipcore.builtin.questions.questions import Question
from skipcore.engine.encoding import remember, remembered
from skipcore.engine.finite import check_logits, not_finite
from skipcore.model.vlm import Prepared
from skipcore.plan.tower_view import TowerView

MAX_NEW_TOKENS = 128
ROWS_AT_ONCE = {"cpu": 48, "cuda": 200}
LOGITS_AT_ONCE = 2**28
"""Numbers that a batch's next-token distributions may hold: 1 GiB in float32."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """One question to one picture.

    Attributes:
        number: of the question, in the order of the pictures it was asked with.
        picture: number of the picture among those.
        is_exact: whether an answer is right only if it is the true one to the letter.
        shown: the picture.
        prepared: as the model takes it.
    """

    number: int
    picture: int
    shown: Image.Image
    question: Question
    is_exact: bool
    prepared: Prepared


def prompts_of(vlm: Vlm, pictures: Sequence[AskedPicture], max_new_tokens: int) -> list[Prompt]:
    """The questions to some pictures, in order."""
    prompts: list[Prompt] = []
    for number, asked in enumerate(pictures):
        drawn = asked.draw()
        for question in asked.questions:
            prepared = vlm.prepare(drawn, question.text, max_new_tokens)
            prompts.append(Prompt(len(prompts), number, drawn, question, asked.is_exact, prepared))
    return prompts


def batches(vlm: Vlm, prompts: Sequence[Prompt]) -> Iterator[list[Prompt]]:
    """The prompts in batches of one length, so that nothing is padded. Descriptions go by themselves: short answers
    need not wait for them."""
    most = ROWS_AT_ONCE.get(vlm.device.type, 48)
    most = max(1, min(most, LOGITS_AT_ONCE // (MAX_NEW_TOKENS * vlm.model.get_decoder().config.vocab_size)))
    alike: dict[Any, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        inputs = prompt.prepared.inputs
        shapes = tuple((name, value.shape[1:]) for name, value in inputs.items() if not name.startswith("pixel_values"))
        alike[shapes, prompt.question.kind == "description"].append(prompt)
    for some in alike.values():
        for first in range(0, len(some), most):
            yield some[first : first + most]


class Encoder:
    """Encodes pictures, each once for all methods that share its features."""

    def __init__(self, vlm: Vlm) -> None:
        self._vlm = vlm
        self._features: dict[tuple[int, Method | None], dict[str, BaseModelOutputWithPooling]] = {}

    def inputs(self, prompts: Sequence[Prompt], method: Method) -> dict[str, Any]:
        """One batch as the model takes it, pictures encoded."""
        return joined([each.prepared.with_features(self._encoded(each, method)) for each in prompts])

    def _encoded(self, prompt: Prompt, method: Method) -> dict[str, BaseModelOutputWithPooling]:
        """The one place where the race encodes pictures."""
        own = None if method.shares_features else method
        if (prompt.picture, own) not in self._features:
            prepared = self._vlm.prepare(prompt.shown, prompt.question.text, method=own) if own else prompt.prepared
            self._features[prompt.picture, own] = self._vlm.encode(prepared, own)
        return self._features[prompt.picture, own]


def joined(inputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The inputs of several prompts of one length as those of a batch."""
    batch = {name: torch.cat([each[name] for each in inputs]) for name in inputs[0] if name != "mm_encoder_outputs"}
    encoded = [each.get("mm_encoder_outputs", {}) for each in inputs]
    features = {kind: _joined_features([each[kind] for each in encoded]) for kind in encoded[0]}
    return batch | ({"mm_encoder_outputs": features} if features else {})


def _joined_features(outputs: Sequence[Any]) -> Any:
    """Of what a vision tower gives, what the decoder is given: features by picture, and by layer where it has those."""
    joined_outputs = type(outputs[0])(pooler_output=_concatenated([each.pooler_output for each in outputs]))
    if (layers := getattr(outputs[0], "deepstack_features", None)) is not None:
        joined_outputs.deepstack_features = [
            _concatenated([each.deepstack_features[layer] for each in outputs]) for layer in range(len(layers))
        ]
    seen = [known.tower for each in outputs if (known := remembered(each)) is not None and known.tower is not None]
    if seen:
        rows = {
            name: [getattr(view, name) for view in seen] for name in vars(seen[0]) if getattr(seen[0], name) is not None
        }
        remember(joined_outputs, {}, TowerView(**{name: torch.cat(values) for name, values in rows.items()}))
    return joined_outputs


def _concatenated(values: Sequence[Any]) -> Any:
    """Tensors along their first dimension, or lists of tensors as one list."""
    return torch.cat(list(values)) if isinstance(values[0], Tensor) else [each for some in values for each in some]


@torch.inference_mode()
def greedy(vlm: Vlm, method: Method, inputs: dict[str, Any], max_new_tokens: int) -> list[list[int]]:
    """Each row's answer as token ids, its end included, as `generate(do_sample=False)` writes it. The caller holds
    `vlm.lock`.

    Args:
        inputs: of a batch without padding.

    Raises:
        InputError: the model computes numbers that are not finite.
    """
    ends = torch.tensor(sorted(end_tokens(vlm)), device=vlm.device)
    chooser = NextToken(vlm, inputs["input_ids"], max_new_tokens)
    step, written = inputs, []
    with method(vlm.model):
        cache = DynamicCache(config=vlm.model.config)
        ended = torch.zeros(len(inputs["input_ids"]), dtype=torch.bool, device=vlm.device)
        for _ in range(max_new_tokens):
            logits = vlm.model(**step, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
            tokens = chooser(logits)
            if (tokens == NOT_FINITE).any():
                raise not_finite(vlm.model, partial(vlm.model, **inputs, use_cache=True, logits_to_keep=1))
            written.append(tokens)
            ended |= torch.isin(tokens, ends)
            if ended.all():
                break
            step = {"input_ids": tokens[:, None]}
    is_end = set(ends.tolist())
    return [until_end(row, is_end) for row in torch.stack(written, dim=1).tolist()]


@torch.inference_mode()
def log_probs(vlm: Vlm, method: Method, inputs: dict[str, Any], answers: Sequence[Sequence[int]]) -> list[Tensor]:
    """`skipcore.answering.agreement.log_probs_along` for a batch: next-token log-probabilities while each row reads
    a given answer. The caller holds `vlm.lock`.

    Args:
        inputs: of a batch without padding.
        answers: one for each row; at least one token each.

    Returns:
        [len(answer), vocabulary] float32 for each row.
    """
    longest = max(map(len, answers))
    with method(vlm.model):
        cache = DynamicCache(config=vlm.model.config)
        logits = vlm.model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1:]
        if longest > 1:  # shorter rows read on beyond their answers, which changes nothing before
            read = torch.tensor([[*answer, *[answer[-1]] * (longest - len(answer))] for answer in answers])
            read = read[:, :-1].to(vlm.device)
            logits = torch.cat([logits, vlm.model(input_ids=read, past_key_values=cache, use_cache=True).logits], dim=1)
        check_logits(vlm.model, logits, partial(vlm.model, **inputs, use_cache=True, logits_to_keep=1))
    return [row[: len(answer)].float().log_softmax(dim=-1) for row, answer in zip(logits, answers, strict=True)]
