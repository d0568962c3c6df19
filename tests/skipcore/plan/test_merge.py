"""Token merge against a plain reference, and its edges."""

from __future__ import annotations

import pytest
import torch
from reference import merge as reference_merge

from skipcore.plan.merge import merge_tokens, redundancy


@pytest.mark.parametrize("n, kept", [(2, 1), (9, 3), (40, 39), (64, 20)])
@pytest.mark.parametrize("order", ["raster", "redundancy"])
def test_equals_the_reference(n: int, kept: int, order: str) -> None:
    features = torch.randn(n, 16)
    merge = merge_tokens(features, kept, order)
    stay, went_to = reference_merge(features, kept, order == "redundancy")
    assert merge.destinations.tolist() == stay
    assert merge.destinations[merge.assignment].tolist() == went_to


@pytest.mark.parametrize("kept", [5, 6, 100])
def test_nothing_to_merge(kept: int) -> None:
    merge = merge_tokens(torch.randn(5, 8), kept)
    assert merge.destinations.tolist() == merge.assignment.tolist() == [0, 1, 2, 3, 4]


def test_every_destination_keeps_itself() -> None:
    merge = merge_tokens(torch.randn(50, 8), 12)
    assert merge.assignment[merge.destinations].tolist() == list(range(12))


def test_redundancy_is_the_summed_similarity_to_the_others() -> None:
    features = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    assert redundancy(features).tolist() == pytest.approx([1.0, 1.0, 0.0])


@pytest.mark.parametrize("features", [torch.zeros(6, 4), torch.ones(6, 4)], ids=["zeros", "equal"])
def test_tokens_without_difference_still_merge(features: torch.Tensor) -> None:
    merge = merge_tokens(features, 2)
    assert len(merge.destinations) == 2
    assert merge.assignment.max() < 2


def test_more_tokens_than_a_chunk(monkeypatch) -> None:
    features = torch.randn(60, 8)
    whole = merge_tokens(features, 10)
    monkeypatch.setattr("skipcore.plan.merge._CHUNK", 7)
    assert torch.equal(merge_tokens(features, 10).assignment, whole.assignment)
