"""The time between tokens over the timed runs of an arm: numbers behind a chart and a table."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from profiling import Arm


@dataclass(frozen=True)
class Step:
    """One decode step over the timed runs, in milliseconds; `token` counts from 1, the first decode step makes 2."""

    token: int
    p50: float
    min: float
    max: float


def step_spreads(arm: Arm) -> list[Step]:
    """Every decode step that all timed runs took."""
    shortest = min((len(run) for run in arm.run_token_ms), default=0)
    of_steps = ([run[place] for run in arm.run_token_ms] for place in range(1, shortest))
    return [Step(token, median(times), min(times), max(times)) for token, times in enumerate(of_steps, start=2)]
