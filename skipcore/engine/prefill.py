"""Seam 1: what the decoder is given. The laid-out prompts, and a cache that stores what is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from skipcore.engine.cache import Kept, KeptLayer, use_kept_layers, wants_cache, windows, within_window
from skipcore.engine.layer_view import LayerView, Look
from skipcore.engine.planner import Planner
from skipcore.errors import InputError
from skipcore.families import Family
from skipcore.plan.averages import without_autocast
from skipcore.plan.layer_rows import LayerRows, Memory, move, rows_of_layers
from skipcore.plan.layout import Layout, lay_out
from skipcore.plan.positions import last_position, renumbered_rows
from skipcore.plan.token_plan import TokenPlan


class Prefill:
    """A batch of prompts on its way through the decoder: plans, and the index tensors that follow from them.

    The plans are made before the decoder begins. A method that decides within the decoder revises them before the
    layers that it names, and the rows of the layers to come are built again.

    Attributes:
        plans: of each sample, as revised so far.
        layout: what goes into the decoder; on its device.
    """

    def __init__(self, method: Planner, plans: list[TokenPlan], device: torch.device) -> None:
        self.method = method
        self.plans = plans
        self._memory: Memory = {}
        self._laid_out = lay_out(plans)
        self.layout = self.layout_on(device)
        self._rows = rows_of_layers(plans, method.execution.text_attends_skipped)
        self._kept: Callable[[LayerRows, int | None], Kept] | None = None
        self._cache: DynamicCache | None = None
        self._windows: list[int | None] = []
        self._positions: Tensor | None = None  # of the slots, where they are renumbered
        self.waiting = {layer for layer in method.decision_layers(len(self._rows)) if 0 <= layer < len(self._rows)}
        """Layers before which the method has yet to decide."""

    def layout_on(self, device: torch.device) -> Layout:
        """The layout on a device."""
        return move(self._laid_out, device, self._memory)

    def rows(self, layer: int, device: torch.device) -> LayerRows:
        """A layer's rows on a device."""
        return move(self._rows[layer], device, self._memory)

    def positions(self, rows: LayerRows) -> Tensor | None:
        """[…, batch, length] positions of what enters a layer; None where it has those of its slots."""
        if self._positions is None or rows.present is None:
            return None
        device = rows.present.device
        return renumbered_rows(self._positions.to(device), self.layout_on(device).num_slots, rows)

    def restore(self, hidden: Tensor, layer: int | None) -> Tensor:
        """[batch, length, d] → [batch, prompt, d]: every token reads the slot it went to.

        Args:
            layer: whose rows the states are; None where every slot has a row.
        """
        rows = None if layer is None else self.rows(layer, hidden.device).row_of_slot
        return self.layout_on(hidden.device).restore(hidden, rows)

    def restore_output(self, output: Any, put_back: bool) -> None:
        """Give the decoder's output the length of the prompt.

        Args:
            put_back: whether every slot has a row again after each layer.
        """
        num_layers = len(self._rows)
        after = [0, *([None] * num_layers if put_back else range(num_layers))]
        output.last_hidden_state = self.restore(output.last_hidden_state, after[-1])
        if output.hidden_states is not None:  # what entered the first layer, and what each one left; some, if asked
            output.hidden_states = tuple(
                None if states is None else self.restore(states, layer)
                for states, layer in zip(output.hidden_states, after, strict=True)
            )

    def same_slots(self, layer: int, other: int) -> bool:
        """Whether the same slots enter two layers."""
        return self._rows[layer].present is self._rows[other].present or all(
            torch.equal(plan.enters[layer], plan.enters[other]) for plan in self.plans
        )

    def looks(self, layer: int) -> frozenset[Look]:
        """What the method asks to see before a layer; nothing where it has nothing to decide."""
        return self.method.looks_before(layer, len(self._rows)) if layer in self.waiting else frozenset()

    def decide(self, layer: int, views: Sequence[LayerView]) -> None:
        """Let the method revise every sample's plan from a layer on."""
        self.waiting.discard(layer)
        with without_autocast(views[0].states.device):
            self.plans = [self.method.decide(layer, view, plan) for view, plan in zip(views, self.plans, strict=True)]
        self._rows[layer:] = rows_of_layers(self.plans, self.method.execution.text_attends_skipped)[layer:]
        if self._cache is not None and self._kept is not None:
            for number in range(layer, len(self._rows)):
                self._cache.layers[number] = KeptLayer(self._kept(self._rows[number], self._windows[number]))

    def arguments(self, family: Family, model: PreTrainedModel, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The decoder's keyword arguments with the prompts laid out and a cache that stores what is kept."""
        decoder, embeds, layout = model.get_decoder(), kwargs["inputs_embeds"], self.layout
        renumber = self.method.execution.positions == "renumbered"
        positions = layout.positions(kwargs.get("position_ids"), renumber)
        self._positions = positions if renumber else None
        kwargs = dict(
            kwargs,
            inputs_embeds=layout.embed(embeds, self.method.execution.summary),
            position_ids=positions,
            attention_mask=None,
            skip_prefill=self,
        )
        kwargs |= family.follow(kwargs, layout)
        if family.masks is not None:
            kwargs["attention_mask"] = family.masks(model.config, layout, self.method.execution.text_attends_skipped)
        self._windows = windows(decoder.config, len(self._rows))
        window = min((own for own in self._windows if own is not None), default=None)
        if family.masks is None and window is not None and embeds.shape[1] > window:
            raise InputError(
                f"The prompt has {embeds.shape[1]:,} tokens, but the model's sliding window {window:,}: skipping needs "
                "a prompt within the window. Ask about a smaller picture, or ask densely."
            )
        if not wants_cache(decoder, kwargs):
            return kwargs | {"use_cache": False}
        renumbered = renumber and bool(self._laid_out.changed.any())
        self._kept = self._keeper(
            embeds.shape[1], last_position(positions, layout.num_slots) + 1 if renumbered else None
        )
        kept = [self._kept(rows, window) for rows, window in zip(self._rows, self._windows, strict=True)]
        self._cache = use_kept_layers(kwargs.get("past_key_values"), kept)
        return kwargs | {"past_key_values": self._cache}

    def _keeper(self, prompt_length: int, next_position: Tensor | None) -> Callable[[LayerRows, int | None], Kept]:
        """What a layer of some rows and a window keeps; layers that agree share it."""
        source, device = self._laid_out.slot_source, self.layout.slot_source.device
        made: dict[tuple[int, int | None], tuple[LayerRows, Kept]] = {}

        def kept(rows: LayerRows, window: int | None) -> Kept:
            if (key := (id(rows), window)) not in made:  # the rows are kept, so that no others take their identity
                keeps = Kept(rows.kept, prompt_length, rows.stored_real, window=window)
                keeps.text_after, keeps.next_position = self._laid_out.text_after, next_position
                if window is not None:
                    slots = torch.arange(rows.length).expand(len(rows.role), -1) if rows.kept is None else rows.kept
                    sources = source if rows.present is None else source.gather(1, rows.present)
                    keeps = within_window(keeps, slots, sources)
                slots_there, real = (
                    None if each is None else move(each, device, self._memory) for each in (keeps.slots, keeps.real)
                )
                made[key] = rows, replace(keeps, slots=slots_there, real=real)
            return made[key][1]

        return kept
