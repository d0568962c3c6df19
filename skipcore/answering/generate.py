"""Question in, time-stamped tokens out."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from transformers import DynamicCache

from skipcore.answering.decoding import NextToken, Sampling, decode, end_tokens
from skipcore.errors import InputError
from skipcore.methods import Dense, Method
from skipcore.model.hardware import devices_of, synchronize
from skipcore.model.inputs import ImageLike
from skipcore.model.vlm import Vlm


@dataclass(frozen=True)
class AnswerToken:
    """One generated token.

    Attributes:
        id: token id.
        text: what it adds to the answer; empty for the end of the answer and inside a character.
        seconds: time the step that made it took on the device. The first token's step is the prefill.
        time: `time.perf_counter()` when the token was there.
    """

    id: int
    text: str
    seconds: float
    time: float


def answer(
    vlm: Vlm,
    image: ImageLike,
    question: str,
    method: Method | None = None,
    max_new_tokens: int = 64,
    *,
    sampling: Sampling | None = None,
    stop: threading.Event | None = None,
) -> Generator[AnswerToken, None, None]:
    """Answer a question about a picture, token by token.

    The model is locked until the last token or until the generator is closed: another answer asked for from the same
    thread in between would wait for ever.

    Args:
        vlm: from `load`.
        image: path, bytes, PIL image or array.
        question: text.
        method: default `Dense()`.
        max_new_tokens: at least 1.
        sampling: default greedy.
        stop: set it from anywhere to end the answer before the next token.

    Raises:
        InputError: bad picture, question or setting.
    """
    method = method or Dense()
    prepared = vlm.prepare(image, question, check_max_new_tokens(max_new_tokens), method=method)
    with vlm.lock:
        inputs = prepared.with_features(vlm.encode(prepared, method))
        synchronize(devices_of(vlm.model))  # so that the first token's step is the prefill alone
        session = method(vlm.model)
        with closing(generate(vlm, inputs, session, max_new_tokens, sampling=sampling, stop=stop)) as tokens:
            yield from tokens


def ask(
    vlm: Vlm,
    image: ImageLike,
    question: str,
    method: Method | None = None,
    max_new_tokens: int = 64,
    *,
    sampling: Sampling | None = None,
    stop: threading.Event | None = None,
) -> str:
    """The whole answer of `answer`, as text."""
    tokens = answer(vlm, image, question, method, max_new_tokens, sampling=sampling, stop=stop)
    return "".join(token.text for token in tokens).strip()


@torch.inference_mode()  # as a decorator, so that the mode does not leak to the consumer between two tokens
def generate(
    vlm: Vlm,
    inputs: dict[str, Any],
    session: AbstractContextManager,
    max_new_tokens: int,
    *,
    sampling: Sampling | None = None,
    stop: threading.Event | None = None,
    ignore_eos: bool = False,
    cache: DynamicCache | None = None,
    chooser: NextToken | None = None,
) -> Generator[AnswerToken, None, None]:
    """Prefill and decode inside `session` (entered and left here); the caller holds `vlm.lock`.

    What the consumer does between two tokens is not part of any step's `seconds`.

    Args:
        inputs: keyword arguments of the model for one prompt.
        session: of a method on the model, or any other context manager for a plain run.
        ignore_eos: go on to `max_new_tokens` whatever the model says, for benchmarks of a fixed length.
        cache: of what was read before the inputs, which takes in all but the last token; None: a new one.
        chooser: of the next token, where the prompt is more than the inputs; it brings its own sampling.

    Raises:
        InputError: the model computes numbers that are not finite, or its generation config asks for what is not
            supported.
    """
    chooser = chooser or NextToken(vlm, inputs["input_ids"], max_new_tokens, sampling)
    ends = end_tokens(vlm)
    text = _TextOfTokens(vlm.processor.tokenizer)
    with session:
        steps = decode(vlm, inputs, DynamicCache(config=vlm.model.config) if cache is None else cache, chooser)
        for number in range(max_new_tokens):
            if stop is not None and stop.is_set():
                return
            start = perf_counter()
            (token,) = next(steps)
            now = perf_counter()  # the token was read off the device, so its step has ended
            ended = token in ends and not ignore_eos
            last = ended or number == max_new_tokens - 1
            yield AnswerToken(token, "" if token in ends else text.add(token, last), now - start, now)
            if ended:
                return


def check_max_new_tokens(max_new_tokens: int) -> int:
    """Raises InputError unless it is a whole number from 1 on."""
    if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, int) or max_new_tokens < 1:
        raise InputError(f"max_new_tokens must be a whole number of at least 1, not {max_new_tokens!r}.")
    return max_new_tokens


class _TextOfTokens:
    """Text of a growing token sequence: a character is given out when its last byte is there."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._given = ""

    def add(self, token: int, last: bool) -> str:
        self._ids.append(token)
        text = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        if text.endswith("\ufffd") and not last:
            return ""
        new, self._given = text[len(self._given) :], text
        return new
