"""Which training steps skip, and with what budget."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from skipcore.errors import InputError
from skipcore.methods.settings import Count, checked_count
from skipcore.methods.skip_vision import SkipVision

SUMMARY = "skip_summary"
"""The name under which the method's summary is a part of the model while it trains."""


@dataclass(frozen=True)
class Budgets:
    """Ranges from which each skipping step draws its budget, few tokens as often as many (evenly in the logarithm).

    Attributes:
        retained, skipped: lowest and highest count per picture, or float shares of the picture's tokens.

    Raises:
        InputError: a range is empty, or mixes a count and a share.
    """

    retained: tuple[Count, Count]
    skipped: tuple[Count, Count]

    def __post_init__(self) -> None:
        for name in ("retained", "skipped"):
            low, high = (checked_count(name, count) for count in getattr(self, name))
            if type(low) is not type(high) or not 0 < low <= high:
                raise InputError(
                    f"The range of {name} must go from a count or share above 0 to one at least as large, both counts "
                    f"or both shares, not from {low} to {high}."
                )

    def draw(self, method: SkipVision, seed: int, step: int) -> SkipVision:
        """The method with the budget of one step, which seed and step alone decide: also after a restart, and on every
        process."""
        retained, skipped = np.random.default_rng((seed, step)).random(2)
        return replace(
            method, num_retained=_between(self.retained, retained), num_skipped=_between(self.skipped, skipped)
        )


def _between(bounds: tuple[Count, Count], share: float) -> Count:
    low, high = bounds
    drawn = low * (high / low) ** share
    return drawn if isinstance(low, float) else round(drawn)


def skips(step: int, share: float) -> bool:
    """Whether a step, counted from 0, is one of the share that skips; they are evenly spread."""
    return math.floor((step + 1) * share) > math.floor(step * share)
