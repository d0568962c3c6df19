"""What `calibrate` may choose from: rules that drop visual tokens, and sub-layers that those left may skip."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from skipcore.methods import (
    Combined,
    DivPrune,
    Method,
    PyramidDrop,
    RandomTokens,
    SkipVision,
    UniformGrid,
    VisionZip,
)
from skipcore.methods.skip_vision import UNTRAINED

Rule = Callable[[float], Method]
"""The share of visual tokens that is left, on average over the layers → the method that leaves it."""
SubLayer = tuple[str, int]
"""("ffn", layer) or ("attention", layer)."""
SKIPPED_SHARES = (1.0, 0.5)
"""Of the tokens that are left, how many may skip sub-layers."""


def pyramid_drop(share: float) -> Method:
    """In three stages at quarters of the depth, each of which keeps the same share t of the one before, as the authors'
    do: (1 + t + t² + t³) / 4 of the tokens are left on average."""
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 + middle + middle**2 + middle**3) / 4 <= share else (low, middle)
    return PyramidDrop(num_kept=tuple(round(low**stage, 4) for stage in (1, 2, 3)))


RULES: dict[str, Rule] = {
    "PyramidDrop": pyramid_drop,
    "VisionZip": lambda share: VisionZip(round(share * 54 / 64, 4), round(share * 10 / 64, 4)),  # authors: 54 + 10
    "DivPrune": lambda share: DivPrune(share),
}
"""By the name of the method. A new rule is one entry."""
RIVALS: dict[str, Rule] = {
    "uniform": lambda share: UniformGrid(share),
    "random": lambda share: RandomTokens(share),
}
"""What a choice is shown beside: rules that look at nothing."""


def skipping(dropping: Method | None, share: float, sublayers: Iterable[SubLayer]) -> Method:
    """A share of the visual tokens, those that are most like the others, skips some sub-layers; before, `dropping`
    drops some. Tokens stay in their place, and keys and values in the cache."""
    several = list(sublayers)
    ffn, attention = (tuple(sorted(n for kind, n in several if kind == wanted)) for wanted in ("ffn", "attention"))
    skip = SkipVision(1 - share, share, layers=ffn, attention_layers=attention, **UNTRAINED)
    return skip if dropping is None else Combined(dropping, skip)
