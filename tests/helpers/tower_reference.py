"""What the vision tower sees, and what VisionZip, SPIDER and the downsampled picture make of it before the decoder:
full attention matrices and plain loops.

Shares no code with the methods.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from skipcore import Method, Vlm
from skipcore.engine.prompts import read_prompts
from skipcore.families.patches import has_class_token
from skipcore.methods import SPIDER, Downsampled, VisionZip
from skipcore.plan.tiles import Grid
from skipcore.tower.blocks import Tower

Seen = dict[str, Tensor]
"""By name "attention" [N], "keys" [N, head_dim], "middle" and "deep" [N, width] of a picture's visual tokens."""
Weights = dict[int, dict[int, float]]
"""For each token that stays its members, and what each of them weighs in it."""


@contextmanager
def full_matrices(vlm: Vlm) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Eager attention of the last block that the projector reads: weights and keys [images, heads, rows, …]."""
    tower, caught = Tower(vlm.model), []
    attention: Any = tower.attention(tower.last)
    module = sys.modules[type(attention).__module__]
    eager = module.eager_attention_forward

    def noting(layer: Any, query: Tensor, key: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        output, weights = eager(layer, query, key, *args, **kwargs)
        if layer is attention:
            caught.append((weights, key))
        return output, weights

    own, attention.config._attn_implementation = attention.config._attn_implementation, "eager"
    try:
        with patch.object(module, "eager_attention_forward", noting):
            yield caught
    finally:
        attention.config._attn_implementation = own


def attention_of_rows(vlm: Vlm, matrices: list[tuple[Tensor, Tensor]]) -> Tensor:
    """[rows] the class token's attention, or without one the mean attention received."""
    means = [weights.mean(dim=1) for weights, _ in matrices]
    return torch.cat([(m[:, 0] if has_class_token(vlm.model.config) else m.mean(dim=1)).flatten() for m in means])


def seen_of(vlm: Vlm, inputs: dict[str, Any]) -> list[Seen]:
    """What each picture's tokens look like in the tower: the means of the patches that feed them."""
    tower, states = Tower(vlm.model), {}

    def note(name: str) -> Any:
        def hook(block: Any, args: tuple, output: Any) -> None:
            output = output[0] if isinstance(output, tuple) else output
            states.setdefault(name, []).append(output.reshape(-1, output.shape[-1]))

        return hook

    blocks = {"middle": tower.blocks[len(tower.blocks) // 2 - 1], "deep": tower.blocks[tower.last]}
    handles = [block.register_forward_hook(note(name)) for name, block in blocks.items()]
    with full_matrices(vlm) as matrices, torch.inference_mode():
        vlm.model.base_model(**inputs)
    for handle in handles:
        handle.remove()
    rows = {name: torch.cat(found) for name, found in states.items()}
    rows["attention"] = attention_of_rows(vlm, matrices)
    rows["keys"] = torch.cat([key.mean(dim=1).flatten(0, 1) for _, key in matrices])
    (tiles,) = [own for own in read_prompts(vlm.family, vlm.model.config, inputs).tiles.values() if own]
    patches = vlm.family.patches(vlm.model.config, inputs, tiles, len(rows["deep"]))
    return [{name: values[own].mean(dim=1).double() for name, values in rows.items()} for own in patches]


def staying(method: Method, seen: Seen, grids: list[Grid]) -> Weights:
    """What stays of a picture before the decoder."""
    if isinstance(method, Downsampled):
        return _cells(method, grids)
    n = len(seen["attention"])
    ranked = sorted(range(n), key=lambda i: -float(seen["attention"][i]))
    if isinstance(method, VisionZip):
        return _zipped(method, seen["keys"], ranked)
    assert isinstance(method, SPIDER)
    return {token: {token: 1.0} for token in _pruned(method, seen, ranked)}


def _cells(method: Downsampled, grids: list[Grid]) -> Weights:
    before, weights = 0, {}
    for rows, columns in grids:
        until = before + rows * columns
        quota = round(method.num_kept * until) - round(method.num_kept * before)
        down = min(rows, max(1, round((quota * rows / columns) ** 0.5)))
        across = min(columns, max(1, quota // down))
        for i in range(down):
            of_rows = [row for row in range(rows) if row * down // rows == i]
            for j in range(across):
                of_columns = [column for column in range(columns) if column * across // columns == j]
                middle = of_rows[len(of_rows) // 2], of_columns[len(of_columns) // 2]
                members = [before + row * columns + column for row in of_rows for column in of_columns]
                weights[before + middle[0] * columns + middle[1]] = dict.fromkeys(members, 1 / len(members))
        before = until
    return weights


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(one @ other / (one.norm() * other.norm()))


def _zipped(method: VisionZip, keys: Tensor, ranked: list[int]) -> Weights:
    n = len(ranked)
    dominant, contextual = round(method.num_dominant * n), round(method.num_contextual * n)
    left = sorted(ranked[dominant:])
    targets = [left[i * (len(left) // contextual)] for i in range(contextual)]
    guests: dict[int, list[int]] = {target: [] for target in targets}
    for token in left:
        if token not in targets:
            guests[max(targets, key=lambda target: _cosine(keys[token], keys[target]))].append(token)
    weights = {token: {token: 1.0} for token in ranked[:dominant]}
    for target, own in guests.items():
        weights[target] = {target: 0.5} | dict.fromkeys(own, 0.5 / len(own)) if own else {target: 1.0}
    return weights


def _pruned(method: SPIDER, seen: Seen, ranked: list[int]) -> list[int]:
    budget = round(method.num_kept * len(ranked))
    anchors = ranked[: round(method.anchors * budget)]
    others = sorted(set(ranked) - set(anchors))
    deep, middle = seen["deep"] / seen["deep"].norm(dim=1, keepdim=True), seen["middle"]
    centers = [deep[others[int((k + 0.5) * len(others) / method.clusters)]] for k in range(method.clusters)]
    for _ in range(6):
        clusters: list[list[int]] = [[] for _ in centers]
        for i in others:
            distances = [float((deep[i] - center).norm()) for center in centers]
            clusters[distances.index(min(distances))].append(i)
        centers = [deep[own].mean(dim=0) if own else center for own, center in zip(clusters, centers, strict=True)]
    kept, before = list(anchors), 0
    for own in clusters:
        until, share = before + len(own), (budget - len(anchors)) / len(others)
        quota, before = round(share * until) - round(share * before), until

        def likeness(i: int, own: list[int] = own) -> float:
            mates = sum(_cosine(deep[i], deep[j]) + _cosine(middle[i], middle[j]) for j in own if j != i)
            return mates + max(_cosine(deep[i], deep[anchor]) for anchor in anchors)

        kept += sorted(own, key=likeness)[:quota]
    return kept
