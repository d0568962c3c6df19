"""Work of a phase: FLOPs and the least bytes that must move, as the roofline model counts them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedConfig

from profiling.predict.kv import tokens_met
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
        kv_bytes: keys and values that are written in prefill; in a decode step those that are read, and its own ones.
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
    """Return the work of one prompt's prefill.

    Args:
        trace: of the prompt.
        flops: as counted.
    """
    shape, size = DecoderShape.of(vlm.model), vlm.model.dtype.itemsize
    entered, rows = int(trace.entered.sum()), int(trace.ran_attention.sum() + trace.ran_ffn.sum())
    weights = sum(map(_parameters, decoder_layers(vlm.model)))
    return Work(flops, size * (weights + _head(vlm)), size * shape.kv_width * entered, size * 2 * shape.width * rows)


def decode_work(vlm: Vlm, trace: Trace, new_tokens: int) -> Work:
    """Return the mean decode step of an answer: 2·|weights| FLOPs, and 4·H·h for each attended token of each layer.

    Args:
        trace: of the prompt; it says what the cache holds.
        new_tokens: length of the answer, at least 2; the first token is the prefill's.
    """
    shape, config = DecoderShape.of(vlm.model), vlm.model.get_decoder().config
    layers = list(decoder_layers(vlm.model))
    unmet = sum(_unmet_weights(layer.get_submodule("mlp"), config) for layer in layers)
    met = sum(
        linear_weights(layer.get_submodule("self_attn")) + ffn_weights(layer.get_submodule("mlp"), config)
        for layer in layers
    )
    attended = sum(sum(tokens_met(vlm, trace, step)) for step in range(1, new_tokens)) / (new_tokens - 1)
    size = vlm.model.dtype.itemsize
    return Work(
        flops=2 * (met + _head(vlm)) + 4 * attended * shape.heads * shape.head_width,
        weight_bytes=size * (sum(map(_parameters, layers)) - unmet + _head(vlm)),
        kv_bytes=size * shape.kv_width * attended,
        activation_bytes=size * 4 * shape.width * shape.layers,
    )


def _head(vlm: Vlm) -> int:
    return _parameters(vlm.model.get_output_embeddings())


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _unmet_weights(ffn: nn.Module, config: PreTrainedConfig) -> int:
    """Weights of the experts that one token does not meet."""
    return sum(p.numel() for p in ffn.parameters() if p.ndim > 1) - ffn_weights(ffn, config)
