"""One comparison for one visitor: settings in, events out, and every failure as one plain sentence."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder

from app.budgets import OFFERED, SKIP_VISION, with_budget
from profiling import Report, stream
from profiling.events import Event
from skipcore import Dense, InputError, Method, Vlm
from skipcore.methods import Combined
from skipcore.methods.retain import RETAIN_RULES

MAX_NEW_TOKENS = 256
MAX_REPEATS = 20
# All runs on the device stand in one queue: sessions act on the whole process, and times need a quiet device.
DEVICE = {"concurrency_id": "device", "concurrency_limit": 1}

log = logging.getLogger(__name__)


class Refusal(Exception):
    """What a visitor is told when there is no answer: one plain sentence without any detail of the server."""


@dataclass(frozen=True)
class Settings:
    """What a visitor can choose about a comparison; the first four are of Skip-Vision, the last three of all others."""

    num_retained: int | float
    num_skipped: int | float
    retain: str
    text_attends_skipped: bool
    max_new_tokens: int
    repeats: int
    method: str = SKIP_VISION
    budget: float | None = None
    then_skip_vision: bool = False

    def compared(self, vlm: Vlm) -> Method:
        """The method that is compared with dense. Skip-Vision has the summary that the model was trained with if it
        carries one.

        Raises:
            InputError: a setting is impossible.
        """
        skipping = replace(
            vlm.skipping,
            num_retained=self.num_retained,
            num_skipped=self.num_skipped,
            retain=self.retain,
            text_attends_skipped=self.text_attends_skipped,
            skip_kv=vlm.skipping.skip_kv or not self.text_attends_skipped,
        )
        if self.method == SKIP_VISION:
            return skipping
        first = with_budget(self.method, self.budget, vlm.model.get_decoder().config.num_hidden_layers)
        return Combined(first, skipping) if self.then_skip_vision else first

    def check(self) -> None:
        """What the library does not check: types that only JSON can get wrong, and that a run stays short enough
        for the other visitors.

        Raises:
            InputError: a setting is impossible.
        """
        for name, value, most in (
            ("max_new_tokens", self.max_new_tokens, MAX_NEW_TOKENS),
            ("repeats", self.repeats, MAX_REPEATS),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise InputError(f"{name} must be a whole number from 1 to {most}.")
        for name in ("text_attends_skipped", "then_skip_vision"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be true or false.")
        if not isinstance(self.retain, str) or self.retain not in RETAIN_RULES:
            raise InputError(f"retain must be one of {', '.join(RETAIN_RULES)}.")
        if not isinstance(self.method, str) or self.method not in OFFERED:
            raise InputError(f"method must be one of {', '.join(OFFERED)}.")
        if self.method == SKIP_VISION and (self.budget is not None or self.then_skip_vision):
            raise InputError(
                "budget and then_skip_vision are for other methods: Skip-Vision takes num_retained and num_skipped."
            )


def run(
    vlm: Vlm, picture: Any, question: str, settings: Settings, stop: threading.Event, *, fixed_length: bool = False
) -> Generator[Event | Report]:
    """`profiling.stream` of dense and one method. Closing this closes the run and frees the device.

    Args:
        picture: as Gradio's browser and client send an uploaded file: a dictionary with its "path".

    Raises:
        Refusal: bad input, or anything unexpected, which is logged here.
    """
    try:
        settings.check()
        methods = [Dense(), settings.compared(vlm)]
        events = stream(
            vlm,
            uploaded_file(picture),
            question,
            methods,
            settings.max_new_tokens,
            settings.repeats,
            fixed_length=fixed_length,
            stop=stop,
        )
        with closing(events):
            yield from events
    except InputError as error:
        raise Refusal(str(error)) from error
    except Exception as error:
        log.exception("A comparison failed")
        raise Refusal("Something went wrong while running the model; try again, or try other settings.") from error


def uploaded_file(picture: Any) -> str:
    """Path of an uploaded file, still unread: what is wrong with it, the library says. No other file is ever opened.

    Raises:
        InputError: there is none, or this is not an uploaded file.
    """
    if picture is None:
        raise InputError("Choose a picture first: upload one, paste one, or pick an example.")
    path = picture.get("path") if isinstance(picture, dict) else None
    if not isinstance(path, str) or not Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve()):
        raise InputError("The picture must be an uploaded file.")
    return path
