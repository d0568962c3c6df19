"""The points of the roofline: numbers behind a chart and a table."""

from __future__ import annotations

from dataclasses import dataclass

from profiling import Report


@dataclass(frozen=True)
class RooflinePoint:
    """One phase of one arm.

    Attributes:
        phase: "prefill" or "decode".
        intensity: FLOP per byte.
        flops_per_s: achieved.
        share_of_roof: of what the device gives at that intensity; None where its roofs are not known.
    """

    arm: str
    phase: str
    intensity: float
    flops_per_s: float
    share_of_roof: float | None


def points_of(report: Report) -> list[RooflinePoint]:
    """Prefill and decode of every arm; a phase that was not measured has no point."""
    points = []
    for arm in report.arms:
        for phase, work, ms in (
            ("prefill", arm.prefill_work, arm.prefill_ms),
            ("decode", arm.decode_work, arm.tpot_ms),
        ):
            if work is None or ms is None:
                continue
            reached = 1000 * work.flops / ms
            share = None if report.roof is None else reached / report.roof.at(work.intensity)
            points.append(RooflinePoint(arm.name, phase, work.intensity, reached, share))
    return points


def roofline_sentence(report: Report) -> str:
    """What the roofs rest on, and what the points say."""
    counted = (
        "Bytes are the least that must move: the decoder's weights, keys and values, and the residual stream in and "
        "out of every sub-layer."
    )
    if report.roof is None:
        return f"Roofs: not available; {report.unavailable.get('roof', 'they were not measured')}. {counted}"
    above = any((point.share_of_roof or 0) > 1 for point in points_of(report))
    cached = " A point above the roof works from the cache, which is faster than memory." if above else ""
    return f"Roofs: {report.roof.source}. {counted}{cached}"
