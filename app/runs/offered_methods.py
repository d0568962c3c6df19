"""The methods a visitor can compare with dense, and what the one control of each sets."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import lru_cache

from app import ASSETS
from skipcore import METHODS, InputError, Method, SkipVision, Vlm
from skipcore.calibration.tuning import Examples
from skipcore.families import decoder_layers
from skipcore.methods.budget import Target

OWN = "own"
"""The method that the model skips with when nothing else is said: `Vlm.skipping`."""
SKIP_VISION = SkipVision.__name__
OFFERED: dict[str, type[Method]] = {SKIP_VISION: SkipVision} | {
    name: method for name, method in METHODS.items() if method.budget is not None
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
    budget = OFFERED[name].budget
    assert budget is not None
    if share is None:
        share = budget.usual
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise InputError(f"budget must be a share from 0 to 1, not {share!r}.")
    method, target = OFFERED[name](), Target(len(decoder_layers(vlm.model)))
    if budget.digits is None:
        return method.with_budget(float(share), target)
    return method.with_budget(round(float(share), budget.digits), replace(target, examples=_examples(vlm)))


def summary_of(method: type[Method]) -> str:
    """What a method does, in the sentence that opens its file."""
    return (inspect.getdoc(inspect.getmodule(method)) or "").split("\n\n")[0]


@lru_cache(maxsize=16)
def _examples(vlm: Vlm) -> Examples:
    """The page's examples, always the same for a model."""
    return Examples(vlm, sorted((ASSETS / "examples").glob("*.png")), ())
