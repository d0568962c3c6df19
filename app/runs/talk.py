"""A conversation: further questions about the picture of a report, put to all its arms over their KV caches."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from weakref import ReferenceType, ref

from PIL import Image

from profiling import Report
from skipcore import Chat, Method, Vlm


@dataclass(frozen=True)
class Reply:
    """What one arm says to one question, so far.

    Attributes:
        ttft_ms: prefill of what the cache did not hold; None before the first token.
        reused: tokens of the prompt that were read before and were not read again.
        kv_tokens: tokens that the KV cache held of the conversation so far, the mean over the layers.
    """

    text: str = ""
    ttft_ms: float | None = None
    reused: int = 0
    kv_tokens: float = 0.0


@dataclass(frozen=True)
class Turn:
    """A question and the replies of all arms."""

    question: str
    replies: tuple[Reply, ...]


@dataclass(eq=False)
class Talk:
    """One visitor's conversation, which goes on where a report ended.

    Attributes:
        question, pictures: of the report.
        chats: one for each arm.
        turns: what was said after the report.
    """

    names: tuple[str, ...]
    question: str
    max_new_tokens: int
    pictures: tuple[Image.Image, ...]
    chats: tuple[Chat, ...]
    turns: list[Turn] = field(default_factory=list)

    @classmethod
    def about(cls, vlm: Vlm, report: Report, methods: Sequence[Method]) -> Talk:
        """Nothing runs before the first question.

        Args:
            methods: of the report's arms.
        """
        chats = tuple(Chat(vlm, list(report.pictures), method) for method in methods)
        return cls(
            tuple(arm.name for arm in report.arms), report.question, report.max_new_tokens, report.pictures, chats
        )

    def ask(self, question: str, stop: threading.Event) -> Generator[Turn]:
        """The turn as it grows. One that ends early, for whatever reason, leaves the talk as it was.

        Raises:
            InputError: a bad question, or the talk has become too long for the model.
        """
        try:
            self._catch_up(stop)
            if stop.is_set():
                return
            turn = Turn(question.strip(), tuple(Reply() for _ in self.chats))
            for number, chat in enumerate(self.chats):
                with closing(chat.ask(question, self.max_new_tokens, stop=stop)) as tokens:
                    for token in tokens:
                        turn = _grown(turn, number, token.text, 1000 * token.seconds, chat)
                        yield turn
            if not stop.is_set():
                self.turns.append(turn)
        finally:
            for chat in self.chats:
                del chat.turns[1 + len(self.turns) :]

    def _catch_up(self, stop: threading.Event) -> None:
        """Have the report's question in every cache: the report measured with caches of its own."""
        for chat in self.chats:
            if not chat.turns:
                for _ in chat.ask(self.question, self.max_new_tokens, stop=stop):
                    pass
            if stop.is_set():
                chat.turns.clear()  # half an answer is not the report's
                return

    def forget(self) -> None:
        """Free the device; the next question prefills everything."""
        for chat in self.chats:
            chat.forget()


class LastTalk:
    """The talk that asked last: only its caches stay on the device, however many visitors there are."""

    def __init__(self) -> None:
        self._talk: ReferenceType[Talk] | None = None

    def becomes(self, talk: Talk) -> None:
        """Let a talk use the device; the one before it forgets its caches."""
        if self._talk is None or self._talk() is not talk:
            self.forget()
        self._talk = ref(talk)

    def forget(self) -> None:
        """Free the device."""
        if self._talk is not None and (talk := self._talk()) is not None:
            talk.forget()


def _grown(turn: Turn, number: int, text: str, prefill_ms: float, chat: Chat) -> Turn:
    old = turn.replies[number]
    ttft_ms = prefill_ms if old.ttft_ms is None else old.ttft_ms
    replies = list(turn.replies)
    replies[number] = Reply(old.text + text, ttft_ms, chat.reused, chat.kv_tokens)
    return replace(turn, replies=tuple(replies))
