"""The latency panel's charts, tables and sentences: the numbers of the report and no others."""

from __future__ import annotations

from dataclasses import replace

import hand_made
import pytest

from app.charts.gpu import gpu_over_time, gpu_sentence, gpu_table
from app.charts.roofline import points_of, roofline, roofline_sentence, roofline_table
from app.charts.steps import inter_token, step_spreads, steps_table
from app.panels.latency import break_even_sentence
from profiling import Spread
from profiling.gpu.samples import GpuSample

ONE_TOKEN = {"tpot_ms": None, "run_token_ms": ((60.0,),), "decode_work": None}


def test_steps_are_medians_over_the_runs() -> None:
    report = hand_made.report()
    steps = step_spreads(report.arms[0])
    assert [(step.token, step.p50, step.min, step.max) for step in steps] == [
        (2, 5.0, 4.0, 6.0), (3, 4.0, 4.0, 4.0), (4, 5.0, 5.0, 5.0), (5, 4.0, 3.0, 5.0)
    ]  # fmt: skip
    lines = {part.name: part for part in inter_token(report).data}
    assert list(lines["Dense"].y) == [5, 4, 5, 4] and list(lines["Dense"].x) == [2, 3, 4, 5]
    assert lines["Dense"].line.dash != lines["Skip-Vision 2+2"].line.dash
    assert "5.00 ms (4.00 to 6.00)" in steps_table(report)


def test_runs_of_unlike_lengths_and_answers_of_one_token() -> None:
    dense = hand_made.arm("Dense", hand_made.trace(hand_made.DENSE), run_token_ms=((9.0, 1.0, 2.0), (9.0, 3.0)))
    short = hand_made.arm("Short", hand_made.trace(hand_made.SKIPPING), **ONE_TOKEN)
    assert len(step_spreads(dense)) == 1
    assert "–" in steps_table(hand_made.report(dense, short))
    assert "not available" in steps_table(hand_made.report(short))
    assert "not available" in break_even_sentence(hand_made.report(short, dense))


def test_the_roofline_has_both_phases_of_both_arms() -> None:
    report = hand_made.report()
    points = points_of(report)
    assert [(point.arm, point.phase) for point in points] == [
        ("Dense", "prefill"), ("Dense", "decode"), ("Skip-Vision 2+2", "prefill"), ("Skip-Vision 2+2", "decode")
    ]  # fmt: skip
    assert points[0].intensity == 100 and points[0].flops_per_s == pytest.approx(1e9 / 0.06)
    assert points[0].share_of_roof == pytest.approx(1e9 / 0.06 / 6e10)
    figure = roofline(report)
    roof = figure.data[0]
    assert roof.name == "roof" and list(roof.y)[-2:] == [6e10, 6e10] and len(figure.data) == 5
    assert len({part.marker.symbol for part in figure.data[1:]}) == 4
    assert "28%" in roofline_table(report) and "4 MB" in roofline_table(report)


def test_without_roofs_there_are_points_and_a_reason() -> None:
    report = replace(hand_made.report(), roof=None, unavailable={"roof": "it is a GPU nobody knows"})
    assert len(roofline(report).data) == 4
    assert "it is a GPU nobody knows" in roofline_sentence(report) and "not available" in roofline_table(report)


def test_flops_saved_time_saved_and_the_break_even_point() -> None:
    # dense 60 ms and 1 GFLOP, skipping 30 ms and 0.25 GFLOP, a decode step 4 ms: 42 ms ideal, 30 ms saved
    said = break_even_sentence(hand_made.report())
    assert "750 MFLOP saved in prefill (75%) became 30 ms saved (−50% time)" in said
    assert "pays from about 2 visual tokens on (there are 6 here)" in said and "17.9 GFLOP/s" in said
    assert "costs 12.0 ms" in said and said.endswith("not a measurement at that length.")


@pytest.mark.parametrize(
    "runs, says", [([30.0], "one run of each"), ([29.0, 62.0], "may be chance"), ([29.0, 31.0], "at that length.")]
)
def test_what_may_be_chance_is_said(runs: list[float], says: str) -> None:
    dense, skip = hand_made.report().arms
    times = [[59.0], [59.0, 61.0]][len(runs) > 1]
    arms = [
        replace(arm, spread=arm.spread | {"prefill_ms": Spread.of(own)}) for arm, own in ((dense, times), (skip, runs))
    ]
    assert says in break_even_sentence(hand_made.report(*arms))


def test_the_gpu_over_time_or_the_reason() -> None:
    samples = tuple(GpuSample(20.0 * n, 0.2 * n, 3_000_000_000, 100.0 + n) for n in range(3))
    watched = hand_made.arm("Dense", hand_made.trace(hand_made.DENSE), gpu_samples=samples)
    report = hand_made.report(watched)
    utilization, memory, power = gpu_over_time(report).data
    assert list(utilization.y) == pytest.approx([0, 20, 40]) and list(memory.y) == pytest.approx([3, 3, 3])
    assert list(power.x) == [0, 20, 40]
    assert "20% (40%)" in gpu_table(report) and "3 GB" in gpu_table(report) and "101 W (102 W)" in gpu_table(report)
    assert "watched through NVML" in gpu_sentence(report)
    without = replace(hand_made.report(), unavailable={"gpu_samples": "there is no GPU"})
    assert gpu_table(without) == "" and "Not available; there is no GPU." in gpu_sentence(without)
