"""A slow, plain reference of Skip-Vision: loops, a full mask, every FFN computed and then zeroed.

Written from the paper's description alone; shares no code with skipcore.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def merge(features: Tensor, kept: int, by_redundancy: bool) -> tuple[list[int], list[int]]:
    """(indices that stay, in order; for each token the index of the token it went to)."""
    unit = features.double() / features.double().norm(dim=-1, keepdim=True)
    similarity = unit @ unit.T
    n = len(features)
    scores = [sum(float(similarity[i, j]) for j in range(n) if j != i) for i in range(n)]
    order = sorted(range(n), key=lambda i: -scores[i])
    sources, stay = order[: max(n - kept, 0)], order[max(n - kept, 0) :]
    if not sources or not by_redundancy:
        stay = sorted(stay)
    went_to = list(range(n))
    for source in sources:
        went_to[source] = max(stay, key=lambda target: float(similarity[source, target]))
    return stay, went_to


def retained_by(rule: str, features: Tensor, count: int, seed: int) -> list[int]:
    """The rules, spelled out."""
    n = len(features)
    if rule == "raster":
        return list(range(count))
    if rule == "uniform":
        return [int((i + 0.5) * n / count) for i in range(count)]
    if rule == "random":
        return sorted(torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:count].tolist())
    unit = features.double() / features.double().norm(dim=-1, keepdim=True)
    distinct = -(unit @ unit.T).sum(dim=1)
    return sorted(distinct.argsort(descending=True)[:count].tolist())


def pool(group: list[Tensor], summary) -> Tensor:
    """Softmax-weighted mean of a group, or the mean."""
    stacked = torch.stack(group)
    if summary is None:
        return stacked.mean(dim=0)
    mean, variance = stacked.mean(-1, keepdim=True), stacked.var(-1, unbiased=False, keepdim=True)
    normed = (stacked - mean) / (variance + summary.norm.eps).sqrt() * summary.norm.weight + summary.norm.bias
    scores = normed @ summary.score.weight[0] + summary.score.bias
    weights = scores.exp() / scores.exp().sum()
    return (weights[:, None] * stacked).sum(dim=0)


def sequence(embeds: Tensor, pictures: list[list[int]], method) -> dict[str, list]:
    """Lay one prompt [n, d] out: values, places in the prompt, positions, roles, pictures and members of the slots.

    Pictures are given by the places of their visual tokens. Text between the tiles of a picture keeps its place among
    the retained tokens. The members of a slot are the visual tokens of the prompt whose mean it is; its picture is -1
    for text.
    """
    slots: dict[str, list] = {name: [] for name in ("values", "places", "roles", "pictures", "members")}
    reached = 0
    for number, places in enumerate(pictures):
        _add_text(slots, embeds, range(reached, places[0]))
        _add_picture(slots, embeds, places, number, method)
        reached = places[-1] + 1
    _add_text(slots, embeds, range(reached, len(embeds)))
    renumbered = method.positions == "renumbered"
    slots["positions"] = list(range(len(slots["places"]))) if renumbered else slots["places"]
    return slots


def _add(
    slots: dict[str, list], value: Tensor, place: int, role: str, picture: int, members: tuple[int, ...] = ()
) -> None:
    for name, entry in zip(slots, (value, place, role, picture, members), strict=True):
        slots[name].append(entry)


def _add_text(slots: dict[str, list], embeds: Tensor, places: range) -> None:
    for i in places:
        _add(slots, embeds[i], i, "text", -1)


def _add_picture(slots: dict[str, list], embeds: Tensor, places: list[int], number: int, method) -> None:
    features = embeds[places]
    num_tokens = len(places)

    def count(value: float | int) -> int:
        return round(value * num_tokens) if isinstance(value, float) else min(value, num_tokens)

    retained = retained_by(method.retain, features, count(method.num_retained), method.seed)
    others = [i for i in range(num_tokens) if i not in retained]
    stay, went_to = merge(features[others], count(method.num_skipped), method.merge_order == "redundancy")

    def add_skipped(target: int) -> None:
        members = [others[i] for i in range(len(others)) if went_to[i] == target]
        skipped_values.append(torch.stack([features[i] for i in members]).mean(dim=0))
        joined = tuple(places[i] for i in members)
        _add(slots, skipped_values[-1], places[others[target]], "skipped", number, joined)

    kept = {places[i] for i in retained}
    targets = {places[others[target]]: target for target in stay}
    skipped_values: list[Tensor] = []
    for i in range(places[0], places[-1] + 1):
        if i in kept:
            _add(slots, embeds[i], i, "retained", number, (i,))
        elif i not in places:
            _add_text(slots, embeds, range(i, i + 1))
        elif i in targets and method.in_place:
            add_skipped(targets[i])
    if method.in_place:
        return
    if retained:
        pooled = pool([features[i] for i in retained[method.summary_start :]], method.summary)
        _add(slots, pooled, places[-1], "summary", number)
    for target in stay:
        add_skipped(target)
    if method.last_skipped_runs_ffn:
        slots["roles"][-1] = "retained, last of the skipped"
    _add(slots, pool(skipped_values, method.summary), places[-1], "summary", number)


def hidden_states(decoder, slots: dict[str, list], text_attends_skipped: bool) -> Tensor:
    """Run the slots through a Llama decoder, one attention matrix per head, FFNs of skipped slots zeroed."""
    config = decoder.config
    states = torch.stack(slots["values"])
    roles, n = slots["roles"], len(slots["roles"])
    allowed = torch.zeros(n, n, dtype=torch.bool)
    for row in range(n):
        for column in range(row + 1):
            hidden = roles[row] == "text" and roles[column].startswith("skipped") and not text_attends_skipped
            allowed[row, column] = not hidden
    width = config.hidden_size // config.num_attention_heads
    frequencies = config.rope_parameters["rope_theta"] ** (-torch.arange(0, width, 2).float() / width)
    angles = torch.tensor(slots["positions"]).float()[:, None] * frequencies
    cosine, sine = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)

    def rotate(x: Tensor) -> Tensor:
        return x * cosine + torch.cat([-x[:, width // 2 :], x[:, : width // 2]], dim=-1) * sine

    shared = config.num_attention_heads // config.num_key_value_heads
    for layer in decoder.layers:
        normed = layer.input_layernorm(states)
        attention = layer.self_attn
        queries, keys, values = attention.q_proj(normed), attention.k_proj(normed), attention.v_proj(normed)
        heads = []
        for head in range(config.num_attention_heads):
            own, kv = slice(head * width, (head + 1) * width), head // shared
            of_kv = slice(kv * width, (kv + 1) * width)
            scores = rotate(queries[:, own]) @ rotate(keys[:, of_kv]).T / math.sqrt(width)
            heads.append(scores.masked_fill(~allowed, -math.inf).softmax(dim=-1) @ values[:, of_kv])
        states = states + attention.o_proj(torch.cat(heads, dim=-1))
        update = layer.mlp(layer.post_attention_layernorm(states))
        update[[i for i, role in enumerate(roles) if role == "skipped"]] = 0
        states = states + update
    return decoder.norm(states)
