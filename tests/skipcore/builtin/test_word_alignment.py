"""The word alignment: which words a visual token points to."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("easy_vqa")

from training_runs import tokenizer

from skipcore.builtin.training.patch_labels import COLOR_NUMBERS, NOUNS, TEXTS
from skipcore.builtin.training.word_alignment import WordAlignment

WIDTH = 64
LABELS = torch.tensor([[[0, NOUNS["dog"], NOUNS["circle"], NOUNS["sign"], -1]],
                       [[0, 0, COLOR_NUMBERS["red"], COLOR_NUMBERS["blue"], -1]],
                       [[0, 0, 0, TEXTS["42"], -1]]])  # fmt: skip


@pytest.fixture(scope="module")
def embeddings() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(len(tokenizer()), WIDTH, generator=generator)


def embedding_of(words: tuple[str, ...], embeddings: torch.Tensor) -> torch.Tensor:
    """The sum of the words' embeddings; a word of several tokens counts as their mean."""
    rows = [embeddings[tokenizer().encode(f" {word}", add_special_tokens=False)].mean(0) for word in words]
    return torch.stack(rows).sum(0)


def test_tokens_that_are_the_words_point_to_them(embeddings: torch.Tensor) -> None:
    told = [("dog",), ("red", "circle"), ("blue", "sign", "42")]
    features = torch.stack(
        [torch.zeros(WIDTH), *(embedding_of(words, embeddings) for words in told), torch.ones(WIDTH)]
    )
    alignment = WordAlignment(tokenizer())
    loss, right = alignment(features[None], LABELS, embeddings)
    assert right == 1
    mixed, wrong = alignment(features[[0, 2, 3, 1, 4]][None], LABELS, embeddings)
    assert wrong == 0
    assert mixed > loss + 1


def test_the_loss_pulls_tokens_to_their_words(embeddings: torch.Tensor) -> None:
    features = torch.randn(1, 5, WIDTH, generator=torch.Generator().manual_seed(1)).requires_grad_()
    alignment = WordAlignment(tokenizer())
    optimizer = torch.optim.Adam([features], lr=0.05)
    first, _ = alignment(features, LABELS, embeddings)
    for _ in range(150):
        loss, right = alignment(features, LABELS, embeddings)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert right == 1
    assert loss < 0.1 * first
    assert features.grad is not None
    assert features.grad[0, 4].abs().max() == 0  # nothing is known of this patch


def test_where_nothing_is_known_there_is_no_loss(embeddings: torch.Tensor) -> None:
    features = torch.randn(1, 5, WIDTH, requires_grad=True)
    loss, right = WordAlignment(tokenizer())(features, torch.full_like(LABELS, -1), embeddings)
    loss.backward()
    assert loss == 0
    assert right == 0
    assert torch.isfinite(features.grad).all()
