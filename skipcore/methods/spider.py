"""SPIDER: prune before the decoder, then skip sub-layers in it, token by token (2026, arXiv 2609.34977)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from skipcore.engine.layer_view import LayerView
from skipcore.errors import InputError
from skipcore.methods.budget import Budget, Examples, Target
from skipcore.methods.dropping import Dropping
from skipcore.methods.method import DecoderShape
from skipcore.methods.retain import evenly
from skipcore.methods.settings import (
    Count,
    Layer,
    is_all,
    resolve,
    resolve_layer,
    show,
)
from skipcore.plan.averages import averages
from skipcore.plan.image_plan import ImagePlan, VisualTokens
from skipcore.plan.token_plan import Role, TokenPlan
from skipcore.plan.tower_view import TowerLook
from skipcore.trace import Trace

ITERATIONS = 5
"""Of k-means, from evenly spaced tokens."""
CHUNK = 128
"""Tokens that go through the model's head, or are compared with the anchors, at a time."""


class Contributions(Protocol):
    """What a `Calibration` knows of sub-layers."""

    @property
    def ffn_kl(self) -> Sequence[float]: ...
    @property
    def attention_kl(self) -> Sequence[float]: ...


@dataclass(frozen=True)
class SPIDER(Dropping):
    """Two stages. *Before the decoder* (MSV-Prune) the tokens of the highest tower attention are anchors; the rest of
    the budget is shared out over k-means clusters of the others' deep features by size, and in each cluster those are
    kept that resemble least their cluster mates, in deep and middle features, and the anchors. *In the decoder*
    (ASL-Skip), up to a layer, every token gathers 3 · ReLU(1 − R) + c before each layer, where R is the entropy of
    its hidden state through the model's head, in nats, plus its cosine to the mean of the text's, and c the layer's
    sub-layer contribution; past the threshold it skips the target sub-layer of every layer to come: the one, attention
    or FFN, whose skipping changes the output less.

    Written from a summary of the paper, whose details we could not check: the number of clusters is ours, and so is
    what stands in where the model was not calibrated: the attention is the target in every layer, and c is 0.

    Attributes:
        num_kept: visual tokens of each picture that enter the decoder.
        anchors: share of them that tower attention chooses.
        clusters: of k-means.
        threshold: past it a token skips.
        last_layer: tokens gather up to this layer.
        positions: those that the paper's tokens have are not known to us.
        ffn_kl, attention_kl: KL of each layer's sub-layer skipped alone, as `calibrate` measures it; see `calibrated`.
    """

    name: ClassVar[str] = "SPIDER"
    budget: ClassVar[Budget | None] = Budget(0.5)
    tower_looks: ClassVar[frozenset[TowerLook]] = frozenset({TowerLook.ATTENTION, TowerLook.MIDDLE, TowerLook.DEEP})

    num_kept: Count = 0.5
    anchors: Count = 0.7
    clusters: int = 8
    threshold: float = 20.0
    last_layer: Layer = 0.5
    ffn_kl: Sequence[float] | None = None
    attention_kl: Sequence[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.clusters:
            raise InputError("clusters must be at least 1.")
        if self.threshold < 0:
            raise InputError(f"threshold must be a number from 0 on, not {self.threshold}.")
        if len(self.ffn_kl or ()) != len(self.attention_kl or ()) or (self.ffn_kl is None) != (
            self.attention_kl is None
        ):
            raise InputError("ffn_kl and attention_kl go together: pass both, as `calibrate` measured them, or none.")

    @classmethod
    def calibrated(cls, calibration: Contributions, num_kept: Count = 0.5, threshold: float = 20.0) -> SPIDER:
        """With the sub-layer contributions that `calibrate` measured on your model."""
        kl = calibration.ffn_kl, calibration.attention_kl
        return cls(num_kept, threshold=threshold, ffn_kl=kl[0], attention_kl=kl[1])

    def with_budget(self, share: float, target: Target) -> SPIDER:
        """That many tokens enter the decoder."""
        return replace(self, num_kept=target.count(share))

    def tuned(self, examples: Examples) -> SPIDER:
        """With the contributions of the model's calibration, if it has one."""
        calibration = examples.vlm.calibration
        return self if calibration is None else SPIDER.calibrated(calibration)

    @property
    def label(self) -> str:
        """Such as "SPIDER 50%"."""
        return f"{self.name} {show(self.num_kept)}"

    # Before the decoder

    def plan(self, image: VisualTokens) -> ImagePlan:
        """Keep the anchors and what differs most from them and from its own kind."""
        n = len(image.features)
        count = resolve(self.num_kept, n)
        if count == n:
            return ImagePlan.keep_all(n)
        tower = image.tower
        assert tower is not None and tower.attention is not None and tower.middle is not None and tower.deep is not None
        by_attention = tower.attention.float().argsort(descending=True, stable=True)
        anchors, others = by_attention.split([self._anchors(count), n - self._anchors(count)])
        others = others.sort().values  # k-means begins evenly over the picture
        deep, middle = (normalize(each.float(), dim=-1) for each in (tower.deep, tower.middle))
        cluster = k_means(deep[others], min(self.clusters, len(others)))
        near_anchor = torch.zeros(len(others), device=deep.device)
        if len(anchors):
            near_anchor = torch.cat([(deep[chunk] @ deep[anchors].T).amax(dim=1) for chunk in others.split(CHUNK)])
        sizes = cluster.bincount(minlength=min(self.clusters, len(others))).tolist()
        kept = [anchors]
        for number, quota in enumerate(evenly(count - len(anchors), sizes)):
            mates = (cluster == number).nonzero().flatten()
            own = others[mates]
            alike = sum((each[own] * each[own].sum(dim=0)).sum(dim=1) for each in (deep, middle)) + near_anchor[mates]
            kept.append(own[alike.argsort(stable=True)[:quota]])
        return ImagePlan.keep(torch.cat(kept), n)

    def _anchors(self, count: int) -> int:
        return round(self.anchors * count)

    # In the decoder

    def decision_layers(self, num_layers: int) -> Collection[int]:
        """Up to the last layer; a share of 1.0 is all of them, and 0 none."""
        return range(num_layers if is_all(self.last_layer) else resolve_layer(self.last_layer, num_layers))

    def decide(self, layer: int, view: LayerView, plan: TokenPlan) -> TokenPlan:
        """Gather, and let those past the threshold skip from here on."""
        gathered = torch.zeros(len(plan.slot_role)) if plan.gathered is None else plan.gathered.clone()
        role = plan.slot_role[view.slots]
        visual, text = plan.is_visual[view.slots].nonzero().flatten(), (role == Role.TEXT).nonzero().flatten()
        states = view.states[visual.to(view.states.device)]
        mean = view.states[text.to(view.states.device)].mean(dim=0, keepdim=True, dtype=torch.float32)
        entropy = torch.cat([_entropy(view.logits(chunk)) for chunk in states.split(CHUNK)])
        semantics = (1 - entropy - cosine_similarity(states.float(), mean, dim=-1)).relu()
        slots = view.slots[visual]
        targets, contributions = self._targets(len(plan.enters))
        before = gathered[slots] > self.threshold
        gathered[slots] += 3 * semantics.cpu() + contributions[layer]
        past = slots[(gathered[slots] > self.threshold) & ~before]
        plan = replace(plan, gathered=gathered)
        if not len(past):
            return plan
        later = range(layer, len(plan.enters))
        ffn, attention = ([number for number in later if targets[number] == kind] for kind in ("ffn", "attention"))
        return plan.bypassing(past, ffn, attention)

    def _targets(self, num_layers: int) -> tuple[list[str], list[float]]:
        """For each layer the sub-layer that is skipped, and its contribution as a share of the largest."""
        if self.ffn_kl is None or self.attention_kl is None:
            return ["attention"] * num_layers, [0.0] * num_layers
        if not len(self.ffn_kl) == len(self.attention_kl) == num_layers:
            raise InputError(f"The model has {num_layers} layers, but SPIDER was calibrated for {len(self.ffn_kl)}.")
        pairs = list(zip(self.ffn_kl, self.attention_kl, strict=True))
        largest = max(map(min, pairs)) or 1.0
        return ["ffn" if ffn < attention else "attention" for ffn, attention in pairs], [
            min(pair) / largest for pair in pairs
        ]

    def selection_flops(self, trace: Trace, decoder: DecoderShape) -> int:
        """For n tokens, a of them anchors: k-means 2(n − a)kw a time and once to end, anchors 2(n − a)aw, w being the
        tower's width; in the decoder 2d·|vocabulary| for every visual token before every layer."""
        flops = 0
        for n in trace.picture_tokens:
            count = resolve(self.num_kept, n)
            if count < n:
                anchors = self._anchors(count)
                others = n - anchors
                centers = min(self.clusters, others) * (ITERATIONS + 1)
                flops += 2 * others * (centers + anchors) * decoder.tower_width
        is_visual = (trace.slot_role == Role.RETAINED) | (trace.slot_role == Role.SKIPPED)
        for layer in self.decision_layers(decoder.layers):
            visual = int((trace.entered[max(layer - 1, 0)] & is_visual).sum())
            flops += 2 * visual * decoder.width * decoder.vocabulary
        return flops


def k_means(points: Tensor, clusters: int) -> Tensor:
    """[n, d] → [n] the cluster of each point after some iterations of Lloyd's from evenly spaced points."""
    centers = points[((torch.arange(clusters) + 0.5) * len(points) / clusters).long().to(points.device)]
    nearest = torch.zeros(len(points), dtype=torch.long, device=points.device)
    for iteration in range(ITERATIONS + 1):
        nearest = (centers.square().sum(dim=1) - 2 * (points @ centers.T)).argmin(dim=1)
        if iteration < ITERATIONS:
            means = averages(torch.arange(len(points)), nearest.cpu(), clusters).to(points.device).of(points)
            has_points = nearest.bincount(minlength=clusters)[:, None] > 0
            centers = torch.where(has_points, means, centers)
    return nearest


def _entropy(logits: Tensor) -> Tensor:
    """[k, vocabulary] → [k] in nats; logits may be −∞."""
    log_probs = logits.float().log_softmax(dim=-1).clamp(min=torch.finfo(torch.float32).min)
    return -log_probs.exp().mul_(log_probs).sum(dim=-1)
