"""Muon: an orthogonal update, and the same steps as torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from skipcore.builtin.training.muon import ITERATIONS, Muon, orthogonal


@pytest.mark.parametrize("shape", [(32, 96), (96, 32), (48, 160), (160, 48), (1, 8), (8, 1)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    for scale in (1e-6, 1.0, 1e4):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape) * scale))
        assert values.min() > 0.6 and values.max() < 1.3


def test_square_matrices_keep_only_their_least_directions_small() -> None:
    """A random square matrix has singular values near zero, which four iterations do not lift all the way."""
    values = torch.linalg.svdvals(orthogonal(torch.randn(64, 64)))
    assert values.max() < 1.3
    assert (values > 0.6).float().mean() > 0.9


def test_singular_vectors_stay() -> None:
    matrix = torch.randn(16, 40)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    middle = left.T @ orthogonal(matrix) @ right.T
    assert (middle - middle.diag().diag()).abs().max() < 1e-4


def test_zero_and_dtype_are_kept() -> None:
    assert torch.equal(orthogonal(torch.zeros(4, 6)), torch.zeros(4, 6))
    assert orthogonal(torch.randn(4, 6, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
@pytest.mark.parametrize("shape", [(24, 64), (64, 24)])
def test_steps_are_those_of_torch(shape: tuple[int, int]) -> None:
    """Several steps, so that momentum counts; torch computes in bfloat16."""
    start, rate = torch.randn(shape), 0.02
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = [
        Muon([ours], lr=rate, weight_decay=0.1, momentum=0.95),
        torch.optim.Muon(
            [theirs], lr=rate, weight_decay=0.1, momentum=0.95, ns_steps=ITERATIONS, adjust_lr_fn="match_rms_adamw"
        ),
    ]
    for _ in range(4):
        gradient = torch.randn(shape)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        before = ours.detach().clone()
        for optimizer in optimizers:
            optimizer.step()
        update = (ours - before).detach()
        assert 0.1 * rate < update.pow(2).mean().sqrt() < 0.35 * rate  # the size of AdamW's steps
        assert (ours - theirs).norm() < 0.03 * (ours - start).norm()


def test_weights_without_gradient_stay() -> None:
    still, moved = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(4, 6))
    moved.grad = torch.randn(4, 6)
    before = still.detach().clone(), moved.detach().clone()
    Muon([still, moved], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(still, before[0]) and not torch.equal(moved, before[1])
