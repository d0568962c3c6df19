"""Chat messages in the forms that transformers takes, as roles with pictures and texts in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from skipcore.errors import InputError
from skipcore.model.inputs import check_question, check_text, from_base64, open_picture
from skipcore.model.special_tokens import made_plain, refuse_special

ROLES = ("system", "user", "assistant")
SOURCES = ("image", "path", "url", "base64", "image_url")
"""The keys under which a part may hold its picture."""


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes:
        role: one of `ROLES`.
        parts: texts, and None for a picture, in their order.
    """

    role: str
    parts: tuple[str | None, ...]

    def templated(self) -> dict[str, Any]:
        """The message as a chat template takes it."""
        parts = [{"type": "image"} if part is None else {"type": "text", "text": part} for part in self.parts]
        return {"role": self.role, "content": parts}

    def written(self, mark: str) -> str:
        """The message as text, a line a part, with a mark for each picture."""
        return "\n".join(mark if part is None else part for part in self.parts)


def checked_turns(history: Sequence[tuple[str, str]], question: str, special: tuple[str, ...]) -> list[tuple[str, str]]:
    """Questions and answers, the last one empty. Answers are made plain (see `special_tokens`).

    Raises:
        InputError: a question or an answer is bad.
    """
    turns = [
        (refuse_special(check_question(asked), special), made_plain(check_text(answer, "An answer"), special))
        for asked, answer in history
    ]
    return [*turns, (refuse_special(check_question(question), special), "")]


def as_messages(turns: Sequence[tuple[str, str]], pictures: int) -> list[Message]:
    """Questions and answers as messages: the pictures come before the first question, the last answer is to come."""
    messages: list[Message] = []
    for question, answer in turns:
        marks = (None,) * (0 if messages else pictures)
        messages += [Message("user", (*marks, question)), Message("assistant", (answer,))]
    return messages[:-1]


def read_messages(messages: Any, special: tuple[str, ...]) -> tuple[list[Message], list[Image.Image]]:
    """Chat messages, checked, and all their pictures in order.

    Contents may be a text or a list of parts; parts are texts, `{"type": "text", "text": …}` or `{"type": "image"}`
    with a picture under "image", "path", "url" or "base64" (what `open_picture` opens; nothing is fetched from the
    web). A part without a type is what its content says. Texts of the assistant are made plain (see
    `special_tokens`); others must not hold a special token.

    Raises:
        InputError: there is no message, or one is bad.
    """
    if isinstance(messages, Mapping | str) or not isinstance(messages, Sequence) or not messages:
        raise InputError('Pass a list of messages such as [{"role": "user", "content": "What is it?"}].')
    pictures: list[Image.Image] = []
    found = [_message(message, special, pictures) for message in messages]
    if found[-1].role == "assistant":
        raise InputError("The last message is the one to be answered: it must not be the assistant's.")
    spoken = [part for message in found if message.role == "user" for part in message.parts]
    if not any(part is None or part.strip() for part in spoken):
        raise InputError("Type a question: no message of the user holds a text or a picture.")
    return found, pictures


def _message(message: Any, special: tuple[str, ...], pictures: list[Image.Image]) -> Message:
    if not isinstance(message, Mapping):
        raise InputError(f'A message must be such as {{"role": "user", "content": …}}, not {_shown(message)}.')
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in ROLES:
        raise InputError(f"A message's role must be one of {', '.join(ROLES)}, not {_shown(role)}.")
    if isinstance(content, str | Mapping):
        content = [content]
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise InputError(f"The content of a message ({role}) must be a text or a list of parts, not {_shown(content)}.")
    read = [_part(part) for part in content]
    pictures += [part for part in read if isinstance(part, Image.Image)]
    parts = tuple(part if isinstance(part, str) else None for part in read)
    if role == "assistant":
        parts = tuple(part and made_plain(part, special) for part in parts)
    # together: two texts side by side must not make a special token
    refuse_special("".join("\n" if part is None else part for part in parts), special)
    return Message(role, parts)


def _part(part: Any) -> Image.Image | str:
    if isinstance(part, str):
        return check_text(part, "A message")
    if not isinstance(part, Mapping):
        raise InputError(f'A part of a message must be such as {{"type": "text", "text": …}}, not {_shown(part)}.')
    given = [name for name in SOURCES if part.get(name) is not None]
    kind = part.get("type") or ("text" if part.get("text") is not None else "image" if given else None)
    if kind == "text":
        return check_text(part.get("text"), "A message")
    if kind not in ("image", "image_url"):
        what = f"holds {kind}" if isinstance(kind, str) else "holds a part without a type"
        raise InputError(f"Messages hold pictures and texts, but this one {what}.")
    if len(given) != 1:
        raise InputError('A picture of a message must be under exactly one of "image", "path", "url" and "base64".')
    source = part[given[0]]
    if given[0] == "image_url":
        source = source.get("url") if isinstance(source, Mapping) else source
    if given[0] == "base64":
        source = from_base64(check_text(source, 'A picture under "base64"'))
    return open_picture(source)


def _shown(value: object) -> str:
    """A value as a sentence shows it, on one line and not too long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
