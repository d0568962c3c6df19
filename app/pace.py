"""How often a page is redrawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TypeVar

Item = TypeVar("Item")


def at_most_every(seconds: float, items: Iterable[Item]) -> Iterator[Item]:
    """Items as they come, without those that follow too soon after one that was given; what is given next says all."""
    given = 0.0
    for item in items:
        if monotonic() - given > seconds:
            yield item
            given = monotonic()
