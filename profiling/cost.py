"""Prefill FLOPs: predicted in closed form, and counted by torch as the check."""

from __future__ import annotations

from dataclasses import dataclass, fields

from torch import nn
from transformers import PreTrainedConfig

from skipcore import Method, Role, Trace, Vlm
from skipcore.attention import num_queries
from skipcore.families import decoder_layers
from skipcore.sublayers import projections_of_queries


@dataclass(frozen=True)
class PrefillFlops:
    """FLOPs (2 per multiply–add) from the projected visual tokens to the first token's logits.

    As torch counts them: matrix products only, attention as a full rectangle (a causal kernel does about half of it).

    Attributes:
        selection: the method's own work: merging and trained summaries.
        projections: query, key, value and output of every layer.
        attention: scores and weighted sums of every layer.
        ffn: of every layer.
        head: the logits of the last position.
    """

    selection: int
    projections: int
    attention: int
    ffn: int
    head: int

    @property
    def total(self) -> int:
        """All parts."""
        return sum(getattr(self, part.name) for part in fields(self))


def predict_prefill_flops(vlm: Vlm, method: Method, trace: Trace) -> PrefillFlops:
    """Closed form for one prompt.

    With n slots, r of them running the FFN, v visible to text, H heads of width h, a decoder of width d:
    projections 2n·|W_qkvo|, FFN 2r·|W_ffn|, attention 4n²Hh. Where text must not see skipped tokens, attention is
    4(p² + qv)Hh instead: p slots up to the last visual one, q rows of text after the picture (see `num_queries`).
    Where only a slots attend, the query and output projections take a instead of n, and attention 4anHh. Merging s
    sources into t destinations takes 2std (paper, token merge, step 3), logits 2d·|vocabulary|.

    Args:
        trace: of the prompt; only its counts of tokens are used.
    """
    decoder = vlm.model.get_decoder()
    config = decoder.config
    slots = len(trace.slot_role)
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    attention_width = config.num_attention_heads * head_width

    full_masks = method.text_attends_skipped or vlm.family.masks is not None
    scores = slots**2 if full_masks else _blind_scores(trace)
    projections = attention = ffn = 0
    for index, layer in enumerate(decoder_layers(vlm.model)):
        attending = int(trace.ran_attention[index].sum())
        own = layer.get_submodule("self_attn")
        of_queries = sum(_linear_weights(projection) for projection in projections_of_queries(own))
        projections += 2 * slots * (_linear_weights(own) - of_queries) + 2 * attending * of_queries
        attention += 4 * (scores if attending == slots else attending * slots) * attention_width
        ffn += 2 * int(trace.ran_ffn[index].sum()) * _ffn_weights(layer.get_submodule("mlp"), config)
    return PrefillFlops(
        selection=_selection_flops(method, trace, config.hidden_size),
        projections=projections,
        attention=attention,
        ffn=ffn,
        head=2 * vlm.model.get_output_embeddings().weight.numel(),
    )


def _blind_scores(trace: Trace) -> int:
    """Attention scores per head where text must not see skipped tokens."""
    text, skipped = trace.slot_role == Role.TEXT, trace.slot_role == Role.SKIPPED
    if not skipped.any():
        return len(text) ** 2
    prefix = int((~text).nonzero().max()) + 1
    visible = int((~skipped).sum())
    first_blind = text & (skipped.cumsum(0) > 0)
    after = int((~skipped)[int(first_blind.nonzero()[0]) :].sum()) if first_blind.any() else 0
    return prefix**2 + num_queries(after, visible) * visible


def _selection_flops(method: Method, trace: Trace, width: int) -> int:
    flops, first = 0, 0
    for count in trace.picture_tokens:
        tokens = slice(first, first + count)
        first += count
        skipped_tokens = trace.role[tokens] == Role.SKIPPED
        destinations = int((skipped_tokens & ~trace.merged[tokens]).sum())
        flops += 2 * (int(skipped_tokens.sum()) - destinations) * destinations * width
        if method.summary is not None and destinations:
            retained = int((trace.role[tokens] == Role.RETAINED).sum())
            pooled = retained - min(getattr(method, "summary_start", 0), max(retained - 1, 0)) + destinations
            flops += 2 * pooled * width
    return flops


def _linear_weights(module: nn.Module) -> int:
    """Weights of all linear layers in a module."""
    return sum(linear.weight.numel() for linear in module.modules() if isinstance(linear, nn.Linear))


def _ffn_weights(ffn: nn.Module, config: PreTrainedConfig) -> int:
    """Weights that a token meets in an FFN: of the matrices [experts, k, m] of a mixture, those of its own experts."""
    chosen = getattr(config, "num_experts_per_tok", 0)
    matrices = [p for p in ffn.parameters() if p.ndim > 1]
    return sum(p.numel() if p.ndim == 2 else p.numel() // len(p) * chosen for p in matrices)
