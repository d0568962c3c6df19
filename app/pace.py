"""The pace of a page: the model runs on a thread of its own and never waits for the page, and the page is not redrawn
more often than helps.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from time import monotonic
from typing import Any, TypeVar

from app.spare_memory import hand_back_spare_memory

Item = TypeVar("Item")
# Redrawing more often than this helps no reader, and costs the browser and the model.
SECONDS_BETWEEN_REDRAWS = 0.2


def ahead(
    items: Generator[Item, Any, Any], stop: threading.Event, tokens: type | None = None
) -> Generator[Item, None, None]:
    """Run a generator on the device's thread, which goes on while its items are being shown.

    Args:
        stop: ends the generator soon when it is set, which happens here when this is closed.
        tokens: a class of items that are `added_up`. Where there is one, the generator waits until each other item has
            been shown, so that what the page does with it takes no time from what is measured next.
    """
    made: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    shown, over = threading.Semaphore(0), threading.Event()

    def make() -> None:
        try:
            with closing(items):
                shown_items = items if tokens is None else added_up(items, tokens)
                for item in () if stop.is_set() else shown_items:
                    waits = tokens is not None and not isinstance(item, tokens)
                    made.put(("waits" if waits else "goes on", item))
                    if waits:
                        shown.acquire()
                    if stop.is_set():
                        break
            made.put(("end", None))
        except BaseException as error:
            made.put(("error", error))
        finally:
            over.set()

    # in this context: what Gradio knows of the visitor goes along
    _on_device_thread(partial(copy_context().run, make))
    try:
        while True:
            kind, value = made.get()
            if kind == "end":
                return
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
        over.wait()


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


_jobs: SimpleQueue[Callable[[], object]] = SimpleQueue()
_start = threading.Lock()
_thread: threading.Thread | None = None


def _on_device_thread(job: Callable[[], object]) -> None:
    """Have one thread do it, the same for all jobs, after those before it.

    OpenMP keeps a team of workers for every thread that calls it. More workers than cores sleep between two operators
    instead of waiting awake, and a decode step takes several times as long: so all of a process calls from one thread.
    """
    global _thread
    with _start:
        if _thread is None:
            _thread = threading.Thread(target=_work, name="device", daemon=True)
            _thread.start()
    _jobs.put(job)


def _work() -> None:
    while True:
        _jobs.get()()
        hand_back_spare_memory()


def at_most_every(seconds: float, items: Iterable[Item]) -> Iterator[Item]:
    """Items as they come, without those that follow too soon after one that was given; what is given next says all."""
    given = 0.0
    for item in items:
        if monotonic() - given > seconds:
            yield item
            given = monotonic()
