"""The clock of every measurement, and the phases of an answer on it: vision, prefill, decode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeVar

import torch

from skipcore import AnswerToken, Method, Vlm
from skipcore.model.hardware import devices_of, synchronize
from skipcore.model.vlm import Prepared

Result = TypeVar("Result")


def now(devices: Iterable[torch.device] = ()) -> float:
    """Read the clock, in seconds, once the devices have done all the work that they were given.

    Args:
        devices: of the model, all of them where it is spread over several; default: the CPU alone.
    """
    synchronize(devices)
    return perf_counter()


def timed(run: Callable[[], Result], devices: Sequence[torch.device] = ()) -> tuple[Result, float]:
    """Return what `run` returns, and the seconds that it took on the devices."""
    start = now(devices)
    result = run()
    return result, now(devices) - start


@dataclass(frozen=True)
class AnswerTiming:
    """One timed run of an answer.

    Attributes:
        token_ms: time of every step; the first is the prefill.
    """

    token_ms: tuple[float, ...]

    @classmethod
    def of(cls, tokens: Sequence[AnswerToken]) -> AnswerTiming:
        """Read the steps' times off an answer's tokens."""
        return cls(tuple(token.seconds * 1000 for token in tokens))

    @property
    def prefill_ms(self) -> float:
        """Time from the projected visual tokens to the first token."""
        return self.token_ms[0]

    @property
    def tpot_ms(self) -> float | None:
        """Time per output token after the first: (latency − TTFT) / (new tokens − 1), as vLLM defines it."""
        decode = self.token_ms[1:]
        return sum(decode) / len(decode) if decode else None


VISION_SHARE = 0.2
"""Encodings on the clock take at most this share of a run, but for the one that every run needs."""


class VisionClock:
    """Encodes the pictures of one prompt on the clock: once for the features, and more often for a spread.

    Args:
        vlm: locked by the caller.
        prepared: the prompt.
        method: one that needs features of its own; None: features that arms share.

    Attributes:
        inputs: the model's keyword arguments, pictures encoded.
        times: in milliseconds; the first is that of the encoding that every run needs, which warms up.
    """

    def __init__(self, vlm: Vlm, prepared: Prepared, method: Method | None = None) -> None:
        self._vlm, self._prepared, self._method = vlm, prepared, method
        self._devices = devices_of(vlm.model)
        self.times: list[float] = []
        self.inputs: dict[str, Any] = prepared.with_features(self.encode())

    def encode(self) -> Any:
        """Encode the pictures on the clock; returns the features."""
        features, seconds = timed(lambda: self._vlm.encode(self._prepared, self._method), self._devices)
        self.times.append(1000 * seconds)
        return features

    @property
    def is_warm(self) -> bool:
        """Whether there are times of encodings after the first."""
        return len(self.times) > 1

    @property
    def measured(self) -> list[float]:
        """The times that are reported: those after the first, or the first where there is no other."""
        return self.times[1:] or self.times


def may_encode_again(clocks: Sequence[VisionClock], arms_ms: float, runs: int, runs_left: int) -> bool:
    """Whether one more encoding of each keeps their share of the whole run within `VISION_SHARE`.

    Args:
        arms_ms: time of the arms' runs so far.
        runs: their number, at least 1.
        runs_left: runs still to come, which may take as long each.
    """
    spent = sum(sum(clock.times) for clock in clocks)
    more = sum(min(clock.times) for clock in clocks)
    expected = arms_ms * (1 + runs_left / runs)
    return spent + more <= VISION_SHARE * (spent + more + expected)


def fair_order(num_arms: int, repeats: int) -> Iterator[tuple[int, int]]:
    """Yield (round, arm) of every timed run, the order reversed every other round: A B, B A, A B, …

    Whatever drifts meanwhile (clocks, temperature, other programs) then affects all arms alike.
    """
    for number in range(repeats):
        yield from ((number, arm) for arm in arms_of_round(number, num_arms))


def arms_of_round(number: int, num_arms: int) -> Sequence[int]:
    """List the arms in the order of round `number`, from 0: reversed in every other one."""
    return range(num_arms)[:: 1 if number % 2 == 0 else -1]
