"""A conversation as the model's text, and which characters of it are learned."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from skipcore.errors import InputError
from skipcore.model.processing import FAILURES, chat_template, render
from skipcore.model.special_tokens import made_plain, special_tokens

GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
Span = tuple[int, int]


@dataclass(frozen=True)
class Written:
    """A conversation as text.

    Attributes:
        text: with a placeholder for each picture.
        answers: first character and end of what is learned: the assistant's words, each with the token that ends it.
    """

    text: str
    answers: tuple[Span, ...]


def write(processor: Any, messages: Sequence[dict[str, Any]]) -> Written:
    """Write a conversation by the model's chat template.

    What is learned is what the template marks with `{% generation %}`; without marks, what the assistant's messages
    add to the prompt before them. A template that ends the last answer with no token gets the tokenizer's own.

    Args:
        messages: contents are lists of {"type": "text", "text": …} and {"type": "image"}. Special tokens in texts are
            made plain.

    Raises:
        InputError: there is no chat template, it takes no such messages, or answers cannot be told apart in its text.
    """
    template = chat_template(processor)
    if template is None:
        raise InputError(
            "The model has no chat template, so nothing says where its answers begin: set processor.chat_template, or "
            "pass --chat-template with a file."
        )
    special = special_tokens(processor)
    plain = [_made_plain(message, special) for message in messages]
    text = render(processor, template, plain, to_answer=False)
    spans = _marked(processor, template, plain, text) if GENERATION.search(template) else None
    if spans is None:
        spans = _added(processor, template, plain, text)
    return _with_ends(text, spans, special, processor.tokenizer.eos_token)


def _made_plain(message: dict[str, Any], special: tuple[str, ...]) -> dict[str, Any]:
    parts = message["content"]
    return message | {
        "content": [part | {"text": made_plain(part["text"], special)} if "text" in part else part for part in parts]
    }


def _marked(processor: Any, template: str, messages: list[dict[str, Any]], text: str) -> list[Span] | None:
    """Where the template says that answers are; None where it writes another text than `render` found."""
    try:
        (found,), (spans,) = render_jinja_template(
            [messages],
            chat_template=template,
            return_assistant_tokens_mask=True,
            **processor.tokenizer.special_tokens_map,
        )
    except FAILURES:
        return None
    return [(first, end) for first, end in spans] if found == text else None


def _added(processor: Any, template: str, messages: list[dict[str, Any]], text: str) -> list[Span]:
    """What each answer adds to the prompt before it."""
    spans = []
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = render(processor, template, messages[:number])
        after = render(processor, template, messages[: number + 1], to_answer=False)
        if not after.startswith(before) or not text.startswith(after):
            raise InputError(
                "The model's chat template writes a prompt with its answer in another way than without, so what "
                "is learned is unclear: put {% generation %} … {% endgeneration %} around the assistant's words in it."
            )
        spans.append((len(before), len(after)))
    return spans


def _with_ends(text: str, spans: list[Span], special: tuple[str, ...], end_token: str) -> Written:
    """Each answer with the special token that ends it, and without what follows that."""
    closed = []
    for first, end in spans:
        own, after = text[first:end].rstrip(), text[end:]
        if own.endswith(special):
            end = first + len(own)
        elif found := next((token for token in special if after.lstrip().startswith(token)), None):
            end = len(text) - len(after.lstrip()) + len(found)
        elif not after.strip():
            text = text[: first + len(own)] + end_token
            end = len(text)
        closed.append((first, end))
    return Written(text, tuple(closed))
