"""Skip-Vision: Skip-FFN, adaptive summary tokens and skip-KV (ICCV 2025, arXiv 2503.21817)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from skipcore.errors import InputError
from skipcore.merge import MergeOrder, merge_tokens
from skipcore.methods.method import Method
from skipcore.methods.retain import RETAIN_RULES
from skipcore.plan import ImagePlan, VisualTokens
from skipcore.summary import AdaptiveSummary

Count = int | float


@dataclass(frozen=True)
class SkipVision(Method):
    """Redundant visual tokens bypass the FFN in every layer and leave the KV cache before decoding.

    Attributes:
        num_retained: tokens per picture that run the whole block: a count, or a float share of the picture's tokens.
        num_skipped: tokens per picture that run attention only, likewise. The rest is merged into them. With
            `num_retained + num_skipped` ≥ the picture's tokens nothing is merged.
        text_attends_skipped: whether text sees skipped tokens in prefill (the paper's LLaVA setting). If not, prefill
            and decode see the same cache and dropping the skipped keys and values is exact.
        retain: which tokens are retained, a name in `RETAIN_RULES`: "saliency", "raster", "uniform" or "random".
        merge_order: the order of skipped tokens: "raster", or "redundancy" as the authors' code leaves them.
        positions: "original": kept tokens keep their position ids; "renumbered": counted anew, as the authors do.
        summary: a trained `AdaptiveSummary`, or None for the mean.
        summary_start: the first summary pools the retained tokens from this one on (paper, CoS: 16).
        last_skipped_runs_ffn: the last skipped token runs the FFN too (paper, CoS).
        seed: of the "random" rule.

    Raises:
        InputError: a setting is impossible; the message says what to change.
    """

    name: ClassVar[str] = "Skip-Vision"

    num_retained: Count = 100
    num_skipped: Count = 156
    text_attends_skipped: bool = False
    retain: str = "saliency"
    merge_order: MergeOrder = "raster"
    positions: Literal["original", "renumbered"] = "original"
    summary: AdaptiveSummary | None = None
    summary_start: int = 0
    last_skipped_runs_ffn: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_retained", "num_skipped"):
            _check_count(name, getattr(self, name))
        _check_choice("retain", self.retain, RETAIN_RULES)
        _check_choice("merge_order", self.merge_order, ("raster", "redundancy"))
        _check_choice("positions", self.positions, ("original", "renumbered"))
        if self.summary is not None and not isinstance(self.summary, AdaptiveSummary):
            raise InputError("summary must be an AdaptiveSummary or None.")

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
        _check_choice("setting", setting, settings)
        return cls(
            **settings[setting],  # type: ignore[arg-type]
            text_attends_skipped=True,
            retain="raster",
            merge_order="redundancy",
            positions="renumbered",
        )

    @property
    def label(self) -> str:
        """The name, the budget and the variant, such as "Skip-Vision 100+156"."""
        variant = " (text sees skipped)" if self.text_attends_skipped else ""
        return f"{self.name} {_show(self.num_retained)}+{_show(self.num_skipped)}{variant}"

    def plan(self, image: VisualTokens) -> ImagePlan:
        """Choose the retained tokens, merge the others to the skipped ones."""
        n = len(image.features)
        num_retained = min(_resolve(self.num_retained, n), n)
        num_skipped = min(_resolve(self.num_skipped, n), n - num_retained)
        if num_retained == n:
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
        )

    @property
    def text_sees_skipped(self) -> bool:
        return self.text_attends_skipped

    @property
    def position_rule(self) -> Literal["original", "renumbered"]:
        return self.positions

    @property
    def summary_module(self) -> AdaptiveSummary | None:
        return self.summary


def _resolve(count: Count, num_tokens: int) -> int:
    """A count, or a share of `num_tokens`, as a count."""
    return round(count * num_tokens) if isinstance(count, float) else count


def _show(count: Count) -> str:
    return f"{count:.0%}" if isinstance(count, float) else str(count)


def _check_count(name: str, count: object) -> None:
    if isinstance(count, bool) or not isinstance(count, int | float):
        raise InputError(f"{name} must be a whole number, or a share between 0.0 and 1.0, not {count!r}.")
    if isinstance(count, float) and not 0 <= count <= 1:
        raise InputError(
            f"{name} as a share must lie between 0.0 and 1.0, not {count!r}; a count must be a whole number."
        )
    if count < 0:
        raise InputError(f"{name} must not be negative, but is {count}.")


def _check_choice(name: str, choice: object, choices) -> None:
    if choice not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, not {choice!r}.")
