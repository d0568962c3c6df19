"""Cost of a session itself: a dense run without one, in one, and in one that records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from profiling.clock import arms_of_round, now, timed
from skipcore import Dense, Vlm
from skipcore.answering.generate import generate


@dataclass(frozen=True)
class PairedRatio:
    """A ratio of two times that were taken next to each other, round by round.

    Attributes:
        median: over the rounds.
        low, high: 95% interval of that median, by bootstrap over the rounds.
        p10, p90: of single rounds, which shows how noisy the machine was.
        rounds: how many.
    """

    median: float
    low: float
    high: float
    p10: float
    p90: float
    rounds: int

    @classmethod
    def of(cls, times: Sequence[float], against: Sequence[float], resamples: int = 2000, seed: int = 0) -> PairedRatio:
        """Compute it from the times of both arms, one of each to a round."""
        ratios = np.asarray(times) / np.asarray(against)
        drawn = np.random.default_rng(seed).choice(ratios, (resamples, len(ratios)))
        low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
        p10, median, p90 = np.percentile(ratios, [10, 50, 90])
        return cls(float(median), float(low), float(high), float(p10), float(p90), len(ratios))


@dataclass(frozen=True)
class SessionCost:
    """Ratios of the time from before a session is made to after it is left again, a prefill in between.

    Attributes:
        session: a `Dense()` session / no session at all.
        recording: a `Dense()` session that records / one that does not.
    """

    session: PairedRatio
    recording: PairedRatio


def measure_session_cost(vlm: Vlm, inputs: dict[str, Any], seconds: float) -> SessionCost:
    """Measure both: three quarters of the time go to the session, whose cost is the smaller one, the rest to the
    recording.

    Args:
        inputs: keyword arguments of the model for one prompt.
        seconds: to measure in, in all.
    """

    def prefill(session: Callable[[], AbstractContextManager]) -> Callable[[], object]:
        return lambda: list(generate(vlm, inputs, session(), max_new_tokens=1))

    plain, inside = prefill(nullcontext), prefill(lambda: Dense()(vlm.model))
    recording = prefill(lambda: Dense()(vlm.model, record=True))
    return SessionCost(
        session=time_in_pairs(inside, plain, 0.75 * seconds), recording=time_in_pairs(recording, inside, 0.25 * seconds)
    )


def time_in_pairs(run: Callable[[], object], against: Callable[[], object], seconds: float) -> PairedRatio:
    """Time as many rounds as begin within `seconds`, at least two, after one that warms up.

    A round runs both, every other round the other way round (A B, B A, A B, …): each follows itself as often as the
    other, what drifts affects both alike, and the median ignores rounds that something else disturbed.
    """
    runs = run, against
    for each in runs:
        each()
    times: tuple[list[float], list[float]] = [], []
    end = now() + seconds
    while len(times[0]) < 2 or now() < end:
        for arm in arms_of_round(len(times[0]), 2):
            times[arm].append(timed(runs[arm])[1])
    return PairedRatio.of(*times)
