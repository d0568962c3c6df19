"""Seam 2: only the rows that run a sub-layer reach it. Skipped rows get zero; the residual does the rest."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from skipcore.families import Family
from skipcore.layout import Layout
from skipcore.recorder import UpdateRecorder


class SubLayers:
    """Hooks on every layer's FFN, and on the query and output projections of its attention.

    Rows that skip the FFN skip the norm that feeds it, too. Rows that skip the attention still give keys and values.

    Attributes:
        recorder: takes note of every FFN update; None: nothing is recorded.
    """

    def __init__(self, family: Family, layers: nn.ModuleList) -> None:
        self._family = family
        self._layers = layers
        self._layout: Layout | None = None  # of the layer that runs, on its device; None where it runs as it is
        self._given: Layout | None = None  # the same as the decoder was given it
        self.recorder: UpdateRecorder | None = None

    def install(self) -> list[RemovableHandle]:
        """Hook every layer."""
        handles = []
        for index, layer in enumerate(self._layers):
            attention, ffn = layer.get_submodule("self_attn"), layer.get_submodule("mlp")
            norm = layer.get_submodule(self._family.ffn_norm)
            handles += [
                attention.register_forward_pre_hook(self._see_layout, with_kwargs=True),
                norm.register_forward_pre_hook(self._before_ffn(index)),
                ffn.register_forward_hook(self._after_ffn(index)),
            ]
            for projection in projections_of_queries(attention):
                handles += [
                    projection.register_forward_pre_hook(self._before_projection(index)),
                    projection.register_forward_hook(self._after_projection(index)),
                ]
        return handles

    def forget(self) -> None:
        """Let go of the last layout's tensors."""
        self._layout = self._given = None

    def _see_layout(self, attention: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        """Attention is given the layout, and runs before the FFN: also where a checkpointed layer runs again."""
        layout: Layout | None = kwargs.get("skip_layout")
        if layout is None:
            self._layout = None
            return None
        states = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        if self._layout is None or self._given is not layout or self._layout.role.device != states.device:
            self._given, self._layout = layout, layout.to(states.device)  # the next layer may be on another device
        return args, kwargs | {"skip_layout": self._layout}

    def _before_ffn(self, layer: int) -> Callable:
        def hook(norm: nn.Module, args: tuple) -> tuple | None:
            if self.recorder is not None:
                self.recorder.before_ffn(args[0])
            rows = None if self._layout is None else self._layout.ffn_rows[layer]
            return None if rows is None else (_gather(args[0], rows),)

        return hook

    def _after_ffn(self, layer: int) -> Callable:
        def hook(ffn: nn.Module, args: tuple, update: Tensor) -> Tensor | None:
            rows = None if self._layout is None else self._layout.ffn_rows[layer]
            if self.recorder is not None:
                self.recorder.after_ffn(update, rows)
            return None if self._layout is None or rows is None else _scatter(update, rows, self._layout)

        return hook

    def _before_projection(self, layer: int) -> Callable:
        def hook(projection: nn.Module, args: tuple) -> tuple | None:
            queries = None if self._layout is None else self._layout.queries[layer]
            return None if queries is None else (_gather(args[0], queries.rows),)

        return hook

    def _after_projection(self, layer: int) -> Callable:
        def hook(projection: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
            queries = None if self._layout is None else self._layout.queries[layer]
            if self._layout is None or queries is None:
                return None
            return _scatter(output, queries.rows, self._layout)

        return hook


def projections_of_queries(attention: nn.Module) -> list[nn.Module]:
    """The projections of an attention that only its queries need; none where it has them in one with others."""
    names = ("q_proj", "o_proj")
    return [attention.get_submodule(name) for name in names] if all(hasattr(attention, name) for name in names) else []


def _gather(states: Tensor, rows: Tensor) -> Tensor:
    """[batch, length, d] → [1, rows, d]."""
    return states.flatten(0, 1).index_select(0, rows)[None]


def _scatter(states: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """[1, rows, d] → [batch, length, d], zero elsewhere."""
    batch = len(layout.slot_source)
    everywhere = states.new_zeros(batch * layout.length, states.shape[-1]).index_copy(0, rows, states[0])
    return everywhere.unflatten(0, (batch, layout.length))
