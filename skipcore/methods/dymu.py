"""DyMU: tokens merge in the tower by thresholds and unmerge virtually in the decoder (NeurIPS 2025, 2504.17040)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock
from typing import Any, ClassVar, Protocol

import torch
from torch import nn
from transformers import PreTrainedModel

from skipcore.engine.planner import Execution
from skipcore.errors import InputError
from skipcore.families.patches import has_class_token
from skipcore.methods.budget import Budget, Examples, Target
from skipcore.methods.method import Method, Steps
from skipcore.model.inputs import ImageLike, several_pictures
from skipcore.plan.image_plan import ImagePlan, VisualTokens
from skipcore.plan.tower_view import TowerLook
from skipcore.tower.blocks import Tower
from skipcore.tower.observer import TowerRecorder, look_at_tower
from skipcore.tower.tower_merge import TowerMerging

LOOKS = frozenset({TowerLook.GROUPS})
DIGITS = 5
"""To which thresholds for a budget are rounded, so that every machine finds the same."""


class Encoder(Protocol):
    """What `DyMU.find` needs of a `Vlm`."""

    @property
    def model(self) -> PreTrainedModel: ...
    @property
    def lock(self) -> Lock: ...

    def prepare(self, image: ImageLike, question: str) -> Any: ...
    def encode(self, prepared: Any) -> Any: ...


@dataclass(frozen=True)
class DyMU(Method):
    """In every block of the vision tower, between attention and FFN, every other token merges with the one among the
    rest whose keys resemble its own most (cosine, mean over the heads), where that is more than the block's threshold:
    how many tokens are left depends on the picture (DToMe). "Every other" goes by the list that the block before left:
    tokens that did not merge, then those that others could merge into. In the decoder, merged tokens are projected and
    fed forward once, but attend at all positions they had, and what they attended to is averaged (virtual unmerging,
    fast form: expanded queries, keys and values, ordinary attention; the exact form is the same by value, and slower).

    The KV cache holds the tokens of all positions: it does not shrink. Unlike the authors' code, attention in the tower
    runs over all positions, too (theirs over merged tokens weighted by size, which is the same by value); in a tower
    with rotary positions or windows tokens merge by their rotated keys, and within their window. Where a visual token
    is made of several patches, two are one only if all their patches merged, pair by pair.

    Attributes:
        thresholds: one for each block of the tower up to the last one that the projector reads; see `find`. With none,
            nothing merges.
    """

    name: ClassVar[str] = "DyMU"
    budget: ClassVar[Budget | None] = Budget(0.5, "Patches left after merging", digits=2)
    thresholds: Sequence[float] = ()

    @property
    def execution(self) -> Execution:
        """Merged tokens share their rows; without thresholds it is the dense model."""
        return Execution(keeps_all=not self.thresholds, ties_rows=True)

    @property
    def tower_looks(self) -> frozenset[TowerLook]:
        """Which patches merged."""
        return LOOKS if self.thresholds else frozenset()

    def at_tower(self, model: PreTrainedModel) -> AbstractContextManager[TowerRecorder | None]:
        """Let patches merge."""
        if not self.thresholds:
            return super().at_tower(model)
        tower = Tower(model)
        if len(self.thresholds) != tower.last + 1:
            raise InputError(
                f"DyMU needs {tower.last + 1} thresholds for this model, not {len(self.thresholds)}: find them with "
                "DyMU.find(vlm, pictures)."
            )
        if _runs_again(model.get_encoder(modality="image")):
            raise InputError(
                "DyMU merges patches in the vision tower, and a checkpointed tower would run again in backward without "
                "merging: put the tower into eval mode, or train without gradient checkpointing."
            )
        merging = TowerMerging(tower, self.thresholds, 0.0, has_class_token(model.config))
        return look_at_tower(model, LOOKS, merging)

    @classmethod
    def find(cls, vlm: Encoder, pictures: Sequence[ImageLike], num_kept: float = 0.25) -> DyMU:
        """Find thresholds that leave a share of the patches, on average over some pictures: as many merge in each
        block, and a block's threshold is the score of the first that does not; then the mean over the pictures (the
        authors pool the scores of a batch of pictures first, of one or many, and share the merging out over all blocks
        of the tower; here it is shared out over those up to the last that the projector reads. From the second block on
        their finder's thresholds differ from ours by up to 0.01: it lists merged tokens in the order that an unstable
        sort leaves, which is not defined; ours is that of their inference).

        Args:
            vlm: from `load`; locked while this runs.
            pictures: many like those that will be asked about (authors: 250,000); no answers are needed.
            num_kept: at least half of the tokens stay in each block.

        Raises:
            InputError: no pictures, bad ones, or a share out of bounds.
        """
        pictures = several_pictures(pictures, "DyMU.find")
        if not isinstance(num_kept, float) or not 0 < num_kept < 1:
            raise InputError(f"num_kept must be a share of the patches between 0.0 and 1.0, not {num_kept!r}.")
        tower, found = Tower(vlm.model), []
        for picture in pictures:
            prepared = vlm.prepare(picture, "?")
            rate = (1 - num_kept) / (tower.last + 1)
            merging = TowerMerging(tower, None, rate, has_class_token(vlm.model.config))
            with vlm.lock, look_at_tower(vlm.model, LOOKS, merging):
                vlm.encode(prepared)
            found.append(merging.found)
        return cls([sum(block) / len(found) for block in zip(*found, strict=True)])

    def with_budget(self, share: float, target: Target) -> DyMU:
        """Thresholds, found on the examples, that leave that share of the patches, a hundredth at least."""
        if share == 1:
            return DyMU()
        assert target.examples is not None
        return found_on(target.examples, max(share, 0.01))

    def budget_steps(self, target: Target) -> Sequence[Steps]:
        """A 64th more of the patches in each step."""
        return [Steps(62, lambda step: self.with_budget((step + 1) / 64, target))]

    def plan(self, image: VisualTokens) -> ImagePlan:
        """Tie the tokens that are one."""
        n = len(image.features)
        plan = ImagePlan.keep_all(n)
        if image.tower is None or image.tower.groups is None:
            return plan
        _, inverse = image.tower.groups.cpu().unique(dim=0, return_inverse=True)
        first = torch.full((int(inverse.max()) + 1,), n).scatter_reduce(0, inverse, torch.arange(n), "amin")
        leader = first[inverse]
        # Where a family blends neighbors (LLaVA-OneVision's large rectangles) tokens of one group may differ yet.
        features = image.features.float()
        leading = features[leader.to(features.device)]
        differs = (features - leading).norm(dim=-1) > 1e-3 * leading.norm(dim=-1)
        leader[differs.cpu()] = differs.cpu().nonzero().flatten()
        return plan if bool((leader == torch.arange(n)).all()) else replace(plan, ties=leader)


def _runs_again(tower: nn.Module) -> bool:
    """Whether gradient checkpointing will run blocks of the tower again in `backward`."""
    checkpointed = (each.training and getattr(each, "gradient_checkpointing", False) for each in tower.modules())
    return torch.is_grad_enabled() and any(checkpointed)


@lru_cache(maxsize=128)
def found_on(examples: Examples, share: float) -> DyMU:
    """`DyMU.find` on examples; what was found is kept."""
    found = DyMU.find(examples.vlm, examples.pictures, share)
    return DyMU([round(threshold, DIGITS) for threshold in found.thresholds])
