"""Median FFN update by layer and by role: numbers behind a chart, a table and a sentence."""

from __future__ import annotations

import numpy as np

from profiling import Arm, Report
from skipcore import Role, Trace

Medians = dict[str, np.ndarray]


def medians_of(report: Report, arm: Arm) -> Medians | None:
    """Median FFN update of an arm in each layer, for "retained", "skipped", "merged" and "text" tokens.

    The roles are those of the report's last arm, so that the dense arm tells how much the tokens that Skip-Vision
    lets skip would have been changed. NaN where no FFN ran; None where nothing was recorded.
    """
    trace = arm.trace
    if trace.ffn_update is None:
        return None
    update = trace.ffn_update.float().numpy()
    slots = trace.token_slot.numpy()
    medians = {name: _median(update[:, slots[tokens]]) for name, tokens in _groups(report.arms[-1].trace).items()}
    medians["text"] = _median(update[:, trace.slot_role.numpy() == Role.TEXT])
    return medians


def _groups(trace: Trace) -> dict[str, np.ndarray]:
    """Names of the groups that have members, with their original tokens as booleans [N]."""
    role, merged = trace.role.numpy(), trace.merged.numpy()
    groups = {
        "retained": (role == Role.RETAINED) & ~merged,
        "skipped": (role == Role.SKIPPED) & ~merged,
        "merged": merged,
    }
    return {name: tokens for name, tokens in groups.items() if tokens.any()}


def _median(values: np.ndarray) -> np.ndarray:
    """[layers, tokens] → [layers], over the tokens whose FFN ran."""
    return np.array([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in values])
