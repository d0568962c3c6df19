"""Who is at the page: a visitor who leaves ends their run, and one who waits sees their place in the waiting line.

Nothing is remembered of a visitor but the event that ends their run and that they wait, and that only meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from app.server.gradio_internals import current_session, is_line_full, is_running, waiting_sessions

ANOTHER_RUN = "In line for the device, which is still at another run…"

_running: dict[str, set[threading.Event]] = {}
_lock = threading.Lock()
_waiting: set[str | None] = set()
"""Sessions at the head of their page's line, while another run still has the device."""


@contextmanager
def ends_when_they_leave(stop: threading.Event) -> Iterator[None]:
    """Inside, `stop` is set when the visitor whose request this is closes the page or the connection."""
    session = current_session()
    if session is None:
        yield
        return
    with _lock:
        _running.setdefault(session, set()).add(stop)
    try:
        yield
    finally:
        with _lock:
            _running[session].discard(stop)
            if not _running[session]:
                del _running[session]


@contextmanager
def waiting_for_device() -> Iterator[None]:
    """Inside, the visitor whose request this is waits for what still runs on the device: a page's line lets in one run,
    but each model has a page of its own, and a run that was stopped takes a moment to end."""
    session = current_session()
    _waiting.add(session)
    try:
        yield
    finally:
        _waiting.discard(session)


def left(request: gr.Request) -> None:
    """What to do when a visitor has left: for `Blocks.unload`."""
    with _lock:
        stops = tuple(_running.get(str(request.session_hash), ()))
    for stop in stops:
        stop.set()


class Line:
    """The waiting line for the device, as Gradio keeps it: nobody is counted twice, or after they left.

    Args:
        page: whose line it is.
        name: its `concurrency_id`.
    """

    def __init__(self, page: gr.Blocks, name: str) -> None:
        self._page, self._name = page, name

    @property
    def is_full(self) -> bool:
        """Whether the next one is turned away: all lines of the page share one limit."""
        return is_line_full(self._page)

    def at_its_end(self) -> str:
        """What a visitor reads who joins now."""
        busy = is_running(self._page, self._name)
        return place_in_line(len(waiting_sessions(self._page, self._name)) if busy else None)

    def seen_by(self, session: str | None) -> str | None:
        """What a visitor reads who waits; None when they do not."""
        if session in _waiting:
            return ANOTHER_RUN
        waiting = waiting_sessions(self._page, self._name)
        return place_in_line(waiting.index(str(session))) if str(session) in waiting else None


def place_in_line(before: int | None) -> str:
    """A sentence for a visitor with so many waiting before them; None: the device is free."""
    if before is None:
        return "In line for the device…"
    return f"In line for the device, {f'{before} before you' if before else 'you are next'}…"
