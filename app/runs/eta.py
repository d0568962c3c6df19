"""How far a run of several parts is, and how long the rest will take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Eta:
    """Counts parts as they begin.

    Attributes:
        clock: seconds.
    """

    clock: Callable[[], float]
    begun: int = 0
    total: int = 0
    start: float = 0.0

    def begin(self, total: int) -> None:
        """A part begins, of so many."""
        if not self.begun:
            self.start = self.clock()
        self.begun, self.total = self.begun + 1, total

    @property
    def seconds_left(self) -> float | None:
        """At the mean pace of the parts that are done; None before the first is."""
        done = self.begun - 1
        return (self.clock() - self.start) / done * (self.total - done) if done > 0 else None

    def sentence(self, what: str) -> str:
        """ "FastV, run 3 of 10: 25% done, about 12 s left." """
        share = f"{what}: {round(100 * (self.begun - 1) / self.total)}% done"
        left = self.seconds_left
        return f"{share}." if left is None else f"{share}, about {_duration(left)} left."


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 100 else f"{round(seconds / 60)} min"
