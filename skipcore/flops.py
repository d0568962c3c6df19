"""FLOPs counted by torch while a model runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


class FlopCount(FlopCounterMode):
    """torch's FLOP counter, with the CPU's fused attention counted on every supported torch version."""

    def __init__(self) -> None:
        super().__init__(display=False, custom_mapping=_FUSED_ON_CPU)

    @property
    def total(self) -> int:
        """All FLOPs counted so far."""
        return self.get_total_flops()

    def inside(self, module: str) -> int:
        """FLOPs of the module of that name, forward and backward, at any depth."""
        counts = self.get_flop_counts()
        return sum(sum(kinds.values()) for path, kinds in counts.items() if path.rpartition(".")[2] == module)


def _attention_flops(
    query: torch.Size, key: torch.Size, value: torch.Size, *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    batch, heads, rows, width = query
    columns, value_width = value[-2], value[-1]
    return 2 * batch * heads * rows * columns * (width + value_width)


def _attention_backward_flops(
    gradient: torch.Size, query: torch.Size, key: torch.Size, value: torch.Size, *args: Any, **kwargs: Any
) -> int:
    """Five products where the forward pass has two: the scores once more, and the four gradients."""
    batch, heads, rows, width = query
    columns, value_width = value[-2], value[-1]
    return 2 * batch * heads * rows * columns * (3 * width + 2 * value_width)


def _grouped_flops(states: torch.Size, weights: torch.Size, *args: Any, **kwargs: Any) -> int:
    """Every row [rows, k] meets the matrix [k, m] of its own expert."""
    return 2 * states[0] * weights[-2] * weights[-1]


# Some versions of torch count no FLOPs for the CPU's fused attention; these counts are torch's own for the GPU's.
_FUSED_ON_CPU: dict[Any, Callable] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
    torch.ops.aten._grouped_mm: _grouped_flops,
}
