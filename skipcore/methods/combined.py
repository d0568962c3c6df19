"""Combined: drop some tokens, skip some of the rest, keep what is left."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from PIL import Image
from transformers import PreTrainedModel

from skipcore.engine.layer_view import LayerView, Look
from skipcore.engine.planner import Execution
from skipcore.errors import InputError
from skipcore.methods.method import DecoderShape, Method
from skipcore.methods.skip_vision import SkipVision
from skipcore.plan.image_plan import ImagePlan, VisualTokens
from skipcore.plan.token_plan import TokenPlan
from skipcore.plan.tower_view import TowerLook
from skipcore.tower.observer import TowerRecorder
from skipcore.trace import Trace


@dataclass(frozen=True)
class Combined(Method):
    """A method that drops visual tokens, and Skip-Vision on those it leaves.

    `skipping` sees only what `dropping` leaves before the decoder, and its counts are of that. Before a layer,
    `dropping` chooses among retained and skipped tokens alike.

    Attributes:
        dropping: any other method, such as `FastV()`.
        skipping: which tokens skip, and what is dropped from the KV cache.
    """

    name: ClassVar[str] = "Combined"

    dropping: Method
    skipping: SkipVision

    def __post_init__(self) -> None:
        if not isinstance(self.dropping, Method) or not isinstance(self.skipping, SkipVision):
            raise InputError(
                "Combined takes a method that drops tokens and a SkipVision, such as Combined(FastV(), SkipVision())."
            )

    @property
    def label(self) -> str:
        """Return both labels."""
        return f"{self.dropping.label} + {self.skipping.label}"

    @property
    def execution(self) -> Execution:
        """As `skipping` has it; positions are renumbered where either renumbers them."""
        own = self.skipping.execution
        return own if own.positions == "renumbered" else replace(own, positions=self.dropping.execution.positions)

    @property
    def tower_looks(self) -> frozenset[TowerLook]:
        """What `dropping` asks to see of the tower."""
        return self.dropping.tower_looks

    def at_tower(self, model: PreTrainedModel) -> AbstractContextManager[TowerRecorder | None]:
        """As `dropping` has it."""
        return self.dropping.at_tower(model)

    def picture(self, picture: Image.Image) -> Image.Image:
        """As `dropping` shows it."""
        return self.dropping.picture(picture)

    @property
    def shares_features(self) -> bool:
        """As `dropping` has it."""
        return self.dropping.shares_features

    def plan(self, image: VisualTokens) -> ImagePlan:
        """`skipping`'s plan for what `dropping` leaves."""
        first = self.dropping.plan(image)
        if len(first.skipped) or first.ties is not None:
            raise InputError(f"{self.dropping.label} skips or ties tokens itself: combine a method that drops them.")
        second = self.skipping.plan(replace(image, features=first.merged(image.features)))
        went_to = torch.cat([second.destination, torch.tensor([-1])])
        return replace(
            second,
            retained=first.retained[second.retained],
            skipped=first.retained[second.skipped],
            destination=went_to[first.destination],
            weight=first.weight,
        )

    def decision_layers(self, num_layers: int) -> Collection[int]:
        """Where `dropping` decides."""
        return self.dropping.decision_layers(num_layers)

    def looks_before(self, layer: int, num_layers: int) -> frozenset[Look]:
        """What `dropping` asks to see."""
        return self.dropping.looks_before(layer, num_layers)

    def decide(self, layer: int, view: LayerView, plan: TokenPlan) -> TokenPlan:
        """`dropping`'s decision."""
        return self.dropping.decide(layer, view, plan)

    def selection_flops(self, trace: Trace, decoder: DecoderShape) -> int:
        """Of both."""
        return self.dropping.selection_flops(trace, decoder) + self.skipping.selection_flops(trace, decoder)

    def settings(self) -> dict[str, object]:
        """Those of both."""
        return {
            name: {"name": method.name, **method.settings()}
            for name, method in (("dropping", self.dropping), ("skipping", self.skipping))
        }
