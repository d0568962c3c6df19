"""One comparison for one visitor: settings in, events out."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from app.budgets import OFFERED, SKIP_VISION, with_budget
from app.pace import ahead
from app.refusals import refusing
from app.uploads import uploaded_picture
from app.visitors import alone_on_device, ends_when_they_leave
from app.zero_gpu import stream_on_device
from profiling import Report
from profiling.events import Event, NewText
from skipcore import InputError, Method, Vlm
from skipcore.methods import Combined
from skipcore.methods.retain import RETAIN_RULES

MAX_NEW_TOKENS = 256
MAX_REPEATS = 20
# All runs on the device stand in one queue: sessions act on the whole process, and times need a quiet device.
DEVICE = {"concurrency_id": "device", "concurrency_limit": 1}


@dataclass(frozen=True)
class Settings:
    """What a visitor can choose about a comparison.

    Attributes:
        num_retained, num_skipped, retain, text_attends_skipped: of Skip-Vision.
        method, budget, then_skip_vision: of the others.
        fixed_length: let every answer go on to `max_new_tokens`.
    """

    num_retained: int | float
    num_skipped: int | float
    retain: str
    text_attends_skipped: bool
    max_new_tokens: int
    repeats: int
    method: str = SKIP_VISION
    budget: float | None = None
    then_skip_vision: bool = False
    fixed_length: bool = False

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
        first = with_budget(self.method, self.budget, vlm)
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


def run(vlm: Vlm, picture: Any, question: str, settings: Settings, stop: threading.Event) -> Generator[Event | Report]:
    """`stream_on_device` of dense and one method, on the device's thread. Closing this closes the run and frees the
    device.

    Args:
        picture: as Gradio's browser and client send an uploaded file: a dictionary with its "path".

    Raises:
        Refusal: bad input, or anything unexpected, which is logged here.
    """
    with refusing(), ends_when_they_leave(stop), alone_on_device(stop):
        settings.check()
        events = stream_on_device(vlm, uploaded_picture(picture), question, settings, stop)
        with closing(ahead(events, stop, NewText)) as shown:
            yield from shown
