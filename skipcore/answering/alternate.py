"""Several methods answering one question side by side, on a device that they share step by step."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from skipcore.answering.decoding import NextToken, end_tokens
from skipcore.answering.generate import AnswerToken, check_max_new_tokens, generate
from skipcore.methods import Method
from skipcore.model.inputs import ImageLike
from skipcore.model.vlm import Vlm
from skipcore.model.wrappers import stock_model


@dataclass(frozen=True)
class Step:
    """A token of one method's answer.

    Attributes:
        number: of the method.
        text: the answer so far.
        seconds: device time that this method has used up to this token, without encoding the picture.
        done: the answer is whole.
    """

    number: int
    text: str
    seconds: float
    done: bool


def alternate(
    vlm: Vlm,
    image: ImageLike | Sequence[ImageLike],
    question: str,
    methods: Sequence[Method],
    max_new_tokens: int = 64,
    *,
    stop: threading.Event | None = None,
) -> Generator[Step, None, None]:
    """Answer under several methods at once: whichever has used the device least makes the next token, and tokens come
    in the order of what they took, as if each method had an equal share of the device all the time. The answers are
    those of `ask`. Steps taken in turns disturb one another, so `seconds` are for watching, not for reporting.

    The model is locked until the last token or until the generator is closed.

    Args:
        vlm: from `load`.
        image: a picture, or several.
        max_new_tokens: at least 1.
        stop: set it from anywhere to end before the next token.

    Raises:
        InputError: bad picture, question or setting.
    """
    check_max_new_tokens(max_new_tokens)
    prepared = [vlm.prepare(image, question, max_new_tokens, method=method) for method in methods]
    with vlm.lock:
        runners = [
            _Runner(vlm, method, each.with_features(vlm.encode(each, method)), max_new_tokens)
            for method, each in zip(methods, prepared, strict=True)
        ]
        running = dict(enumerate(runners))
        waiting: list[tuple[float, int, str, bool]] = []
        while running:
            if stop is not None and stop.is_set():
                return
            number = min(running, key=lambda each: running[each].seconds)
            runner = running[number]
            runner.step()
            heapq.heappush(waiting, (runner.seconds, number, runner.text, runner.done))
            if runner.done:
                del running[number]
            earliest = min((each.seconds for each in running.values()), default=float("inf"))
            while waiting and waiting[0][0] <= earliest:
                seconds, its_number, text, done = heapq.heappop(waiting)
                yield Step(its_number, text, seconds, done)


@dataclass
class _Runner:
    """One method's answer, a step at a time: each step in a session of its own, over a cache that stays."""

    vlm: Vlm
    method: Method
    inputs: dict[str, Any]
    max_new_tokens: int
    ids: list[int] = field(default_factory=list)
    seconds: float = 0.0
    done: bool = False
    cache: DynamicCache = field(init=False)
    chooser: NextToken = field(init=False)
    remembered: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cache = DynamicCache(config=self.vlm.model.config)
        self.chooser = NextToken(self.vlm, self.inputs["input_ids"], self.max_new_tokens)

    @property
    def text(self) -> str:
        text = self.vlm.processor.tokenizer.decode(self.ids, skip_special_tokens=True)
        return text if self.done else text.removesuffix("\ufffd")

    def step(self) -> None:
        """One token more."""
        base = stock_model(self.vlm.model).base_model
        for name, value in self.remembered.items():  # what the model knows of this prompt beside the cache
            setattr(base, name, value)
        session = self.method(self.vlm.model)
        with closing(generate(self.vlm, self.inputs, session, 1, cache=self.cache, chooser=self.chooser)) as tokens:
            token: AnswerToken = next(tokens)
        self.remembered = {name: getattr(base, name) for name in self.vlm.family.remembers}
        self.seconds += token.seconds
        self.done = token.id in end_tokens(self.vlm) or len(self.ids) == self.max_new_tokens - 1
        self.ids.append(token.id)
        self.inputs = {"input_ids": torch.tensor([[token.id]], device=self.vlm.device)}
