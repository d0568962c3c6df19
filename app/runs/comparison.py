"""One comparison for one visitor: settings in, events out."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from typing import Any

from app.server.pace import ahead
from app.server.refusals import refusing
from app.server.uploads import size_note, uploaded_picture
from app.server.visitors import ends_when_they_leave
from app.server.zero_gpu import stream_on_device
from app.settings import Settings
from profiling import Report
from profiling.events import Event, NewText
from skipcore import Vlm


def run(vlm: Vlm, picture: Any, question: str, settings: Settings, stop: threading.Event) -> Generator[Event | Report]:
    """`stream_on_device` of dense and one method, on the device's thread. Closing this ends the run and frees the
    device.

    Args:
        picture: as Gradio's browser and client send an uploaded file: a dictionary with its "path".

    Raises:
        Refusal: bad input, or anything unexpected, which is logged here.
    """
    with refusing(), ends_when_they_leave(stop):
        settings.check()
        with closing(ahead(_events(vlm, picture, question, settings, stop), stop, NewText)) as shown:
            yield from shown


def _events(
    vlm: Vlm, picture: Any, question: str, settings: Settings, stop: threading.Event
) -> Generator[Event | Report]:
    """Reads the picture in its turn: one is in memory at a time, however many visitors wait."""
    note = size_note(picture)
    with closing(stream_on_device(vlm, uploaded_picture(picture), question, settings, stop)) as events:
        for event in events:
            yield replace(event, notes=(*event.notes, note)) if note and isinstance(event, Report) else event
