"""What a session asks of a method."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from transformers import PreTrainedModel

from skipcore.engine.layer_view import LayerView, Look
from skipcore.plan.image_plan import ImagePlan, VisualTokens
from skipcore.plan.summary import AdaptiveSummary
from skipcore.plan.token_plan import TokenPlan
from skipcore.plan.tower_view import TowerLook
from skipcore.tower.observer import TowerRecorder

Positions = Literal["original", "renumbered"]


@dataclass(frozen=True)
class Execution:
    """How a session runs what a method plans.

    Attributes:
        keeps_all: the plan keeps every token of every picture: layers run unhooked, and plans are made when a trace is
            asked for.
        text_attends_skipped: whether text attends to skipped tokens in prefill.
        positions: "original": kept tokens keep their position ids; "renumbered": where tokens are merged, added or
            dropped, those that are left are renumbered, one after the other (rows and columns of M-RoPE, too), from
            the layer on where some are dropped. See `skipcore.plan.positions`. Sliding windows go by prompt indices
            either way.
        summary: the trained `AdaptiveSummary` for summary tokens; None for the mean.
        ties_rows: whether tokens may share their rows (`ImagePlan.ties`): every projection is hooked then.
    """

    keeps_all: bool = False
    text_attends_skipped: bool = True
    positions: Positions = "original"
    summary: AdaptiveSummary | None = None
    ties_rows: bool = False


class Planner(Protocol):
    """Everything that a session asks; `skipcore.methods.Method` says what each means."""

    @property
    def label(self) -> str: ...
    @property
    def execution(self) -> Execution: ...
    @property
    def tower_looks(self) -> frozenset[TowerLook]: ...

    def at_tower(self, model: PreTrainedModel) -> AbstractContextManager[TowerRecorder | None]: ...
    def plan(self, image: VisualTokens) -> ImagePlan: ...
    def decision_layers(self, num_layers: int) -> Collection[int]: ...
    def looks_before(self, layer: int, num_layers: int) -> frozenset[Look]: ...
    def decide(self, layer: int, view: LayerView, plan: TokenPlan) -> TokenPlan: ...
