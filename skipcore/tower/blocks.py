"""The blocks of a model's vision tower, and what may watch them."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn
from transformers import PreTrainedModel

from skipcore.engine.changes import Changes


class TowerObserver(Protocol):
    """Watches the attention of blocks."""

    def see_attention(self, query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> None:
        """Called with [images, heads, rows, head_dim] queries and keys, once or sequence after sequence."""


class TowerMerger(TowerObserver, Protocol):
    """Takes part in the blocks: some rows become one."""

    def install(self, changes: Changes) -> None:
        """Hook the blocks."""

    @property
    def groups(self) -> Tensor:
        """[rows] the first row of the group that each row has ended in."""


class Tower:
    """The blocks of a model's vision tower.

    Attributes:
        encoder: the tower as a whole.
        blocks: in order.
        last: the number of the last block that the projector reads.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.encoder: nn.Module = model.get_encoder(modality="image")
        lists = (module for module in self.encoder.modules() if isinstance(module, nn.ModuleList) and len(module))
        self.blocks = next(blocks for blocks in lists if _attention_of(blocks[0]) is not None)
        layer = getattr(model.config, "vision_feature_layer", -1)
        layer = max(layer) if isinstance(layer, list | tuple) else layer  # negative ones count from the end
        self.last = len(self.blocks) + layer if layer < 0 else layer - 1

    def attention(self, block: int) -> nn.Module:
        """A block's attention."""
        found = _attention_of(self.blocks[block])
        assert found is not None
        return found


def _attention_of(block: nn.Module) -> nn.Module | None:
    return next((getattr(block, name) for name in ("self_attn", "attn", "attention") if hasattr(block, name)), None)


def projections(attention: nn.Module) -> list[nn.Module]:
    """The linear layers of an attention, each with what adapters have put around it."""
    return [child for child in attention.children() if any(isinstance(module, nn.Linear) for module in child.modules())]
