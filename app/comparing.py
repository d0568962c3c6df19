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

from profiling import Report, stream
from profiling.events import Event
from skipcore import Dense, InputError, SkipVision, Vlm
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
    """What a visitor can choose about a comparison."""

    num_retained: int | float
    num_skipped: int | float
    retain: str
    text_attends_skipped: bool
    max_new_tokens: int
    repeats: int

    def method(self, vlm: Vlm) -> SkipVision:
        """Skip-Vision with these settings, and with the summary that the model was trained with if it carries one."""
        return replace(
            vlm.skipping,
            num_retained=self.num_retained,
            num_skipped=self.num_skipped,
            retain=self.retain,
            text_attends_skipped=self.text_attends_skipped,
            skip_kv=vlm.skipping.skip_kv or not self.text_attends_skipped,
        )

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
        if not isinstance(self.text_attends_skipped, bool):
            raise InputError("text_attends_skipped must be true or false.")
        if not isinstance(self.retain, str) or self.retain not in RETAIN_RULES:
            raise InputError(f"retain must be one of {', '.join(RETAIN_RULES)}.")


def run(vlm: Vlm, picture: Any, question: str, settings: Settings, stop: threading.Event) -> Generator[Event | Report]:
    """`profiling.stream` of dense and Skip-Vision. Closing this closes the run and frees the device.

    Args:
        picture: as Gradio's browser and client send an uploaded file: a dictionary with its "path".

    Raises:
        Refusal: bad input, or anything unexpected, which is logged here.
    """
    try:
        settings.check()
        methods = [Dense(), settings.method(vlm)]
        events = stream(
            vlm,
            uploaded_file(picture),
            question,
            methods,
            settings.max_new_tokens,
            settings.repeats,
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
