"""For a method and a share of the dense prefill FLOPs, the settings that reach it, found by bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from skipcore import Method
from skipcore.methods.budget import Target
from skipcore.methods.method import Steps

TOLERANCE = 0.02
"""How far from a budget the FLOPs of a method may lie for it to count as equal: 2 points."""

BASELINES = ("Dense", "RandomTokens", "UniformGrid", "Downsampled")
"""In every race, whatever else is asked for."""


@dataclass(frozen=True)
class Choice:
    """One method of the race.

    Attributes:
        method: with its settings.
        budget: share of the dense prefill FLOPs wanted; None for the dense model.
        flops: the share reached.
    """

    method: Method
    budget: float | None
    flops: float


def choose(method: Method, budget: float, target: Target, flops: Callable[[Method], float]) -> Choice:
    """The settings of a method that come nearest to a budget from below, or within the tolerance from above.

    Args:
        method: whose other settings stay.
        budget: share of the dense prefill FLOPs, between 0 and 1.
        flops: the share that a method takes.

    Returns:
        The best of the first row of `budget_steps` if it is within the tolerance, or else of the next row; where none
        is, the nearest from below, and where even the least is too much, the least.

    Raises:
        InputError: the method has no budget.
    """
    found: list[Choice] = []
    for steps in method.budget_steps(target):
        number = _last_within(steps, budget, flops)
        for step in (number, number + 1):
            if 0 <= step <= steps.last:
                tried = steps.at(step)
                found.append(Choice(tried, budget, flops(tried)))
                if is_near(found[-1].flops, budget):
                    return found[-1]
    below = [choice for choice in found if choice.flops <= budget]
    return max(below, key=lambda each: each.flops) if below else min(found, key=lambda each: each.flops)


def is_near(flops: float, budget: float) -> bool:
    """Whether a share of the FLOPs counts as equal to a budget."""
    return abs(flops - budget) <= TOLERANCE + 1e-9


def _last_within(steps: Steps, budget: float, flops: Callable[[Method], float]) -> int:
    """The last step that takes at most the budget; −1 if none does."""
    low, high = -1, steps.last
    while low < high:
        middle = (low + high + 1) // 2
        if flops(steps.at(middle)) <= budget:
            low = middle
        else:
            high = middle - 1
    return low
