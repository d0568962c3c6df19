"""What `calibrate` may choose from: rules that drop visual tokens, and sub-layers that those left may skip."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from skipcore.methods import METHODS, Combined, Method, SkipVision
from skipcore.methods.budget import Target
from skipcore.methods.dropping import DropInStages
from skipcore.methods.skip_vision import UNTRAINED

Rule = Callable[[float], Method]
"""The share of visual tokens that is left, on average over the layers → the method that leaves it."""
SubLayer = tuple[str, int]
"""("ffn", layer) or ("attention", layer)."""
SKIPPED_SHARES = (1.0, 0.5)
"""Of the tokens that are left, how many may skip sub-layers."""
RULES = ("PyramidDrop", "VisionZip", "DivPrune")
"""Names in `METHODS`: any whose budget is a share of the visual tokens may be here."""
RIVALS = {"uniform": "UniformGrid", "random": "RandomTokens"}
"""Shown beside a choice: rules that look at nothing."""


def rule_of(name: str, layers: int) -> Rule:
    """The rule that a method of a budget is, in a decoder of so many layers."""
    method, target = METHODS[name](), Target(layers)
    if isinstance(method, DropInStages):
        return lambda share: method.with_budget(_in_last_stage(share, len(method.num_kept)), target)
    return lambda share: method.with_budget(share, target)


def _in_last_stage(share: float, stages: int) -> float:
    """What is left at last where a share is left on average over the layers: each of several stages as long as the part
    before them keeps the same share t of the one before, so that (1 + t + t² + …) / (stages + 1) are left."""
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        mean = sum(middle**stage for stage in range(stages + 1)) / (stages + 1)
        low, high = (middle, high) if mean <= share else (low, middle)
    return low**stages


def skipping(dropping: Method | None, share: float, sublayers: Iterable[SubLayer]) -> Method:
    """A share of the visual tokens, those that are most like the others, skips some sub-layers; before, `dropping`
    drops some. Tokens keep their order, and keys and values stay in the KV cache."""
    several = list(sublayers)
    ffn, attention = (tuple(sorted(n for kind, n in several if kind == wanted)) for wanted in ("ffn", "attention"))
    skip = SkipVision(1 - share, share, layers=ffn, attention_layers=attention, **UNTRAINED)
    return skip if dropping is None else Combined(dropping, skip)
