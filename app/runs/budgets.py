"""The methods a visitor can compare with dense, and what the one control of each sets."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, cast

from app import ASSETS
from skipcore import METHODS, InputError, Method, SkipVision, Vlm
from skipcore.methods import DART, VTW, DyMU, FastV, PyramidDrop, ShortV, V2Drop, VisionZip


@dataclass(frozen=True)
class Budget:
    """What one share from 0 to 1 means to a method.

    Attributes:
        means: the words for the control.
        usual: the share to start with.
        method: the method with a share, on a model.
    """

    means: str
    usual: float
    method: Callable[[float, Vlm], Method]


KEPT = "Visual tokens kept"
LEFT = "Visual tokens left in the last layers"

# Settings that the authors counted in 32 layers are scaled to the model's depth. Methods that drop in three stages keep
# the same share of what is there at each, as PyramidDrop's authors do. VisionZip's authors keep 54 + 10 tokens of 64.
# DyMU learns its thresholds from the examples, in whole per cents of patches kept.
_BUDGETS: dict[type[Method], Budget] = {
    FastV: Budget(KEPT, 0.5, lambda share, vlm: FastV(_of_32(3, vlm), share)),
    DART: Budget(KEPT, 0.5, lambda share, vlm: DART(_of_32(2, vlm), share)),
    PyramidDrop: Budget(LEFT, 0.12, lambda share, vlm: PyramidDrop(num_kept=_in_three(share))),
    V2Drop: Budget(LEFT, 0.12, lambda share, vlm: V2Drop(num_kept=_in_three(share))),
    VisionZip: Budget(KEPT, 0.25, lambda share, vlm: VisionZip(share * 54 / 64, share * 10 / 64)),
    ShortV: Budget("Layers that freeze visual tokens", 0.6, lambda share, vlm: ShortV(share)),
    VTW: Budget("Layers that see visual tokens", 0.5, lambda share, vlm: VTW(share)),
    DyMU: Budget("Patches left after merging", 0.5, lambda share, vlm: _dymu(round(share, 2), vlm)),
}


def budget_of(method: type[Method]) -> Budget | None:
    """The control of a method: its entry in the table, or else its `num_kept`, or else none."""
    if method in _BUDGETS:
        return _BUDGETS[method]
    usual = {field.name: field.default for field in fields(cast(Any, method))}.get("num_kept")
    if not isinstance(usual, float):
        return None
    return Budget(KEPT, usual, lambda share, vlm: cast(Any, method)(num_kept=share))


OWN = "own"
"""The method that the model skips with when nothing else is said: `Vlm.skipping`."""
SKIP_VISION = SkipVision.__name__
OFFERED: dict[str, type[Method]] = {SKIP_VISION: SkipVision} | {
    name: method for name, method in METHODS.items() if budget_of(method)
}
"""By class name. Skip-Vision comes first, and has settings of its own. What has no budget, dense, is not offered."""


def with_budget(name: str, share: float | None, vlm: Vlm) -> Method:
    """A method of `OFFERED` other than Skip-Vision.

    Args:
        share: from 0 to 1; None: the usual one.
        vlm: the model it is for. The first use of DyMU with a share runs the model's vision tower on the examples.

    Raises:
        InputError: the share is impossible.
    """
    budget = budget_of(OFFERED[name])
    assert budget is not None
    if share is None:
        share = budget.usual
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise InputError(f"budget must be a share from 0 to 1, not {share!r}.")
    return budget.method(float(share), vlm)


def summary_of(method: type[Method]) -> str:
    """What a method does, in the sentence that opens its file."""
    return (inspect.getdoc(inspect.getmodule(method)) or "").split("\n\n")[0]


def _of_32(layer: int, vlm: Vlm) -> int:
    return max(1, round(layer / 32 * vlm.model.get_decoder().config.num_hidden_layers))


@lru_cache(maxsize=128)
def _thresholds(share: float, vlm: Vlm) -> tuple[float, ...]:
    pictures = sorted((ASSETS / "examples").glob("*.png"))
    return tuple(DyMU.find(vlm, pictures, share).thresholds)


def _dymu(share: float, vlm: Vlm) -> Method:
    """Dense, where nothing is to merge."""
    return DyMU() if share == 1 else DyMU(_thresholds(max(share, 0.01), vlm))


def _in_three(share: float) -> tuple[float, float, float]:
    return share ** (1 / 3), share ** (2 / 3), share
