"""What a phase asks of the device: FLOPs and the least bytes that must move, as the roofline model counts them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from profiling.predict.prefill_flops import ffn_weights, linear_weights
from skipcore import Trace, Vlm
from skipcore.families import decoder_layers
from skipcore.methods.method import DecoderShape


@dataclass(frozen=True)
class Work:
    """One pass of the decoder. Bytes are the least traffic: each of these read or written once.

    Attributes:
        flops: 2 for each multiply–add.
        weight_bytes: of the decoder's layers and the output head.
        kv_bytes: keys and values that are written in prefill, or read in a decode step.
        activation_bytes: the residual stream, in and out of every sub-layer that runs.
    """

    flops: float
    weight_bytes: float
    kv_bytes: float
    activation_bytes: float

    @property
    def bytes(self) -> float:
        """All bytes."""
        return self.weight_bytes + self.kv_bytes + self.activation_bytes

    @property
    def intensity(self) -> float:
        """Arithmetic intensity, FLOP per byte."""
        return self.flops / self.bytes


def prefill_work(vlm: Vlm, trace: Trace, flops: int) -> Work:
    """The prefill of one prompt.

    Args:
        trace: of the prompt.
        flops: as counted.
    """
    size = vlm.model.dtype.itemsize
    width = vlm.model.get_decoder().config.hidden_size
    kv_width = _kv_width(vlm)
    entered, rows = int(trace.entered.sum()), int(trace.ran_attention.sum() + trace.ran_ffn.sum())
    weights = sum(parameter.numel() for layer in decoder_layers(vlm.model) for parameter in layer.parameters())
    return Work(flops, size * (weights + _head(vlm)), size * 2 * kv_width * entered, size * 2 * width * rows)


def decode_work(vlm: Vlm, trace: Trace, new_tokens: int) -> Work:
    """A decode step in the middle of an answer: every token meets 2·|weights| FLOPs and 4·H·h for each cached token.

    Args:
        trace: of the prompt; it says what the cache holds.
        new_tokens: length of the answer.
    """
    shape, config = DecoderShape.of(vlm.model), vlm.model.get_decoder().config
    layers = list(decoder_layers(vlm.model))
    met = sum(
        linear_weights(layer.get_submodule("self_attn")) + ffn_weights(layer.get_submodule("mlp"), config)
        for layer in layers
    )
    cached = int(trace.in_cache.sum()) + len(layers) * (new_tokens - 1) / 2
    size = vlm.model.dtype.itemsize
    return Work(
        flops=2 * (met + _head(vlm)) + 4 * cached * shape.heads * shape.head_width,
        weight_bytes=size * (met + _head(vlm)),
        kv_bytes=size * 2 * _kv_width(vlm) * cached,
        activation_bytes=size * 4 * config.hidden_size * len(layers),
    )


def _head(vlm: Vlm) -> int:
    head: torch.nn.Module = vlm.model.get_output_embeddings()
    return sum(parameter.numel() for parameter in head.parameters())


def _kv_width(vlm: Vlm) -> int:
    config = vlm.model.get_decoder().config
    return config.num_key_value_heads * (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
