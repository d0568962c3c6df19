"""From how many visual tokens on a method pays for itself in prefill: the cost model with what was measured in it."""

from __future__ import annotations

from dataclasses import dataclass

from profiling.report import Arm

FURTHEST = 4
"""Times the measured number of visual tokens; further out the model is a guess."""


@dataclass(frozen=True)
class BreakEven:
    """Where FLOPs saved begin to be time saved.

    The model: prefill time = fixed cost of a pass + FLOPs / pace. The fixed cost is that of a decode step, which runs
    every layer on one token; the pace is what is left for the FLOPs of the first arm. What a method takes beyond that
    is its own cost, taken as fixed. FLOPs saved are taken as proportional to the visual tokens at the same shares of
    retained and skipped ones; attention saves more than that on longer prompts.

    Attributes:
        visual_tokens: from which on it pays; 0: it pays at any number.
        pace: FLOP/s of the first arm's prefill beyond the fixed cost.
        fixed_ms: cost of a pass whatever its length.
        ideal_ms: what the FLOPs saved would take at that pace.
        saved_ms: what was saved.
    """

    visual_tokens: int
    pace: float
    fixed_ms: float
    ideal_ms: float
    saved_ms: float

    @property
    def own_cost_ms(self) -> float:
        """The cost of the method itself; negative where it saved more time than its FLOPs explain."""
        return self.ideal_ms - self.saved_ms


def break_even(first: Arm, arm: Arm, visual_tokens: int) -> tuple[BreakEven | None, str | None]:
    """Compute where an arm breaks even with the first one, or return None and the reason.

    Args:
        visual_tokens: of the prompt they were measured on.
    """
    flops = first.flops_prefill - arm.flops_prefill
    if flops <= 0:
        return None, "no prefill FLOPs were saved"
    if visual_tokens == 0:
        return None, "there were no visual tokens"
    if first.tpot_ms is None:
        return None, "an answer of one token has no decode step to take the fixed cost of a pass from"
    if first.prefill_ms <= first.tpot_ms:
        return None, "prefill took no longer than a decode step, so its time says nothing about FLOPs"
    pace = first.flops_prefill / (first.prefill_ms - first.tpot_ms)
    ideal, saved = flops / pace, first.prefill_ms - arm.prefill_ms
    tokens = visual_tokens * max(0.0, 1 - saved / ideal)
    if tokens > FURTHEST * visual_tokens:
        return None, f"it would lie beyond {FURTHEST} times the {visual_tokens:,} visual tokens that were measured"
    return BreakEven(round(tokens), 1000 * pace, first.tpot_ms, ideal, saved), None
