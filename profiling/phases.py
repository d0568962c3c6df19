"""The phases of an answer on the clock: vision, prefill, decode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import torch

from skipcore import AnswerToken, Method, Vlm
from skipcore.vlm import Prepared


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
        """From the projected visual tokens to the first token."""
        return self.token_ms[0]

    @property
    def tpot_ms(self) -> float | None:
        """Time per output token after the first: (latency − TTFT) / (new tokens − 1), as vLLM defines it."""
        decode = self.token_ms[1:]
        return sum(decode) / len(decode) if decode else None


def time_vision(vlm: Vlm, prepared: Prepared, repeats: int, method: Method | None = None) -> list[float]:
    """Encode the picture `repeats` times on the clock; the caller has encoded it before, to warm up.

    Args:
        method: one that needs features of its own; None: features that arms share.

    Returns:
        The times in milliseconds.
    """
    times = []
    for _ in range(repeats):
        synchronise(vlm.device)
        start = perf_counter()
        vlm.encode(prepared, method)
        synchronise(vlm.device)
        times.append((perf_counter() - start) * 1000)
    return times


def synchronise(device: torch.device) -> None:
    """Wait until the device has done its work, so that the clock tells the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def fair_order(num_arms: int, repeats: int) -> Iterator[tuple[int, int]]:
    """(round, arm) of every timed run, the order reversed every other round: A B, B A, A B, …

    Whatever drifts while the runs go on (clocks, temperature, neighbours) then meets all arms alike.
    """
    for number in range(repeats):
        arms = range(num_arms) if number % 2 == 0 else reversed(range(num_arms))
        yield from ((number, arm) for arm in arms)
