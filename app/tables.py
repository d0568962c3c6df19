"""The values behind each chart as small HTML tables, for those who cannot or do not want to read charts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from app import wording
from app.axes import AGREEMENT, COSTS, score_axis
from app.budgets import SKIP_VISION
from app.figures.latency import PHASES
from app.figures.race import method_name
from app.medians import medians_of
from app.quality import SplitScores
from app.race import RaceData
from app.rows import rows_of
from app.world import KIND_NAMES
from profiling import Report


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells of plain text as a table; the first cell of a row is its heading."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return f'<div class="table"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def medians_table(report: Report) -> str:
    """Median FFN update by layer, arm and role; a dash where all of them are gone."""
    columns: dict[str, np.ndarray] = {}
    for arm in report.arms:
        for name, values in (medians_of(report, arm) or {}).items():
            columns[f"{arm.name}: {name}"] = values
    if not columns:
        return "<p>The FFN update is not available: it was not recorded.</p>"
    layers = len(next(iter(columns.values())))
    rows = [
        [f"Layer {layer + 1}", *(_median(name, values[layer]) for name, values in columns.items())]
        for layer in range(layers)
    ]
    return html_table(["", *columns], rows)


def _median(name: str, value: float) -> str:
    if np.isnan(value):
        return "–" if name.endswith("dropped") else "no FFN"
    return f"{value:.3f}"


def rows_table(report: Report) -> str:
    """Rows that enter each layer, attend, run the FFN and stay in the KV cache, by arm."""
    columns = {f"{arm.name}: {does}": counts for arm in report.arms for does, counts in rows_of(arm.trace).items()}
    by_layer = zip(*columns.values(), strict=True)
    rows = [[f"Layer {number}", *(f"{count:,}" for count in counts)] for number, counts in enumerate(by_layer, start=1)]
    return html_table(["", *columns], rows)


def kv_table(report: Report) -> str:
    """Bytes of the KV cache by layer and arm, measured and predicted."""
    head = [""]
    for arm in report.arms:
        head += [f"{arm.name}: measured", "predicted"]
    rows = []
    for layer in range(len(report.arms[0].layer_kv_bytes)):
        row = [f"Layer {layer + 1}"]
        for arm in report.arms:
            row += [f"{arm.layer_kv_bytes[layer]:,} B", f"{arm.layer_kv_bytes_predicted[layer]:,} B"]
        rows.append(row)
    return html_table(head, rows)


def latency_table(report: Report) -> str:
    """Median, 90th percentile and range of every phase and arm; then what else was measured, or why it was not."""
    rows = []
    for name, title in {
        **PHASES,
        "tpot_ms": "decode, per token",
        "ttft_ms": "first token (median of vision + prefill)",
    }.items():
        for arm in report.arms[:1] if name == "vision_ms" else report.arms:
            spread = arm.spread.get(name)
            label = title if name == "vision_ms" else f"{title}: {arm.name}"
            if spread is None:
                rows.append([label, *[wording.NOT_AVAILABLE] * 3])
                continue
            values = [f"{spread.p50:.2f} ms", f"{spread.p90:.2f} ms", f"{spread.min:.2f} to {spread.max:.2f} ms"]
            rows.append([label, *values])
    return html_table(["", "median", "p90", "fastest to slowest"], rows) + device_table(report)


def device_table(report: Report) -> str:
    """FLOPs, memory and energy by arm. Where a figure is None, the reason follows."""
    rows = [
        ["prefill FLOPs, counted", *(wording.operations(arm.flops_prefill) for arm in report.arms)],
        ["prefill FLOPs, predicted", *(wording.operations(arm.flops_prefill_predicted) for arm in report.arms)],
        ["peak memory", *(wording.size(arm.peak_memory_bytes) for arm in report.arms)],
        [
            "energy",
            *(wording.NOT_AVAILABLE if arm.energy_j is None else f"{arm.energy_j:.3g} J" for arm in report.arms),
        ],
    ]
    reasons = "".join(
        f"<p class='reason'>{_FIGURE_NAMES.get(name, name)}: not available; {escape(reason)}.</p>"
        for name, reason in report.unavailable.items()
    )
    return html_table(["", *(arm.name for arm in report.arms)], rows) + reasons


def quality_table(split: SplitScores) -> str:
    """Accuracy by kind of question (rows) and method (columns), the blind guess last; then what each method costs."""
    scores = [*(arm.score for arm in split.arms), split.blind]
    kinds = dict.fromkeys(kind for score in scores for kind in score.by_kind)
    ordered = [kind for kind in KIND_NAMES if kind in kinds] + [kind for kind in kinds if kind not in KIND_NAMES]
    rows = [["all questions", *(wording.accuracy(score.accuracy) for score in scores)]]
    rows += [
        [KIND_NAMES.get(kind, kind), *(wording.accuracy(score.by_kind.get(kind)) for score in scores)]
        for kind in ordered
    ]
    costs = (
        wording.NOT_AVAILABLE if arm.flops_ratio is None else wording.accuracy(arm.flops_ratio) for arm in split.arms
    )
    rows.append(["prefill FLOPs, of dense", *costs, "–"])
    size = (
        f"{split.questions:,} questions about {split.pictures:,} pictures; retained + skipped tokens of each picture."
    )
    table = html_table(["right answers", *split.columns, "blind guess"], rows)
    return f'{table}<p class="hint">{size}</p>'


def race_table(data: RaceData) -> str:
    """Every method at every budget, the largest budget first and the best first in each."""
    axes = [*COSTS.values(), score_axis("score", data.has_truth), *AGREEMENT.values()]
    rows = [
        [
            row.label,
            "–" if row.budget is None else wording.share(row.budget),
            *(axis.text(row) + (" †" if axis is COSTS["flops"] and not row.is_at_budget else "") for axis in axes),
            "–" if row.low is None else f"{wording.accuracy(row.low)} to {wording.accuracy(row.high)}",
        ]
        for row in sorted(data.rows, key=lambda row: (-(row.budget or 1), -row.score))
    ]
    table = html_table(["method", "budget", *(axis.short for axis in axes), "95 % interval"], rows)
    if all(row.is_at_budget for row in data.rows):
        return table
    return f'{table}<p class="hint">† more than 2 points of the FLOPs away from the budget.</p>'


def standings_table(data: RaceData) -> str:
    """Who is ahead of Skip-Vision at each budget, and who behind, with a row for each budget, the largest first."""
    rows = []
    for budget in sorted({row.budget for row in data.rows if row.budget is not None}, reverse=True):
        there = [row for row in data.rows if row.budget == budget]
        own = [wording.accuracy(row.score) for row in there if row.method == SKIP_VISION]
        peers = [row for row in there if row.method != SKIP_VISION and row.is_at_budget]
        sure = [row for row in peers if row.is_beyond_chance]
        ahead, behind = (
            [method_name(row.method) for row in sure if ((row.ahead or 0) > 0) is wins] for wins in (True, False)
        )
        cells = [", ".join(each) or "none" for each in (own, ahead, behind)]
        rows.append([wording.share(budget), *cells, f"{len(peers) - len(sure)}"])
    return html_table(["FLOPs", "Skip-Vision", "ahead of it", "behind it", "others, within chance"], rows)


_FIGURE_NAMES = {
    "peak_memory_bytes": "Peak memory",
    "energy_j": "Energy",
    "roof": "Roofs",
    "gpu_samples": "GPU over time",
}
