"""The FFN update of every token in every layer, recorded while the model prefills."""

from __future__ import annotations

import torch
from torch import Tensor

from skipcore.plan.layer_rows import LayerRows


class UpdateRecorder:
    """Keeps ‖FFN output‖ / ‖residual‖ per token and layer of one prefill: scalars, never hidden states.

    Measured inside the layer, since some models add to the hidden states between layers.

    Args:
        num_layers: layers of the decoder. What comes after as many updates (decode steps, layers that run again in
            backward) is not recorded.
    """

    def __init__(self, num_layers: int) -> None:
        self._num_layers = num_layers
        self._residual: Tensor | None = None
        self._updates: list[Tensor] = []

    def before_ffn(self, states: Tensor) -> None:
        """Take note of the residual: `states` [batch, slots, d], before the norm that feeds the FFN."""
        if len(self._updates) < self._num_layers:
            self._residual = _norms(states)

    def after_ffn(self, output: Tensor, layer: LayerRows | None) -> None:
        """Take note of the FFN's output: [batch, slots, d], or of the rows that ran it [1, rows, d]."""
        if self._residual is None:
            return
        residual, self._residual = self._residual, None
        if layer is None or layer.ffn is None:
            ratio = _norms(output) / residual
        else:
            ratio = torch.full_like(residual, torch.nan).flatten()
            ratio = ratio.index_copy(0, layer.ffn, _norms(output[0]) / residual.flatten().index_select(0, layer.ffn))
            ratio = ratio.view_as(residual)
        if layer is not None and layer.row_of_slot is not None and layer.enters is not None:
            ratio = ratio.gather(1, layer.row_of_slot).masked_fill(~layer.enters, torch.nan)
        self._updates.append(ratio)

    def updates(self) -> Tensor | None:
        """[batch, layers, slots] on the CPU, NaN where no FFN ran; None if nothing was recorded."""
        return torch.stack(self._updates, dim=1).cpu() if self._updates else None


def _norms(states: Tensor) -> Tensor:
    """Euclidean norms [..., d] → [...] in float32."""
    return torch.linalg.vector_norm(states.detach(), dim=-1, dtype=torch.float32)
