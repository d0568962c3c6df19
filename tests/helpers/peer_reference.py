"""A slow, plain reference of the peers: the stock decoder at full length with eager attention. What is dropped is
hidden by full masks, scores are read off full attention matrices, merged values stand in the place of the token that
stays, what is frozen is written back after its layer, and the outputs of skipped sub-layers are zeroed.

Shares no code with the methods.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from tower_reference import Weights, seen_of, staying
from transformers import DynamicCache

from skipcore import Method, Vlm
from skipcore.engine.prompts import read_prompts
from skipcore.methods import (
    DART,
    SPIDER,
    VTW,
    DivPrune,
    Downsampled,
    FastV,
    OpSkip,
    PyramidDrop,
    RandomTokens,
    ShortV,
    TransPrune,
    UniformGrid,
    V2Drop,
    VisionZip,
)
from skipcore.plan.tiles import Grid


def run(vlm: Vlm, inputs: dict[str, Any], method: Method, prompt: int) -> tuple[Tensor, list[set[int]]]:
    """Final states [tokens, d] of one sample, and for each layer the visual tokens that are there.

    Args:
        inputs: of the prompt, or of the prompt with more tokens after it.
        prompt: tokens of the prompt; the last of them is the one that attends.
    """
    (pictures,) = read_prompts(vlm.family, vlm.model.config, inputs).pictures
    places = [picture.positions.tolist() for picture in pictures]
    grids = [[tile.grid for tile in picture.tiles] for picture in pictures]
    reference = _Reference(vlm, method, places, grids, prompt)
    if isinstance(method, Downsampled | VisionZip | SPIDER):
        for own, own_grids, seen in zip(places, grids, seen_of(vlm, inputs), strict=True):
            for token, members in staying(method, seen, own_grids).items():
                reference.merged[own[token]] = {own[member]: weight for member, weight in members.items()}
        reference.left = set(reference.merged)
    with reference.installed(), torch.inference_mode():
        states = vlm.model.base_model(**inputs, past_key_values=reference.cache, use_cache=True).last_hidden_state[0]
    return states, reference.there


class _Reference:
    def __init__(self, vlm: Vlm, method: Method, places: list[list[int]], grids: list[list[Grid]], prompt: int) -> None:
        self.vlm, self.method, self.places, self.grids, self.prompt = vlm, method, places, grids, prompt
        self.visual = [place for own in places for place in own]
        self.left = set(self.visual)
        self.merged: Weights = {}
        self.gathered = dict.fromkeys(self.visual, 0.0)
        self.skipping: set[int] = set()
        self.there: list[set[int]] = []
        self.inputs: list[Tensor] = []
        self.weights = self.updates = torch.empty(0)
        self.cache = DynamicCache()  # of plain layers, which keep all keys

    @contextmanager
    def installed(self) -> Iterator[None]:
        decoder = self.vlm.model.get_decoder()
        own, decoder.config._attn_implementation = decoder.config._attn_implementation, "eager"
        handles = [decoder.register_forward_pre_hook(self._embeds, with_kwargs=True)]
        for index, layer in enumerate(decoder.layers):
            handles += [
                layer.register_forward_pre_hook(self._before(index), with_kwargs=True),
                layer.register_forward_hook(self._after(index)),
                layer.self_attn.register_forward_hook(self._weights),
                layer.self_attn.register_forward_hook(self._gather_transitions, with_kwargs=True),
                layer.mlp.register_forward_hook(self._gather_transitions, with_kwargs=True),
                layer.self_attn.o_proj.register_forward_hook(self._zero(index, "attention")),
                layer.mlp.register_forward_hook(self._zero(index, "ffn")),
            ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            decoder.config._attn_implementation = own

    def _embeds(self, decoder: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        embeds = kwargs["inputs_embeds"][0]
        if isinstance(self.method, RandomTokens | UniformGrid | DivPrune):
            self.left = {
                place for own in self.places for place in self._chosen_before(own, embeds[own]) if place in self.left
            }
        changed = {"inputs_embeds": self._with_merged(embeds)[None]}
        if (deepstack := kwargs.get("deepstack_visual_embeds")) is not None:
            of_prompt = torch.zeros_like(embeds)
            changed["deepstack_visual_embeds"] = []
            for features in deepstack:
                of_prompt[self.visual] = features
                changed["deepstack_visual_embeds"].append(self._with_merged(of_prompt)[self.visual])
        return args, kwargs | changed

    def _with_merged(self, values: Tensor) -> Tensor:
        """[tokens, d] with the weighted means in the places of the tokens that stay."""
        merged = values.clone()
        for place, members in self.merged.items():
            merged[place] = sum(weight * values[member] for member, weight in members.items())
        return merged

    def _chosen_before(self, own: list[int], features: Tensor) -> list[int]:
        count = round(self.method.num_kept * len(own))
        if isinstance(self.method, RandomTokens):
            drawn = torch.randperm(len(own), generator=torch.Generator().manual_seed(self.method.seed))
            return [own[i] for i in drawn[:count].tolist()]
        if isinstance(self.method, UniformGrid):
            return [own[i] for i in _uniform(self.grids[self.places.index(own)], count)]
        unit = features.double() / features.double().norm(dim=-1, keepdim=True)
        distance = 1 - unit @ unit.T
        distance.fill_diagonal_(torch.inf)
        chosen = [int(distance.min(dim=1).values.argmax())]
        while len(chosen) < count:
            left = [i for i in range(len(own)) if i not in chosen]
            chosen.append(max(left, key=lambda i: min(float(distance[i, j]) for j in chosen)))
        return [own[i] for i in chosen]

    def _weights(self, attention: Any, args: tuple, output: tuple) -> None:
        self.weights = output[1]

    def _before(self, index: int) -> Any:
        def hook(layer: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            states = args[0] if args else kwargs["hidden_states"]
            self._decide(index, layer, states, kwargs)
            self.there.append(set(self.left))
            self.inputs.append(states)
            return args, self._hiding(self._positions(index, states, kwargs))

        return hook

    def _positions(self, index: int, states: Tensor, kwargs: dict) -> dict:
        """Positions of what is left, counted from 0, where some is gone; its rotary angles matter only by their
        differences. Queries scaled by their position (Ministral 3) go by one that ends where the prompt's does, where
        tokens leave within the decoder."""
        gone = [place for place in self.visual if place not in self.left]
        if self.method.execution.positions == "original" or not gone:
            return kwargs
        left = torch.ones(states.shape[1], dtype=torch.bool)
        left[gone] = False
        positions = (left.cumsum(0) - 1).clamp(min=0)[None]
        decoder = self.vlm.model.get_decoder()
        rotary, config = decoder.rotary_emb, decoder.config
        kinds = [config.layer_types[index]] if self.vlm.name == "Gemma 3" else []
        axes = 3 if "mrope_section" in config.rope_parameters else 1
        angles = rotary(states, positions.expand(3, 1, -1) if axes == 3 else positions, *kinds)
        given = kwargs.get("position_ids")
        if given is not None and isinstance(self.method, VTW | FastV | PyramidDrop | TransPrune | V2Drop | DART):
            positions = positions + given[..., self.prompt - 1] - positions[:, self.prompt - 1]
        return kwargs | {"position_embeddings": angles, "position_ids": None if given is None else positions}

    def _hiding(self, kwargs: dict) -> dict:
        """The mask without the columns of what is gone."""
        gone = [place for place in self.visual if place not in self.left]
        mask = kwargs["attention_mask"].clone()
        mask[..., gone] = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
        mask[..., gone, gone] = True if mask.dtype == torch.bool else 0  # a row must see something
        return kwargs | {"attention_mask": mask}

    def _after(self, index: int) -> Any:
        def hook(layer: Any, args: tuple, output: Tensor) -> Tensor:
            self.updates = (output - self.inputs[index])[0].norm(dim=-1)
            if isinstance(self.method, ShortV) and index in self.method.order[: self.method.num_frozen]:
                output = output.clone()
                output[:, self.visual] = self.inputs[index][:, self.visual]
            return output

        return hook

    def _zero(self, index: int, sublayer: str) -> Any:
        def hook(module: Any, args: tuple, output: Tensor) -> Tensor:
            if isinstance(self.method, OpSkip):
                number = 2 * index + (sublayer == "ffn")
                skipped = number in self.method.order[: self.method.num_skipped]
                return output.index_fill(1, torch.tensor(self.visual), 0) if skipped else output
            if not self.skipping or sublayer != self._target(index)[0]:
                return output
            output = output.clone()
            output[:, sorted(self.skipping)] = 0
            return output

        return hook

    def _gather_transitions(self, module: Any, args: tuple, kwargs: dict, output: Any) -> None:
        """TransPrune's, which the tests gather from layer 0 on, of all that is left of the prompt."""
        if not isinstance(self.method, TransPrune):
            return
        read = (args[0] if args else kwargs["hidden_states"])[0]
        returned = (output[0] if isinstance(output, tuple) else output)[0]
        here = [place for place in range(self.prompt) if place in self.left or place not in self.visual]
        changes = [1 - float(torch.cosine_similarity(read[place], returned[place], dim=0)) for place in here]
        whole = sum(math.exp(change) for change in changes)
        for place, change in zip(here, changes, strict=True):
            if place in self.left:
                ratio = float(returned[place].norm() / read[place].norm())
                self.gathered[place] += math.exp(change) / whole * ratio

    def _target(self, index: int) -> tuple[str, float]:
        """SPIDER: the sub-layer that a layer's tokens skip, and what it contributes, the largest being 1."""
        ffn, attention = self.method.ffn_kl, self.method.attention_kl
        if ffn is None:
            return "attention", 0.0
        largest = max(min(ffn[layer], attention[layer]) for layer in range(len(ffn)))
        if ffn[index] < attention[index]:
            return "ffn", ffn[index] / largest
        return "attention", attention[index] / largest

    def _gather(self, index: int, states: Tensor) -> None:
        text = states[[place for place in range(self.prompt) if place not in self.visual]].mean(dim=0)
        for place in sorted(self.left):
            logits = self.vlm.model.get_output_embeddings()(self.vlm.model.get_decoder().norm(states[place]))
            chances = logits.double().softmax(dim=-1)
            entropy = float(torch.special.entr(chances).sum())
            cosine = float(states[place] @ text / (states[place].norm() * text.norm()))
            self.gathered[place] += 3 * max(0.0, 1 - entropy - cosine) + self._target(index)[1]
            if self.gathered[place] > self.method.threshold:
                self.skipping.add(place)

    def _decide(self, index: int, layer: Any, states: Tensor, kwargs: dict) -> None:
        method = self.method
        if isinstance(method, VTW) and index == method.layer:
            self.left = set()
        if isinstance(method, FastV) and index == method.layer:
            self._keep(self.weights[0, :, self.prompt - 1].mean(dim=0), method.num_kept)
        if isinstance(method, PyramidDrop) and index in method.layers:
            normed = layer.input_layernorm(states)
            seen = self._hiding(self._positions(index, states, kwargs))
            layer.self_attn(hidden_states=normed, **seen | {"past_key_values": None})
            self._keep(self.weights[0, :, self.prompt - 1].mean(dim=0), method.num_kept[method.layers.index(index)])
        if isinstance(method, TransPrune) and index in method.layers:
            gathered = dict(self.gathered)  # the layer to come runs its attention for the scores alone
            seen = self._hiding(self._positions(index, states, kwargs))
            layer.self_attn(hidden_states=layer.input_layernorm(states), **seen | {"past_key_values": None})
            self.gathered = gathered
            attention = self.weights[0, :, self.visual[-1] + 1 : self.prompt].mean(dim=(0, 1))
            scores = torch.zeros(states.shape[1])
            for own in self.places:
                left = [place for place in own if place in self.left]
                for values in (attention, gathered):
                    for place in left:
                        scores[place] += float(values[place] / (sum(values[other] for other in left) + 1e-8))
            self._keep(scores, method.num_kept[method.layers.index(index)])
        if isinstance(method, V2Drop) and index in method.layers:
            self._keep(self.updates, method.num_kept[method.layers.index(index)])
        if isinstance(method, SPIDER) and index < method.last_layer:
            self._gather(index, states[0])
        if isinstance(method, DART) and index == method.layer:
            keys = self.cache.layers[index - 1].keys[0]
            states = self.vlm.model.get_decoder().norm(states[0])
            self._dart(method, states, keys.abs().sum(dim=(0, 2)).tolist())

    def _keep(self, scores: Tensor, num_kept: int | float) -> None:
        for own in self.places:
            count = num_kept if isinstance(num_kept, int) else round(num_kept * len(own))
            left = sorted((place for place in own if place in self.left), key=lambda place: -float(scores[place]))
            self.left -= set(left[count:])

    def _dart(self, method: DART, states: Tensor, norms: list[float]) -> None:
        for own in self.places:
            count = round(method.num_kept * len(own))
            text = [place for place in range(own[-1], self.prompt) if place not in self.visual]
            of_text = sorted(text, key=lambda place: -norms[place])[: method.text_pivots]
            kept = sorted(own, key=lambda place: -norms[place])[: method.visual_pivots]
            pivots = list(set(kept + of_text))
            for number, pivot in enumerate(pivots):
                share = (count - len(kept)) // (len(pivots) - number)
                left = [place for place in own if place not in kept]
                near = torch.nn.functional.cosine_similarity(states[left], states[pivot][None], dim=-1)
                kept += [left[i] for i in near.argsort()[:share].tolist()]
            self.left -= set(own) - set(kept)


def _uniform(grids: list[Grid], count: int) -> list[int]:
    """Even rows of every tile, and even tokens of each row; shares are rounded at their ends."""
    sizes = [rows * columns for rows, columns in grids]
    chosen: list[int] = []
    for number, (rows, columns) in enumerate(grids):
        before, until = sum(sizes[:number]), sum(sizes[: number + 1])
        quota = round(count * until / sum(sizes)) - round(count * before / sum(sizes))
        several = min(rows, max(1, round((quota * rows / columns) ** 0.5), -(-quota // columns)))
        for i in range(several):
            share = round(quota * (i + 1) / several) - round(quota * i / several)
            row = int((i + 0.5) * rows / several)
            chosen += [before + row * columns + int((k + 0.5) * columns / share) for k in range(share)]
    return chosen
