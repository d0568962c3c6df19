"""Seam 2: only the rows that enter a layer, or run one of its sub-layers, reach it. The residual does the rest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from skipcore.engine.changes import Changes
from skipcore.engine.layer_view import AHEAD, LayerView, Look, Observation, Observed, asking_rows, transition
from skipcore.engine.prefill import Prefill
from skipcore.engine.recorder import UpdateRecorder
from skipcore.engine.row_selection import chosen, expand, gather, scatter
from skipcore.families import Family
from skipcore.plan.layer_rows import LayerRows, move
from skipcore.plan.positions import rotary
from skipcore.tower.blocks import projections


class SubLayers:
    """Hooks on every decoder layer, on its FFN, and on the query and output projections of its attention.

    Rows that skip the FFN skip the norm that feeds it, too. Rows that skip the attention still give keys and values.
    Slots that do not enter a layer are gone from its sequence, and from those of the layers to come; where the model
    adds something to all tokens between layers, they are put back after each layer.

    Attributes:
        recorder: records every FFN update; None: nothing is recorded.
        counts: of every layer of the last prefill, the rows that entered it, that attended and that ran the FFN:
            counted off the tensors that reached them, padding included.
    """

    def __init__(self, family: Family, decoder: PreTrainedModel, logits: Callable[[Tensor], Tensor]) -> None:
        self._family = family
        self._decoder = decoder
        self._layers: nn.ModuleList = decoder.layers
        self._logits = logits
        self._rows: LayerRows | None = None  # of the layer that runs, on its device; None where it runs as it is
        self._batch = 0
        self._stream: Tensor | None = None  # all slots before the layer, where those gone are put back
        self._rotations: dict[tuple[int, int], tuple[Any, Tensor, Any]] = {}  # see `_positions`
        self._before: Tensor | None = None  # what entered the layer, for its update
        self._observation: Observation | None = None
        self._updates: Tensor | None = None
        self._transitions: list[Tensor] | None = None  # of the attention and of the FFN
        self._changes = Changes()
        self._installed = self._counting = False
        self.counts: list[list[int]] = []
        self.recorder: UpdateRecorder | None = None

    def install(self, ties_rows: bool, counting: bool = False) -> None:
        """Hook every layer, unless they are hooked.

        Args:
            ties_rows: whether tokens may share their rows.
            counting: whether to count rows.
        """
        self._counting = counting
        if self._installed:
            return
        self._installed, changes = True, self._changes
        for index, layer in enumerate(self._layers):
            attention, ffn = layer.get_submodule("self_attn"), layer.get_submodule("mlp")
            changes.before(layer, self._enter(index), with_kwargs=True)
            # Before those that capture hidden states, whenever they were installed.
            changes.after(layer, self._leave(index), with_kwargs=True, prepend=True)
            changes.before(attention, self._see_rows, with_kwargs=True)
            changes.after(attention, self._after_attention, with_kwargs=True)
            changes.before(layer.get_submodule(self._family.ffn_norm), self._before_ffn)
            changes.after(ffn, self._after_ffn)
            for projection in projections_of_queries(attention):
                changes.before(projection, self._before_projection)
                changes.after(projection, self._after_projection)
            for projection in projections(attention) if ties_rows else ():
                changes.before(projection, self._before_tied)
                changes.after(projection, self._after_tied)

    def undo(self) -> None:
        """Unhook the layers, and forget what they ran with."""
        self._changes.undo()
        self._installed = self._counting = False
        self._rows = self._stream = self._before = self._observation = self._updates = self._transitions = None
        self._rotations.clear()

    # Around a layer

    def _enter(self, index: int) -> Callable:
        def hook(layer: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
            prefill: Prefill | None = kwargs.get("skip_prefill")
            if prefill is None:
                return None
            states = args[0] if args else kwargs["hidden_states"]
            before = max(index - 1, 0)  # the layer whose rows the states are
            if index in prefill.waiting:
                with torch.no_grad():  # no gradient flows through a choice
                    prefill.decide(index, self._views(prefill, index, before, layer, states, kwargs))
            rows = prefill.rows(index, states.device)
            if self._family.adds_between_layers:
                self._stream = states
                states = states if rows.present is None else chosen(states, rows.present, 1)
            elif rows.present is not None and not (index and prefill.same_slots(index, before)):
                earlier = prefill.rows(before, states.device).row_of_slot if index else None
                states = chosen(states, rows.present if earlier is None else earlier.gather(1, rows.present), 1)
            given = self._arguments(index, rows, states, kwargs)
            if looks := prefill.looks(index + 1) - AHEAD:
                given["skip_observation"] = self._observation = Observation(looks)
                self._before = states if Look.UPDATES in looks else None
                self._transitions = [] if Look.TRANSITIONS in looks else None
            if args:
                return (states, *args[1:]), given
            return args, given | {"hidden_states": states}

        return hook

    def _leave(self, index: int) -> Callable:
        def hook(layer: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> Tensor | None:
            if (prefill := kwargs.get("skip_prefill")) is None:
                return None
            if self._before is not None:
                self._updates = torch.linalg.vector_norm(output.detach().float() - self._before.detach(), dim=-1)
                self._before = None
            if self._stream is None:
                return None
            stream, self._stream = self._stream, None
            rows = prefill.rows(index, output.device)
            if rows.enters is None or rows.row_of_slot is None:
                return output
            return torch.where(rows.enters[:, :, None], chosen(output, rows.row_of_slot, 1), stream.to(output.device))

        return hook

    def _arguments(self, index: int, rows: LayerRows, states: Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
        """What a layer is given beside its states, for the rows that enter it."""
        given = kwargs | {"skip_rows": rows}
        if rows.present is None:
            return given
        given["position_embeddings"], position_ids = self._positions(index, rows, states, kwargs)
        if position_ids is not None:
            given["position_ids"] = position_ids
        if (mask := kwargs.get("attention_mask")) is not None:
            present = rows.present.expand(len(mask), -1)
            mask = mask.gather(3, present[:, None, None, :].expand(-1, 1, mask.shape[2], -1))
            mask = mask.gather(2, present[:, None, :, None].expand(-1, 1, -1, mask.shape[3]))
            is_real = torch.arange(rows.length, device=mask.device) <= rows.last[:, None]
            given["attention_mask"] = mask & is_real[:, None, None, :]
        return given

    def _positions(
        self, index: int, rows: LayerRows, states: Tensor, kwargs: dict[str, Any]
    ) -> tuple[tuple[Tensor, Tensor], Tensor | None]:
        """Cosines and sines, and position ids where the layer is given some for each token, of the slots that are
        present; layers of the same positions and slots share them."""
        embeddings, given, present = kwargs["position_embeddings"], kwargs.get("position_ids"), rows.present
        given = None if given is None or given.ndim != 2 else given
        assert present is not None
        key = id(embeddings[0]), id(present)
        if key not in self._rotations:  # the originals are kept, so that no other tensor takes their identity
            batch = len(present)
            renumbered = kwargs["skip_prefill"].positions(rows)
            if renumbered is None:
                cosine, sine = (chosen(each.expand(batch, -1, -1), present, 1) for each in embeddings)
                ids = None if given is None else given.expand(batch, -1).gather(1, present)
            else:
                cosine, sine = rotary(self._decoder, index, states, renumbered)
                ids = None if given is None else renumbered if renumbered.ndim == 2 else renumbered[0]
            self._rotations[key] = embeddings, present, ((cosine, sine), ids)
        return self._rotations[key][2]

    def _views(
        self, prefill: Prefill, index: int, before: int, layer: nn.Module, states: Tensor, kwargs: dict
    ) -> list[LayerView]:
        """What every sample's plan is decided by."""
        rows = prefill.rows(before, states.device)
        if self._family.adds_between_layers and rows.present is not None:
            states = chosen(states, rows.present, 1)
        seen, updates, self._observation, self._updates = self._observation, self._updates, None, None
        transitions = None if self._transitions is None else torch.stack(self._transitions, dim=2)
        self._transitions = None
        if looks := prefill.looks(index) & AHEAD:
            seen = self._look_ahead(looks, index, rows, layer, states, kwargs)
        seen = seen or Observation(frozenset())
        looked = {
            "attention": seen.attention,
            "key_norms": seen.key_norms,
            "updates": updates,
            "transitions": transitions,
        }
        views = []
        for sample, plan in enumerate(prefill.plans):
            slots = plan.enters[before].nonzero().flatten()
            own = {name: None if each is None else each[sample, : len(slots)] for name, each in looked.items()}
            own_states = states[sample, : len(slots)].detach()
            views.append(LayerView(slots, own_states, **own, logits=self._logits, norm=self._decoder.norm))
        return views

    def _look_ahead(
        self, looks: frozenset[Look], index: int, rows: LayerRows, layer: nn.Module, states: Tensor, kwargs: dict
    ) -> Observation:
        """Run the layer's attention with the rows that are asked for alone, up to the product of queries and keys."""
        observation = Observation(looks, ends=True)
        given = self._arguments(index, rows.only(asking_rows(looks, rows)), states, kwargs)
        given |= {"skip_observation": observation, "past_key_values": None, "use_cache": False}
        counting, self._counting = self._counting, False
        with suppress(Observed):
            layer.get_submodule("self_attn")(hidden_states=layer.get_submodule("input_layernorm")(states), **given)
        self._counting = counting
        return observation

    # Around its sub-layers

    def _see_rows(self, attention: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        """Attention is given the rows, and runs before the FFN: also where a checkpointed layer runs again."""
        self._rows = rows = kwargs.get("skip_rows")
        states = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        if self._counting:
            self.counts.append([states.shape[0] * states.shape[1]] * 2)
        if rows is None or rows.role.device == states.device:
            return None
        self._rows = move(rows, states.device, {})  # accelerate has moved the states to the layer's device
        return args, kwargs | {"skip_rows": self._rows}

    def _after_attention(self, attention: nn.Module, args: tuple, kwargs: dict, output: tuple) -> None:
        if self._transitions is not None:
            states = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
            self._transitions.append(transition(states, output[0]))

    def _before_ffn(self, norm: nn.Module, args: tuple) -> tuple | None:
        if self.recorder is not None:
            self.recorder.before_ffn(args[0])
        rows = None if self._rows is None else self._rows.ffn
        return None if rows is None else (gather(args[0], rows),)

    def _after_ffn(self, ffn: nn.Module, args: tuple, update: Tensor) -> Tensor | None:
        layer = self._rows
        if self.recorder is not None:
            self.recorder.after_ffn(update, layer)
        if self._counting:
            self.counts[-1].append(args[0].shape[0] * args[0].shape[1])
        if self._transitions is not None:
            own = transition(args[0], update)
            self._transitions.append(own if layer is None or layer.ffn is None else scatter(own[0], layer.ffn, layer))
        if layer is None or layer.ffn is None:
            return None
        return scatter(update[0], layer.ffn, layer) if layer.ties is None else expand(update, layer.ties, layer)

    def _before_projection(self, projection: nn.Module, args: tuple) -> tuple | None:
        rows = None if self._rows is None else self._rows.attending
        return None if rows is None else (gather(args[0], rows),)

    def _after_projection(self, projection: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
        rows = None if self._rows is None else self._rows.attending
        if self._rows is None or rows is None:
            return None
        if self._counting:
            self.counts[-1][1] = args[0].shape[1]
        return scatter(output[0], rows, self._rows)

    def _before_tied(self, projection: nn.Module, args: tuple) -> tuple | None:
        """Tied rows are alike before queries, keys and values; what they attended to is averaged."""
        ties = None if self._rows is None else self._rows.ties
        return None if ties is None else (ties.means.of(args[0].flatten(0, 1))[None],)

    def _after_tied(self, projection: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
        layer = self._rows
        return None if layer is None or layer.ties is None else expand(output, layer.ties, layer)


def projections_of_queries(attention: nn.Module) -> list[nn.Module]:
    """The projections of an attention that only its queries need; none where it has them in one with others."""
    names = ("q_proj", "o_proj")
    return [attention.get_submodule(name) for name in names] if all(hasattr(attention, name) for name in names) else []
