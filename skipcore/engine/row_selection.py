"""Rows of hidden states, of queries, or of keys: chosen, gathered, and put back."""

from __future__ import annotations

from torch import Tensor

from skipcore.plan.layer_rows import LayerRows, Ties


def chosen(states: Tensor, rows: Tensor, dim: int) -> Tensor:
    """`states` [batch, …, length, …] at `rows` [batch, chosen] of its dimension `dim`; a copy."""
    if len(rows) == 1:
        return states.index_select(dim, rows[0])
    shape = [*states.shape[:dim], rows.shape[1], *states.shape[dim + 1 :]]
    return states.gather(
        dim, rows.view(len(rows), *(-1 if each == dim else 1 for each in range(1, len(shape)))).expand(shape)
    )


def gather(states: Tensor, rows: Tensor) -> Tensor:
    """[batch, length, d] → [1, rows, d], at flattened rows."""
    return states.flatten(0, 1).index_select(0, rows)[None]


def scatter(states: Tensor, rows: Tensor, layer: LayerRows) -> Tensor:
    """[rows, …] → [batch, length, …], zero in the other flattened rows."""
    batch = len(layer.role)
    everywhere = states.new_zeros(batch * layer.length, *states.shape[1:]).index_copy(0, rows, states)
    return everywhere.unflatten(0, (batch, layer.length))


def expand(states: Tensor, ties: Ties, layer: LayerRows) -> Tensor:
    """[1, U, d] → [batch, length, d], every row reading the one that stands for it."""
    return states[0].index_select(0, ties.inverse).unflatten(0, (len(layer.role), layer.length))
