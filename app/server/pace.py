"""The pace of a page: the model runs on a thread of its own and never waits for the page, and the page is not redrawn
more often than helps.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, TypeVar

from app.server.device import do_on_device
from app.server.gradio_internals import is_followed
from app.server.visitors import waiting_for_device
from skipcore import InputError

Item = TypeVar("Item")
# Redrawing more often than this helps no reader, and costs the browser and the model.
SECONDS_BETWEEN_REDRAWS = 0.2
# Whether a run was stopped, or nobody follows it.
SECONDS_BETWEEN_LOOKS = 0.1
# The device waits so long for the page to show something, which takes milliseconds.
SECONDS_TO_SHOW = 10
STALLED = f"Nobody followed this run for {SECONDS_TO_SHOW} s, so it was ended and the device is free: ask again."


def ahead(
    items: Generator[Item, Any, Any], stop: threading.Event, tokens: type | None = None
) -> Generator[Item, None, None]:
    """Run a generator on the device's thread, which goes on while its items are being shown.

    Closing this signals and returns at once, since Gradio closes generators on the server's event loop. What still runs
    then ends by itself, and the device's next job comes after it.

    Args:
        items: does nothing before its turn, and nothing at all where `stop` is set by then.
        stop: ends the generator soon when it is set, and this at once; it is set here when this is closed.
        tokens: a class of items that are `added_up`. Where there is one, the generator waits until each other item has
            been shown, so that what the page does with it takes no time from what is measured next.

    Raises:
        InputError: the device waited for `SECONDS_TO_SHOW`, and has ended the run.
    """
    made: SimpleQueue[tuple[str, Any] | None] = SimpleQueue()
    begun, shown = threading.Event(), threading.Semaphore(0)

    def make() -> None:
        begun.set()
        try:
            with closing(items):
                shown_items = items if tokens is None else added_up(items, tokens)
                for item in () if stop.is_set() else shown_items:
                    waits = tokens is not None and not isinstance(item, tokens)
                    made.put(("waits" if waits else "goes on", item))
                    if waits and not shown.acquire(timeout=SECONDS_TO_SHOW):
                        raise InputError(STALLED)
                    if stop.is_set():
                        break
            made.put(None)
        except BaseException as error:
            made.put(("error", error))

    # in this context: what Gradio knows of the visitor goes along
    do_on_device(partial(copy_context().run, make))
    try:
        with waiting_for_device():
            while not begun.wait(SECONDS_BETWEEN_LOOKS):
                if _is_stopped(stop):
                    return
        while (next_one := _next(made, stop)) is not None:
            kind, value = next_one
            if kind == "error":
                raise value
            yield value
            if kind == "waits":
                shown.release()
    except GeneratorExit:
        stop.set()
        raise
    finally:
        shown.release()


def _next(made: SimpleQueue[tuple[str, Any] | None], stop: threading.Event) -> tuple[str, Any] | None:
    """What was made next; None at the end, and where it was stopped before there was more."""
    while True:
        try:
            return made.get(timeout=SECONDS_BETWEEN_LOOKS)
        except Empty:
            if _is_stopped(stop):
                return None


def _is_stopped(stop: threading.Event) -> bool:
    """Also where nobody waits for the run any more."""
    if not is_followed():
        stop.set()
    return stop.is_set()


def added_up(items: Iterable[Item], tokens: type, seconds: float = SECONDS_BETWEEN_REDRAWS) -> Iterator[Item]:
    """Items as they come, but those of a class, which can be added, together: the first at once, then at most one sum
    every so many seconds, and the rest before whatever else follows."""
    held: Any = None
    given = -seconds
    for item in items:
        if isinstance(item, tokens):
            held = item if held is None else held + item
            if monotonic() - given < seconds:
                continue
            item, held, given = held, None, monotonic()
        else:
            if held is not None:
                yield held
            held, given = None, -seconds
        yield item
    if held is not None:
        yield held


def at_most_every(seconds: float, items: Iterable[Item]) -> Iterator[Item]:
    """Items as they come, without those that follow too soon after one that was given; what is given next says all."""
    given = 0.0
    for item in items:
        if monotonic() - given > seconds:
            yield item
            given = monotonic()
