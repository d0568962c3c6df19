"""The pace of a page: the model never waits for the page, and the page is not redrawn more often than helps."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from contextvars import copy_context
from queue import SimpleQueue
from time import monotonic
from typing import Any, TypeVar

Item = TypeVar("Item")
# Redrawing more often than this helps no reader, and costs the browser and the model.
SECONDS_BETWEEN_REDRAWS = 0.1


def ahead(items: Generator[Item, Any, Any], stop: threading.Event) -> Generator[Item, None, None]:
    """Run a generator in a thread of its own, which goes on while its items are being shown.

    Args:
        stop: ends the generator soon when it is set, which happens here when this is closed.
    """
    made: SimpleQueue[tuple[str, Any]] = SimpleQueue()

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

    # in this context: what Gradio knows of the visitor goes along
    thread = threading.Thread(target=copy_context().run, args=(make,), daemon=True)
    thread.start()
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
        thread.join()


def at_most_every(seconds: float, items: Iterable[Item]) -> Iterator[Item]:
    """Items as they come, without those that follow too soon after one that was given; what is given next says all."""
    given = 0.0
    for item in items:
        if monotonic() - given > seconds:
            yield item
            given = monotonic()
