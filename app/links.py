"""Links: settings, question and example or scene as the query of an address. The server keeps nothing about them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlencode

from app.runs.offered_methods import OFFERED, OWN, SKIP_VISION
from app.settings import MAX_NEW_TOKENS, MAX_REPEATS, Settings
from skipcore import InputError
from skipcore.builtin.scenes.numbered import NUMBERS
from skipcore.methods.retain import RETAIN_RULES
from skipcore.model.inputs import check_question

OF_SKIP_VISION = ("num_retained", "num_skipped", "retain", "text_attends_skipped")
OF_OTHERS = ("budget", "then_skip_vision")
MOST_TOKENS = 999_999


@dataclass(frozen=True)
class Link:
    """What an address says. A visitor's own picture is never in it.

    Attributes:
        question: empty where the address has none.
        example: an example's name, see `Example.name`.
        scene: a scene's number.
        model: name of another model than the server's first; the panel of models reads it.
        settings: by the names of the fields of `Settings`, which the API has too; what is missing is left as it is.
    """

    question: str = ""
    example: str | None = None
    scene: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None


def settings_that_apply(settings: Settings) -> dict[str, Any]:
    """The settings that the chosen method has, by name."""
    named = asdict(settings) | {"method": settings.chosen}
    if settings.chosen in (OWN, SKIP_VISION):
        idle: tuple[str, ...] = OF_OTHERS
    else:
        idle = () if settings.then_skip_vision else OF_SKIP_VISION
    return {name: named[name] for name in SETTINGS if name not in idle and named[name] is not None}


def to_query(link: Link) -> str:
    """The query of an address, from its "?" on; empty for a link that says nothing."""
    what = {"model": link.model, "example": link.example, "scene": link.scene, "question": link.question or None}
    said = {**what, **link.settings}
    query = urlencode({name: _written(value) for name, value in said.items() if value is not None})
    return f"?{query}" if query else ""


def from_query(query: Mapping[str, str], examples: Collection[str]) -> tuple[Link, tuple[str, ...]]:
    """What the query of an address says, and the names of what it says badly, which is ignored.

    Args:
        query: names and values, decoded. Other names than ours are of no concern: Gradio has some too.
        examples: names of the examples there are.
    """
    read: dict[str, Any] = {}
    ignored = []
    readers = {"example": _one_of(examples), "scene": _whole(0, NUMBERS - 1), "question": check_question} | SETTINGS
    for name in [name for name in readers if name in query]:
        try:
            if name == "scene" and "example" in read:
                raise InputError("There is one picture already.")
            read[name] = readers[name](query[name])
        except InputError:
            ignored.append(name)
    settings = {name: read[name] for name in SETTINGS if name in read}
    return Link(read.get("question", ""), read.get("example"), read.get("scene"), settings), tuple(ignored)


def ignored_sentence(names: Collection[str]) -> str:
    """What is said of the part of an address that was ignored; empty if nothing was."""
    if not names:
        return ""
    return f"What the link says about {', '.join(names)} cannot be used here, so that is as usual."


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _one_of(names: Collection[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise InputError(f"Choose one of {', '.join(names)}.")
        return text

    return read


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise InputError(f"Choose a whole number from {least} to {most}.")
        return int(text)

    return read


def _share(text: str) -> float:
    if not re.fullmatch("[0-9]+([.][0-9]+)?(e-[0-9]+)?", text) or not (math.isfinite(float(text)) and float(text) <= 1):
        raise InputError("Choose a share from 0.0 to 1.0.")
    return float(text)


def _count_or_share(text: str) -> int | float:
    return _share(text) if "." in text or "e" in text else _whole(0, MOST_TOKENS)(text)


def _flag(text: str) -> bool:
    return _one_of(("false", "true"))(text) == "true"


SETTINGS: dict[str, Callable[[str], Any]] = {
    "num_retained": _count_or_share,
    "num_skipped": _count_or_share,
    "retain": _one_of(RETAIN_RULES),
    "text_attends_skipped": _flag,
    "max_new_tokens": _whole(1, MAX_NEW_TOKENS),
    "repeats": _whole(1, MAX_REPEATS),
    "method": _one_of((OWN, *OFFERED)),
    "budget": _share,
    "then_skip_vision": _flag,
}
"""How each field of `Settings` is read, in their order."""
