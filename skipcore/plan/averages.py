"""Weighted means of rows, group by group: the one way in which tokens are merged.

In float32 at least, whatever the dtype of the rows: sums of bfloat16 lose small terms. In an order that is fixed
before: `index_add` adds by atomics on CUDA, in another order each time. Gradients flow through the rows.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Bucket:
    """Groups of about the same size.

    Attributes:
        groups: [g] their numbers.
        rows: [g, size] the rows of each, padded with the first.
        shares: [g, size, 1] float32, what each row counts for; they sum up to 1 and are 0 in padding.
    """

    groups: Tensor
    rows: Tensor
    shares: Tensor


@dataclass(frozen=True)
class Averages:
    """How rows are averaged.

    Attributes:
        first: [groups] the first row of each group: the mean of a group of one. 0 for a group without rows.
        buckets: the groups of several rows; sizes double from bucket to bucket.
    """

    first: Tensor
    buckets: tuple[Bucket, ...]

    def to(self, device: torch.device) -> Averages:
        """The same on a device."""
        buckets = (Bucket(*(each.to(device) for each in vars(bucket).values())) for bucket in self.buckets)
        return Averages(self.first.to(device), tuple(buckets))

    def of(self, rows: Tensor) -> Tensor:
        """[n, d] → [groups, d] in the dtype of the rows."""
        means = rows.index_select(0, self.first)
        for bucket in self.buckets:
            members = rows.index_select(0, bucket.rows.flatten()).unflatten(0, bucket.rows.shape)
            mean = members.to(at_least_float32(rows.dtype)).mul(bucket.shares).sum(dim=1)
            means = means.index_copy_(0, bucket.groups, mean.to(rows.dtype))
        return means


def averages(rows: Tensor, group: Tensor, num_groups: int, weight: Tensor | None = None) -> Averages:
    """The means of some rows. CPU tensors.

    Args:
        rows: [m] the rows that take part, each once.
        group: [m] the group of each.
        weight: [m] float32 what each counts for in its group; None: all alike.
    """
    order = group.argsort(stable=True)
    sizes = group.bincount(minlength=num_groups)
    starts = sizes.cumsum(0) - sizes
    ordered = rows[order]
    first = torch.zeros(num_groups, dtype=torch.long)
    first[sizes > 0] = ordered[starts[sizes > 0]]
    weights = torch.ones(len(rows)) if weight is None else weight[order]
    buckets, size, largest = [], 2, int(sizes.max()) if num_groups else 0
    while size < 2 * largest:
        groups = ((sizes > size // 2) & (sizes <= size)).nonzero().flatten()
        if len(groups):
            number = torch.arange(size).expand(len(groups), -1)
            is_member = number < sizes[groups, None]
            members = starts[groups, None] + number * is_member
            shares = weights[members] * is_member
            shares = (shares / shares.sum(dim=1, keepdim=True))[:, :, None]
            buckets.append(Bucket(groups, ordered[members], shares))
        size *= 2
    return Averages(first, tuple(buckets))


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Products in the dtype of what is multiplied, also within `torch.autocast`: what a method compares it compares in
    float32."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """float32 for what is shorter; float64 stays."""
    return torch.promote_types(dtype, torch.float32)
