"""Prefill FLOPs: predicted in closed form, and counted by torch as the check."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedConfig

from skipcore import Method, Role, Trace, Vlm
from skipcore.engine.sublayers import projections_of_queries
from skipcore.families import decoder_layers
from skipcore.methods.method import DecoderShape
from skipcore.plan.layer_rows import attend_masked, num_queries


@dataclass(frozen=True)
class PrefillFlops:
    """FLOPs (2 per multiply–add) from the projected visual tokens to the first token's logits.

    As torch counts them: matrix products only, attention as a full rectangle (a causal kernel does about half of it).

    Attributes:
        selection: the method's own work: what it takes to choose tokens, merge them and pool summaries.
        projections: query, key, value and output of every layer.
        attention: scores and weighted sums of every layer.
        ffn: of every layer.
        head: the logits of the last position.
        hidden: of the attention, what a causal kernel leaves out: scores of keys that come after their query.
    """

    selection: int
    projections: int
    attention: int
    ffn: int
    head: int
    hidden: int

    @property
    def executed(self) -> int:
        """All parts as causal kernels compute them."""
        return self.total - self.hidden

    @property
    def total(self) -> int:
        """All parts."""
        return self.selection + self.projections + self.attention + self.ffn + self.head


def predict_prefill_flops(vlm: Vlm, method: Method, trace: Trace) -> PrefillFlops:
    """Predict the prefill FLOPs of one prompt in closed form.

    With n slots entering a layer, r of them running the FFN, H heads of width h, a decoder of width d: projections
    2n·|W_qkvo|, FFN 2r·|W_ffn|, attention 4n²Hh. Where text must not see skipped tokens, attention is 4(p² + qv)Hh
    instead: p slots up to the last visual one, q rows of text after the picture, v slots visible to text (see
    `num_queries`). Slots that are tied are projected once. Where only a slots attend, the query and output projections
    take a instead of n, and where a is small (see `attend_masked`) attention 4acHh for the c columns up to the last of
    them. Logits take 2d·|vocabulary|.

    Args:
        trace: of the prompt; only its counts of tokens are used.
    """
    decoder = vlm.model.get_decoder()
    shape = DecoderShape.of(vlm.model)
    full_masks = vlm.family.masks is not None
    tied = bool((trace.tied_to != torch.arange(len(trace.tied_to))).any())
    projections = attention = hidden = ffn = 0
    for index, layer in enumerate(decoder_layers(vlm.model)):
        entered = int(trace.entered[index].sum())
        attending = int(trace.ran_attention[index].sum())
        own = layer.get_submodule("self_attn")
        of_queries = sum(linear_weights(projection) for projection in projections_of_queries(own))
        if tied:
            projections += 2 * len(trace.tied_to.unique()) * linear_weights(own)
        else:
            projections += 2 * entered * (linear_weights(own) - of_queries) + 2 * attending * of_queries
        blind = not (method.execution.text_attends_skipped or full_masks)
        scores, unseen = _scores(trace, index, blind, full_masks)
        attention += 4 * scores * shape.heads * shape.head_width
        hidden += 4 * unseen * shape.heads * shape.head_width
        ffn += 2 * int(trace.ran_ffn[index].sum()) * ffn_weights(layer.get_submodule("mlp"), decoder.config)
    return PrefillFlops(
        selection=method.selection_flops(trace, shape),
        projections=projections,
        attention=attention,
        ffn=ffn,
        head=2 * vlm.model.get_output_embeddings().weight.numel(),
        hidden=hidden,
    )


def _scores(trace: Trace, layer: int, blind: bool, full_masks: bool) -> tuple[int, int]:
    """Count attention scores per head in a layer, and how many of them a causal kernel leaves out."""
    entered = trace.entered[layer]
    rows = trace.ran_attention[layer][entered].nonzero().flatten()
    n = int(entered.sum())
    if len(rows) < n and attend_masked(len(rows), n):
        return len(rows) * (n if full_masks else int(rows.max()) + 1), 0
    role = trace.slot_role[entered]
    text, skipped = role == Role.TEXT, role == Role.SKIPPED
    if not blind or not skipped.any():
        return n**2, 0 if full_masks else n * (n - 1) // 2
    prefix = int((~text).nonzero().max()) + 1
    visible = int((~skipped).sum())
    first_blind = text & (skipped.cumsum(0) > 0)
    after = int((~skipped)[int(first_blind.nonzero()[0]) :].sum()) if first_blind.any() else 0
    queries = num_queries(after, visible)
    unseen = visible * (visible - 1) // 2 if queries == visible else 0
    return prefix**2 + queries * visible, prefix * (prefix - 1) // 2 + unseen


def linear_weights(module: nn.Module) -> int:
    """Count the weights of all linear layers in a module."""
    return sum(linear.weight.numel() for linear in module.modules() if isinstance(linear, nn.Linear))


def ffn_weights(ffn: nn.Module, config: PreTrainedConfig) -> int:
    """Count the weights that a token passes in an FFN: of the matrices [experts, k, m] of a mixture, those of its own
    experts."""
    chosen = getattr(config, "num_experts_per_tok", 0)
    matrices = [p for p in ffn.parameters() if p.ndim > 1]
    return sum(p.numel() if p.ndim == 2 else p.numel() // len(p) * chosen for p in matrices)
