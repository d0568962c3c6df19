"""Scores as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from skipcore.builtin.evaluation.quality_record import Accuracy, ArmScore, SplitQuality

LONGEST_KIND = 11


def quality_table(name: str, split: SplitQuality) -> str:
    """A split's scores, the blind guesser's first; a column to each kind of question."""
    kinds = list(split.questions_by_kind)
    heads = [kind[:LONGEST_KIND] for kind in kinds]
    lines = [f"{name}: {split.questions:,} questions to {split.pictures:,} pictures"]
    lines.append(f"{'':34}{'FLOPs':>7}{'all':>8}" + "".join(f"{head:>{LONGEST_KIND + 1}}" for head in heads))
    lines.append(f"{'blind guess':34}{'':>7}{_row(split.blind, kinds)}")
    for arm in split.arms:
        lines.append(f"{arm.label:34}{arm.flops_ratio or 0:>7.0%}{_row(arm, kinds)}")
        if (described := arm.descriptions) is not None:
            lines.append(
                f"{'':34}  descriptions name {described['items_named']:.1%} of the items, and nothing absent in "
                f"{described['nothing_absent']:.1%} of {described['pictures']} pictures"
            )
    return "\n".join(lines)


def _row(scores: Accuracy | ArmScore, kinds: Sequence[str]) -> str:
    by_kind = "".join(f"{scores.by_kind[kind]:>{LONGEST_KIND + 1}.1%}" for kind in kinds)
    return f"{scores.accuracy:>8.1%}{by_kind}"
