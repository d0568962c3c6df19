"""Bytes of the KV cache in closed form, to stand beside what its storages measure."""

from __future__ import annotations

from skipcore import Trace, Vlm


def predict_layer_kv_bytes(vlm: Vlm, trace: Trace) -> tuple[int, ...]:
    """Keys and values by layer after prefill: 2 · key-value heads · head width · kept tokens · bytes per value."""
    config = vlm.model.get_decoder().config
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_key_value_heads * head_width * vlm.model.dtype.itemsize
    return tuple(per_token * int(kept.sum()) for kept in trace.in_cache)
