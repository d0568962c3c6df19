"""AdaptiveSummary: the learned pooling that starts a summary token."""

from __future__ import annotations

from torch import Tensor, nn

from skipcore.plan.averages import at_least_float32


class AdaptiveSummary(nn.Module):
    """A group of tokens in, one token out: softmax-weighted mean with learned weights.

    Paper, adaptive summary tokens: for a group X [n, d] the weights are softmax over the n tokens of
    `score(norm(X))`. `score` starts at zero, which makes the summary the mean of the group: the right
    start for a model that was not trained with it.

    Args:
        hidden_size: d, the width of the decoder.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size)
        self.score = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, group: Tensor) -> Tensor:
        """Pool [..., n, d] to [..., d], in the dtype of `group`."""
        exact = at_least_float32(group.dtype)
        weights = self.score(self.norm(group.to(self.score.weight.dtype))).to(exact).softmax(dim=-2)
        return (weights * group).sum(dim=-2).to(group.dtype)


def summarize(group: Tensor, summary: AdaptiveSummary | None) -> Tensor:
    """Pool [..., n, d] to [..., d] by `summary`, or by the mean where there is none."""
    if summary is None:
        return group.mean(dim=-2, dtype=at_least_float32(group.dtype)).to(group.dtype)
    return summary(group)
