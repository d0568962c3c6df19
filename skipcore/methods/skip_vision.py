"""Skip-Vision: Skip-FFN, adaptive summary tokens and skip-KV (ICCV 2025, arXiv 2503.21817)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch

from skipcore.engine.planner import Execution, Positions
from skipcore.errors import InputError
from skipcore.methods.budget import Examples, Target
from skipcore.methods.method import DecoderShape, Method, Steps
from skipcore.methods.retain import RETAIN_RULES
from skipcore.methods.settings import Count, check_choice, resolve, show
from skipcore.plan.image_plan import ImagePlan, VisualTokens
from skipcore.plan.merge import MergeOrder, merge_tokens
from skipcore.plan.summary import AdaptiveSummary
from skipcore.plan.token_plan import Role
from skipcore.trace import Trace

UNTRAINED: dict[str, Any] = {"text_attends_skipped": True, "in_place": True, "skip_kv": False}
"""Settings under which a model that was never trained for skipping sees what it is used to."""


@dataclass(frozen=True)
class SkipVision(Method):
    """Redundant visual tokens skip the FFN in every layer and are dropped from the KV cache before decoding.

    A model that was never trained for skipping answers best where tokens keep the prompt's order, text sees all of
    them, the cache keeps all, and only some layers skip: `calibrate` chooses those, `untrained` guesses them.

    Attributes:
        num_retained: tokens per picture that run the whole block: a count, or a float share of the picture's tokens.
        num_skipped: tokens per picture that skip sub-layers, likewise. The rest is merged into them. With
            `num_retained + num_skipped` ≥ the picture's tokens nothing is merged.
        text_attends_skipped: whether text sees skipped tokens in prefill (the paper's LLaVA setting). If not, prefill
            and decode see the same cache and dropping the skipped keys and values is exact.
        retain: which tokens are retained, a name in `RETAIN_RULES`: "saliency", "raster", "uniform" or "random".
        merge_order: the order of skipped tokens: "raster", or "redundancy" as the authors' code leaves them.
        positions: "original": kept tokens keep their position ids; "renumbered": numbered again, as the authors do.
        summary: a trained `AdaptiveSummary`, or None for the mean.
        summary_start: the first summary pools the retained tokens from this one on (paper, CoS: 16).
        last_skipped_runs_ffn: the last skipped token runs the FFN and is a token like any other (paper, CoS): its keys
            and values stay in the cache, and text sees it.
        seed: of the "random" rule.
        layers: the layers in which skipped tokens skip the FFN, counted from 0; None: every layer.
        attention_layers: the layers in which they skip the attention (they still give keys and values).
        in_place: tokens keep the prompt's order, and no summary tokens are added.
        skip_kv: keys and values of skipped tokens are dropped from the KV cache after prefill.

    Raises:
        InputError: a setting is impossible; the message says what to change.
    """

    name: ClassVar[str] = "Skip-Vision"

    num_retained: Count = 100
    num_skipped: Count = 156
    text_attends_skipped: bool = False
    retain: str = "saliency"
    merge_order: MergeOrder = "raster"
    positions: Positions = "original"
    summary: AdaptiveSummary | None = None
    summary_start: int = 0
    last_skipped_runs_ffn: bool = False
    seed: int = 0
    layers: Sequence[int] | None = None
    attention_layers: Sequence[int] = ()
    in_place: bool = False
    skip_kv: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "layers", None if self.layers is None else tuple(sorted(set(self.layers))))
        object.__setattr__(self, "attention_layers", tuple(sorted(set(self.attention_layers))))
        check_choice("retain", self.retain, tuple(RETAIN_RULES))
        check_choice("merge_order", self.merge_order, ("raster", "redundancy"))
        if self.summary is not None and not isinstance(self.summary, AdaptiveSummary):
            raise InputError("summary must be an AdaptiveSummary or None.")
        if not self.text_attends_skipped and not self.skip_kv:
            raise InputError(
                "Text that never attends to skipped tokens has no use for their keys and values: set skip_kv=True, or "
                "text_attends_skipped=True."
            )

    @classmethod
    def paper(cls, setting: Literal["llava", "llava-hd", "cos"]) -> SkipVision:
        """The authors' setting to the letter.

        "llava": the first 100 tokens retained, the other 476 merged to 156. "llava-hd": the 576 tokens of the global
        view retained, all tile tokens merged to 576. "cos": 16 coarse + 256 middle tokens retained, 1024 fine ones
        merged to 256, of which the last runs the FFN too; the first summary pools the middle ones only.
        """
        settings: dict[str, dict[str, int | bool]] = {
            "llava": {"num_retained": 100, "num_skipped": 156},
            "llava-hd": {"num_retained": 576, "num_skipped": 576},
            "cos": {"num_retained": 272, "num_skipped": 256, "summary_start": 16, "last_skipped_runs_ffn": True},
        }
        check_choice("setting", setting, tuple(settings))
        return cls(
            **settings[setting],  # type: ignore[arg-type]
            text_attends_skipped=True,
            retain="raster",
            merge_order="redundancy",
            positions="renumbered",
        )

    @classmethod
    def untrained(cls, num_layers: int) -> SkipVision:
        """Skip-Vision for a model of so many layers that was never trained for it: half of the visual tokens skip both
        sub-layers in the last third of the layers, where freezing visual tokens was found to change least (ShortV, ICCV
        2025: the lowest layer contributions are those of the last layers). It saves little: `skipcore.model.preset` and
        `calibrate` save more."""
        last = tuple(range(num_layers - num_layers // 3, num_layers))
        return cls(0.5, 0.5, layers=last, attention_layers=last, **UNTRAINED)

    @property
    def label(self) -> str:
        """The name, the budget and the variant, such as "Skip-Vision 100+156"."""
        variant = ["text sees skipped"] if self.text_attends_skipped else []
        if self.layers is not None or self.attention_layers:
            ffn = "every" if self.layers is None else str(len(self.layers))
            variant = [f"FFN {ffn}, attention {len(self.attention_layers)} layers"]
        budget = f"{self.name} {show(self.num_retained)}+{show(self.num_skipped)}"
        return f"{budget} ({variant[0]})" if variant else budget

    def budget_steps(self, target: Target) -> Sequence[Steps]:
        """Retained and skipped tokens in their proportion until nothing is merged; beyond that, retained ones instead
        of skipped ones."""
        tokens = target.tokens or 1
        retained, skipped = (resolve(count, tokens) for count in (self.num_retained, self.num_skipped))
        share = retained / max(1, retained + skipped)
        unmerged = round(share * tokens)

        def at(step: int) -> SkipVision:
            both = step + 1
            kept = min(round(share * both) if both <= tokens else unmerged + both - tokens, both - 1)
            counts = target.count(kept / tokens), target.count((min(both, tokens) - kept) / tokens)
            return replace(self, num_retained=counts[0], num_skipped=counts[1])

        return [Steps(2 * tokens - unmerged - 2, at)]

    def tuned(self, examples: Examples) -> SkipVision:
        """As the model takes it best."""
        return examples.vlm.skip_vision

    @property
    def execution(self) -> Execution:
        """With the settings that say how it runs."""
        return Execution(text_attends_skipped=self.text_attends_skipped, positions=self.positions, summary=self.summary)

    def plan(self, image: VisualTokens) -> ImagePlan:
        """Choose the retained tokens, merge the others to the skipped ones."""
        n = len(image.features)
        num_retained = resolve(self.num_retained, n)
        num_skipped = min(resolve(self.num_skipped, n), n - num_retained)
        merges = num_retained + num_skipped < n
        skips = self.skip_kv or self.attention_layers or self.layers is None or self.layers
        if num_retained == n or not (merges or skips):
            return ImagePlan.keep_all(n)
        if num_skipped == 0:
            raise InputError(
                f"num_skipped must be at least 1 when fewer than all {n} visual tokens are retained: "
                "the tokens that are not retained are merged into the skipped ones."
            )
        retained = RETAIN_RULES[self.retain](image, num_retained, self.seed).sort().values
        is_retained = torch.zeros(n, dtype=torch.bool)
        is_retained[retained] = True
        others = (~is_retained).nonzero().flatten()
        merge = merge_tokens(image.features[others.to(image.features.device)], num_skipped, self.merge_order)
        destination = torch.empty(n, dtype=torch.long)
        destination[retained] = torch.arange(num_retained)
        destination[others] = merge.assignment.cpu() + num_retained
        return ImagePlan(
            retained,
            others[merge.destinations.cpu()],
            destination,
            summary_start=min(self.summary_start, max(num_retained - 1, 0)),
            last_skipped_runs_ffn=self.last_skipped_runs_ffn,
            summaries=not self.in_place,
            in_place=self.in_place,
            layers=None if self.layers is None else tuple(self.layers),
            attention_layers=tuple(self.attention_layers),
            skip_kv=self.skip_kv,
        )

    def selection_flops(self, trace: Trace, decoder: DecoderShape) -> int:
        """2std for merging s sources into t destinations (paper, token merge, step 3), and 2d for each token that a
        trained summary pools."""
        flops, first = 0, 0
        for count in trace.picture_tokens:
            tokens = slice(first, first + count)
            first += count
            role, merged = trace.role[tokens], trace.merged[tokens]
            skipped, in_full = role == Role.SKIPPED, (role == Role.RETAINED) & ~merged
            last = int(self.last_skipped_runs_ffn and bool(skipped.any() or merged.any()))
            destinations = int((skipped & ~merged).sum()) + last
            sources = int((merged & (skipped | bool(last))).sum())
            flops += 2 * sources * destinations * decoder.width
            if self.summary is not None and destinations:
                retained = int(in_full.sum()) - last
                pooled = retained - min(self.summary_start, max(retained - 1, 0)) + destinations
                flops += 2 * pooled * decoder.width
        return flops
