"""Bytes of the KV cache in closed form, to stand beside what its storages measure."""

from __future__ import annotations

from skipcore import Trace, Vlm
from skipcore.engine.cache import windows


def predict_layer_kv_bytes(vlm: Vlm, trace: Trace) -> tuple[int, ...]:
    """Keys and values by layer after prefill: 2 · key-value heads · head width · kept tokens · bytes per value. Layers
    that look back over a window of w places keep the last w − 1 alone."""
    config = vlm.model.get_decoder().config
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_key_value_heads * head_width * vlm.model.dtype.itemsize
    back = trace.slot_place.max() + 1 - trace.slot_place  # how many places back from the next token
    return tuple(
        per_token * int((kept if window is None else kept & (back < window)).sum())
        for kept, window in zip(trace.in_cache, windows(config, len(trace.in_cache)), strict=True)
    )
