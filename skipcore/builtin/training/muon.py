"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): momentum whose update is made orthogonal.

`torch.optim.Muon` computes in bfloat16 alone, which takes forty times as long as float32 on processors that have no
bfloat16 arithmetic; this one computes in float32 there. Steps are scaled to the size of AdamW's (Liu et al. 2025,
arXiv 2502.16982, section 2.2), so both take the same learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.775, 2.0315)
"""Of the quintic Newton–Schulz iteration, as in the reference."""
ITERATIONS = 4


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for matrices."""

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict],
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is None:
                    continue
                state = self.state[weights]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weights)
                average = state["momentum"].lerp_(weights.grad, 1 - group["momentum"])
                update = orthogonal(weights.grad.lerp(average, group["momentum"]))
                weights.mul_(1 - group["lr"] * group["weight_decay"])
                weights.add_(update, alpha=-group["lr"] * 0.2 * max(weights.shape) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix with all its singular values brought near 1, by Newton–Schulz iteration. [m, n] -> [m, n]"""
    work = matrix.to(torch.bfloat16 if matrix.is_cuda else torch.float32)
    is_tall = work.shape[0] > work.shape[1]
    work = work.T if is_tall else work
    work = work / (work.norm() + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = work @ work.T
        work = a * work + (b * square + c * square @ square) @ work
    return (work.T if is_tall else work).to(matrix.dtype)
