"""Bytes of the KV cache in closed form, to stand beside what its storages measure."""

from __future__ import annotations

from skipcore import Trace, Vlm
from skipcore.engine.cache import windows
from skipcore.methods.method import DecoderShape


def predict_layer_kv_bytes(vlm: Vlm, trace: Trace) -> tuple[int, ...]:
    """Predict the bytes of keys and values by layer after prefill: 2 · key-value heads · head width · kept tokens ·
    bytes per value. Layers that attend to a window of w tokens keep the last w − 1 alone."""
    per_token = DecoderShape.of(vlm.model).kv_width * vlm.model.dtype.itemsize
    back = trace.slot_source.max() + 1 - trace.slot_source  # how far back from the next token
    return tuple(
        per_token * int((kept if window is None else kept & (back < window)).sum())
        for kept, window in zip(trace.in_cache, _windows(vlm, trace), strict=True)
    )


def tokens_met(vlm: Vlm, trace: Trace, step: int) -> tuple[int, ...]:
    """Count by layer the tokens that a decode step attends to, its own one included. Layers with a window of w tokens
    attend to the last w alone.

    Args:
        trace: of the prompt.
        step: from 1, of the token that is read.
    """
    back = trace.slot_source.max() + step - trace.slot_source
    return tuple(
        int(kept.sum()) + step if window is None else int((kept & (back < window)).sum()) + min(step, window)
        for kept, window in zip(trace.in_cache, _windows(vlm, trace), strict=True)
    )


def _windows(vlm: Vlm, trace: Trace) -> list[int | None]:
    return windows(vlm.model.get_decoder().config, len(trace.in_cache))
