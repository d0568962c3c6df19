"""The slow reference on any family: its sequence through the stock decoder, under full masks, with the outputs of
skipped sub-layers zeroed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from model_runs import logits
from reference import sequence
from tiny_families import LAYERS

from skipcore import Role, SkipVision, Vlm
from skipcore.engine.prompts import read_prompts


def assert_equals_reference(vlm: Vlm, inputs: dict[str, Any], method: SkipVision) -> None:
    """The fast path on one prompt equals the reference: what became of every token, and within 1e-5 its final state."""
    dense = seen_by_decoder(vlm, inputs)
    with method(vlm.model) as session, torch.inference_mode():
        actual = vlm.model.base_model(**inputs).last_hidden_state[0]
    (pictures,) = read_prompts(vlm.family, vlm.model.config, inputs).pictures
    slots = sequence(dense["inputs_embeds"][0], [picture.positions.tolist() for picture in pictures], method)
    roles = slots["roles"]
    slot_of = {place: slot for slot, members in enumerate(slots["members"]) for place in members}
    assert [Role(role).name.lower() for role in session.trace.slot_role.tolist()] == roles
    assert session.trace.token_slot.tolist() == [slot_of[place] for place in sorted(slot_of)]

    positions = torch.tensor(slots["positions"])[None]
    if method.positions == "original" and dense.get("position_ids") is not None:
        positions = dense["position_ids"][..., torch.tensor(slots["places"])]
    skipped = [slot for slot, role in enumerate(roles) if role == "skipped"]
    with zeroed_sublayers(vlm.model.get_decoder(), skipped, method), torch.inference_mode():
        expected = vlm.model.get_decoder()(
            inputs_embeds=torch.stack(slots["values"])[None],
            position_ids=positions,
            attention_mask=masks(vlm, slots, method.text_attends_skipped),
            **deepstack(dense, slots),
        ).last_hidden_state[0]
    text_slots = (slot for slot, role in enumerate(roles) if role == "text")
    reads = [slot_of[place] if place in slot_of else next(text_slots) for place in range(len(actual))]
    torch.testing.assert_close(actual, expected[reads], rtol=0, atol=1e-5)


def seen_by_decoder(vlm: Vlm, inputs: dict) -> dict[str, Any]:
    """The decoder's keyword arguments in a plain forward."""
    seen: dict[str, Any] = {}
    handle = vlm.model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True
    )
    logits(vlm, inputs)
    handle.remove()
    return seen


@contextmanager
def zeroed_sublayers(decoder: torch.nn.Module, rows: list[int], method: SkipVision) -> Iterator[None]:
    def zero(module: torch.nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[:, rows] = 0
        return output

    ffns = range(LAYERS) if method.layers is None else method.layers
    zeroed = [decoder.layers[layer].mlp for layer in ffns]
    zeroed += [decoder.layers[layer].self_attn.o_proj for layer in method.attention_layers]
    handles = [module.register_forward_hook(zero) for module in zeroed]
    yield
    for handle in handles:
        handle.remove()


def masks(vlm: Vlm, slots: dict[str, list], text_attends_skipped: bool) -> Any:
    """Which slot sees which, for each kind of layer."""
    if vlm.name != "Gemma 3":
        return allowed(slots, text_attends_skipped)
    window = vlm.model.get_decoder().config.sliding_window
    return {
        "full_attention": allowed(slots, text_attends_skipped, both_ways=True),
        "sliding_attention": allowed(slots, text_attends_skipped, window, both_ways=True),
    }


def allowed(
    slots: dict[str, list], text_attends_skipped: bool, window: int = 10**6, both_ways: bool = False
) -> torch.Tensor:
    """Which slot sees which, spelled out. With `both_ways` those of one picture see one another."""
    roles, places, picture = slots["roles"], slots["places"], slots["pictures"]
    n = len(roles)
    mask = torch.zeros(n, n, dtype=torch.bool)
    for row in range(n):
        for column in range(n):
            mutual = both_ways and picture[row] == picture[column] != -1
            causal = column <= row and places[column] > places[row] - window
            blind = roles[row] == "text" and roles[column] == "skipped" and not text_attends_skipped
            mask[row, column] = (causal or mutual) and not blind
    return mask[None, None]


def deepstack(dense: dict[str, Any], slots: dict[str, list]) -> dict[str, Any]:
    """Every slot's DeepStack features, where a family has them: the mean of its members'."""
    if dense.get("deepstack_visual_embeds") is None:
        return {}
    is_visual = torch.tensor([bool(members) for members in slots["members"]])
    moved = []
    for features in dense["deepstack_visual_embeds"]:
        of_prompt = torch.zeros(*dense["visual_pos_masks"].shape, features.shape[-1])
        of_prompt[dense["visual_pos_masks"]] = features
        moved.append(torch.stack([of_prompt[0, list(members)].mean(dim=0) for members in slots["members"] if members]))
    return {"visual_pos_masks": is_visual[None], "deepstack_visual_embeds": moved}
