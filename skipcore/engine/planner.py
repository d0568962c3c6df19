"""What a session asks of a method."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Literal, Protocol

from transformers import PreTrainedModel

from skipcore.engine.layer_view import LayerView, Look
from skipcore.plan.image_plan import ImagePlan, VisualTokens
from skipcore.plan.summary import AdaptiveSummary
from skipcore.plan.token_plan import TokenPlan
from skipcore.plan.tower_view import TowerLook
from skipcore.tower.observer import TowerRecorder

Positions = Literal["original", "renumbered"]


class Planner(Protocol):
    """Everything that a session asks; `skipcore.methods.Method` says what each means."""

    @property
    def label(self) -> str: ...
    @property
    def keeps_all(self) -> bool: ...
    @property
    def text_attends_skipped(self) -> bool: ...
    @property
    def positions(self) -> Positions: ...
    @property
    def summary(self) -> AdaptiveSummary | None: ...
    @property
    def ties_rows(self) -> bool: ...
    @property
    def tower_looks(self) -> frozenset[TowerLook]: ...
    @property
    def looks(self) -> frozenset[Look]: ...

    def at_tower(self, model: PreTrainedModel) -> AbstractContextManager[TowerRecorder | None]: ...
    def plan(self, image: VisualTokens) -> ImagePlan: ...
    def decision_layers(self, num_layers: int) -> Collection[int]: ...
    def decide(self, layer: int, view: LayerView, plan: TokenPlan) -> TokenPlan: ...
