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

Item = TypeVar("Item")
# Redrawing more often than this helps no reader, and costs the browser and the model.
SECONDS_BETWEEN_REDRAWS = 0.1


def ahead(items: Generator[Item, Any, Any], stop: threading.Event) -> Generator[Item, None, None]:
    """Run a generator on the device's thread, which goes on while its items are being shown.

    Args:
        stop: ends the generator soon when it is set, which happens here when this is closed.
    """
    made: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    over = threading.Event()

    def make() -> None:
        try:
            with closing(items):
                for item in items:
                    made.put(("item", item))
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
    except GeneratorExit:
        stop.set()
        raise
    finally:
        over.wait()


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


def at_most_every(seconds: float, items: Iterable[Item]) -> Iterator[Item]:
    """Items as they come, without those that follow too soon after one that was given; what is given next says all."""
    given = 0.0
    for item in items:
        if monotonic() - given > seconds:
            yield item
            given = monotonic()
