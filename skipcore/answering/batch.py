"""Many questions at once: pictures are encoded once for all methods that share features, equal prompts go together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPooling

from skipcore.answering.decoding import NextToken, decode, end_tokens, until_end
from skipcore.engine.encoding import remember, remembered
from skipcore.engine.finite import check_logits
from skipcore.families import PIXELS
from skipcore.methods import Method
from skipcore.model.inputs import ImageLike
from skipcore.model.vlm import Vlm
from skipcore.plan.tower_view import TowerView

Item = TypeVar("Item")

MAX_NEW_TOKENS = 128
"""Longest answer where many questions are asked."""
ROWS_AT_ONCE = {"cpu": 48, "cuda": 200}
LOGITS_AT_ONCE = 2**28
"""Numbers that a batch's next-token distributions may hold: 1 GiB in float32."""


class BatchedQuestions:
    """Questions about pictures, numbered from 0, in batches without padding.

    Args:
        vlm: the caller holds its lock while calling `inputs`, which encodes pictures.
        asked: pictures, each with its questions.
        max_new_tokens: longest answer.
        long: numbers of questions with long answers. They get batches of their own, so that short answers need not
            wait for them.

    Raises:
        InputError: a bad picture or question.
    """

    def __init__(
        self,
        vlm: Vlm,
        asked: Sequence[tuple[ImageLike, Sequence[str]]],
        max_new_tokens: int = MAX_NEW_TOKENS,
        long: Collection[int] = (),
    ) -> None:
        self._vlm, self._max_new_tokens, self._long = vlm, max_new_tokens, long
        self._asked = [(number, picture, text) for number, (picture, texts) in enumerate(asked) for text in texts]
        prepared = [vlm.prepare(picture, text, max_new_tokens).inputs for _, picture, text in self._asked]
        self._texts = [
            {name: value for name, value in inputs.items() if name not in PIXELS.values()} for inputs in prepared
        ]
        self._features: dict[tuple[int, Method | None], dict[str, BaseModelOutputWithPooling]] = {}

    def batches(self) -> Iterator[list[int]]:
        """Numbers of the questions of each batch, whose prompts have one length."""
        alike: dict[Any, list[int]] = defaultdict(list)
        for number, text in enumerate(self._texts):
            shapes = tuple((name, value.shape[1:]) for name, value in text.items())
            alike[shapes, number in self._long].append(number)
        logits = self._max_new_tokens * self._vlm.model.get_decoder().config.vocab_size
        most = min(ROWS_AT_ONCE.get(self._vlm.device.type, 48), LOGITS_AT_ONCE // logits)
        for numbers in alike.values():
            yield from groups(numbers, max(1, most))

    def inputs(self, numbers: Sequence[int], method: Method) -> dict[str, Any]:
        """Keyword arguments of the model for one batch, pictures encoded as the method needs them."""
        texts, encoded = [self._texts[number] for number in numbers], [self._encoded(each, method) for each in numbers]
        batch: dict[str, Any] = {name: torch.cat([each[name] for each in texts]) for name in texts[0]}
        features = {kind: _joined_features([each[kind] for each in encoded]) for kind in encoded[0]}
        return batch | ({"mm_encoder_outputs": features} if features else {})

    def _encoded(self, number: int, method: Method) -> dict[str, BaseModelOutputWithPooling]:
        own = None if method.shares_features else method
        index, picture, text = self._asked[number]
        if (index, own) not in self._features:
            self._features[index, own] = self._vlm.encode(self._vlm.prepare(picture, text, method=own), own)
        return self._features[index, own]


def groups(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """The items in order, so many at a time."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def _joined_features(outputs: Sequence[Any]) -> Any:
    """Of what a vision tower gives, what the decoder is given: features by picture, and by layer where it has those."""
    joined = type(outputs[0])(pooler_output=_concatenated([each.pooler_output for each in outputs]))
    if (layers := getattr(outputs[0], "deepstack_features", None)) is not None:
        joined.deepstack_features = [
            _concatenated([each.deepstack_features[layer] for each in outputs]) for layer in range(len(layers))
        ]
    seen = [known.tower for each in outputs if (known := remembered(each)) is not None and known.tower is not None]
    if seen:
        rows = {
            name: [getattr(view, name) for view in seen] for name in vars(seen[0]) if getattr(seen[0], name) is not None
        }
        remember(joined, {}, TowerView(**{name: torch.cat(values) for name, values in rows.items()}))
    return joined


def _concatenated(values: Sequence[Any]) -> Any:
    """Tensors along their first dimension, or lists of tensors as one list."""
    return torch.cat(list(values)) if isinstance(values[0], Tensor) else [each for some in values for each in some]


@torch.inference_mode()
def greedy(vlm: Vlm, inputs: dict[str, Any], method: Method, max_new_tokens: int) -> list[list[int]]:
    """Each row's answer as token ids, its end included, as `generate(do_sample=False)` writes it. The caller holds
    `vlm.lock`.

    Args:
        inputs: keyword arguments of the model for a batch without padding.

    Raises:
        InputError: the model computes numbers that are not finite.
    """
    ends = end_tokens(vlm)
    written: list[list[int]] = []
    unfinished = set(range(len(inputs["input_ids"])))
    with method(vlm.model):
        cache = DynamicCache(config=vlm.model.config)
        for tokens in decode(vlm, inputs, cache, NextToken(vlm, inputs["input_ids"], max_new_tokens)):
            written.append(tokens)
            unfinished -= {row for row in unfinished if tokens[row] in ends}
            if not unfinished or len(written) == max_new_tokens:
                break
    return [until_end(row, ends) for row in zip(*written, strict=True)]


@torch.inference_mode()
def log_probs(vlm: Vlm, inputs: dict[str, Any], method: Method, answers: Sequence[Sequence[int]]) -> list[Tensor]:
    """Next-token log-probabilities while each row of a batch reads a given answer: prefill, then the answers through
    the KV cache, as decoding would read them. The caller holds `vlm.lock`.

    The distributions are the model's own, before the generation config changes them: penalties and forbidden tokens
    are the same for all methods, and would hide what a method changes.

    Args:
        inputs: keyword arguments of the model for a batch without padding.
        answers: token ids for each row, at least one; the last one is predicted and not read.

    Returns:
        [len(answer), vocabulary] float32 for each row.

    Raises:
        InputError: the model computes numbers that are not finite.
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
