"""Visual tokens that point to words: a loss that ties what a patch shows to the decoder's own word embeddings.

Where a visual token of a dog points along the embeddings of " dog" and " dogs", one attention circuit finds any thing
that a question names, and writing its name is copying; without it, the decoder must learn each pair of look and word by
itself.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from skipcore.builtin.scenes.words import plural
from skipcore.builtin.training.patch_labels import BACKGROUND_WEIGHT, COLOR_NUMBERS, NOUNS, TEXTS

SHARPNESS = 2.0
"""Logits are this times the product of a token, scaled to a root mean square of 1, with a word's embedding."""


class WordAlignment(nn.Module):
    """Scores visual tokens against the embeddings of the nouns, colors and texts they may show; has no weights."""

    nouns: Tensor
    plurals: Tensor
    colors: Tensor
    texts: Tensor

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        plurals = [noun and plural(noun) for noun in NOUNS]
        tables = {"nouns": NOUNS, "plurals": plurals, "colors": COLOR_NUMBERS, "texts": TEXTS}
        for name, words in tables.items():
            self.register_buffer(name, _tokens_of(words, tokenizer), persistent=False)

    def forward(self, features: Tensor, labels: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """The loss [] and the share of item patches that point to their noun [].

        Args:
            features: [B, P, d], as the decoder gets them.
            labels: [3, B, P] numbers of noun, color and text; −1 where nothing is known.
            embeddings: [V, d], the decoder's.
        """
        known = labels[0] >= 0
        wanted = labels[:, known]
        tokens = features[known].float()
        tokens = tokens * (tokens.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
        is_item, is_sign = wanted[0] > 0, wanted[2] > 0
        weight = torch.where(is_item, 1 / is_item.sum().clamp(min=1), BACKGROUND_WEIGHT / (~is_item).sum().clamp(min=1))
        tables = (self.nouns, self.plurals, self.colors, self.texts)
        noun, several, color, text = (SHARPNESS * tokens @ (words @ embeddings.float()).T for words in tables)
        loss = (functional.cross_entropy(noun, wanted[0], reduction="none") * weight).sum() / 2
        loss = loss + (functional.cross_entropy(several, wanted[0], reduction="none") * weight).sum() / 2
        loss = loss + 0.5 * (functional.cross_entropy(color, wanted[1], reduction="none") * weight).sum()
        reading = functional.cross_entropy(text, wanted[2], reduction="none") * is_sign
        loss = loss + reading.sum() / is_sign.sum().clamp(min=1)
        is_right = (noun.argmax(-1) == wanted[0]) & is_item
        return loss, is_right.sum() / is_item.sum().clamp(min=1)


def _tokens_of(words: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """For each word the mean of its tokens, as shares of the vocabulary; zeros for "". [words, V]"""
    rows = torch.zeros(len(list(words)), len(tokenizer))
    for row, word in zip(rows, words, strict=True):
        ids = tokenizer.encode(f" {word}", add_special_tokens=False) if word else []
        for each in ids:
            row[each] += 1 / len(ids)
    return rows
