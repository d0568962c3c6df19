"""Texts with a special meaning for a model: kept out of questions, and made plain in answers."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from skipcore.errors import InputError


def special_tokens(processor: Any) -> tuple[str, ...]:
    """All of them, longest first: what the tokenizer names or marks as special, and what the processor names as a
    token or a tag, such as the placeholders that it turns into visual tokens."""
    tokenizer = processor.tokenizer
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    found = {*tokenizer.all_special_tokens, *(str(token) for token in added if token.special)}
    for owner in (processor, tokenizer):
        named = vars(owner).items()
        found |= {value for name, value in named if name.endswith(("_token", "_tag")) and isinstance(value, str)}
    return tuple(sorted((token for token in found if token.strip()), key=lambda token: (-len(token), token)))


def refuse_special(text: str, tokens: tuple[str, ...]) -> str:
    """The text of a user.

    Raises:
        InputError: it holds a special token.
    """
    if (found := _any_of(tokens).search(text)) is not None:
        raise InputError(
            f"The question contains {found[0]!r}, which has a special meaning for the model: leave it out."
        )
    return text


def made_plain(text: str, tokens: tuple[str, ...]) -> str:
    """An answer without special meaning: a space after the first character of each special token in it, so that
    "<image>" becomes "< image>"; a token that this does not break is left out."""
    pattern = _any_of(tokens)
    text = pattern.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
    while pattern.search(text):
        text = pattern.sub("", text)
    return text


@lru_cache(maxsize=16)
def _any_of(tokens: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, tokens)) or r"(?!)")
