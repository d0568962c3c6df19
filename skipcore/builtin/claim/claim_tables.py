"""The claim as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skipcore.builtin.evaluation.score_table import arm_label


def claim_table(result: Mapping[str, Any]) -> str:
    """What training took, and what it reached, as two tables with what they were measured on."""
    device, split = result["device"], result["split"]
    lines = [
        f"# Dense, Skip-Vision and mixed training: `{result['recipe']}`",
        "",
        f"{result['steps']:,} steps of each arm, {result['pictures_per_step']} pictures × "
        f"{result['questions_per_picture']} questions a step, the same in every arm; trained by turns in one process "
        f"on {device['name']} ({device['dtype']}, {device['threads']} CPU threads), torch "
        f"{result['versions']['torch']}, transformers {result['versions']['transformers']}, {result['date']}.",
        "",
        "| training | seconds a step, median (p10–p90) | time, dense = 100 | mean time | FLOPs | decoder's FLOPs "
        "| peak memory | last loss |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_training_row(arm) for arm in result["arms"]]
    lines += ["", *(f"{note}" for note in result["notes"]), ""] if result["notes"] else [""]
    kinds = list(split["questions_by_kind"])
    lines += [
        f"Accuracy in per cent on {split['questions']:,} questions to {split['pictures']:,} pictures of the split "
        f'"{split["name"]}". Of arm (a), rows other than Dense are skipping switched on without training.',
        "",
        f"| training | asked under | all | {' | '.join(kinds)} |",
        "|---" * (3 + len(kinds)) + "|",
        _accuracy_row("blind guess", "", split["blind"], kinds),
    ]
    lines += [
        _accuracy_row(arm["title"], arm_label(score), score, kinds)
        for arm in result["arms"]
        for score in arm["evaluated"]
    ]
    return "\n".join(lines)


def _training_row(arm: Mapping[str, Any]) -> str:
    seconds = arm["step_seconds"]
    cells = [
        arm["title"],
        f"{seconds['median']:.3f} ({seconds['p10']:.3f}–{seconds['p90']:.3f})",
        f"{arm['time_percent']:.1f}",
        f"{arm['mean_time_percent']:.1f}",
        f"{arm['flops_percent']:.1f}",
        f"{arm['decoder_flops_percent']:.1f}",
        "not available" if arm["peak_memory_percent"] is None else f"{arm['peak_memory_percent']:.1f}",
        f"{arm['last_loss']:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def _accuracy_row(training: str, method: str, scores: Mapping[str, Any], kinds: list[str]) -> str:
    values = [scores["accuracy"], *(scores["by_kind"][kind] for kind in kinds)]
    return f"| {training} | {method} | {' | '.join(f'{100 * value:.1f}' for value in values)} |"
