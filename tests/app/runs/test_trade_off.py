"""A visitor's trade-off: what runs, in which order, and what stays."""

from __future__ import annotations

import threading

import hand_made
import pytest

from app.charts.race import AGREEMENT, COSTS, RaceRow, race_chart, race_table, score_axis
from app.runs import trade_off as ours
from app.runs.offered_methods import OFFERED
from app.runs.trade_off import SHARES, Part, as_data, parts_of, rows_of, settings_of
from app.settings import Settings
from skipcore import InputError, Vlm

CHOSEN = Settings(100, 156, "saliency", False, 96, 3, "FastV", 0.5, True)


def test_a_round_of_all_methods_for_each_budget() -> None:
    parts = parts_of(["FastV", "SkipVision", "Unknown"], [0.25, 0.5, 0.9])
    assert [(part.method, part.share) for part in parts] == [
        ("SkipVision", 0.5), ("FastV", 0.5), ("SkipVision", 0.25), ("FastV", 0.25)
    ]  # fmt: skip
    assert parts[1].name == "FastV at 50%"


@pytest.mark.parametrize("methods, shares", [([], [0.5]), (["FastV"], []), (["<b>"], [0.5]), (["FastV"], ["x"])])
def test_nothing_chosen_gets_a_sentence(methods: list, shares: list) -> None:
    with pytest.raises(InputError, match="at least one method"):
        parts_of(methods, shares)


@pytest.mark.parametrize("name", OFFERED)
@pytest.mark.parametrize("share", SHARES)
def test_every_part_is_a_setting_that_runs(tiny: Vlm, name: str, share: float) -> None:
    settings = settings_of(Part(name, share), CHOSEN)
    settings.check()
    assert type(settings.compared(tiny)).__name__ == name


def test_skip_vision_keeps_its_proportion() -> None:
    settings = settings_of(Part("SkipVision", 0.5), CHOSEN)
    assert settings.num_retained == pytest.approx(0.5 * 100 / 256)
    assert settings.num_retained + settings.num_skipped == pytest.approx(0.5)


def test_rows_are_what_the_report_says() -> None:
    report = hand_made.report()
    dense, own = rows_of(Part("SkipVision", 0.5), report)
    assert (dense.flops, dense.kl, dense.top1) == (1, 0, 1)
    assert own.flops == pytest.approx(0.25) and own.prefill_time == pytest.approx(0.5)
    assert own.kl == 0.0125 and own.top1 == 0.8 and own.score == 0 and own.label == "Skip-Vision 2+2"
    data = as_data([dense, own, dense])
    assert len(data.rows) == 2
    table = race_table(data)
    assert "80.0%" in table and "0.0125" in table and "†" not in table and "answers as the dense model" in table


def row(method: str, **values: float | None) -> RaceRow:
    return RaceRow(method, method, 0.5, 0.5, True, 0.8, None, None, **values)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("score", ["score", *AGREEMENT])
def test_every_pair_of_axes(cost: str, score: str) -> None:
    known = row("FastV", kl=0.1, top1=0.9, prefill_time=0.6, kv_bytes=0.5)
    figure = race_chart(as_data([known, row("VTW")]), cost, score)
    needs = cost != "flops" or score != "score"
    assert [curve.name for curve in figure.data] == ["FastV"] + ["VTW"] * (not needs)  # None is no point
    assert figure.data[0].x[0] == COSTS[cost].of(known) and figure.data[0].y[0] == score_axis(score, False).of(known)
    assert figure.layout.xaxis.title.text == COSTS[cost].title


def test_a_stopped_trade_off_ends_after_the_part_that_runs(monkeypatch) -> None:
    stop, asked = threading.Event(), []

    def run(vlm, picture, question, settings, stop):
        asked.append(settings.method)
        if len(asked) == 2:
            stop.set()
            return
        yield hand_made.report()

    monkeypatch.setattr(ours, "run", run)
    parts = [Part("FastV", 0.5), Part("VTW", 0.5), Part("ShortV", 0.5)]
    seen = [(part.method, report is not None) for part, report in ours.trade_off(None, None, "", CHOSEN, parts, stop)]
    assert seen == [("FastV", False), ("FastV", True), ("VTW", False)] and asked == ["FastV", "VTW"]
