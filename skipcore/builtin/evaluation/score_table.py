"""Scores as lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LONGEST_KIND = 11


def quality_table(name: str, split: Mapping[str, Any]) -> str:
    """A split's scores, the blind guesser's first; a column to each kind of question."""
    kinds = list(split["questions_by_kind"])
    heads = [kind[:LONGEST_KIND] for kind in kinds]
    lines = [f"{name}: {split['questions']:,} questions to {split['pictures']:,} pictures"]
    lines.append(f"{'':34}{'FLOPs':>7}{'all':>8}" + "".join(f"{head:>{LONGEST_KIND + 1}}" for head in heads))
    lines.append(f"{'blind guess':34}{'':>7}{_row(split['blind'], kinds)}")
    for arm in split["arms"]:
        lines.append(f"{arm_label(arm):34}{arm['flops_ratio']:>7.0%}{_row(arm, kinds)}")
        if arm["descriptions"] is not None:
            told = arm["descriptions"]
            lines.append(
                f"{'':34}  descriptions name {told['items_named']:.1%} of the items, "
                f"and nothing absent in {told['nothing_absent']:.1%} of {told['pictures']} pictures"
            )
    return "\n".join(lines)


def arm_label(arm: Mapping[str, Any]) -> str:
    """An arm's name with its retain rule, if it has one: "Skip-Vision 100+156 saliency"."""
    return f"{arm['name']} {arm['settings'].get('retain', '')}".rstrip()


def _row(scores: Mapping[str, Any], kinds: list[str]) -> str:
    by_kind = "".join(f"{scores['by_kind'][kind]:>{LONGEST_KIND + 1}.1%}" for kind in kinds)
    return f"{scores['accuracy']:>8.1%}{by_kind}"
