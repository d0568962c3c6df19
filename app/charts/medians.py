"""Median FFN update by layer and by role: numbers behind a chart, a table and a sentence."""

from __future__ import annotations

import numpy as np

from app.tokens.token_states import State, token_states
from profiling import Arm, Report
from skipcore import Role, Trace

Medians = dict[str, np.ndarray]


def medians_of(report: Report, arm: Arm) -> Medians | None:
    """Median FFN update of an arm in each layer, for "retained", "skipped", "merged", "dropped" and "text" tokens.

    Which tokens these are, the report's last arm says, so that the dense arm tells how much the tokens that a method
    skips or drops would have been changed. NaN where no FFN ran; None where nothing was recorded.
    """
    trace = arm.trace
    if trace.ffn_update is None:
        return None
    update = trace.of_tokens(trace.ffn_update.float(), np.nan).numpy()
    medians = {name: _median(update[:, tokens]) for name, tokens in _groups(report.arms[-1].trace).items()}
    medians["text"] = _median(trace.ffn_update[:, trace.slot_role == Role.TEXT].float().numpy())
    return medians


def _groups(trace: Trace) -> dict[str, np.ndarray]:
    """Names of the groups that have members, with their original tokens as booleans [N]."""
    states, role = token_states(trace), trace.role.numpy()
    dropped = states.state[-1] == State.GONE
    stays = ~dropped & ~states.merged
    groups = {
        "retained": stays & (role == Role.RETAINED),
        "skipped": stays & (role == Role.SKIPPED),
        "merged": states.merged & ~dropped,
        "dropped": dropped,
    }
    return {name: tokens for name, tokens in groups.items() if tokens.any()}


def _median(values: np.ndarray) -> np.ndarray:
    """[layers, tokens] → [layers], over the tokens whose FFN ran."""
    return np.array([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in values])
