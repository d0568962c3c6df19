"""Several questions about the same pictures over one KV cache: from the second on, only what is new is prefilled."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from itertools import takewhile
from statistics import fmean
from typing import Any

import torch
from transformers import DynamicCache

from skipcore.answering.decoding import NextToken, Sampling
from skipcore.answering.generate import AnswerToken, check_max_new_tokens, generate
from skipcore.engine.cache import stored_tokens
from skipcore.errors import InputError
from skipcore.families import kinds_of
from skipcore.methods import Dense, Method
from skipcore.model.hardware import devices_of, synchronize
from skipcore.model.inputs import ImageLike
from skipcore.model.vlm import Prepared, Vlm
from skipcore.model.wrappers import stock_model


class Chat:
    """A conversation about some pictures.

    Every question is put as the model's own prompt for the whole conversation. As much of it as the KV cache holds
    already, token for token, is not read again: the cache is cropped to it, and the rest is prefilled. Where the two
    part inside a picture, or a sliding window has let go of what is needed, everything is prefilled again.

    Skipped tokens have left the cache by the second question, which sees what a decoded token sees. With
    `text_attends_skipped=False` that is what it would see in a prefill of its own.

    Args:
        vlm: from `load`.
        image: a picture, several of them, or an empty list for text alone.
        method: default `Dense()`.

    Attributes:
        turns: questions and answers so far. A turn that failed is not among them.
        reused: tokens of the last prompt that were read before and were not read again, skipped and merged ones
            included.
        kv_tokens: tokens that the KV cache held when the last question was put, the mean over the layers.
    """

    def __init__(self, vlm: Vlm, image: ImageLike | Sequence[ImageLike], method: Method | None = None) -> None:
        self.vlm = vlm
        self.method = method or Dense()
        self.turns: list[tuple[str, str]] = []
        self.reused = 0
        self.kv_tokens = 0.0
        self._image = image
        self._features: dict[str, Any] | None = None
        self._cache: DynamicCache | None = None
        self._read: list[int] = []  # tokens that the cache has taken in
        self._remembered: dict[str, Any] = {}  # what the model knows of the prompt beside the cache

    def ask(
        self,
        question: str,
        max_new_tokens: int = 64,
        *,
        sampling: Sampling | None = None,
        stop: threading.Event | None = None,
    ) -> Generator[AnswerToken, None, None]:
        """Answer the next question, token by token; see `skipcore.answering.generate`. The first token's `seconds`
        are those of the prefill of what is new.

        An answer that is stopped or closed counts as far as it came.

        Raises:
            InputError: bad picture, question or setting, or the conversation has become too long for the model.
        """
        longest = check_max_new_tokens(max_new_tokens)
        prepared = self.vlm.prepare(self._image, question, longest, self.turns, self.method)
        ids: list[int] = prepared.inputs["input_ids"][0].tolist()
        with self.vlm.lock:
            chooser = NextToken(self.vlm, prepared.inputs["input_ids"], longest, sampling)
            inputs = self._continue(ids, prepared) or self._start(prepared)
            cache, self._cache = self._cache, None  # until the answer is whole, nothing is known of it
            session = self.method(self.vlm.model)
            tokens: list[AnswerToken] = []
            answering = generate(self.vlm, inputs, session, longest, stop=stop, cache=cache, chooser=chooser)
            try:
                with closing(answering):
                    for token in answering:
                        tokens.append(token)
                        yield token
            except GeneratorExit:
                self._keep(cache, question, ids, tokens)
                raise
            self._keep(cache, question, ids, tokens)

    def forget(self) -> None:
        """Let go of the KV cache and of the encoded pictures, which lie on the device; the turns stay. The next
        question prefills everything."""
        self._cache, self._features = None, None

    def _start(self, prepared: Prepared) -> dict[str, Any]:
        """Start a new KV cache; pictures are encoded the first time only."""
        if self._features is None:
            self._features = self.vlm.encode(prepared, self.method)
            synchronize(devices_of(self.vlm.model))  # so that the first token's step is the prefill alone
        self._cache = DynamicCache(config=self.vlm.model.config)
        self.reused, self.kv_tokens = 0, 0.0
        return prepared.with_features(self._features)

    def _continue(self, ids: list[int], prepared: Prepared) -> dict[str, Any] | None:
        """What is new, for a cache cropped to what is old; None where the cache is of no use."""
        if self._cache is None:
            return None
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ids, self._read, strict=False)))
        same = min(same, len(ids) - 1)  # something must be read to predict the next token
        if bool(kinds_of(self.vlm.model.config, prepared.inputs["input_ids"][0, same:]).any()):
            return None
        try:
            self._cache.crop(same - len(self._read))
        except (InputError, RuntimeError):  # ours and stock layers', of what cannot come back
            return None
        for name, value in self._remembered.items():
            setattr(stock_model(self.vlm.model).base_model, name, value)
        layers = range(len(self._cache.layers))
        self.reused, self.kv_tokens = same, fmean(stored_tokens(self._cache, layer) for layer in layers)
        return {"input_ids": torch.tensor([ids[same:]], device=self.vlm.device)}

    def _keep(self, cache: DynamicCache | None, question: str, ids: list[int], tokens: list[AnswerToken]) -> None:
        """Take note of an answer. Its last token has not been read."""
        if not tokens:
            return
        self.turns.append((question.strip(), "".join(token.text for token in tokens).strip()))
        self._cache, self._read = cache, [*ids, *(token.id for token in tokens[:-1])]
        remembers = self.vlm.family.remembers
        self._remembered = {name: getattr(stock_model(self.vlm.model).base_model, name) for name in remembers}
