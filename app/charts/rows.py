"""Rows of each layer, text and summaries included: numbers behind a chart and a table."""

from __future__ import annotations

from skipcore import Trace


def rows_of(trace: Trace) -> dict[str, list[int]]:
    """How many rows do what in each layer."""
    masks = {
        "enter the layer": trace.entered,
        "attend": trace.ran_attention,
        "run the FFN": trace.ran_ffn,
        "stay in the KV cache": trace.in_cache,
    }
    return {does: mask.sum(dim=1).tolist() for does, mask in masks.items()}
