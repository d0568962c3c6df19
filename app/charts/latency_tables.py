"""The values behind the charts of inter-token latency and of the roofline, as HTML tables."""

from __future__ import annotations

from itertools import zip_longest
from statistics import fmean

from app import wording
from app.charts.roofline import points_of
from app.charts.steps import Step, step_spreads
from app.markup import html_table
from profiling import Report


def steps_table(report: Report) -> str:
    """Median time of every decode step by arm, with the fastest and the slowest run."""
    by_token = zip_longest(*(step_spreads(arm) for arm in report.arms))
    rows = [[f"token {number}", *map(_step, steps)] for number, steps in enumerate(by_token, start=2)]
    if not rows:
        return "<p class='reason'>Time between tokens: not available; the answers have one token.</p>"
    return html_table(["", *(f"{arm.name}: median (range)" for arm in report.arms)], rows)


def _step(step: Step | None) -> str:
    return "–" if step is None else f"{step.p50:.2f} ms ({step.min:.2f} to {step.max:.2f})"


def gpu_table(report: Report) -> str:
    """Mean and most of utilization, memory and power by arm; nothing where no GPU was watched."""
    watched = [(arm.name, arm.gpu_samples) for arm in report.arms if arm.gpu_samples]
    if not watched:
        return ""
    rows = []
    for name, samples in watched:
        shares, watts = [each.utilization for each in samples], [each.power_w for each in samples]
        rows.append(
            [
                name,
                f"{wording.share(fmean(shares))} ({wording.share(max(shares))})",
                wording.size(max(each.memory_bytes for each in samples)),
                f"{fmean(watts):.0f} W ({max(watts):.0f} W)",
                str(len(samples)),
            ]
        )
    return html_table(["", "utilization: mean (most)", "memory, most", "power: mean (most)", "samples"], rows)


def roofline_table(report: Report) -> str:
    """Arithmetic intensity and FLOP/s of every arm and phase, and the bytes they rest on."""
    works = {(arm.name, "prefill"): arm.prefill_work for arm in report.arms}
    works |= {(arm.name, "decode"): arm.decode_work for arm in report.arms}
    rows = []
    for point in points_of(report):
        work = works[point.arm, point.phase]
        assert work is not None
        rows.append(
            [
                f"{point.phase}: {point.arm}",
                f"{point.intensity:.3g} FLOP/B",
                f"{wording.operations(point.flops_per_s)}/s",
                wording.share(point.share_of_roof),
                *(wording.size(part) for part in (work.weight_bytes, work.kv_bytes, work.activation_bytes)),
            ]
        )
    if report.roof is not None:
        roof = report.roof
        peak = [f"{roof.ridge:.3g} FLOP/B", f"{wording.operations(roof.flops_per_s)}/s"]
        rows.append(["where the roofs meet", *peak, "100%", f"{wording.size(roof.bytes_per_s)}/s", "–", "–"])
    return html_table(["", "intensity", "reached", "of the roof", "weights", "KV", "activations"], rows)
