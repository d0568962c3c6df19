"""The claim as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

from skipcore.builtin.claim.claim_record import ArmResult, Claim
from skipcore.builtin.evaluation.quality_record import Accuracy
from skipcore.builtin.evaluation.scores import Score


def claim_table(claim: Claim) -> str:
    """What training took, and what it reached, as two tables with what they were measured on."""
    device, split = claim.device, claim.split
    kinds = list(split.questions_by_kind)
    accuracies = [_accuracy_row("blind guess", "", split.blind, kinds)]
    accuracies += [_accuracy_row(arm.title, score.label, score, kinds) for arm in claim.arms for score in arm.evaluated]
    return "\n".join(
        [
            f"# Dense, Skip-Vision and mixed training: `{claim.recipe}`",
            "",
            f"{claim.steps:,} steps of each arm, {claim.pictures_per_step} pictures × {claim.questions_per_picture} "
            "questions a step, the same in every arm; trained by turns in one process "
            f"on {device['name']} ({device['dtype']}, {device['threads']} CPU threads), torch "
            f"{claim.versions['torch']}, transformers {claim.versions['transformers']}, {claim.date}.",
            "",
            "| training | seconds a step, median (p10–p90) | time, dense = 100 | mean time | FLOPs | decoder's FLOPs "
            "| peak memory | last loss |",
            "|---|---|---|---|---|---|---|---|",
            *map(_training_row, claim.arms),
            *(["", *claim.notes] if claim.notes else []),
            "",
            f"Accuracy in percent on {split.questions:,} questions to {split.pictures:,} pictures of the split "
            f'"{split.name}". Of arm (a), rows other than Dense are skipping switched on without training.',
            "",
            f"| training | asked under | all | {' | '.join(kinds)} |",
            "|---" * (3 + len(kinds)) + "|",
            *accuracies,
        ]
    )


def _training_row(arm: ArmResult) -> str:
    seconds = arm.step_seconds
    percents = (arm.time_percent, arm.mean_time_percent, arm.flops_percent, arm.decoder_flops_percent)
    cells = [
        arm.title,
        f"{seconds.median:.3f} ({seconds.p10:.3f}–{seconds.p90:.3f})",
        *("not available" if each is None else f"{each:.1f}" for each in (*percents, arm.peak_memory_percent)),
        f"{arm.last_loss:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def _accuracy_row(training: str, method: str, scores: Accuracy | Score, kinds: Sequence[str]) -> str:
    values = [scores.accuracy, *(scores.by_kind[kind] or 0.0 for kind in kinds)]
    return f"| {training} | {method} | {' | '.join(f'{100 * value:.1f}' for value in values)} |"
