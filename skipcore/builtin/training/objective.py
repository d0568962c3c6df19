"""What training minimizes: the loss of the answers, and of what each patch shows and which word it points to."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlavaForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling

from skipcore import AdaptiveSummary, Method
from skipcore.builtin.training.batches import NO_LABEL, Batch
from skipcore.builtin.training.patch_labels import PatchHeads
from skipcore.builtin.training.recipe import Trains
from skipcore.builtin.training.untrained import IMAGE_SIDE
from skipcore.builtin.training.word_alignment import WordAlignment


@dataclass(frozen=True, eq=False)
class Losses:
    """The loss to minimize [], its parts [], which answers are wholly right [answers], and the shares of item patches
    that the heads name rightly, and that point to their word, []."""

    total: Tensor
    answers: Tensor
    patches: Tensor
    words: Tensor
    is_right: Tensor
    patches_right: Tensor
    words_right: Tensor


class TrainingModel(nn.Module):
    """All weights that are trained: the stock model, its summary, and the heads that training alone uses."""

    def __init__(
        self,
        model: LlavaForConditionalGeneration,
        summary: AdaptiveSummary,
        heads: PatchHeads,
        alignment: WordAlignment,
    ) -> None:
        super().__init__()
        self.model, self.summary, self.heads, self.alignment = model, summary, heads, alignment

    def forward(
        self,
        batch: Batch,
        method: Method | None = None,
        trains: Trains = "everything",
        patch_weight: float = 0.3,
        word_weight: float = 0.0,
    ) -> Losses:
        """One pass over a batch, under a method if one is given; `trains` and the weights are the stage's."""
        side = batch.pixels.shape[-1]
        with torch.set_grad_enabled(torch.is_grad_enabled() and trains != "decoder"):
            seen = self.model.model.vision_tower(
                batch.pixel_values, interpolate_pos_encoding=side != IMAGE_SIDE, return_dict=True
            ).last_hidden_state[:, 1:]
        features = self.model.model.multi_modal_projector(seen)
        zero = features.new_zeros(())
        patches, patches_right, words, words_right = zero, zero, zero, zero
        if trains != "decoder":
            patches, patches_right = self.heads(features, batch.patch_labels, batch.patch_offset)
        if word_weight:
            embeddings = self.model.get_input_embeddings().weight
            words, words_right = self.alignment(features, batch.patch_labels, embeddings)
        if trains == "tower":
            nothing = torch.zeros(0, dtype=torch.bool, device=features.device)
            return Losses(patches + word_weight * words, zero, patches, words, nothing, patches_right, words_right)
        with method(self.model) if method is not None else nullcontext():
            answers, is_right = answer_loss(self.model, features, batch)
        total = answers + patch_weight * patches + word_weight * words
        return Losses(total, answers, patches, words, is_right, patches_right, words_right)


def answer_loss(model: LlavaForConditionalGeneration, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The loss [], and whether each answer is wholly right [answers].

    The loss is the mean cross-entropy of the answers' tokens, in which an answer of n tokens weighs √n, not n: long
    descriptions must not drown the short answers.
    """
    hidden = model.model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        mm_encoder_outputs={"image": BaseModelOutputWithPooling(pooler_output=list(features[batch.picture]))},
        use_cache=False,
    ).last_hidden_state
    wanted = batch.labels[:, 1:] != NO_LABEL
    labels, answer = batch.labels[:, 1:][wanted], batch.answer[:, 1:][wanted]
    logits = model.lm_head(hidden[:, :-1][wanted]).float()
    wrong = torch.zeros_like(batch.source).index_add_(0, answer, (logits.argmax(-1) != labels).long())
    loss = functional.cross_entropy(logits, labels, reduction="none")
    weight = answer.bincount(minlength=len(batch.source))[answer].rsqrt()
    return (loss * weight).sum() / weight.sum(), wrong == 0
